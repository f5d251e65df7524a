"""Which photographs a command is to look at, and which net."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from model import checkpoint, datasets
from model.colorizer import Colorizer
from model.commands import run


def selected(arguments: argparse.Namespace) -> list[Path]:
    """The photos that `--photos`, `--exclude`, `--only`, `--held-out` and `--limit` ask for.

    Raises FileNotFoundError for a source that holds none.
    """
    photos = datasets.find(arguments.photos, arguments.exclude)
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = datasets.split(photos, arguments.held_out)[1]
    if 0 < arguments.limit < len(photos):
        photos = [photos[index * len(photos) // arguments.limit] for index in range(arguments.limit)]
    return photos


def subject(arguments: argparse.Namespace) -> tuple[Colorizer, Tensor | None]:
    """The net that `--net` or `--run` asks for; of a run also its (313,) class weights, where it has any.

    A run has no card: it is decoded as the shipped weights are, their share of the rebalancing taken back. Raises
    `checkpoint.CheckpointError`, or FileNotFoundError for a folder without a run.
    """
    if arguments.run_folder is None:
        return Colorizer.load(arguments.net, arguments.device), None
    found = run.read(arguments.run_folder)
    shipped = checkpoint.read_card(checkpoint.locate("lite"))
    share = 0.0 if found.weights is None else shipped.recipe["taken_back"]
    found.take_back(share)
    card = replace(
        shipped,
        name=arguments.run_folder.resolve().name,
        net=found.recipe["net"],
        recipe=found.recipe | {"trained": found.trained, "taken_back": share},
        sha256="",
    )
    return Colorizer(found.net, card, arguments.device), found.weights
