"""Notifies workers again of jobs whose notification or whose worker was lost; erases what is past its time, and what nobody knows of.

All run in every worker process, each under a lock of its own, so that one at a time does it and none is needed in
particular; and so that a store which hangs holds up no job.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import redis

from service.database import refuses_writes
from service.errors import StoreUnavailable, first_line
from service.jobs import Jobs
from service.observability import get_logger
from service.storage import Store

EVERY = 1.0
"""Seconds between two ticks of one worker."""
OLDER_THAN = 2.0
"""A queued job this old, seen by a worker with an idle thread, may have lost its notification."""
QUIET = 3.0
"""Seconds in which notifications of queued jobs are sent again once at most, by all workers together. A worker that dies takes
notifications along that it has received and not answered, and their jobs' owners wait this long."""
LOCK_SECONDS = 30.0
SWEEP_TICK, SWEEP_EVERY = 60.0, 3600.0
"""Seconds between two looks of one worker at whether to sweep, and between two sweeps."""
LATER = 60.0
"""Seconds after which is tried again what could not be erased."""
NO_JUMP = 60.0
"""Seconds by which a clock may be off without having jumped: of the server and of this machine, and of a call that took long."""
RECOUNT_EVERY = 3600.0

ORPHANS_AT_ONCE = 500
_ID = re.compile(r"[0-9a-f]{32}")

log = get_logger("autochrome.janitor")


class Reaper:
    """Takes jobs from workers that fell silent. Every step can be cut off and is made up for by the next tick."""

    def __init__(
        self,
        jobs: Jobs,
        notify: Callable[[str], None],
        has_idle: Callable[[], bool],
        work: Callable[[str], None] = lambda id: None,
    ) -> None:
        """`has_idle`: whether a thread of this worker has nothing to do. `work`: begin to color what waits, as if notified: a broker
        that is full, or only just reached again, hands out no notification for a while.
        """
        self._work = work
        self._jobs = jobs
        self._notify = notify
        self._has_idle = has_idle

    def tick(self) -> None:
        """May raise redis.RedisError."""
        with self._jobs.alone("reaper", LOCK_SECONDS) as mine:
            if not mine:
                return
            for id in self._jobs.reap():
                log.warning("lease_expired", job=id)
                self._notify(id)
            if self._has_idle():
                stranded = self._jobs.stranded(OLDER_THAN, QUIET)
                for id in stranded:
                    self._notify(id)
                if stranded:
                    self._work(stranded[0])


class Clock:
    """Notices when the clock of the record's server jumps, by the time that has passed for this process.

    Then all jobs get the time that they had left, as if nothing had happened, and again when the clock comes back. Time in
    which the machine sleeps has passed; a jump while nobody looks is not noticed.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._seen: float | None = None
        self._seen_at = 0.0
        self._jumps = ""

    def expected(self) -> float | None:
        """What the server's clock should say now, in ms since 1970; None where nobody has looked."""
        return None if self._seen is None else self._seen + 1000 * (_uptime() - self._seen_at)

    def look(self) -> float:
        """What the server's clock says, in ms since 1970, after a jump has been made up for. May raise redis.RedisError."""
        begun = _uptime()
        now, self._jumps, by = self._jobs.look_at_clock(
            self.expected(), self._jumps, NO_JUMP, begun - self._seen_at
        )
        self._seen, self._seen_at = now, _uptime()
        if by:
            log.error(
                "clock_jumped",
                seconds=by / 1000,
                advice="set the clock of Redis right; no job has lost time by it",
            )
        return now


