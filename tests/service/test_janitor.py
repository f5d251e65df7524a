"""What makes up for lost notifications, lost workers and passed time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from service import database
from service.batches import Batches, File
from service.budgets import Quota
from service.errors import StoreUnavailable
from service.janitor import Eraser, Reaper, Sweeper
from service.jobs import Jobs, new_id
from service.models import Bounds, Lease, Net, NoRoom, Order
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, photo_key, result_key

NET = Net("lite", "ab" * 32)
DAY = 25 * 3600


@pytest.fixture
def notified() -> list[str]:
    return []


@pytest.fixture
def reaper(jobs, notified) -> Reaper:
    return Reaper(jobs, notified.append, lambda: True)


@pytest.fixture
def eraser(jobs, store) -> Eraser:
    return Eraser(jobs, store, deadline=0.2)


def enter(jobs: Jobs, store: Store, keep_for: float = 60) -> str:
    id = new_id()
    store.put(photo_key(id), b"photo")
    jobs.create(id, "secret", Order(Options(), 100, keep_for), Bounds(10**5, 10**12))
    return id


def test_a_job_whose_worker_fell_silent_is_notified_of_at_once(jobs, store, reaper, notified):
    id = enter(jobs, store)
    jobs.claim("w1", NET, 10**9, empty=True)
    reaper.tick()
    assert notified == []
    time.sleep(0.25)
    reaper.tick()
    assert notified == [id]


def test_a_lost_notification_is_sent_again_but_only_by_a_worker_with_an_idle_thread_and_not_all_the_time(
    jobs, store, notified, monkeypatch
):
    monkeypatch.setattr("service.janitor.OLDER_THAN", 0.1)
    id = enter(jobs, store)
    time.sleep(0.15)
    Reaper(jobs, notified.append, has_idle=lambda: False).tick()
    assert notified == []
    idle = Reaper(jobs, notified.append, has_idle=lambda: True)
    idle.tick()
    idle.tick()
    assert notified == [id]


def test_who_notifies_again_of_jobs_begins_with_them_as_no_broker_may_hand_a_notification_out(
    jobs, store, notified, monkeypatch
):
    monkeypatch.setattr("service.janitor.OLDER_THAN", 0.05)
    ids, worked = {enter(jobs, store) for _ in range(2)}, []
    time.sleep(0.1)
    Reaper(jobs, notified.append, lambda: True, worked.append).tick()
    assert {*notified} == ids
    assert len(worked) == 1, "who works goes on until nothing waits"


def test_what_has_expired_is_erased_with_its_files(jobs, store, eraser, tmp_path):
    kept, gone = enter(jobs, store), enter(jobs, store, keep_for=0.1)
    store.put(result_key(gone, 1, ".jpg"), b"result")
    time.sleep(0.15)
    eraser.tick()
    assert [path.parent.name for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert jobs.get(gone).status == "expired"


def test_more_has_expired_than_is_asked_for_at_once(jobs, store, eraser, tmp_path):
    for _ in range(250):
        enter(jobs, store, keep_for=0.01)
    time.sleep(0.02)
    eraser.tick()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert jobs.due() == []


def test_files_that_could_not_be_erased_are_erased_later_and_others_before(jobs, store, eraser, monkeypatch):
    monkeypatch.setattr("service.janitor.LATER", 0.3)
    stuck = enter(jobs, store, keep_for=0.1)
    time.sleep(0.05)
    other = enter(jobs, store, keep_for=0.05)
    time.sleep(0.1)
    erase = store.erase

    def broken(prefix: str) -> None:
        if prefix == stuck:
            raise StoreUnavailable
        erase(prefix)

    with monkeypatch.context() as outage:
        outage.setattr(store, "erase", broken)
        eraser.tick()
        eraser.tick()
    assert store.get(photo_key(stuck)) == b"photo"
    with pytest.raises(FileNotFoundError):
        store.get(photo_key(other))
    time.sleep(0.35)
    eraser.tick()
    with pytest.raises(FileNotFoundError):
        store.get(photo_key(stuck))


def test_room_is_made_though_files_of_some_cannot_be_erased(jobs, client, store, eraser, monkeypatch):
    stuck, other = enter(jobs, store), enter(jobs, store)
    eraser.tick()  # from now on it knows the server's time
    monkeypatch.setattr(jobs, "due", lambda skip, until: [stuck, other][skip:])
    erase = store.erase

    def broken(prefix: str) -> None:
        if prefix == stuck:
            raise StoreUnavailable
        erase(prefix)

    def refuse(*arguments: object) -> float:
        raise redis.ResponseError("MISCONF the disk is full")

    monkeypatch.setattr(store, "erase", broken)
    monkeypatch.setattr(jobs, "look_at_clock", refuse)
    eraser.tick()
    assert store.get(photo_key(stuck)) == b"photo"
    with pytest.raises(FileNotFoundError):
        store.get(photo_key(other))


def test_a_store_that_hangs_holds_up_no_job(jobs, store, reaper, eraser, notified, monkeypatch):
    enter(jobs, store, keep_for=0.05)
    id = enter(jobs, store)
    time.sleep(0.1)
    hangs, let_go = threading.Event(), threading.Event()

    def hang(prefix: str) -> None:
        hangs.set()
        let_go.wait(60)

    monkeypatch.setattr(store, "erase", hang)
    erasing = threading.Thread(target=eraser.tick)
    erasing.start()
    try:
        assert hangs.wait(60)
        jobs.claim("w1", NET, 10**9, empty=True)
        time.sleep(0.25)
        reaper.tick()
        assert notified == [id]
    finally:
        let_go.set()
        erasing.join()


def test_what_a_worker_writes_after_its_job_expired_is_erased_too(jobs, store, eraser, tmp_path):
    id = enter(jobs, store, keep_for=0.1)
    jobs.claim("w1", NET, 10**9, empty=True)
    time.sleep(0.15)
    eraser.tick()
    store.put(result_key(id, 1, ".jpg"), b"result")
    time.sleep(0.25)
    eraser.tick()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert jobs.expire() == []
    assert jobs.get(id).status == "expired"


def test_a_job_made_anew_while_an_older_upload_is_erased_is_erased_in_its_time(jobs):
    id = new_id()
    jobs.reserve(id, 0.05)
    time.sleep(0.1)
    assert jobs.expire() == [id]
    jobs.reserve(id, 3600)
    jobs.create(id, "secret", Order(Options(), 100, 0.1), Bounds(10, 10**9))
    jobs.erased(id)
    assert jobs.get(id).status == "queued"
    time.sleep(0.15)
    assert jobs.expire() == [id]


def test_a_dead_workers_large_photo_is_taken_at_once_and_a_slow_workers_is_not(client, notified, monkeypatch):
    monkeypatch.setattr("service.jobs.BEAT_AGAIN", 0.3)
    jobs = Jobs(client, Lease(8, 1))
    reaper = Reaper(jobs, notified.append, lambda: False)
    held = {}
    for worker in ("dead", "slow", "silent"):
        if worker != "silent":
            jobs.beat(worker, NET, "cpu")
        jobs.create(new_id(), "secret", Order(Options(), 24_000_000, 600), Bounds(10, 10**12))
        held[worker] = jobs.claim(worker, NET, 10**9, empty=True).id
    with monkeypatch.context() as death:
        death.setattr("service.jobs.BEAT_TTL", 0.1)
        jobs.beat("dead", NET, "cpu")
    time.sleep(0.15)
    reaper.tick()
    assert notified == [], "the first look in a long time: it may beat again"
    time.sleep(0.2)
    reaper.tick()
    time.sleep(0.2)
    reaper.tick()
    assert notified == [held["dead"]]
    assert jobs.get(held["slow"]).status == "running"
    assert jobs.get(held["silent"]).status == "running", "it has never beaten: its lease counts"


def test_an_outage_longer_than_a_lease_is_no_failed_attempt(client, notified, monkeypatch):
    monkeypatch.setattr("service.jobs.BEAT_AGAIN", 0.3)
    jobs = Jobs(client, Lease(0.05, 0))
    reaper = Reaper(jobs, notified.append, lambda: False)
    jobs.beat("w1", NET, "cpu")
    jobs.create(new_id(), "secret", Order(Options(), 100, 600), Bounds(10, 10**9))
    claim = jobs.claim("w1", NET, 10**9, empty=True)
    time.sleep(0.1)
    reaper.tick()
    assert notified == [], "nobody has looked for a while: workers could not renew their leases"
    Jobs(client, Lease(60, 0)).renew(claim)
    for _ in range(2):
        time.sleep(0.2)
        reaper.tick()
    assert (notified, jobs.get(claim.id).status) == ([], "running")


def test_two_reapers_do_not_work_at_once(jobs, client, store, notified, monkeypatch):
    id = enter(jobs, store)
    Jobs(client, Lease(0.01, 0)).claim("w1", NET, 10**9, empty=True)
    time.sleep(0.05)
    reaper = Reaper(jobs, notified.append, lambda: True)
    with jobs.alone("reaper", 5) as mine:
        assert mine
        reaper.tick()
        assert notified == []
    reaper.tick()
    assert notified == [id]


def test_a_reaper_that_took_too_long_leaves_the_lock_to_the_next(jobs):
    with jobs.alone("reaper", 0.05) as first:
        time.sleep(0.1)
        with jobs.alone("reaper", 5) as second, jobs.alone("reaper", 5) as third:
            assert (first, second, third) == (True, True, False)


def test_a_job_of_a_batch_that_lost_its_notification_is_notified_of_as_soon_as_others(
    jobs, store, notified, monkeypatch
):
    monkeypatch.setattr("service.janitor.OLDER_THAN", 0.05)
    id = new_id()
    jobs.create(id, "secret", Order(Options(), 100, 60, batch=True), Bounds(10, 10**9))
    time.sleep(0.1)
    Reaper(jobs, notified.append, has_idle=lambda: True).tick()
    assert notified == [id]


def test_ten_thousand_jobs_that_wait_do_not_slow_it_down(jobs, client, store, notified):
    with client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            id = f"{number:032x}"
            pipe.hset(f"{{autochrome}}:job:{id}", mapping=_waiting())
            pipe.zadd("{autochrome}:queued", {id: number})
            pipe.zadd("{autochrome}:due", {id: 4e12})
        pipe.execute()
    reaper = Reaper(jobs, notified.append, lambda: True)
    before = _commands(client)
    reaper.tick()
    assert len(notified) == 300
    assert jobs.depth().jobs == 10_000
    assert jobs.get(f"{9_999:032x}").queue_position == 10_000
    assert jobs.claim("w1", NET, 10**9, empty=True).id == f"{0:032x}"
    reaper.tick()
    assert _commands(client) - before < 1000, "whatever it did, it was not with each of them"


@pytest.fixture
def set_clock(client, monkeypatch) -> Callable[[float], None]:
    """The server's clock as the scripts see it, so many seconds off."""
    real = database._text

    def shifted(name: str) -> str:
        return real(name).replace(
            "redis.call('TIME')",
            "(function() local time = redis.call('TIME') "
            "return {time[1] + (redis.call('GET', 'test:clock') or 0), time[2]} end)()",
        )

    monkeypatch.setattr(database, "_text", shifted)
    return lambda seconds: client.set("test:clock", int(seconds))


