"""How fast requests may follow each other: so many in any minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 60.0


class Pace:
    """Called before each request; counts them, too."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.requests = 0
        """So many were let through."""
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._times: deque[float] = deque(maxlen=most)

    def __call__(self) -> None:
        """Wait for a turn."""
        if len(self._times) == self._most:
            wait = self._times[0] + WINDOW - self._clock()
            if wait > 0:
                self._sleep(wait)
        self._times.append(self._clock())
        self.requests += 1
