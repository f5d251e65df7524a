"""kill -9 of real processes under load; then no job may be lost or doubled, and no file left over.

`chaos`: worker, API and Valkey at random, while photos come in. `many_jobs`: many small jobs, a net that takes milliseconds, and
several workers that are stopped, killed and started again all the time.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks import load
from tests.benchmarks.load import FORM, Connection, Connections, for_each, form
from tests.benchmarks.report import Check, Log, Report, machine, machine_line, table
from tests.benchmarks.servers import Service, read_metrics, unfinished, write_fast_net, write_photos
from tests.benchmarks.verification import Kill, Verification, follow

PARTS = ("worker", "api", "valkey")
LOAD = 0.4
"""Of what the service can do undisturbed, so that it can make up for the time in which something is down."""
QUIET_AFTER = 11.0
"""Seconds after the last kill, of a busy worker, in which nothing else is killed."""
QUIET_BEFORE = 7.0
"""Seconds before it."""
BURST = 16
"""Photos that keep the last worker busy."""
SMALL_SIDE = 48


@dataclass(frozen=True, slots=True)
class Config:
    """`pause`: seconds between two kills, at least and at most. `drain`: seconds for all to end afterwards."""

    seconds: float = 300.0
    seed: int = 0
    pause: tuple[float, float] = (4.0, 20.0)
    drain: float = 180.0
    fast: bool = False


@dataclass(frozen=True, slots=True)
class ManyJobsConfig:
    """`workers`: beside the service's own. `pause`: seconds between two restarts, at least and at most."""

    jobs: int = 10_000
    seed: int = 0
    workers: int = 2
    pause: tuple[float, float] = (2.0, 8.0)
    drain: float = 600.0


