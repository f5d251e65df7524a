"""The whole service beside the bare pipeline and beside LitServe with the same Colorizer, in one run: what the service costs.

Rounds are interleaved and every second one goes the other way round, so that a machine that warms up or slows down
favors none. In each round the servers are started anew. Open loops of both servers go at the same rates, shares of
what the slower of the two could do in that round.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.load import Plan, Sample
from tests.benchmarks.report import (
    ROOT,
    Log,
    Report,
    machine,
    machine_line,
    median,
    percentile,
    spread,
    table,
)
from tests.benchmarks.servers import Server, Service, free_port, read_metrics, write_photos

MAX_OVERHEAD_MS = 20.0
MIN_PIPELINE_SHARE = 0.85
LEAST_OF_LITSERVE = 1.2
"""Of its throughput."""
TARGETS_FROM_CLIENTS = 4
"""With fewer clients there is no target for throughput."""
OPEN_SHARES = (0.5, 0.8)
RAMP = 0.2
"""Share of a closed phase in which the queue fills; it does not count for throughput."""
NAMES = ("pipeline", "service", "litserve")
WARM_UP = 8
"""Requests to a fresh server that do not count."""


@dataclass(frozen=True, slots=True)
class Config:
    """`lone` requests in each round, `seconds` for each closed and open phase."""

    rounds: int = 3
    lone: int = 40
    seconds: float = 10.0
    sides: tuple[int, ...] = (1024, 512)
    clients: tuple[int, ...] = (1, 4, 16, 64)


QUICK = Config(rounds=1, lone=8, seconds=4.0, sides=(512,), clients=(1, 4))
"""To see whether it works; its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One measurement of one target. CPU-seconds are per photo, by part; the load generator's stand apart."""

    target: str
    side: int
    kind: str
    """lone, closed or open"""
    clients: int
    rate: float
    round: int
    latencies: list[float]
    throughput: float
    failures: int
    cpu: dict[str, float]
    load_cpu: float
    batch: float
    """Mean photos in one call of the net; NaN where it was not called."""

    @property
    def total_cpu(self) -> float:
        return sum(self.cpu.values())


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs. `counts`: where it writes how often the net ran, if not to its metrics."""

    name: str
    server: Server
    counts: Path | None = None

    def batches(self) -> tuple[float, float]:
        """Calls of the net, and photos in all of them."""
        if self.counts is None:
            metrics = read_metrics(self.server.url)
            return metrics.get("autochrome_batch_size_count", 0.0), metrics.get(
                "autochrome_batch_size_sum", 0.0
            )
        counts = json.loads(self.counts.read_text()) if self.counts.exists() else {"calls": 0, "photos": 0}
        return counts["calls"], counts["photos"]


@contextmanager
def start_service(folder: Path) -> Iterator[Target]:
    """With its default settings."""
    with Service(folder / "state") as server:
        yield Target("service", server)


@contextmanager
def start_litserve(folder: Path, python: Path) -> Iterator[Target]:
    port, counts = free_port(), folder / "counts.json"
    program = [str(python), "-m", "tests.benchmarks.litserve_server", str(port), str(counts)]
    with Server(program, {}, f"http://127.0.0.1:{port}") as server:
        server.wait_until_ready("/health")
        yield Target("litserve", server, counts)


def run(config: Config, litserve_python: Path, log: Log) -> Report:
    place = machine()
    comparison = _Comparison(config, litserve_python, log)
    comparison.run()
    results = {"machine": place, "config": asdict(config), "phases": [asdict(p) for p in comparison.phases]}
    return Report("serving", results, _text(place, config, comparison.phases))


class _Comparison:
    """Measures phases into `phases`."""

    def __init__(self, config: Config, litserve_python: Path, log: Log) -> None:
        self.phases: list[Phase] = []
        self._config = config
        self._log = log
        self._servers: dict[str, Callable[[Path], AbstractContextManager[Target]]] = {
            "service": start_service,
            "litserve": partial(start_litserve, python=litserve_python),
        }

    def run(self) -> None:
        for side in self._config.sides:
            with tempfile.TemporaryDirectory(prefix="autochrome-bench-") as folder:
                photos = [str(path) for path in write_photos(Path(folder) / "photos", side)]
                for round_ in range(self._config.rounds):
                    order = NAMES if round_ % 2 == 0 else NAMES[::-1]
                    for name in order:
                        self._closed(name, photos, side, round_, Path(folder))
                    rate = min(self._best(name, side, round_) for name in self._servers)
                    for name in order:
                        self._open(name, photos, side, round_, Path(folder), rate)

    def _closed(self, name: str, photos: Sequence[str], side: int, round_: int, folder: Path) -> None:
        config = self._config
        if name == "pipeline":
            self._log(f"{side} px, round {round_ + 1}: {name}")
            self.phases.append(measure_pipeline(photos, side, config.lone, round_))
            return
        plans = [Plan(requests=config.lone)]
        plans += [Plan(clients=clients, seconds=config.seconds) for clients in config.clients]
        self._measure(name, plans, photos, side, round_, folder)

    def _open(
        self, name: str, photos: Sequence[str], side: int, round_: int, folder: Path, rate: float
    ) -> None:
        if name in self._servers:
            plans = [
                Plan(rate=share * rate, seconds=self._config.seconds, seed=round_) for share in OPEN_SHARES
            ]
            self._measure(name, plans, photos, side, round_, folder)

    def _measure(
        self, name: str, plans: Sequence[Plan], photos: Sequence[str], side: int, round_: int, folder: Path
    ) -> None:
        own = Path(tempfile.mkdtemp(prefix="s", dir=folder))
        with self._servers[name](own) as target:
            measure(target, Plan(photos=photos, clients=2, requests=WARM_UP), side, round_)
            for plan in plans:
                self._log(f"{side} px, round {round_ + 1}: {name}, {plan.title}")
                self.phases.append(measure(target, replace(plan, photos=photos), side, round_))

    def _best(self, name: str, side: int, round_: int) -> float:
        return max(
            phase.throughput
            for phase in _select(self.phases, name, "closed")
            if (phase.side, phase.round) == (side, round_)
        )


def measure_pipeline(photos: Sequence[str], side: int, requests: int, round_: int) -> Phase:
    """In a process of its own, as the others are."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pipeline", str(requests), *photos],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    printed = json.loads(done.stdout)
    seconds = printed["seconds"]
    cpu = {"pipeline": printed["cpu_seconds"] / requests}
    return Phase("pipeline", side, "lone", 1, 0, round_, seconds, requests / sum(seconds), 0, cpu, 0.0, 1.0)


