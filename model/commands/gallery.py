"""Photographs side by side, as a person would see them."""

from __future__ import annotations

import argparse

from model import datasets
from model.colorizer import Colorizer
from model.evaluate import color


def gallery(arguments: argparse.Namespace) -> int:
    """Write photographs side by side as a person would see them: gray, colored, true."""
    colorizer = Colorizer.load(arguments.net, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in datasets.find(arguments.photos):
        color.strip(colorizer, datasets.read(path)).save(arguments.out / f"{path.stem}.jpg", quality=88)
    return 0
