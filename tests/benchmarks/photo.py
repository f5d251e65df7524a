"""One photograph, and a folder of them, without a server: how fast, beside what else the machine does, and in how much memory.

- 12 megapixels, JPEG to JPEG, in a process that has loaded the net: the product beside a plain twin (`photo_side.py`), in turns, first
  calm, then beside two processes that keep a core busy each. The ratio is the median over rounds of the twin's seconds over the product's.
- The most memory of each, over the same photos; that of the command line on a JPEG of 120 megapixels.
- The command line on a folder: which share of its CPU time decoding, net and encoding take by themselves in a loop over the same photos.
- The command line on one photo of 12 megapixels: from the start of a fresh process to its end. The machine has run it before, so that what
  is compiled once lies on disk; the first run is told apart.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.report import (
    ROOT,
    Check,
    Log,
    Report,
    machine,
    machine_line,
    median,
    neighbors,
    spread,
    table,
)

_SIDES = ("product", "twin")
_LARGE = ("large-gray.jpg", "large-sepia.jpg")
_ALIKE = 3.0
"""8-bit steps, mean: two JPEGs of the same colors differ by less, as the twin clips where the product keeps the lightness."""


@dataclass(frozen=True, slots=True)
class Config:
    """`rounds` of every timing, `photos` in the folder, `busy` processes beside."""

    rounds: int = 5
    photos: int = 200
    busy: int = 2


QUICK = Config(rounds=1, photos=6)


@dataclass(frozen=True, slots=True)
class Run:
    """What a command took. `peak_mib` is that of the largest of its processes."""

    status: int
    seconds: float
    cpu_seconds: float
    peak_mib: float


def run(config: Config, scratch: Path, log: Log) -> Report:
    """`scratch` is a folder for photographs and results; it is removed."""
    place = machine()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    log("making photographs")
    _of_side("photos", str(scratch), str(config.photos))
    one, peaks = _one_photo(config, scratch, log)
    first = [_colorize(scratch / _LARGE[0], scratch / "first") for _ in range(config.rounds + 1)]
    log(f"fresh processes: {', '.join(f'{each.seconds:.2f}' for each in first)} s")
    huge = _colorize(scratch / "huge.jpg", scratch / "huge")
    log(f"120 megapixels: status {huge.status}, {huge.seconds:.1f} s, {huge.peak_mib:.0f} MiB")
    folder = _colorize(scratch / "many", scratch / "colored")
    paths = sorted(str(path) for path in (scratch / "many").iterdir())
    stages = json.loads(_of_side("stages", *paths))
    log(f"{config.photos} photos: {folder.seconds:.1f} s, {folder.cpu_seconds:.1f} s of CPU")
    difference = float(json.loads(_of_side("compare", *(str(scratch / f"{side}.jpg") for side in _SIDES))))
    colored = len(list((scratch / "colored").rglob("*.jpg")))
    checks = (
        Check(
            "the twin's colors are the product's",
            difference < _ALIKE,
            f"They differ by {difference:.2f} of 255.",
        ),
        Check(
            "the folder is colored",
            folder.status == 0 and colored == config.photos,
            f"Status {folder.status}; {colored} of {config.photos} photos.",
        ),
        Check("a fresh process colors", not any(each.status for each in first), f"{len(first)} did."),
    )
    shutil.rmtree(scratch)
    measured = _measured(one, peaks, first, huge, folder, stages)
    results = {
        "machine": place,
        "config": asdict(config),
        "seconds": one,
        "peak_mib": peaks,
        "first": [asdict(each) for each in first],
        "huge": asdict(huge),
        "folder": asdict(folder),
        "stages_cpu_s": stages,
        "difference": difference,
        "measured": measured,
    }
    return Report("photo", results, _text(place, results, measured, checks), checks)


def _one_photo(
    config: Config, scratch: Path, log: Log
) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """Seconds by circumstance and side, a round after the other; the most memory by side."""
    seconds: dict[str, dict[str, list[float]]] = {}
    sides = {side: _Side(side) for side in _SIDES}
    for side in sides.values():
        for photo in _LARGE:
            side.color(scratch / photo, scratch)
    for circumstance, busy in (("calm", 0), ("busy", config.busy)):
        seconds[circumstance] = {side: [] for side in _SIDES}
        with neighbors(busy):
            for round_ in range(config.rounds):
                for name in _SIDES if round_ % 2 == 0 else reversed(_SIDES):
                    took = [sides[name].color(scratch / photo, scratch) for photo in _LARGE]
                    seconds[circumstance][name].append(sum(took) / len(took))
        said = "; ".join(f"{name} {median(took):.2f} s" for name, took in seconds[circumstance].items())
        log(f"12 megapixels, {circumstance}: {said}")
    return seconds, {name: side.end() for name, side in sides.items()}


class _Side:
    """A process that has loaded the net and colors photo after photo; between them it waits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.photo_side", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def color(self, photo: Path, folder: Path) -> float:
        """Seconds."""
        assert self._process.stdin is not None
        task = {"photo": str(photo), "target": str(folder / f"{self.name}.jpg")}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def end(self) -> float:
        """The most memory that it had, MiB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        peak = float(self._answer()["peak_mib"])
        self._process.wait()
        return peak

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} has ended with status {self._process.wait()}")
        return dict(json.loads(line))


def _colorize(photos: Path, out: Path) -> Run:
    """The command line, from the start of its process to its end, into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "colorize", str(photos.resolve()), "-o", str(out.resolve())],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Run(process.returncode, seconds, used.ru_utime + used.ru_stime, peak)


