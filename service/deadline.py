"""The hard deadline: a process in which one job takes too long writes where it hangs and exits.

A call that hangs in C, or on the device, cannot be interrupted by a thread of Python; faulthandler's watchdog
is a thread of C that needs no interpreter lock.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from service.errors import EX_SOFTWARE

log = logging.getLogger("autochrome.deadline")


class Deadline:
    """One for the whole process, which has one watchdog; it is set to the earliest end of those who run."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._ends: dict[object, float] = {}

    @contextmanager
    def guard(self) -> Iterator[None]:
        """End the process (exit code 1) unless the block is left within the deadline."""
        mine = object()
        with self._lock:
            self._ends[mine] = time.monotonic() + self._seconds
            self._set_watchdog()
        try:
            yield
        finally:
            with self._lock:
                del self._ends[mine]
                self._set_watchdog()

    def _set_watchdog(self) -> None:
        if not self._ends:
            faulthandler.cancel_dump_traceback_later()
            return
        left = min(self._ends.values()) - time.monotonic()
        faulthandler.dump_traceback_later(max(left, 0.001), exit=True)


def end(reason: str) -> NoReturn:
    """End the process at once; whoever started it starts another, and the reaper sees to its jobs."""
    log.critical("the process ends itself: %s", reason)
    logging.shutdown()
    os._exit(EX_SOFTWARE)
