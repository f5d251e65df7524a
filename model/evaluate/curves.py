"""Measures drawn over the temperature."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.evaluate.decoding import MEASURES, Sweep


def draw(swept: Sweep, path: Path) -> None:
    """One panel a measure, at the card's size and share: the net's curve, gray's line, the truth's where it is near; the card's dotted."""
    figure = Figure(figsize=(3.2 * len(MEASURES), 3), layout="constrained")
    FigureCanvasAgg(figure)
    decodings = swept.along("temperature")
    temperatures = [d.temperature for d in decodings]
    for place, (measure, title) in enumerate(MEASURES.items(), 1):
        panel = figure.add_subplot(1, len(MEASURES), place)
        panel.plot(temperatures, [getattr(swept.scores[d], measure) for d in decodings], "o-", ms=3)
        panel.axhline(getattr(swept.gray, measure), color="gray", lw=1, label="gray")
        if (
            measure == "colorfulness"
        ):  # the truth's other measures are perfect, and would press the curve flat
            panel.axhline(swept.truth.colorfulness, color="black", lw=1, label="truth")
        panel.axvline(swept.own.temperature, color="gray", lw=1, ls=":")
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("temperature")
        panel.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=120)
