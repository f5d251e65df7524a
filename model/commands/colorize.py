"""Color photographs into a folder."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from model import image_io
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError, PhotoError
from model.image_headers import FORMATS

_BATCH = 4


def colorize(arguments: argparse.Namespace) -> int:
    """Color each photo into OUT, under its own name; go on past a bad one, name it, and end with 1.

    What OUT holds already is left as it is, so that a run that was stopped goes on where it was.
    """
    options = ColorOptions(arguments.temperature, arguments.vividness)
    if arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"{arguments.out} is a file; name a folder for the results")
    pairs, others = _sources(arguments.photos, arguments.out)
    if not pairs:
        raise InputError(f"there are no photographs in {', '.join(map(str, arguments.photos))}")
    colorizer = Colorizer.load(arguments.net, arguments.device)
    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    stopped = False
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("coloring", total=len(pairs))
        try:
            for path, outcome, reason in _colored(colorizer, options, pairs, arguments):
                counts[outcome] += 1
                if reason:
                    console.print(f"{path}: {reason}", markup=False, highlight=False, soft_wrap=True)
                bar.advance(task)
        except KeyboardInterrupt:
            stopped = True
    said = [f"{counts['colored']} of {len(pairs)} colored into {arguments.out}", f"{counts['failed']} failed"]
    if counts["there"]:
        said.append(f"{counts['there']} were there already (--overwrite colors them anew)")
    if others:
        said.append(f"{sum(others.values())} files of other kinds left alone ({', '.join(sorted(others))})")
    print(", ".join(said))
    return 130 if stopped else 1 if counts["failed"] else 0


def _colored(
    colorizer: Colorizer,
    options: ColorOptions,
    pairs: Sequence[tuple[Path, Path]],
    arguments: argparse.Namespace,
) -> Iterator[tuple[Path, str, str]]:
    """(photo, "colored" | "there" | "failed", what a person is to know) for each pair, in batches of a few."""
    taken = {path.resolve() for path, _ in pairs}  # by originals, and by results of this run
    for start in range(0, len(pairs), _BATCH):
        batch: list[tuple[Path, Path, image_io.Photo]] = []
        for path, name in pairs[start : start + _BATCH]:
            try:
                opened = image_io.open(path.read_bytes())
            except (PhotoError, OSError) as error:
                yield path, "failed", error.detail if isinstance(error, PhotoError) else str(error)
                continue
            target = (arguments.out / name).with_suffix(image_io.extension(image_io.saved_format(opened)))
            if target.resolve() in taken:
                yield path, "failed", f"{target} is taken by another photo; color it into another folder"
            elif target.is_file() and not arguments.overwrite:
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
