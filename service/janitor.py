"""Notifies workers again of jobs whose notification or whose worker was lost; erases what is past its time, and what nobody knows of.

All run in every worker process, each under a lock of its own, so that one at a time does it and none is needed in
particular; and so that a store which hangs holds up no job.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

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

ORPHANS_AT_ONCE = 500
_ID = re.compile(r"[0-9a-f]{32}")

log = get_logger("autochrome.janitor")


class Reaper:
    """Takes jobs from workers that fell silent. Every step can be cut off and is made up for by the next tick."""

    def __init__(self, jobs: Jobs, notify: Callable[[str], None], has_idle: Callable[[], bool]) -> None:
        """`has_idle`: whether a thread of this worker has nothing to do."""
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
                for id in self._jobs.stranded(OLDER_THAN, QUIET):
                    self._notify(id)


class Eraser:
    """Erases files past their time. `deadline`: seconds in which a worker ends what it has begun."""

    def __init__(self, jobs: Jobs, store: Store, deadline: float) -> None:
        self._jobs = jobs
        self._store = store
        self._deadline = deadline

    def tick(self) -> None:
        """May raise redis.RedisError."""
        with self._jobs.alone("eraser", LOCK_SECONDS) as mine:
            if mine:
                self._erase_the_expired(time.monotonic() + LOCK_SECONDS / 2)

    def _erase_the_expired(self, end: float) -> None:
        for id in self._jobs.expire():
            if time.monotonic() > end:
                return
            try:
                self._store.erase(id)
            except StoreUnavailable as error:
                cause = first_line(error.__cause__)
                log.warning("erasure_postponed", job=id, error=cause)
                self._jobs.postpone(id, LATER)
                return  # most likely the store hangs for all of them
            self._jobs.erased(id, self._deadline)


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
