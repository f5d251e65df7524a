"""The three that are compared: the bare pipeline, the whole service, and LitServe with the same Colorizer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks import load, metrics
from tests.benchmarks.load import Plan, Sample
from tests.benchmarks.processes import ROOT, Server, Service, free_port

CLOSED_RAMP = 0.2
"""Share of a closed phase in which the queue fills; it does not count for throughput."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One measurement of one subject. CPU-seconds are per photo, by part; the load generator's stand apart."""

    subject: str
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
class Subject:
    """A server that is up, and how its batches are counted: calls of the net, and photos in all of them."""

    name: str
    server: Server
    calls: Path | None = None

    def batches(self) -> tuple[float, float]:
        if self.calls is None:
            return metrics.batches(metrics.read(self.server.url))
        counts = json.loads(self.calls.read_text()) if self.calls.exists() else {"calls": 0, "photos": 0}
        return counts["calls"], counts["photos"]


@contextmanager
def service(folder: Path) -> Iterator[Subject]:
    """With its default settings."""
    with Service(folder / "state") as server:
        yield Subject("service", server)


@contextmanager
def litserve(folder: Path, python: Path) -> Iterator[Subject]:
    port, calls = free_port(), folder / "calls.json"
    program = [str(python), "-m", "tests.benchmarks.litserve_twin", str(port), str(calls)]
    with Server(program, {}, f"http://127.0.0.1:{port}") as server:
        server.wait_until_ready("/health")
        yield Subject("litserve", server, calls)


def pipeline(photos: Sequence[Path], side: int, requests: int, turn: int) -> Phase:
    """In a process of its own, as the others are."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pipeline", str(requests), *map(str, photos)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    seconds = found["seconds"]
    cpu = {"pipeline": found["cpu_seconds"] / requests}
    return Phase("pipeline", side, "lone", 1, 0, turn, seconds, requests / sum(seconds), 0, cpu, 0.0, 1.0)


def measure(subject: Subject, plan: Plan, side: int, turn: int) -> Phase:
    """Carry out a plan against a server that is up and warm."""
    plan = replace(plan, url=subject.server.url, target=subject.name)
    calls, photos = subject.batches()
    before = subject.server.cpu_seconds()
    outcome = load.run(plan)
    after = subject.server.cpu_seconds()
    more_calls, more_photos = subject.batches()
    good = [sample for sample in outcome.samples if sample.status == 200]
    if not good:
        raise RuntimeError(f"{subject.name} colored nothing:\n" + "".join(subject.server.lines[-40:]))
    return Phase(
        subject=subject.name,
        side=side,
        kind=plan.kind,
        clients=plan.clients,
        rate=plan.rate,
        round=turn,
        latencies=[sample.latency for sample in good],
        throughput=throughput(good, plan),
        failures=len(outcome.samples) - len(good),
        cpu={part: (after[part] - before.get(part, 0.0)) / len(good) for part in after},
        load_cpu=outcome.cpu_seconds / len(good),
        batch=(more_photos - photos) / (more_calls - calls) if more_calls > calls else float("nan"),
    )


def throughput(good: Sequence[Sample], plan: Plan) -> float:
    """Photos a second: of a closed phase after its ramp, of any other over the whole."""
    if plan.requests or plan.rate:
        return len(good) / max(sample.ended for sample in good)
    ramp = CLOSED_RAMP * plan.seconds
    return sum(ramp <= sample.ended < plan.seconds for sample in good) / (plan.seconds - ramp)