def chaos(config: Config, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-chaos-") as folder:
        settings = {"net": write_fast_net(Path(folder) / "net")} if config.fast else {}
        photos = write_photos(Path(folder) / "photos", 96 if config.fast else 512)
        with Service(Path(folder) / "state", **settings) as service:
            rate = LOAD * load.capacity(service.url, [str(path) for path in photos], requests=48)
            log(f"seed {config.seed}, {rate:.1f} photos a second")
            sender = Sender(service.url, rate, [form(path.read_bytes()) for path in photos], config.seed)
            killer = Killer(service, config.seed, log)
            asyncio.run(_kill_under_load(service, sender, killer, config))
            log(f"{len(killer.kills)} killed, {len(sender.accepted)} jobs accepted; what has become of them?")
            service.wait_until_ready("/readyz")
            verification = Verification(service, sender.accepted, killer.kills)
            asyncio.run(verification.inspect(config.drain))
            asyncio.run(verification.erase())
    checks = [*verification.job_checks(), *verification.file_checks(), verification.redelivery_check()]
    results = {
        "machine": place,
        "config": asdict(config),
        "rate": rate,
        "kills": [asdict(kill) for kill in killer.kills],
        "responses": dict(sender.responses),
        "ended": dict(verification.statuses),
        "redeliveries": [asdict(each) for each in verification.redeliveries],
        "checks": [asdict(check) for check in checks],
    }
    killed = Counter(kill.part for kill in killer.kills)
    text = [
        "# Chaos\n",
        machine_line(place),
        f"{config.seconds:g} s, seed {config.seed}, {rate:.1f} photographs a second. "
        f"kill -9: {', '.join(f'{part} {count}' for part, count in sorted(killed.items()))}. "
        f"Responses to POST: {results['responses']}. Ended: {results['ended']}.\n",
        *[check.line for check in checks],
        "",
        table(
            ("killed", "s until a job in its hands was taken again"),
            [
                ("worker" if each.alone else "worker, and more within 10 s", each.seconds)
                for each in verification.redeliveries
            ],
        ),
    ]
    return Report("chaos", results, "\n".join(text), checks)


def many_jobs(config: ManyJobsConfig, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-jobs-") as folder:
        settings: dict[str, object] = {"net": write_fast_net(Path(folder) / "net")}
        bodies = [form(path.read_bytes()) for path in write_photos(Path(folder) / "photos", SMALL_SIDE)]
        with Service(Path(folder) / "state", **settings) as service:
            workers = Workers(service, settings, config.seed)
            began = time.monotonic()
            accepted = asyncio.run(_send_while_workers_restart(service, workers, bodies, config, log))
            seconds = time.monotonic() - began
            verification = Verification(service, accepted)
            asyncio.run(verification.inspect(config.drain))
            metrics = read_metrics(service.url)
    counted = sum(value for name, value in metrics.items() if name.startswith("autochrome_jobs_ended_total{"))
    checks = [
        *verification.job_checks(),
        Check(
            "the record counts each end once",
            counted == config.jobs,
            f"/metrics counts {counted:.0f} ended jobs, {config.jobs} were accepted.",
        ),
        Check("workers were restarted", workers.restarts > 0, f"{workers.restarts} restarts."),
    ]
    results = {
        "machine": place,
        "config": asdict(config),
        "seconds": seconds,
        "restarts": workers.restarts,
        "checks": [asdict(check) for check in checks],
    }
    text = [
        "# Many jobs\n",
        machine_line(place),
        f"{config.jobs} photographs of {SMALL_SIDE} px in {seconds:.0f} s ({config.jobs / seconds:.0f} a second), by a "
        f"net that takes milliseconds, in {config.workers + 1} worker processes, of which {config.workers} were stopped "
        f"or killed and started again {workers.restarts} times.\n",
        *[check.line for check in checks],
        "",
    ]
    return Report("many-jobs", results, "\n".join(text), checks)


@dataclass
class Sender:
    """Sends photos at random, `rate` a second: what was accepted (id → secret), and how often each response came."""

    url: str
    rate: float
    bodies: Sequence[bytes]
    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    responses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.connections = Connections(self.url)

    async def send(self, seconds: float) -> None:
        randomness = random.Random(self.seed)
        give_up = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < give_up:
                group.create_task(self._one(randomness.choice(self.bodies)))
                await asyncio.sleep(randomness.expovariate(self.rate))

    async def burst(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(self._one(self.bodies[index % len(self.bodies)]))

    async def _one(self, body: bytes) -> None:
        try:
            async with self.connections.one() as connection:
                response = await connection.request("POST", "/v1/colorizations", body, FORM, seconds=60)
        except OSError as error:
            self.responses[type(error).__name__] += 1
            return
        self.responses[str(response.status)] += 1
        if response.status == 202:
            job = response.json()
            self.accepted[job["id"]] = job["secret"]


class Killer:
    """Kills each part in turn, in an order drawn anew for each three."""

    def __init__(self, service: Service, seed: int, log: Log) -> None:
        self.kills: list[Kill] = []
        self._service = service
        self._log = log
        self._randomness = random.Random(seed)
        self._next: list[str] = []
        self._following: list[asyncio.Task[None]] = []

    async def at_random(self, seconds: float, pause: tuple[float, float]) -> None:
        give_up = time.monotonic() + seconds
        while True:
            await asyncio.sleep(self._randomness.uniform(*pause))
            if time.monotonic() > give_up:
                return
            self._next = self._next or self._randomness.sample(PARTS, k=len(PARTS))
            await self.kill(self._next.pop())

    async def kill(self, part: str) -> None:
        """As soon as there is one to kill."""
        while not (there := self._service.parts().get(part)):
            await asyncio.sleep(0.1)
        victim = self._randomness.choice(there)
        with suppress(psutil.NoSuchProcess):
            self.kills.append(Kill(int(time.time() * 1000), part))
            victim.send_signal(signal.SIGKILL)
            self._log(f"killed {part}")
        if part == "worker":
            following = follow(self._service.valkey_socket, victim.pid, self.kills[-1].seconds)
            self._following.append(asyncio.create_task(following))

    async def all_taken_again(self) -> None:
        """Until what was in killed workers' hands is another's."""
        await asyncio.gather(*self._following)


async def _kill_under_load(service: Service, sender: Sender, killer: Killer, config: Config) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sender.send(config.seconds))
        await killer.at_random(config.seconds - QUIET_BEFORE - QUIET_AFTER, config.pause)
        await asyncio.sleep(QUIET_BEFORE)
        await asyncio.to_thread(service.wait_until_ready, "/readyz")
        await sender.burst(BURST)
        await killer.kill("worker")
        await killer.all_taken_again()
    await sender.connections.close()


@dataclass(slots=True)
class Workers:
    """Workers beside the service's own that are restarted: by chance they may end what they began, or may not."""

    service: Service
    settings: dict[str, object]
    seed: int
    restarts: int = 0

    async def restart_at_random(self, count: int, pause: tuple[float, float]) -> None:
        """Until it is canceled."""
        randomness = random.Random(self.seed)
        running = [self._start() for _ in range(count)]
        try:
            while True:
                await asyncio.sleep(randomness.uniform(*pause))
                index = randomness.randrange(count)
                running[index].send_signal(randomness.choice((signal.SIGKILL, signal.SIGTERM)))
                await asyncio.to_thread(running[index].wait)
                running[index] = self._start()
                self.restarts += 1
        finally:
            for worker in running:
                worker.kill()
                worker.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return self.service.worker(**self.settings)


async def _send_while_workers_restart(
    service: Service, workers: Workers, bodies: Sequence[bytes], config: ManyJobsConfig, log: Log
) -> dict[str, str]:
    """Id → secret. Workers are restarted until the last job has ended."""
    restarting = asyncio.create_task(workers.restart_at_random(config.workers, config.pause))
    accepted = await _send_all(service.url, bodies, config.jobs)
    log(f"{len(accepted)} accepted")
    give_up = time.monotonic() + config.drain
    while await asyncio.to_thread(unfinished, service.url) and time.monotonic() < give_up:
        await asyncio.sleep(0.5)
    log("all have ended")
    restarting.cancel()
    await asyncio.wait([restarting])
    return accepted


async def _send_all(url: str, bodies: Sequence[bytes], count: int) -> dict[str, str]:
    """Id → secret of so many jobs; where the queue is full, each waits as long as Retry-After says."""
    accepted: dict[str, str] = {}

    async def send(connection: Connection, index: int) -> None:
        body = bodies[index % len(bodies)]
        while (response := await connection.request("POST", "/v1/colorizations", body, FORM)).status == 503:
            await asyncio.sleep(float(response.headers["retry-after"]))
        if response.status != 202:
            raise RuntimeError(f"{response.status}: {response.body.decode()}")
        job = response.json()
        accepted[job["id"]] = job["secret"]

    await for_each(url, range(count), send)
    return accepted
