"""Which photographs a command is to look at, and which net."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from model import checkpoint
from model.checkpoint import Card
from model.colorizer import Colorizer
from model.methods import colorize
from model.training import building, data


def selected(arguments: argparse.Namespace) -> list[Path]:
    """The photos that `--photos`, `--exclude`, `--only`, `--held-out` and `--limit` ask for.

    Raises FileNotFoundError for a source that holds none.
    """
    photos = data.find(arguments.photos, arguments.exclude)
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = data.split(photos, arguments.held_out)[1]
    if 0 < arguments.limit < len(photos):
        photos = [photos[index * len(photos) // arguments.limit] for index in range(arguments.limit)]
    return photos


def subject(arguments: argparse.Namespace) -> Colorizer:
    """The net that `--net` or `--run` asks for.

    A run has no card: one is made that says what its export would. Raises `checkpoint.CheckpointError`, FileNotFoundError for a folder
    without a run, and ValueError for a run of another kind.
    """
    if arguments.run_folder is None:
        return Colorizer.load(arguments.net, arguments.device)
    found = building.load(arguments.run_folder)
    card = card_of(found, arguments.run_folder.resolve().name)
    checkpoint.take_back(found.net, card)
    return Colorizer(found.net, card, arguments.device)


def card_of(found: building.Trained, name: str) -> Card:
    """The card of a run's averaged weights, with size, temperature and share as its validation chose them.

    A run that chose nothing is decoded as the shipped weights are. Terms, data and numbers are for `weights export` to fill in. ValueError
    for a run that trained a backbone.
    """
    if found.config.net not in checkpoint.NETS:
        raise ValueError(
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
        recipe=found.facts["config"] | {"photos": found.facts["data"]["photos"], "trained": found.trained},
        commit=found.facts["code"]["commit"],
        numbers={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        prior=tuple(float(f"{share:.6g}") for share in found.facts["data"]["prior"]) if rebalanced else (),
        lam=found.config.options.lam
        if rebalanced and isinstance(found.config.options, colorize.Options)
        else 1.0,
        taken_back=float(chosen["taken_back"]) if rebalanced else 0.0,
    )
