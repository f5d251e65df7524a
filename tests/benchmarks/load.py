"""Load over HTTP/1.1, from a process of its own: `python -m tests.benchmarks.load` reads a plan on standard input and prints samples.

closed: so many clients, each sends its next request when the last one is answered.
open: requests arrive at random (Poisson), however long the earlier ones take. A latency counts from the time at
which the request was due, not from when it was sent: else a stalled server would hide its own stall (coordinated omission).

Why not locust (2.47 was measured): it has closed loops only. Its users send nothing while they wait for an answer, so the rate falls when
the server stalls. Of a server that stalled for 3 s at 20 requests a second, an open loop told of 75 requests that waited; 4, 20 and 80 of
its users told of 4, 20 and 80. It also rounds latencies of over 100 ms to 10 ms. The open loop, the samples and the process around them
would stay ours. A photo at a server that answers at once took 0.36 ms of CPU here, 0.91 in its FastHttpUser, 2.3 in its HttpUser and 4.1
with httpx (two busy cores, 64 kB up and 60 kB down, 2,000 photos, 8 clients).
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.benchmarks.report import ROOT

Item = TypeVar("Item")
POLL = 0.25
"""Seconds between two polls of a job that was not ready in the minute that the client waited for it."""
KEEP_ALIVE = 5.0
"""Seconds after which an idle connection is not used again, as in httpx: the server may be closing it."""
BOUNDARY = "a-line-that-is-in-no-photo"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True, slots=True)
class Response:
    """`headers` by their names in lower case; the last of several of one name."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection, kept open, one request at a time; opened when it is first used, and again when the server has closed it."""

    def __init__(self, url: str) -> None:
        """`url` is http://host:port."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used_at = 0.0

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 120.0,
    ) -> Response:
        """The whole response. Raises OSError: refused, cut off, or (TimeoutError) not there in time."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await self._open()
                writer.write(self._head(method, path, len(body), headers or {}) + body)
                await writer.drain()
                response = await _read(reader, method)
        except BaseException as error:
            await self.close()
            if isinstance(error, EOFError | ValueError | IndexError):
                raise ConnectionResetError("the response was cut off") from error
            raise
        self._used_at = time.monotonic()
        if response.headers.get("connection", "").lower() == "close":
            await self.close()
        return response

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        is_old = time.monotonic() - self._used_at > KEEP_ALIVE
        if self._reader is not None and (self._reader.at_eof() or is_old):
            await self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._reader, self._writer

    def _head(self, method: str, path: str, length: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _read(reader: asyncio.StreamReader, method: str) -> Response:
    """Body by Content-Length or in chunks (RFC 9112, section 6); no trailers."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    status = int(first.split(" ")[1])
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if method == "HEAD" or status in (204, 304):
        return Response(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return Response(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    pieces: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Response(status, headers, b"".join(pieces))


class Connections:
    """As many as are in use at once; the one used last is used next. Close them in the event loop that used them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[Connection] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        connection = self._free.pop() if self._free else Connection(self._url)
        try:
            yield connection
        finally:
            self._free.append(connection)

    async def close(self) -> None:
        while self._free:
            await self._free.pop().close()


async def for_each(
    url: str, items: Iterable[Item], send: Callable[[Connection, Item], Awaitable[None]], at_once: int = 8
) -> None:
    """Call `send` for each item, over so many connections at once."""
    pending = iter(items)

    async def some() -> None:
        connection = Connection(url)
        for item in pending:
            await send(connection, item)
        await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())


