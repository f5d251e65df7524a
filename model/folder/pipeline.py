"""Several photos under way at once: each thread takes one from its file to its result, so that reading, the net and writing overlap.

What is under way at once is bounded by the memory it takes. A photo that takes more than the bound runs alone.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from model.machine import memory_available

_Task = TypeVar("_Task")
_Outcome = TypeVar("_Outcome")

BYTES_A_JOB: Final = 640 * 2**20
"""What 50 megapixels take, from a file to its result."""
_UNKNOWN_MEMORY: Final = 4 * 2**30
"""Where the system does not say what is free."""


class StoppedError(Exception):
    """The run is to end: a photo is given up of which nothing has been written."""


class Room:
    """Bytes of memory that photos may take at once. Whoever comes first is let in first, so that a large one does not wait for ever."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Wait until there is room for so many bytes; what takes more than all waits until it is alone."""
        size = min(max(1, size), self.size)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and self._used + size <= self.size)
            self._waiting.popleft()
            self._used += size
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


def run(
    tasks: Iterable[_Task], work: Callable[[_Task], _Outcome], jobs: int, stop: threading.Event
) -> Iterator[_Outcome]:
    """Begin at once, with `jobs` threads that take the tasks in order; what `work` makes of each, as it comes.

    Once `stop` is set, no further task is taken; `work` may raise StoppedError to give up the one it has. All threads have ended when
    the iteration has. Any other error of `work` ends the run and is raised by the iteration.
    """
    waiting = iter(tasks)
    taking = threading.Lock()
    ended: queue.SimpleQueue[list[_Outcome] | BaseException | None] = queue.SimpleQueue()

    def take() -> list[_Task]:
        with taking:
            return [*itertools.islice(waiting, 1)]

    def worker() -> None:
        try:
            while not stop.is_set() and (task := take()):
                ended.put([work(task[0])])
        except StoppedError:
            pass
        except BaseException as error:  # raised again where the run is followed
            ended.put(error)
        finally:
            ended.put(None)

    def outcomes() -> Iterator[_Outcome]:
        living = len(threads)
        try:
            while living:
                outcome = ended.get()
                if outcome is None:
                    living -= 1
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    yield from outcome
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    threads = [threading.Thread(target=worker, name=f"photo-{number}", daemon=True) for number in range(jobs)]
    for thread in threads:
        thread.start()
    return outcomes()


def memory_at_once(jobs: int) -> int:
    """Bytes, by the threads, and by half of the memory that is free now."""
    free = memory_available()
    return max(1, min(jobs * BYTES_A_JOB, (_UNKNOWN_MEMORY if free is None else free) // 2))
