"""What makes up for lost bells, lost workers and passed time."""

from __future__ import annotations

import time

import pytest
import redis

from service.errors import StoreUnavailable
from service.jobs import Bounds, Jobs, Lease, Net, Order, new_id
from service.options import Options
from service.reaper import Reaper
from service.store import Store, photo_key, result_key

NET = Net("lite", "ab" * 32)


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
def reaper(jobs, store, rung) -> Reaper:
    return Reaper(jobs, store, rung.append, lambda: True)


def enter(jobs: Jobs, store: Store, keep_for: float = 60) -> str:
    id = new_id()
    store.put(photo_key(id), b"photo")
    jobs.create(id, "secret", Order(Options(), 100, keep_for), Bounds(10**5, 10**12))
    return id


def test_a_job_whose_worker_fell_silent_is_rung_for_at_once(jobs, store, reaper, rung):
    id = enter(jobs, store)
    jobs.claim("w1", NET, 10**9, alone=True)
    reaper.tick()
    assert rung == []
    time.sleep(0.25)
    reaper.tick()
    assert rung == [id]


def test_a_lost_bell_is_rung_again_but_only_by_an_idle_worker_and_not_all_the_time(
    jobs, store, rung, monkeypatch
):
    monkeypatch.setattr("service.reaper.OLDER_THAN", 0.1)
    id = enter(jobs, store)
    time.sleep(0.15)
    Reaper(jobs, store, rung.append, is_idle=lambda: False).tick()
    assert rung == []
    idle = Reaper(jobs, store, rung.append, is_idle=lambda: True)
    idle.tick()
    idle.tick()
    assert rung == [id]


def test_what_has_expired_is_erased_with_its_files(jobs, store, reaper, tmp_path):
    kept, gone = enter(jobs, store), enter(jobs, store, keep_for=0.1)
    store.put(result_key(gone, 1, ".jpg"), b"result")
    time.sleep(0.15)
    reaper.tick()
    assert [path.parent.name for path in tmp_path.rglob("*") if path.is_file()] == [kept]
    assert jobs.get(gone).status == "expired"


def test_files_that_could_not_be_erased_are_erased_later(jobs, store, reaper, monkeypatch):
    id = enter(jobs, store, keep_for=0.1)
    time.sleep(0.15)

    def broken(prefix: str) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as outage:
        outage.setattr(store, "erase", broken)
        reaper.tick()
    assert store.get(photo_key(id)) == b"photo"
    reaper.tick()
    with pytest.raises(FileNotFoundError):
        store.get(photo_key(id))


def test_two_reapers_do_not_work_at_once(jobs, client, store, rung, monkeypatch):
    id = enter(jobs, store)
    Jobs(client, Lease(0.01, 0)).claim("w1", NET, 10**9, alone=True)
    time.sleep(0.05)
    reaper = Reaper(jobs, store, rung.append, lambda: True)
    with jobs.reaping(5) as mine:
        assert mine
        reaper.tick()
        assert rung == []
    reaper.tick()
    assert rung == [id]


def test_a_reaper_that_took_too_long_leaves_the_lock_to_the_next(jobs):
    with jobs.reaping(0.05) as first:
        time.sleep(0.1)
        with jobs.reaping(5) as second, jobs.reaping(5) as third:
            assert (first, second, third) == (True, True, False)


def test_a_job_of_a_batch_that_lost_its_bell_is_rung_for_as_soon_as_others(jobs, store, rung, monkeypatch):
    monkeypatch.setattr("service.reaper.OLDER_THAN", 0.05)
    id = new_id()
    jobs.create(id, "secret", Order(Options(), 100, 60, batch=True), Bounds(10, 10**9))
    time.sleep(0.1)
    Reaper(jobs, store, rung.append, is_idle=lambda: True).tick()
    assert rung == [id]


def test_ten_thousand_jobs_that_wait_do_not_slow_it_down(jobs, client, store, rung):
    with client.pipeline(transaction=False) as pipe:
        for number in range(10_000):
            id = f"{number:032x}"
            pipe.hset(f"{{autochrome}}:job:{id}", mapping=_waiting())
            pipe.zadd("{autochrome}:queued", {id: number})
            pipe.zadd("{autochrome}:due", {id: 4e12})
        pipe.execute()
    reaper = Reaper(jobs, store, rung.append, lambda: True)
    before = _commands(client)
    reaper.tick()
    assert len(rung) == 100
    assert jobs.depth().jobs == 10_000
    assert jobs.get(f"{9_999:032x}").queue_position == 10_000
    assert jobs.claim("w1", NET, 10**9, alone=True).id == f"{0:032x}"
    reaper.tick()
    assert _commands(client) - before < 1000, "whatever it did, it was not with each of them"


def _commands(client: redis.Redis) -> int:
    """How many commands the server has run, those of scripts included."""
    return sum(stats["calls"] for stats in client.info("commandstats").values())


def _waiting() -> dict[str, str | int]:
    order = {"status": "queued", "options": "{}", "pixels": 100, "attempt": 0, "strikes": 0, "v": 2}
    return {**order, "created": 1, "expires": 4 * 10**12, "secret": ""}
