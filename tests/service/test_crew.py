"""Workers that live, workers that only seem to, and what is counted of their work."""

from __future__ import annotations

import time

from service.janitor import Reaper
from service.jobs import Jobs, new_id
from service.models import Bounds, Claim, Entered, Loaded, Net, Order, Result
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)


def enter(jobs: Jobs, pixels: int = 10_000) -> str:
    id = new_id()
    assert jobs.create(id, "secret", Order(Options(), pixels, 600), Bounds(10**6, 10**12))
    return id


def take(jobs: Jobs, worker: str = "w1") -> Claim:
    claim = jobs.claim(worker, NET, room=10**12, empty=True)
    assert isinstance(claim, Claim), claim
    return claim


def test_a_worker_is_known_while_it_beats(jobs, monkeypatch):
    monkeypatch.setattr("service.jobs.BEAT_TTL", 0.2)
    jobs.beat("w1", NET, "cpu")
    jobs.beat("w2", NET, "cpu")
    loaded = Loaded(NET.name, NET.sha256, "cpu")
    assert jobs.workers() == {"w1": loaded, "w2": loaded}
    jobs.gone("w2")
    assert jobs.workers() == {"w1": loaded}
    time.sleep(0.25)
    assert jobs.workers() == {}


def test_a_worker_that_takes_nothing_while_jobs_wait_is_known(jobs, client):
    for name in ("takes", "asks not", "busy"):
        jobs.beat(name, NET, "cpu")
    busy = enter(jobs)
    assert take(jobs, "busy").id == busy
    time.sleep(0.15)
    assert jobs.stalled(0.1) == [], "nothing waits"
    enter(jobs)
    assert jobs.stalled(0.1) == [], "not for long"
    for _ in range(3):
        time.sleep(0.05)
        enter(jobs)
        jobs.complete(take(jobs, "takes"), {"save": 1}, RESULT)
    assert jobs.stalled(0.1) == ["asks not"]
    jobs.beat("asks not", NET, "cpu", int(time.time() * 1000))
    assert jobs.stalled(0.1) == []


def test_what_ends_and_how_long_it_took_is_counted(jobs):
    for _ in range(4):
        enter(jobs)
    claim = take(jobs, "w1")
    jobs.advance(claim, {"open": 0.02}, "preprocess")
    jobs.complete(claim, {"infer": 0.5, "save": 70}, RESULT, batch=3)
    jobs.fail(take(jobs, "w1"), "photo_damaged", "no")
    jobs.cancel(claim.id)  # it had ended before
    jobs.cancel(take(jobs, "w1").id)
    dying = take(jobs, "w1")
    for _ in range(2):
        jobs.retry(dying, failed=True)
        dying = take(jobs, "w1")
    jobs.retry(dying, failed=True)
    for photos in (0, 16):  # 0: another of its batch is counted
        enter(jobs)
        jobs.complete(take(jobs, "w1"), {}, RESULT, batch=photos)
    assert jobs.counters() == {
        "stage:open:count": 1,
        "stage:open:sum": 0.02,
        "stage:infer:count": 1,
        "stage:infer:sum": 0.5,
        "stage:save:count": 1,
        "stage:save:sum": 70,
        "outcome:succeeded:": 3,
        "outcome:failed:photo_damaged": 1,
        "outcome:canceled:": 1,
        "outcome:failed:internal_error": 1,
        "batch:count": 2,
        "batch:sum": 19,
    }


def enter_and_tell(jobs: Jobs) -> Entered:
    return jobs.create(new_id(), "secret", Order(Options(), 10_000, 600), Bounds(10**6, 10**12))


def test_workers_are_notified_no_more_often_than_they_have_threads(jobs):
    jobs.beat("w1", NET, "cpu", threads=1)
    jobs.beat("w2", NET, "cpu", threads=2)
    assert [enter_and_tell(jobs) for _ in range(5)] == [Entered.TO_NOTIFY] * 3 + [Entered.QUIETLY] * 2
    take(jobs, "w1")  # goes on by itself, and answers no notification
    assert enter_and_tell(jobs) is Entered.QUIETLY
    jobs.claim("w2", NET, 10**12, empty=True, answers=True)
    assert [enter_and_tell(jobs) for _ in range(2)] == [Entered.TO_NOTIFY, Entered.QUIETLY]


def test_notifications_that_are_lost_hold_up_others_for_three_seconds_at_most(jobs, client):
    jobs.beat("w1", NET, "cpu", threads=1)
    assert [enter_and_tell(jobs) for _ in range(2)] == [Entered.TO_NOTIFY, Entered.QUIETLY]
    assert 0 < client.pttl("{autochrome}:notifications") <= 3000
    client.delete("{autochrome}:notifications")  # as if that time had gone by
    assert enter_and_tell(jobs) is Entered.TO_NOTIFY


def test_jobs_whose_notifications_a_dead_worker_took_along_come_to_another_and_those_without_any_as_well(
    jobs, client, monkeypatch
):
    monkeypatch.setattr("service.janitor.OLDER_THAN", 0)
    jobs.beat("dead", NET, "cpu", threads=2)
    jobs.beat("w2", NET, "cpu", threads=1)
    told = [enter_and_tell(jobs) for _ in range(5)]  # "dead" has received them all, and answers none
    assert told == [Entered.TO_NOTIFY] * 3 + [Entered.QUIETLY] * 2
    notified: list[str] = []
    Reaper(jobs, notified.append, has_idle=lambda: True).tick()
    assert sorted(notified) == sorted(client.zrange("{autochrome}:queued", 0, -1))
    assert len(notified) == 5


def test_every_job_is_notified_of_where_no_worker_is_known(jobs):
    assert {enter_and_tell(jobs) for _ in range(5)} == {Entered.TO_NOTIFY}
    for _ in range(3):  # more answers than notifications
        jobs.claim("w1", NET, 10**12, empty=True, answers=True)
    assert enter_and_tell(jobs) is Entered.TO_NOTIFY
