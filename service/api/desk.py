"""What every route needs at hand, and the verbs that more than one of them uses."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import IO, Annotated, cast

from celery import Celery
from fastapi import Depends, Request

from service import tasks
from service.errors import Canceled, Expired, InternalError, NotFound, Problem, by_code
from service.jobs import Job, Jobs, Lease, connect, new_id, new_secret
from service.options import Options
from service.settings import Settings
from service.sniff import sniff
from service.store import Store, photo_key

RESERVED = 3600.0
"""Seconds after which the file of an upload that never became a job is erased."""
_ID = re.compile(r"[0-9a-f]{32}")
log = logging.getLogger("autochrome.api")


@dataclass(frozen=True, slots=True)
class Desk:
    settings: Settings
    jobs: Jobs
    store: Store
    celery: Celery

    @classmethod
    def open(cls, settings: Settings) -> Desk:
        """Nothing is connected yet. Raises SettingsError."""
        lease = Lease(settings.lease, settings.lease_per_megapixel)
        return cls(
            settings=settings,
            jobs=Jobs(connect(settings.required_redis_url), lease),
            store=Store(settings.effective_store_url),
            celery=tasks.make_app(settings.celery_broker_url),
        )

    def url(self, path: str) -> str:
        """A link: from outside where that is known, else relative to this server."""
        return (self.settings.public_url or "").rstrip("/") + path

    def admit(self, file: IO[bytes], options: Options) -> tuple[str, str]:
        """Look at a photo, keep it, enter its job and ring. Returns the id and the secret.

        Raises a PhotoProblem, StoreUnavailable or redis.RedisError.
        """
        header = sniff(file, self.settings)
        id, secret = new_id(), new_secret()
        self.jobs.reserve(id, RESERVED)
        self.store.put(photo_key(id), file)
        self.jobs.create(id, secret, options, header.width * header.height, self.settings.keep_for)
        tasks.ring(self.celery, id)
        log.info("queued job=%s format=%s width=%d height=%d", id, header.format, header.width, header.height)
        return id, secret

    def find(self, id: str) -> Job:
        """The job. Raises NotFound or Expired."""
        job = self.jobs.get(id) if _ID.fullmatch(id) else None
        if job is None:
            raise NotFound
        if job.status == "expired":
            raise Expired
        return job

    def erase(self, job: Job) -> None:
        """Leave nothing but a tombstone. What a crash leaves undone here is done by the reaper."""
        self.jobs.cancel(job.id)
        self.store.erase(job.id)
        self.jobs.erased(job.id)


def failure(job: Job) -> Problem:
    """The problem that a failed job ended with."""
    return by_code(job.error_code or InternalError.code)(job.error_detail)


def refuse_if_canceled(job: Job) -> None:
    if job.status == "canceled":
        raise Canceled


def _desk(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


AtDesk = Annotated[Desk, Depends(_desk)]