def measure(target: Target, plan: Plan, side: int, round_: int) -> Phase:
    """Carry out a plan against a server that runs and is warm."""
    plan = replace(plan, url=target.server.url, target=target.name)
    calls, photos = target.batches()
    before = target.server.cpu_seconds()
    outcome = load.run(plan)
    after = target.server.cpu_seconds()
    calls_after, photos_after = target.batches()
    good = [sample for sample in outcome.samples if sample.status == 200]
    if not good:
        raise RuntimeError(f"{target.name} colored nothing:\n" + "".join(target.server.lines[-40:]))
    return Phase(
        target=target.name,
        side=side,
        kind=plan.kind,
        clients=plan.clients,
        rate=plan.rate,
        round=round_,
        latencies=[sample.latency for sample in good],
        throughput=throughput(good, plan),
        failures=len(outcome.samples) - len(good),
        cpu={part: (after[part] - before.get(part, 0.0)) / len(good) for part in after},
        load_cpu=outcome.cpu_seconds / len(good),
        batch=(photos_after - photos) / (calls_after - calls) if calls_after > calls else float("nan"),
    )


def throughput(good: Sequence[Sample], plan: Plan) -> float:
    """Photos a second: of a closed phase after its ramp, of any other over the whole."""
    if plan.requests or plan.rate:
        return len(good) / max(sample.ended for sample in good)
    ramp = RAMP * plan.seconds
    return sum(ramp <= sample.ended < plan.seconds for sample in good) / (plan.seconds - ramp)


def _text(place: dict[str, Any], config: Config, phases: Sequence[Phase]) -> str:
    """Markdown, the targets first, and by how much they are missed."""
    by_side = {side: [phase for phase in phases if phase.side == side] for side in config.sides}
    targets = [f"- {side} px, {line}" for side, here in by_side.items() for line in _targets(here)]
    parts = [
        "# The service beside the bare pipeline and LitServe\n",
        machine_line(place),
        f"Median of {config.rounds} interleaved rounds, in brackets the least and the most. Latencies in "
        "ms, over all rounds; in open loops from the moment when a request was due. Load comes from a process of "
        "its own on the same cores, whose CPU is given apart. The pipeline's CPU is that of one thread, the least that "
        "it can do with.\n",
        "\n".join(targets),
    ]
    for side, here in by_side.items():
        tables = (_lone_table(here), _closed_table(here), _cpu_table(here), _open_table(here))
        parts += [f"\n## {side} px\n", *tables]
    return "\n".join(parts) + "\n"


