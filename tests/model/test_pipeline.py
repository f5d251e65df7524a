"""Several photos under way at once: what overlaps, what waits, and how it ends."""

from __future__ import annotations

import threading
import time

import pytest

from model.folder import pipeline
from model.folder.pipeline import Room, StoppedError


def test_every_task_is_done_once_and_tasks_overlap() -> None:
    together = threading.Barrier(3, timeout=20)  # passes only where three are under way at once

    def work(number: int) -> int:
        together.wait()
        return number * number

    outcomes = pipeline.run(range(9), work, 3, threading.Event())
    assert sorted(outcomes) == [number * number for number in range(9)]


def test_no_task_is_taken_once_it_is_stopped_and_what_was_begun_is_told() -> None:
    stop = threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            stop.set()
        return number

    assert sorted(pipeline.run(range(100), work, 2, stop)) == sorted(begun)
    assert len(begun) < 10


def test_a_task_that_is_given_up_has_no_outcome() -> None:
    stop = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            stop.set()
            raise StoppedError
        return number

    assert [*pipeline.run(range(9), work, 1, stop)] == [0]


def test_an_error_ends_the_run_and_no_thread_outlives_it() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ZeroDivisionError
        time.sleep(0.01)
        return number

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(pipeline.run(range(1000), work, 4, threading.Event()))
    assert threading.active_count() == before


def test_photos_under_way_never_take_more_than_there_is_room_for_and_a_large_one_runs_alone() -> None:
    room = Room(100)
    lock = threading.Lock()
    under_way: list[int] = []
    most: list[list[int]] = []

    def work(size: int) -> None:
        with room.of(size):
            with lock:
                under_way.append(size)
                most.append([*under_way])
            time.sleep(0.005)
            with lock:
                under_way.remove(size)

    sizes = [40, 40, 40, 250, 10, 40, 90, 10, 250, 40] * 3
    assert len([*pipeline.run(sizes, work, 6, threading.Event())]) == len(sizes)
    assert all(sum(beside) <= 100 or len(beside) == 1 for beside in most)
    assert any(len(beside) > 1 for beside in most)


def test_a_large_photo_does_not_wait_for_ever_behind_small_ones() -> None:
    room = Room(100)
    order: list[str] = []
    inside = threading.Event()
    leave = threading.Event()

    def first() -> None:
        with room.of(60):
            inside.set()
            leave.wait(20)

    def later(name: str, size: int) -> None:
        with room.of(size):
            order.append(name)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    inside.wait(20)
    for name, size in (("large", 100), ("small", 10)):
        threads.append(threading.Thread(target=later, args=(name, size)))
        threads[-1].start()
        time.sleep(0.05)
    assert order == []  # the small one would fit beside the first, but came after the large one
    leave.set()
    for thread in threads:
        thread.join(20)
    assert order == ["large", "small"]


def test_the_room_is_bounded_by_threads_and_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "memory_available", lambda: 64 * 2**30)
    assert pipeline.memory_at_once(4) == 4 * pipeline.memory_at_once(1)
    monkeypatch.setattr(pipeline, "memory_available", lambda: 2**30)
    assert pipeline.memory_at_once(16) == 2**29
