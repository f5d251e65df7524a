"""Many photos as one order of jobs: the batch record in Redis, and the scheduler that queues their jobs as there is room.

States: receiving → complete; both → canceled → expired. A complete batch has ended when all of its jobs have. A photo
that is taken in is a job of this group, which waits outside the queue until it is promoted. The photo is kept in the
store before that; what a crash leaves in between is erased when the batch expires.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import redis
from structlog.contextvars import bound_contextvars

from service.budgets import Quota, payer
from service.database import PREFIX, Scripts
from service.errors import KINDS, Problem
from service.jobs import Jobs, records_limited
from service.models import Bounds, secret_hash
from service.observability import get_logger
from service.schemas import Options
from service.storage import ERASED_AT_ONCE, Store, erase_job

SCHEDULE_EVERY = 1.0
"""Seconds between two ticks of the scheduler."""
SHARE = 0.5
"""Of the queue, that batches may fill; the rest is kept for people."""
MOST_AT_ONCE = 200
"""Jobs that are queued in one tick."""
SLICE = 100
"""Files of a batch that are looked at in one go."""
ERASING = 30.0
"""Seconds after which an erasure counts as broken off."""
RETRY_AFTER = 60
"""Seconds after which there may be room for another batch."""
UNPROVEN = (
    "There is a batch under this id. To go on with it, send the secret that it was begun with, or that came with "
    "its answer: `Authorization: Bearer <secret>`."
)

log = get_logger("autochrome.batches")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a batch, as it was taken in."""

    name: str
    job: str | None = None
    """Id of the job that colors it; None where it was refused, for `code` and `detail`."""
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How one file stands."""

    name: str
    status: Literal["waiting", "queued", "running", "succeeded", "failed", "canceled", "expired"]
    job: str | None
    code: str | None
    detail: str | None
    has_thumbnail: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """Some files of a batch, and how many of all have each status."""

    counts: dict[str, int]
    files: list[Standing]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as it stood at one moment. Times are milliseconds since 1970 on the server's clock."""

    id: str
    status: Literal["receiving", "complete", "canceled", "expired"]
    created: int
    expires: int
    owner: str
    secret_sha256: str
    options: Options

    def is_opened_by(self, secret: str) -> bool:
        """Whether this is the secret that came with it, or was given out for it."""
        return hmac.compare_digest(self.secret_sha256, secret_hash(secret))


@dataclass(frozen=True, slots=True)
class Promoted:
    """A job that waited and is queued now."""

    job: str
    batch: str
    pixels: int
    request_id: str
    to_notify: bool
    """Whether a worker that has nothing to do would not know of it."""


