"""Several times more photos than the service can color: what it accepts is as quick as ever, the rest is refused at once.

The queue is bounded to few jobs, so that it is full within seconds.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import figures, load, metrics, photos
from tests.benchmarks.checks import Check
from tests.benchmarks.figures import percentile, place_line, table
from tests.benchmarks.load import Plan, Sample
from tests.benchmarks.processes import Server, Service

SIDE = 512
SLOWER = 1.2
"""By so much, at most, may the p99 of what is accepted grow from the first quarter to the last."""
GROWTH = 1.15
"""The same for the memory of all processes."""
AT_ONCE = 0.5
"""Seconds in which 99 of 100 refusals must have come."""
DRAIN = 30.0


@dataclass(frozen=True, slots=True)
class Extent:
    seconds: float = 120.0
    times: float = 4.0
    calibration: float = 10.0
    queue_jobs: int = 16
    settings: dict[str, object] = field(default_factory=dict)


class Memory(threading.Thread):
    """Megabytes of each part of a server, twice a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, dict[str, float]]] = []
        self._server = server
        self._began = time.perf_counter()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.5):
            self.seen.append((time.perf_counter() - self._began, self._server.resident_mb()))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def peak(self, begin: float, end: float) -> float:
        """Of all parts together, between two moments; NaN where nobody looked."""
        within = [sum(parts.values()) for moment, parts in self.seen if begin <= moment <= end]
        return max(within, default=math.nan)


def run(extent: Extent, say: Callable[[str], None]) -> tuple[dict[str, Any], list[Check]]:
    place = figures.place()
    with tempfile.TemporaryDirectory(prefix="autochrome-overload-") as folder:
        names = [str(path) for path in photos.write(Path(folder) / "photos", SIDE)]
        with Service(Path(folder) / "state", queue_jobs=extent.queue_jobs, **extent.settings) as service:
            capacity = _capacity(service, names, extent.calibration)
            rate = extent.times * capacity
            say(f"it colors {capacity:.2f} photos a second, and is sent {rate:.2f} for {extent.seconds:g} s")
            memory = Memory(service)
            memory.start()
            before = service.cpu_seconds()
            outcome = load.run(Plan(service.url, "service", names, rate=rate, seconds=extent.seconds, seed=1))
            memory.stop()
            cpu = {part: seconds - before.get(part, 0) for part, seconds in service.cpu_seconds().items()}
            say("the load is over; does it drain?")
            left = _left(service)
    checks = _checks(outcome.samples, memory, extent.seconds, left)
    found = {
        "place": place,
        "extent": asdict(extent),
        "capacity": capacity,
        "rate": rate,
        "samples": [asdict(sample) for sample in outcome.samples],
        "memory_mb": memory.seen,
        "checks": [asdict(check) for check in checks],
        "cpu_seconds": cpu,
        "load_cpu_seconds": outcome.cpu_seconds,
    }
    return found, checks


def text(found: dict[str, Any], checks: Sequence[Check]) -> str:
    """Markdown."""
    samples = [Sample(**sample) for sample in found["samples"]]
    slots = 8
    width = found["extent"]["seconds"] / slots
    rows: list[Sequence[object]] = []
    for slot in range(slots):
        here = [sample for sample in samples if slot * width <= sample.intended < (slot + 1) * width]
        accepted = [sample.latency for sample in here if sample.status == 200]
        refused = [sample.latency for sample in here if sample.status == 503]
        memory = [
            sum(parts.values()) for t, parts in found["memory_mb"] if slot * width <= t < (slot + 1) * width
        ]
        rows.append(
            (
                *(f"{slot * width:.0f}…{(slot + 1) * width:.0f}", len(accepted), percentile(accepted, 0.5)),
                *(percentile(accepted, 0.99), len(refused), 1000 * percentile(refused, 0.5)),
                *(1000 * percentile(refused, 0.99), max(memory, default=math.nan)),
            )
        )
    head = ("seconds", "accepted", "p50 s", "p99 s", "refused", "p50 ms", "p99 ms", "memory MB")
    return "\n".join(
        [
            "# Overload\n",
            place_line(found["place"]),
            f"It colors {found['capacity']:.2f} photographs of {SIDE} px a second and was sent {found['rate']:.2f} "
            f"for {found['extent']['seconds']:g} s, at most {found['extent']['queue_jobs']} waiting.\n",
            *[check.line for check in checks],
            "",
            f"CPU-seconds meanwhile, for {len(samples)} requests: "
            + ", ".join(f"{part} {seconds:.1f}" for part, seconds in sorted(found["cpu_seconds"].items()))
            + f"; load generator, apart: {found['load_cpu_seconds']:.1f}.\n",
            table(head, rows),
        ]
    )


def _capacity(service: Service, names: list[str], seconds: float) -> float:
    load.run(Plan(service.url, "service", names, clients=4, requests=8))
    good = load.run(Plan(service.url, "service", names, clients=8, seconds=seconds)).samples
    ended = sorted(sample.ended for sample in good if sample.status == 200)
    first = ended[len(ended) // 4]
    return sum(moment > first for moment in ended) / (ended[-1] - first)


def _left(service: Service) -> float:
    """Jobs that wait or run when it has had time to drain."""
    give_up = time.monotonic() + DRAIN
    while True:
        found = metrics.read(service.url)
        left = found["autochrome_jobs_waiting"] + found["autochrome_jobs_in_flight"]
        if not left or time.monotonic() > give_up:
            return left
        time.sleep(0.2)


def _checks(samples: Sequence[Sample], memory: Memory, seconds: float, left: float) -> list[Check]:
    refused = [sample for sample in samples if sample.status == 503]
    accepted = [sample for sample in samples if sample.status == 200]
    full = min((sample.intended for sample in refused), default=math.inf)
    quarter = seconds / 4
    early = percentile([s.latency for s in accepted if full <= s.intended < full + quarter], 0.99)
    late = percentile([s.latency for s in accepted if s.intended >= seconds - quarter], 0.99)
    quick = percentile([sample.latency for sample in refused], 0.99)
    before, after = memory.peak(full, full + quarter), memory.peak(seconds - quarter, seconds)
    other = sorted({sample.status for sample in samples} - {200, 503})
    waits = [sample.retry_after for sample in refused]
    return [
        Check(
            f"accepted: p99 of the last {quarter:g} s at most {SLOWER} of the first {quarter:g} s when full",
            late <= SLOWER * early,
            f"{early:.2f} s, then {late:.2f} s: {late / early:.2f}. {len(accepted)} accepted.",
        ),
        Check(
            f"refused at once: p99 at most {AT_ONCE} s, each with Retry-After",
            quick <= AT_ONCE and min(waits, default=0) >= 1,
            f"{len(refused)} refused, p99 {1000 * quick:.0f} ms; Retry-After {min(waits, default=0):g}…"
            f"{max(waits, default=0):g} s.",
        ),
        Check(
            f"memory: peak of the last {quarter:g} s at most {GROWTH} of the first {quarter:g} s when full",
            after <= GROWTH * before,
            f"{before:.0f} MB, then {after:.0f} MB.",
        ),
        Check("nothing but 200 and 503", not other, f"others: {other or 'none'}."),
        Check(f"all drains within {DRAIN:g} s", left == 0, f"{left:g} left."),
    ]
