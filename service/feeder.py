"""Queues the photos of batches as there is room: half of the queue is theirs, the other half is kept for people.

It runs in every API process; a lock sees to it that one feeds at a time, and none is needed in particular.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import redis
from redis.exceptions import LockError
from structlog.contextvars import bound_contextvars

from service.batches import Batches, Turn
from service.budgets import Quota
from service.errors import Problem, StoreUnavailable
from service.jobs import Bounds, Jobs, Order
from service.observability import get_logger
from service.prelude import PREFIX
from service.storage import Store

EVERY = 1.0
"""Seconds between two ticks."""
SHARE = 0.5
"""Of the queue, that batches may fill."""
MOST_AT_ONCE = 200
LOCK_SECONDS = 30.0
PATIENCE = 30.0
"""Seconds after which an erasure counts as broken off."""

log = get_logger("autochrome.feeder")


class Feeder:
    """Every step can be cut off, and is made up for by the next tick."""

    def __init__(
        self,
        client: redis.Redis,
        batches: Batches,
        jobs: Jobs,
        store: Store,
        quota: Quota,
        bounds: Bounds,
        ring: Callable[[str], None],
    ) -> None:
        """`bounds`: of the whole queue."""
        self._redis = client
        self._batches = batches
        self._jobs = jobs
        self._store = store
        self._quota = quota
        self._bounds = Bounds(jobs=max(1, int(bounds.jobs * SHARE)), pixels=int(bounds.pixels * SHARE))
        self._ring = ring

    def tick(self) -> None:
        """May raise redis.RedisError or `store_unavailable`."""
        if self._batches.is_idle():
            return
        for id in self._batches.half_erased(PATIENCE):
            self.erase(id)
        self.feed()

    def feed(self) -> None:
        """Queue what there is room for, unless another does so just now. May raise redis.RedisError."""
        lock = self._redis.lock(PREFIX + "batches:feeding", timeout=LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            for _ in range(MOST_AT_ONCE):
                turn = self._batches.next()
                if turn is None or not self._has_room(turn.file.pixels) or not self._take(turn):
                    return
        finally:
            with suppress(LockError):  # it ran out meanwhile, and may be another's by now
                lock.release()

    def erase(self, id: str) -> None:
        """Erase all files of a canceled batch. Raises `store_unavailable`; then the next tick but one goes on."""
        for job in self._batches.jobs_of(id):
            self._erase_job(job)
        self._batches.erased(id)

    def _erase_job(self, job: str) -> None:
        self._jobs.cancel(job)
        self._store.erase(job)
        self._jobs.erased(job)

    def _has_room(self, pixels: int) -> bool:
        """Looked at before the quota is charged. An empty queue has room for any photo."""
        depth = self._jobs.depth()
        fits = depth.pixels + pixels <= self._bounds.pixels or depth.jobs == 0
        return fits and depth.jobs < self._bounds.jobs

    def _take(self, turn: Turn) -> bool:
        """Queue one photo, or put its batch off where the sender's quota is used up. False: no room after all."""
        job = turn.file.job
        assert job is not None, "only what has a job waits"
        order = Order(
            options=turn.options,
            pixels=turn.file.pixels,
            keep_for=turn.seconds_left,
            batch=turn.options.priority == "batch",
            owner=turn.owner,
            request_id=turn.request_id,
            group=turn.batch,
        )
        charge = (turn.owner, turn.address, turn.file.pixels)
        charges = self._batches.charge(turn)
        if charges:
            try:
                self._quota.charge(*charge)
            except Problem as limited:
                self._batches.uncharge(turn)
                self._batches.postpone(turn.batch, float(limited.headers.get("Retry-After", EVERY)))
                return True
        try:
            self._jobs.create(job, self._jobs.secret_for(job), order, self._bounds)
        except Problem:  # the queue is full
            if charges:  # what was charged before stays so: the next turn takes nothing off the quota
                self._quota.give_back(*charge)
                self._batches.uncharge(turn)
            return False
        if self._batches.queued(turn):
            self._ring(job)
            with bound_contextvars(request=turn.request_id):
                log.info("job_queued", job=job, batch=turn.batch, megapixels=turn.file.pixels / 1e6)
        else:  # it was canceled meanwhile
            with suppress(StoreUnavailable):
                self._erase_job(job)
        return True
