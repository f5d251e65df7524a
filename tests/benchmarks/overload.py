"""Several times more photos than the service can color: what it accepts is as quick as before, the rest is refused at once.

The queue is bounded to few jobs, so that it is full within seconds.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.load import Plan, Sample
from tests.benchmarks.report import Check, Log, Report, machine, machine_line, percentile, table
from tests.benchmarks.servers import Server, Service, unfinished, write_photos

SIDE = 512
MAX_SLOWDOWN = 1.2
"""The p99 of what is accepted may grow by so much from the first quarter to the last."""
MAX_GROWTH = 1.15
"""The same for the memory of all processes."""
MAX_REFUSAL = 0.5
"""Seconds in which 99 of 100 refusals must have come."""
DRAIN = 30.0
SLOTS = 8
"""Rows of the table."""


@dataclass(frozen=True, slots=True)
class Config:
    seconds: float = 120.0
    times: float = 4.0
    calibration: float = 10.0
    queue_jobs: int = 16


class Memory(threading.Thread):
    """Megabytes of all parts of a server, twice a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, dict[str, float]]] = []
        self._server = server
        self._began = time.perf_counter()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.5):
            self.samples.append((time.perf_counter() - self._began, self._server.resident_mb()))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def peak(self, begin: float, end: float) -> float:
        """Of all parts together, between two times; NaN where there is no sample."""
        within = [sum(parts.values()) for moment, parts in self.samples if begin <= moment <= end]
        return max(within, default=math.nan)


def run(config: Config, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-overload-") as folder:
        photos = [str(path) for path in write_photos(Path(folder) / "photos", SIDE)]
        with Service(Path(folder) / "state", queue_jobs=config.queue_jobs) as service:
            capacity = load.capacity(service.url, photos, seconds=config.calibration)
            rate = config.times * capacity
            log(f"it colors {capacity:.2f} photos a second, and is sent {rate:.2f} for {config.seconds:g} s")
            memory = Memory(service)
            memory.start()
            before = service.cpu_seconds()
            outcome = load.run(
                Plan(service.url, "service", photos, rate=rate, seconds=config.seconds, seed=1)
            )
            memory.stop()
            cpu = {part: seconds - before.get(part, 0) for part, seconds in service.cpu_seconds().items()}
            log("the load is over; does it drain?")
            left = _drain(service)
    checks = _checks(outcome.samples, memory, config.seconds, left)
    results = {
        "machine": place,
        "config": asdict(config),
        "capacity": capacity,
        "rate": rate,
        "samples": [asdict(sample) for sample in outcome.samples],
        "memory_mb": memory.samples,
        "checks": [asdict(check) for check in checks],
        "cpu_seconds": cpu,
        "load_cpu_seconds": outcome.cpu_seconds,
    }
    return Report("overload", results, _text(results, config, outcome.samples, memory, checks), checks)


def _drain(service: Service) -> float:
    """Jobs that are left when the service has had time to drain."""
    give_up = time.monotonic() + DRAIN
    while (left := unfinished(service.url)) and time.monotonic() < give_up:
        time.sleep(0.2)
    return left


def _checks(samples: Sequence[Sample], memory: Memory, seconds: float, left: float) -> list[Check]:
    refused = [sample for sample in samples if sample.status == 503]
    accepted = [sample for sample in samples if sample.status == 200]
    full = min((sample.due for sample in refused), default=math.inf)
    quarter = seconds / 4
    early = percentile([s.latency for s in accepted if full <= s.due < full + quarter], 0.99)
    late = percentile([s.latency for s in accepted if s.due >= seconds - quarter], 0.99)
    refusal = percentile([sample.latency for sample in refused], 0.99)
    before, after = memory.peak(full, full + quarter), memory.peak(seconds - quarter, seconds)
    other = sorted({sample.status for sample in samples} - {200, 503})
    waits = [sample.retry_after for sample in refused]
    return [
        Check(
            f"accepted: p99 of the last {quarter:g} s at most {MAX_SLOWDOWN} of the first {quarter:g} s when full",
            late <= MAX_SLOWDOWN * early,
            f"{early:.2f} s, then {late:.2f} s: {late / early:.2f}. {len(accepted)} accepted.",
        ),
        Check(
            f"refused at once: p99 at most {MAX_REFUSAL} s, each with Retry-After",
            refusal <= MAX_REFUSAL and min(waits, default=0) >= 1,
            f"{len(refused)} refused, p99 {1000 * refusal:.0f} ms; Retry-After {min(waits, default=0):g}…"
            f"{max(waits, default=0):g} s.",
        ),
        Check(
            f"memory: peak of the last {quarter:g} s at most {MAX_GROWTH} of the first {quarter:g} s when full",
            after <= MAX_GROWTH * before,
            f"{before:.0f} MB, then {after:.0f} MB.",
        ),
        Check("nothing but 200 and 503", not other, f"others: {other or 'none'}."),
        Check(f"all drains within {DRAIN:g} s", left == 0, f"{left:g} left."),
    ]


def _text(
    results: dict[str, Any],
    config: Config,
    samples: Sequence[Sample],
    memory: Memory,
    checks: Sequence[Check],
) -> str:
    width = config.seconds / SLOTS
    rows: list[Sequence[object]] = []
    for begin, end in ((slot * width, (slot + 1) * width) for slot in range(SLOTS)):
        here = [sample for sample in samples if begin <= sample.due < end]
        accepted = [sample.latency for sample in here if sample.status == 200]
        refused = [1000 * sample.latency for sample in here if sample.status == 503]
        rows.append(
            (
                *(
                    f"{begin:.0f}…{end:.0f}",
                    len(accepted),
                    percentile(accepted, 0.5),
                    percentile(accepted, 0.99),
                ),
                *(len(refused), percentile(refused, 0.5), percentile(refused, 0.99), memory.peak(begin, end)),
            )
        )
    head = ("seconds", "accepted", "p50 s", "p99 s", "refused", "p50 ms", "p99 ms", "memory MB")
    cpu = ", ".join(f"{part} {seconds:.1f}" for part, seconds in sorted(results["cpu_seconds"].items()))
    return "\n".join(
        [
            "# Overload\n",
            machine_line(results["machine"]),
            f"It colors {results['capacity']:.2f} photographs of {SIDE} px a second and was sent {results['rate']:.2f} "
            f"for {config.seconds:g} s, at most {config.queue_jobs} waiting.\n",
            *[check.line for check in checks],
            "",
            f"CPU-seconds meanwhile, for {len(samples)} requests: {cpu}; load generator, apart: "
            f"{results['load_cpu_seconds']:.1f}.\n",
            table(head, rows),
        ]
    )
