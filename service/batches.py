"""The batch record in Redis: which files came, and which of them wait until the queue has room.

States: receiving → complete; both → canceled → expired. A complete batch has ended when all of its jobs have. Each
photo is kept in the store under the id of its job before it stands here; what a crash leaves in between is erased
when the batch expires.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import redis

from service import batch_scripts as scripts
from service.errors import KINDS, Problem
from service.job import secret_hash
from service.jobs import Jobs
from service.prelude import PREFIX
from service.schemas import Options

RETRY_AFTER = 60
"""Seconds after which there may be room for another batch."""
UNPROVEN = (
    "There is a batch under this id. To go on with it, send the secret that it was begun with, or that came with "
    "its answer: `Authorization: Bearer <secret>`."
)


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
        self._script = {
            name: client.register_script(getattr(scripts, name))
            for name in (
                *("OPEN", "ADD", "CLOSE", "SHOW", "NEXT", "CHARGE", "UNCHARGE", "QUEUED", "POSTPONE"),
                *("CANCEL", "ERASED", "ERASING"),
            )
        }

    def _run(self, name: str, *arguments: str | int) -> Any:
        return self._script[name](args=arguments)

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
        expires: int = self._run(
            *("OPEN", id, int(keep_for * 1000), fingerprint, owner, address, request_id),
            *(options.model_dump_json(), self._most_waiting, secret_hash(secret) if secret else ""),
            secret_hash(self.secret_for(id)),
        )
        match expires:
            case scripts.EXPIRED:
                raise Problem("expired")
            case scripts.CANCELED:
                raise Problem("canceled")
            case scripts.ANOTHER:
                raise Problem("id_conflict")
            case scripts.UNPROVEN:
                raise Problem("secret_wrong", UNPROVEN) if secret else Problem("secret_missing", UNPROVEN)
            case scripts.NO_ROOM:
                raise Problem(
                    "queue_full", what="Too many photos of other batches wait.", retry_after=RETRY_AFTER
                )
        return expires

    def knows(self, id: str, mark: str) -> bool:
        """Whether a file is there already. Raises as `add` would."""
        return not self._add(id, mark, "", waits=False)

    def add(self, id: str, mark: str, file: File) -> bool:
        """Take a file in, which waits from now on if it has a job's id; False where it was there already.

        Raises `batch_too_large`; `canceled` where the batch is gone; `id_conflict` where it was complete without this file.
        """
        return self._add(id, mark, json.dumps(asdict(file)), waits=file.job is not None)

    def _add(self, id: str, mark: str, file: str, waits: bool) -> bool:
        added: int = self._run("ADD", id, mark, self._most_files, file, int(waits))
        match added:
            case scripts.GONE:
                raise Problem("canceled")
            case scripts.COMPLETE:
                raise Problem(
                    "id_conflict", "The batch was sent to its end without this photo. Make a new one for it."
                )
            case scripts.FULL:
                raise Problem("batch_too_large", what=f"{self._most_files} photos are the most in one batch.")
        return added == 1

    def close(self, id: str) -> None:
        """Say that all of it has come. Raises `canceled` where the batch is gone."""
        if self._run("CLOSE", id) != 1:
            raise Problem("canceled")

    def get(self, id: str) -> Batch | None:
        """The batch as it stands, None where there is none."""
        seen = self._run("SHOW", id)
        if not seen:
            return None
        now, status, created, expires, owner, secret, options = seen
        shown = cast(Any, "expired" if now >= int(expires) else status)
        return Batch(
            *(id, shown, int(created), int(expires), owner, secret or secret_hash(self.secret_for(id))),
            Options.model_validate_json(options),
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
        """Leave a tombstone: nothing more is taken in or queued. Erase its files, say `erased`.

        False where there is nothing to erase.
        """
        return bool(self._run("CANCEL", id))

    def erased(self, id: str) -> None:
        """Say that no file of it is left."""
        self._run("ERASED", id)

    def is_idle(self) -> bool:
        """Whether nothing waits to be queued or erased."""
        return not self._redis.exists(f"{PREFIX}batches", f"{PREFIX}batches:erasing")

    def half_erased(self, seconds: float) -> Sequence[str]:
        """`canceled` batches whose files have not been erased for so long."""
        return cast(Sequence[str], self._run("ERASING", int(seconds * 1000)))

    def next(self) -> Turn | None:
        """The file that is to be queued next; None where none waits or may be."""
        seen = self._run("NEXT")
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
        return bool(self._run("CHARGE", turn.batch, turn.place))

    def uncharge(self, turn: Turn) -> None:
        """Note that the charge was refused, or given back."""
        self._run("UNCHARGE", turn.batch, turn.place)

    def queued(self, turn: Turn) -> bool:
        """Say that the file has its job. False where the batch is gone, and the job is to be erased."""
        return bool(self._run("QUEUED", turn.batch, turn.place))

    def postpone(self, id: str, seconds: float) -> None:
        """Let the other batches go first for so long."""
        self._run("POSTPONE", id, int(seconds * 1000))


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
