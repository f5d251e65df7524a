"""From photos a day to machines: what one photo costs is measured, what so many a day cost is reckoned from it by `reckon`.

CPU-seconds, bytes of the store and bytes of Redis are counted, not timed: other programs on the machine change them little.
"""

from __future__ import annotations

import asyncio
import math
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import redis

from tests.benchmarks import load
from tests.benchmarks.load import FORM, Connection, Plan, for_each, form
from tests.benchmarks.report import Log, Report, machine, machine_line, table
from tests.benchmarks.servers import Service, unfinished, write_photos

PHOTOS_A_DAY = (100, 10_000, 100_000, 1_000_000)
PEAK = 3.0
"""The busiest minutes have so many times the day's average."""
BUSY = 0.6
"""Share of a machine's cores that is planned for in these minutes."""
ERASED_DAYS = 7
"""For which an id still answers that its job has expired."""
WARM_UP = 8
SETTLE = 3.0
"""Seconds after which a server has given back what it needed only for its answers."""


@dataclass(frozen=True, slots=True)
class Config:
    """`photos` of each side are colored, `records` small ones for the record."""

    photos: int = 120
    sides: tuple[int, ...] = (1024, 4000)
    records: int = 3000
    keep_days: float = 1.0


QUICK = Config(photos=8, sides=(512,), records=50)
"""To see whether it works; its numbers mean nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one photo: CPU-seconds, and bytes of its file and of its result; and megabytes that the worker has after all of them."""

    worker: float
    api: float
    valkey: float
    photo: float
    result: float
    worker_mb: float


@dataclass(frozen=True, slots=True)
class Record:
    """Bytes of Redis that one job takes while it waits, when it has ended, and when it was erased."""

    waiting: float
    ended: float
    erased: float


@dataclass(frozen=True, slots=True)
class Need:
    """At a pace of photos a day: photos a second at the peak, cores, bytes, and bytes a second that cross the network."""

    peak: float
    worker_cores: float
    api_cores: float
    valkey_cores: float
    redis: float
    store: float
    network: float


def reckon(cost: Cost, record: Record, photos_a_day: float, keep_days: float) -> Need:
    """`network`: each photo and each result goes once between client and API, API and store, store and worker."""
    peak = photos_a_day / 86400 * PEAK
    return Need(
        peak=peak,
        worker_cores=peak * cost.worker / BUSY,
        api_cores=peak * cost.api / BUSY,
        valkey_cores=peak * cost.valkey / BUSY,
        redis=photos_a_day * (keep_days * record.ended + ERASED_DAYS * record.erased),
        store=photos_a_day * keep_days * (cost.photo + cost.result),
        network=peak * 3 * (cost.photo + cost.result),
    )


def run(config: Config, log: Log) -> Report:
    place = machine()
    with tempfile.TemporaryDirectory(prefix="autochrome-sizing-") as name:
        folder = Path(name)
        record = _measure_record(folder, config.records)
        log(f"a record: {record}")
        costs = {side: _measure(folder, side, config.photos) for side in config.sides}
    needs = {
        side: [reckon(cost, record, count, config.keep_days) for count in PHOTOS_A_DAY]
        for side, cost in costs.items()
    }
    results = {
        "machine": place,
        "config": asdict(config),
        "record": asdict(record),
        "costs": {side: asdict(cost) for side, cost in costs.items()},
        "needs": {side: [asdict(need) for need in each] for side, each in needs.items()},
    }
    head = [f"# Sizing\n\n{machine_line(place)} {config.photos} photographs of each size.\n\n## Measured\n"]
    return Report(
        "sizing", results, "\n".join([*head, _measured(costs, record), "## Reckoned\n", _reckoned(needs)])
    )


def _measure(folder: Path, side: int, count: int) -> Cost:
    photos = [str(path) for path in write_photos(folder / f"photos-{side}", side)]
    with Service(folder / f"state-{side}") as service:
        load.run(Plan(service.url, "service", photos, clients=2, requests=WARM_UP))
        before, files = service.cpu_seconds(), _bytes(service.store)
        outcome = load.run(Plan(service.url, "service", photos, clients=2, requests=count))
        if {sample.status for sample in outcome.samples} != {200}:
            raise RuntimeError(f"not every photograph of {side} px was colored")
        cpu = {part: (used - before.get(part, 0)) / count for part, used in service.cpu_seconds().items()}
        memory = service.resident_mb()["worker"]
        photo, result = (
            (late - early) / count for early, late in zip(files, _bytes(service.store), strict=True)
        )
    return Cost(cpu["worker"], cpu["api"], cpu["valkey"], photo, result, memory)


