"""Which photographs a command is to look at, and which net."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from model import checkpoint
from model.checkpoint import Card
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate.color import evenly
from model.evaluate.report import HELD, TRAIN, Source
from model.methods import colorize
from model.training import building, data


def selected(arguments: argparse.Namespace) -> list[Path]:
    """The photos that `--photos`, `--exclude`, `--only`, `--held-out` and `--limit` ask for.

    Raises FileNotFoundError for a source that holds none.
    """
    return _narrowed(data.find(arguments.photos, arguments.exclude), arguments)


def sources(arguments: argparse.Namespace) -> list[Source]:
    """The same, by source: `--photos` are NAME=PATH, NAME:train=PATH, NAME:held=PATH, or a path that is called by its last part.

    Several paths of one name and split are one source. With `--held-out N`, a source of the split "train" has what training kept. Raises
    FileNotFoundError for a source that holds no photo, InputError for one of which nothing is left, for another split, and for photos
    that are in both splits of a name.
    """
    paths: dict[tuple[str, str], list[Path]] = {}
    for word in arguments.photos:
        name, split, path = _parted(word)
        paths.setdefault((name, split), []).append(path)
    found: dict[tuple[str, str], Source] = {}
    for (name, split), places in paths.items():
        photos = _narrowed(data.find(places, arguments.exclude), arguments, kept=split == TRAIN)
        source = found[name, split] = Source(name, photos, split)
        if not photos:
            raise InputError(f"nothing of the source {source.label} is left to evaluate on")
    for name, _ in paths:
        both = [found[key].photos for key in ((name, TRAIN), (name, HELD)) if key in found]
        if len(both) == 2 and (shared := {*both[0]} & {*both[1]}):
            raise InputError(
                f"{len(shared)} photographs of {name} are in both splits: name other folders, or part them by --held-out N"
            )
    return [*found.values()]


def _parted(word: Path) -> tuple[str, str, Path]:
    """(name, split, path)"""
    head, equals, path = str(word).partition("=")
    if not equals or word.exists():
        return word.stem, "", word
    name, colon, split = head.partition(":")
    if not name or (colon and split not in (TRAIN, HELD)):
        raise InputError(f"{word} is no source: NAME=PATH, NAME:{TRAIN}=PATH or NAME:{HELD}=PATH")
    return name, split, Path(path).expanduser()


def _narrowed(photos: list[Path], arguments: argparse.Namespace, kept: bool = False) -> list[Path]:
    """By `--only`, `--held-out` (of which `kept` are the rest) and `--limit`."""
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = data.split(photos, arguments.held_out)[0 if kept else 1]
    return limited(photos, arguments.limit)


def limited(photos: list[Path], limit: int) -> list[Path]:
    """At most `limit` of them, evenly chosen; all for 0."""
    return evenly(photos, limit if limit > 0 else len(photos))


def nets(names: Sequence[str], device: str) -> list[Colorizer]:
    """The nets of these names or files.

    Where cards share a name, each is called by its hash too; of one file's weights under several cards, by the share taken back.
    """
    colorizers = [Colorizer.load(name, device) for name in names]
    for tell_apart in (lambda card: card.sha256[:8], lambda card: f"{card.share:g} taken back"):
        times = Counter(colorizer.name for colorizer in colorizers)
        for colorizer in colorizers:
            if times[colorizer.name] > 1:
                card = colorizer.card
                colorizer.card = replace(card, name=f"{card.name} {tell_apart(card)}")
    return colorizers


def subject(arguments: argparse.Namespace) -> Colorizer:
    """The net that `--net` or `--run` asks for.

    A run has no card: one is made that says what its export would. Raises `checkpoint.CheckpointError`, FileNotFoundError for a folder
    without a run, and InputError for a run of another kind.
    """
    if arguments.run_folder is None:
        return Colorizer.load(arguments.net, arguments.device)
    found = building.load(arguments.run_folder)
    card = card_of(found, arguments.run_folder.resolve().name)
    checkpoint.take_back(found.net, card)
    return Colorizer(found.net, card, arguments.device)


def card_of(found: building.Trained, name: str) -> Card:
    """The card of a run's averaged weights, with size, temperature and share as its validation chose them.

    A run that chose nothing is decoded as the shipped weights are. Terms, data and numbers are for `weights export` to fill in. InputError
    for a run that trained a backbone.
    """
    if found.config.net not in checkpoint.NETS:
        raise InputError(
            f"{name} trained a backbone by {found.config.method}; what is asked for is a run that trained the net that colors"
        )
    shipped = checkpoint.read_card(checkpoint.locate("lite"))
    own = {"size": shipped.size, "temperature": shipped.temperature, "taken_back": shipped.share}
    chosen = own | (found.decoding or {})
    rebalanced = found.weights is not None  # not a net that answers ab itself
    return Card(
        name=name,
        net=found.config.net,
        temperature=float(chosen["temperature"]),
        size=int(chosen["size"]),
        terms="",
        data="",
        recipe=found.metadata["config"]
        | {"photos": found.metadata["data"]["photos"], "trained": found.trained},
        commit=found.metadata["code"]["commit"],
        numbers={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        prior=tuple(found.metadata["data"]["prior"]) if rebalanced else (),
        lam=found.config.options.lam
        if rebalanced and isinstance(found.config.options, colorize.ColorizeOptions)
        else 1.0,
        taken_back=float(chosen["taken_back"]) if rebalanced else 0.0,
    )
