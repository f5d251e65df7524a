"""Measure nets on photographs that they have not seen, and show their colors."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from model.colorizer import Colorizer, ColorOptions
from model.commands import selection
from model.engines import choose_device
from model.errors import InputError
from model.evaluate import blind as comparison
from model.evaluate import color as measure
from model.evaluate import cues as low_level
from model.evaluate import decoding as decodings
from model.evaluate import failures, figures, report
from model.evaluate import skin as faces
from model.evaluate.failures import Case
from model.evaluate.judge import Judge, labels
from model.image_io import Photo
from model.training import data
from model.training.aging import AGES

_EXTREMES = 12
_FAILURES = 3  # of each kind
_SHARES = (0.0, 0.2, 0.3, 0.4, 0.5)

Item = TypeVar("Item")


def color(arguments: argparse.Namespace) -> int:
    """Write color.json, color.md and the sheets color.jpg, best.jpg, worst.jpg and failures.jpg; print the tables."""
    if arguments.by_source:
        return _by_source(arguments)
    photos = selection.selected(arguments)
    colorizers = selection.nets(arguments.net, arguments.device)
    options = ColorOptions(arguments.temperature)
    ages = list(AGES) if "all" in arguments.aged else arguments.aged
    headings = [measure.heading(row) for row in measure.rows(colorizers, ages)]
    judge = None if arguments.no_judge else Judge.load(choose_device(arguments.device))
    known = labels(photos) if judge else None

    colorized = measure.colorized(colorizers, photos, options, ages)
    rows = report.measure(_progress(colorized, len(photos), "evaluating"), judge, known)
    nets = [colorizer.name for colorizer in colorizers]
    summary = report.summarize(rows, known, nets, ages)
    settings = {"nets": _hashes(colorizers), "temperature": arguments.temperature}
    _write(arguments.out, "color", summary.as_markdown(), settings | summary.as_json())

    def draw(chosen: Sequence[Case], name: str) -> None:
        again = measure.colorized(colorizers, [photos[case.photo] for case in chosen], options, ages)
        strips = [
            figures.Strip(case.caption, list(by_row.values()))
            for case, (_, by_row) in zip(chosen, again, strict=True)
        ]
        figures.save(figures.sheet(headings, strips), arguments.out / name)

    first = rows[nets[0]]
    best, worst = failures.extremes(rows["gray"].tally.error, first.tally.error, photos, _EXTREMES)
    draw(failures.sample(len(photos), arguments.sheet), "color.jpg")
    draw(best, "best.jpg")
    draw(worst, "worst.jpg")
    draw(failures.examples(first.failures, _FAILURES), "failures.jpg")
    print(f"the contact sheet: {arguments.out / 'color.jpg'}; beside it best.jpg, worst.jpg and failures.jpg")
    return 0


def _by_source(arguments: argparse.Namespace) -> int:
    """Write by_source.json and by_source.md; print the latter."""
    if arguments.aged:
        raise InputError("--by-source measures photographs as they are: leave out --aged")
    sources = selection.sources(arguments)
    colorizers = selection.nets(arguments.net, arguments.device)
    measure.rows(colorizers)  # refuses nets of one name before the work
    options = ColorOptions(arguments.temperature)
    judge = None if arguments.no_judge else Judge.load(choose_device(arguments.device))

    measured = []
    for source in sources:
        known = labels(source.photos) if judge else None
        colorized = measure.colorized(colorizers, source.photos, options)
        rows = report.measure(_progress(colorized, len(source.photos), source.label), judge, known)
        judged_by = (report.IMAGENET if known else report.OWN_PREDICTION) if judge else None
        measured.append(report.SourceMetrics(source, rows, judged_by))
    found = report.by_source(measured, [colorizer.name for colorizer in colorizers])
    settings = {"nets": _hashes(colorizers), "temperature": arguments.temperature}
    _write(arguments.out, "by_source", found.as_markdown(), settings | found.as_json())
    return 0


def decoding(arguments: argparse.Namespace) -> int:
    """Write decoding.json, decoding.md and the figures curves.png and strips.jpg; print the tables."""
    photos = selection.selected(arguments)
    colorizer = selection.subject(arguments)
    own = decodings.own(colorizer)
    shares = arguments.take_back or (_SHARES if colorizer.card.prior else [own.taken_back])
    axes = decodings.Axes(arguments.sizes, arguments.temperatures, shares)
    swept = decodings.sweep(colorizer, _progress(photos, len(photos), "decoding"), axes)
    text = (
        f"{colorizer.name}, {len(photos)} photographs; where nothing else is said, size {own.size}, temperature {own.temperature:g}, "
        f"{own.taken_back:g} taken back\n\n{decodings.as_markdown(swept)}"
    )
    settings = {
        "net": colorizer.name,
        "sha256": colorizer.sha256,  # "" for a run's, which has no file
        "trained": colorizer.card.recipe.get("trained"),
        "photos": len(photos),
    }
    _write(arguments.out, "decoding", text, settings | decodings.as_json(swept))
    written = [arguments.out / "curves.png"]
    decodings.curves(swept, written[0])
    if shown := measure.evenly(photos, arguments.strips):
        written.append(arguments.out / "strips.jpg")
        figures.save(decodings.strips(colorizer, shown, arguments.temperatures), written[1])
    print(f"the figures: {', '.join(map(str, written))}")
    return 0


def cues(arguments: argparse.Namespace) -> int:
    """Write cues.json, cues.md and cues.jpg, a figure of all stimuli and responses; print the findings."""
    colorizer = selection.subject(arguments)
    shown = low_level.stimuli()
    responses = low_level.respond(colorizer, shown)
    findings = low_level.summarize(responses)
    text = f"{colorizer.name}\n\n{low_level.as_markdown(responses, findings)}\n"
    settings = {"net": colorizer.name, "sha256": colorizer.sha256}
    _write(arguments.out, "cues", text, settings | low_level.as_json(responses, findings))
    low_level.figure(shown, responses).save(arguments.out / "cues.jpg", quality=75)
    print(f"the figure: {arguments.out / 'cues.jpg'}")
    return 0


def skin(arguments: argparse.Namespace) -> int:
    """Write skin.json, skin.md and the sheet skin.jpg; print the table."""
    group_of = faces.utkface if arguments.labels is None else faces.labeled(arguments.labels)
    photos = data.find(arguments.photos, arguments.exclude)
    groups = faces.grouped(photos, group_of)
    left_out = len(photos) - sum(map(len, groups.values()))
    groups = {name: selection.limited(members, arguments.limit) for name, members in groups.items()}
    colorizers = selection.nets(arguments.net, arguments.device)
    headings = [measure.heading(row) for row in measure.rows(colorizers)]

    measured = {
        name: faces.measure(_progress(measure.colorized(colorizers, members), len(members), name))
        for name, members in groups.items()
    }
    summary = faces.summarize(measured)
    settings = {"nets": _hashes(colorizers), "without_a_group": left_out}
    _write(arguments.out, "skin", summary.as_markdown(), settings | summary.as_json())
    if left_out:
        print(f"{left_out} of {len(photos)} photographs have no group, and were left out")
    strips = [
        figures.Strip(name, list(by_row.values()))
        for name, members in groups.items()
        for _, by_row in measure.colorized(colorizers, selection.limited(members, arguments.sheet))
    ]
    figures.save(figures.sheet(headings, strips), arguments.out / "skin.jpg")
    print(f"the contact sheet: {arguments.out / 'skin.jpg'}")
    return 0


def blind(arguments: argparse.Namespace) -> int:
    """Write a strip of each photo by number, answers.csv to fill in, and key.json."""
    if (arguments.out / comparison.KEY).exists():
        raise InputError(
            f"{arguments.out} holds a comparison already: choose another folder, or delete that one"
        )
    photos = selection.limited(data.find(arguments.photos, arguments.exclude), arguments.limit)
    colorizers = selection.nets(arguments.net, arguments.device)
    measure.rows(colorizers)  # refuses nets of one name
    arguments.out.mkdir(parents=True, exist_ok=True)
    key = comparison.draw_key(photos, [colorizer.name for colorizer in colorizers], arguments.seed)
    by_name = {colorizer.name: colorizer for colorizer in colorizers}
    for path, entry in zip(_progress(photos, len(photos), "coloring"), key, strict=True):
        strip = comparison.strip(path, [by_name[name] for name in entry.order], entry, arguments.height)
        # at full chroma resolution, as how well colors keep to edges is to be judged
        strip.save(arguments.out / f"{entry.photo:03}.jpg", quality=92, subsampling=0)
    comparison.write(key, _hashes(colorizers), arguments.seed, arguments.out)
    print(
        f"{len(photos)} strips in {arguments.out}: write a, b, both or neither, which you would keep, into "
        f"{arguments.out / comparison.VERDICTS_FILE}; then `python -m model evaluate blind-count {arguments.out}`"
    )
    return 0


def blind_count(arguments: argparse.Namespace) -> int:
    """Print the verdicts, by net."""
    nets, key = comparison.read_key(arguments.folder / comparison.KEY)
    file = arguments.answers or arguments.folder / comparison.VERDICTS_FILE
    counts = comparison.count(nets, key, comparison.read_verdicts(file, key))
    print(comparison.as_text(counts, len(key)))
    return 0


def gallery(arguments: argparse.Namespace) -> int:
    """Write photographs side by side as a person would see them: gray, colored, ground truth."""
    colorizer = Colorizer.load(arguments.net, arguments.device)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in data.find(arguments.photos):
        truth = data.read(path)
        [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
        picture = figures.gray_colored_true(truth, measure.gray(truth), colored.pixels)
        figures.save(picture, arguments.out / f"{path.stem}.jpg")
    return 0


def _hashes(colorizers: Sequence[Colorizer]) -> dict[str, str]:
    return {colorizer.name: colorizer.sha256 for colorizer in colorizers}


def _progress(items: Iterable[Item], total: int, description: str) -> Iterable[Item]:
    """The items, with a progress bar on a terminal."""
    console = Console(stderr=True)
    return track(items, description, total, console=console, disable=not console.is_terminal)


def _write(out: Path, name: str, text: str, content: Mapping[str, object]) -> None:
    """The text as NAME.md, and printed; the content as NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    print(text)
