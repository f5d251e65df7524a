"""Who waits for a job in this process, and how all of them are sent home when it is told to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.events import Changed, Hub


class Watches:
    """Those who wait, on the one subscription of the process."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.closing = False
        """Whether nobody is to wait any longer."""
        self._waiting: set[Changed] = set()

    @asynccontextmanager
    async def on(self, id: str, only_end: bool = False) -> AsyncIterator[Changed]:
        """Hear of changes of a job, or only of its end; look at it, and at `closing`, after this and after each wait."""
        async with self.hub.watch(id, only_end) as changed:
            self._waiting.add(changed)
            try:
                yield changed
            finally:
                self._waiting.discard(changed)

    def close(self) -> None:
        """Wake everybody up for good. May be called by a signal's handler."""
        self.closing = True
        for changed in [*self._waiting]:
            changed.wake()
