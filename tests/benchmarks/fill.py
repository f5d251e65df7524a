"""A small disk, and a Redis of little memory, filled at several times what the service can do.

New photos are refused with an advice, what was accepted is colored, erasing goes on, and where there is room again photos are taken again,
without anybody's help. On the way the disk is filled to its last byte from outside, upon which Valkey cannot write, and the service is
killed and started again so.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import redis

from tests.benchmarks import load
from tests.benchmarks.load import Connections
from tests.benchmarks.report import Check, Log, Report, machine, machine_line, percentile, table
from tests.benchmarks.servers import Service, read_metrics, write_fast_net, write_photos

FULL = (503, 507)
MOST_API_MB = 400.0
READY_WITHIN = 10.0
"""Seconds after there is room again."""
QUEUE = 16
"""Photos that may wait on the small disk: what fills it is what was colored, and all is colored long before its time is past."""
LEASE = 3.0
"""Seconds after which what a full disk broke off is begun anew."""
LARGE, SMALL = 1024, 48
"""Pixels on the longer side: photos that fill a disk, and those that fill a Redis."""
RECORD = 1200
"""Bytes of a job's record."""
CONNECTIONS = 2 * 2**20
"""Bytes that the service's connections take of Redis under load, which counts them too."""
MOST_AT_ONCE = 400
"""Connections of the client, as a proxy would bound them: with more, the server's limit of those would be measured. Who waits for one
waits longer."""
LEFT = 2**20
"""Bytes that must be left for a photo and its result."""
IDLE = 4.0
"""Seconds after which Valkey has given back what connections had for the measurement before."""
SUCCEEDED = 'autochrome_jobs_ended_total{code="",status="succeeded"}'


@dataclass(frozen=True, slots=True)
class Config:
    seconds: float = 120.0
    """Of each of the two."""
    times: float = 4.0
    disk_mb: int = 96
    keep_for: float = 60.0
    full_for: float = 8.0
    """Seconds for which the disk has no byte left."""
    restart: bool = True

    @classmethod
    def of(cls, seconds: float) -> Config:
        """Kept for half as long as photos are sent, so that some are erased meanwhile, and longer than the full disk stops all work."""
        return cls(seconds, keep_for=max(30.0, seconds / 2))


FAST = Config(seconds=8.0, keep_for=6.0, full_for=2.0, restart=False)


