"""What has become of jobs that were accepted: asked over HTTP, and seen in the store's folder."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import redis

from tests.benchmarks.load import Connection, for_each
from tests.benchmarks.report import Check
from tests.benchmarks.servers import Service

FINAL = ("succeeded", "failed", "canceled", "expired")
MAX_REDELIVERY = 10.0
"""Seconds within which a job of a dead worker is to be taken again."""
RESTART = 6.0
"""Seconds that a part which was killed before has had to come back."""
ERASURE = 20.0
"""Seconds in which the service erases what is due."""
LONGEST_FOLLOWED = 60.0
"""Seconds for which a dead worker's jobs are watched."""
RECORD = "{autochrome}:"
"""Keys of the job record that are read here, as nothing over HTTP tells of them: `due`, ids by the time when their files are to be erased;
`workers`, `worker:NAME:jobs` and `job:ID`, for whose attempt a job is."""


@dataclass(frozen=True, slots=True)
class Kill:
    """`at`: milliseconds since 1970. `seconds`: until each job that was in its hands was taken again."""

    at: int
    part: str
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A job that was in a killed worker's hands. `alone`: nothing else was killed shortly before or after."""

    killed_at: int
    alone: bool
    seconds: float


@dataclass(slots=True)
class Verification:
    """`inspect`, then `erase`, then ask for the checks. Lists hold ids, or names of files, that are not as they should be."""

    service: Service
    accepted: Mapping[str, str]
    """id → secret"""
    kills: Sequence[Kill] = ()
    statuses: Counter[str] = field(default_factory=Counter)
    redeliveries: list[Redelivery] = field(default_factory=list)
    _jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lost: list[str] = field(default_factory=list)
    _unended: list[str] = field(default_factory=list)
    _damaged: list[str] = field(default_factory=list)
    _doubled: list[str] = field(default_factory=list)
    _ended_twice: list[str] = field(default_factory=list)
    _left_over: list[str] = field(default_factory=list)
    _orphans: list[str] = field(default_factory=list)

    async def inspect(self, seconds: float) -> None:
        """Wait for all to end, and look at each and at its files."""
        self._jobs = await self._wait(seconds)
        for job in self._jobs.values():
            code = f" {job['error']['code']}" if job["error"] else ""
            self.statuses[job["status"] + code] += 1
        succeeded = [id for id, job in self._jobs.items() if job["status"] == "succeeded"]
        await self._for_each(succeeded, self._check_result)
        await self._for_each(self._jobs, self._check_end)
        self.redeliveries = list(_redeliveries(self.kills))
        files = self._files()
        self._doubled = [id for id in succeeded if sum("/result." in name for name in files.get(id, [])) != 1]

    async def erase(self) -> None:
        """Erase each, and look at what the store still has."""
        await self._for_each(self._jobs, self._erase_job)
        files = self._files()
        self._left_over = sorted(name for id in self._jobs for name in files.get(id, []))
        await self._for_each([id for id in files if id not in self._jobs], self._check_unknown)
        await self._await_erasure()

    def job_checks(self) -> list[Check]:
        """None lost, none doubled."""
        return [
            Check(
                "every job that was accepted is known",
                not self._lost,
                f"{len(self._lost)} of {len(self.accepted)} lost.",
            ),
            Check(
                "every one ended", not self._unended, f"{dict(self.statuses)}; not ended: {self._unended[:5]}"
            ),
            Check(
                "every result is whole",
                not self._damaged,
                f"by its ETag, which is its hash. Not: {self._damaged[:5]}",
            ),
            Check(
                "no result twice",
                not self._doubled and not self._ended_twice,
                f"one file of each job in the store, not: {self._doubled[:5]} ({len(self._doubled)}); one end of "
                f"each job in its events, not: {self._ended_twice[:5]} ({len(self._ended_twice)})",
            ),
        ]

    def file_checks(self) -> list[Check]:
        """Nothing left over."""
        return [
            Check(
                "nothing is left of what was erased",
                not self._left_over,
                f"{len(self._jobs)} jobs erased; left: {self._left_over[:5]} ({len(self._left_over)})",
            ),
            Check(
                "no file is an orphan",
                not self._orphans,
                f"each is a living job's, or is erased when it is due; not: {self._orphans[:5]} ({len(self._orphans)})",
            ),
        ]

    def redelivery_check(self) -> Check:
        """At least one job must have been in the hands of a worker that was killed and nothing else."""
        alone = [each.seconds for each in self.redeliveries if each.alone]
        others = [each.seconds for each in self.redeliveries if not each.alone]
        return Check(
            f"a dead worker's jobs are taken again within {MAX_REDELIVERY:g} s",
            bool(alone) and max(alone) <= MAX_REDELIVERY,
            f"{len(alone)} jobs whose worker was killed and nothing else soon before or after: at most "
            f"{max(alone, default=0):.1f} s; {len(others)} others: at most {max(others, default=0):.1f} s.",
        )

    async def _wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        """The jobs that ended."""
        give_up = time.monotonic() + seconds
        ended: dict[str, dict[str, Any]] = {}

        async def look(connection: Connection, id: str) -> None:
            response = await connection.request("GET", f"/v1/colorizations/{id}")
            if response.status == 404:
                self._lost.append(id)
            elif response.status == 200 and (job := response.json())["status"] in FINAL:
                ended[id] = job

        self._unended = list(self.accepted)
        while self._unended:
            await self._for_each(self._unended, look)
            self._unended = [id for id in self._unended if id not in ended and id not in self._lost]
            if time.monotonic() > give_up:
                break
            if self._unended:
                await asyncio.sleep(0.5)
        return ended

    async def _check_result(self, connection: Connection, id: str) -> None:
        response = await connection.request("GET", f"/v1/colorizations/{id}/result")
        if response.headers.get("etag") != f'"{hashlib.sha256(response.body).hexdigest()}"':
            self._damaged.append(id)

    async def _check_end(self, connection: Connection, id: str) -> None:
        """All events of a job that has ended: they are replayed, and the stream closed."""
        response = await connection.request("GET", f"/v1/colorizations/{id}/events")
        names = [
            line.partition(": ")[2]
            for line in response.body.decode().splitlines()
            if line.startswith("event: ")
        ]
        if sum(name in FINAL for name in names) != 1:
            self._ended_twice.append(id)

    async def _erase_job(self, connection: Connection, id: str) -> None:
        headers = {"Authorization": f"Bearer {self.accepted[id]}"}
        await connection.request("DELETE", f"/v1/colorizations/{id}", headers=headers)

    async def _check_unknown(self, connection: Connection, id: str) -> None:
        """The photo arrived, the response did not: then it is a job all the same, or its files are to be erased."""
        response = await connection.request("GET", f"/v1/colorizations/{id}")
        if response.status != 200:
            self._orphans.append(id)

    async def _await_erasure(self) -> None:
        """Make due now what is to be erased later, and see whether all of it goes, half-written files too."""
        if not self._orphans:
            return
        with redis.Redis(unix_socket_path=str(self.service.valkey_socket)) as client:
            scheduled = [id for id in self._orphans if client.zscore(RECORD + "due", id) is not None]
            if scheduled:
                client.zadd(RECORD + "due", dict.fromkeys(scheduled, 0), xx=True)
        give_up = time.monotonic() + ERASURE
        while any(id in self._files() for id in scheduled) and time.monotonic() < give_up:
            await asyncio.sleep(0.5)
        files = self._files()
        self._orphans = [id for id in self._orphans if id in files]

    def _files(self) -> dict[str, list[str]]:
        """By job, all that lies in the store's folder, half-written files too."""
        files: dict[str, list[str]] = {}
        for path in self.service.store.rglob("*"):
            if path.is_file():
                name = path.relative_to(self.service.store).as_posix()
                files.setdefault(Path(name).parts[0], []).append(name)
        return files

    async def _for_each(self, ids: Iterable[str], do: Callable[[Connection, str], Awaitable[None]]) -> None:
        await for_each(self.service.url, list(ids), do)


