"""Photographs side by side, as a person would see them."""

from __future__ import annotations

import argparse

from model.colorizer import Colorizer
from model.evaluate import sheets
from model.training import data


def gallery(arguments: argparse.Namespace) -> int:
    """Write photographs side by side as a person would see them: gray, colored, true."""
    colorizer = Colorizer.load(arguments.net, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in data.find(arguments.photos):
        sheets.save(sheets.whole(colorizer, data.read(path)), arguments.out / f"{path.stem}.jpg")
    return 0
