"""Load from a process of its own: `python -m tests.benchmarks.load` reads a plan on standard input and prints what happened.

closed: so many clients, each asks again as soon as it is answered.
open: requests come at random (Poisson), however long the earlier ones take. A latency counts from the moment
when the request was meant to be sent, not from when it was: else a stalled server would hide its own stall.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks.client import Answer, Connection, Connections

POLL = 0.25
"""Seconds between two questions about a job that was not ready in the minute that the client waited for it."""
BOUNDARY = "a-line-that-is-in-no-photo"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True, slots=True)
class Plan:
    """`requests` ends it, or else `seconds`; `rate` (a second) makes it open, else `clients` ask in turn."""

    url: str = ""
    target: str = "service"
    """or litserve"""
    photos: list[str] = field(default_factory=list)
    clients: int = 1
    rate: float = 0.0
    seconds: float = 0.0
    requests: int = 0
    seed: int = 0

    @property
    def kind(self) -> str:
        return "open" if self.rate else "lone" if self.requests and self.clients == 1 else "closed"

    @property
    def what(self) -> str:
        return (
            f"open loop at {self.rate:.2f} a second" if self.rate else f"{self.kind}, clients: {self.clients}"
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times are seconds since the plan began."""

    intended: float
    sent: float
    ended: float
    status: int
    """200: the picture is here. 0: the connection was lost."""
    retry_after: float = 0.0

    @property
    def latency(self) -> float:
        return self.ended - self.intended


@dataclass(frozen=True, slots=True)
class Outcome:
    samples: list[Sample] = field(default_factory=list)
    cpu_seconds: float = 0.0
    """Of the load generator itself."""


def run(plan: Plan) -> Outcome:
    """Carry out a plan in a process of its own."""
    return Running(plan).wait()


class Running:
    """A plan that is being carried out."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(plan)))
        self._process.stdin.close()
        self._process.stdin = None

    def wait(self) -> Outcome:
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the load generator ended with code {self._process.returncode}")
        found = json.loads(said)
        return Outcome([Sample(*values) for values in found["samples"]], found["cpu_seconds"])

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None


Target = Callable[[Connection, bytes], Awaitable[Answer]]


def form(photo: bytes) -> bytes:
    """multipart/form-data with the one field `photo`: both servers are given the very same body."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


async def ask_service(connection: Connection, body: bytes) -> Answer:
    """Photo in, picture out; waits for as long as it takes."""
    answer = await connection.ask("POST", "/v1/colorizations", body, {**FORM, "Prefer": "wait=60"})
    while answer.status == 202:
        await asyncio.sleep(POLL)
        answer = await connection.ask("GET", answer.headers.get("location") or _path(answer))
        if answer.status == 200 and not json.loads(answer.body)["result"]:
            answer = Answer(202, answer.headers, answer.body)
    if answer.status == 200:
        return await connection.ask("GET", _path(answer) + "/result")
    return answer


def _path(answer: Answer) -> str:
    return f"/v1/colorizations/{json.loads(answer.body)['id']}"


async def ask_litserve(connection: Connection, body: bytes) -> Answer:
    return await connection.ask("POST", "/predict", body, FORM)


TARGETS: dict[str, Target] = {"service": ask_service, "litserve": ask_litserve}


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._bodies = [form(Path(photo).read_bytes()) for photo in plan.photos]
        self._target = TARGETS[plan.target]
        self._began = time.perf_counter()
        self._count = 0
        self._samples: list[Sample] = []
        self._connections = Connections(plan.url)

    async def carry_out(self) -> list[Sample]:
        await (self._open() if self._plan.rate else self._closed())
        await self._connections.close()
        return self._samples

    async def _closed(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(self._plan.clients):
                clients.create_task(self._client())

    async def _client(self) -> None:
        plan = self._plan
        while self._count < plan.requests if plan.requests else self._now() < plan.seconds:
            status = await self._request(self._now())
            if status != 200:
                await asyncio.sleep(0.05)  # refused at once: it shall not ask a thousand times a second

    async def _open(self) -> None:
        chance = random.Random(self._plan.seed)
        intended = chance.expovariate(self._plan.rate)
        async with asyncio.TaskGroup() as requests:
            while intended < self._plan.seconds:
                if (pause := intended - self._now()) > 0:
                    await asyncio.sleep(pause)
                requests.create_task(self._request(intended))
                intended += chance.expovariate(self._plan.rate)

    async def _request(self, intended: float) -> int:
        body = self._bodies[self._count % len(self._bodies)]
        self._count += 1
        sent, status, retry_after = self._now(), 0, 0.0
        with suppress(OSError):
            async with self._connections.one() as connection:
                answer = await self._target(connection, body)
                status, retry_after = answer.status, float(answer.headers.get("retry-after", 0))
        self._samples.append(Sample(intended, sent, self._now(), status, retry_after))
        return status

    def _now(self) -> float:
        return time.perf_counter() - self._began


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.read()))
    samples = asyncio.run(_Load(plan).carry_out())
    used = resource.getrusage(resource.RUSAGE_SELF)
    values = [[s.intended, s.sent, s.ended, s.status, s.retry_after] for s in samples]
    sys.stdout.write(json.dumps({"samples": values, "cpu_seconds": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
