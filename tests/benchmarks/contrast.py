"""SimCLR here beside lightly: views alone, whole steps, memory, and whether the losses are one.

Each measurement is a process of its own, one at a time, on the cores that are asked for. Rounds are interleaved and every second
one goes the other way round. Lightly is measured with and without workers, and what is compared with is whichever took less time in
that round.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import figures
from tests.benchmarks.processes import ROOT

KINDS = ("augment", "step")
HUGE = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What `python -m model` sets for its own process."""
WITH_OURS = "lightly with huge pages"
"""Not what its users get, but what of the difference is the pages'."""


@dataclass(frozen=True, slots=True)
class Extent:
    """`cores` is as many threads for each side's PyTorch, and as many workers of lightly's."""

    rounds: int = 5
    cores: int = 1
    photos: int = 128
    side: int = 128
    batches: int = 4


QUICK = Extent(rounds=1, photos=16, side=64, batches=1)
"""To see whether it works; its numbers mean nothing."""


def run(extent: Extent, python: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it, as JSON has it. ValueError for more cores than there are."""
    place = figures.place()
    there = sorted(os.sched_getaffinity(0))
    if not 0 < extent.cores <= len(there):
        raise ValueError(f"{extent.cores} cores are asked for, and there are {len(there)}")
    # The last ones: what else runs on the machine mostly begins at the first.
    cores = there[-extent.cores :]
    alone: dict[str, object] = {
        "threads": extent.cores,
        "photos": extent.photos,
        "side": extent.side,
        "batches": extent.batches,
    }
    subjects = [("autochrome", 0), ("lightly", 0), ("lightly", extent.cores), (WITH_OURS, 0)]
    measured = []
    for turn in range(extent.rounds):
        for what in KINDS:
            for name, workers in subjects if turn % 2 == 0 else subjects[::-1]:
                say(f"round {turn + 1}: {what}, {name}{f' with {workers} workers' if workers else ''}")
                found = _side(python, cores, name, what, {**alone, "workers": workers})
                measured.append({"subject": name, "workers": workers, "what": what, "round": turn, **found})
    loss = _side(python, cores, "lightly", "loss", alone)
    place = {**place, "cores_used": cores, "load_after": round(os.getloadavg()[0], 2)}
    return {"place": place, "extent": asdict(extent), "measured": measured, "loss": loss}


def _side(python: Path, cores: list[int], name: str, what: str, task: dict[str, object]) -> dict[str, Any]:
    done = subprocess.run(
        # As `taskset` does: whoever starts it pins it, and all that comes of it.
        [python.absolute(), "-m", "tests.benchmarks.contrast_side", name.split()[0], what, json.dumps(task)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(len(cores)),
            "OMP_WAIT_POLICY": "PASSIVE",
            "LIGHTLY_DID_VERSION_CHECK": "True",
        }
        | ({} if name == "lightly" else HUGE),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        raise RuntimeError(f"{name}, {what}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
