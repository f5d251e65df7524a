"""What is said of a job, as plain values: what is asked for, a worker's claim, how it stands, what has happened to it."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from model.errors import Notice
from service.schemas import Options

STAGES = ("open", "preprocess", "infer", "postprocess", "save")
ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})
UNKNOWN_WAIT, LONGEST_RETRY_AFTER = 5, 3600
"""Seconds after which to come again where the queue is full: at an unknown speed, and at the slowest."""
ArtifactKind = Literal[
    "alternative",
    "comparison",
    "sidecar",
    "confidence",
    "distribution",
    "suggestions",
    "thumbnail",
    "gray",
    "color_layer",
]
"""Of what is made beside a result."""
_EVENT_ID = re.compile(r"\d{1,9}")
_EVENTS_AN_ATTEMPT = 10
_AFTER_ALL = {"canceled": 999_999_998, "expired": 999_999_999}
"""Numbers of the events that come when nothing else is left of a job."""


@dataclass(frozen=True, slots=True)
class Net:
    """A network: its name and the hash of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Loaded(Net):
    """A network that a worker has loaded, and where."""

    device: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whose budgets something is taken from, as `budgets.payer` has it, and how many bytes that one may hold at a time: of the store, and
    of records; 0: no limit."""

    payer: str = ""
    store: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for when a job is entered."""

    options: Options
    pixels: int
    """That coloring it counts as (`budgets.work`)."""
    keep_for: float
    """Seconds."""
    batch: bool = False
    """Lets those go first that are made within an hour after it."""
    owner: str = ""
    """Id of the API key that made it; empty: nobody's."""
    request_id: str = ""
    fingerprint: str = ""
    """SHA-256 of photo and options as hexadecimal digits: is it the same request again, or another one?"""
    group: str = ""
    """Id of the batch that it belongs to."""
    upload: str = ""
    """Name of the upload that brought the photo, as `storage.photo_key` takes it."""
    memory: int = 0
    """Bytes that a worker needs for it, reckoned from its header; 0: unknown, and as many as any photo of so many pixels."""
    revises: str = ""
    """Id of the job whose photo is colored anew, by the upload of this name. Erased with it, and no later."""
    allowance: Allowance = Allowance()
    """From which the record is taken. An attempt that ends its worker is taken off its payer's quota once more."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait."""

    jobs: int
    pixels: int


class Entered(StrEnum):
    """What became of a job that was to be entered, in the words of `lua/create.lua`."""

    TAKEN = "taken"
    """The id is: nothing was entered."""
    QUIETLY = "quietly"
    """Workers have as many notifications to answer as would wake them all."""
    TO_NOTIFY = "to_notify"
    """A worker that has nothing to do would not know of it."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits and runs."""

    jobs: int
    pixels: int
    running: int
    running_pixels: int
    pixels_per_s: float | None
    """Ended in the last minute, per second in which there was work; None where nothing was."""
    oldest_ms: int
    """For how long the one that waits longest has waited."""
    store: int = 0
    """Bytes of the store: photos, results, and room for those to come."""
    store_room: int = 0
    """Of these, room."""

    @property
    def retry_after(self) -> int:
        """Seconds until one job less of average size is likely to wait, 1 to 3600."""
        return wait_for(self.pixels / max(self.jobs, 1), self.pixels_per_s or 0)


@dataclass(frozen=True, slots=True)
class Space:
    """What an upload takes of the store, and how much there is. Bytes."""

    photo: int = 0
    results: int = 0
    """Room that is kept until they are written: an estimate."""
    most: int = 0
    """In the store, of all; 0: no limit."""
    free: int | None = None
    """That may still be written to the store's disk; None: unknown."""
    allowance: Allowance = Allowance()


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a stage may be silent: seconds, and seconds more per megapixel of the photo."""

    base: float
    per_megapixel: float

    def arguments(self) -> tuple[int, int]:
        """Whole milliseconds, and those per megapixel, as scripts take them."""
        return int(self.base * 1000), int(self.per_megapixel * 1000)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to work on a job, for as long as the lease is renewed."""

    id: str
    attempt: int
    options: Options
    pixels: int
    request_id: str
    upload: str
    """Name of the upload that brought the photo, as `storage.photo_key` takes it."""
    failures: int
    """Attempts that have failed before, perhaps by this photo's doing. An attempt that only the store held up is none."""
    memory: int = 0
    """Bytes that the worker needs for it."""
    revises: str = ""
    """Id of the job whose photo is colored anew; empty: its own."""

    @property
    def photo_of(self) -> str:
        """Id of the job under which its photo lies."""
        return self.revises or self.id

    @property
    def isolate(self) -> bool:
        """It is alone in its worker until it has ended."""
        return self.failures > 0


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The next job needs more memory than the worker has room for, or one that the worker has, or is to take next, is alone."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that was made from a photo."""

    name: str
    kind: ArtifactKind
    key: str
    media_type: str
    bytes: int
    rank: int | None = None
    """Of an alternative: 1, the likeliest, and so on."""
    probability: float | None = None
    """Of an alternative: 0…1, of its color against the result's."""