@dataclass(slots=True)
class Sent:
    """What became of the photos that were sent, and what a look at the service saw meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    without_advice: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """id → secret"""
    seconds: list[float] = field(default_factory=list)
    """Of refusals."""
    erased: int = 0
    ready: Counter[int] = field(default_factory=Counter)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    """Seconds, MB free on the disk, MB in the store, jobs colored, jobs erased, MB of the API."""

    def results(self) -> dict[str, Any]:
        """Plain values. A Counter would not outlive `asdict`."""
        return {
            "statuses": dict(self.statuses),
            "codes": dict(self.codes),
            "ready": dict(self.ready),
            "accepted": len(self.accepted),
            "refusal_seconds": self.seconds,
            "rows": self.rows,
        }


class Watch(threading.Thread):
    """Looks at a service twice a second."""

    def __init__(self, service: Service, disk: Path, sent: Sent) -> None:
        super().__init__(daemon=True)
        self._service, self._disk, self._sent = service, disk, sent
        self._before = jobs_in(service.store) + sent.erased - len(sent.accepted)
        self._over = threading.Event()
        self._began = time.perf_counter()

    def run(self) -> None:
        while not self._over.wait(0.5):
            with suppress(OSError):
                values = read_metrics(self._service.url)
                self._sent.ready[status_of(self._service.url)] += 1
                self._sent.rows.append(
                    (
                        time.perf_counter() - self._began,
                        shutil.disk_usage(self._disk).free / 2**20,
                        values.get("autochrome_store_bytes", 0) / 2**20,
                        values.get(SUCCEEDED, 0),
                        self._before + len(self._sent.accepted) - jobs_in(self._service.store),
                        self._service.resident_mb().get("api", 0),
                    )
                )

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._sent.erased = int(self._sent.rows[-1][4]) if self._sent.rows else 0


def run(config: Config, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-fill-") as folder:
        net = write_fast_net(Path(folder))
        with small_disk(Path(folder) / "disk", config.disk_mb, log) as (disk, settings):
            on_disk, checks = fill_disk(config, Path(folder), disk, {**settings, "net": net}, log)
        in_memory, more = fill_redis(config, Path(folder), {"net": net}, log)
    checks += more
    results = {
        "machine": place,
        "config": asdict(config),
        "disk": on_disk.results(),
        "redis": in_memory.results(),
        "checks": [asdict(check) for check in checks],
    }
    return Report("fill", results, _text(place, config, on_disk, in_memory, checks), checks)


@contextmanager
def small_disk(folder: Path, megabytes: int, log: Log) -> Iterator[tuple[Path, dict[str, object]]]:
    """A disk of its own, where this process may mount one. Else a folder, of whose disk the service is to leave all but so much."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        try:
            yield folder, {}
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    log(
        "nothing can be mounted here: a limit stands in for a small disk, and Valkey is not brought to refuse writes"
    )
    yield folder, {"store_bytes": megabytes * 2**20 * 2 // 3}


def fill_disk(
    config: Config, folder: Path, disk: Path, settings: Mapping[str, object], log: Log
) -> tuple[Sent, list[Check]]:
    sent, photos = Sent(), write_photos(folder / "large", LARGE)
    settings = {**settings, "keep_for": config.keep_for, "queue_jobs": QUEUE, "lease": LEASE}
    service = Service(disk / "state", **settings)
    try:
        rate = config.times * load.capacity(
            service.url, [str(path) for path in photos], seconds=config.seconds / 12
        )
        log(f"disk: {rate:.0f} photos a second for {config.seconds:g} s")
        before = read_metrics(service.url).get(SUCCEEDED, 0)
        half = config.seconds / 2
        asyncio.run(_send(service, photos, rate, half, disk, sent))
        log(f"no byte is left for {config.full_for:g} s")
        with ThreadPoolExecutor(1) as starting:
            with no_byte_left(disk, bool(os.path.ismount(disk))):
                asyncio.run(_send(service, photos, rate, config.full_for, disk, sent))
                if config.restart:
                    service.kill()
                    started = starting.submit(Service, disk / "state", **settings)
                    time.sleep(config.full_for)
            room_at = time.perf_counter()
            if config.restart:
                service = started.result()
                log(
                    f"started again on the full disk, and ready {time.perf_counter() - room_at:.1f} s after it got room"
                )
        restarted = time.perf_counter() - room_at
        again = _until_accepted(service, photos[0], sent)
        asyncio.run(_send(service, photos, rate, half - config.full_for, disk, sent))
        log("the load is over; does it drain?")
        colored = _drain(service, len(sent.accepted), before)
        erased_s = _until_erased(service, config.keep_for + 20)
        after = read_metrics(service.url)
    finally:
        service.stop()
    checks = _checks("disk", sent, colored, after)
    checks += [
        Check(
            f"disk: ready again within {READY_WITHIN:g} s of room",
            again <= READY_WITHIN,
            f"A photo was accepted {again:.1f} s after.",
        ),
        Check(
            "disk: all is erased when its time is past",
            erased_s is not None,
            f"{erased_s or -1:.1f} s after the last was colored.",
        ),
    ]
    if config.restart:
        name = f"disk: killed and started again on a full disk, ready within {READY_WITHIN:g} s of room"
        checks.append(Check(name, restarted <= READY_WITHIN, f"{restarted:.1f} s."))
    return sent, checks


def fill_redis(
    config: Config, folder: Path, settings: Mapping[str, object], log: Log
) -> tuple[Sent, list[Check]]:
    sent, photos = Sent(), write_photos(folder / "small", SMALL)
    settings = {
        **settings,
        "keep_for": config.keep_for,
        "queue_jobs": 10**6,
    }
    with Service(folder / "state", **settings) as service:
        rate = config.times * load.capacity(
            service.url, [str(path) for path in photos], seconds=config.seconds / 12
        )
        # A queue of photos that wait for longer than they are kept would lose them.
        records = int(rate / config.times * config.keep_for / 2)
        time.sleep(IDLE)
        with redis.Redis(unix_socket_path=str(service.valkey_socket)) as client:
            most = client.info("memory")["used_memory"] + CONNECTIONS + records * RECORD
            client.config_set("maxmemory", most)
        log(f"Redis of {most / 2**20:.1f} MB: {rate:.0f} photos a second for {config.seconds:g} s")
        before = read_metrics(service.url).get(SUCCEEDED, 0)
        asyncio.run(_send(service, photos, rate, config.seconds, folder, sent))
        again = _until_accepted(service, photos[0], sent)
        log("the load is over; does it drain?")
        colored = _drain(service, len(sent.accepted), before)
        after = read_metrics(service.url)
    checks = _checks("Redis", sent, colored, after)
    checks.append(
        Check(
            f"Redis: photos are taken again within {config.keep_for + READY_WITHIN:g} s, when the first jobs have expired",
            again <= config.keep_for + READY_WITHIN,
            f"{again:.1f} s.",
        )
    )
    checks.append(Check("Redis: ready all the time", set(sent.ready) == {200}, f"{dict(sent.ready)}."))
    return sent, checks


async def _send(
    service: Service, photos: Sequence[Path], rate: float, seconds: float, disk: Path, sent: Sent
) -> None:
    """At random times, so many a second, however long the answers take. Nobody waits for the picture."""
    watch, randomness = Watch(service, disk, sent), random.Random(len(sent.accepted))
    bodies, connections = [load.form(path.read_bytes()) for path in photos], Connections(service.url)
    at_once = asyncio.Semaphore(MOST_AT_ONCE)
    begun, due = time.perf_counter(), randomness.expovariate(rate)
    watch.start()
    async with asyncio.TaskGroup() as requests:
        while due < seconds:
            if (pause := begun + due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            requests.create_task(_post(connections, randomness.choice(bodies), sent, at_once))
            due += randomness.expovariate(rate)
    await connections.close()
    watch.stop()


async def _post(connections: Connections, body: bytes, sent: Sent, at_once: asyncio.Semaphore) -> None:
    begun = time.perf_counter()
    try:
        async with at_once, connections.one() as connection:
            answer = await connection.request("POST", "/v1/colorizations", body, load.FORM)
    except OSError as error:
        sent.statuses[0] += 1
        sent.codes[f"{type(error).__name__}: {error}"] += 1
        return
    sent.statuses[answer.status] += 1
    if answer.status == 202:
        job = answer.json()
        sent.accepted[job["id"]] = job["secret"]
        return
    problem = answer.json()
    sent.codes[problem["code"]] += 1
    sent.seconds.append(time.perf_counter() - begun)
    if int(answer.headers.get("retry-after", 0)) < 1 or len(problem["detail"]) < 40:
        sent.without_advice.append(problem["detail"])


@contextmanager
def no_byte_left(disk: Path, is_its_own: bool) -> Iterator[None]:
    """Fill a small disk to its last byte, and again as it gets room, for as long as the block lasts."""
    junk, over = disk / "junk", threading.Event()

    def fill() -> None:
        with junk.open("wb", buffering=0) as file:
            while not over.wait(0.01):
                with suppress(OSError):
                    while not over.is_set():
                        file.write(bytes(4096))

    filling = threading.Thread(target=fill)
    if is_its_own:
        filling.start()
    try:
        yield
    finally:
        over.set()
        if is_its_own:
            filling.join()
            junk.unlink()


def status_of(url: str) -> int:
    """Of /readyz."""
    try:
        with urlopen(f"{url}/readyz", timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def jobs_in(store: Path) -> int:
    return sum(len(path.name) == 32 for path in store.iterdir())


def _until_accepted(service: Service, photo: Path, sent: Sent) -> float:
    """Seconds from when the service says that its store has room until a photo is accepted; 99 where none was within that many."""
    begun = time.perf_counter()
    room: float | None = None

    async def once() -> int:
        connections = Connections(service.url)
        before = len(sent.accepted)
        await _post(connections, load.form(photo.read_bytes()), sent, asyncio.Semaphore(1))
        await connections.close()
        return len(sent.accepted) - before

    while time.perf_counter() - begun < 99:
        left = read_metrics(service.url).get("autochrome_store_left_bytes", LEFT)
        room = room or (time.perf_counter() if left >= LEFT else None)
        if asyncio.run(once()):
            return time.perf_counter() - (room or time.perf_counter())
        time.sleep(0.1)
    return 99.0


def _drain(service: Service, accepted: int, before: float) -> float:
    """How many have been colored, when all are or a minute is over."""
    give_up = time.monotonic() + 60
    while (colored := read_metrics(service.url).get(SUCCEEDED, 0) - before) < accepted:
        if time.monotonic() > give_up:
            break
        time.sleep(0.2)
    return colored


def _until_erased(service: Service, seconds: float) -> float | None:
    begun = time.perf_counter()
    while jobs_in(service.store):
        if time.perf_counter() - begun > seconds:
            return None
        time.sleep(0.2)
    return time.perf_counter() - begun


def _checks(name: str, sent: Sent, colored: float, after: Mapping[str, float]) -> list[Check]:
    accepted = len(sent.accepted)
    other = sorted(set(sent.statuses) - {202, *FULL})
    peak = max((row[5] for row in sent.rows), default=0.0)
    erased = max((row[4] for row in sent.rows), default=0.0)
    lost = {
        field: value
        for field, value in after.items()
        if value and field.startswith("autochrome_jobs_ended") and "succeeded" not in field
    }
    refused = sum(sent.statuses[status] for status in FULL)
    return [
        Check(
            f"{name}: refused with 503 or 507, each with an advice and Retry-After",
            refused > 0 and not other and not sent.without_advice,
            f"{accepted} accepted, {refused} refused ({dict(sent.codes)}), p99 of refusals "
            f"{1000 * percentile(sent.seconds, 0.99):.0f} ms; others: {other or 'none'}.",
        ),
        Check(
            f"{name}: nothing accepted is lost",
            colored == accepted and not lost,
            f"{colored:.0f} of {accepted} colored; {lost or 'none ended otherwise'}.",
        ),
        Check(
            f"{name}: erasing goes on meanwhile", erased > 0, f"{erased:.0f} erased while photos were sent."
        ),
        Check(f"{name}: the API takes {MOST_API_MB:g} MB at most", peak <= MOST_API_MB, f"{peak:.0f} MB."),
    ]


def _text(
    place: dict[str, Any], config: Config, on_disk: Sent, in_memory: Sent, checks: Sequence[Check]
) -> str:
    head = ("seconds", "MB free", "MB in the store", "colored", "erased", "API MB")
    parts = ["# Full\n", machine_line(place), ""]
    parts += [
        f"{config.seconds:g} s each, {config.times:g} times what the service colors: photos of {LARGE} px onto a disk of "
        f"{config.disk_mb} MB, and of {SMALL} px into a Valkey with memory for what is colored in half that time; "
        f"each is kept for {config.keep_for:g} s.\n"
    ]
    parts += [check.line for check in checks]
    for name, sent in (("A small disk", on_disk), ("A small Redis", in_memory)):
        some = sent.rows[:: max(1, len(sent.rows) // 12)]
        parts += ["", f"## {name}\n", f"/readyz meanwhile: {dict(sent.ready)}\n", table(head, some)]
    return "\n".join(parts)
