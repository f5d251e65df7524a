"""Upgrades while jobs wait: records of the version before are worked on, those of the next are left alone."""

from __future__ import annotations

import hashlib
import json

import pytest
import redis

from service.jobs import VERSION, Bounds, Claim, Jobs, Lease, Net, Order, Result, new_id
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)
ROOMY = Bounds(jobs=1000, pixels=10**12)


@pytest.fixture
def jobs(client) -> Jobs:
    return Jobs(client, Lease(3600, 0))


def now(client: redis.Redis) -> int:
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def enter_version_1(client: redis.Redis, pixels: int = 500) -> str:
    """What the CREATE of version 1 wrote."""
    id, made = new_id(), now(client)
    options = '{"temperature":null,"vividness":1.5,"format":"auto","quality":92}'
    record = {
        "status": "queued",
        "created": made,
        "expires": made + 60_000,
        "secret": hashlib.sha256(b"secret").hexdigest(),
        "options": options,
        "pixels": pixels,
        "attempt": 0,
        "strikes": 0,
    }
    client.hset(f"{{autochrome}}:job:{id}", mapping=record)
    client.zadd("{autochrome}:queued", {id: made})
    client.zadd("{autochrome}:due", {id: made + 60_000})
    return id


def claim_version_1(client: redis.Redis, id: str) -> None:
    """What the CLAIM of version 1 did, whatever the record's version."""
    fields = {"status": "running", "stage": "open", "worker": "old", "company": 0}
    client.hset(f"{{autochrome}}:job:{id}", mapping={**fields, "net": NET.name, "net_sha256": NET.sha256})
    client.zrem("{autochrome}:queued", id)
    client.sadd("{autochrome}:worker:old:jobs", id)
    client.zadd("{autochrome}:running", {id: 0})
    client.hincrby(f"{{autochrome}}:job:{id}", "attempt", 1)


def take(jobs: Jobs) -> Claim | None:
    claim = jobs.claim("w1", NET, 10**12, alone=True)
    assert claim is None or isinstance(claim, Claim)
    return claim


def sums(jobs: Jobs) -> tuple[int, int]:
    depth = jobs.depth()
    return depth.pixels, depth.running_pixels


def test_a_job_of_version_1_is_shown_claimed_and_completed(jobs, client):
    id = enter_version_1(client)
    job = jobs.get(id)
    assert (job.v, job.status, job.queue_position, job.options.vividness) == (1, "queued", 1, 1.5)
    assert (job.batch, job.owner, job.request_id, job.fingerprint, job.artifacts) == (False, "", "", "", ())
    assert job.is_opened_by("secret")
    assert not jobs.create(id, "other", Order(Options(), 1, 60, fingerprint="ab" * 32), ROOMY).new
    claim = take(jobs)
    assert (claim.id, claim.pixels, claim.options.vividness, claim.request_id) == (id, 500, 1.5, "")
    assert claim.upload == "", "its photo has no name of its own"
    assert sums(jobs) == (0, 500)
    jobs.advance(claim, "open", 0.1, "preprocess")
    jobs.complete(claim, 0.1, RESULT)
    assert (jobs.get(id).status, jobs.get(id).result) == ("succeeded", RESULT)
    assert sums(jobs) == (0, 0)
    assert [event.name for event in jobs.events(id)] == ["stage", "stage", "succeeded"]


def test_a_job_of_version_1_that_is_canceled_or_expires_costs_the_sums_nothing(jobs, client):
    canceled, expired = enter_version_1(client), enter_version_1(client)
    kept = new_id()
    jobs.create(kept, "secret", Order(Options(), 7, 60), ROOMY)
    assert jobs.cancel(canceled)
    client.hset(f"{{autochrome}}:job:{expired}", "expires", now(client))
    client.zadd("{autochrome}:due", {expired: 0})
    assert set(jobs.expire()) == {canceled, expired}
    assert (jobs.get(canceled).status, jobs.get(expired).status) == ("canceled", "expired")
    assert sums(jobs) == (7, 0)


def test_a_job_that_an_old_worker_took_and_lost_is_counted_right_again(jobs, client):
    id, other = new_id(), new_id()
    jobs.create(id, "secret", Order(Options(), 100, 60), ROOMY)
    jobs.create(other, "secret", Order(Options(), 7, 60), ROOMY)
    claim_version_1(client, id)
    assert jobs.reap() == [id]
    assert sums(jobs) == (107, 0)
    while claim := take(jobs):
        jobs.complete(claim, 0.1, RESULT)
    assert sums(jobs) == (0, 0)


def test_jobs_of_the_next_version_are_shown_and_left_to_newer_workers(jobs, client):
    newer = [new_id() for _ in range(60)]
    for id in newer:
        jobs.create(id, "secret", Order(Options(vividness=0.5), 10, 60), ROOMY)
        options = {"vividness": 0.5, "sepia": True, "format": "auto"}
        client.hset(f"{{autochrome}}:job:{id}", mapping={"v": VERSION + 1, "options": json.dumps(options)})
    last = new_id()
    jobs.create(last, "secret", Order(Options(), 10, 60, batch=True), ROOMY)
    assert take(jobs).id == last
    assert take(jobs) is None
    assert jobs.depth().jobs == 60
    assert jobs.get(newer[0]).options.vividness == 0.5, "of what it asks for, as much as is known"
    client.hset(f"{{autochrome}}:job:{newer[0]}", "options", '{"vividness": 0.5, "format": "avif"}')
    assert jobs.get(newer[0]).status == "queued"
    assert jobs.cancel(newer[0])
