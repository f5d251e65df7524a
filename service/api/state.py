"""What every route has at hand: connections and records, opened once with the application."""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import IO, Annotated, cast

import redis
from anyio.to_thread import run_sync
from celery import Celery
from fastapi import Depends, Request

from model.image_headers import Header
from service import celery_app
from service.auth import Caller, Scope
from service.batches import Batches, Scheduler
from service.budgets import Budget, Quota
from service.database import connect, is_confirmed
from service.errors import Problem
from service.events import Changed, Hub
from service.jobs import Jobs
from service.models import Allowance, Bounds, Depth, Job, Lease, Space
from service.outbound import MOST_FETCHES
from service.realism import Realism
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, results_bytes
from service.webhooks import refuse_unless_allowed

FULL = 0.5
"""Seconds for which a Redis that had no memory is taken to have none: its refusals are dear, as they come after the photo."""
MOST_ARCHIVES, ARCHIVES_OF_ONE = 12, 3
"""ZIPs that this process unpacks at once, in all and for one caller. Each takes a thread for as long, of the 40 that all requests share."""
LOOK = 0.1
"""Seconds for which a look at the queue is good enough for a small photo."""
_ID = re.compile(r"[0-9a-f]{32}")


class Watches:
    """The requests that wait for jobs, on the one subscription of the process; all are ended at shutdown."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.closing = False
        """Whether nobody is to wait any longer."""
        self._waiting: set[Changed] = set()

    @asynccontextmanager
    async def on(self, id: str, only_end: bool = False) -> AsyncIterator[Changed]:
        """Wait for changes of a job, or only of its end; look at it, and at `closing`, after this and after each wait."""
        async with self.hub.watch(id, only_end) as changed:
            self._waiting.add(changed)
            try:
                yield changed
            finally:
                self._waiting.discard(changed)

    def close(self) -> None:
        """Wake everybody up for good. May be called by a signal's handler."""
        self.closing = True
        for changed in [*self._waiting]:
            changed.wake()


