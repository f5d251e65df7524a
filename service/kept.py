"""What a worker keeps in memory of photos that it has colored, so that a changed hint need not wait until one is opened again.

Where there is no room, the one goes that was not used for longest, and each at the latest when nobody has used it for a while.
One that is missing costs time alone. Threads may use it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(slots=True)
class _Entry(Generic[Value]):
    value: Value
    size: int
    used: float


class Kept(Generic[Key, Value]):
    """Values of so many bytes in all. Each belongs to the photo of a job, by whose id it is forgotten, and has a key there."""

    def __init__(self, most: int, seconds: float) -> None:
        """`seconds`: for how long one is kept that nobody uses."""
        self._most = most
        self._seconds = seconds
        self._entries: OrderedDict[tuple[str, Key], _Entry[Value]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        with self._lock:
            return sum(entry.size for entry in self._entries.values())

    def get(self, id: str, key: Key) -> Value | None:
        with self._lock:
            self._drop_old()
            entry = self._entries.get((id, key))
            if entry is None:
                return None
            entry.used = time.monotonic()
            self._entries.move_to_end((id, key))
            return entry.value

    def put(self, id: str, key: Key, value: Value, size: int) -> None:
        """Keep it. `size`: bytes; what has more than all may have together is not kept."""
        with self._lock:
            self._drop_old()
            self._entries.pop((id, key), None)
            if size > self._most:
                return
            self._entries[id, key] = _Entry(value, size, time.monotonic())
            held = sum(entry.size for entry in self._entries.values())
            while held > self._most:
                held -= self._entries.popitem(last=False)[1].size

    def ids(self) -> set[str]:
        """Of the photos of which something is kept now."""
        with self._lock:
            self._drop_old()
            return {id for id, _ in self._entries}

    def forget(self, ids: Collection[str]) -> None:
        """Drop all that is kept of these photos."""
        with self._lock:
            for known in [known for known in self._entries if known[0] in ids]:
                del self._entries[known]

    def _drop_old(self) -> None:
        oldest = time.monotonic() - self._seconds
        for known in [known for known, entry in self._entries.items() if entry.used < oldest]:
            del self._entries[known]
