"""How many photos a worker takes in at once: as many megapixels as it has room for, or one alone whose attempt failed before."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from service import batching
from service.batching import Admission
from service.models import Claim, NoRoom
from service.schemas import Options


class Queue:
    """Jobs in line; only the first is given out, and only where it fits, as the record does it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waiting: deque[Claim] = deque()
        self.claims: list[tuple[int, bool]] = []

    def put(self, name: str, pixels: int, isolate: bool = False) -> None:
        self.waiting.append(Claim(name, 1, Options(), pixels, "", "", isolate, memory=pixels))

    def claim(self, room: int, empty: bool) -> Claim | NoRoom | None:
        self.claims.append((room, empty))
        time.sleep(self.seconds)
        if not self.waiting:
            return None
        first = self.waiting[0]
        if not empty and (first.isolate or first.pixels > room):
            return NoRoom()
        return self.waiting.popleft()


class Hands:
    """Threads that answer one notification each, and keep what they took until told to let go of it."""

    def __init__(self, door: Admission, queue: Queue) -> None:
        self._door = door
        self._queue = queue
        self._let_go: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self.order: list[str] = []
        self.inside: set[str] = set()
        self.with_nothing = 0

    def notify(self) -> None:
        self._threads.append(threading.Thread(target=self._answer))
        self._threads[-1].start()

    def let_go(self, name: str) -> None:
        self._let_go[name].set()

    def end(self) -> None:
        self._door.close()
        for event in self._let_go.values():
            event.set()
        for thread in self._threads:
            thread.join(5)

    def _answer(self) -> None:
        with self._door.enter(self._queue.claim) as claim:
            if claim is None:
                self.with_nothing += 1
                return
            self._let_go[claim.id] = threading.Event()
            self.order.append(claim.id)
            self.inside.add(claim.id)
            self._let_go[claim.id].wait(10)
            self.inside.remove(claim.id)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def door(monkeypatch) -> Admission:
    monkeypatch.setattr(batching, "ASK_AGAIN", 0.05)
    return Admission(100)


@pytest.fixture
def hands(door, queue) -> Iterator[Hands]:
    hands = Hands(door, queue)
    yield hands
    hands.end()


def inside(hands: Hands, until: Callable, *names: str) -> None:
    until(lambda: hands.inside == set(names), 5, f"{names} are inside")


def test_photos_come_in_until_the_room_is_full_and_the_next_as_soon_as_it_fits(hands, queue, until):
    for name, pixels in [("a", 40), ("b", 60), ("c", 50), ("d", 1)]:
        queue.put(name, pixels)
        hands.notify()
    inside(hands, until, "a", "b")
    hands.let_go("a")
    until(lambda: (40, False) in queue.claims, 5, "c does not fit yet, and d waits behind it")
    inside(hands, until, "b")
    hands.let_go("b")
    inside(hands, until, "c", "d")
    assert hands.order == ["a", "b", "c", "d"]


def test_several_who_ask_at_once_do_not_get_the_same_room(hands, queue, until):
    queue.seconds = 0.05
    for name in "abcd":
        queue.put(name, 60)
        hands.notify()
    until(lambda: len(queue.claims) >= 4, 5, "all could have asked")
    assert len(hands.inside) == 1


def test_a_photo_larger_than_all_the_room_is_taken_in_by_an_empty_worker_only(hands, queue, until):
    for name, pixels in [("small", 10), ("huge", 1000), ("tiny", 1)]:
        queue.put(name, pixels)
        hands.notify()
    inside(hands, until, "small")
    hands.let_go("small")
    inside(hands, until, "huge")
    assert hands.order == ["small", "huge"]
    hands.let_go("huge")
    inside(hands, until, "tiny")


def test_a_job_that_failed_before_is_alone_from_its_first_moment_to_its_last(hands, queue, until):
    for name, isolate in [("a", False), ("again", True), ("b", False)]:
        queue.put(name, 1, isolate)
        hands.notify()
    inside(hands, until, "a")
    hands.let_go("a")
    inside(hands, until, "again")
    before = len(queue.claims)
    time.sleep(0.2)
    assert hands.inside == {"again"}
    assert len(queue.claims) == before, "while it is inside, nobody even asks"
    hands.let_go("again")
    inside(hands, until, "b")


def test_a_photo_that_another_worker_takes_is_waited_for_no_more(hands, queue, until):
    queue.put("a", 90)
    hands.notify()
    inside(hands, until, "a")
    queue.put("big", 90)
    hands.notify()
    until(lambda: queue.claims[-1] == (10, False), 5, "it has no room")
    queue.waiting.clear()
    until(lambda: hands.with_nothing == 1, 5, "its notification is answered")
    assert hands.inside == {"a"}


def test_closing_sends_away_who_waits_and_leaves_what_is_inside(hands, door, queue, until):
    queue.put("a", 90)
    hands.notify()
    inside(hands, until, "a")
    for name in ("b", "c"):
        queue.put(name, 90)
        hands.notify()
    until(lambda: queue.claims[-1] == (10, False), 5, "the next has no room")
    door.close()
    until(lambda: hands.with_nothing == 2, 5, "both have gone")
    assert hands.inside == {"a"}
    assert len(queue.waiting) == 2


def test_it_is_known_whether_it_is_idle_and_for_how_long_it_has_been_empty(hands, door, queue, until):
    assert door.answering == 0
    assert door.empty_for < 60
    queue.put("a", 1)
    hands.notify()
    inside(hands, until, "a")
    assert door.answering
    assert door.empty_for == 0
    hands.let_go("a")
    until(lambda: door.answering == 0, 5, "it is idle again")
    assert 0 < door.empty_for < 60


def test_an_error_while_asking_or_inside_leaves_the_door_open(door, queue):
    def fails(room: int, empty: bool) -> Claim | NoRoom | None:
        raise ConnectionError

    with pytest.raises(ConnectionError), door.enter(fails):
        pass
    queue.put("a", 100)
    with pytest.raises(ValueError, match="inside"), door.enter(queue.claim):
        raise ValueError("inside")
    queue.put("b", 100)
    with door.enter(queue.claim) as claim:
        assert claim is not None
        assert queue.claims[-1] == (100, True)
    assert door.answering == 0
