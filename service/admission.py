"""Which photos a worker has in its hands: as many megapixels as there is room for, or one alone whose attempt failed before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.jobs import Claim, NoRoom

ASK_AGAIN = 1.0
"""Seconds after which the best photo may be another one: other workers take some, too."""


class Admission:
    """Counts what is inside, and lets one at a time ask for more.

    Who hears that the best photo does not fit waits until it does, and all others wait behind: however large
    it is, it is not passed by small ones for ever. An empty worker takes whatever comes.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self._inside: dict[tuple[str, int], Claim] = {}
        self._heard = 0
        self._left_at = time.monotonic()
        self._closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is inside, and nobody has a bell to answer."""
        return self._heard == 0

    @property
    def count(self) -> int:
        """Photos inside."""
        return len(self._inside)

    @property
    def empty_for(self) -> float:
        """Seconds for which nothing has been inside; 0 while something is."""
        return 0.0 if self._inside else time.monotonic() - self._left_at

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let those that wait for room go away empty-handed; what is inside may stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def enter(self, claim: Callable[[int, bool], Claim | NoRoom | None]) -> Iterator[Claim | None]:
        """Ask `claim(pixels of room, whether empty)` until it gives a job or says that none waits.

        None where none waits, or where this worker has closed.
        """
        with self._changed:
            self._heard += 1
        taken: Claim | None = None
        try:
            with self._door:
                taken = self._take(claim)
            yield taken
        finally:
            with self._changed:
                self._heard -= 1
                if taken is not None:
                    del self._inside[taken.id, taken.attempt]
                    self._left_at = time.monotonic()
                self._changed.notify_all()

    def _take(self, claim: Callable[[int, bool], Claim | NoRoom | None]) -> Claim | None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or not self._is_occupied_alone())
                if self._closed:
                    return None
                room, before = self._room(), len(self._inside)
            found = claim(room, before == 0)
            with self._changed:
                if isinstance(found, Claim):
                    self._inside[found.id, found.attempt] = found
                if found is None or isinstance(found, Claim):
                    return found
                if len(self._inside) == before:  # nobody has left while this one asked
                    self._changed.wait(ASK_AGAIN)

    def _is_occupied_alone(self) -> bool:
        return any(inside.isolate for inside in self._inside.values())

    def _room(self) -> int:
        return max(0, self._pixels - sum(inside.pixels for inside in self._inside.values()))