@dataclass(frozen=True, slots=True)
class Result:
    """Where a finished picture lies in the store, and what it is."""

    key: str
    width: int
    height: int
    media_type: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stood at one moment. Times are milliseconds since 1970 on the server's clock."""

    id: str
    status: str
    created: int
    expires: int
    completed: int | None
    """When its result was there."""
    secret_sha256: str
    queue_position: int | None
    """1: the next in line."""
    eta_s: float | None
    """Seconds until it is likely to be done, while it waits and the speed is known."""
    stage: str | None
    timings: dict[str, float]
    options: Options
    net: Net | None
    result: Result | None
    artifacts: tuple[Artifact, ...]
    notices: tuple[Notice, ...]
    """What a person should know of the picture, although it was colored."""
    error_code: str | None
    error_detail: str | None
    owner: str
    group: str
    fingerprint: str
    attempt: int
    """How many attempts have begun."""
    upload: str
    """Name of the upload that brought the photo, as `storage.photo_key` takes it."""
    revises: str
    """Id of the job whose photo is colored anew; empty: its own."""

    @property
    def photo_of(self) -> str:
        """Id of the job under which its photo lies."""
        return self.revises or self.id

    def is_opened_by(self, secret: str) -> bool:
        """Whether this is the secret that was given out when the job was made."""
        return hmac.compare_digest(self.secret_sha256, secret_hash(secret))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job: queued, stage, succeeded, failed, canceled or expired."""

    id: str
    name: str
    data: dict[str, Any]


def secret_hash(secret: str) -> str:
    """All that is kept of a secret. JSON can hold halves of surrogate pairs, which are no UTF-8."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def events_of(job: Job, after: str = "0") -> list[Event]:
    """What there is to tell of a job to who has seen its event `after`, each once: that it was queued, the stage it is in, or its end.

    All follows from how it stands, so that nothing is kept for it: a stage that is over is not told any more, and of an erased job
    only that. An id is the attempt and the step in it as one number, which only grows.
    """
    first = _EVENTS_AN_ATTEMPT * job.attempt
    found: list[tuple[int, str, dict[str, Any]]] = []
    if job.status in _AFTER_ALL:
        found = [(_AFTER_ALL[job.status], job.status, {})]
    elif job.status == "queued":
        if job.queue_position is not None:  # else it waits in its batch
            found = [(first + _EVENTS_AN_ATTEMPT, "queued", {})]
    else:
        found = [(first, "queued", {})]
        if job.status in ENDED:
            found.append((first + _EVENTS_AN_ATTEMPT - 1, job.status, {}))
        elif job.stage:
            step = STAGES.index(job.stage) if job.stage in STAGES else len(STAGES)
            found.append((first + 1 + step, "stage", {"name": job.stage}))
    seen = int(after) if _EVENT_ID.fullmatch(after) else 0
    return [Event(str(number), name, data) for number, name, data in found if number > seen]


def job_of(id: str, record: Mapping[str, str], now: int, position: int | None, eta_s: float | None) -> Job:
    """An erased record has no more than status, created, expires and secret. A job that waits in its batch is yet to be queued."""
    status = "queued" if record["status"] == "waiting" else record["status"]
    return Job(
        id=id,
        status="expired" if now >= int(record["expires"]) else status,
        created=int(record["created"]),
        expires=int(record["expires"]),
        completed=int(record["completed"]) if "completed" in record else None,
        secret_sha256=record["secret"],
        queue_position=position,
        eta_s=eta_s,
        stage=record.get("stage"),
        timings={stage: float(record[f"s_{stage}"]) for stage in STAGES if f"s_{stage}" in record},
        options=Options.model_validate_json(record.get("options", "{}")),
        net=Net(record["net"], record["net_sha256"]) if "net" in record else None,
        result=_result(record),
        artifacts=tuple(Artifact(**fields) for fields in json.loads(record.get("artifacts") or "[]")),
        notices=tuple(Notice(**fields) for fields in json.loads(record.get("notices") or "[]")),
        error_code=record.get("error_code"),
        error_detail=record.get("error_detail"),
        owner=record.get("owner", ""),
        group=record.get("group", ""),
        fingerprint=record.get("fingerprint", ""),
        attempt=int(record.get("attempt", 0)),
        upload=record.get("upload", ""),
        revises=record.get("revises", ""),
    )


def _result(record: Mapping[str, str]) -> Result | None:
    if "result_key" not in record:
        return None
    return Result(
        key=record["result_key"],
        width=int(record["result_width"]),
        height=int(record["result_height"]),
        media_type=record["result_media_type"],
        sha256=record["result_sha256"],
        bytes=int(record["result_bytes"]),
    )


def wait_for(pixels: float, pixels_per_s: float) -> int:
    """Seconds in which so much is done at this speed, `UNKNOWN_WAIT` where that is not known."""
    seconds = math.ceil(pixels / pixels_per_s) if pixels_per_s else UNKNOWN_WAIT
    return min(max(seconds, 1), LONGEST_RETRY_AFTER)
