"""Who may work in this process at the same time: many jobs together, or one suspect alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """One that wants to be alone waits until all have left, and meanwhile nobody else comes in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone_wanted = 0
        self._alone = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside or waits to get in alone."""
        return self._inside == 0 and self._alone_wanted == 0

    @contextmanager
    def enter(self, alone: bool) -> Iterator[None]:
        with self._changed:
            if alone:
                self._alone_wanted += 1
                self._changed.wait_for(lambda: self._inside == 0)
                self._alone_wanted -= 1
                self._alone = True
            else:
                self._changed.wait_for(lambda: not self._alone and self._alone_wanted == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()
