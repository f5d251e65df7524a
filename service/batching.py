"""Which photos a worker takes in, and how they come through the net: each in its own thread, or those that wait in one call.

Admission takes as many photos as there is memory for, by what is reckoned from their headers, and nothing beside one whose attempt
failed before; which worker empties itself for such a one is decided in lua/claim.lua.

On a CPU a batch is no faster than its photos one by one, so that each photo has one core from its opening to its end: `Direct` calls the
net in the thread that asks. On a GPU a batch takes little longer than one photo: the `Batcher` has the one thread that runs the net.
It never waits for more photos: what is there when the net becomes free goes in, so that batches grow with the load.
Memory that runs out halves the batch, down to single photos. Any other error is tried again photo by photo, so
that it is only the concern of the photo that caused it.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.models import Claim, NoRoom
from service.observability import get_logger

ASK_AGAIN = 1.0
"""Seconds after which the best photo may be another one: other workers take some, too."""
CAUTION = 60.0
"""Seconds for which batches stay smaller after memory ran out: others may use the device for a while."""
_MEMORY_WORDS = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc")

Array = NDArray[np.float32]

log = get_logger("autochrome.batching")


class Admission:
    """Counts what is inside, and lets one at a time ask for more.

    Where the best photo does not fit, its thread waits until it does, and all others wait behind: however large
    it is, small ones do not pass it for ever. An empty worker takes whatever comes.
    """

    def __init__(self, memory: int) -> None:
        """`memory`: bytes that photos may take at once."""
        self._memory = memory
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self._inside: dict[tuple[str, int], Claim] = {}
        self._answering = 0
        self._left_at = time.monotonic()
        self._taken_ms = int(time.time() * 1000)
        self._closed = False

    @property
    def answering(self) -> int:
        """Threads that color a photo, or ask for one."""
        return self._answering

    @property
    def count(self) -> int:
        """Photos inside."""
        return len(self._inside)

    @property
    def empty_for(self) -> float:
        """Seconds for which nothing has been inside; 0 while something is."""
        return 0.0 if self._inside else time.monotonic() - self._left_at

    @property
    def taken_ms(self) -> int:
        """When the last one was taken, in milliseconds since 1970; at first, when this began."""
        return self._taken_ms

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let those that wait for room go away with nothing; what is inside may stay."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def enter(self, claim: Callable[[int, bool], Claim | NoRoom | None]) -> Iterator[Claim | None]:
        """Ask `claim(bytes of room, whether empty)` until it gives a job or says that none waits.

        None where none waits, or where this worker has closed.
        """
        with self._changed:
            self._answering += 1
        taken: Claim | None = None
        try:
            with self._door:
                taken = self._take(claim)
            yield taken
        finally:
            with self._changed:
                self._answering -= 1
                if taken is not None:
                    self._inside.pop((taken.id, taken.attempt), None)
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
                    self._taken_ms = int(time.time() * 1000)
                if found is None or isinstance(found, Claim):
                    return found
                if len(self._inside) == before:  # nobody has left while this one asked
                    self._changed.wait(ASK_AGAIN)

    def _is_occupied_alone(self) -> bool:
        return any(inside.isolate for inside in self._inside.values())

    def _room(self) -> int:
        return max(0, self._memory - sum(inside.memory for inside in self._inside.values()))


class NetOutOfMemory(Exception):  # noqa: N818  (a turn of events: the photo may fit when it is smaller)
    """Memory ran out over a single photo."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the net said about one photo."""

    logits: Array
    photos: int
    """How many went through the net together."""
    leads: bool
    """True for one photo of each batch."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    lightness: Array
    answer: Future[Answer] = field(default_factory=Future)


class Direct:
    """The net in the thread that asks, one photo a call. Any number of threads may ask at once."""

    def __init__(
        self,
        infer: Callable[[Sequence[Array], int | None], list[Array]],
        threads: Callable[[], int | None],
    ) -> None:
        """`infer`: as `Colorizer.infer`. `threads`: how many a call may use now."""
        self._infer = infer
        self._threads = threads

    def start(self) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """There is nothing to stop."""

    def warm_up(self, lightness: Array) -> None:
        """Let happen what happens once: what runs a photo a core is made when it is first wanted."""
        for threads in (None, 1):
            self._infer([lightness], threads)

    def ask(self, lightness: Array, renew: Callable[[], None]) -> Answer:
        """Raises NetOutOfMemory, or whatever the net raised. `renew` is not called: a call takes milliseconds, or it hangs."""
        try:
            (logits,) = self._infer([lightness], self._threads())
        except Exception as error:
            if is_out_of_memory(error):
                raise NetOutOfMemory from None
            raise
        return Answer(logits, photos=1, leads=True)


class Batcher:
    """The net in a thread of its own, which takes several photos a call."""

    def __init__(
        self,
        infer: Callable[[Sequence[Array]], list[Array]],
        most: int,
        seconds_per_photo: float = 8.0,
    ) -> None:
        """`infer`: as `Colorizer.infer`, for lightness of one shape. `most`: photos in one call. `seconds_per_photo`: how long a call may
        take for each of its photos.
        """
        self.most = most
        self._infer = infer
        self._seconds_per_photo = seconds_per_photo
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._late_at: float | None = None  # when the call that runs has taken too long
        self._room = float("inf")  # pixels of the net's input that memory has held, if it has run out
        self._careful_until = 0.0
        self._thread = threading.Thread(target=self._serve, name="net", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer all that wait, then end."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def warm_up(self, lightness: Array) -> None:
        """Let happen what happens once: a call with one photo, and one with the most."""
        for answer in [self.submit(lightness) for _ in range(1 + self.most)]:
            answer.result()

    def submit(self, lightness: Array) -> Future[Answer]:
        """Get in line. The future may be canceled for as long as it waits.

        It raises NetOutOfMemory where the photo alone is too large, else whatever the net raised over it.
        """
        waiting = _Waiting(lightness)
        with self._changed:
            if self._stopped:
                raise RuntimeError("the batcher has been stopped")
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.answer

    def ask(self, lightness: Array, renew: Callable[[], None]) -> Answer:
        """Get in line and wait. Calls `renew` about each second as long as the net moves: one that hangs is left to the watchdog.

        Raises NetOutOfMemory, or whatever the net raised.
        """
        answer = self.submit(lightness)
        try:
            while True:
                with suppress(TimeoutError):
                    return answer.result(timeout=min(1.0, self._seconds_per_photo / 4))
                if answer.done():
                    return answer.result()
                if self.is_moving:
                    renew()
        finally:
            answer.cancel()  # it need not be in the net if nobody waits for it

    @property
    def is_moving(self) -> bool:
        """Whether the net is free, or at work for no longer than it should be."""
        late_at = self._late_at
        return late_at is None or time.monotonic() < late_at

    def _serve(self) -> None:
        while batch := self._next():
            self._run(batch)

    def _next(self) -> list[_Waiting]:
        """The oldest that waits and others of its shape, oldest first; nothing once all is done."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if not self._waiting:
                    return []
                shape = self._waiting[0].lightness.shape
                alike = [one for one in self._waiting if one.lightness.shape == shape][: self._fitting(shape)]
                for one in alike:
                    self._waiting.remove(one)
            if wanted := [one for one in alike if one.answer.set_running_or_notify_cancel()]:
                return wanted

    def _fitting(self, shape: tuple[int, ...]) -> int:
        if time.monotonic() > self._careful_until:
            self._room = float("inf")
        return int(min(self.most, max(1.0, self._room / math.prod(shape))))

    def _run(self, batch: list[_Waiting]) -> None:
        parts = deque([batch])
        while parts:
            part = parts.popleft()
            fault = self._call(part)
            if fault is None:
                continue
            if len(part) == 1:
                part[0].answer.set_exception(fault)
            elif isinstance(fault, NetOutOfMemory):
                half = len(part) // 2
                log.warning("batch_halved", photos=len(part), now=half, error="out of memory")
                self._room = half * part[0].lightness.size
                self._careful_until = time.monotonic() + CAUTION
                parts.extendleft([part[half:], part[:half]])
            else:
                log.warning("batch_split", photos=len(part), error=str(fault))
                parts.extendleft([one] for one in reversed(part))

    def _call(self, part: list[_Waiting]) -> Exception | None:
        """Run the net and hand out its answers; or the error, which keeps nothing of the call in memory."""
        self._late_at = time.monotonic() + self._seconds_per_photo * len(part)
        try:
            answers = self._infer([one.lightness for one in part])
            answered = list(zip(part, answers, strict=True))
        except Exception as error:
            if not is_out_of_memory(error):
                return error
        else:
            for index, (one, logits) in enumerate(answered):
                one.answer.set_result(Answer(logits, len(part), leads=index == 0))
            return None
        finally:
            self._late_at = None
        if torch := sys.modules.get("torch"):  # only where a GPU is in use
            torch.cuda.empty_cache()
        return NetOutOfMemory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the device's or the machine's, which PyTorch and OpenVINO tell by a RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)
