"""Two APIs and two workers that share a broker, a record and a store; clients that repeat themselves; what has become of their photos."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.benchmarks.load import FORM, Connection
from tests.benchmarks.report import Check
from tests.benchmarks.servers import Server, free_port, read_metrics, unfinished
from tests.benchmarks.verification import Verification

CLIENTS = 16
LONGEST_PAUSE = 1.0
"""Seconds. Clients here wait less than Retry-After says, so that there is always one that tries."""
DRAIN = 240.0


class Fleet:
    """`python -m service api` and `worker`, each twice, started again where they are killed."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.store = folder / "store"
        shared = {"store_url": self.store.as_uri(), "state_dir": folder / "state", **settings}
        ports = [free_port(), free_port()]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        starts: dict[str, Callable[[], Server]] = {
            **{
                f"api {number}": lambda port=port, url=url: _start("api", {**shared, "port": port}, url)
                for number, port, url in zip((1, 2), ports, self.urls, strict=True)
            },
            **{f"worker {number}": lambda: _start("worker", shared, "") for number in (1, 2)},
        }
        self._starts = starts
        self._running = {name: start() for name, start in starts.items()}

    @property
    def url(self) -> str:
        return self.urls[0]

    def __enter__(self) -> Self:
        with ExitStack() as unless_ready:
            unless_ready.callback(self.__exit__)
            self.wait()
            unless_ready.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._running.values():
            server.stop()

    def wait(self) -> None:
        for number in (1, 2):
            self._running[f"api {number}"].wait_until_ready("/readyz")

    def kill(self, name: str) -> None:
        """kill -9, and start it again."""
        self._running[name].kill()
        self._running[name] = self._starts[name]()

    def lines(self, name: str) -> list[str]:
        return self._running[name].lines


def _start(part: str, settings: Mapping[str, object], url: str) -> Server:
    return Server([sys.executable, "-m", "service", part], settings, url)


@dataclass(slots=True)
class Puts:
    """Photos under ids of the clients' own, each sent until it is accepted."""

    urls: Sequence[str]
    bodies: Sequence[bytes]
    count: int
    accepted: dict[str, str] = field(default_factory=dict)
    """id → secret"""
    refusals: Counter[str] = field(default_factory=Counter)
    repeated: set[str] = field(default_factory=set)
    slowest: float = 0.0
    """Seconds of one request."""

    async def send(self) -> None:
        pending = iter(range(self.count))
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._some(pending))

    async def _some(self, pending: itertools.count[int]) -> None:
        connections = [Connection(url) for url in self.urls]
        for index in pending:
            await self._one(connections, index)
        for connection in connections:
            await connection.close()

    async def _one(self, connections: Sequence[Connection], index: int) -> None:
        id, body = secrets.token_hex(16), self.bodies[index % len(self.bodies)]
        own = secrets.token_hex(24)  # whoever repeats himself is told the job's secret because he chose it
        headers = {**FORM, "Authorization": f"Bearer {own}"}
        for attempt in itertools.count(index):
            began = time.monotonic()
            try:
                response = await connections[attempt % len(connections)].request(
                    "PUT", f"/v1/colorizations/{id}", body, headers, seconds=60
                )
            except OSError:
                self.refusals["no answer"] += 1
                pause = 0.2
            else:
                answer = response.json()
                if response.status in (200, 202):
                    self.accepted[id] = answer["secret"]
                    return
                if response.status not in (409, 503):
                    raise RuntimeError(f"{response.status}: {answer}")
                self.refusals[f"{response.status} {answer['code']}"] += 1
                pause = float(response.headers["retry-after"])
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)
            self.repeated.add(id)
            await asyncio.sleep(min(pause, LONGEST_PAUSE))

    async def until(self, share: float) -> None:
        """Until so much has been accepted."""
        while len(self.accepted) < share * self.count:
            await asyncio.sleep(0.02)

    @property
    def summary(self) -> str:
        at_once = self.count - len(self.repeated)
        return (
            f"{self.count} photos: {at_once} accepted at once, {len(self.repeated)} refused or unanswered first and "
            f"repeated by PUT ({dict(self.refusals)}); slowest answer {self.slowest:.1f} s"
        )


def verify(fleet: Fleet, puts: Puts) -> None:
    """None lost, none doubled, each ended once."""
    give_up = time.monotonic() + DRAIN
    while unfinished(fleet.url) and time.monotonic() < give_up:
        time.sleep(0.5)
    verification = Verification(fleet, puts.accepted)  # type: ignore[arg-type]
    asyncio.run(verification.inspect(DRAIN))
    ended = sum(
        v for name, v in read_metrics(fleet.url).items() if name.startswith("autochrome_jobs_ended_total{")
    )
    checks = [
        *verification.job_checks(),
        Check("all were accepted", len(puts.accepted) == puts.count, f"{len(puts.accepted)} of {puts.count}"),
        Check("all succeeded", set(verification.statuses) == {"succeeded"}, str(dict(verification.statuses))),
        Check("the record counts each end once", ended == puts.count, f"{ended:.0f} of {puts.count}"),
    ]
    sys.stdout.write("\n".join(["", puts.summary, *[check.line for check in checks], ""]))
    assert [check.line for check in checks if not check.passed] == []
