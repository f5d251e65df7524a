"""What waits: whose turn it is, how much there may be, how fast it gets done, and what is said of it."""

from __future__ import annotations

import time

import pytest

from service.errors import Problem
from service.jobs import Bounds, Claim, Jobs, Lease, Net, NoRoom, Order, Result, new_id
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)
ROOMY = Bounds(jobs=1000, pixels=10**12)
HOUR = 3_600_000


@pytest.fixture
def jobs(client) -> Jobs:
    """Jobs whose leases do not run out."""
    return Jobs(client, Lease(3600, 0))


def enter(jobs: Jobs, pixels: int = 1_000_000, batch: bool = False, bounds: Bounds = ROOMY) -> str:
    id = new_id()
    assert jobs.create(id, "secret", Order(Options(), pixels, 60, batch=batch), bounds)
    time.sleep(0.002)  # so that the order of making is that of the clock's milliseconds
    return id


def take(jobs: Jobs, room: int = 10**12, empty: bool = True) -> Claim:
    claim = jobs.claim("w1", NET, room, empty)
    assert isinstance(claim, Claim), claim
    return claim


def work(jobs: Jobs, pixels: int, seconds: float) -> float:
    """Do one job of so many pixels in so many seconds, whatever else waits. Returns the seconds it took."""
    id = enter(jobs, pixels)
    while (claim := take(jobs)).id != id:
        pass
    start = time.monotonic()
    time.sleep(seconds)
    jobs.complete(claim, {"save": 0}, RESULT)
    return time.monotonic() - start


def age(jobs: Jobs, id: str, milliseconds: int, batch: bool = False) -> None:
    """As if a job had been made earlier."""
    client = jobs._redis
    created = client.hincrby(f"{{autochrome}}:job:{id}", "created", -milliseconds)
    client.zadd("{autochrome}:queued", {id: created + HOUR * batch})
    if batch:
        client.zadd("{autochrome}:batched", {id: created})


def test_interactive_ones_go_first_and_a_batch_waits_an_hour_at_most(jobs):
    late, old = enter(jobs, batch=True), enter(jobs, batch=True)
    first, second = enter(jobs), enter(jobs)
    age(jobs, old, HOUR + 1000, batch=True)
    assert [jobs.get(id).queue_position for id in (old, first, second, late)] == [1, 2, 3, 4]
    assert [take(jobs).id for _ in range(4)] == [old, first, second, late]
    assert jobs.claim("w1", NET, 10**12, empty=True) is None


def test_a_job_that_is_given_back_keeps_its_turn(jobs):
    first = enter(jobs, batch=True)
    claim = take(jobs)
    second, third = enter(jobs, batch=True), enter(jobs)
    assert jobs.retry(claim, failed=False)
    assert [take(jobs).id for _ in range(3)] == [third, first, second]


def test_a_worker_gets_what_it_has_room_for_and_an_empty_one_anything(jobs):
    large, small = enter(jobs, pixels=50_000_000), enter(jobs, pixels=10)
    assert jobs.claim("w1", NET, 49_999_999, empty=False) == NoRoom()
    assert take(jobs, room=50_000_000, empty=False).id == large, "and none slips past it"
    assert take(jobs, room=10, empty=False).id == small
    assert jobs.claim("w1", NET, 0, empty=False) is None
    huge = enter(jobs, pixels=10**9)
    assert take(jobs, room=0, empty=True).id == huge


def test_one_past_its_time_is_passed_over(jobs):
    gone = new_id()
    jobs.create(gone, "secret", Order(Options(), 1, 0.05), ROOMY)
    waiting = enter(jobs)
    time.sleep(0.1)
    assert take(jobs).id == waiting


def test_a_full_queue_refuses_by_number_and_by_pixels_and_has_room_again(jobs):
    bounds = Bounds(jobs=2, pixels=3_000_000)
    enter(jobs, bounds=bounds)
    with pytest.raises(Problem, match="queue_full"):
        enter(jobs, pixels=2_000_001, bounds=bounds)
    second = enter(jobs, pixels=2_000_000, bounds=bounds)
    with pytest.raises(Problem, match="queue_full") as full:
        enter(jobs, pixels=1, bounds=bounds)
    assert full.value.headers == {"Retry-After": "5"}, "nothing was measured yet"
    again = Order(Options(), 2_000_000, 60, fingerprint="ab" * 32)
    assert not jobs.create(second, "secret", again, bounds), "what was accepted is not refused"
    take(jobs)
    enter(jobs, bounds=bounds)


