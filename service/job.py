"""One job as plain values: what is asked for, what a worker holds, and how it stands."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ValidationError

from service.prelude import VERSION
from service.schemas import Options

UNKNOWN_WAIT, LONGEST_WAIT = 5, 3600
"""Seconds after which to come again where the queue is full: at an unknown speed, and at the slowest."""
ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})
STAGES = ("open", "preprocess", "infer", "postprocess", "save")


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
class Order:
    """What is asked for when a job is entered."""

    options: Options
    pixels: int
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
    """Name of the upload that brought the photo, as `store.photo_key` takes it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait."""

    jobs: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Entered:
    """Whether the job is a new one, or the id was taken."""

    new: bool


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


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that was made from a photo."""

    name: str
    kind: Literal["result", "comparison", "sidecar"]
    key: str
    media_type: str
    bytes: int


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
class Claim:
    """A worker's right to work on a job, for as long as the lease is renewed."""

    id: str
    attempt: int
    options: Options
    pixels: int
    request_id: str
    upload: str
    """Name of the upload that brought the photo, as `store.photo_key` takes it."""
    suspect: bool
    """It was in a process that died with several jobs. It is alone in its worker, until it has ended."""


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a stage may be silent: seconds, and seconds more per megapixel of the photo."""

    base: float
    per_megapixel: float

    def arguments(self) -> tuple[int, int]:
        return int(self.base * 1000), int(self.per_megapixel * 1000)


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The next job has more pixels than the worker has room for, or it, or one that the worker has, is to be alone."""

    pixels: int
    suspect: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stood at one moment. Times are milliseconds since 1970 on the server's clock."""

    id: str
    v: int
    """Version of the record."""
    status: str
    created: int
    expires: int
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
    error_code: str | None
    error_detail: str | None
    batch: bool
    owner: str
    request_id: str
    group: str
    fingerprint: str

    def is_opened_by(self, secret: str) -> bool:
        """Whether this is the secret that was given out when the job was made."""
        return hmac.compare_digest(self.secret_sha256, secret_hash(secret))


def wait_for(pixels: float, pixels_per_s: float) -> int:
    """Seconds in which so much is done at this speed, 0 where it is not known."""
    seconds = math.ceil(pixels / pixels_per_s) if pixels_per_s else UNKNOWN_WAIT
    return min(max(seconds, 1), LONGEST_WAIT)


def new_id() -> str:
    """128 random bits as 32 hexadecimal digits: whoever does not know an id cannot guess it."""
    return secrets.token_hex(16)


def secret_hash(secret: str) -> str:
    """All that is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def artifacts_json(artifacts: tuple[Artifact, ...]) -> str:
    """As the record keeps them."""
    return json.dumps([asdict(one) for one in artifacts])


def read_job(id: str, record: Mapping[str, str], now: int, position: int | None, eta_s: float | None) -> Job:
    """A record of any version: what an older one does not have is the default, what a newer one adds is not seen."""
    version = int(record.get("v", 1))
    expired = now >= int(record["expires"])
    return Job(
        id=id,
        v=version,
        status="expired" if expired else record["status"],
        created=int(record["created"]),
        expires=int(record["expires"]),
        secret_sha256=record["secret"],
        queue_position=position,
        eta_s=eta_s,
        stage=record.get("stage"),
        timings={s: float(record[f"seconds_{s}"]) for s in STAGES if f"seconds_{s}" in record},
        options=_options(record.get("options", "{}"), newer=version > VERSION),
        net=Net(record["net"], record["net_sha256"]) if "net" in record else None,
        result=_result(record),
        artifacts=tuple(_artifact(one) for one in json.loads(record.get("artifacts", "[]"))),
        error_code=record.get("error_code"),
        error_detail=record.get("error_detail"),
        batch=record.get("batch") == "1",
        owner=record.get("owner", ""),
        request_id=record.get("request_id", ""),
        group=record.get("group", ""),
        fingerprint=record.get("fingerprint", ""),
    )


def _options(text: str, newer: bool) -> Options:
    if not newer:
        return Options.model_validate_json(text)
    known = {name: value for name, value in json.loads(text).items() if name in Options.model_fields}
    try:
        return Options.model_validate(known)
    except ValidationError:  # a value that only a newer one knows; this is but shown, claims refuse it
        return Options()


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


def _artifact(fields: Mapping[str, Any]) -> Artifact:
    return Artifact(**{name: fields[name] for name in Artifact.__dataclass_fields__})
