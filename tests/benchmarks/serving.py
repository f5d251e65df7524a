"""The whole service beside the bare pipeline and beside LitServe, in one run: what the service costs, and what it loses by.

Rounds are interleaved and every second one goes the other way round, so that a machine that warms up or slows down
favors none. In each round the servers are started anew. Open loops of both servers go at the same rates, shares of
what the slower of the two could do in that round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, photos, subjects
from tests.benchmarks.load import Plan
from tests.benchmarks.subjects import Phase, Subject

SHARES = (0.5, 0.8)
NAMES = ("pipeline", "service", "litserve")
WARM_UP = 8
"""Requests to a fresh server that do not count."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How long it takes. `lone` requests in each round, `seconds` for each closed and open phase."""

    rounds: int = 3
    lone: int = 40
    seconds: float = 10.0
    sides: tuple[int, ...] = (1024, 512)
    clients: tuple[int, ...] = (1, 4, 16, 64)


QUICK = Extent(rounds=1, lone=8, seconds=4.0, sides=(512,), clients=(1, 4))
"""To see whether it works; its numbers mean nothing."""
Starting = Callable[[Path], AbstractContextManager[Subject]]


class Comparison:
    """Phases as they are measured, in `phases`."""

    def __init__(self, extent: Extent, litserve_python: Path, say: Callable[[str], None]) -> None:
        self.phases: list[Phase] = []
        self._extent = extent
        self._say = say
        self._servers: dict[str, Starting] = {
            "service": subjects.service,
            "litserve": partial(subjects.litserve, python=litserve_python),
        }

    def run(self) -> None:
        for side in self._extent.sides:
            with tempfile.TemporaryDirectory(prefix="autochrome-bench-") as folder:
                paths = photos.write(Path(folder) / "photos", side)
                for turn in range(self._extent.rounds):
                    order = NAMES if turn % 2 == 0 else NAMES[::-1]
                    for name in order:
                        self._closed(name, paths, side, turn, Path(folder))
                    capacity = min(self._best(name, side, turn) for name in self._servers)
                    for name in order:
                        self._open(name, paths, side, turn, Path(folder), capacity)

    def _closed(self, name: str, paths: Sequence[Path], side: int, turn: int, folder: Path) -> None:
        extent = self._extent
        if name == "pipeline":
            self._say(f"{side} px, round {turn + 1}: {name}")
            self.phases.append(subjects.pipeline(paths, side, extent.lone, turn))
            return
        plans = [Plan(requests=extent.lone)]
        plans += [Plan(clients=clients, seconds=extent.seconds) for clients in extent.clients]
        self._serve(name, plans, paths, side, turn, folder)

    def _open(
        self, name: str, paths: Sequence[Path], side: int, turn: int, folder: Path, capacity: float
    ) -> None:
        if name in self._servers:
            plans = [Plan(rate=share * capacity, seconds=self._extent.seconds, seed=turn) for share in SHARES]
            self._serve(name, plans, paths, side, turn, folder)

    def _serve(
        self, name: str, plans: Sequence[Plan], paths: Sequence[Path], side: int, turn: int, folder: Path
    ) -> None:
        own = Path(tempfile.mkdtemp(prefix="s", dir=folder))
        names = [str(path) for path in paths]
        with self._servers[name](own) as subject:
            subjects.measure(subject, Plan(photos=names, clients=2, requests=WARM_UP), side, turn)
            for plan in plans:
                self._say(f"{side} px, round {turn + 1}: {name}, {plan.what}")
                self.phases.append(subjects.measure(subject, replace(plan, photos=names), side, turn))

    def _best(self, name: str, side: int, turn: int) -> float:
        return max(
            phase.throughput
            for phase in self.phases
            if (phase.subject, phase.side, phase.round, phase.kind) == (name, side, turn, "closed")
        )


def run(extent: Extent, litserve_python: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it, as JSON has it."""
    place = figures.place()
    comparison = Comparison(extent, litserve_python, say)
    comparison.run()
    return {"place": place, "extent": asdict(extent), "phases": [asdict(p) for p in comparison.phases]}