def _of_side(*words: str) -> str:
    """What a part that runs by itself prints. This process stays small: a child's `ru_maxrss` begins at its parent's."""
    command = [sys.executable, "-m", "tests.benchmarks.photo_side", *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _measured(
    one: dict[str, dict[str, list[float]]],
    peaks: dict[str, float],
    first: Sequence[Run],
    huge: Run,
    folder: Run,
    stages: dict[str, float],
) -> list[dict[str, Any]]:
    """What the targets are about: name, number, target, whether it is met."""

    def row(name: str, value: float, target: str, met: bool) -> dict[str, Any]:
        return {"name": name, "value": value, "target": target, "met": met}

    ratios = {
        circumstance: median(
            [theirs / ours for ours, theirs in zip(sides["product"], sides["twin"], strict=True)]
        )
        for circumstance, sides in one.items()
    }
    memory = peaks["product"] / peaks["twin"]
    share = sum(stages[stage] for stage in ("open", "infer", "save")) / folder.cpu_seconds
    fresh = median([each.seconds for each in first[1:]])
    return [
        row("12 MP, calm: times the twin's speed", ratios["calm"], "≥ 12", ratios["calm"] >= 12),
        row("12 MP, busy: times the twin's speed", ratios["busy"], "≥ 10", ratios["busy"] >= 10),
        row("12 MP: memory, of the twin's", memory, "≤ 0.25", memory <= 0.25),
        row(
            "120 MP: MiB",
            math.nan if huge.status else huge.peak_mib,
            "≤ 1536",
            not huge.status and huge.peak_mib <= 1536,
        ),
        row("folder: share of CPU in decode, net, encode", share, "≥ 0.85", share >= 0.85),
        row("first photo of a fresh process: s", fresh, "≤ 1.5", fresh <= 1.5),
    ]


def _text(
    place: dict[str, Any],
    results: dict[str, Any],
    measured: Sequence[dict[str, Any]],
    checks: Sequence[Check],
) -> str:
    config, folder, huge, first = (results[name] for name in ("config", "folder", "huge", "first"))
    targets = table(
        ["", "measured", "target", ""],
        [
            [each["name"], each["value"], each["target"], "met" if each["met"] else "missed"]
            for each in measured
        ],
    )
    seconds = table(
        ["12 MP", "product s", "twin s"],
        [
            [
                circumstance,
                *(f"{median(sides[side]):.3g} ({spread(sides[side])})" for side in _SIDES),
            ]
            for circumstance, sides in results["seconds"].items()
        ],
    )
    stages = table(
        ["CPU-seconds", *results["stages_cpu_s"], "command line"],
        [[f"{config['photos']} photos", *results["stages_cpu_s"].values(), folder["cpu_seconds"]]],
    )
    peaks = ", ".join(f"{side} {peak:.0f}" for side, peak in results["peak_mib"].items())
    fresh = ", ".join(f"{each['seconds']:.2f}" for each in first)
    return (
        f"# One photograph, and a folder\n\n{machine_line(place)} Medians of {config['rounds']} rounds, {config['busy']} processes "
        f"beside where busy.\n\n{targets}\n{seconds}\nMost memory, MiB: {peaks}. 120 MP: status {huge['status']}, "
        f"{huge['seconds']:.1f} s.\n\n{stages}\nThe folder took {folder['seconds']:.1f} s. "
        f"Fresh processes: {fresh} s, "
        f"the first of which may have compiled.\n\n" + "\n".join(check.line for check in checks) + "\n"
    )
