"""The net's one thread: what it gathers, in which order, and what it does when the net fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service import batching
from service.batching import Answer, Batcher, NetOutOfMemory, is_out_of_memory

SECONDS_PER_PHOTO = 5.0


class MadeNet:
    """Doubles what it is given, notes what came together, and takes its time or fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.seconds = 0.0
        self.fails: Callable[[list[float]], Exception | None] = lambda batch: None

    def __call__(self, lightness: Sequence[np.ndarray]) -> list[np.ndarray]:
        assert len({one.shape for one in lightness}) == 1
        names = [one.flatten()[0].item() for one in lightness]
        self.batches.append(names)
        assert self.go_on.wait(10)
        time.sleep(self.seconds)
        if fault := self.fails(names):
            raise fault
        return [2 * one[0] for one in lightness]


@pytest.fixture
def net() -> MadeNet:
    return MadeNet()


@pytest.fixture
def served(net) -> Iterator[Callable[[int], Batcher]]:
    started: list[Batcher] = []

    def serve(most: int = 4) -> Batcher:
        started.append(Batcher(net, most, SECONDS_PER_PHOTO))
        started[-1].start()
        return started[-1]

    yield serve
    net.go_on.set()
    for one in started:
        one.stop()


def photo(number: float, height: int = 2) -> np.ndarray:
    """A photo that is known again by its first value."""
    return np.full((1, height, 3), number, np.float32)


def held(served, net, until, most: int = 4) -> tuple[Batcher, Future[Answer]]:
    """A batcher whose net is busy with photo 0 until `net.go_on`."""
    net.go_on.clear()
    busy = served(most)
    first = busy.submit(photo(0))
    until(lambda: net.batches == [[0]], 5, "the net is busy")
    return busy, first


@settings(max_examples=50, deadline=None)
@given(
    photos=st.lists(st.tuples(st.integers(1, 99), st.integers(1, 3)), min_size=1, max_size=30),
    most=st.integers(1, 8),
)
def test_the_answers_are_those_that_each_photo_gets_by_itself(photos, most):
    together = Batcher(MadeNet(), most)
    together.start()
    lightness = [np.arange(3.0 * height).reshape(1, height, 3) + number for number, height in photos]
    answers = [together.submit(one) for one in lightness]
    for one, answer in zip(lightness, answers, strict=True):
        assert np.array_equal(answer.result(5).logits, MadeNet()([one])[0])
    together.stop()


def test_what_waits_goes_together_oldest_first_up_to_the_most(served, net, until):
    busy, first = held(served, net, until)
    answers = [first, *(busy.submit(photo(number)) for number in range(1, 8))]
    net.go_on.set()
    results = [answer.result(5) for answer in answers]
    assert net.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert [result.photos for result in results] == [1, 4, 4, 4, 4, 3, 3, 3]
    assert [result.leads for result in results] == [True, True, False, False, False, True, False, False]


def test_shapes_do_not_mix_and_the_oldest_decides_which_is_next(served, net, until):
    busy, _ = held(served, net, until)
    heights = [2, 3, 2, 4, 3, 2]
    answers = [busy.submit(photo(number, height)) for number, height in enumerate(heights, start=1)]
    net.go_on.set()
    for answer in answers:
        answer.result(5)
    assert net.batches == [[0], [1, 3, 6], [2, 5], [4]]


def test_a_photo_that_comes_alone_waits_for_nobody(served, net):
    free = served(16)
    taken = []
    for number in range(100):
        start = time.perf_counter()
        assert free.submit(photo(number)).result(60).photos == 1
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.01, "others on this machine may hold up some"


