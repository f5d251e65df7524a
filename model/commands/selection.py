"""Which photographs a command is to look at, and which net."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from model import bins, checkpoint, datasets
from model.checkpoint import Card
from model.colorizer import Colorizer
from model.nets.lite import LiteL2


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
    """The net that `--net` or `--run` asks for, and of a run its (313,) class weights, of which nothing is taken back yet.

    A run has no card: it is decoded as the shipped weights are, unless asked otherwise. Raises `checkpoint.CheckpointError`, or
    FileNotFoundError for a folder without a run.
    """
    if arguments.run_folder is None:
        return Colorizer.load(arguments.net, arguments.device), None
    from model import trainer  # TensorBoard comes with training alone

    state, progressed, facts = trainer.averaged_weights(arguments.run_folder)
    recipe = facts["recipe"]
    net = checkpoint.NETS[recipe["net"]]()
    net.load_state_dict(state)
    shipped = checkpoint.read_card(checkpoint.locate("lite"))
    answers_ab = isinstance(net, LiteL2)
    card = Card(
        name=arguments.run_folder.name,
        net=recipe["net"],
        temperature=shipped.temperature,
        size=shipped.size,
        terms="",
        data="",
        recipe=recipe | {"taken_back": 0.0 if answers_ab else shipped.recipe["taken_back"]},
        commit=facts["code"]["commit"],
        numbers={},
        created="",
        notes=f"after {progressed.step} steps",
    )
    weights = bins.class_weights(torch.tensor(facts["data"]["prior"]), recipe["lam"])
    return Colorizer(net, card, arguments.device), None if answers_ab else weights
