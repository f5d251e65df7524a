"""Measure nets on photographs that they have not seen."""

from __future__ import annotations

import argparse
import json

from model import datasets
from model.colorizer import Colorizer, ColorOptions
from model.evaluate import color


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the table of `evaluate.color`; write it as JSON and Markdown, and a contact sheet beside."""
    photos = datasets.find(arguments.photos, arguments.exclude)
    if arguments.only:
        photos = [path for path in photos if path.match(arguments.only)]
    if arguments.held_out:
        photos = datasets.split(photos, arguments.held_out)[1]
    if 0 < arguments.limit < len(photos):
        photos = [photos[index * len(photos) // arguments.limit] for index in range(arguments.limit)]
    colorizers = [Colorizer.load(net, arguments.device) for net in arguments.net]
    options = ColorOptions(arguments.temperature)
    scores = color.evaluate(colorizers, photos, options)
    table = f"{len(photos)} photographs\n\n{color.table(scores)}\n"
    print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "color.md").write_text(table)
    facts = {
        "photos": len(photos),
        "nets": {c.name: c.sha256 for c in colorizers},
        "scores": color.as_json(scores),
    }
    (arguments.out / "color.json").write_text(json.dumps(facts, indent=2) + "\n")
    sheet = color.contact_sheet(colorizers, photos, options=options)
    sheet.save(arguments.out / "color.jpg", quality=90)
    print(f"the contact sheet: {arguments.out / 'color.jpg'}")
    return 0
