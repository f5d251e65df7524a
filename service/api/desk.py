"""What every route needs at hand, and the verbs that more than one of them uses."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Annotated, NamedTuple, cast

import redis
from celery import Celery
from fastapi import Depends, Request
from redis.exceptions import LockError

from service import celery_app
from service.api.callers import Caller
from service.api.uploads import digest
from service.api.watches import Watches
from service.database import PREFIX, connect
from service.errors import Problem, StoreUnavailable
from service.errors import failure as problem_of
from service.events import Hub
from service.jobs import Bounds, Job, Jobs, Lease, Order, new_id
from service.keys import Scope
from service.observability import get_logger
from service.options import Options
from service.quota import Quota
from service.settings import Settings
from service.sniff import sniff
from service.storage import Store, photo_key, upload_prefix
from service.webhooks import refuse_unless_allowed

RESERVED = 3600.0
"""Seconds after which the file of an upload that never became a job is erased."""
ENTERING = 60.0
"""Seconds for which a second request with an id of the client's choosing is refused while the first is stored. This
only spares work: an upload may take longer, and `Jobs.create` decides which one the job is made from."""
LONGEST_RETRY_AFTER = 3600
_ID = re.compile(r"[0-9a-f]{32}")
log = get_logger("autochrome.api")


class Admitted(NamedTuple):
    """A photo that is in the queue, or was before."""

    id: str
    secret: str
    new: bool
    """False: the very same was sent before, and nothing was done."""


@dataclass(frozen=True, slots=True)
class Desk:
    settings: Settings
    redis: redis.Redis
    jobs: Jobs
    watches: Watches
    quota: Quota
    store: Store
    celery: Celery
    bounds: Bounds

    @classmethod
    def open(cls, settings: Settings) -> Desk:
        """Nothing is connected yet. Raises SettingsError."""
        client = connect(settings.required_redis_url)
        return cls(
            settings=settings,
            redis=client,
            jobs=Jobs(client, Lease(settings.lease, settings.lease_per_megapixel)),
            watches=Watches(Hub(settings.required_redis_url)),
            quota=Quota(client, settings),
            store=Store(settings.effective_store_url),
            celery=celery_app.make_app(settings.celery_broker_url),
            bounds=Bounds(jobs=settings.queue_jobs, pixels=int(settings.queue_megapixels * 1e6)),
        )

    def url(self, path: str) -> str:
        """A link: from outside where that is known, else relative to this server."""
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/") + path
        return self.settings.root_path + path

    def refuse_if_full(self) -> None:
        """Before a body is read: raises `queue_full` where the queue has no room for any photo."""
        depth = self.jobs.depth()
        if depth.jobs >= self.bounds.jobs or depth.pixels >= self.bounds.pixels:
            raise Problem("queue_full", retry_after=self.jobs.retry_after())

    def admit(
        self,
        file: IO[bytes],
        options: Options,
        by: Caller,
        id: str | None = None,
        *,
        sha256: str | None = None,
        group: str = "",
    ) -> Admitted:
        """Look at a photo, keep it, enter its job and ring.

        `id`: 32 hexadecimal digits of the client's choosing; the same photo with the same options by the same
        caller is entered once under it. `sha256`: of the photo's bytes, where it is known. `group`: the batch.
        Raises `scope_missing`, `webhook_disabled`, `url_not_allowed`, one of PHOTO_CODES, `option_invalid`, `id_conflict`, `in_flight`,
        `canceled`, `expired`, `rate_limited`, `queue_full`, `store_unavailable` or redis.RedisError.
        """
        keep_for = self.allow(options, by)
        header = sniff(file, self.settings)
        order = Order(
            options=options,
            pixels=header.width * header.height,
            keep_for=keep_for,
            batch=bool(group) or options.priority == "batch",
            owner=by.owner,
            request_id=by.request_id,
            fingerprint=_fingerprint(sha256 or digest(file), options, by),
            group=group,
            upload=secrets.token_hex(8),
        )
        if id is None:
            return self._enter(new_id(), file, order, by)
        with self._unless_in_flight(id):
            known = self.jobs.get(id)
            return self._again(known, order) if known else self._enter(id, file, order, by)

    def allow(self, options: Options, by: Caller) -> float:
        """For how many seconds files are kept under these options, where this caller may have them.

        Raises `scope_missing`, `webhook_disabled`, `url_not_allowed` or `option_invalid`.
        """
        if options.webhook is not None:
            by.require(Scope.WEBHOOK)
            refuse_unless_allowed(options.webhook, self.settings.webhook_hosts)
        return self._keep_for(options)

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

    def erase(self, job: Job) -> None:
        """Leave nothing but an erased record. What a crash leaves undone here is done by the janitor."""
        self.jobs.cancel(job.id)
        self.store.erase(job.id)
        self.jobs.erased(job.id)

    def _enter(self, id: str, file: IO[bytes], order: Order, by: Caller) -> Admitted:
        """Store the photo under a name of this upload's own, then enter the job, unless another upload did so first."""
        charged = self.quota.charge(by.owner, by.address, order.pixels)
        secret = self.jobs.secret_for(id)
        try:
            self.jobs.reserve(id, RESERVED)
            file.seek(0)
            self.store.put(photo_key(id, order.upload), file)
            is_new = self.jobs.create(id, secret, order, self.bounds)
        except (Problem, redis.RedisError) as error:
            with suppress(redis.RedisError):
                self.quota.give_back(by.owner, by.address, order.pixels)
            if isinstance(error, Problem) and error.code == "queue_full":
                self._erase_upload(id, order)
            raise
        if not is_new:
            self._erase_upload(id, order)
            self.quota.give_back(by.owner, by.address, order.pixels)
            return self._again(self.look(id), order)
        by.headers.update(charged)
        celery_app.notify(self.celery, id)
        log.info("job_queued", job=id, megapixels=order.pixels / 1e6)
        return Admitted(id, secret, new=True)

    def _erase_upload(self, id: str, order: Order) -> None:
        """Erase the photo of an upload that became no job, and of no other."""
        with suppress(StoreUnavailable):  # then the eraser does it, when the id's time is up
            self.store.erase(upload_prefix(id, order.upload))

    def _again(self, job: Job, order: Order) -> Admitted:
        """An id that is not new: it must stand for the same."""
        if job.status == "expired":
            raise Problem("expired")
        refuse_if_canceled(job)
        if job.fingerprint != order.fingerprint:
            raise Problem("id_conflict")
        return Admitted(job.id, self.jobs.secret_for(job.id), new=False)

    @contextmanager
    def _unless_in_flight(self, id: str) -> Iterator[None]:
        """Raises `in_flight` while another request with this id is stored, for ENTERING seconds at most."""
        lock = self.redis.lock(f"{PREFIX}entering:{id}", timeout=ENTERING, blocking=False)
        if not lock.acquire():
            raise Problem("in_flight")
        try:
            yield
        finally:
            with suppress(LockError):  # it ran out
                lock.release()

    def _keep_for(self, options: Options) -> float:
        if options.keep_for is None:
            return self.settings.keep_for
        longest = longest_keep_for(self.settings)
        if options.keep_for > longest:
            raise Problem("option_invalid", f"`keep_for`: {longest:g} seconds is the longest time here.")
        return options.keep_for


def is_id(id: str) -> bool:
    return _ID.fullmatch(id) is not None


def longest_keep_for(settings: Settings) -> float:
    """The longest time that a client may ask for, in seconds: at least what it gets without asking."""
    return max(settings.keep_for, settings.max_keep_for)


def retry_after(job: Job) -> str:
    """When to ask again: when it will probably be done, or soon where nobody knows."""
    seconds = 1 if job.status == "running" or job.eta_s is None else math.ceil(job.eta_s)
    return str(min(max(seconds, 1), LONGEST_RETRY_AFTER))


def failure(job: Job) -> Problem:
    """The problem that a failed job ended with."""
    return problem_of(job.error_code, job.error_detail)


def refuse_if_canceled(job: Job) -> None:
    if job.status == "canceled":
        raise Problem("canceled")


def _fingerprint(sha256: str, options: Options, by: Caller) -> str:
    """Same photo, same options, same caller. Not the address: a retry may come from another network."""
    return hashlib.sha256(f"{sha256}\n{options.model_dump_json()}\n{by.owner}".encode()).hexdigest()


def _desk(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


AtDesk = Annotated[Desk, Depends(_desk)]
