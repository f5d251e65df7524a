"""Words to the record that are said again while Redis does not take them: it may be starting anew, or be full."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import redis

OUTAGE = 30.0
"""Seconds for which a word is repeated."""
PAUSE = 0.3

T = TypeVar("T")


def insist(say: Callable[[], T]) -> T:
    """What `say` gives. A word whose answer was lost is said twice. Raises redis.RedisError in the end."""
    give_up = time.monotonic() + OUTAGE
    while True:
        try:
            return say()
        except redis.RedisError:
            if time.monotonic() > give_up:
                raise
        time.sleep(PAUSE)
