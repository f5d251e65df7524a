"""What coloring into a folder and into a file have in common: the command line, understood, and the net."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from model.colorizer import Colorizer
    from model.folder.recipe import Recipe

PIPE: Final = Path("-")


@dataclass(frozen=True, slots=True)
class Asked:
    """A command line, understood."""

    photos: Sequence[Path]
    out: Path
    net: str
    device: str
    recipe: Recipe
    overwrite: bool
    jobs: int | None
    dry_run: bool
    quiet: bool


def check_place(out: Path, is_file: bool) -> None:
    """Before anything is loaded: that OUT, or the folder in which it is to be made, can be written to."""
    from model.folder import results

    if out == PIPE:
        return
    if not is_file and out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    place = out.parent if is_file else out
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        results.check_writable(place)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def loading(asked: Asked) -> Iterator[Future[Colorizer]]:
    """The net, loaded in a thread of its own while photos are opened."""
    from concurrent.futures import ThreadPoolExecutor

    from model.colorizer import Colorizer

    def load() -> Colorizer:
        net = Colorizer.load(asked.net, asked.device)
        asked.recipe.check(net.card)
        return net

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(load)