def test_a_photo_larger_than_the_queue_is_let_into_an_empty_one(jobs):
    bounds = Bounds(jobs=10, pixels=1000)
    enter(jobs, pixels=5000, bounds=bounds)
    with pytest.raises(Problem, match="queue_full"):
        enter(jobs, pixels=1, bounds=bounds)


def test_depth_says_what_waits_and_runs_and_for_how_long(jobs):
    assert jobs.depth() == type(jobs.depth())(0, 0, 0, 0, None, 0)
    enter(jobs, pixels=100)
    enter(jobs, pixels=20)
    old = enter(jobs, pixels=3, batch=True)
    age(jobs, old, 5000, batch=True)
    take(jobs)
    depth = jobs.depth()
    assert (depth.jobs, depth.pixels, depth.running, depth.running_pixels) == (2, 23, 1, 100)
    assert 5000 <= depth.oldest_ms < 6000
    assert depth.pixels_per_s is None


def test_speed_is_that_of_the_time_in_which_there_was_work(jobs):
    taken = work(jobs, pixels=1_000_000, seconds=0.2)
    time.sleep(0.5)  # nothing to do
    taken += work(jobs, pixels=1_000_000, seconds=0.2)
    assert jobs.depth().pixels_per_s == pytest.approx(2_000_000 / taken, rel=0.2)


def test_speed_is_that_of_all_workers_together_failures_included(jobs):
    start = time.monotonic()
    for _ in range(4):
        enter(jobs)
    claims = [take(jobs) for _ in range(4)]
    begun = time.monotonic()
    time.sleep(0.2)
    for claim in claims[:2]:
        jobs.complete(claim, {"save": 0}, RESULT)
    for claim in claims[2:]:
        jobs.fail(claim, "photo_damaged", "no")
    ended = time.monotonic()
    slowest, fastest = 4_000_000 / (ended - start), 4_000_000 / (ended - begun)
    assert 0.95 * slowest <= jobs.depth().pixels_per_s <= 1.05 * fastest


def test_a_job_tells_when_it_is_likely_to_be_done(jobs):
    unknown = enter(jobs)
    assert jobs.get(unknown).eta_s is None
    jobs.cancel(unknown)
    work(jobs, pixels=1_000_000, seconds=0.5)
    speed = jobs.depth().pixels_per_s
    running = enter(jobs, pixels=2_000_000)
    take(jobs)
    enter(jobs, pixels=4_000_000)
    last = enter(jobs, pixels=1_000_000)
    assert jobs.get(last).eta_s == pytest.approx(7_000_000 / speed, abs=0.11)
    assert jobs.get(last).queue_position == 2
    assert jobs.get(running).eta_s is None


def test_far_behind_the_estimate_is_made_with_the_average(jobs):
    work(jobs, pixels=1_000_000, seconds=0.1)
    speed = jobs.depth().pixels_per_s
    ids = [enter(jobs, pixels=1_000_000) for _ in range(120)]
    assert jobs.get(ids[-1]).eta_s == pytest.approx(120_000_000 / speed, abs=0.11)


def test_who_is_refused_is_told_in_how_many_seconds_there_is_room(jobs):
    assert jobs.retry_after() == 5
    work(jobs, pixels=1_000_000, seconds=0.25)
    assert jobs.retry_after() == 1, "nothing waits"
    speed = jobs.depth().pixels_per_s
    bounds = Bounds(jobs=3, pixels=100_000_000)
    for pixels in (10_000_000, 20_000_000, 60_000_000):
        enter(jobs, pixels=pixels, bounds=bounds)
    average = 30_000_000 / speed
    assert average <= jobs.retry_after() < average + 1
    with pytest.raises(Problem, match="queue_full") as by_number:
        enter(jobs, pixels=1, bounds=bounds)
    assert average <= int(by_number.value.headers["Retry-After"]) < average + 1
    with pytest.raises(Problem, match="queue_full") as by_pixels:
        enter(jobs, pixels=90_000_000, bounds=bounds)
    assert int(by_pixels.value.headers["Retry-After"]) >= 80_000_000 / speed, "until this very photo has room"


def test_however_slow_it_is_nobody_waits_for_more_than_an_hour(jobs):
    work(jobs, pixels=1, seconds=0.2)
    enter(jobs, pixels=10**9)
    assert jobs.retry_after() == 3600
