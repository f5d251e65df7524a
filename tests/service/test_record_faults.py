"""A Redis that does not answer, is full, or cannot write: what was accepted is not lost by it."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from service import local
from service.batches import Batches, File
from service.budgets import Quota
from service.celery_app import make_app, notify
from service.database import WORKER_RETRIES, connect
from service.errors import LeaseLost, Problem
from service.janitor import Eraser, Reaper
from service.jobs import Jobs, new_id
from service.models import Allowance, Bounds, Claim, Entered, Lease, Net, Order, Result, Space, events_of
from service.schemas import Options
from service.settings import Settings

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[redis.Redis]:
    """A Valkey of the test's own, which it may break."""
    path = local.valkey_socket(tmp_path)
    with subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL) as process:
        assert local.wait_for_valkey(path, 10)
        with connect(f"unix://{path}") as client:
            yield client
        process.terminate()


@pytest.fixture
def fill(own: redis.Redis) -> Callable[[], None]:
    """Leave it without memory."""
    return lambda: own.config_set("maxmemory", 1)


def enter(jobs: Jobs, pixels: int = 10_000) -> str:
    id = new_id()
    assert jobs.create(id, "secret", Order(Options(), pixels, 600), Bounds(10**6, 10**12))
    return id


def take(jobs: Jobs, worker: str = "w1") -> Claim:
    claim = jobs.claim(worker, NET, room=10**12, empty=True)
    assert isinstance(claim, Claim), claim
    return claim


def test_a_call_whose_answer_was_lost_can_be_repeated(jobs):
    enter(jobs)
    claim = take(jobs, "w1")
    for _ in range(2):
        assert jobs.retry(claim, failed=True)
    claim = take(jobs, "w1")
    for _ in range(2):
        jobs.complete(claim, {"save": 1}, RESULT)
    other = dataclasses.replace(RESULT, key="x/9/result.jpg")
    with pytest.raises(LeaseLost):
        jobs.complete(claim, {"save": 1}, other)
    enter(jobs)
    claim = take(jobs, "w1")
    for _ in range(2):
        jobs.fail(claim, "photo_damaged", "no")
    counted = jobs.counters()
    assert (counted["outcome:succeeded:"], counted["outcome:failed:photo_damaged"]) == (1, 1)


def test_calls_whose_answers_are_lost_are_repeated_and_change_nothing(jobs, lose_answers):
    id = new_id()
    lose_answers(2)
    assert jobs.create(id, "secret", Order(Options(), 1, 60), Bounds(10, 10**9)) is Entered.TO_NOTIFY, (
        "it is new"
    )
    assert jobs.depth().jobs == 1
    again = jobs.create(id, "secret", Order(Options(), 1, 60), Bounds(10, 10**9))
    assert again is Entered.TAKEN
    time.sleep(0.002)  # of two made in one millisecond any may be first
    other = enter(jobs)

    lose_answers(2)
    claim = take(jobs)
    assert (claim.id, claim.attempt) == (id, 1)
    lose_answers(2)
    jobs.advance(claim, {"open": 0.1}, "preprocess")
    lose_answers(2)
    assert jobs.retry(claim, failed=False)
    claim = take(jobs)
    assert (claim.id, claim.attempt) == (id, 2)
    lose_answers(2)
    jobs.complete(claim, {"save": 1}, RESULT)
    lose_answers(2)
    assert take(jobs).id == other
    lose_answers(2)
    with jobs.alone("reaper", 5) as mine:
        assert mine
    assert [event.name for event in events_of(jobs.get(id))] == ["queued", "succeeded"]
    assert jobs.counters()["stage:open:count"] == jobs.counters()["outcome:succeeded:"] == 1


def test_bytes_are_taken_once_though_answers_are_lost(jobs, client, lose_answers):
    allowance = Allowance("address:192.0.2.1", 1000)
    lose_answers(2)
    assert jobs.reserve("ab" * 16, 60, Space(400, 200, allowance=allowance))
    assert jobs.depth().store == int(client.hget("{autochrome}:held", "address:192.0.2.1")) == 600
    jobs.reserve("ab" * 16, 60, Space(100, 50))
    lose_answers(2)
    jobs.unreserve("ab" * 16, Space(400, 200))
    assert (jobs.depth().store, jobs.depth().store_room) == (150, 50)


def test_a_batch_that_was_begun_by_a_call_that_redis_got_twice_is_its_senders(jobs, client, lose_answers):
    batches = Batches(client, jobs, most_files=10, most_waiting=10)
    lose_answers(2)
    begun = batches.open("ab" * 16, 60, "print", "", "192.0.2.1", "", Options())
    assert begun == batches.get("ab" * 16).expires
    with pytest.raises(Problem, match="secret_missing"):
        batches.open("ab" * 16, 60, "print", "", "192.0.2.1", "", Options())


