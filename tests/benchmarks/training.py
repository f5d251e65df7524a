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
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.report import ROOT, Log, Report, machine, machine_line, spread

_NEW_SETTINGS = ("page=0", "hinted=0", "validate_every=0")


@dataclass(frozen=True, slots=True)
class Config:
    """`steps` of 32 crops a round, of which the first twenty do not count."""

    rounds: int = 3
    steps: int = 100
    threads: int = 2


def run(config: Config, base: str, photos: Path, scratch: Path, log: Log) -> Report:
    """`base` is the other commit; `scratch` is a folder for its checkout and for the runs."""
    place = machine()
    other = _checkout(base, scratch / f"code-{base}")
    speeds: dict[str, list[float]] = {"here": [], "base": []}
    for round_ in range(config.rounds):
        for name in ("here", "base") if round_ % 2 == 0 else ("base", "here"):
            folder = scratch / f"{name}-{round_}"
            shutil.rmtree(folder, ignore_errors=True)
            code, settings = (ROOT, _NEW_SETTINGS) if name == "here" else (other, ())
            speeds[name].append(_train(code, photos, folder, settings, config))
            log(f"round {round_ + 1}, {name}: {speeds[name][-1]:.1f} crops a second")
    ratios = [ours / theirs for ours, theirs in zip(speeds["here"], speeds["base"], strict=True)]
    ratio = statistics.median(ratios)
    results = {
        "machine": place,
        "config": asdict(config),
        "base": base,
        "crops_per_s": speeds,
        "ratio": ratio,
        "ratios": ratios,
    }
    rows = "\n".join(
        f"| {name} | {statistics.median(values):.1f} | {', '.join(f'{value:.1f}' for value in values)} |"
        for name, values in speeds.items()
    )
    text = (
        f"# Training beside {base}\n\n{machine_line(place)}\n\n"
        f"Crops a second of `train colorize --recipe lite`, {config.threads} threads; base is {base}.\n\n"
        f"| | median | rounds |\n|---|---|---|\n{rows}\n\nRatio: {ratio:.2f} ({spread(ratios)}).\n"
    )
    return Report("training", results, text)


def _checkout(commit: str, folder: Path) -> Path:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["git", "worktree", "add", "--force", "--detach", folder, commit], cwd=ROOT, check=True
        )
    return folder


def _train(code: Path, photos: Path, run: Path, settings: tuple[str, ...], config: Config) -> float:
    """Crops a second, by the run's log."""
    command = [sys.executable, "-m", "model", "train", "colorize", "--recipe", "lite"]
    command += ["--photos", str(photos.resolve()), "--run", str(run.resolve()), "--steps", str(config.steps)]
    command += ["--set", "warmup=10", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": str(config.threads)}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (run / "log.csv").open(newline="") as log:
        rows = list(csv.DictReader(log))
    first, last = rows[0], rows[-1]
    crops = int(last["photos"]) - int(first["photos"])
    return crops / (float(last["elapsed_s"]) - float(first["elapsed_s"]))