class Queue:
    """How much waits, and how much did a moment ago: whoever sends a photo to a full queue is told so before it is sent."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._seen: Depth | None = None
        self._seen_at = -math.inf
        self._full_at = -math.inf
        self._looking = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        """Whether Redis had no memory for a job a moment ago."""
        return time.monotonic() - self._full_at < FULL

    def note_full(self) -> None:
        """Redis had no memory for a job just now."""
        self._full_at = time.monotonic()

    @property
    def seen(self) -> Depth | None:
        """As it was a moment ago; None where nobody has looked."""
        return self._seen if time.monotonic() - self._seen_at < LOOK else None

    async def look_now(self) -> Depth:
        """As it is after this was called. Of many calls at once, as in a flood of photos, two look, and the others wait for them.

        May raise redis.RedisError.
        """
        called = time.monotonic()
        async with self._looking:
            if self._seen is None or self._seen_at < called:
                begun = time.monotonic()
                self._seen, self._seen_at = await run_sync(self._jobs.depth), begun
            return self._seen


@dataclass(frozen=True, slots=True)
class ApiState:
    settings: Settings
    redis: redis.Redis
    jobs: Jobs
    queue: Queue
    batches: Batches
    scheduler: Scheduler
    watches: Watches
    quota: Quota
    realism: Realism
    store: Store
    celery: Celery
    bounds: Bounds
    """Of the queue."""
    spool: Budget
    """Bytes of the bodies that this process has in its hands."""
    fetches: Budget
    """Photos that this process fetches, half of them for one caller at most."""
    archives: Budget
    """ZIPs that this process unpacks."""

    @classmethod
    def open(cls, settings: Settings) -> ApiState:
        """Nothing is connected yet. Raises SettingsError."""
        client = connect(settings.required_redis_url)
        jobs = Jobs(client, Lease(settings.lease, settings.lease_per_megapixel))
        batches = Batches(client, jobs, settings.batch_files, settings.batch_backlog)
        store, quota = Store(settings.effective_store_url, settings.free_bytes), Quota(client, settings)
        celery = celery_app.make_app(settings.celery_broker_url)
        bounds = Bounds(jobs=settings.queue_jobs, pixels=int(settings.queue_megapixels * 1e6))
        return cls(
            settings=settings,
            redis=client,
            jobs=jobs,
            queue=Queue(jobs),
            batches=batches,
            scheduler=Scheduler(
                batches, jobs, store, quota, bounds, lambda id: celery_app.notify(celery, id)
            ),
            watches=Watches(Hub(settings.required_redis_url)),
            quota=quota,
            realism=Realism(client, jobs.mac, quota, settings),
            store=store,
            celery=celery,
            bounds=bounds,
            spool=Budget(
                settings.effective_spool_bytes, settings.effective_spool_bytes // 4, busy="uploads_busy"
            ),
            fetches=Budget(MOST_FETCHES, MOST_FETCHES // 2, busy="fetches_busy"),
            archives=Budget(MOST_ARCHIVES, ARCHIVES_OF_ONE, busy="uploads_busy"),
        )

    def url(self, path: str) -> str:
        """A link: from outside where that is known, else relative to this server."""
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/") + path
        return self.settings.root_path + path

    def find(self, id: str) -> Job:
        """The job. Raises `not_found` or `expired`."""
        job = self.look(id)
        if job.status == "expired":
            raise Problem("expired")
        return job

    def look(self, id: str) -> Job:
        """The job, or what is left of one that has expired. Raises `not_found`."""
        job = self.jobs.get(id) if is_id(id) else None
        if job is None:
            raise Problem("not_found")
        return job

    def opens(self, job: Job) -> Callable[[str], bool]:
        """Whether a secret is the job's, or that of the batch with which it came."""

        def is_opened_by(secret: str) -> bool:
            batch = self.batches.get(job.group) if job.group else None
            return job.is_opened_by(secret) or (batch is not None and batch.is_opened_by(secret))

        return is_opened_by

    def confirm(self, name: str) -> None:
        """See that a failover does not lose this key of the record. Raises `queue_unavailable`: then the client is to repeat itself."""
        replicas = self.settings.confirmations
        if replicas and not is_confirmed(self.redis, name, replicas, self.settings.confirm_timeout):
            raise Problem("queue_unavailable", what=f"Not on {replicas + 1} servers yet.")

    def store_left(self, depth: Depth) -> int | None:
        """Bytes that photos and results may still take, by the store's cap and by its disk; None without either.

        Raises `store_unavailable`.
        """
        most, free = self.settings.store_bytes, self.store.free()
        bounds = [most - depth.store] if most else []
        return min([*bounds, free - depth.store_room] if free is not None else bounds, default=None)

    def has_room(self, depth: Depth, photo: int) -> bool:
        """Whether the store is likely to take a photo of so many bytes, by what is known of it before it comes.

        Raises `store_unavailable`.
        """
        left = self.store_left(depth)
        return left is None or photo < left

    @contextmanager
    def room_for(
        self,
        id: str,
        seconds: float,
        photo: IO[bytes],
        header: Header,
        options: Options,
        allowance: Allowance,
        is_there: bool = False,
    ) -> Iterator[Space]:
        """Take room in the store for a photo, which is to be written in this block unless it `is_there`, and for its results.

        Promises that they are erased after `seconds`, if nothing is made of them. Raises `store_full`, `storage_limited`,
        `store_unavailable` or redis.RedisError.
        """
        size = photo.seek(0, os.SEEK_END)
        photo.seek(0)
        results, new = results_bytes(size, header, options), 0 if is_there else size
        with self.store.under_way(new) as free:
            space = Space(new, results, self.settings.store_bytes, free, allowance)
            yield space if self.jobs.reserve(id, seconds, space) else Space()

    def keep_for(self, options: Options, by: Caller) -> float:
        """For how many seconds files are kept under these options, where this caller may have them.

        Raises `scope_missing`, `webhook_disabled`, `url_not_allowed` or `option_invalid`.
        """
        if options.webhook is not None:
            by.require(Scope.WEBHOOK)
            refuse_unless_allowed(options.webhook, self.settings.webhook_hosts)
        if options.keep_for is None:
            return self.settings.keep_for
        longest = longest_keep_for(self.settings)
        if options.keep_for > longest:
            raise Problem("option_invalid", f"`keep_for`: {longest:g} seconds is the longest time here.")
        return options.keep_for


def is_id(id: str) -> bool:
    """Whether it is 32 lowercase hexadecimal digits, as ids of jobs, batches and places are."""
    return _ID.fullmatch(id) is not None


def longest_keep_for(settings: Settings) -> float:
    """The longest time that a client may ask for, in seconds: at least what it gets without asking."""
    return max(settings.keep_for, settings.max_keep_for)


async def _state(request: Request) -> ApiState:  # async, as FastAPI would give a thread to any other
    return cast(ApiState, request.app.state.api)


State = Annotated[ApiState, Depends(_state)]
"""A route's parameter of this type is the application's state."""