def test_a_clock_that_jumps_a_day_ahead_and_back_expires_nothing_early_or_late(
    client, store, set_clock, notified, caplog
):
    set_clock(0)
    jobs = Jobs(client, Lease(60, 0))
    batches, erasers = Batches(client, jobs, 10, 10), [Eraser(jobs, store, 60) for _ in range(2)]
    for eraser in erasers:
        eraser.tick()
    short, begun = enter(jobs, store, 120), time.time()
    claim = jobs.claim("w1", NET, 10**9, empty=True)
    waiting = enter(jobs, store, 600)
    batches.open("ab" * 16, 600, "print", "", "192.0.2.1", "", Options())
    batches.add("ab" * 16, "x", File("x.jpg", "cd" * 16), 10_000)
    assert all(client.pttl(key) > DAY * 1000 for key in client.keys("*batch:*")), "Redis has the same clock"
    for jump in (DAY, 0):
        set_clock(jump)
        batches.promote(Bounds(10, 10**9), Quota(client, Settings()))  # before anybody has noticed
        made = enter(jobs, store, 600)
        for eraser in erasers:
            eraser.tick()
        assert jobs.get(made).expires == pytest.approx(1000 * (time.time() + 600 + jump), abs=30_000)
        Reaper(jobs, notified.append, lambda: False).tick()
        jobs.renew(claim)
        assert (jobs.get(short).status, jobs.get(waiting).status) == ("running", "queued")
        assert jobs.depth().oldest_ms < 60_000
        assert store.get(photo_key(short)) == b"photo"
    assert notified == []
    said = [record.msg["seconds"] for record in caplog.records if "clock_jumped" in record.message]
    assert said == pytest.approx([DAY, -DAY], abs=30), "once each, though two have noticed"
    assert jobs.clock()[0] == pytest.approx(-DAY, abs=30)
    time.sleep(1.1)
    batches.promote(Bounds(10, 10**9), Quota(client, Settings()))
    assert [file.status for file in batches.all_files("ab" * 16)] == ["queued"]
    assert jobs.get(short).expires == pytest.approx(1000 * (begun + 120), abs=30_000)
    client.hset(f"{{autochrome}}:job:{short}", "expires", 1)
    client.zadd("{autochrome}:due", {short: 1})
    erasers[0].tick()
    with pytest.raises(FileNotFoundError):
        store.get(photo_key(short))
    assert store.get(photo_key(waiting)) == b"photo"


