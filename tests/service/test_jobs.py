"""The job record: who may say what about a job, and when."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.errors import Notice
from service.database import PREFIX, connect
from service.errors import LeaseLost
from service.jobs import Jobs, new_id
from service.models import Artifact, Bounds, Claim, Entered, Lease, Net, NoRoom, Order, Result
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)
SIDECAR = Artifact("sidecar.json", "sidecar", "x/1/sidecar.json", "application/json", 99)
ROOMY = Bounds(jobs=1000, pixels=10**12)


def enter(jobs: Jobs, pixels: int = 10_000, keep_for: float = 60) -> str:
    id = new_id()
    assert jobs.create(id, "secret", Order(Options(vividness=1.5), pixels, keep_for), ROOMY)
    time.sleep(0.002)  # so that the order of making is that of the clock's milliseconds
    return id


def take(jobs: Jobs, worker: str) -> Claim | NoRoom | None:
    """What an empty worker, or one with room for anything, gets."""
    return jobs.claim(worker, NET, room=10**12, empty=True)


def status(jobs: Jobs, id: str) -> str:
    job = jobs.get(id)
    assert job is not None
    return job.status


def test_a_new_job_waits_and_tells_its_place(jobs):
    first, second, third = (enter(jobs) for _ in range(3))
    assert [jobs.get(id).queue_position for id in (first, second)] == [1, 2]
    job = jobs.get(third)
    assert (job.status, job.queue_position, job.options.vividness) == ("queued", 3, 1.5)
    assert job.expires - job.created == 60_000


def test_an_id_is_taken_only_once(jobs):
    id = new_id()
    order = Order(Options(vividness=1.5), 1, 60, fingerprint="ab" * 32, upload="a1")
    assert jobs.create(id, "secret", order, ROOMY)
    assert jobs.create(id, "secret", order, ROOMY) is Entered.TAKEN
    other = Order(Options(), 1, 60, fingerprint="cd" * 32, upload="b2")
    assert jobs.create(id, "another", other, ROOMY) is Entered.TAKEN
    assert jobs.get(id).options.vividness == 1.5
    assert jobs.get(id).is_opened_by("secret")
    assert jobs.depth().jobs == 1
    assert take(jobs, "w1").upload == "a1"


def test_a_job_remembers_whose_it_is(jobs):
    id = new_id()
    words = {"owner": "key7", "request_id": "r-1", "fingerprint": "ab" * 32, "group": "g9"}
    jobs.create(id, "secret", Order(Options(), 1, 60, batch=True, **words), ROOMY)
    job, claim = jobs.get(id), take(jobs, "w1")
    assert (job.owner, job.group) == ("key7", "g9")
    assert job.fingerprint == "ab" * 32
    assert (claim.id, claim.request_id, claim.isolate) == (id, "r-1", False)


def test_files_of_a_job_are_not_due_because_its_id_is_sent_again(jobs):
    id = enter(jobs)
    assert not jobs.reserve(id, 0)
    assert jobs.expire() == []
    assert jobs.get(id).status == "queued"


def test_secrets_and_ids_of_the_same_words_are_the_same_in_every_process(jobs, redis_url, client):
    with connect(redis_url) as other:
        elsewhere = Jobs(other, Lease(1, 0))
        assert jobs.secret_for("a") == elsewhere.secret_for("a") != jobs.secret_for("b")
        assert jobs.id_for("o", "k") == elsewhere.id_for("o", "k")
    ids = {jobs.id_for(owner, key) for owner, key in [("o", "k"), ("", "o k"), ("o k", ""), ("o ", "k")]}
    assert len(ids) == 4
    assert all(len(id) == 32 and set(id) <= set("0123456789abcdef") for id in ids)
    before = jobs.secret_for("a")
    client.flushall()
    assert jobs.secret_for("a") != before, "it is known only to who has the key"


def test_only_the_secret_opens_a_job_and_it_is_not_stored(jobs, client):
    id = new_id()
    jobs.create(id, "the secret", Order(Options(), 1, 60), ROOMY)
    assert jobs.get(id).is_opened_by("the secret")
    assert not jobs.get(id).is_opened_by("the Secret")
    assert not any("the secret" in value for value in client.hgetall(f"{{autochrome}}:job:{id}").values())


def test_a_job_goes_through_its_stages_to_its_result(jobs):
    id = enter(jobs)
    claim = take(jobs, "w1")
    assert (claim.attempt, claim.options.vividness, claim.pixels) == (1, 1.5, 10_000)
    running = jobs.get(id)
    assert (running.status, running.stage, running.queue_position) == ("running", "open", None)
    jobs.advance(claim, {"open": 0.25}, "preprocess")
    assert (jobs.get(id).stage, jobs.get(id).timings) == ("preprocess", {"open": 0.25})
    jobs.complete(claim, {"save": 0.5}, RESULT, [SIDECAR])
    done = jobs.get(id)
    assert done.artifacts == (SIDECAR,)
    assert (done.status, done.result, done.net) == ("succeeded", RESULT, NET)
    assert done.timings == {"open": 0.25, "save": 0.5}
    assert jobs.reap() == []


def test_a_job_that_an_earlier_version_entered_is_colored_and_shown(jobs, client):
    id = enter(jobs, pixels=10_000)
    record = f"{{autochrome}}:job:{id}"
    client.hdel(
        record, *[name for name in client.hkeys(record) if name.startswith("options")], "memory", "payer"
    )
    client.hset(record, "options", Options(vividness=1.5, webhook="https://a.example").model_dump_json())
    claim = take(jobs, "w1")
    assert (claim.options.webhook, claim.memory) == ("https://a.example", 64 * 10_000)
    jobs.complete(claim, {}, RESULT)
    assert jobs.get(id).options == Options(vividness=1.5)


def test_notices_are_kept_with_the_result_each_once_and_not_without_bounds(jobs):
    id = enter(jobs)
    first = Notice("checksum_wrong", "“Æ” is damaged.")
    endless = [Notice(f"n{index}", "long " * 1000) for index in range(1000)]
    jobs.complete(take(jobs, "w1"), {"save": 0.5}, RESULT, notices=[first, first, *endless])
    kept = jobs.get(id).notices
    assert (kept[0], kept[1].code, len(kept)) == (first, "n0", 16)
    assert all(len(notice.detail) <= 500 for notice in kept)
    assert kept[1].detail.endswith("…"), "it shows that there was more"


def test_of_many_claimers_exactly_one_wins(jobs, redis_url):
    ids = [enter(jobs) for _ in range(40)]
    start = threading.Barrier(8)

    def claim_all(worker: int) -> list[str]:
        with connect(redis_url) as own:
            mine = Jobs(own, Lease(60, 0))
            start.wait()
            return [claim.id for claim in iter(lambda: take(mine, f"w{worker}"), None)]

    with ThreadPoolExecutor(8) as pool:
        won = Counter(id for mine in pool.map(claim_all, range(8)) for id in mine)
    assert won == Counter(ids)


def test_a_stale_attempt_is_refused_whatever_it_says(jobs):
    id = enter(jobs)
    stale = take(jobs, "w1")
    time.sleep(0.25)
    assert jobs.reap() == [id]
    fresh = take(jobs, "w2")
    assert fresh.attempt == 2
    for say in (
        lambda: jobs.renew(stale),
        lambda: jobs.advance(stale, {"open": 1}, "preprocess"),
        lambda: jobs.complete(stale, {"save": 1}, RESULT),
        lambda: jobs.fail(stale, "photo_damaged", "no"),
        lambda: jobs.retry(stale, failed=True),
    ):
        with pytest.raises(LeaseLost):
            say()
    jobs.complete(fresh, {"save": 1}, RESULT)
    assert status(jobs, id) == "succeeded"


def test_a_lease_holds_while_it_is_renewed(client):
    jobs = Jobs(client, Lease(60, 0))
    id = enter(jobs)
    claim = take(jobs, "w1")
    for _ in range(4):
        client.zadd(f"{PREFIX}running", {id: 1})  # it has run out
        jobs.renew(claim)
        assert jobs.reap() == []
    client.zadd(f"{PREFIX}running", {id: 1})
    assert jobs.reap() == [id]
    assert status(jobs, id) == "queued"


def test_jobs_of_a_worker_that_is_known_to_be_dead_wait_again_at_once_and_no_others(jobs):
    ids = [enter(jobs) for _ in range(2)]
    for name in ("host:17:ab", "host:170:cd"):
        jobs.beat(name, NET, "cpu", 0, 1)
        take(jobs, name)
    assert jobs.reap("host:17:") == ids[:1]
    assert [status(jobs, id) for id in ids] == ["queued", "running"]


def test_a_large_photo_has_a_longer_lease(client):
    jobs = Jobs(client, Lease(60, 600))
    id = enter(jobs, pixels=5_000_000)
    before = time.time()
    take(jobs, "w1")
    assert 3060 <= client.zscore(f"{PREFIX}running", id) / 1000 - before + 0.001 < 3600
    assert jobs.reap() == []
    client.zadd(f"{PREFIX}running", {id: 1})
    assert jobs.reap() == [id]


def test_a_job_whose_worker_dies_three_times_alone_has_failed(jobs):
    id = enter(jobs)
    for attempt in (1, 2, 3):
        assert take(jobs, f"w{attempt}").attempt == attempt
        time.sleep(0.25)
        jobs.reap()
    job = jobs.get(id)
    assert (job.status, job.error_code) == ("failed", "worker_died")
    assert take(jobs, "w4") is None


def die(jobs: Jobs) -> set[str]:
    """All that is claimed loses its lease. Returns what waits again."""
    time.sleep(0.25)
    return set(jobs.reap())


def test_jobs_that_died_together_run_alone_from_then_on_and_only_the_guilty_one_fails(jobs):
    poison, victims = enter(jobs), {enter(jobs) for _ in range(3)}
    for _ in range(4):
        assert not take(jobs, "w1").isolate
    assert die(jobs) == {poison, *victims}
    ended = set()
    while claim := take(jobs, f"w{len(ended)}"):
        assert claim.isolate
        assert not isinstance(take(jobs, f"w{len(ended)}"), Claim), (
            "whatever the worker believes, none goes in with it"
        )
        if claim.id == poison:
            die(jobs)
        else:
            jobs.complete(claim, {"save": 1}, RESULT)
            ended.add(claim.id)
    assert ended == victims
    assert (status(jobs, poison), jobs.get(poison).error_code) == ("failed", "worker_died")
    fresh = enter(jobs)
    claim = take(jobs, "w9")
    assert (claim.id, claim.isolate) == (fresh, False)


def test_a_job_that_failed_before_is_given_to_an_empty_worker_only_and_holds_up_one_alone(jobs):
    again = enter(jobs)
    take(jobs, "w1")
    assert die(jobs) == {again}
    later = [enter(jobs) for _ in range(5)]

    def ask(worker: str) -> Claim | NoRoom | None:
        return jobs.claim(worker, NET, 10**12, empty=False)

    assert ask("w2") == NoRoom(), "it is to be empty"
    for worker in ("w3", "w4", "w3"):
        assert ask(worker).id in later
    claim = take(jobs, "w2")
    assert (claim.id, claim.attempt, claim.isolate) == (again, 2, True)
    assert ask("w2") == NoRoom(), "it is alone until it has ended"
    assert ask("w3").id in later
    jobs.complete(claim, {"save": 1}, RESULT)
    assert ask("w2").id in later


@pytest.mark.parametrize("seed", range(3))
def test_photos_that_kill_their_worker_fail_and_take_no_other_down_while_all_are_busy(client, seed):
    """Three workers with four photos each at most; as many new ones come as are done, so that none is ever idle."""
    jobs, chance = Jobs(client, Lease(3600, 0)), random.Random(seed)
    hands: dict[str, list[Claim]] = {worker: [] for worker in ("w1", "w2", "w3")}
    poison = {enter(jobs) for _ in range(3)}
    everybody = set(poison)
    turns, deaths, waiting_since = 0, 0, {}
    kept: set[str] = set()  # from taking what anybody may take
    while {status(jobs, id) for id in poison} != {"failed"}:
        turns += 1
        assert turns < 2000, "a poison is never taken again"
        while jobs.depth().jobs < 12:
            everybody.add(enter(jobs))
        worker = chance.choice(list(hands))
        mine = hands[worker]
        if any(claim.id in poison for claim in mine) and chance.random() < 0.5:
            deaths += 1
            client.zadd("{autochrome}:running", {claim.id: 0 for claim in mine})
            waiting_since |= dict.fromkeys(jobs.reap(), turns)
            mine.clear()
            kept.discard(worker)
            continue
        found = jobs.claim(worker, NET, 10**9, empty=not mine) if len(mine) < 4 else None
        if isinstance(found, Claim):
            kept.discard(worker)
            mine.append(found)
            assert not found.isolate or len(mine) == 1
            assert turns - waiting_since.pop(found.id, turns) < 200, "it starved"
            continue
        if found == NoRoom():
            kept.add(worker)
            assert len(kept) == 1, "the others go on"
        claim = mine.pop(chance.randrange(len(mine)))
        if claim.id in poison:
            mine.append(claim)
        else:
            jobs.complete(claim, {"save": 1}, RESULT)
    assert deaths <= 3 * len(poison)
    assert {id for id in everybody if status(jobs, id) == "failed"} == poison


def test_a_job_that_the_store_failed_need_not_run_alone(jobs):
    id = enter(jobs)
    assert jobs.retry(take(jobs, "w1"), failed=False)
    claim = take(jobs, "w1")
    assert (claim.id, claim.attempt, claim.isolate) == (id, 2, False)
    enter(jobs)
    assert isinstance(jobs.claim("w1", NET, 10**12, empty=False), Claim)


def test_an_error_of_ours_is_tried_three_times(jobs):
    id = enter(jobs)
    assert jobs.retry(take(jobs, "w"), failed=True)
    assert jobs.retry(take(jobs, "w"), failed=False), "the store's fault is not the job's"
    assert jobs.retry(take(jobs, "w"), failed=True)
    assert not jobs.retry(take(jobs, "w"), failed=True)
    assert jobs.get(id).error_code == "internal_error"


def test_a_canceled_job_leaves_an_erased_record_and_refuses_its_worker(jobs):
    id = enter(jobs)
    claim = take(jobs, "w1")
    assert jobs.cancel(id)
    assert not jobs.cancel(id)
    with pytest.raises(LeaseLost):
        jobs.complete(claim, {"save": 1}, RESULT)
    time.sleep(0.25)
    assert jobs.reap() == []
    job = jobs.get(id)
    assert (job.status, job.result, job.options) == ("canceled", None, Options())
    assert jobs.expire() == [id], "its files are due at once"
    jobs.erased(id)
    assert jobs.expire() == [], "and its record when it expires"


def test_a_job_past_its_time_is_expired_even_before_anybody_erases_it(jobs, client):
    id = enter(jobs)
    claim = take(jobs, "w1")
    jobs.renew(claim)
    client.hset(f"{PREFIX}job:{id}", "expires", 1)
    client.zadd(f"{PREFIX}due", {id: 1})
    with pytest.raises(LeaseLost):
        jobs.complete(claim, {"save": 1}, RESULT)
    assert status(jobs, id) == "expired"
    assert jobs.expire() == [id]
    jobs.erased(id)
    assert jobs.expire() == []
    assert status(jobs, id) == "expired"
    assert set(client.hgetall(f"{{autochrome}}:job:{id}")) == {*("status", "created", "expires", "secret")}
    assert client.ttl(f"{{autochrome}}:job:{id}") > 24 * 3600
    assert take(jobs, "w2") is None


def test_files_of_an_upload_that_never_became_a_job_are_erased(jobs, client):
    jobs.reserve("half-an-upload", 60)
    assert jobs.expire() == []
    client.zadd(f"{PREFIX}due", {"half-an-upload": 1})
    assert jobs.expire() == ["half-an-upload"]
    jobs.erased("half-an-upload")
    assert jobs.expire() == []


def test_waiting_jobs_are_notified_of_once_in_a_while(jobs, client):
    old = enter(jobs)
    client.zincrby(f"{PREFIX}queued", -100_000, old)
    enter(jobs)
    assert jobs.stranded(older_than=60, quiet=60) == [old]
    assert jobs.stranded(older_than=0, quiet=60) == []
    assert client.pttl(f"{PREFIX}notified") <= 60_000
    client.delete(f"{PREFIX}notified")
    assert len(jobs.stranded(older_than=0, quiet=60)) == 2


def test_a_held_job_is_held_until_it_is_another_s(jobs):
    id = enter(jobs)
    claim = take(jobs, "w1")
    assert jobs.is_held(claim)
    jobs.cancel(id)
    assert not jobs.is_held(claim)