class Batches:
    """Verbs on the record, each one atomic script. All may raise redis.RedisError."""

    def __init__(self, client: redis.Redis, jobs: Jobs, most_files: int, most_waiting: int) -> None:
        """`most_files`: of one batch. `most_waiting`: of all batches, past which no new one is begun."""
        self._redis = client
        self._jobs = jobs
        self._most_files = most_files
        self._most_waiting = most_waiting
        self._scripts = Scripts(client)

    def _run(self, name: str, *arguments: str | int) -> Any:
        return self._scripts.run(f"batch_{name}", *arguments)

    def secret_for(self, id: str) -> str:
        """What erases a batch whose sender brought no secret. It is no job's: the two may have one id."""
        return self._jobs.secret_for(id, "batch")

    def secret_again(self, batch: Batch) -> str | None:
        """The same, of one that was made before; None where it is its sender's own."""
        return self._jobs.secret_again(batch.id, batch.is_opened_by, "batch")

    def job_for(self, id: str, owner: str, mark: str) -> str:
        """The id of a file's job, the same each time. No Idempotency-Key leads to it: they have no blanks."""
        return self._jobs.id_for(owner, f"batch {id} {mark}")

    def open(
        self,
        id: str,
        keep_for: float,
        fingerprint: str,
        owner: str,
        address: str,
        request_id: str,
        options: Options,
        secret: str = "",
        most_records: int = 0,
    ) -> int:
        """Begin a batch, or go on with it. Returns when it expires.

        `secret`: what the sender knows. A new batch gets it for its own; one that no key made is gone on with by
        it alone, since whoever is shown the batch knows all else.
        Raises `id_conflict`, `secret_missing`, `secret_wrong`, `canceled`, `expired`, or for a new one `queue_full` or `storage_limited`.
        `most_records`: bytes of records that the sender may hold; 0: no limit.
        """
        opened: int | str = self._run(
            *("open", id, int(keep_for * 1000), fingerprint, owner, payer(owner, address), request_id),
            *(options.short_json(), self._most_waiting, secret_hash(secret) if secret else ""),
            *(secret_hash(self.secret_for(id)), secrets.token_hex(8), int(options.priority == "batch")),
            *(most_records, options.record_bytes),
        )
        match opened:
            case int():
                return opened
            case "another":
                raise Problem("id_conflict")
            case "records":
                raise records_limited()
            case "unproven":
                raise Problem("secret_wrong" if secret else "secret_missing", UNPROVEN)
            case "full":
                raise Problem(
                    "queue_full", what="Too many photos of other batches wait.", retry_after=RETRY_AFTER
                )
            case code:  # expired or canceled
                raise Problem(code)

    def knows(self, id: str, mark: str) -> bool:
        """Whether a file is there already. Raises as `add` would."""
        return not self._add(id, mark, "")

    def add(
        self,
        id: str,
        mark: str,
        file: File,
        pixels: int = 0,
        weight: int = 0,
        most_records: int = 0,
        memory: int = 0,
    ) -> bool:
        """Take a file in, and make its job if it has an id for one; False where it was there already.

        `weight`: the pixels that it counts as of a quota. `most_records`: bytes of records that the sender may hold; 0: no limit.
        `memory`: as `Order` has it.
        Raises `storage_limited`; `batch_too_large`; `canceled` where the batch is gone; `id_conflict` where it was complete
        without this file.
        """
        job = (file.job, secret_hash(self._jobs.secret_for(file.job))) if file.job else ("", "")
        kept = {name: value for name, value in asdict(file).items() if value is not None}
        text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
        return self._add(id, mark, text, *job, pixels, max(pixels, weight), most_records, memory)

    def _add(self, id: str, mark: str, file: str, *job: str | int) -> bool:
        match self._run("add", id, mark, self._most_files, file, *job):
            case "records":
                raise records_limited()
            case "gone":
                raise Problem("canceled")
            case "complete":
                raise Problem(
                    "id_conflict", "The batch was sent to its end without this photo. Make a new one for it."
                )
            case "full":
                raise Problem("batch_too_large", what=f"{self._most_files} photos are the most in one batch.")
            case answer:
                return bool(answer == "added")

    def close(self, id: str) -> None:
        """Say that all of it has come. Raises `canceled` where the batch is gone."""
        if not self._run("close", id):
            raise Problem("canceled")

    def get(self, id: str) -> Batch | None:
        """The batch as it stands, None where there is none."""
        seen = self._run("show", id)
        if not seen:
            return None
        now, status, created, expires, owner, secret, options = seen
        shown = cast(Any, "expired" if now >= int(expires) else status)
        return Batch(
            *(id, shown, int(created), int(expires), owner, secret, Options.model_validate_json(options)),
        )

    def files(self, id: str, start: int = 0, most: int = SLICE, count: bool = True) -> Files:
        """How some files stand, in the order in which they came, and how many of all have each status, if asked to `count`."""
        counts, *rows = self._run("files", id, start, start + most - 1, int(count))
        stand = [_stand(*rows[at : at + 5]) for at in range(0, len(rows), 5)]
        return Files(dict(zip(counts[::2], counts[1::2], strict=True)), stand)

    def all_files(self, id: str) -> Iterator[Standing]:
        """How each file stands when it is asked for; few of them are in memory at a time."""
        start = 0
        while some := self.files(id, start, count=False).files:
            yield from some
            start += len(some)

    def jobs_of(self, id: str) -> Sequence[str]:
        """The ids of all its jobs."""
        kept = cast(list[str], self._redis.lrange(f"{PREFIX}batch:{id}:files", 0, -1))
        return [job for text in kept if (job := json.loads(text).get("job"))]

    def cancel(self, id: str) -> bool:
        """Leave an erased record: nothing more is taken in or queued. Erase its files, say `erased`.

        False where there is nothing to erase.
        """
        return bool(self._run("cancel", id))

    def erased(self, id: str) -> None:
        """Say that no file of it is left."""
        self._run("erased", id)

    def is_idle(self) -> bool:
        """Whether nothing waits to be queued or erased."""
        return not self._redis.exists(f"{PREFIX}batches", f"{PREFIX}batches:erasing")

    def half_erased(self, seconds: float) -> Sequence[str]:
        """`canceled` batches whose files have not been erased for so long."""
        return cast(Sequence[str], self._run("erasing", int(seconds * 1000)))

    def promote(self, bounds: Bounds, quota: Quota) -> Promoted | None:
        """Queue the job that waits next, and charge its sender; None where none waits, or may be queued now."""
        promoted = self._run("promote", bounds.jobs, bounds.pixels, *quota.arguments())
        if promoted is None:
            return None
        job, batch, pixels, request_id, to_notify = promoted
        return Promoted(job, batch, int(pixels), request_id, bool(to_notify))


