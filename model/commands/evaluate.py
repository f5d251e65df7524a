"""Measure nets on photographs that they have not seen, and show their colors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from typer import Argument, BadParameter, Option, Typer

from model.commands.options import Device, Exclude, Limit, Nets, Photos, out_of
from model.errors import InputError

if TYPE_CHECKING:
    from model.colorizer import Colorizer
    from model.commands.selection import Selection
    from model.evaluate.failures import Case

_EXTREMES = 12
_FAILURES = 3  # of each kind
_SHARES = (0.0, 0.2, 0.3, 0.4, 0.5)

Item = TypeVar("Item")

app = Typer()

Only = Annotated[str | None, Option("--only", metavar="GLOB", help="file names to keep")]
HeldOut = Annotated[
    int,
    Option("--held-out", metavar="N", show_default=False, help="only what `train --hold-out N` leaves out"),
]
Net = Annotated[
    str | None, Option("--net", help="a net's name, or a .safetensors file (default: lite, if no --run)")
]
Run = Annotated[
    Path | None,
    Option(
        "--run",
        metavar="RUN",
        help="a training run's folder: its averaged weights, decoded as its export would be",
    ),
]


@app.command(short_help="how good the colors are, beside gray and the ground truth")
def color(
    photos: Photos,
    exclude: Exclude = [],
    only: Only = None,
    held_out: HeldOut = 0,
    limit: Limit = 0,
    by_source: Annotated[
        bool,
        Option(
            "--by-source",
            help="tables by source, its mean and all pooled, with differences between nets, instead: --photos take NAME=PATH, and "
            "NAME:train=PATH beside NAME:held=PATH, which tell how much better the photos that were trained on come out; --limit is a "
            "source's, and --held-out leaves :train what training kept",
        ),
    ] = False,
    net: Nets = ["lite"],
    temperature: Annotated[float | None, Option(help="other than the net's own")] = None,
    aged: Annotated[
        list[str],
        Option(
            metavar="KIND...",
            help="photos as age leaves them, too: blur, contrast, grain, fading, toning, halftone, scratches, or all",
        ),
    ] = [],
    no_judge: Annotated[bool, Option("--no-judge", help="leave out the classifier's top-1")] = False,
    sheet: Annotated[int, Option(metavar="N", help="photos on the contact sheet")] = 24,
    device: Device = "auto",
    out: Annotated[
        Path,
        out_of(
            "color.json, color.md, and the sheets color, best, worst and failures.jpg, or by_source.json and by_source.md"
        ),
    ] = Path("out/color"),
) -> int:
    """Write color.json, color.md and the sheets color.jpg, best.jpg, worst.jpg and failures.jpg; print the tables."""
    from model.colorizer import ColorOptions
    from model.commands import selection
    from model.evaluate import color as measure
    from model.evaluate import failures, figures, report
    from model.evaluate.judge import Judge, labels
    from model.runtimes.torch_engine import choose_device
    from model.training.aging import AGES

    selected = selection.Selection(photos, exclude, only, held_out, limit)
    if by_source:
        if aged:
            raise InputError("--by-source measures photographs as they are: leave out --aged")
        return _by_source(selected, net, temperature, not no_judge, device, out)
    found = selected.found()
    colorizers = selection.nets(net, device)
    options = ColorOptions(temperature)
    ages = list(AGES) if "all" in aged else aged
    headings = [measure.heading(row) for row in measure.rows(colorizers, ages)]
    judge = None if no_judge else Judge.load(choose_device(device))
    known = labels(found) if judge else None

    colorized = measure.colorized(colorizers, found, options, ages)
    rows = report.measure(progress(colorized, len(found), "evaluating"), judge, known)
    nets = [colorizer.name for colorizer in colorizers]
    summary = report.summarize(rows, known, nets, ages)
    settings = {"nets": _hashes(colorizers), "temperature": temperature}
    write(out, "color", summary.as_markdown(), settings | summary.as_json())

    def draw(chosen: Sequence[Case], name: str) -> None:
        again = measure.colorized(colorizers, [found[case.photo] for case in chosen], options, ages)
        strips = [
            figures.Strip(case.caption, list(by_row.values()))
            for case, (_, by_row) in zip(chosen, again, strict=True)
        ]
        figures.save(figures.sheet(headings, strips), out / name)

    first = rows[nets[0]]
    best, worst = failures.extremes(rows["gray"].tally.error, first.tally.error, found, _EXTREMES)
    draw(failures.sample(len(found), sheet), "color.jpg")
    draw(best, "best.jpg")
    draw(worst, "worst.jpg")
    draw(failures.examples(first.failures, _FAILURES), "failures.jpg")
    print(f"the contact sheet: {out / 'color.jpg'}; beside it best.jpg, worst.jpg and failures.jpg")
    return 0


def _by_source(
    selected: Selection,
    net: Sequence[str],
    temperature: float | None,
    with_judge: bool,
    device: str,
    out: Path,
) -> int:
    """Write by_source.json and by_source.md; print the latter."""
    from model.colorizer import ColorOptions
    from model.commands import selection
    from model.evaluate import color as measure
    from model.evaluate import report
    from model.evaluate.judge import Judge, labels
    from model.runtimes.torch_engine import choose_device

    sources = selected.sources()
    colorizers = selection.nets(net, device)
    measure.rows(colorizers)  # refuses nets of one name before the work
    options = ColorOptions(temperature)
    judge = Judge.load(choose_device(device)) if with_judge else None

    measured = []
    for source in sources:
        known = labels(source.photos) if judge else None
        colorized = measure.colorized(colorizers, source.photos, options)
        rows = report.measure(progress(colorized, len(source.photos), source.label), judge, known)
        judged_by = (report.IMAGENET if known else report.OWN_PREDICTION) if judge else None
        measured.append(report.SourceMetrics(source, rows, judged_by))
    found = report.by_source(measured, [colorizer.name for colorizer in colorizers])
    settings = {"nets": _hashes(colorizers), "temperature": temperature}
    write(out, "by_source", found.as_markdown(), settings | found.as_json())
    return 0


@app.command(short_help="what size, temperature and share taken back do to the colors")
def decoding(
    photos: Photos,
    exclude: Exclude = [],
    only: Only = None,
    held_out: HeldOut = 0,
    limit: Limit = 0,
    net: Net = None,
    run_folder: Run = None,
    sizes: Annotated[
        list[int], Option(metavar="PIXELS...", help="shorter sides for the net, multiples of 32")
    ] = [160, 192, 224, 256],
    temperatures: Annotated[list[float], Option(metavar="T...", help="of the annealed mean")] = [
        1,
        0.8,
        0.65,
        0.5,
        0.38,
        0.25,
        0.1,
        0,
    ],
    take_back: Annotated[
        list[float],
        Option(
            metavar="SHARE...",
            help="shares of the rebalancing (default: 0 0.2 0.3 0.4 0.5; only its own where a net's card has no prior)",
        ),
    ] = [],
    strips: Annotated[int, Option(metavar="N", help="so many photos in the figure of strips")] = 6,
    device: Device = "auto",
    out: Annotated[
        Path, out_of("decoding.json, decoding.md, and the figures curves.png and strips.jpg")
    ] = Path("out/decoding"),
) -> int:
    """Write decoding.json, decoding.md and the figures curves.png and strips.jpg; print the tables."""
    name = _one_net(net, run_folder)

    from model.commands import selection
    from model.evaluate import color as measure
    from model.evaluate import decoding as decodings
    from model.evaluate import figures

    found = selection.Selection(photos, exclude, only, held_out, limit).found()
    colorizer = selection.subject(name, run_folder, device)
    own = decodings.own(colorizer)
    shares = take_back or (_SHARES if decodings.card_of(colorizer).prior else [own.taken_back])
    axes = decodings.Axes(sizes, temperatures, shares)
    swept = decodings.sweep(colorizer, progress(found, len(found), "decoding"), axes)
    text = (
        f"{colorizer.name}, {len(found)} photographs; where nothing else is said, size {own.size}, temperature {own.temperature:g}, "
        f"{own.taken_back:g} taken back\n\n{decodings.as_markdown(swept)}"
    )
    settings = {
        "net": colorizer.name,
        "sha256": colorizer.sha256,  # "" for a run's, which has no file
        "trained": decodings.card_of(colorizer).recipe.get("trained"),
        "photos": len(found),
    }
    write(out, "decoding", text, settings | decodings.as_json(swept))
    written = [out / "curves.png"]
    decodings.curves(swept, written[0])
    if shown := measure.evenly(found, strips):
        written.append(out / "strips.jpg")
        figures.save(decodings.strips(colorizer, shown, temperatures), written[1])
    print(f"the figures: {', '.join(map(str, written))}")
    return 0


@app.command(short_help="whether a net goes by brightness and texture, or by objects")
def cues(
    net: Net = None,
    run_folder: Run = None,
    device: Device = "auto",
    out: Annotated[Path, out_of("cues.json, cues.md and the figure cues.jpg")] = Path("out/cues"),
) -> int:
    """Write cues.json, cues.md and cues.jpg, a figure of all stimuli and responses; print the findings."""
    name = _one_net(net, run_folder)

    from model.commands import selection
    from model.evaluate import cues as low_level

    colorizer = selection.subject(name, run_folder, device)
    shown = low_level.stimuli()
    responses = low_level.respond(colorizer, shown)
    findings = low_level.summarize(responses)
    text = f"{colorizer.name}\n\n{low_level.as_markdown(responses, findings)}\n"
    settings = {"net": colorizer.name, "sha256": colorizer.sha256}
    write(out, "cues", text, settings | low_level.as_json(responses, findings))
    low_level.figure(shown, responses).save(out / "cues.jpg", quality=75)
    print(f"the figure: {out / 'cues.jpg'}")
    return 0


@app.command(short_help="how near the colors of faces are, by group of people")
def skin(
    photos: Photos,
    exclude: Exclude = [],
    groups: Annotated[
        Literal["utkface"] | None,
        Option(help="groups by the file names, as in UTKFace: age_gender_race_date; this, or --labels"),
    ] = None,
    labels: Annotated[
        Path | None,
        Option(metavar="TSV", help="groups by lines of a file name, or folder/name, a tab and a group"),
    ] = None,
    limit: Annotated[
        int,
        Option(metavar="N", show_default=False, help="at most so many of each group, evenly chosen"),
    ] = 0,
    net: Nets = ["lite"],
    sheet: Annotated[int, Option(metavar="N", help="photos of each group on the contact sheet")] = 4,
    device: Device = "auto",
    out: Annotated[Path, out_of("skin.json, skin.md and the sheet skin.jpg")] = Path("out/skin"),
) -> int:
    """Write skin.json, skin.md and the sheet skin.jpg; print the table."""
    if (groups is None) == (labels is None):
        raise BadParameter("one of --groups and --labels is needed, and not both")

    from model.commands import selection
    from model.evaluate import color as measure
    from model.evaluate import figures
    from model.evaluate import skin as faces
    from model.training import data

    group_of = faces.utkface if labels is None else faces.labeled(labels)
    found = data.find(photos, exclude)
    members = faces.grouped(found, group_of)
    left_out = len(found) - sum(map(len, members.values()))
    members = {name: selection.limited(those, limit) for name, those in members.items()}
    colorizers = selection.nets(net, device)
    headings = [measure.heading(row) for row in measure.rows(colorizers)]

    measured = {
        name: faces.measure(progress(measure.colorized(colorizers, those), len(those), name))
        for name, those in members.items()
    }
    summary = faces.summarize(measured)
    settings = {"nets": _hashes(colorizers), "without_a_group": left_out}
    write(out, "skin", summary.as_markdown(), settings | summary.as_json())
    if left_out:
        print(f"{left_out} of {len(found)} photographs have no group, and were left out")
    strips = [
        figures.Strip(name, list(by_row.values()))
        for name, those in members.items()
        for _, by_row in measure.colorized(colorizers, selection.limited(those, sheet))
    ]
    figures.save(figures.sheet(headings, strips), out / "skin.jpg")
    print(f"the contact sheet: {out / 'skin.jpg'}")
    return 0


@app.command(short_help="how often photos in color, borders and mounts are recognized")
def inspection(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    out: Annotated[Path, out_of("inspection.json and inspection.md")] = Path("out/inspection"),
) -> int:
    """Show photos as they are, toned, and on made pages to what looks at photos before they are colored; print how often it is right."""
    from model.commands import selection
    from model.evaluate import inspection as rates

    found = selection.Selection(photos, exclude, limit=limit).found()
    summary = rates.summarize(list(progress(rates.measure(found), len(found), "inspecting")))
    write(out, "inspection", summary.as_markdown(), {"photos": len(found)} | summary.as_json())
    return 0


@app.command(short_help="whether the page around a photograph stays neutral")
def borders(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    net: Nets = ["lite"],
    sheet: Annotated[int, Option(metavar="N", help="pages on the sheet, the last net's worst")] = 12,
    device: Device = "auto",
    out: Annotated[Path, out_of("borders.json, borders.md and the sheet borders.jpg")] = Path("out/borders"),
) -> int:
    """Write borders.json, borders.md and the sheet borders.jpg; print the table. --photos take NAME=PATH; --limit is a source's."""
    from model.commands import selection
    from model.evaluate import borders as pages
    from model.evaluate import color as measure
    from model.evaluate import figures

    sources = selection.Selection(photos, exclude, limit=limit).sources()
    colorizers = selection.nets(net, device)
    measure.rows(colorizers)  # refuses nets of one name before the work
    measured = {
        source.label: list(
            progress(pages.measure(colorizers, source.photos), len(source.photos), source.label)
        )
        for source in sources
    }
    report = pages.summarize(measured)
    write(out, "borders", report.as_markdown(), {"nets": _hashes(colorizers)} | report.as_json())
    every = [one for those in measured.values() for one in those]
    rows = []
    for path in pages.worst(every, colorizers[-1].name, sheet):
        page = pages.laid(path)
        row = [(path.stem, page.pixels)]
        for colorizer in colorizers:
            by_row, _ = pages.colored(colorizer, pages.seen(page))
            row += by_row.items()
        rows.append(row)
    if rows:
        figures.save(figures.grid(rows, 240), out / "borders.jpg")
        print(f"the sheet: {out / 'borders.jpg'}")
    return 0