class Eraser:
    """Erases files past their time, also where the record's server refuses to write, being on a disk that the files have filled."""

    def __init__(self, jobs: Jobs, store: Store, deadline: float, rewrite_every: float = 0) -> None:
        """`deadline`: seconds in which a worker ends what it has begun. `rewrite_every`: as `Jobs.rewrite_log`; 0: never."""
        self._jobs = jobs
        self._store = store
        self._deadline = deadline
        self._rewrite_every = rewrite_every
        self._clock = Clock(jobs)
        self._recounted = time.monotonic()
        self._emptied: set[str] = set()
        """Ids whose files are erased, and whose records could not be written."""

    def tick(self) -> None:
        """May raise redis.RedisError or `store_unavailable`."""
        try:
            until = self._clock.look()
            with self._jobs.alone("eraser", LOCK_SECONDS) as mine:
                if mine:
                    self._erase_the_expired(time.monotonic() + LOCK_SECONDS / 2, until)
                    self._look_after_the_record()
            self._emptied.clear()
        except redis.ResponseError as refused:
            if not refuses_writes(refused):
                raise
            self._make_room()

    def _erase_the_expired(self, end: float, until: float) -> None:
        seen: set[str] = set()
        while new := [id for id in self._jobs.expire(until) if id not in seen]:
            gone = []
            try:
                for id in new:
                    if time.monotonic() > end:
                        return
                    self._store.erase(id)
                    gone.append(id)
            except StoreUnavailable as error:
                log.warning("erasure_postponed", job=id, error=first_line(error.__cause__))
                self._jobs.postpone(id, LATER)
                return  # most likely the store hangs for all of them
            finally:
                self._jobs.erased(*gone, deadline=self._deadline)
            seen.update(new)

    def _look_after_the_record(self) -> None:
        """Have the log of the server forget what was erased, and add up anew what is in the store."""
        free = self._store.free()
        if self._rewrite_every and (free is None or free > 0):  # a full disk has no room for a second log
            try:
                self._jobs.rewrite_log(self._rewrite_every)
            except redis.ResponseError as error:
                if "already in progress" not in str(error):
                    log.warning("log_rewrite_refused", error=first_line(error))
                    self._rewrite_every = 0.0  # a managed Redis, which sees to its log itself
        if time.monotonic() - self._recounted > RECOUNT_EVERY:
            self._recounted = time.monotonic()
            if wrong := self._jobs.recount():
                log.info("store_recounted", bytes=wrong)

    def _make_room(self) -> None:
        """Erase the files alone: the records follow when the server writes again."""
        until = self._clock.expected()
        if until is None:
            return
        end, skip, before = time.monotonic() + LOCK_SECONDS / 2, 0, len(self._emptied)
        refused: set[str] = set()
        while (due := self._jobs.due(skip, until)) and time.monotonic() < end:
            for id in due:
                if id in self._emptied or time.monotonic() > end:
                    continue
                try:
                    self._store.erase(id)
                    self._emptied.add(id)
                except StoreUnavailable as error:  # no record can say that it is due later: it is passed over
                    refused.add(id)
                    reason = first_line(error.__cause__)
            skip += len(due)
        if refused:
            log.warning("erasure_postponed", jobs=len(refused), error=reason)
        if len(self._emptied) > before:
            log.warning(
                "files_erased_before_records", jobs=len(self._emptied), reason="the record cannot be written"
            )


class Sweeper:
    """Looks through the store for files that no record stands for, once an hour.

    Everything that is written is due to be erased before it is written, so that there are such files only where the store and the record
    are of different times: one of them was restored, or the record lost its last second in a crash. What the record says is erased
    is erased again at once. What it does not know may belong to a record that is yet to be restored, and is erased when
    the longest time is over for which anything is kept.
    """

    def __init__(self, jobs: Jobs, store: Store, longest: float) -> None:
        """`longest`: seconds for which a file may be kept at most."""
        self._jobs = jobs
        self._store = store
        self._longest = longest

    def tick(self) -> None:
        """May raise redis.RedisError or `store_unavailable`."""
        if self._jobs.is_sweep_due(SWEEP_EVERY):
            self.sweep()

    def sweep(self) -> None:
        """Now. May raise redis.RedisError or `store_unavailable`."""
        ids = [name for name in self._store.prefixes() if _ID.fullmatch(name)]
        erased = 0
        for start in range(0, len(ids), ORPHANS_AT_ONCE):
            unknown, gone = self._jobs.orphans(ids[start : start + ORPHANS_AT_ONCE])
            old = [id for id in unknown if self._store.modified(id) < time.time() - self._longest]
            for id in (*gone, *old):
                self._store.erase(id)
                erased += 1
        if erased:
            log.warning("orphans_erased", count=erased)


def _uptime() -> float:
    """Seconds since the machine was started, those in which it slept included where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