def test_photos_of_a_batch_are_queued_and_charged_once_though_answers_are_lost(jobs, client, lose_answers):
    batches, quota = Batches(client, jobs, 10, 10), Quota(client, Settings(quota_megapixels_per_minute=2))
    batches.open("ab" * 16, 60, "print", "", "192.0.2.1", "", Options())
    ids = [batches.job_for("ab" * 16, "", mark) for mark in "xyz"]
    for id, mark in zip(ids, "xyz", strict=True):
        lose_answers(1)
        batches.add("ab" * 16, mark, File(f"{mark}.jpg", id), 10_000)
    assert [file.status for file in batches.all_files("ab" * 16)] == ["waiting"] * 3
    assert [batches.promote(Bounds(1, 10**9), quota).job] == ids[:1]
    assert batches.promote(Bounds(1, 10**9), quota) is None, "there is no room"
    lose_answers(1)
    batches.promote(Bounds(10, 10**9), quota)  # perhaps one more is queued: its notification is made up for
    assert batches.promote(Bounds(10, 10**9), quota) is None, "the quota is used up"
    assert [file.status for file in batches.all_files("ab" * 16)] == ["queued", "queued", "waiting"]
    assert jobs.depth().jobs == 2
    *positions, last = [jobs.get(id).queue_position for id in ids]
    assert ({*positions}, last) == ({1, 2}, None), "within one millisecond, in any order"


def test_photos_of_a_batch_wait_while_a_server_has_no_memory(own, fill):
    jobs = Jobs(own, Lease(60, 0))
    batches, quota = Batches(own, jobs, 10, 10), Quota(own, Settings(quota_megapixels_per_minute=1))
    batches.open("ab" * 16, 60, "print", "", "192.0.2.1", "", Options())
    batches.add("ab" * 16, "x", File("x.jpg", "cd" * 16), 10_000)
    fill()
    with pytest.raises(redis.RedisError, match="used memory > 'maxmemory'"):
        batches.promote(Bounds(10, 10**9), quota)
    with pytest.raises(redis.RedisError, match="used memory > 'maxmemory'"):
        batches.add("ab" * 16, "y", File("y.jpg", "ef" * 16), 10_000)
    assert [file.status for file in batches.all_files("ab" * 16)] == ["waiting"]
    assert not own.keys("*quota*")
    own.config_set("maxmemory", 0)
    assert batches.promote(Bounds(10, 10**9), quota).job == "cd" * 16
    assert take(jobs).id == "cd" * 16


def test_a_server_that_starts_anew_is_waited_for_by_a_worker(tmp_path):
    path = local.valkey_socket(tmp_path)
    with subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL) as process:
        assert local.wait_for_valkey(path, 10)
        with connect(f"unix://{path}", WORKER_RETRIES) as client:
            jobs = Jobs(client, Lease(60, 0))
            enter(jobs)
            claim = take(jobs)
            process.kill()
            process.wait()
            restart = threading.Timer(
                3, lambda: restarted.append(subprocess.Popen(local.valkey_command(tmp_path, path)))
            )
            restarted: list[subprocess.Popen[bytes]] = []
            restart.start()
            try:
                jobs.complete(claim, {"save": 1}, RESULT)
                assert jobs.get(claim.id).status == "succeeded"
            finally:
                restart.join()
                restarted[0].kill()
                restarted[0].wait()


def test_without_memory_new_jobs_are_refused_and_all_that_was_accepted_goes_on(own, fill, store):
    jobs = Jobs(own, Lease(3600, 0))
    ids = []
    for _ in range(6):
        ids.append(enter(jobs))
        time.sleep(0.002)  # of two made in one millisecond any may be first
    begun = take(jobs)
    jobs.beat("w1", NET, "cpu")
    fill()
    with pytest.raises(redis.RedisError, match="used memory > 'maxmemory'"):
        enter(jobs)
    with pytest.raises(redis.RedisError):
        jobs.reserve(new_id(), 60)
    assert own.dbsize() == len(own.keys("{autochrome}:*")), "nothing was half done"
    assert jobs.depth().jobs == 5

    jobs.beat("w1", NET, "cpu")
    jobs.renew(begun)
    jobs.advance(begun, {"open": 0.1}, "preprocess")
    jobs.complete(begun, {"save": 0.1}, RESULT)
    claimed = [take(jobs) for _ in range(3)]
    assert jobs.retry(claimed[0], failed=True)
    jobs.fail(claimed[1], "photo_damaged", "no")
    assert jobs.cancel(ids[-1])
    assert [jobs.get(id).status for id in ids].count("queued") == 2
    Reaper(jobs, lambda id: None, lambda: True).tick()
    Eraser(jobs, store, 60).tick()
    assert jobs.expire() == [], "the eraser has erased what was canceled"
    assert jobs.depth().running == 1
    jobs.complete(claimed[2], {"save": 0.1}, RESULT)
    while (left := jobs.claim("w1", NET, 10**12, empty=True)) is not None:
        jobs.complete(left, {"save": 0.1}, RESULT)
    ended = sorted(jobs.get(id).status for id in ids)
    assert ended == ["canceled", "failed", "succeeded", "succeeded", "succeeded", "succeeded"]
    own.config_set("maxmemory", 0)
    enter(jobs)