def test_batches_grow_with_the_load(served, net):
    def mean(clients: int) -> float:
        """Photos in a batch while so many send one after the other."""
        net.seconds, net.batches = 0.005, []
        loaded = served(8)

        def send() -> None:
            for number in range(10):
                loaded.submit(photo(number)).result(10)

        senders = [threading.Thread(target=send) for _ in range(clients)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert sum(map(len, net.batches)) == 10 * clients
        return 10 * clients / len(net.batches)

    alone, some, many = mean(1), mean(6), mean(32)
    assert alone == 1
    assert some > 1.8
    assert many > 5


def test_a_photo_over_which_the_net_raises_is_found_and_the_others_are_answered(served, net, until):
    busy, _ = held(served, net, until)
    net.fails = lambda batch: ValueError("poison") if 3 in batch else None
    answers = [busy.submit(photo(number)) for number in range(1, 8)]
    net.go_on.set()
    for number, answer in enumerate(answers, start=1):
        if number == 3:
            with pytest.raises(ValueError, match="poison"):
                answer.result(5)
        else:
            assert answer.result(5).logits[0, 0] == 2 * number
    assert net.batches == [[0], [1, 2, 3, 4], [1], [2], [3], [4], [5, 6, 7]]


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_runs_out_halves_the_batch_until_it_fits(served, net, until, fault):
    busy, _ = held(served, net, until, most=8)
    net.fails = lambda batch: fault if len(batch) > 2 else None
    answers = [busy.submit(photo(number)) for number in range(1, 13)]
    net.go_on.set()
    for number, answer in enumerate(answers, start=1):
        assert answer.result(5).logits[0, 0] == 2 * number
    assert [len(batch) for batch in net.batches] == [1, 8, 4, 2, 2, 4, 2, 2, 2, 2], "it stays careful"


def test_a_real_allocation_that_fails_is_known_for_what_it_is():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_a_photo_that_is_too_large_alone_is_said_so_and_the_others_are_answered(served, net, until):
    busy, _ = held(served, net, until)
    net.fails = lambda batch: MemoryError() if 2 in batch else None
    answers = [busy.submit(photo(number)) for number in range(1, 5)]
    net.go_on.set()
    with pytest.raises(NetOutOfMemory):
        answers.pop(1).result(5)
    assert [answer.result(5).logits[0, 0].item() for answer in answers] == [2, 6, 8]


def test_batches_are_as_large_as_ever_some_time_after_memory_ran_out(served, net, until, monkeypatch):
    monkeypatch.setattr(batching, "CAUTION", 0.05)
    busy, _ = held(served, net, until)
    net.fails = lambda batch: MemoryError() if len(batch) > 1 else None
    early = [busy.submit(photo(number)) for number in range(1, 3)]
    net.go_on.set()
    assert [answer.result(5).photos for answer in early] == [1, 1]
    time.sleep(0.1)
    net.fails = lambda batch: None
    net.go_on.clear()
    answers = [busy.submit(photo(0))]
    until(lambda: net.batches[-1] == [0], 5, "the net is busy again")
    answers += [busy.submit(photo(number)) for number in range(1, 5)]
    net.go_on.set()
    assert [answer.result(5).photos for answer in answers] == [1, 4, 4, 4, 4]


def test_a_photo_that_is_wanted_no_more_never_reaches_the_net(served, net, until):
    busy, first = held(served, net, until)
    unwanted, wanted = busy.submit(photo(1)), busy.submit(photo(2))
    assert unwanted.cancel()
    assert not first.cancel(), "it is in the net already"
    net.go_on.set()
    assert wanted.result(5).photos == 1
    assert net.batches == [[0], [2]]
    with pytest.raises(CancelledError):
        unwanted.result(5)


def test_stopping_answers_all_that_wait_and_takes_no_more(served, net, until):
    busy, _ = held(served, net, until)
    answers = [busy.submit(photo(number)) for number in range(1, 10)]
    stopping = threading.Thread(target=busy.stop)
    stopping.start()
    net.go_on.set()
    stopping.join(5)
    assert all(answer.done() for answer in answers)
    assert answers[-1].result().logits[0, 0] == 18
    with pytest.raises(RuntimeError, match="stopped"):
        busy.submit(photo(0))


def test_a_net_that_hangs_is_seen_not_to_move(net, until):
    hung = Batcher(net, 4, seconds_per_photo=2.0)
    hung.start()
    assert hung.is_moving
    net.go_on.clear()
    answer = hung.submit(photo(0))
    until(lambda: net.batches, 5, "the net is busy")
    assert hung.is_moving
    until(lambda: not hung.is_moving, 1, "it has taken too long")
    net.go_on.set()
    answer.result(5)
    until(lambda: hung.is_moving, 1, "it moves again")
    hung.stop()