@app.command(short_help="old photographs by two nets side by side, without saying which is which")
def blind(
    photos: Photos,
    net: Annotated[tuple[str, str], Option(metavar="OLD NEW")],
    exclude: Exclude = [],
    limit: Limit = 0,
    seed: Annotated[int, Option(help="of the order of A and B")] = 0,
    height: Annotated[int, Option(metavar="PIXELS", help="of the pictures")] = 360,
    device: Device = "auto",
    out: Annotated[
        Path, out_of("a strip gray, A, B of each photo, answers.csv to fill in, and key.json")
    ] = Path("out/blind"),
) -> int:
    """Write a strip of each photo by number, answers.csv to fill in, and key.json."""
    from model.commands import selection
    from model.evaluate import blind as comparison
    from model.evaluate import color as measure
    from model.training import data

    if (out / comparison.KEY).exists():
        raise InputError(f"{out} holds a comparison already: choose another folder, or delete that one")
    found = selection.limited(data.find(photos, exclude), limit)
    colorizers = selection.nets(net, device)
    measure.rows(colorizers)  # refuses nets of one name
    out.mkdir(parents=True, exist_ok=True)
    key = comparison.draw_key(found, [colorizer.name for colorizer in colorizers], seed)
    by_name = {colorizer.name: colorizer for colorizer in colorizers}
    for path, entry in zip(progress(found, len(found), "coloring"), key, strict=True):
        strip = comparison.strip(path, [by_name[name] for name in entry.order], entry, height)
        # at full chroma resolution, as how well colors keep to edges is to be judged
        strip.save(out / f"{entry.photo:03}.jpg", quality=92, subsampling=0)
    comparison.write(key, _hashes(colorizers), seed, out)
    print(
        f"{len(found)} strips in {out}: write a, b, both or neither, which you would keep, into "
        f"{out / comparison.VERDICTS_FILE}; then `python -m model evaluate blind-count {out}`"
    )
    return 0


