"""What waits: whose turn it is, how much there may be, how fast it gets done, and what is said of it."""

from __future__ import annotations

import time

import pytest

from service.errors import Problem
from service.jobs import Jobs, new_id
from service.models import Allowance, Bounds, Claim, Entered, Lease, Net, NoRoom, Order, Result
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)
ROOMY = Bounds(jobs=1000, pixels=10**12)
HOUR = 3_600_000


@pytest.fixture
def jobs(client) -> Jobs:
    """Jobs whose leases do not run out."""
    return Jobs(client, Lease(3600, 0))


def enter(
    jobs: Jobs, pixels: int = 1_000_000, batch: bool = False, bounds: Bounds = ROOMY, **more: object
) -> str:
    id = new_id()
    assert jobs.create(id, "secret", Order(Options(), pixels, 60, batch=batch, **more), bounds)
    time.sleep(0.002)  # so that the order of making is that of the clock's milliseconds
    return id


def take(jobs: Jobs, room: int = 10**12, empty: bool = True) -> Claim:
    claim = jobs.claim("w1", NET, room, empty)
    assert isinstance(claim, Claim), claim
    return claim


def work(jobs: Jobs, pixels: int, seconds: float) -> tuple[float, float]:
    """Do one job of so many pixels in so many seconds, whatever else waits. Returns the least and the most seconds that it took."""
    id = enter(jobs, pixels)
    first = time.monotonic()
    while (claim := take(jobs)).id != id:
        pass
    begun = time.monotonic()
    time.sleep(seconds)
    ended = time.monotonic()
    jobs.complete(claim, {"save": 0}, RESULT)
    return ended - begun, time.monotonic() - first


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


def test_a_worker_gets_what_it_has_memory_for_and_an_empty_one_anything(jobs):
    large, small = enter(jobs, pixels=10, memory=800_000_000), enter(jobs, pixels=1000, memory=10)
    assert jobs.claim("w1", NET, 799_999_999, empty=False) == NoRoom()
    claim = take(jobs, room=800_000_000, empty=False)
    assert (claim.id, claim.memory) == (large, 800_000_000), "and none slips past it"
    assert take(jobs, room=10, empty=False).id == small
    assert jobs.claim("w1", NET, 0, empty=False) is None
    huge = enter(jobs, pixels=10**9)
    claim = take(jobs, room=0, empty=True)
    assert claim.id == huge
    assert claim.memory == 64 * 10**9, "of a record that does not say it, the most that any takes"


def test_one_past_its_time_is_passed_over(jobs):
    gone = new_id()
    jobs.create(gone, "secret", Order(Options(), 1, 0.05), ROOMY)
    waiting = enter(jobs)
    time.sleep(0.1)
    assert take(jobs).id == waiting


def fail(jobs: Jobs, *ids: str) -> None:
    """An attempt of each of these, which are next, fails."""
    claims = [take(jobs) for _ in ids]
    assert [claim.id for claim in claims] == [*ids]
    for claim in claims:
        assert jobs.retry(claim, failed=True)


def ask(jobs: Jobs, worker: str, empty: bool) -> str | None:
    """The id of the job that a worker gets, "" where it is to wait, None where nothing waits for it."""
    found = jobs.claim(worker, NET, 10**12, empty)
    return found.id if isinstance(found, Claim) else found and ""


def test_one_of_two_workers_empties_itself_for_a_failed_job_and_the_other_goes_on(jobs, client):
    first, second = (enter(jobs, allowance=Allowance("key:k7"), pixels=2_500_000) for _ in range(2))
    fail(jobs, first, second)
    for worker in ("a", "b"):
        jobs.beat(worker, NET, "cpu")
    good = [enter(jobs) for _ in range(6)]
    assert jobs.get(good[0]).queue_position == 1
    assert jobs.get(first).queue_position == 7
    assert ask(jobs, "a", empty=False) == "", "it is to be empty"
    assert [ask(jobs, "b", empty) for empty in (False, True)] == good[:2]
    assert ask(jobs, "a", empty=True) == first
    assert ask(jobs, "a", empty=False) == "", "it is alone"
    assert [ask(jobs, "b", empty) for empty in (False, True)] == good[2:4]
    assert ask(jobs, "a", empty=False) == ""
    client.zrem("{autochrome}:workers", "a")  # as if it had died
    jobs.cancel(first)
    assert ask(jobs, "b", empty=True) == good[4], "it is the only one left, and a failed job may end it"
    jobs.beat("a", NET, "cpu")
    assert ask(jobs, "b", empty=False) == "", "now the other is the first to ask"
    assert ask(jobs, "a", empty=True) == good[5]


