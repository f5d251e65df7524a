"""What runs beside the work: a watchdog that ends a process in which one job hangs, and periodic calls in threads."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from service.errors import EX_SOFTWARE
from service.observability import get_logger

log = get_logger("autochrome.watchdog")


class Watchdog:
    """Ends the process, after it has written where it hangs, when one of its jobs takes too long.

    One for the whole process, set to the earliest deadline of all jobs under way. A thread of Python cannot interrupt a call that
    hangs in C or on the device; faulthandler's watchdog is a thread of C that does not need the interpreter's lock. To set it ends one such
    thread and begins another, which is dear beside a small photo: while jobs come and go, a thread of Python sets it about each second.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long one job may take."""
        self._seconds = seconds
        self._every = min(1.0, seconds / 4)
        self._lock = threading.Lock()
        self._deadlines: dict[object, float] = {}
        self._is_set = False
        self._following: Periodic | None = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """End the process (exit code 1) unless the block is left in time."""
        mine = object()
        with self._lock:
            now = time.monotonic()
            self._deadlines[mine] = now + self._seconds
            if not self._is_set:
                self._set(now)
            if self._following is None:
                self._following = Periodic("watchdog", self._every, self._follow)
                self._following.start()
        try:
            yield
        finally:
            with self._lock:
                now = time.monotonic()
                left = self._deadlines.pop(mine) - now
                if left < 2 * self._every:  # the timer may be about to end the process
                    self._set(now)

    def _follow(self) -> None:
        with self._lock:
            if self._is_set:
                self._set(time.monotonic())

    def _set(self, now: float) -> None:
        """To the earliest deadline, or to nothing where no job is under way."""
        self._is_set = bool(self._deadlines)
        if self._is_set:
            faulthandler.dump_traceback_later(max(min(self._deadlines.values()) - now, 0.001), exit=True)
        else:
            faulthandler.cancel_dump_traceback_later()


def end_process(reason: str) -> NoReturn:
    """End the process at once. The supervisor starts another, and the reaper gives its jobs to others."""
    log.critical("process_ended", reason=reason)
    logging.shutdown()
    os._exit(EX_SOFTWARE)


class Periodic(threading.Thread):
    """Call `action`, wait `seconds`, and so on until it is stopped. An error is logged, and the next call comes all the same."""

    def __init__(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._seconds = seconds
        self._action = action
        self._stopped = threading.Event()

    def run(self) -> None:
        failing = False
        while not self._stopped.is_set():
            try:
                self._action()
                failing = False
            except Exception as error:
                if not failing:  # an outage of an hour is one line, not thousands
                    log.warning(
                        "periodic_failed", name=self.name, error=type(error).__name__, detail=str(error)
                    )
                failing = True
            self._stopped.wait(self._seconds)

    def stop(self) -> None:
        """Let a call under way come to its end, and start no other."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=5)