def test_a_job_with_a_failed_attempt_still_runs_alone_after_the_clock_has_jumped(
    client, store, set_clock, eraser
):
    set_clock(0)
    jobs = Jobs(client, Lease(60, 0))
    eraser.tick()
    failed = enter(jobs, store, 600)
    assert jobs.retry(jobs.claim("w1", NET, 10**9, empty=True), failed=True)
    set_clock(DAY)
    eraser.tick()
    assert jobs.claim("w1", NET, 10**9, empty=False) == NoRoom(), "not beside another"
    assert jobs.claim("w1", NET, 10**9, empty=True).id == failed


def _commands(client: redis.Redis) -> int:
    """How many commands the server has run, those of scripts included."""
    return sum(stats["calls"] for stats in client.info("commandstats").values())


def _waiting() -> dict[str, str | int]:
    order = {"status": "queued", "options": "{}", "pixels": 100, "attempt": 0, "failures": 0}
    return {**order, "created": 1, "expires": 4 * 10**12, "secret": ""}


def age(folder: Path, seconds: float) -> None:
    """As if it had been written so long ago."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - seconds,) * 2)


def test_files_of_an_erased_record_that_came_back_are_erased_at_once(jobs, store, eraser, tmp_path):
    gone, canceled, kept = enter(jobs, store, keep_for=0.1), enter(jobs, store), enter(jobs, store)
    jobs.cancel(canceled)
    time.sleep(0.15)
    eraser.tick()
    for id in (gone, canceled):  # an older copy of the store is put back
        store.put(photo_key(id), b"photo")
    Sweeper(jobs, store, longest=60).sweep()
    assert [path.parent.name for path in tmp_path.rglob("photo")] == [kept]


def test_files_that_no_record_knows_are_erased_when_none_could_be_kept_any_longer(jobs, store, tmp_path):
    old, young, promised = new_id(), new_id(), new_id()
    jobs.reserve(promised, 60)
    for id in (old, young, promised):
        store.put(photo_key(id), b"photo")
    store.put("ready/probe", b"")
    folder = tmp_path / "a store"
    for id in (old, promised, "ready"):
        age(folder / id, 100)
    Sweeper(jobs, store, longest=90).sweep()
    assert {path.name for path in folder.iterdir()} == {young, promised, "ready"}


def test_a_record_that_is_not_restored_yet_costs_no_photo(client, jobs, store, tmp_path):
    ids = {enter(jobs, store) for _ in range(3)}
    client.flushall()
    Sweeper(jobs, store, longest=60).tick()
    assert {path.name for path in (tmp_path / "a store").iterdir()} == ids


def test_the_store_is_looked_through_once_in_an_hour_by_whichever_worker(jobs, store, monkeypatch):
    looks: list[int] = []
    monkeypatch.setattr(Store, "prefixes", lambda self: looks.append(1) or [])
    for _ in range(3):
        Sweeper(jobs, store, longest=60).tick()
    assert looks == [1]
