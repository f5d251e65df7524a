"""How fast requests may follow each other: so many in any minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from bot.errors import Stopped

WINDOW = 60.0


class Pace:
    """Called before each request; counts them, too."""

    def __init__(
        self, most: int, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`wait`: sleep so many seconds; whether the bot is to stop."""
        self.requests = 0
        """So many were let through."""
        self._most = most
        self._wait = wait
        self._clock = clock
        self._times: deque[float] = deque(maxlen=most)

    def __call__(self) -> None:
        """Wait for a turn. Raises Stopped where the bot is to end."""
        is_full = len(self._times) == self._most
        pause = self._times[0] + WINDOW - self._clock() if is_full else 0.0
        if self._wait(max(pause, 0.0)):
            raise Stopped
        self._times.append(self._clock())
        self.requests += 1
