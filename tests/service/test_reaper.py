"""What makes up for lost bells, lost workers and passed time."""

from __future__ import annotations

import time

import pytest

from service.errors import StoreUnavailable
from service.jobs import Jobs, Lease, Net, new_id
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
    jobs.create(id, "secret", Options(), 100, keep_for)
    return id


def test_a_job_whose_worker_fell_silent_is_rung_for_at_once(jobs, store, reaper, rung):
    id = enter(jobs, store)
    jobs.claim(id, "w1", NET)
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
    Jobs(client, Lease(0.01, 0)).claim(id, "w1", NET)
    time.sleep(0.05)
    reaper = Reaper(jobs, store, rung.append, lambda: True)
    with jobs.reaper_lock(5):
        reaper.tick()
        assert rung == []
    reaper.tick()
    assert rung == [id]
