"""The photos of one batch coming in: each is looked at, kept, and written down before the next."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import redis

from service.api.callers import Caller
from service.api.desk import Desk
from service.api.uploads import digest
from service.archives import Bounds, unpack
from service.batches import Batches, File, Scheduler
from service.celery_app import notify
from service.errors import Problem, StoreUnavailable
from service.jobs import Jobs
from service.observability import get_logger
from service.options import Options
from service.settings import Settings
from service.sniff import Header, sniff
from service.storage import photo_key

MOST_IN_NAME = 1000
"""Letters that are kept of a name."""
log = get_logger("autochrome.api")


@dataclass(frozen=True, slots=True)
class Batching:
    """What the routes of batches need beside the desk."""

    desk: Desk
    batches: Batches
    scheduler: Scheduler

    @classmethod
    def open(cls, desk: Desk) -> Batching:
        settings = desk.settings
        batches = Batches(desk.redis, desk.jobs, settings.batch_files, settings.batch_backlog)
        scheduler = Scheduler(
            *(desk.redis, batches, desk.jobs, desk.store, desk.quota, desk.bounds),
            lambda id: notify(desk.celery, id),
        )
        return cls(desk, batches, scheduler)

    def erase(self, id: str) -> None:
        """Leave nothing but an erased record. Raises `store_unavailable` or redis.RedisError; then the scheduler ends it."""
        self.batches.cancel(id)
        self.scheduler.erase(id)

    def forget(self, id: str) -> None:
        """Erase a batch whose sender never heard of it, as far as that can be done now."""
        with suppress(StoreUnavailable, redis.RedisError):
            self.erase(id)


class Intake:
    """One upload into one batch, new or begun before."""

    def __init__(self, batching: Batching, id: str, options: Options, by: Caller) -> None:
        """Raises what `Desk.allow` and `Batches.open` do."""
        desk = batching.desk
        if "priority" not in options.model_fields_set:
            options = options.model_copy(update={"priority": "batch"})
        keep_for = desk.allow(options, by)
        self._scheduler = batching.scheduler
        self._batches = batching.batches
        self._jobs: Jobs = desk.jobs
        self._store = desk.store
        self._settings: Settings = desk.settings
        self._id = id
        self._owner = by.owner
        self._keep_for = keep_for
        mark = hashlib.sha256(f"{options.model_dump_json()}\n{by.owner}".encode()).hexdigest()
        self._batches.open(*(id, keep_for, mark, by.owner, by.address, by.request_id, options), by.secret)
        self.seen = 0
        """Files in this upload, those that were there before included."""

    def photo(self, name: str, file: IO[bytes], size: int) -> None:
        """Take in one file of `size` bytes, of which no more than max_bytes need be there.

        Raises `batch_too_large`, `id_conflict`, `canceled`, `store_unavailable` or redis.RedisError.
        """
        most = self._settings.max_bytes
        if size > most:
            problem = Problem(
                "body_too_large", f"The photo has {size / 2**20:.1f} MiB; {most / 2**20:g} MiB is the most."
            )
            self._refuse(name, f"{size} bytes", problem)
            return
        sha256 = digest(file)
        try:
            header = sniff(file, self._settings)
        except Problem as problem:
            self._refuse(name, sha256, problem)
        else:
            self._keep(name, sha256, file, header)

    def archive(self, file: IO[bytes]) -> None:
        """Take in each file of a ZIP. Raises `archive_invalid`, `batch_too_large`, and what `photo` does."""
        settings = self._settings
        bounds = Bounds(settings.batch_files, settings.batch_bytes, settings.max_bytes)
        for name, found in unpack(file, bounds):
            if isinstance(found, Problem):
                self._refuse(name, found.code, found)
            else:
                self.photo(name, found, found.seek(0, 2))

    def end(self) -> None:
        """All of it has come. Raises `canceled`."""
        self._batches.close(self._id)
        log.info("batch_received", batch=self._id, files=self.seen)

    def _keep(self, name: str, sha256: str, file: IO[bytes], header: Header) -> None:
        self.seen += 1
        mark = _mark(name, sha256)
        if self._batches.knows(self._id, mark):
            return
        job = self._batches.job_for(self._id, self._owner, mark)
        # Until it stands in the batch, nothing else knows of the file: it is erased when the batch would be.
        self._jobs.reserve(job, self._keep_for)
        file.seek(0)
        self._store.put(photo_key(job), file)
        try:
            self._batches.add(self._id, mark, File(name[:MOST_IN_NAME], job, header.width * header.height))
        except Problem:
            self._store.erase(job)
            self._jobs.erased(job)
            raise
        self._scheduler.schedule()

    def _refuse(self, name: str, content: str, problem: Problem) -> None:
        """Write a file down as failed."""
        self.seen += 1
        file = File(name[:MOST_IN_NAME], None, code=problem.code, detail=problem.detail)
        self._batches.add(self._id, _mark(name, content), file)


def _mark(name: str, content: str) -> str:
    """What a file is known by: the same picture under two names is wanted twice."""
    return hashlib.sha256(f"{content}\n{name}".encode(errors="replace")).hexdigest()
