"""Many small jobs, a net that takes milliseconds, and several workers that are stopped, killed and started all the time."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import fast_net, figures, metrics, photos
from tests.benchmarks.aftermath import Aftermath
from tests.benchmarks.checks import Check
from tests.benchmarks.client import Connection
from tests.benchmarks.figures import place_line
from tests.benchmarks.load import FORM, form
from tests.benchmarks.processes import Service

SIDE = 48
SENDERS = 8


@dataclass(frozen=True, slots=True)
class Extent:
    """`workers`: beside the service's own. `pause`: seconds between two restarts, at least and at most."""

    jobs: int = 10_000
    seed: int = 0
    workers: int = 2
    pause: tuple[float, float] = (2.0, 8.0)
    drain: float = 600.0


@dataclass(slots=True)
class Shift:
    """Workers that come and go: every second time they may end what they began, else they may not."""

    service: Service
    settings: dict[str, object]
    seed: int
    restarts: int = 0
    _at_work: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def work(self, count: int, pause: tuple[float, float]) -> None:
        """Until it is canceled."""
        chance = random.Random(self.seed)
        self._at_work = [self.service.worker(**self.settings) for _ in range(count)]
        try:
            while True:
                await asyncio.sleep(chance.uniform(*pause))
                index = chance.randrange(count)
                self._at_work[index].send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
                await asyncio.to_thread(self._at_work[index].wait)
                self._at_work[index] = self.service.worker(**self.settings)
                self.restarts += 1
        finally:
            for worker in self._at_work:
                worker.kill()
                worker.wait()


async def send(service: Service, bodies: Sequence[bytes], count: int) -> dict[str, str]:
    """Id → secret of so many jobs; where the queue is full they wait as long as they are told."""
    accepted: dict[str, str] = {}
    turns = iter(range(count))

    async def some() -> None:
        connection = Connection(service.url)
        for turn in turns:
            while (
                answer := await connection.ask("POST", "/v1/colorizations", bodies[turn % len(bodies)], FORM)
            ).status == 503:
                await asyncio.sleep(float(answer.headers["retry-after"]))
            if answer.status != 202:
                raise RuntimeError(f"{answer.status}: {answer.body.decode()}")
            job = json.loads(answer.body)
            accepted[job["id"]] = job["secret"]
        await connection.close()

    async with asyncio.TaskGroup() as senders:
        for _ in range(SENDERS):
            senders.create_task(some())
    return accepted


def run(extent: Extent, say: Callable[[str], None]) -> tuple[dict[str, Any], list[Check]]:
    place = figures.place()
    with tempfile.TemporaryDirectory(prefix="autochrome-jobs-") as folder:
        settings: dict[str, object] = {"net": fast_net.make(Path(folder) / "net")}
        bodies = [form(path.read_bytes()) for path in photos.write(Path(folder) / "photos", SIDE)]
        with Service(Path(folder) / "state", **settings) as service:
            shift = Shift(service, settings, extent.seed)
            began = time.monotonic()
            aftermath = asyncio.run(_work(service, shift, bodies, extent, say))
            seconds = time.monotonic() - began
            asyncio.run(aftermath.look(extent.drain))
            counted = metrics.ended(metrics.read(service.url))
    checks = [
        *aftermath.of_jobs(),
        Check(
            "the record counts each end once",
            counted == extent.jobs,
            f"/metrics tells of {counted} ended jobs, {extent.jobs} were accepted.",
        ),
        Check("workers came and went", shift.restarts > 0, f"{shift.restarts} restarts."),
    ]
    found = {
        "place": place,
        "extent": asdict(extent),
        "seconds": seconds,
        "restarts": shift.restarts,
        "checks": [asdict(check) for check in checks],
    }
    return found, checks


def text(found: dict[str, Any], checks: Sequence[Check]) -> str:
    """Markdown."""
    jobs, seconds = found["extent"]["jobs"], found["seconds"]
    return "\n".join(
        [
            "# Many jobs\n",
            place_line(found["place"]),
            f"{jobs} photographs of {SIDE} px in {seconds:.0f} s ({jobs / seconds:.0f} a second), by a net that takes "
            f"milliseconds, in {found['extent']['workers'] + 1} worker processes, of which "
            f"{found['extent']['workers']} were stopped or killed and started again {found['restarts']} times.\n",
            *[check.line for check in checks],
            "",
        ]
    )


async def _work(
    service: Service, shift: Shift, bodies: Sequence[bytes], extent: Extent, say: Callable[[str], None]
) -> Aftermath:
    """Send all; workers are restarted until the last job has ended."""
    working = asyncio.create_task(shift.work(extent.workers, extent.pause))
    accepted = await send(service, bodies, extent.jobs)
    say(f"{len(accepted)} accepted")
    give_up = time.monotonic() + extent.drain
    while time.monotonic() < give_up:
        seen = await asyncio.to_thread(metrics.read, service.url)
        if not seen["autochrome_jobs_waiting"] + seen["autochrome_jobs_in_flight"]:
            break
        await asyncio.sleep(0.5)
    say("all have ended")
    working.cancel()
    await asyncio.wait([working])
    return Aftermath(service, accepted)
