"""Measure what reference colors do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from model.commands.evaluate import progress, write
from model.commands.options import Device, Exclude, Limit, Net, Photos, out_of

app = Typer()


@app.command(short_help="how much nearer the truth a palette leads, and what a wrong one spoils")
def reference(
    photos: Photos,
    exclude: Exclude = [],
    limit: Limit = 0,
    net: Net = "lite",
    seed: Annotated[int, Option(help="of the photos whose palettes others get, and of the draws")] = 0,
    sheet: Annotated[int, Option(metavar="N", help="photos on the sheet")] = 24,
    device: Device = "auto",
    out: Annotated[Path, out_of("reference.json, reference.md and the sheet reference.jpg")] = Path(
        "out/reference"
    ),
) -> int:
    """Write reference.json, reference.md and the sheet reference.jpg; print the tables. --photos take NAME=PATH; --limit is a source's."""
    from model.colorizer import Colorizer
    from model.commands import selection
    from model.evaluate import color, figures
    from model.evaluate import reference as measure

    colorizer = Colorizer.load(net, device)
    sources = selection.Selection(photos, exclude, limit=limit).sources()
    found = measure.cases(sources, seed)
    summary = measure.summarize(
        measure.measure(colorizer, progress(found, len(found), "reference colors")), seed
    )
    write(out, "reference", summary.as_markdown(), {colorizer.name: colorizer.sha256} | summary.as_json())
    strips = []
    for case in color.evenly(found, sheet):
        truth, pictures = measure.colored(colorizer, case)
        strips.append(
            figures.Strip(case.path.stem, [*(picture.pixels for picture in pictures.values()), truth.pixels])
        )
    headings = [*(found[0].palettes if found else ()), "ground truth"]
    figures.save(figures.sheet(headings, strips), out / "reference.jpg")
    return 0