def _targets(here: Sequence[Phase]) -> Iterator[str]:
    service, pipeline = (_percentile_ms(here, name, "lone", 0.5) for name in ("service", "pipeline"))
    overhead = service - pipeline
    yield f"lone request: {overhead:.1f} ms over the pipeline at p50 {_met(overhead <= MAX_OVERHEAD_MS)}"
    for clients in sorted({phase.clients for phase in here if phase.kind == "closed"}):
        if clients < TARGETS_FROM_CLIENTS:
            continue
        ours, theirs = (
            median([phase.throughput for phase in _select(here, name, "closed", clients)])
            for name in ("service", "litserve")
        )
        share = _cpu(here, "pipeline", "lone") / _cpu(here, "service", "closed", clients)
        yield f"{clients} clients: {ours / theirs:.2f} of LitServe's throughput {_met(ours >= LEAST_OF_LITSERVE * theirs)}"
        yield f"{clients} clients: {share:.0%} of all CPU-seconds are the pipeline's {_met(share >= MIN_PIPELINE_SHARE)}"


def _met(met: bool) -> str:
    return "(met)" if met else "(**missed**)"


def _select(phases: Sequence[Phase], target: str, kind: str, clients: int | None = None) -> list[Phase]:
    return [
        phase
        for phase in phases
        if (phase.target, phase.kind) == (target, kind) and clients in (None, phase.clients)
    ]


def _latencies_ms(phases: Sequence[Phase]) -> list[float]:
    return [1000 * seconds for phase in phases for seconds in phase.latencies]


def _percentile_ms(here: Sequence[Phase], target: str, kind: str, share: float) -> float:
    return percentile(_latencies_ms(_select(here, target, kind)), share)


def _cpu(here: Sequence[Phase], target: str, kind: str, clients: int | None = None) -> float:
    """CPU-seconds of all processes for a photo."""
    return median([phase.total_cpu for phase in _select(here, target, kind, clients)])


def _same_in_all_rounds(here: Sequence[Phase], kind: str) -> Iterator[list[Phase]]:
    """The phases of each target and number of clients."""
    for first in here:
        if first.kind == kind and first.round == 0:
            yield _select(here, first.target, kind, first.clients)


def _lone_table(here: Sequence[Phase]) -> str:
    base = _percentile_ms(here, "pipeline", "lone", 0.5)
    rows: list[Sequence[object]] = []
    for name in NAMES:
        latencies = _latencies_ms(_select(here, name, "lone"))
        p50 = percentile(latencies, 0.5)
        rows.append((name, len(latencies), p50, percentile(latencies, 0.99), p50 - base))
    return table(("lone request", "n", "p50", "p99", "over the pipeline"), rows)


def _closed_table(here: Sequence[Phase]) -> str:
    rows: list[Sequence[object]] = []
    for same in _same_in_all_rounds(here, "closed"):
        rates = [phase.throughput for phase in same]
        latencies = _latencies_ms(same)
        rows.append(
            (
                *(same[0].target, same[0].clients, f"{median(rates):.2f} ({spread(rates)})"),
                median([phase.batch for phase in same]),
                *(percentile(latencies, 0.5), percentile(latencies, 0.99)),
                sum(phase.failures for phase in same),
            )
        )
    head = ("closed loop", "clients", "photos/s", "mean batch", "p50", "p99", "not colored")
    return table(head, rows)


def _cpu_table(here: Sequence[Phase]) -> str:
    bare = _cpu(here, "pipeline", "lone")
    rows: list[Sequence[object]] = []
    for same in [*_same_in_all_rounds(here, "lone"), *_same_in_all_rounds(here, "closed")]:
        total = median([phase.total_cpu for phase in same])
        by_part = ", ".join(
            f"{part} {1000 * median([phase.cpu.get(part, 0.0) for phase in same]):.1f}"
            for part in sorted(same[0].cpu)
        )
        rows.append(
            (
                *(
                    same[0].target,
                    same[0].kind,
                    same[0].clients,
                    1000 * total,
                    by_part,
                    f"{bare / total:.0%}",
                ),
                1000 * median([phase.load_cpu for phase in same]),
            )
        )
    of_all = ("all", "by process", "pipeline's share", "load generator, apart")
    return table(("CPU-ms a photo", "load", "clients", *of_all), rows)


def _open_table(here: Sequence[Phase]) -> str:
    """A row for each target and share; rates differ from round to round."""
    rows: list[Sequence[object]] = []
    for name in ("service", "litserve"):
        phases = _select(here, name, "open")
        rounds = [
            sorted((phase for phase in phases if phase.round == number), key=lambda phase: phase.rate)
            for number in sorted({phase.round for phase in phases})
        ]
        for same in zip(*rounds, strict=True):
            latencies = _latencies_ms(same)
            rows.append(
                (
                    *(name, median([phase.rate for phase in same]), len(latencies)),
                    *(percentile(latencies, share) for share in (0.5, 0.95, 0.99)),
                    median([phase.batch for phase in same]),
                    sum(phase.failures for phase in same),
                )
            )
    return table(("open loop", "a second", "n", "p50", "p95", "p99", "mean batch", "not colored"), rows)
