"""Look after a net's weights: show, fetch, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from model.errors import InputError

app = Typer()

Name = Annotated[str, Argument(metavar="NET")]
_CHOSEN = "(default: what the run's validation chose; if it chose nothing, as the weights that it began from, or the shipped ones)"


@app.command(short_help="print a net's card")
def show(net: Name) -> int:
    """Print a net's card."""
    from model import cards

    print(cards.read_any_card(cards.locate(net)).to_json(), end="")
    return 0


@app.command(short_help="download published weights")
def fetch(
    net: Name,
    mirror: Annotated[
        list[str],
        Option(metavar="[URL]...", help="asked before the published places; file:// too"),
    ] = [],
) -> int:
    """Download published weights, once."""
    from rich.console import Console
    from rich.progress import Progress

    from model import checkpoint

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"fetching {net}", total=None)
        path = checkpoint.fetch_known(
            net, mirror, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print(path)
    return 0


@app.command(short_help="the averaged weights of a training run, with a card")
def export(
    run_folder: Annotated[Path, Argument(metavar="RUN")],
    out: Annotated[Path, Option("--out", "-o", metavar="FILE", help="…/name.safetensors")],
    terms: Annotated[str, Option(help="the weights' license, and their photographs' terms")],
    data: Annotated[str, Option(help="what they were trained on")],
    others: Annotated[
        list[Path],
        Option(
            "--with",
            metavar="[RUN]...",
            help="runs from the same start, of other seeds or losses: the mean of all weights instead",
        ),
    ] = [],
    temperature: Annotated[float | None, Option(help=f"of the annealed mean {_CHOSEN}")] = None,
    size: Annotated[
        int | None, Option(help=f"the shorter side that the net sees, a multiple of 32 {_CHOSEN}")
    ] = None,
    take_back: Annotated[
        float | None,
        Option(
            metavar="SHARE",
            help=f"share of the rebalancing to take back: 0, as it was trained, to 1, as calm as the photographs {_CHOSEN}",
        ),
    ] = None,
    numbers: Annotated[
        list[str],
        Option(metavar="[NAME=JSON]...", help="color.json files of `evaluate color`, by photos"),
    ] = [],
) -> int:
    """The averaged weights of a training run as they were trained, as safetensors; and a card that says how to decode them.

    What is not given of size, temperature and share taken back is what the run's validation chose.
    """
    import torch

    from model import checkpoint
    from model.commands import selection
    from model.training import building

    if out.suffix != ".safetensors":
        raise InputError(f"{out} must end in .safetensors")
    trained = building.load(run_folder)
    if others:
        trained = building.mean([trained, *(building.load(other) for other in others)])
    if take_back and trained.weights is None:
        raise InputError("this net answers ab itself: there is no rebalancing to take back")
    measured = {name: _numbers(Path(path)) for name, _, path in (pair.partition("=") for pair in numbers)}
    given: dict[str, Any] = {"size": size, "temperature": temperature, "taken_back": take_back}
    card = replace(
        selection.card_of(trained, out.stem),
        terms=terms,
        data=data,
        numbers=measured,
        **{key: value for key, value in given.items() if value is not None},
    )
    checkpoint.Card.from_json(card.to_json())  # before a file is there that `load` would refuse
    card = checkpoint.save(trained.net, card, out, torch.float16)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}")
    return 0


def _numbers(path: Path) -> dict[str, Any]:
    """What a card keeps of a color.json. Raises InputError for a file that is none, OSError where there is none."""
    from model.evaluate.report import for_card

    try:
        kept = for_card(dict(json.loads(path.read_text()).items()))  # a list has no items
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no color.json of `evaluate color`: {error}") from error
    if not kept:
        raise InputError(f"{path} is no color.json of `evaluate color`: it holds none of its numbers")
    return kept
