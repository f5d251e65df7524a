"""Measure what decoding does to a net's colors."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.progress import track

from model.commands import selection
from model.evaluate import curves
from model.evaluate import decoding as measure

_SHARES = (0.0, 0.2, 0.3, 0.4, 0.5)


def decoding(arguments: argparse.Namespace) -> int:
    """Print the tables of `evaluate.decoding`; write them and JSON, and the figures."""
    photos = selection.selected(arguments)
    colorizer = selection.subject(arguments)
    own = measure.own(colorizer)
    shares = arguments.take_back or (_SHARES if colorizer.card.prior else [own.taken_back])
    axes = measure.Axes(arguments.sizes, arguments.temperatures, shares)
    console = Console(stderr=True)
    seen = track(photos, "decoding", console=console, disable=not console.is_terminal)
    swept = measure.sweep(colorizer, seen, axes)
    text = (
        f"{colorizer.name}, {len(photos)} photographs; where nothing else is said, size {own.size}, temperature {own.temperature:g}, "
        f"{own.taken_back:g} taken back\n\n{measure.table(swept)}\n"
    )
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "decoding.md").write_text(text)
    facts = {
        "net": colorizer.name,
        "sha256": colorizer.sha256,  # "" for a run's, which has no file
        "trained": colorizer.card.recipe.get("trained"),
        "photos": len(photos),
    }
    (arguments.out / "decoding.json").write_text(json.dumps(facts | measure.as_json(swept), indent=2) + "\n")
    curves.draw(swept, arguments.out / "curves.png")
    shown = min(arguments.strips, len(photos))
    if shown:
        chosen = [photos[index * len(photos) // shown] for index in range(shown)]
        strips = measure.strips(colorizer, chosen, arguments.temperatures)
        strips.save(arguments.out / "strips.jpg", quality=88)
    print(
        f"the figures: {arguments.out / 'curves.png'}"
        + (f", {arguments.out / 'strips.jpg'}" if shown else "")
    )
    return 0