def test_erased_records_that_fill_half_of_a_server_give_way_to_new_jobs(own, store):
    jobs = Jobs(own, Lease(60, 0))

    def enter_until_full() -> list[str]:
        made: list[str] = []
        try:
            while len(made) < 5000:
                id = new_id()
                jobs.create(id, "secret", Order(Options(), 100, 0.3), Bounds(10**6, 10**12))
                made.append(id)
        except redis.OutOfMemoryError:
            return made
        raise AssertionError("it takes any number")

    def outlive(ids: list[str]) -> None:
        """They expire, and a minute goes by."""
        time.sleep(0.3)
        for _ in range(len(ids) // 100 + 2):
            Eraser(jobs, store, 60).tick()
        assert {jobs.get(id).status for id in ids} == {"expired"}
        for id in ids:
            if own.pttl(f"{{autochrome}}:job:{id}") <= 60_000:
                own.delete(f"{{autochrome}}:job:{id}")  # the server itself lets go of them a few at a time

    for _ in range(2):  # in the first round the server takes what it keeps for each script and each command
        own.config_set("maxmemory", own.info("memory")["used_memory"] + 300_000)
        first = enter_until_full()
        outlive(first)
    assert len(enter_until_full()) > 0.8 * len(first)


def test_a_notification_that_a_full_server_refuses_is_no_error(own, fill, tmp_path, caplog):
    app = make_app(f"redis+socket://{local.valkey_socket(tmp_path)}?virtual_host=0")
    fill()
    notify(app, new_id())
    assert "notification_failed" in caplog.text


LISTENER = """
import sys, time
from service import celery_app, notifications  # whose transports a worker uses
app = celery_app.make_app(sys.argv[1])
@app.task(name=celery_app.COLORIZE)
def received(id):
    print("received", id, flush=True)
    time.sleep(0.5)
app.Worker(pool="threads", concurrency=1, without_gossip=True, without_mingle=True, quiet=True).start()
"""


def test_a_worker_outlives_a_server_without_memory(own, fill, tmp_path, launch):
    broker = f"redis+socket://{local.valkey_socket(tmp_path)}?virtual_host=0"
    worker, app = launch("-c", LISTENER, broker), make_app(broker)
    for number in range(4):  # more than it takes at once: the next are handed out when memory is gone
        notify(app, f"before-{number}")
    worker.line("received before-0")
    fill()
    worker.line("used memory > 'maxmemory'")
    own.config_set("maxmemory", 0)
    notify(app, "after")
    worker.line("received after")
    assert worker.stop() == 0


def _read_only(server: redis.Redis, folder: Path) -> Callable[[], object]:
    server.replicaof("127.0.0.1", 1)
    return lambda: server.replicaof("NO", "ONE")


def _disk_full(server: redis.Redis, folder: Path) -> Callable[[], object]:
    """A snapshot fails, upon which the server refuses to change what it could not keep."""
    server.config_set("save", "3600 1000000")
    in_the_way = folder / "valkey" / "dump.rdb"
    in_the_way.mkdir()
    server.bgsave()
    while server.info("persistence")["rdb_bgsave_in_progress"]:
        pass
    return lambda: server.config_set("save", "")


@pytest.mark.parametrize(
    ("break_it", "word"), [(_read_only, "read only|READONLY"), (_disk_full, "MISCONF|RDB")]
)
def test_a_server_that_cannot_write_is_an_error_that_all_handle_and_changes_nothing(
    own, tmp_path, break_it, word
):
    jobs = Jobs(own, Lease(3600, 0))
    enter(jobs)
    running = take(jobs)
    waiting = enter(jobs)
    mend = break_it(own, tmp_path)
    for verb in (
        lambda: enter(jobs),
        lambda: take(jobs),
        lambda: jobs.complete(running, {"save": 0.1}, RESULT),
        lambda: jobs.cancel(waiting),
        lambda: jobs.reap(),
    ):
        with pytest.raises(redis.RedisError, match=word):
            verb()
    assert (jobs.get(waiting).status, jobs.get(running.id).status) == ("queued", "running")
    mend()
    jobs.complete(running, {"save": 0.1}, RESULT)
    assert take(jobs).id == waiting
