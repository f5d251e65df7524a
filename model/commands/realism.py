"""Make pairs for the paper's test of realism, and read what people answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option, Typer

from model.commands.evaluate import progress, write
from model.commands.options import Device, Exclude, Limit, Nets, out_of
from model.errors import InputError

app = Typer()

_ON_A_SHEET = 24


@app.command(
    short_help="pairs of a photograph and its recolored one, for people to tell apart; and their answers"
)
def realism(
    photos: Annotated[
        list[Path],
        Option(
            "--photos",
            metavar="DIR...",
            help="color photographs to make pairs of, as in all other evaluations",
        ),
    ] = [],
    exclude: Exclude = [],
    limit: Limit = 0,
    net: Nets = ["lite"],
    side: Annotated[int, Option(metavar="PIXELS", help="the longer side of the pictures, at most 400")] = 384,
    terms: Annotated[
        str, Option(metavar="TEXT", help="whose the photographs are, and on what terms: shown on the page")
    ] = "",
    answers: Annotated[
        Path | None,
        Option("--read", metavar="CSV", help="instead: read /clap/tallies.csv, and print the fooling rates"),
    ] = None,
    pairs: Annotated[
        Path | None,
        Option(
            metavar="DIR", help="with --read: where the pairs are, for sheets of the most and least fooling"
        ),
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path,
        out_of("the pairs and pairs.json; with --read for realism.json, realism.md, most.jpg and least.jpg"),
    ] = Path("out/realism"),
) -> int:
    """Write pairs and their manifest, for AUTOCHROME_CLAP_DIR; or print fooling rates with intervals by bootstrap over pairs."""
    if (answers is None) == (not photos):
        raise BadParameter("one of --photos and --read is needed, and not both")
    if answers is not None:
        return _read(answers, pairs, out)
    if not 64 <= side <= 400:
        raise BadParameter(f"--side is 64 to 400 pixels, not {side}")

    from model.commands import selection
    from model.evaluate import realism as test

    if (out / test.MANIFEST).exists():
        raise InputError(f"{out} holds pairs already: choose another folder, or delete that one")
    found = selection.Selection(photos, exclude, limit=limit).found()
    colorizers = selection.nets(net, device)
    out.mkdir(parents=True, exist_ok=True)
    made = [
        pair
        for path in progress(found, len(found), "coloring")
        for colorizer in colorizers
        if (pair := test.make(path, colorizer, side, out))
    ]
    test.write(made, {colorizer.sha256: colorizer.name for colorizer in colorizers}, terms, out)
    left_out = len(found) * len(colorizers) - len(made)
    print(
        f"{len(made)} pairs in {out}"
        + (f"; {left_out} of gray photographs were left out" if left_out else "")
    )
    return 0


def _read(answers: Path, pairs: Path | None, out: Path) -> int:
    from model.evaluate import figures
    from model.evaluate import realism as test

    tallies = test.read_tallies(answers)
    known = {} if pairs is None else test.read(pairs)
    summary = test.summarize(tallies)
    write(out, "realism", summary.as_markdown(), summary.as_json())
    if pairs is None:
        return 0
    shown = [tally for tally in tallies if tally.pair in known]
    if not shown:
        raise InputError(f"{answers} holds no answer to a pair of {pairs}")
    for name, extreme in zip(("most", "least"), test.extremes(shown, _ON_A_SHEET), strict=True):
        strips = [test.strip(tally, known[tally.pair], pairs) for tally in extreme]
        figures.save(figures.sheet(["photograph", "recolored"], strips), out / f"{name}.jpg")
    print(f"the pairs that fooled most and least: {out / 'most.jpg'}, {out / 'least.jpg'}")
    return 0