async def follow(socket: Path, pid: int, seconds: list[float]) -> None:
    """Add the seconds from now until each job that a worker, just killed, had in its hands was taken again, or has ended."""
    began = time.monotonic()
    held: dict[str, int] | None = None
    with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as record:
        while (held is None or held) and (passed := time.monotonic() - began) < LONGEST_FOLLOWED:
            with suppress(redis.RedisError):  # it may have been killed, too
                held = _held(record, pid) if held is None else held
                for id, attempt in [*held.items()]:
                    status, now = record.hmget(f"{RECORD}job:{id}", ["status", "attempt"])
                    if status in FINAL or int(now or 0) > attempt:
                        seconds.append(passed)
                        del held[id]
            await asyncio.sleep(0.05)
    seconds += [LONGEST_FOLLOWED] * len(held or ())


def _held(record: redis.Redis, pid: int) -> dict[str, int]:
    """The attempt of each job in a worker's hands."""
    held: dict[str, int] = {}
    for name in cast(list[str], record.zrange(RECORD + "workers", 0, -1)):
        if name.split(":")[-2] == str(pid):
            for id in cast(set[str], record.smembers(f"{RECORD}worker:{name}:jobs")):
                held[id] = int(record.hget(f"{RECORD}job:{id}", "attempt") or 0)
    return held


def _redeliveries(kills: Sequence[Kill]) -> Iterable[Redelivery]:
    moments = [kill.at for kill in kills]
    for kill in kills:
        alone = not any(0 < other - kill.at < 1000 * MAX_REDELIVERY for other in moments)
        alone &= not any(0 < kill.at - other < 1000 * RESTART for other in moments)
        yield from (Redelivery(kill.at, alone, seconds) for seconds in kill.seconds)
