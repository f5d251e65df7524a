"""The job record: who may say what about a job, and when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import LeaseLost
from service.jobs import Jobs, Lease, Net, Result, connect, new_id, new_secret
from service.options import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)


def enter(jobs: Jobs, pixels: int = 10_000, keep_for: float = 60) -> str:
    id = new_id()
    assert jobs.create(id, new_secret(), Options(vividness=1.5), pixels, keep_for)
    return id


def status(jobs: Jobs, id: str) -> str:
    job = jobs.get(id)
    assert job is not None
    return job.status


def test_a_new_job_waits_and_tells_its_place(jobs):
    first, second = enter(jobs), enter(jobs)
    time.sleep(0.002)
    third = enter(jobs)
    assert {jobs.get(first).queue_position, jobs.get(second).queue_position} == {1, 2}
    job = jobs.get(third)
    assert (job.status, job.queue_position, job.options.vividness) == ("queued", 3, 1.5)
    assert job.expires - job.created == 60_000


def test_an_id_is_taken_only_once(jobs):
    id = enter(jobs)
    assert not jobs.create(id, "another", Options(), 1, 60)
    assert jobs.get(id).options.vividness == 1.5


def test_only_the_secret_opens_a_job_and_it_is_not_stored(jobs, client):
    id = new_id()
    jobs.create(id, "the secret", Options(), 1, 60)
    assert jobs.get(id).is_opened_by("the secret")
    assert not jobs.get(id).is_opened_by("the Secret")
    assert not any("the secret" in value for value in client.hgetall(f"{{autochrome}}:job:{id}").values())


def test_a_job_goes_through_its_stages_to_its_result(jobs):
    id = enter(jobs)
    claim = jobs.claim(id, "w1", NET)
    assert (claim.attempt, claim.options.vividness, claim.pixels) == (1, 1.5, 10_000)
    running = jobs.get(id)
    assert (running.status, running.stage, running.queue_position) == ("running", "open", None)
    jobs.advance(claim, "open", 0.25, "prepare")
    assert (jobs.get(id).stage, jobs.get(id).timings) == ("prepare", {"open": 0.25})
    jobs.complete(claim, 0.5, RESULT)
    done = jobs.get(id)
    assert (done.status, done.result, done.net) == ("succeeded", RESULT, NET)
    assert done.timings == {"open": 0.25, "save": 0.5}
    assert jobs.reap() == []


def test_of_many_claimers_exactly_one_wins(jobs, redis_url):
    ids = [enter(jobs) for _ in range(20)]
    start = threading.Barrier(8)

    def claim_all(worker: int) -> list[str]:
        with connect(redis_url) as own:
            mine = Jobs(own, Lease(60, 0))
            start.wait()
            return [id for id in ids if mine.claim(id, f"w{worker}", NET)]

    with ThreadPoolExecutor(8) as pool:
        won = Counter(id for mine in pool.map(claim_all, range(8)) for id in mine)
    assert won == Counter(ids)


def test_a_stale_attempt_is_refused_whatever_it_says(jobs):
    id = enter(jobs)
    stale = jobs.claim(id, "w1", NET)
    time.sleep(0.25)
    assert jobs.reap() == [id]
    fresh = jobs.claim(id, "w2", NET)
    assert fresh.attempt == 2
    for say in (
        lambda: jobs.renew(stale),
        lambda: jobs.advance(stale, "open", 1, "prepare"),
        lambda: jobs.complete(stale, 1, RESULT),
        lambda: jobs.fail(stale, "photo_damaged", "no"),
        lambda: jobs.retry(stale, strike=True),
    ):
        with pytest.raises(LeaseLost):
            say()
    jobs.complete(fresh, 1, RESULT)
    assert status(jobs, id) == "succeeded"


def test_a_lease_holds_while_it_is_renewed(jobs):
    id = enter(jobs)
    claim = jobs.claim(id, "w1", NET)
    for _ in range(4):
        time.sleep(0.1)
        jobs.renew(claim)
        assert jobs.reap() == []
    time.sleep(0.25)
    assert jobs.reap() == [id]
    assert status(jobs, id) == "queued"


def test_a_large_photo_has_a_longer_lease(jobs):
    id = enter(jobs, pixels=5_000_000)
    jobs.claim(id, "w1", NET)
    time.sleep(0.3)
    assert jobs.reap() == []
    time.sleep(0.5)
    assert jobs.reap() == [id]


def test_a_job_whose_worker_dies_three_times_alone_has_failed(jobs):
    id = enter(jobs)
    for attempt in (1, 2, 3):
        assert jobs.claim(id, f"w{attempt}", NET).attempt == attempt
        time.sleep(0.25)
        jobs.reap()
    job = jobs.get(id)
    assert (job.status, job.error_code) == ("failed", "worker_died")
    assert jobs.claim(id, "w4", NET) is None


def test_jobs_that_died_together_are_not_blamed_but_run_alone_next(jobs):
    poison, victim = enter(jobs), enter(jobs)
    jobs.claim(poison, "w1", NET)
    jobs.claim(victim, "w1", NET)
    time.sleep(0.25)
    assert set(jobs.reap()) == {poison, victim}
    assert jobs.is_suspect(poison)
    assert jobs.is_suspect(victim)

    other = enter(jobs)
    busy = jobs.claim(other, "w2", NET)
    assert jobs.claim(victim, "w2", NET) is None, "a suspect is not given to a busy worker"
    jobs.complete(busy, 1, RESULT)
    jobs.complete(jobs.claim(victim, "w2", NET), 1, RESULT)
    assert not jobs.is_suspect(victim)

    for attempt in range(3):  # none of these was the death in company
        assert jobs.claim(poison, f"w{attempt + 3}", NET)
        time.sleep(0.25)
        jobs.reap()
    assert status(jobs, poison) == "failed"


def test_company_counts_even_where_the_leases_end_at_different_times(jobs):
    short, long = enter(jobs), enter(jobs, pixels=2_000_000)
    jobs.claim(short, "w1", NET)
    jobs.claim(long, "w1", NET)
    time.sleep(0.25)
    assert jobs.reap() == [short]
    time.sleep(0.2)
    assert jobs.reap() == [long]
    assert jobs.is_suspect(short)
    assert jobs.is_suspect(long)


def test_an_error_of_ours_is_tried_three_times(jobs):
    id = enter(jobs)
    assert jobs.retry(jobs.claim(id, "w", NET), strike=True)
    assert jobs.retry(jobs.claim(id, "w", NET), strike=False), "the store's fault is not the job's"
    assert jobs.retry(jobs.claim(id, "w", NET), strike=True)
    assert not jobs.retry(jobs.claim(id, "w", NET), strike=True)
    assert jobs.get(id).error_code == "internal_error"


def test_a_canceled_job_leaves_a_tombstone_and_refuses_its_worker(jobs):
    id = enter(jobs)
    claim = jobs.claim(id, "w1", NET)
    assert jobs.cancel(id)
    assert not jobs.cancel(id)
    with pytest.raises(LeaseLost):
        jobs.complete(claim, 1, RESULT)
    time.sleep(0.25)
    assert jobs.reap() == []
    job = jobs.get(id)
    assert (job.status, job.result, job.options) == ("canceled", None, Options())
    assert jobs.expire() == [id], "its files are due at once"
    jobs.erased(id)
    assert jobs.expire() == [], "and its tombstone when it expires"


def test_a_job_past_its_time_is_expired_even_before_anybody_erases_it(jobs, client):
    id = enter(jobs, keep_for=0.2)
    claim = jobs.claim(id, "w1", NET)
    time.sleep(0.15)
    jobs.renew(claim)
    time.sleep(0.1)
    with pytest.raises(LeaseLost):
        jobs.complete(claim, 1, RESULT)
    assert status(jobs, id) == "expired"
    assert jobs.expire() == [id]
    jobs.erased(id)
    assert jobs.expire() == []
    assert status(jobs, id) == "expired"
    assert set(client.hgetall(f"{{autochrome}}:job:{id}")) == {"status", "created", "expires", "secret"}
    assert client.ttl(f"{{autochrome}}:job:{id}") > 24 * 3600
    assert jobs.claim(id, "w2", NET) is None


def test_files_of_an_upload_that_never_became_a_job_are_erased(jobs):
    jobs.reserve("half-an-upload", 0.1)
    assert jobs.expire() == []
    time.sleep(0.15)
    assert jobs.expire() == ["half-an-upload"]
    jobs.erased("half-an-upload")
    assert jobs.expire() == []


def test_waiting_jobs_are_rung_for_once_in_a_while(jobs):
    old = enter(jobs)
    time.sleep(0.1)
    enter(jobs)
    assert jobs.stranded(older_than=0.1, quiet=0.3) == [old]
    assert jobs.stranded(older_than=0, quiet=0.3) == []
    time.sleep(0.35)
    assert len(jobs.stranded(older_than=0, quiet=0.3)) == 2


def test_a_worker_is_known_while_it_beats(jobs, monkeypatch):
    monkeypatch.setattr("service.jobs.BEAT_TTL", 0.2)
    jobs.beat("w1", NET, "cpu")
    jobs.beat("w2", NET, "cpu")
    assert jobs.workers() == {"w1": NET, "w2": NET}
    jobs.gone("w2")
    assert jobs.workers() == {"w1": NET}
    time.sleep(0.25)
    assert jobs.workers() == {}


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["claim", "die", "complete", "fail", "retry", "cancel"]), st.integers(0, 2)
        ),
        max_size=12,
    )
)
def test_whatever_happens_a_job_is_in_one_state_and_ends_once(client: redis.Redis, script):
    client.flushall()
    jobs = Jobs(client, Lease(3600, 0))
    ids = [enter(jobs) for _ in range(3)]
    claims = {}
    ended: dict[str, str] = {}
    for number, (verb, which) in enumerate(script):
        id = ids[which]
        if verb == "claim" and (claim := jobs.claim(id, f"w{number}", NET)):
            assert id not in ended
            claims[id] = claim
        elif verb == "die" and status(jobs, id) == "running":
            client.zadd("{autochrome}:running", {id: 0})
            jobs.reap()
        elif verb == "cancel" and jobs.cancel(id):
            ended[id] = "canceled"
        elif verb in ("complete", "fail", "retry") and id in claims:
            try:
                if verb == "complete":
                    jobs.complete(claims[id], 1, RESULT)
                elif verb == "fail":
                    jobs.fail(claims[id], "photo_damaged", "no")
                else:
                    jobs.retry(claims[id], strike=True)
            except LeaseLost:
                continue
            assert id not in ended
            if verb != "retry":
                ended[id] = "succeeded" if verb == "complete" else "failed"
        if status(jobs, id) == "failed":
            ended.setdefault(id, "failed")
    for id in ids:
        state = status(jobs, id)
        assert state == ended.get(id, state)
        assert (client.zscore("{autochrome}:queued", id) is not None) == (state == "queued")
        assert (client.zscore("{autochrome}:running", id) is not None) == (state == "running")
