"""What a person sees while photographs are colored: a bar on a terminal, lines in a log, and no words of libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_S: Final = 10.0
"""Between two lines of progress in a log, or a tenth of all photos, whichever is sooner."""
_SOONEST_S: Final = 1.0


def shown(name: str | Path) -> str:
    """A file's name on one line and in any encoding: what cannot be printed is escaped, bytes that are no UTF-8 too."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(name))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


class ProgressLog:
    """How far a run is, on standard error: a bar on a terminal, else a line now and then. `say` puts a line above it."""

    def __init__(self, total: int, quiet: bool = False) -> None:
        self._total = total
        self._done = 0
        self._failed = 0
        self._first = self._said = time.monotonic()
        self._said_at = 0
        self._quiet = quiet
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressLog:
        if not self._quiet and self._total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("coloring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._bar.add_task("coloring", total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def advance(self, failed: bool) -> None:
        self._done += 1
        if self._done == 1:
            self._first = time.monotonic()  # the net was loaded before
        self._failed += failed
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif not self._quiet and self._total > 1:
            self._log(time.monotonic())

    def _log(self, now: float) -> None:
        waited = now - self._said
        is_due = waited >= _EVERY_S or self._done - self._said_at >= self._total / 10
        if self._done == self._total or (self._said_at and (not is_due or waited < _SOONEST_S)):
            return  # the summary follows, or the last line is fresh
        said = f"{self._done} of {self._total} photos"
        if self._failed:
            said += f", {self._failed} failed"
        if self._done > 1:
            left = (now - self._first) / (self._done - 1) * (self._total - self._done)
            said += f", about {_duration(left)} left"
        self.say(said)
        self._said, self._said_at = now, self._done


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing that Pillow, tifffile, libtiff, OpenVINO or others warn of reaches the terminal: what a photo's owner is to know is a notice.

    C libraries write to the process's standard error themselves: it leads nowhere meanwhile, and only `sys.stderr` leads to the terminal.
    """
    loggers = [logging.getLogger(name) for name in ("tifffile", "PIL", "imagecodecs", "openvino")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), _own_stderr():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _own_stderr() -> Iterator[None]:
    """Only where `sys.stderr` is the process's own, which it is not in a notebook or a test."""
    before = sys.stderr
    try:
        is_own = before.fileno() == 2
    except (OSError, ValueError, AttributeError):
        is_own = False
    if not is_own:
        yield
        return
    before.flush()
    kept = os.dup(2)
    with (
        open(kept, "w", encoding=before.encoding, errors="backslashreplace", buffering=1) as ours,  # noqa: PTH123  (a descriptor)
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
    ):
        os.dup2(nowhere.fileno(), 2)
        sys.stderr = ours
        try:
            yield
        finally:
            ours.flush()
            os.dup2(kept, 2)
            sys.stderr = before