def test_the_only_worker_does_others_for_as_long_as_the_failed_attempt_took(jobs, client):
    jobs.beat("w1", NET, "cpu")
    ids = [enter(jobs) for _ in range(2)]
    fail(jobs, *ids)
    good = [enter(jobs) for _ in range(3)]
    claim = take(jobs)
    assert claim.id == ids[0]
    time.sleep(0.2)
    assert jobs.retry(claim, failed=True)
    assert 100 < client.pttl("{autochrome}:isolated") <= 300
    assert ask(jobs, "w1", empty=True) == good[0]
    time.sleep(0.3)
    assert ask(jobs, "w1", empty=False) == "", "the next one's time has come"
    jobs.cancel(good[0])
    assert ask(jobs, "w1", empty=True) == ids[0]


def test_failed_jobs_that_nobody_else_waits_beside_follow_each_other_at_once(jobs):
    jobs.beat("w1", NET, "cpu")
    ids = [enter(jobs) for _ in range(3)]
    fail(jobs, *ids)
    for id in ids:
        time.sleep(0.02)
        claim = take(jobs)
        assert claim.id == id
        jobs.complete(claim, {}, RESULT)


def test_a_worker_that_dies_while_it_empties_itself_is_not_waited_for(jobs, client):
    id = enter(jobs)
    fail(jobs, id)
    good = [enter(jobs) for _ in range(2)]
    assert ask(jobs, "dead", empty=False) == ""
    assert ask(jobs, "w1", empty=True) == good[0]
    assert 0 < client.zscore("{autochrome}:isolating", "dead") / 1000 - time.time() <= 5
    client.zadd("{autochrome}:isolating", {"dead": time.time() * 1000 - 1})  # as if that time had gone by
    assert ask(jobs, "w1", empty=False) == "", "it is to be empty in its place"
    jobs.cancel(good[0])
    assert ask(jobs, "w1", empty=True) == id


def test_an_attempt_that_failed_alone_is_taken_off_its_senders_quota_once_more(jobs, client):
    id = enter(jobs, allowance=Allowance("key:k7"), pixels=2_500_000)
    other = enter(jobs, pixels=1)

    def charged() -> int:
        rows = client.zrange("{autochrome}:quota:key:k7", 0, -1)
        return sum(int(row.rpartition(":")[2]) for row in rows)

    fail(jobs, id)
    assert charged() == 0, "it may have been another's doing"
    jobs.cancel(other)
    fail(jobs, id)
    assert charged() == 3
    claim = take(jobs)
    assert not jobs.retry(claim, failed=True)
    assert (charged(), jobs.get(id).status) == (6, "failed")
    assert "k7" not in str(client.hgetall(f"{{autochrome}}:job:{id}"))


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
    assert jobs.create(second, "secret", again, bounds) is Entered.TAKEN, "what was accepted is not refused"
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
    first = work(jobs, pixels=1_000_000, seconds=0.2)
    time.sleep(0.5)  # nothing to do
    second = work(jobs, pixels=1_000_000, seconds=0.2)
    fastest, slowest = (2_000_000 / sum(seconds) for seconds in zip(first, second, strict=True))
    assert 0.95 * slowest <= jobs.depth().pixels_per_s <= 1.05 * fastest


def test_speed_is_that_of_all_workers_together_failures_included(jobs):
    start = time.monotonic()
    for _ in range(4):
        enter(jobs)
    claims = [take(jobs) for _ in range(4)]
    begun = time.monotonic()
    time.sleep(0.2)
    slept = time.monotonic()
    for claim in claims[:2]:
        jobs.complete(claim, {"save": 0}, RESULT)
    for claim in claims[2:]:
        jobs.fail(claim, "photo_damaged", "no")
    slowest, fastest = 4_000_000 / (time.monotonic() - start), 4_000_000 / (slept - begun)
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
    assert jobs.depth().retry_after == 5
    work(jobs, pixels=1_000_000, seconds=0.25)
    assert jobs.depth().retry_after == 1, "nothing waits"
    speed = jobs.depth().pixels_per_s
    bounds = Bounds(jobs=3, pixels=100_000_000)
    for pixels in (10_000_000, 20_000_000, 60_000_000):
        enter(jobs, pixels=pixels, bounds=bounds)
    average = 30_000_000 / speed
    assert average <= jobs.depth().retry_after < average + 1
    with pytest.raises(Problem, match="queue_full") as by_number:
        enter(jobs, pixels=1, bounds=bounds)
    assert average <= int(by_number.value.headers["Retry-After"]) < average + 1
    with pytest.raises(Problem, match="queue_full") as by_pixels:
        enter(jobs, pixels=90_000_000, bounds=bounds)
    assert int(by_pixels.value.headers["Retry-After"]) >= 80_000_000 / speed, "until this very photo has room"


def test_however_slow_it_is_nobody_waits_for_more_than_an_hour(jobs):
    work(jobs, pixels=1, seconds=0.2)
    enter(jobs, pixels=10**9)
    assert jobs.depth().retry_after == 3600
