"""Measure what a net can say beside its first answer: what follows from a person's hints, what else a photo could have been, how sure of
its hues it is, what bolder and safer make of them, and a second look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option, Typer

from model.commands.evaluate import progress, write
from model.commands.options import Device, Exclude, Limit, Net, Photos, out_of
from model.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.cards import Calibration

app = Typer()

OwnNet = Annotated[str, Option("--net", help="a net's name, or a .safetensors file")]
Seed = Annotated[int, Option(help="of the places, directions and draws")]
Sheet = Annotated[int, Option(metavar="N", help="photos on the sheet")]


@app.command(short_help="how much nearer the truth hints lead, and what they spill beyond an object")
def hints(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    masks: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="CamVid in its layout: also what a hint in an object of test/ moves outside of it",
        ),
    ] = None,
    net: Net = "lite",
    seed: Seed = 0,
    sheet: Sheet = 12,
    device: Device = "auto",
    out: Annotated[Path, out_of("hints.json, hints.md and the sheet hints.jpg")] = Path("out/hints"),
) -> int:
    """Write hints.json, hints.md and the sheet hints.jpg; print the tables. --photos take NAME=PATH; --limit is a source's."""
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import color, figures
    from model.evaluate import hints as measure

    found = selection.Selection(photos, exclude, limit=limit).of_all_sources()
    pairs = [] if masks is None else _masked(masks)
    colorizer = Colorizer.load(net, device)
    psnr = measure.gains(colorizer, progress(found, len(found), "hints"), seed)
    spilt = list(measure.spills(colorizer, progress(pairs, len(pairs), "objects"), seed))
    times = [measure.seconds(colorizer, path, seed) for path in color.evenly(found, sheet)]
    summary = measure.summarize(psnr, spilt, seed, times)
    settings = {"net": colorizer.name, "sha256": colorizer.sha256}
    write(out, "hints", summary.as_markdown(), settings | summary.as_json())
    strips = []
    for path in color.evenly(found, sheet):
        shown = measure.opened(colorizer, path)
        strips.append(
            figures.Strip(path.stem, [*measure.with_hints(shown, path, seed).values(), shown.truth])
        )
    headings = ["no hint", *(f"hints: {count}" for count in measure.COUNTS), "ground truth"]
    figures.save(figures.sheet(headings, strips), out / "hints.jpg")
    return 0


@app.command(short_help="whether alternatives are nearer the truth than the first answer")
def alternatives(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    count: Annotated[int, Option(metavar="N", min=1, max=8, help="alternatives of a photo")] = 2,
    net: Net = "lite",
    seed: Seed = 0,
    sheet: Sheet = 40,
    device: Device = "auto",
    out: Annotated[Path, out_of("alternatives.json, alternatives.md and the sheet alternatives.jpg")] = Path(
        "out/alternatives"
    ),
) -> int:
    """Write alternatives.json, alternatives.md and the sheet alternatives.jpg, with controls; print the tables. --photos take NAME=PATH;
    --limit is a source's."""
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import alternatives as measure
    from model.evaluate import color, figures
    from model.evaluate.hints import opened

    found = selection.Selection(photos, exclude, limit=limit).of_all_sources()
    colorizer = Colorizer.load(net, device)
    summary = measure.summarize(
        measure.measure(colorizer, progress(found, len(found), "alternatives"), count), seed
    )
    settings = {"net": colorizer.name, "sha256": colorizer.sha256}
    write(out, "alternatives", summary.as_markdown(), settings | summary.as_json())
    strips = []
    for path in color.evenly(found, sheet):
        shown = opened(colorizer, path)
        made = measure.pictures(shown, count)
        missing = [made.first] * (count - len(made.others))
        row: list[NDArray[np.float32]] = [made.first, *made.others, *missing, *made.controls, *missing]
        strips.append(figures.Strip(path.stem, [*map(shown.colored, row), shown.truth]))
    kinds = [f"{kind} {place}" for kind in ("alternative", "control") for place in range(1, count + 1)]
    figures.save(figures.sheet(["first answer", *kinds, "ground truth"], strips), out / "alternatives.jpg")
    return 0


