"""Measure nets on photographs that they have not seen."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress

from model.colorizer import Colorizer, ColorOptions, choose_device
from model.commands import selection
from model.evaluate import cases, report, sheets
from model.evaluate import color as measure
from model.evaluate.cases import Case
from model.evaluate.judge import Judge, labels
from model.training.augment import AGES

_EXTREMES = 12
_FAILURES = 3  # of each kind


def color(arguments: argparse.Namespace) -> int:
    """Write color.json, color.md and the sheets color.jpg, best.jpg, worst.jpg and failures.jpg; print the tables."""
    photos = selection.selected(arguments)
    colorizers = [Colorizer.load(net, arguments.device) for net in arguments.net]
    options = ColorOptions(arguments.temperature)
    ages = list(AGES) if "all" in arguments.aged else arguments.aged
    headings = measure.rows(colorizers, ages)
    judge = None if arguments.no_judge else Judge.load(choose_device(arguments.device))
    known = labels(photos) if judge else None

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        answered = measure.answered(colorizers, photos, options, ages)
        kept = report.look(bar.track(answered, len(photos), description="evaluating"), judge, known)
    nets = [colorizer.name for colorizer in colorizers]
    measured = report.report(kept, known, nets, ages)

    arguments.out.mkdir(parents=True, exist_ok=True)
    tables = report.as_markdown(measured)
    (arguments.out / "color.md").write_text(tables)
    facts = {"nets": {c.name: c.sha256 for c in colorizers}, "temperature": arguments.temperature}
    (arguments.out / "color.json").write_text(json.dumps(facts | report.as_json(measured), indent=2) + "\n")
    print(tables)

    def draw(chosen: Sequence[Case], name: str) -> None:
        again = measure.answered(colorizers, [photos[case.photo] for case in chosen], options, ages)
        strips = [
            sheets.Strip(case.caption, list(answers.values()))
            for case, (_, answers) in zip(chosen, again, strict=True)
        ]
        sheets.save(sheets.sheet(headings, strips), arguments.out / name)

    best, worst = cases.extremes(kept["gray"], kept[nets[0]], photos, _EXTREMES)
    draw(cases.evenly(len(photos), arguments.sheet), "color.jpg")
    draw(best, "best.jpg")
    draw(worst, "worst.jpg")
    draw(cases.failed(kept[nets[0]], _FAILURES), "failures.jpg")
    print(f"the contact sheet: {arguments.out / 'color.jpg'}; beside it best.jpg, worst.jpg and failures.jpg")
    return 0