class Scheduler:
    """Queues the photos of batches as there is room. It runs in every API process, and may in several at once.

    Every step can be cut off, and is made up for by the next tick, or by the reaper where a notification is lost.
    """

    def __init__(
        self,
        batches: Batches,
        jobs: Jobs,
        store: Store,
        quota: Quota,
        bounds: Bounds,
        notify: Callable[[str], None],
    ) -> None:
        """`bounds`: of the whole queue."""
        self._batches = batches
        self._jobs = jobs
        self._store = store
        self._quota = quota
        self._bounds = Bounds(jobs=max(1, int(bounds.jobs * SHARE)), pixels=int(bounds.pixels * SHARE))
        self._notify = notify

    def tick(self) -> None:
        """May raise redis.RedisError or `store_unavailable`."""
        if self._batches.is_idle():
            return
        for id in self._batches.half_erased(ERASING):
            self.erase(id)
        self.schedule()

    def schedule(self) -> None:
        """Queue what there is room for. May raise redis.RedisError."""
        for _ in range(MOST_AT_ONCE):
            promoted = self._batches.promote(self._bounds, self._quota)
            if promoted is None:
                return
            if promoted.to_notify:
                self._notify(promoted.job)
            with bound_contextvars(request=promoted.request_id):
                megapixels = promoted.pixels / 1e6
                log.info("job_queued", job=promoted.job, batch=promoted.batch, megapixels=megapixels)

    def erase_files(self, id: str) -> None:
        """Of a batch, and leave all records as they are. Raises `store_unavailable`."""
        for job in self._batches.jobs_of(id):
            self._store.erase(job)

    def erase(self, id: str) -> None:
        """Erase all jobs of a canceled batch, and the files of the first: the others' are the eraser's, as `erase_job` has it.

        Raises `store_unavailable`; then the next tick but one goes on.
        """
        at_once = ERASED_AT_ONCE
        for job in self._batches.jobs_of(id):
            at_once -= erase_job(self._jobs, self._store, job, at_once)
        self._batches.erased(id)


def _stand(text: str, status: str, code: str, detail: str, thumbnail: str) -> Standing:
    """`text`: the file's JSON; `code` and `detail` of its job's error, or ""; `thumbnail`: "1" where it has one."""
    file = File(**json.loads(text))
    if file.code is not None:
        return Standing(file.name, "failed", None, file.code, file.detail)
    if status in ("waiting", "expired"):
        return Standing(file.name, cast(Any, status), None, None, None)
    if status == "failed":
        code, detail = code or "internal_error", detail or KINDS["internal_error"].advice
    return Standing(file.name, cast(Any, status), file.job, code or None, detail or None, thumbnail == "1")
