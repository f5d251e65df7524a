"""Measure nets on photographs that they have not seen."""

from __future__ import annotations

import argparse
import json

from model.colorizer import Colorizer, ColorOptions
from model.commands import selection
from model.evaluate import color as measure


def color(arguments: argparse.Namespace) -> int:
    """Print the table of `evaluate.color`; write it as JSON and Markdown, and a contact sheet beside."""
    photos = selection.selected(arguments)
    colorizers = [Colorizer.load(net, arguments.device) for net in arguments.net]
    options = ColorOptions(arguments.temperature)
    scores = measure.evaluate(colorizers, photos, options)
    table = f"{len(photos)} photographs\n\n{measure.table(scores)}\n"
    print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "color.md").write_text(table)
    facts = {
        "photos": len(photos),
        "nets": {c.name: c.sha256 for c in colorizers},
        "scores": measure.as_json(scores),
    }
    (arguments.out / "color.json").write_text(json.dumps(facts, indent=2) + "\n")
    sheet = measure.contact_sheet(colorizers, photos, options=options)
    sheet.save(arguments.out / "color.jpg", quality=90)
    print(f"the contact sheet: {arguments.out / 'color.jpg'}")
    return 0
