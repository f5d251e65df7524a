"""Color photographs into a folder, or show them side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, Typer

from model.commands.options import Device, Net, Out
from model.errors import InputError, PhotoError
from model.image_headers import FORMATS

if TYPE_CHECKING:
    from model.colorizer import Colorizer, ColorOptions
    from model.image_io import Photo

_BATCH = 4

app = Typer()


@app.command(short_help="color photographs")
def colorize(
    photos: Annotated[list[Path], Argument(metavar="PHOTO_OR_DIR")],
    out: Annotated[Path, Option("--out", "-o", metavar="OUT", help="folder for the results")],
    net: Net = "lite",
    temperature: Annotated[
        float | None,
        Option(help="0, the likeliest color, to 1, the mean of all; default: the net's own"),
    ] = None,
    vividness: Annotated[float, Option(help="factor on the chroma, 0 to 2")] = 1.0,
    overwrite: Annotated[bool, Option("--overwrite", help="color anew what OUT holds already")] = False,
    device: Device = "auto",
) -> int:
    """Color each photo into OUT, under its own name; go on past a bad one, name it, and end with 1.

    What OUT holds already is left as it is, so that a run that was stopped goes on where it was.
    """
    from rich.console import Console
    from rich.progress import Progress

    from model.colorizer import Colorizer, ColorOptions

    options = ColorOptions(temperature, vividness)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the results")
    pairs, others = _sources(photos, out)
    if not pairs:
        raise InputError(f"there are no photographs in {', '.join(map(str, photos))}")
    colorizer = Colorizer.load(net, device)
    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    stopped = False
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("coloring", total=len(pairs))
        try:
            for path, outcome, reason in _colored(colorizer, options, pairs, out, overwrite):
                counts[outcome] += 1
                if reason:
                    console.print(f"{path}: {reason}", markup=False, highlight=False, soft_wrap=True)
                bar.advance(task)
        except KeyboardInterrupt:
            stopped = True
    said = [f"{counts['colored']} of {len(pairs)} colored into {out}", f"{counts['failed']} failed"]
    if counts["there"]:
        said.append(f"{counts['there']} were there already (--overwrite colors them anew)")
    if others:
        said.append(f"{sum(others.values())} files of other kinds left alone ({', '.join(sorted(others))})")
    print(", ".join(said))
    return 130 if stopped else 1 if counts["failed"] else 0


@app.command(short_help="photographs side by side: gray, colored, true")
def gallery(
    out: Out,
    photos: Annotated[
        list[Path],
        Option(metavar="DIR...", help="scikit-image: the photographs of that package"),
    ] = [Path("scikit-image")],
    net: Net = "lite",
    device: Device = "auto",
) -> int:
    """Write photographs side by side as a person would see them: gray, colored, ground truth."""
    from model.colorizer import Colorizer
    from model.evaluate import color, figures
    from model.image_io import Photo
    from model.training import data

    colorizer = Colorizer.load(net, device)
    out.mkdir(parents=True, exist_ok=True)
    for path in data.find(photos):
        truth = data.read(path)
        [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
        picture = figures.gray_colored_true(truth, color.gray(truth), colored.pixels)
        figures.save(picture, out / f"{path.stem}.jpg")
    return 0


def _colored(
    colorizer: Colorizer,
    options: ColorOptions,
    pairs: Sequence[tuple[Path, Path]],
    out: Path,
    overwrite: bool,
) -> Iterator[tuple[Path, str, str]]:
    """(photo, "colored" | "there" | "failed", what a person is to know) for each pair, in batches of a few."""
    from model import image_io

    taken = {path.resolve() for path, _ in pairs}  # by originals, and by results of this run
    for start in range(0, len(pairs), _BATCH):
        batch: list[tuple[Path, Path, Photo]] = []
        for path, name in pairs[start : start + _BATCH]:
            try:
                opened = image_io.open(path.read_bytes())
            except (PhotoError, OSError) as error:
                yield path, "failed", error.detail if isinstance(error, PhotoError) else str(error)
                continue
            target = (out / name).with_suffix(image_io.extension(image_io.saved_format(opened)))
            if target.resolve() in taken:
                yield path, "failed", f"{target} is taken by another photo; color it into another folder"
            elif target.is_file() and not overwrite:
                yield path, "there", ""
            else:
                taken.add(target.resolve())
                batch.append((path, target, opened))
        logits = colorizer.infer([colorizer.preprocess(opened) for _, _, opened in batch])
        for (path, target, opened), likely in zip(batch, logits, strict=True):
            try:
                _write(target, image_io.save(colorizer.postprocess(opened, likely, options)))
            except OSError as error:
                yield path, "failed", str(error)
            else:
                yield path, "colored", ""


def _write(target: Path, data: bytes) -> None:
    """All of it or nothing, whenever we are stopped."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half_written = target.with_name(f".{target.name}.part")
    half_written.write_bytes(data)
    half_written.replace(target)


def _sources(given: Sequence[Path], out: Path) -> tuple[list[tuple[Path, Path]], Counter[str]]:
    """(photo, its name under OUT) for each photo named and each file with a photo's ending in a folder named; other endings, counted.

    Where OUT lies inside such a folder, what is in it is the result of an earlier run, and no source.
    """
    from model import image_io

    endings = {image_io.extension(name) for name in FORMATS} | {".jpeg", ".jpe", ".jfif", ".tiff"}
    pairs: list[tuple[Path, Path]] = []
    others: Counter[str] = Counter()
    for path in given:
        if not path.is_dir():
            pairs.append((path, Path(path.name)))
            continue
        results = out.resolve() if path.resolve() in out.resolve().parents else None
        for inside in sorted(path.rglob("*")):
            if inside.is_dir() or (results is not None and results in inside.resolve().parents):
                continue
            if inside.suffix.lower() in endings:
                pairs.append((inside, inside.relative_to(path)))
            else:
                others[inside.suffix.lower() or "without an ending"] += 1
    return pairs, others
