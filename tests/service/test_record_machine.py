"""Whatever is said to the record in whatever order, it stands as a plain model of it, and its sums are true."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.errors import LeaseLost, Problem
from service.jobs import MOST_ATTEMPTS, Jobs, new_id
from service.models import Bounds, Claim, Entered, Lease, Net, NoRoom, Order, Result, events_of
from service.schemas import Options

NET = Net("lite", "ab" * 32)
BOUNDS = Bounds(jobs=6, pixels=40)
WORKERS = st.sampled_from(["w1", "w2"])
HOUR = 3_600_000


@dataclass
class Modeled:
    """What ought to be known of a job."""

    pixels: int
    batch: bool
    created: int
    status: str = "queued"
    failures: int = 0
    worker: str | None = None
    original: str = ""
    stage: str | None = None
    events: list[str] = field(default_factory=lambda: ["queued"])

    @property
    def turn(self) -> int:
        return self.created + HOUR * self.batch + 10**15 * self.isolate

    @property
    def isolate(self) -> bool:
        return self.failures > 0


class Record(RuleBasedStateMachine):
    """The verbs, each said to Redis and to the model; `picks` choose among the jobs and claims there are."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.jobs = Jobs(self.client, Lease(3600, 0))
        self.model: dict[str, Modeled] = {}
        self.claims: list[Claim] = []

    def waiting(self) -> list[str]:
        """In the order in which they are to be given out; ids decide between those of one millisecond."""
        queued = [id for id, one in self.model.items() if one.status == "queued"]
        return sorted(queued, key=lambda id: (self.model[id].turn, id))

    def held_by(self, worker: str) -> list[Modeled]:
        return [one for one in self.model.values() if one.status == "running" and one.worker == worker]

    def family(self, id: str) -> list[str]:
        """A job, and those that color its photo anew."""
        return [known for known, one in self.model.items() if id in (known, one.original)]

    def erase(self, ids: list[str], status: str) -> None:
        for id in ids:
            one = self.model[id]
            one.status, one.worker, one.events = status, None, [status]

    def wait_again(self, one: Modeled) -> None:
        one.worker = None
        one.status = "failed" if one.failures >= MOST_ATTEMPTS else "queued"
        one.events = [one.status] if one.status == "queued" else ["queued", one.status]

    @rule(pixels=st.integers(1, 15), batch=st.booleans())
    def create(self, pixels: int, batch: bool) -> None:
        id, waiting = new_id(), self.waiting()
        full = len(waiting) >= BOUNDS.jobs
        full |= bool(waiting) and sum(self.model[w].pixels for w in waiting) + pixels > BOUNDS.pixels
        try:
            entered = self.jobs.create(id, "s", Order(Options(), pixels, 600, batch=batch), BOUNDS)
        except Problem as problem:
            assert problem.code == "queue_full"  # noqa: PT017 (a full queue is one of two outcomes)
            assert full
            return
        assert entered is not Entered.TAKEN
        assert not full
        self.model[id] = Modeled(pixels, batch, self.jobs.get(id).created)

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0))
    def revise(self, pick: int) -> None:
        known = list(self.model)[pick % len(self.model)]
        original = self.model[known].original or known
        order = Order(Options(), 1, 600, revises=original)
        id, is_erased = new_id(), self.model[original].status in ("canceled", "expired")
        try:
            self.jobs.create(id, "s", order, BOUNDS)
        except Problem as problem:
            expected = self.model[original].status if is_erased else "queue_full"
            assert problem.code == expected  # noqa: PT017 (as above)
            return
        assert not is_erased
        self.model[id] = Modeled(1, False, self.jobs.get(id).created, original=original)

    @rule(worker=WORKERS, room=st.integers(0, 15))
    def claim(self, worker: str, room: int) -> None:
        held, waiting = self.held_by(worker), self.waiting()
        ordinary = [id for id in waiting if not self.model[id].isolate]
        failed = waiting[len(ordinary) :]
        self.client.delete(
            "{autochrome}:isolated"
        )  # as if the time after the last failed attempt had gone by
        isolating = self.client.zrange("{autochrome}:isolating", 0, -1)
        claim = self.jobs.claim(worker, NET, 64 * room, empty=not held)
        is_turn = bool(failed) and isolating in ([], [worker])
        if waiting and any(one.isolate for one in held):
            assert claim == NoRoom()
            return
        if not (ordinary or is_turn):
            assert claim is None
            return
        id = failed[0] if is_turn else ordinary[0]
        best = self.model[id]
        if held and (is_turn or best.pixels > room):
            assert claim == NoRoom()
            return
        assert isinstance(claim, Claim)
        assert (claim.id, claim.pixels, claim.isolate) == (id, best.pixels, best.isolate)
        best.status, best.worker, best.stage = "running", worker, "open"
        best.events = ["queued", "stage"]
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(
        pick=st.integers(0), verb=st.sampled_from(["complete", "fail", "retry", "failed", "advance", "renew"])
    )
    def word(self, pick: int, verb: str) -> None:
        claim = self.claims[pick % len(self.claims)]
        one = self.model[claim.id]
        latest = max(c.attempt for c in self.claims if c.id == claim.id)
        held = one.status == "running" and claim.attempt == latest
        assert self.jobs.is_held(claim) == held
        again = not held and claim.attempt == latest
        try:
            match verb:
                case "complete":
                    key = f"{claim.id}/{claim.attempt}/result.jpg"
                    self.jobs.complete(claim, {"save": 0.1}, Result(key, 1, 1, "image/jpeg", "ab" * 32, 1))
                case "fail":
                    self.jobs.fail(claim, "photo_damaged", "no")
                case "retry" | "failed":
                    self.jobs.retry(claim, failed=verb == "failed")
                case "advance":
                    self.jobs.advance(claim, {"open": 0.1}, "preprocess")
                case "renew":
                    self.jobs.renew(claim)
        except LeaseLost:
            assert not held
            return
        if not held:  # said again, which changes nothing
            assert again
            assert one.status in {"complete": "succeeded", "fail": "failed"}.get(verb, "queued failed")
            return
        match verb:
            case "advance" if one.stage == "open":  # else it is said again
                one.stage = "preprocess"
            case "retry" | "failed":
                one.failures += verb == "failed"
                self.wait_again(one)
            case "complete" | "fail":
                one.status, one.worker = ("succeeded" if verb == "complete" else "failed"), None
                one.events = ["queued", one.status]

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        held = self.held_by(worker)
        for id, one in self.model.items():
            if one in held:
                self.client.zadd("{autochrome}:running", {id: 0})
        waiting = self.jobs.reap()
        for one in held:
            one.failures += 1
            self.wait_again(one)
        assert len(waiting) == sum(one.status == "queued" for one in held)

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0))
    def cancel(self, pick: int) -> None:
        id = list(self.model)[pick % len(self.model)]
        one = self.model[id]
        erased = [
            known for known in self.family(id) if self.model[known].status not in ("canceled", "expired")
        ]
        assert sorted(self.jobs.cancel(id)) == sorted(erased if id in erased else [])
        if one.status != "expired":
            self.erase(erased, "canceled")

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0))
    def expire(self, pick: int) -> None:
        id = list(self.model)[pick % len(self.model)]
        self.client.hset(f"{{autochrome}}:job:{id}", "expires", self.model[id].created)
        self.client.zadd("{autochrome}:due", {id: 1})
        for due in self.jobs.expire():
            self.jobs.erased(due)
        alive = [
            known for known in self.family(id) if self.model[known].status not in ("canceled", "expired")
        ]
        self.erase([id, *alive], "expired")

    @invariant()
    def stands_as_the_model(self) -> None:
        waiting = self.waiting()
        for id, one in self.model.items():
            job = self.jobs.get(id)
            assert job.status == one.status
            assert job.queue_position == (waiting.index(id) + 1 if id in waiting else None)
            assert [event.name for event in events_of(job)] == one.events

    @invariant()
    def sums_are_those_of_the_sets(self) -> None:
        depth = self.jobs.depth()
        for status, jobs, pixels in (
            ("queued", depth.jobs, depth.pixels),
            ("running", depth.running, depth.running_pixels),
        ):
            there = [one.pixels for one in self.model.values() if one.status == status]
            assert (jobs, pixels) == (len(there), sum(there))
            assert set(self.client.zrange(f"{{autochrome}}:{status}", 0, -1)) == {
                id for id, one in self.model.items() if one.status == status
            }
        assert self.client.zcard("{autochrome}:batched") == sum(
            self.model[id].batch or self.model[id].isolate for id in self.waiting()
        )
        assert ("since" in self.client.hgetall("{autochrome}:sums")) == bool(self.waiting())

    @invariant()
    def slots_of_failed_jobs_are_those_of_workers_that_have_one(self) -> None:
        until = time.time() * 1000 + HOUR / 2
        taken = set(self.client.zrangebyscore("{autochrome}:isolating", until, "+inf"))
        held = {one.worker for one in self.model.values() if one.status == "running" and one.isolate}
        assert taken == held

    @invariant()
    def ended_once(self) -> None:
        """What has ended is counted, once each; what was erased later is counted as it ended before."""
        counted = sum(n for name, n in self.jobs.counters().items() if name.startswith("outcome:"))
        ended = sum(one.status not in ("queued", "running") for one in self.model.values())
        assert counted == ended


@pytest.mark.timeout(60)
def test_after_any_history_the_record_is_as_the_model_says(client):
    Record.client = client
    run_state_machine_as_test(
        Record,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
