"""Measure nets on photographs that they have not seen."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress

from model.colorizer import ColorOptions
from model.commands import selection
from model.engines import choose_device
from model.errors import InputError
from model.evaluate import blind as comparison
from model.evaluate import cases, report, sheets, sources
from model.evaluate import color as measure
from model.evaluate import skin as faces
from model.evaluate.cases import Case
from model.evaluate.judge import Judge, labels
from model.training import data
from model.training.aging import AGES

_EXTREMES = 12
_FAILURES = 3  # of each kind


def color(arguments: argparse.Namespace) -> int:
    """Write color.json, color.md and the sheets color.jpg, best.jpg, worst.jpg and failures.jpg; print the tables."""
    if arguments.by_source:
        return _by_source(arguments)
    photos = selection.selected(arguments)
    colorizers = selection.nets(arguments.net, arguments.device)
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


def _by_source(arguments: argparse.Namespace) -> int:
    """Write by_source.json and by_source.md; print the latter."""
    if arguments.aged:
        raise InputError("--by-source measures photographs as they are: leave out --aged")
    wanted = selection.sources(arguments)
    colorizers = selection.nets(arguments.net, arguments.device)
    measure.rows(colorizers)  # refuses nets of one name before the work
    options = ColorOptions(arguments.temperature)
    judge = None if arguments.no_judge else Judge.load(choose_device(arguments.device))

    console = Console(stderr=True)
    looked = []
    with Progress(console=console, disable=not console.is_terminal) as bar:
        for source in wanted:
            known = labels(source.photos) if judge else None
            answered = measure.answered(colorizers, source.photos, options)
            seen = bar.track(answered, len(source.photos), description=source.label)
            kept = report.look(seen, judge, known)
            held_against = (report.IMAGENET if known else report.OWN_ANSWER) if judge else None
            looked.append(sources.Looked(source, kept, held_against))
    found = sources.by_source(looked, [colorizer.name for colorizer in colorizers])

    arguments.out.mkdir(parents=True, exist_ok=True)
    text = sources.as_markdown(found)
    (arguments.out / "by_source.md").write_text(text)
    facts = {"nets": {c.name: c.sha256 for c in colorizers}, "temperature": arguments.temperature}
    (arguments.out / "by_source.json").write_text(json.dumps(facts | sources.as_json(found), indent=2) + "\n")
    print(text)
    return 0


def skin(arguments: argparse.Namespace) -> int:
    """Write skin.json, skin.md and the sheet skin.jpg; print the table."""
    group_of = faces.utkface if arguments.labels is None else faces.labeled(arguments.labels)
    photos = data.find(arguments.photos, arguments.exclude)
    groups = faces.grouped(photos, group_of)
    left_out = len(photos) - sum(map(len, groups.values()))
    groups = {name: selection.evenly(members, arguments.limit) for name, members in groups.items()}
    colorizers = selection.nets(arguments.net, arguments.device)
    headings = measure.rows(colorizers)

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        looked = {
            name: faces.look(bar.track(measure.answered(colorizers, members), len(members), description=name))
            for name, members in groups.items()
        }
    found = faces.report(looked)

    arguments.out.mkdir(parents=True, exist_ok=True)
    text = faces.as_markdown(found)
    (arguments.out / "skin.md").write_text(text)
    facts = {"nets": {c.name: c.sha256 for c in colorizers}, "without_a_group": left_out}
    (arguments.out / "skin.json").write_text(json.dumps(facts | faces.as_json(found), indent=2) + "\n")
    print(text)
    if left_out:
        print(f"{left_out} of {len(photos)} photographs have no group, and were left out")
    strips = [
        sheets.Strip(name, list(answers.values()))
        for name, members in groups.items()
        for _, answers in measure.answered(colorizers, selection.evenly(members, arguments.sheet))
    ]
    sheets.save(sheets.sheet(headings, strips), arguments.out / "skin.jpg")
    print(f"the contact sheet: {arguments.out / 'skin.jpg'}")
    return 0


def blind(arguments: argparse.Namespace) -> int:
    """Write a strip of each photo by number, answers.csv to fill in, and key.json."""
    if (arguments.out / comparison.KEY).exists():
        raise InputError(
            f"{arguments.out} holds a comparison already: choose another folder, or delete that one"
        )
    photos = selection.evenly(data.find(arguments.photos, arguments.exclude), arguments.limit)
    colorizers = selection.nets(arguments.net, arguments.device)
    measure.rows(colorizers)  # refuses nets of one name
    arguments.out.mkdir(parents=True, exist_ok=True)
    key = comparison.drawn(photos, [colorizer.name for colorizer in colorizers], arguments.seed)
    by_name = {colorizer.name: colorizer for colorizer in colorizers}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        for path, entry in zip(bar.track(photos, description="coloring"), key, strict=True):
            strip = comparison.strip(path, [by_name[name] for name in entry.order], entry, arguments.height)
            # at full chroma resolution, as how well colors keep to edges is to be judged
            strip.save(arguments.out / f"{entry.photo:03}.jpg", quality=92, subsampling=0)
    comparison.write(key, {c.name: c.sha256 for c in colorizers}, arguments.seed, arguments.out)
    print(
        f"{len(photos)} strips in {arguments.out}: write a, b, both or neither, which you would keep, into "
        f"{arguments.out / comparison.ANSWERS}; then `python -m model evaluate blind-count {arguments.out}`"
    )
    return 0


def blind_count(arguments: argparse.Namespace) -> int:
    """Print what was answered, by net."""
    nets, key = comparison.read_key(arguments.folder / comparison.KEY)
    answers = comparison.read_answers(arguments.answers or arguments.folder / comparison.ANSWERS, key)
    print(comparison.said(comparison.count(nets, key, answers), len(key)))
    return 0