@app.command(short_help="what was answered to `evaluate blind`, by net")
def blind_count(
    folder: Annotated[Path, Argument(metavar="DIR", help="of `evaluate blind`")],
    answers: Annotated[
        Path | None,
        Argument(
            metavar="CSV",
            help="lines of a photo's number and a, b, both or neither: which you would keep (default: answers.csv in DIR)",
        ),
    ] = None,
) -> int:
    """Print the verdicts, by net."""
    from model.evaluate import blind as comparison

    nets, key = comparison.read_key(folder / comparison.KEY)
    file = answers or folder / comparison.VERDICTS_FILE
    counts = comparison.count(nets, key, comparison.read_verdicts(file, key))
    print(comparison.as_text(counts, len(key)))
    return 0


def _one_net(net: str | None, run: Path | None) -> str:
    """The net's name, by default lite. A usage error where a run is named beside it."""
    if net is not None and run is not None:
        raise BadParameter("--net and --run exclude each other")
    return net or "lite"


def _hashes(colorizers: Sequence[Colorizer]) -> dict[str, str]:
    return {colorizer.name: colorizer.sha256 for colorizer in colorizers}


def progress(items: Iterable[Item], total: int, description: str) -> Iterable[Item]:
    """The items, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description, total, console=console, disable=not console.is_terminal)


def write(out: Path, name: str, text: str, content: Mapping[str, object]) -> None:
    """The text as NAME.md, and printed; the content as NAME.json."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    print(text)
