"""kill -9 of worker, API and Valkey at random under load, with real processes; then nothing may be lost, doubled or left over."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks import fast_net, figures, load, photos
from tests.benchmarks.aftermath import Aftermath, Kill
from tests.benchmarks.checks import Check
from tests.benchmarks.client import Connections
from tests.benchmarks.figures import place_line, table
from tests.benchmarks.load import FORM, Plan, form
from tests.benchmarks.processes import Service

PARTS = ("worker", "api", "valkey")
SHARE = 0.4
"""Of what the service can do in peace, so that it can make up for the time in which something is down."""
PEACE = 11.0
"""Seconds after the last kill, of a worker with its hands full, in which nothing else is killed."""
CALM = 7.0
"""Seconds before it."""
BURST = 16


@dataclass(frozen=True, slots=True)
class Extent:
    """`pause`: seconds between two kills, at least and at most. `drain`: seconds for all to end afterwards."""

    seconds: float = 300.0
    seed: int = 0
    pause: tuple[float, float] = (4.0, 20.0)
    drain: float = 180.0
    fast: bool = False


@dataclass
class Crowd:
    """People who send photos: what was accepted (id → secret), and how often what else was answered."""

    service: Service
    rate: float
    bodies: Sequence[bytes]
    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.connections = Connections(self.service.url)

    async def send(self, seconds: float) -> None:
        chance = random.Random(self.seed)
        give_up = time.monotonic() + seconds
        async with asyncio.TaskGroup() as people:
            while time.monotonic() < give_up:
                people.create_task(self._one(chance.choice(self.bodies)))
                await asyncio.sleep(chance.expovariate(self.rate))

    async def burst(self, count: int) -> None:
        async with asyncio.TaskGroup() as people:
            for index in range(count):
                people.create_task(self._one(self.bodies[index % len(self.bodies)]))

    async def _one(self, body: bytes) -> None:
        try:
            async with self.connections.one() as connection:
                answer = await connection.ask("POST", "/v1/colorizations", body, FORM, seconds=60)
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return
        self.answers[str(answer.status)] += 1
        if answer.status == 202:
            job = json.loads(answer.body)
            self.accepted[job["id"]] = job["secret"]


class Killer:
    """Each part in turn, in an order drawn anew for each three."""

    def __init__(self, service: Service, seed: int, say: Callable[[str], None]) -> None:
        self.killed: list[Kill] = []
        self._service = service
        self._say = say
        self._chance = random.Random(seed)
        self._turn: list[str] = []

    async def at_random(self, seconds: float, pause: tuple[float, float]) -> None:
        give_up = time.monotonic() + seconds
        while True:
            await asyncio.sleep(self._chance.uniform(*pause))
            if time.monotonic() > give_up:
                return
            self._turn = self._turn or self._chance.sample(PARTS, k=len(PARTS))
            await self.kill(self._turn.pop())

    async def kill(self, part: str) -> None:
        """As soon as there is one to kill."""
        while not (there := self._service.parts().get(part)):
            await asyncio.sleep(0.1)
        with suppress(psutil.NoSuchProcess):
            self.killed.append(Kill(int(time.time() * 1000), part))
            self._chance.choice(there).send_signal(signal.SIGKILL)
            self._say(f"killed {part}")


def run(extent: Extent, say: Callable[[str], None]) -> tuple[dict[str, Any], list[Check]]:
    place = figures.place()
    with tempfile.TemporaryDirectory(prefix="autochrome-chaos-") as folder:
        settings = {"net": fast_net.make(Path(folder) / "net")} if extent.fast else {}
        paths = photos.write(Path(folder) / "photos", 96 if extent.fast else 512)
        with Service(Path(folder) / "state", **settings) as service:
            rate = SHARE * _capacity(service, [str(path) for path in paths])
            say(f"seed {extent.seed}, {rate:.1f} photos a second")
            crowd = Crowd(service, rate, [form(path.read_bytes()) for path in paths], extent.seed)
            killer = Killer(service, extent.seed, say)
            asyncio.run(_storm(service, crowd, killer, extent))
            killed = killer.killed
            say(f"{len(killed)} killed, {len(crowd.accepted)} jobs accepted; what has become of them?")
            service.wait_until_ready("/readyz")
            aftermath = Aftermath(service, crowd.accepted, killed)
            asyncio.run(aftermath.look(extent.drain))
            asyncio.run(aftermath.erase())
            checks = [*aftermath.of_jobs(), *aftermath.of_files(), aftermath.of_redelivery()]
    found = {
        "place": place,
        "extent": asdict(extent),
        "rate": rate,
        "killed": [asdict(kill) for kill in killed],
        "answers": dict(crowd.answers),
        "ended": dict(aftermath.statuses),
        "redelivered_after": aftermath.redelivered,
        "checks": [asdict(check) for check in checks],
    }
    return found, checks


def text(found: dict[str, Any], checks: Sequence[Check]) -> str:
    """Markdown."""
    killed = Counter(kill["part"] for kill in found["killed"])
    rows = [
        (f"{kill['part']} in peace" if clean else f"{kill['part']}, and more within 10 s", seconds)
        for kill, clean, seconds in found["redelivered_after"]
    ]
    return "\n".join(
        [
            "# Chaos\n",
            place_line(found["place"]),
            f"{found['extent']['seconds']:g} s, seed {found['extent']['seed']}, {found['rate']:.1f} photographs a second. "
            f"kill -9: {', '.join(f'{part} {count}' for part, count in sorted(killed.items()))}. "
            f"Answers to POST: {found['answers']}. Ended: {found['ended']}.\n",
            *[check.line for check in checks],
            "",
            table(("killed", "s until a job in its hands was taken again"), rows),
        ]
    )


async def _storm(service: Service, crowd: Crowd, killer: Killer, extent: Extent) -> None:
    async with asyncio.TaskGroup() as storm:
        storm.create_task(crowd.send(extent.seconds))
        await killer.at_random(extent.seconds - CALM - PEACE, extent.pause)
        await asyncio.sleep(CALM)
        await asyncio.to_thread(service.wait_until_ready, "/readyz")
        await crowd.burst(BURST)
        await killer.kill("worker")
    await crowd.connections.close()


def _capacity(service: Service, names: list[str]) -> float:
    load.run(Plan(service.url, "service", names, clients=4, requests=8))
    samples = load.run(Plan(service.url, "service", names, clients=8, requests=48)).samples
    return len(samples) / max(sample.ended for sample in samples)
