"""Half requests, endless headers and slow clients at a service that may open 1,024 files: others are answered meanwhile."""

from __future__ import annotations

import asyncio
import http.client
import io
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from PIL import Image

from tests.benchmarks.report import Check, Log, Report, machine, machine_line, percentile, table
from tests.benchmarks.servers import Service

MOST_MS = 100.0
"""Within which 99 of 100 probes must be answered."""
MOST_MB = 400.0
FILES = 1024
CALM = 5.0
"""Seconds of probes before the attack."""
AGAIN = 1.0
"""Seconds after which a client that was cut off comes again."""
SENDING = 5000
"""Bytes a second of a slow sender: a little more than is asked of one."""
SIDE = 2048
"""Of the picture that slow readers ask for: some megabytes, more than lie in buffers on the way."""


@dataclass(frozen=True, slots=True)
class Config:
    seconds: float = 60.0
    halves: int = 1010
    slow: int = 20
    """Half of them send slowly, half of them read slowly."""
    endless: int = 2
    """Clients whose header never ends."""


def run(config: Config, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-connections-") as folder:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))  # what the service begins with
        with Service(Path(folder) / "state") as service:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * FILES), hard))
            result = _color(service.url)
            calm = probe(service.url, CALM)
            log(f"calm: {_line(calm)}")
            before = service.cpu_seconds()["api"]
            peak = Peak(lambda: service.resident_mb()["api"])
            peak.start()
            with Attack(service.url, result, config):
                under_attack = probe(service.url, config.seconds)
            peak.stop()
            cpu = service.cpu_seconds()["api"] - before
            log(f"under attack: {_line(under_attack)}")
            after = probe(service.url, CALM)
    checks = checked(under_attack, peak.mb)
    latencies = {"calm": calm, "under attack": under_attack, "after": after}
    results = {
        "machine": place,
        "config": asdict(config),
        "probes_s": latencies,
        "api_cpu_s": cpu,
        "api_peak_mb": peak.mb,
        "checks": [asdict(check) for check in checks],
    }
    rows = [_row(name, each) for name, each in latencies.items()]
    text = "\n".join(
        [
            "# Connections\n",
            machine_line(place),
            f"For {config.seconds:g} s, at {FILES} files: {config.halves} half requests, {config.endless} headers without end and "
            f"{config.slow} slow clients, each of which comes again {AGAIN:g} s after it was cut off. The clients run on the same cores.\n",
            *[check.line for check in checks],
            "",
            f"The API took {cpu:.1f} s of CPU meanwhile, and {peak.mb:.0f} MB at most.\n",
            table(("`/livez`", "asked", "not answered", "p50 ms", "p99 ms", "max ms"), rows),
        ]
    )
    return Report("connections", results, text, checks)


def checked(latencies: list[float | None], peak_mb: float) -> list[Check]:
    answered = [1000 * each for each in latencies if each is not None]
    p99 = percentile(answered, 0.99)
    return [
        Check(
            f"/livez answers throughout, 99 of 100 within {MOST_MS:g} ms",
            len(answered) == len(latencies) and p99 < MOST_MS,
            f"{len(latencies) - len(answered)} of {len(latencies)} not answered, p99 {p99:.1f} ms.",
        ),
        Check(f"the API takes at most {MOST_MB:g} MB", peak_mb <= MOST_MB, f"{peak_mb:.0f} MB."),
    ]


def probe(url: str, seconds: float) -> list[float | None]:
    """Seconds that each GET /livez took, on a connection of its own; None where there was no answer."""
    latencies: list[float | None] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        try:
            connection.request("GET", "/livez")
            answered = connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            answered = False
        finally:
            connection.close()
        latencies.append(time.perf_counter() - start if answered else None)
        time.sleep(0.05)
    return latencies


class Peak(threading.Thread):
    """The most that something was, looked at ten times a second."""

    def __init__(self, look: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._look = look
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.mb = max(self.mb, self._look())

    def stop(self) -> None:
        self._over.set()
        self.join()


class Attack:
    """All the clients, in a process of their own, from the moment when they are there."""

    def __init__(self, url: str, result: str, config: Config) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._begun = spawn.Event()
        self._process = spawn.Process(target=_attack, args=(url, result, config, self._begun), daemon=True)

    def __enter__(self) -> None:
        self._process.start()
        assert self._begun.wait(60), "the clients have not begun"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _attack(url: str, result: str, config: Config, begun: Any) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * FILES), hard))
    asyncio.run(_clients(url, result, config, begun))


async def _clients(url: str, result: str, config: Config, begun: Any) -> None:
    address = urlsplit(url)
    host, port = str(address.hostname), address.port or 80
    head = f"POST /v1/colorizations HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: image/jpeg\r\n"
    upload = f"{head}Content-Length: 2000000\r\n\r\n".encode()
    reading = f"GET {result} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        await reader.read()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + b"X-A: ")
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upload)
        while not reader.at_eof():
            writer.write(bytes(SENDING // 2))
            await writer.drain()
            await asyncio.sleep(0.5)

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reading)
        while await reader.read(1):
            await asyncio.sleep(1)

    async def client(talk: Callable[..., Coroutine[Any, Any, None]]) -> None:
        while True:
            with suppress(OSError):
                # A small window, so that what is not read waits at the server.
                reader, writer = await asyncio.open_connection(host, port, limit=4096)
                with suppress(OSError):
                    await talk(reader, writer)
                writer.close()
            await asyncio.sleep(AGAIN)

    kinds = [half] * config.halves + [endless] * config.endless
    kinds += [send] * (config.slow // 2) + [read] * (config.slow - config.slow // 2)
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            group.create_task(client(kind))
        await asyncio.sleep(AGAIN)
        begun.set()


def _color(url: str) -> str:
    """A picture that is colored already: the path of its result, which is large."""
    noise = Image.frombytes("L", (SIDE, SIDE), os.urandom(SIDE * SIDE)).resize((SIDE // 2, SIDE // 2))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=92)
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=60", "Accept": "image/*"}
    with urlopen(
        Request(f"{url}/v1/colorizations?format=png", file.getvalue(), headers), timeout=90
    ) as answer:
        answer.read()
        return str(answer.headers["Content-Location"])


def _line(latencies: list[float | None]) -> str:
    _, asked, lost, *numbers = _row("", latencies)
    return f"{asked} asked, {lost} not answered, p50 {numbers[0]:.1f} ms, p99 {numbers[1]:.1f} ms, max {numbers[2]:.1f} ms"


def _row(name: str, latencies: list[float | None]) -> tuple[Any, ...]:
    answered = [1000 * each for each in latencies if each is not None]
    numbers = (percentile(answered, 0.5), percentile(answered, 0.99), max(answered, default=float("nan")))
    return (name, len(latencies), len(latencies) - len(answered), *numbers)
