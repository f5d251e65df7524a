"""A thread that does one small thing again and again until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("autochrome.ticker")


class Ticker(threading.Thread):
    """Call `action`, wait `seconds`, and so on. An error is logged, and the next tick comes all the same."""

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
                    log.warning("%s fails error=%s: %s", self.name, type(error).__name__, error)
                failing = True
            self._stopped.wait(self._seconds)

    def stop(self) -> None:
        """Let the tick that runs come to its end, and start no other."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=5)
