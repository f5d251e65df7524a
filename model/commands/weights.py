"""Look after a net's weights: show, fetch, export, average."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from model.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from model.cards import Card

app = Typer()

Name = Annotated[str, Argument(metavar="NET")]
Out = Annotated[Path, Option("--out", "-o", metavar="FILE", help="…/name.safetensors")]
_TERMS = "the weights' license, and their photographs' terms"
Data = Annotated[str, Option(help="what they were trained on")]
Temperature = Annotated[float | None, Option(help="of the annealed mean")]
Size = Annotated[int | None, Option(help="the shorter side that the net sees, a multiple of 32")]
TakeBack = Annotated[
    float | None,
    Option(
        metavar="SHARE",
        help="share of the rebalancing to take back: 0, as it was trained, to 1, as calm as the photographs",
    ),
]
Numbers = Annotated[
    list[str],
    Option(metavar="[NAME=JSON]...", help="color.json files of `evaluate color`, by photos"),
]


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
    out: Out,
    terms: Annotated[str, Option(help=_TERMS)],
    data: Data,
    others: Annotated[
        list[Path],
        Option(
            "--with",
            metavar="[RUN]...",
            help="runs from the same start, of other seeds or losses: the mean of all weights instead",
        ),
    ] = [],
    temperature: Temperature = None,
    size: Size = None,
    take_back: TakeBack = None,
    numbers: Numbers = [],
) -> int:
    """The averaged weights of a training run as they were trained, as safetensors; and a card that says how to decode them.

    What is not given of size, temperature and share taken back is what the run's validation chose; if it chose nothing, as the weights that
    it began from, or the shipped ones.
    """
    from model.commands import selection
    from model.training import building

    measured = _checked(out, numbers)
    trained = building.load(run_folder)
    if others:
        trained = building.mean([trained, *(building.load(other) for other in others)])
    if take_back and trained.weights is None:
        raise InputError("this net answers ab itself: there is no rebalancing to take back")
    card = replace(selection.card_of(trained, out.stem), terms=terms, data=data, numbers=measured)
    return _write(trained.net, _decoded(card, temperature, size, take_back), out)


@app.command(short_help="the mean of several files of weights, with a card")
def mean(
    nets: Annotated[list[str], Argument(metavar="NET...", help="their names or files")],
    out: Out,
    data: Data,
    terms: Annotated[str, Option(help=f"{_TERMS} (default: the files', where they are one)")] = "",
    parts: Annotated[
        str, Option(metavar="NUMBERS", help="what each counts, with commas between (default: all alike)")
    ] = "",
    temperature: Temperature = None,
    size: Size = None,
    take_back: TakeBack = None,
    numbers: Numbers = [],
) -> int:
    """The mean of the weights of nets that were trained one from the other, or all from the same: it is often better than each of them.

    Recipe, prior and decoding are the first net's, steps, crops and times those of all together where each card has them; the card says
    of which files it is the mean. What was said or measured of these (notes, numbers, calibration, boldness) is not in it.
    """
    from model import checkpoint
    from model.training.commit import commit

    measured = _checked(out, numbers)
    paths = [checkpoint.locate(name) for name in nets]
    for path in paths:
        if path.suffix != ".safetensors":
            raise InputError(f"{path} holds no weights of a net of ours: only .safetensors have a mean")
    cards = [checkpoint.read_card(path) for path in paths]
    first, *others = cards
    if len({card.sha256 for card in cards}) < max(2, len(cards)):
        raise InputError("a mean is of two files or more, each named once")
    for other in others:
        _check_kinship(first, other)
    if not terms and any(other.terms != first.terms for other in others):
        raise InputError("these files have different terms: say with --terms which hold for their mean")
    counts = _parts(parts) or [1.0] * len(cards)
    as_trained = 0 if first.prior else None
    net = checkpoint.NETS[first.net]()
    states = [checkpoint.load(path, taken_back=as_trained)[0].state_dict() for path in paths]
    net.load_state_dict(checkpoint.mean(states, counts))
    card = replace(
        first,
        name=out.stem,
        terms=terms or first.terms,
        data=data,
        numbers=measured,
        recipe=_together(cards, counts),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes="",
        calibration=None,
        boldness=(),
    )
    return _write(net, _decoded(card, temperature, size, take_back), out)


def _check_kinship(first: Card, other: Card) -> None:
    """Raises InputError where two files can have no mean."""
    from model import palette

    alike = [("net", first.net, other.net), ("lam", first.lam, other.lam)]
    if not first.prior:
        alike.append(("share taken back in its bias", first.share, other.share))
    for name, one, its in alike:
        if one != its:
            raise InputError(f"{other.name} has another {name} than {first.name}: {its} and {one}")
    ours, theirs = first.class_weights, other.class_weights
    if (ours is None) != (theirs is None):
        raise InputError(f"of {first.name} and {other.name} one card holds a prior, the other none")
    if ours is not None and theirs is not None and not palette.are_alike(ours, theirs):
        raise InputError(f"{other.name} learned by another prior than {first.name}")


def _together(cards: Sequence[Card], parts: Sequence[float]) -> dict[str, Any]:
    """The first one's recipe, with what all of them took, where that is known of all, and which they are."""
    taken = ("steps", "trained", "mean_of", "mean_of_files")
    files = [
        {"sha256": card.sha256, "part": part}
        | {key: card.recipe[key] for key in ("start", *taken) if key in card.recipe}
        for card, part in zip(cards, parts, strict=True)
    ]
    recipe = {key: value for key, value in cards[0].recipe.items() if key not in taken}
    if all("trained" in card.recipe and "steps" in card.recipe for card in cards):
        trained = [card.recipe["trained"] for card in cards]
        recipe["trained"] = {key: sum(each.get(key, 0) for each in trained) for key in trained[0]}
        recipe["steps"] = sum(card.recipe["steps"] for card in cards)
    return recipe | {"mean_of_files": files}


def _parts(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if text]
    except ValueError as error:
        raise InputError(f"parts are numbers with commas between, not {text!r}") from error


def _decoded(card: Card, temperature: float | None, size: int | None, take_back: float | None) -> Card:
    given: dict[str, Any] = {"size": size, "temperature": temperature, "taken_back": take_back}
    return replace(card, **{key: value for key, value in given.items() if value is not None})


def _write(net: nn.Module, card: Card, out: Path) -> int:
    import torch

    from model import checkpoint

    checkpoint.Card.from_json(card.to_json())  # before a file is there that `load` would refuse
    card = checkpoint.save(net, card, out, torch.float16)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, sha256 {card.sha256}")
    return 0


def _checked(out: Path, numbers: list[str]) -> dict[str, Any]:
    """What was measured, by photos. Raises InputError before anything is loaded."""
    if out.suffix != ".safetensors":
        raise InputError(f"{out} must end in .safetensors")
    return {name: _numbers(Path(path)) for name, _, path in (pair.partition("=") for pair in numbers)}


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