def _bytes(store: Path) -> tuple[int, int]:
    """Of all photos, and of all that was made from them."""
    files = [(path.name == "photo", path.stat().st_size) for path in store.rglob("*") if path.is_file()]
    return sum(size for mine, size in files if mine), sum(size for mine, size in files if not mine)


def _measure_record(folder: Path, count: int) -> Record:
    """Of small photos, since the record of a large one is as long. The worker stands still while they come."""
    body = form(write_photos(folder / "small", 48)[0].read_bytes())
    with Service(folder / "state", queue_jobs=2 * count) as service:
        server = redis.Redis(unix_socket_path=str(service.valkey_socket))
        workers = service.parts()["worker"]
        asyncio.run(_send(service.url, body, WARM_UP))
        asyncio.run(_drain(service.url))
        used = [_used(server)]
        _signal(workers, signal.SIGSTOP)
        made = asyncio.run(_send(service.url, body, count))
        used.append(_used(server))
        _signal(workers, signal.SIGCONT)
        asyncio.run(_drain(service.url))
        used.append(_used(server))
        asyncio.run(_erase(service.url, made))
        used.append(_used(server))
        server.close()
    waiting, ended, erased = ((each - used[0]) / count for each in used[1:])
    return Record(waiting, ended, erased)


def _used(server: redis.Redis) -> int:
    time.sleep(SETTLE)
    return int(server.info("memory")["used_memory"])


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


async def _send(url: str, body: bytes, count: int) -> dict[str, str]:
    """Id → secret."""
    made: dict[str, str] = {}

    async def send(connection: Connection, _: int) -> None:
        response = await connection.request("POST", "/v1/colorizations", body, FORM)
        if response.status != 202:
            raise RuntimeError(f"{response.status}: {response.body.decode()}")
        made[response.json()["id"]] = response.json()["secret"]

    await for_each(url, range(count), send)
    return made


async def _drain(url: str) -> None:
    while await asyncio.to_thread(unfinished, url):
        await asyncio.sleep(0.5)


async def _erase(url: str, made: dict[str, str]) -> None:
    async def erase(connection: Connection, job: tuple[str, str]) -> None:
        id, secret = job
        bearer = {"Authorization": f"Bearer {secret}"}
        response = await connection.request("DELETE", f"/v1/colorizations/{id}", headers=bearer)
        if response.status != 204:
            raise RuntimeError(f"{response.status}: {response.body.decode()}")

    await for_each(url, made.items(), erase)


def _measured(costs: dict[int, Cost], record: Record) -> str:
    rows = [
        (
            f"{side} px",
            *(1000 * seconds for seconds in (cost.worker, cost.api, cost.valkey)),
            cost.photo / 1e6,
            cost.result / 1e6,
            cost.worker_mb,
        )
        for side, cost in costs.items()
    ]
    head = (
        *("a photo of", "worker, CPU ms", "API, CPU ms", "Valkey, CPU ms", "photo MB", "result MB"),
        "worker's memory MB",
    )
    words = (
        f"A job in Redis: {record.waiting:.0f} bytes while it waits, {record.ended:.0f} when it has ended, "
        f"{record.erased:.0f} when it was erased.\n"
    )
    return table(head, rows) + "\n" + words


def _reckoned(needs: dict[int, list[Need]]) -> str:
    head = (
        *("photos a day", "of", "a second at the peak", "worker cores", "API cores"),
        *("Valkey cores", "Redis MB", "store GB", "network MB/s"),
    )
    rows = [
        (
            *(f"{count:,}", f"{side} px", need.peak, math.ceil(need.worker_cores), math.ceil(need.api_cores)),
            *(need.valkey_cores, need.redis / 1e6, need.store / 1e9, need.network / 1e6),
        )
        for side, each in needs.items()
        for count, need in zip(PHOTOS_A_DAY, each, strict=True)
    ]
    return table(head, rows)
