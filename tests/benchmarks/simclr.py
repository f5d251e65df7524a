"""SimCLR here beside lightly: views alone, whole steps, memory, and whether the losses are the same.

Each measurement is a process of its own, one at a time, on the cores that are asked for. Rounds are interleaved and every second
one goes the other way round. Lightly is measured with and without workers, and what is compared with is whichever took less time in
that round.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.report import ROOT, Log, Report, machine, machine_line, median, spread, table

TARGETS = {"augment": 2.0, "step": 1.15}
"""Of lightly's speed."""
MAX_LOSS_DIFFERENCE = 1e-5
HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What `python -m model` sets for its own process."""
LIGHTLY_WITH_HUGE_PAGES = "lightly with huge pages"
"""Not what its users get, but shows what of the difference is due to huge pages."""
_TITLES = {"augment": "augmentation alone", "step": "a whole step"}


@dataclass(frozen=True, slots=True)
class Config:
    """`cores` is as many threads for each side's PyTorch, and as many workers of lightly's."""

    rounds: int = 5
    cores: int = 1
    photos: int = 128
    side: int = 128
    batches: int = 4


QUICK = Config(rounds=1, photos=16, side=64, batches=1)
"""To see whether it works; its numbers mean nothing."""


def run(config: Config, python: Path, log: Log) -> Report:
    """`python` is of an environment that has lightly. ValueError for more cores than there are."""
    place = machine()
    available = sorted(os.sched_getaffinity(0))
    if not 0 < config.cores <= len(available):
        raise ValueError(f"{config.cores} cores are asked for, and there are {len(available)}")
    # The last ones: what else runs on the machine mostly begins at the first.
    cores = available[-config.cores :]
    task: dict[str, object] = {
        "threads": config.cores,
        "photos": config.photos,
        "side": config.side,
        "batches": config.batches,
    }
    sides = [("autochrome", 0), ("lightly", 0), ("lightly", config.cores), (LIGHTLY_WITH_HUGE_PAGES, 0)]
    measured: list[dict[str, Any]] = []
    for round_ in range(config.rounds):
        for what in TARGETS:
            for name, workers in sides if round_ % 2 == 0 else sides[::-1]:
                log(f"round {round_ + 1}: {what}, {name}{f' with {workers} workers' if workers else ''}")
                numbers = _measure(python, cores, name, what, {**task, "workers": workers})
                measured.append({"side": name, "workers": workers, "what": what, "round": round_, **numbers})
    loss = _measure(python, cores, "lightly", "loss", task)
    place = {**place, "cores_used": cores, "load_after": round(os.getloadavg()[0], 2)}
    results = {"machine": place, "config": asdict(config), "measured": measured, "loss": loss}
    return Report("simclr", results, _text(place, config, measured, loss))


def _measure(python: Path, cores: list[int], name: str, what: str, task: dict[str, object]) -> dict[str, Any]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(len(cores)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "LIGHTLY_DID_VERSION_CHECK": "True",
        **({} if name == "lightly" else HUGE_PAGES),
    }
    done = subprocess.run(
        [python.absolute(), "-m", "tests.benchmarks.simclr_side", name.split()[0], what, json.dumps(task)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        # As `taskset` does: the process is pinned before it starts, and so are its children.
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        raise RuntimeError(f"{name}, {what}: {done.stderr[-2000:]}")
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def _text(
    place: dict[str, Any], config: Config, measured: Sequence[dict[str, Any]], loss: dict[str, Any]
) -> str:
    """Markdown, the targets first, and by how much they are missed."""
    same = "met" if loss["loss"] <= MAX_LOSS_DIFFERENCE else "**missed**"
    lines = [f"- {line}" for line in _targets(measured)]
    lines.append(
        f"- the loss on the same embeddings: {loss['loss']:.1e} apart at most, its gradient {loss['gradient']:.1e} "
        f"(of up to {loss['largest_gradient']:.1e}); target {MAX_LOSS_DIFFERENCE:.0e}, {same}"
    )
    intro = (
        f"{config.photos} photos of 160 pixels, already decoded, two views of {config.side} each; ResNet-18 in "
        f"bf16; {config.cores} cores for each side, torch {measured[0]['torch']}; medians of {config.rounds} "
        "interleaved rounds. Ratios are to lightly's better way, with workers or without, round by round, in brackets "
        "the least and the most. Memory is the peak of the process with its imports, and what its workers do not share."
    )
    return "\n".join(
        [
            "# SimCLR here and in lightly 1.6\n",
            machine_line(place) + "\n",
            intro + "\n",
            "\n".join(lines) + "\n",
            table(["what", "who", "photos a second", "least…most", "MiB"], list(_rows(config, measured))),
        ]
    )


def _rows(config: Config, measured: Sequence[dict[str, Any]]) -> Iterator[Sequence[object]]:
    for what, side, workers in sorted(
        dict.fromkeys((each["what"], each["side"], each["workers"]) for each in measured),
        key=lambda key: list(TARGETS).index(key[0]),
    ):
        here = [
            each
            for each in measured
            if (each["what"], each["side"], each["workers"]) == (what, side, workers)
        ]
        speeds = [config.photos / each["seconds"] for each in here]
        memory = median([each["memory_mib"] for each in here])
        with_workers = f", {workers} workers" if workers else ", no workers" if side == "lightly" else ""
        yield _TITLES[what], side + with_workers, median(speeds), spread(speeds), memory


def _targets(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    for what, target in TARGETS.items():
        ratios = _speedups(measured, what, "lightly")
        verdict = "met" if median(ratios) >= target else f"**missed** by {1 - median(ratios) / target:.0%}"
        line = f"{_TITLES[what]}: {median(ratios):.2f} of lightly's speed ({spread(ratios)}); target {target}, {verdict}"
        if same_pages := _speedups(measured, what, LIGHTLY_WITH_HUGE_PAGES):
            line += (
                f"; with the huge pages that `python -m model` asks for given to lightly as well: "
                f"{median(same_pages):.2f} ({spread(same_pages)})"
            )
        yield line


def _speedups(measured: Sequence[dict[str, Any]], what: str, than: str) -> list[float]:
    """Round by round."""
    ratios = []
    for round_ in sorted({each["round"] for each in measured}):
        here = [each for each in measured if (each["what"], each["round"]) == (what, round_)]
        ours, theirs = (
            [each["seconds"] for each in here if each["side"] == side] for side in ("autochrome", than)
        )
        if theirs:
            ratios.append(min(theirs) / min(ours))
    return ratios