@app.command(short_help="what a second look at large photographs is worth")
def detail(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    mosaic: Annotated[
        int,
        Option(
            metavar="N", show_default=False, help="small people: mosaics of N x N of each source's photos"
        ),
    ] = 0,
    net: Net = "lite",
    sheet: Sheet = 8,
    device: Device = "auto",
    out: Annotated[Path, out_of("detail.json, detail.md and the sheet detail.jpg")] = Path("out/detail"),
) -> int:
    """Write detail.json, detail.md and the sheet detail.jpg; print the tables. --photos take NAME=PATH; --limit is a source's."""
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import color, figures
    from model.evaluate import detail as measure

    colorizer = Colorizer.load(net, device)
    measured, grouped = [], []
    for source in selection.Selection(photos, exclude, limit=limit).sources():
        those = measure.groups(source.photos, mosaic)
        measured.append(measure.measure(colorizer, source.name, progress(those, len(those), source.name)))
        grouped += those
    report = measure.summarize(measured)
    settings = {colorizer.name: colorizer.sha256, "mosaic": mosaic}
    write(out, "detail", report.as_markdown(), settings | report.as_json())
    rows = []
    for paths in color.evenly(grouped, sheet):
        looked = measure.look(colorizer, measure.photograph(paths))
        if looked is not None:
            shown = looked.pictures
            rows.append([("off", shown["off"]), ("on", shown["on"]), ("ground truth", looked.truth)])
    if rows:
        figures.save(figures.grid(rows, 240), out / "detail.jpg")
    return 0


@app.command(short_help="how often a hue is right of which the net says that it is so sure")
def calibration(
    photos: Photos,
    fit: Annotated[
        list[Path],
        Option(
            metavar="NAME=PATH...",
            help="fit the calibration on these sources, and judge it on those of --photos; default: the card's is judged",
        ),
    ] = [],
    exclude: Exclude = [],
    limit: Limit = 0,
    net: OwnNet = "lite",
    device: Device = "auto",
    out: Annotated[Path, out_of("calibration.json, calibration.md and calibration.png")] = Path(
        "out/calibration"
    ),
) -> int:
    """Write calibration.json, calibration.md and the reliability diagram calibration.png; print the table, by source.

    Sources are NAME=PATH, as in `evaluate color --by-source`; --limit is a source's.
    """
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import calibration as reliabilities

    colorizer = Colorizer.load(net, device)

    def measured(words: Sequence[Path]) -> dict[str, list[reliabilities.Places]]:
        return {
            source.label: [
                *reliabilities.measure(colorizer, progress(source.photos, len(source.photos), source.label))
            ]
            for source in selection.Selection(words, exclude, limit=limit).sources()
        }

    def judged(
        by: Calibration, sources: Mapping[str, list[reliabilities.Places]]
    ) -> dict[str, reliabilities.Reliability]:
        return {f"{name}, {len(of)}": reliabilities.reliability(of, by) for name, of in sources.items() if of}

    known = getattr(colorizer.card, "calibration", None)
    fitted = measured(fit)
    if fitted:
        known = reliabilities.fit(fitted)
    if known is None:
        raise InputError(
            f"the card of {colorizer.name} has no calibration to be judged: name photographs by --fit"
        )
    held = measured(photos)
    found = judged(known, held)
    text = f"{reliabilities.line(known)}\n\n{reliabilities.as_markdown(found)}"
    if fitted:
        other = reliabilities.fit(held)
        text += f"\nThe other way round: {reliabilities.line(other)}\n\n{reliabilities.as_markdown(judged(other, fitted))}"
    settings = {"net": colorizer.name, "sha256": colorizer.sha256}
    write(out, "calibration", text, settings | reliabilities.as_json(found, known))
    reliabilities.diagram(found, out / "calibration.png")
    print(f"the figure: {out / 'calibration.png'}")
    return 0


@app.command(short_help="what bolder and safer do to the colors")
def boldness(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    values: Annotated[list[float], Option(metavar="B...", help="-1 to 1")] = [-1, -0.5, 0, 0.5, 1],
    net: OwnNet = "lite",
    device: Device = "auto",
    out: Annotated[Path, out_of("boldness.json, boldness.md and boldness.png")] = Path("out/boldness"),
) -> int:
    """Write boldness.json, boldness.md and the figure boldness.png, rebalanced over raw AuC; print the table.

    --limit is a source's: --photos take NAME=PATH, as in `evaluate color --by-source`.
    """
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import decoding as decodings

    found = selection.Selection(photos, exclude, limit=limit).of_all_sources()
    colorizer = Colorizer.load(net, device)
    line = decodings.line(colorizer, progress(found, len(found), "decoding"), values)
    settings = {"net": colorizer.name, "sha256": colorizer.sha256, "photos": len(found)}
    text = f"{colorizer.name}, {len(found)} photographs\n\n{decodings.line_as_markdown(line)}"
    write(out, "boldness", text, settings | decodings.line_as_json(line))
    decodings.draw_line(line, out / "boldness.png")
    print(f"the figure: {out / 'boldness.png'}")
    return 0


def _masked(camvid: Path) -> list[tuple[Path, Path]]:
    """Frames of CamVid's test and their masks. InputError where there are none."""
    frames = sorted((camvid / "test").glob("*"))
    pairs = [
        (frame, mask) for frame in frames if (mask := camvid / "testannot" / f"{frame.stem}.png").is_file()
    ]
    if not pairs:
        raise InputError(f"{camvid} holds no test/ with masks of the same names in testannot/")
    return pairs
