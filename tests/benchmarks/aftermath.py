"""What has become of jobs that were accepted, asked over HTTP and seen in the store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks.checks import Check
from tests.benchmarks.client import Answer, Connection
from tests.benchmarks.processes import Service

FINAL = ("succeeded", "failed", "canceled", "expired")
REDELIVERY = 10.0
"""Seconds within which a job of a dead worker is to be taken again."""
RESTART = 6.0
"""Seconds that a part which was killed before has had to come back."""
ERASING = 20.0
"""Seconds in which the reaper erases what is due."""
ALOFT = 8
"""Questions at once."""
Question = Callable[[Connection, str], Awaitable[None]]
"""About a job, by its id."""


@dataclass(frozen=True, slots=True)
class Kill:
    """`at`: milliseconds since 1970."""

    at: int
    part: str


@dataclass(frozen=True, slots=True)
class Event:
    """`at`: milliseconds since 1970, on Valkey's clock, which is this machine's."""

    at: int
    name: str
    stage: str


@dataclass(slots=True)
class Aftermath:
    """Look first, then ask for the checks."""

    service: Service
    accepted: Mapping[str, str]
    """id → secret"""
    killed: Sequence[Kill] = ()
    statuses: Counter[str] = field(default_factory=Counter)
    redelivered: list[tuple[dict[str, object], bool, float]] = field(default_factory=list)
    _jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lost: list[str] = field(default_factory=list)
    _unended: list[str] = field(default_factory=list)
    _damaged: list[str] = field(default_factory=list)
    _twice: list[str] = field(default_factory=list)
    _ended_twice: list[str] = field(default_factory=list)
    _left_over: list[str] = field(default_factory=list)
    _orphans: list[str] = field(default_factory=list)

    async def look(self, seconds: float) -> None:
        """Wait for all to end, and look at each and at its files."""
        self._jobs = jobs = await self._wait(seconds)
        for job in jobs.values():
            code = f" {job['error']['code']}" if job["error"] else ""
            self.statuses[job["status"] + code] += 1
        good = [id for id, job in jobs.items() if job["status"] == "succeeded"]
        await self._each(good, self._check_result)
        histories: dict[str, list[Event]] = {}

        async def remember(connection: Connection, id: str) -> None:
            histories[id] = await _history(connection, id)

        await self._each(list(jobs), remember)
        for id, history in histories.items():
            if sum(event.name in FINAL for event in history) != 1:
                self._ended_twice.append(id)
        self._see_redeliveries(histories)
        files = self._files()
        self._twice = [id for id in good if sum("/result." in name for name in files.get(id, [])) != 1]

    async def erase(self) -> None:
        """Erase each, and look at what the store still has."""
        await self._each(list(self._jobs), self._erase)
        files = self._files()
        self._left_over = sorted(name for id in self._jobs for name in files.get(id, []))
        await self._each([id for id in files if id not in self._jobs], self._check_stranger)
        await self._await_the_reaper()

    def of_jobs(self) -> list[Check]:
        """None lost, none doubled."""
        count = len(self.accepted)
        return [
            Check(
                "every job that was accepted is known", not self._lost, f"{len(self._lost)} of {count} lost."
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
                not self._twice and not self._ended_twice,
                f"one file of each job in the store, not: {self._twice[:5]} ({len(self._twice)}); one end of "
                f"each job in its events, not: {self._ended_twice[:5]} ({len(self._ended_twice)})",
            ),
        ]

    def of_files(self) -> list[Check]:
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
                f"each is a living job's, or the reaper erases it when it is due; not: {self._orphans[:5]} ({len(self._orphans)})",
            ),
        ]

    def of_redelivery(self) -> Check:
        """At least one job must have been in the hands of a worker that was killed in peace."""
        peace = [seconds for _, clean, seconds in self.redelivered if clean]
        return Check(
            f"a dead worker's jobs are taken again within {REDELIVERY:g} s",
            bool(peace) and max(peace) <= REDELIVERY,
            f"{len(peace)} jobs whose worker was killed and nothing else soon before or after: at most "
            f"{max(peace, default=0):.1f} s; {len(self.redelivered) - len(peace)} others: at most "
            f"{max((s for _, clean, s in self.redelivered if not clean), default=0):.1f} s.",
        )

    async def _wait(self, seconds: float) -> dict[str, dict[str, Any]]:
        give_up = time.monotonic() + seconds
        ended: dict[str, dict[str, Any]] = {}
        waiting = list(self.accepted)

        async def ask(connection: Connection, id: str) -> None:
            answer = await connection.ask("GET", f"/v1/colorizations/{id}")
            if answer.status == 404:
                self._lost.append(id)
            elif answer.status == 200 and (job := json.loads(answer.body))["status"] in FINAL:
                ended[id] = job

        while waiting:
            await self._each(waiting, ask)
            waiting = [id for id in waiting if id not in ended and id not in self._lost]
            if time.monotonic() > give_up:
                break
            if waiting:
                await asyncio.sleep(0.5)
        self._unended = waiting
        return ended

    async def _check_result(self, connection: Connection, id: str) -> None:
        answer = await connection.ask("GET", f"/v1/colorizations/{id}/result")
        if answer.headers.get("etag") != f'"{hashlib.sha256(answer.body).hexdigest()}"':
            self._damaged.append(id)

    async def _erase(self, connection: Connection, id: str) -> None:
        headers = {"Authorization": f"Bearer {self.accepted[id]}"}
        await connection.ask("DELETE", f"/v1/colorizations/{id}", headers=headers)

    async def _check_stranger(self, connection: Connection, id: str) -> None:
        """Its photo arrived, its answer did not: then it is a job all the same, or the reaper is to erase it."""
        answer = await connection.ask("GET", f"/v1/colorizations/{id}")
        if answer.status != 200:
            self._orphans.append(id)

    async def _await_the_reaper(self) -> None:
        """Let what is promised to it be due now, and see whether it erases all of it, half-written files too."""
        if not self._orphans:
            return
        with redis.Redis(unix_socket_path=str(self.service.state_dir / "valkey/valkey.sock")) as client:
            promised = [id for id in self._orphans if client.zscore("{autochrome}:due", id) is not None]
            if promised:
                client.zadd("{autochrome}:due", dict.fromkeys(promised, 0), xx=True)
        give_up = time.monotonic() + ERASING
        while any(id in self._files() for id in promised) and time.monotonic() < give_up:
            await asyncio.sleep(0.5)
        files = self._files()
        self._orphans = [id for id in self._orphans if id in files]

    def _files(self) -> dict[str, list[str]]:
        """By job, all that lies in the store's folder, half-written files too."""
        found: dict[str, list[str]] = {}
        for path in self.service.store.rglob("*"):
            if path.is_file():
                name = path.relative_to(self.service.store).as_posix()
                found.setdefault(Path(name).parts[0], []).append(name)
        return found

    def _see_redeliveries(self, histories: Mapping[str, Sequence[Event]]) -> None:
        moments = [kill.at for kill in self.killed]
        for kill in self.killed:
            if kill.part != "worker":
                continue
            clean = not any(0 < other - kill.at < 1000 * REDELIVERY for other in moments)
            clean &= not any(0 < kill.at - other < 1000 * RESTART for other in moments)
            for history in histories.values():
                before = [event for event in history if event.at <= kill.at]
                again = next((e for e in history if e.at > kill.at and e.stage == "open"), None)
                if before and before[-1].name == "stage" and again is not None:
                    seconds = (again.at - kill.at) / 1000
                    self.redelivered.append(({"part": kill.part, "at": kill.at}, clean, seconds))

    async def _each(self, ids: Sequence[str], ask: Question) -> None:
        pending = iter(ids)

        async def some() -> None:
            connection = Connection(self.service.url)
            for id in pending:
                await ask(connection, id)
            await connection.close()

        async with asyncio.TaskGroup() as askers:
            for _ in range(ALOFT):
                askers.create_task(some())


async def _history(connection: Connection, id: str) -> list[Event]:
    """All events of a job that has ended: the stream is replayed and closed."""
    answer: Answer = await connection.ask("GET", f"/v1/colorizations/{id}/events")
    events: list[Event] = []
    for block in answer.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":")
        if "id" in fields and "event" in fields:
            data = json.loads(fields["data"])
            at = int(fields["id"].partition("-")[0])
            events.append(
                Event(at, fields["event"], data.get("name", "") if fields["event"] == "stage" else "")
            )
    return events
