"""The time at this Reddit: it goes on by itself, and can be put forward."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix seconds. `Clock(lambda: 1_700_000_000.0)` stands still until it is put forward."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._ahead = 0.0

    def now(self) -> float:
        return self._source() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
