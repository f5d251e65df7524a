"""Being asked to end, by Ctrl-C, `kill` or a closed terminal, while something is being written."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible(stop: threading.Event) -> Iterator[list[int]]:
    """Set `stop` where the process is asked to end, so that what is being written gets written. Asked again a second later it ends at once.

    Gives the list of the signals that came: the exit status is 128 and the first of them. Outside the main thread, where Python hears no
    signals, it does nothing.
    """
    interrupted: list[int] = []
    begun = 0.0
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def end(number: int, frame: object) -> None:
        nonlocal begun
        if not interrupted:
            begun = time.monotonic()
        # Sooner it is the same wish: a terminal and torchrun may both tell a process.
        elif time.monotonic() - begun > 1:
            os._exit(128 + number)
        interrupted.append(number)
        stop.set()

    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heard = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # as nohup has it
    before = [signal.signal(number, end) for number in heard]
    try:
        yield interrupted
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)