def form(photo: bytes) -> bytes:
    """multipart/form-data with the one field `photo`: every server is given the very same body."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


async def call_service(connection: Connection, body: bytes) -> Response:
    """Photo in, picture out; waits for as long as it takes."""
    response = await connection.request("POST", "/v1/colorizations", body, {**FORM, "Prefer": "wait=60"})
    while response.status == 202:
        await asyncio.sleep(POLL)
        response = await connection.request("GET", response.headers.get("location") or _path(response))
        if response.status == 200 and not response.json()["result"]:
            response = Response(202, response.headers, response.body)
    if response.status == 200:
        return await connection.request("GET", _path(response) + "/result")
    return response


def _path(response: Response) -> str:
    return f"/v1/colorizations/{response.json()['id']}"


async def call_litserve(connection: Connection, body: bytes) -> Response:
    return await connection.request("POST", "/predict", body, FORM)


CALLS = {"service": call_service, "litserve": call_litserve}


@dataclass(frozen=True, slots=True)
class Plan:
    """`requests` ends it, or else `seconds`; `rate` (a second) makes it open, else `clients` send in turn."""

    url: str = ""
    target: str = "service"
    """or litserve"""
    photos: Sequence[str] = ()
    clients: int = 1
    rate: float = 0.0
    seconds: float = 0.0
    requests: int = 0
    seed: int = 0

    @property
    def kind(self) -> str:
        return "open" if self.rate else "lone" if self.requests and self.clients == 1 else "closed"

    @property
    def title(self) -> str:
        return (
            f"open loop at {self.rate:.2f} a second" if self.rate else f"{self.kind}, clients: {self.clients}"
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times are seconds since the plan began."""

    due: float
    sent: float
    ended: float
    status: int
    """200: the picture is here. 0: the connection was lost."""
    retry_after: float = 0.0

    @property
    def latency(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Outcome:
    """`cpu_seconds` are those of the load generator itself."""

    samples: list[Sample] = field(default_factory=list)
    cpu_seconds: float = 0.0


def run(plan: Plan) -> Outcome:
    """Carry out a plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        cwd=ROOT,
        input=json.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator ended with code {done.returncode}")
    printed = json.loads(done.stdout)
    return Outcome([Sample(*values) for values in printed["samples"]], printed["cpu_seconds"])


def capacity(url: str, photos: Sequence[str], seconds: float = 0.0, requests: int = 0) -> float:
    """Photos a second of a service that is sent as many as it can color; the first quarter, while the queue fills, does not count."""
    run(Plan(url, photos=photos, clients=4, requests=8))
    samples = run(Plan(url, photos=photos, clients=8, seconds=seconds, requests=requests)).samples
    ended = sorted(sample.ended for sample in samples if sample.status == 200)
    first = ended[len(ended) // 4]
    return sum(time > first for time in ended) / (ended[-1] - first)


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._bodies = [form(Path(photo).read_bytes()) for photo in plan.photos]
        self._call = CALLS[plan.target]
        self._began = time.perf_counter()
        self._count = 0
        self._samples: list[Sample] = []
        self._connections = Connections(plan.url)

    async def run(self) -> list[Sample]:
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
                await asyncio.sleep(0.05)  # refused at once: not to send a thousand requests a second

    async def _open(self) -> None:
        randomness = random.Random(self._plan.seed)
        due = randomness.expovariate(self._plan.rate)
        async with asyncio.TaskGroup() as requests:
            while due < self._plan.seconds:
                if (pause := due - self._now()) > 0:
                    await asyncio.sleep(pause)
                requests.create_task(self._request(due))
                due += randomness.expovariate(self._plan.rate)

    async def _request(self, due: float) -> int:
        body = self._bodies[self._count % len(self._bodies)]
        self._count += 1
        sent, status, retry_after = self._now(), 0, 0.0
        with suppress(OSError):
            async with self._connections.one() as connection:
                response = await self._call(connection, body)
                status, retry_after = response.status, float(response.headers.get("retry-after", 0))
        self._samples.append(Sample(due, sent, self._now(), status, retry_after))
        return status

    def _now(self) -> float:
        return time.perf_counter() - self._began


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.read()))
    samples = asyncio.run(_Generator(plan).run())
    used = resource.getrusage(resource.RUSAGE_SELF)
    values = [[s.due, s.sent, s.ended, s.status, s.retry_after] for s in samples]
    sys.stdout.write(json.dumps({"samples": values, "cpu_seconds": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
