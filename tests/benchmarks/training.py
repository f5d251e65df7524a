"""Crops a second of training here beside those of another commit of this repository, by the same command in one run.

Both train the product's net by `--recipe lite` on the same photographs, on as many threads, in turns; every second round goes the other way
round. What counts is the run's own log between its first row and its last: start-up, survey and cache are left out of it. Old prints are a
quarter of both; pages and hints, which the other may not have, are off.
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import figures
from tests.benchmarks.processes import ROOT

_NEW_WORDS = ("page=0", "hinted=0", "validate_every=0")


@dataclass(frozen=True, slots=True)
class Extent:
    """`steps` of 32 crops a round, of which the first twenty do not count."""

    rounds: int = 3
    steps: int = 100
    threads: int = 2


def run(extent: Extent, base: str, photos: Path, scratch: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it, as JSON has it. `base` is the other commit; `scratch` is a folder for its checkout and for the runs."""
    place = figures.place()
    other = _checkout(base, scratch / f"code-{base}")
    speeds: dict[str, list[float]] = {"here": [], "base": []}
    for turn in range(extent.rounds):
        for name in ("here", "base") if turn % 2 == 0 else ("base", "here"):
            folder = scratch / f"{name}-{turn}"
            shutil.rmtree(folder, ignore_errors=True)
            words = _NEW_WORDS if name == "here" else ()
            speeds[name].append(_train(ROOT if name == "here" else other, photos, folder, words, extent))
            say(f"round {turn + 1}, {name}: {speeds[name][-1]:.1f} crops a second")
    ratios = [here / base for here, base in zip(speeds["here"], speeds["base"], strict=True)]
    return {
        "place": place,
        "extent": asdict(extent),
        "base": base,
        "crops_per_s": speeds,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def text(found: dict[str, Any]) -> str:
    """As Markdown."""
    rows = "\n".join(
        f"| {name} | {statistics.median(values):.1f} | {', '.join(f'{value:.1f}' for value in values)} |"
        for name, values in found["crops_per_s"].items()
    )
    return (
        f"Crops a second of `train colorize --recipe lite`, {found['extent']['threads']} threads; base is {found['base']}.\n\n"
        f"| | median | rounds |\n|---|---|---|\n{rows}\n\n"
        f"Ratio: {found['ratio']:.2f} ({min(found['ratios']):.2f}…{max(found['ratios']):.2f}).\n"
    )


def _checkout(commit: str, folder: Path) -> Path:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["git", "worktree", "add", "--force", "--detach", folder, commit], cwd=ROOT, check=True
        )
    return folder


def _train(code: Path, photos: Path, run: Path, words: tuple[str, ...], extent: Extent) -> float:
    """Crops a second, by the run's log."""
    command = [
        sys.executable,
        "-m",
        "model",
        "train",
        "colorize",
        "--recipe",
        "lite",
        "--photos",
        str(photos.resolve()),
    ]
    command += ["--run", str(run.resolve()), "--steps", str(extent.steps), "--set", "warmup=10", *words]
    environment = os.environ | {"OMP_NUM_THREADS": str(extent.threads)}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (run / "log.csv").open(newline="") as log:
        rows = list(csv.DictReader(log))
    first, last = rows[0], rows[-1]
    crops = int(last["photos"]) - int(first["photos"])
    return crops / (float(last["elapsed_s"]) - float(first["elapsed_s"]))
