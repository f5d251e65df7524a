"""Many photos as one order of jobs: the batch record in Redis, and the scheduler that queues their jobs as there is room.

States: receiving → complete; both → canceled → expired. A complete batch has ended when all of its jobs have. Each
photo is kept in the store under the id of its job before it stands here; what a crash leaves in between is erased
when the batch expires.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import redis
from redis.exceptions import LockError
from structlog.contextvars import bound_contextvars

from service.budgets import Quota
from service.database import PREFIX, Scripts
from service.errors import KINDS, Problem, StoreUnavailable
from service.jobs import Bounds, Jobs, Order, secret_hash
from service.observability import get_logger
from service.schemas import Options
from service.storage import Store

SCHEDULE_EVERY = 1.0
"""Seconds between two ticks of the scheduler."""
SHARE = 0.5
"""Of the queue, that batches may fill; the rest is kept for people."""
MOST_AT_ONCE = 200
LOCK_SECONDS = 30.0
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
    job: str | None
    """Id of the job that colors it; None where it was refused, for `code` and `detail`."""
    pixels: int = 0
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
class Turn:
    """The file that is to be queued next, and on whose behalf."""

    batch: str
    place: int
    file: File
    seconds_left: float
    """Until the batch expires."""
    owner: str
    address: str
    request_id: str
    options: Options


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
        return self._jobs.secret_for(f"batch {id}")

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
    ) -> int:
        """Begin a batch, or go on with it. Returns when it expires.

        `secret`: what the sender knows. A new batch gets it for its own; one that no key made is gone on with by
        it alone, since whoever is shown the batch knows all else.
        Raises `id_conflict`, `secret_missing`, `secret_wrong`, `canceled`, `expired`, or `queue_full` for a new one.
        """
        opened: int | str = self._run(
            *("open", id, int(keep_for * 1000), fingerprint, owner, address, request_id),
            *(options.model_dump_json(), self._most_waiting, secret_hash(secret) if secret else ""),
            *(secret_hash(self.secret_for(id)), secrets.token_hex(8)),
        )
        match opened:
            case int():
                return opened
            case "another":
                raise Problem("id_conflict")
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
        return not self._add(id, mark, "", waits=False)

    def add(self, id: str, mark: str, file: File) -> bool:
        """Take a file in, which waits from now on if it has a job's id; False where it was there already.

        Raises `batch_too_large`; `canceled` where the batch is gone; `id_conflict` where it was complete without this file.
        """
        return self._add(id, mark, json.dumps(asdict(file)), waits=file.job is not None)

    def _add(self, id: str, mark: str, file: str, waits: bool) -> bool:
        match self._run("add", id, mark, self._most_files, file, int(waits)):
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

    def files(self, id: str) -> list[Standing]:
        """How each file stands, in the order in which they came."""
        kept = cast(list[str], self._redis.lrange(f"{PREFIX}batch:{id}:files", 0, -1))
        # Asked before the jobs are: what does not wait any more has one.
        waiting = {
            int(place) for place in cast(list[str], self._redis.zrange(f"{PREFIX}batch:{id}:waiting", 0, -1))
        }
        files = [File(**json.loads(text)) for text in kept]
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for file in files:
                fields = ("status", "expires", "error_code", "error_detail")
                pipe.hmget(f"{PREFIX}job:{file.job or ''}", fields)
            (seconds, micros), *jobs = pipe.execute()
        now = seconds * 1000 + micros // 1000
        return [
            _stand(file, place in waiting, job, now)
            for place, (file, job) in enumerate(zip(files, jobs, strict=True))
        ]

    def jobs_of(self, id: str) -> Sequence[str]:
        """The ids of all jobs that its files have or would have."""
        kept = cast(list[str], self._redis.lrange(f"{PREFIX}batch:{id}:files", 0, -1))
        return [job for text in kept if (job := json.loads(text)["job"])]

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

    def next(self) -> Turn | None:
        """The file that is to be queued next; None where none waits or may be."""
        seen = self._run("next")
        if seen is None:
            return None
        id, place, file, left, owner, address, request_id, options = seen
        return Turn(
            batch=id,
            place=int(place),
            file=File(**json.loads(file)),
            seconds_left=left / 1000,
            owner=owner,
            address=address,
            request_id=request_id,
            options=Options.model_validate_json(options),
        )

    def charge(self, turn: Turn) -> bool:
        """Note that the file is being charged: True once, to whoever is to do it. Who dies in between charges nothing."""
        return bool(self._run("charge", turn.batch, turn.place))

    def uncharge(self, turn: Turn) -> None:
        """Note that the charge was refused, or given back."""
        self._run("uncharge", turn.batch, turn.place)

    def queued(self, turn: Turn) -> bool:
        """Say that the file has its job. False where the batch is gone, and the job is to be erased."""
        return bool(self._run("queued", turn.batch, turn.place))

    def postpone(self, id: str, seconds: float) -> None:
        """Let the other batches go first for so long."""
        self._run("postpone", id, int(seconds * 1000))


class Scheduler:
    """Queues the photos of batches as there is room. It runs in every API process; a lock sees to it that one does so at a time.

    Every step can be cut off, and is made up for by the next tick.
    """

    def __init__(
        self,
        client: redis.Redis,
        batches: Batches,
        jobs: Jobs,
        store: Store,
        quota: Quota,
        bounds: Bounds,
        notify: Callable[[str], None],
    ) -> None:
        """`bounds`: of the whole queue."""
        self._redis = client
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
        """Queue what there is room for, unless another does so just now. May raise redis.RedisError."""
        lock = self._redis.lock(PREFIX + "batches:scheduling", timeout=LOCK_SECONDS, blocking=False)
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
                self._batches.postpone(turn.batch, float(limited.headers.get("Retry-After", SCHEDULE_EVERY)))
                return True
        try:
            self._jobs.create(job, self._jobs.secret_for(job), order, self._bounds)
        except Problem:  # the queue is full
            if charges:  # what was charged before stays so: the next turn takes nothing off the quota
                self._quota.give_back(*charge)
                self._batches.uncharge(turn)
            return False
        if self._batches.queued(turn):
            self._notify(job)
            with bound_contextvars(request=turn.request_id):
                log.info("job_queued", job=job, batch=turn.batch, megapixels=turn.file.pixels / 1e6)
        else:  # it was canceled meanwhile
            with suppress(StoreUnavailable):
                self._erase_job(job)
        return True


def _stand(file: File, waits: bool, job: list[str | None], now: int) -> Standing:
    """`job`: status, expires, error_code and error_detail of its record."""
    status, expires, code, detail = job
    if file.code is not None:
        return Standing(file.name, "failed", None, file.code, file.detail)
    if status is None or expires is None:
        return Standing(file.name, "waiting" if waits else "expired", None, None, None)
    if now >= int(expires):
        status = "expired"
    if status == "failed":
        code, detail = code or "internal_error", detail or KINDS["internal_error"].advice
    return Standing(file.name, cast(Any, status), file.job, code, detail)
