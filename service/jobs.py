"""The job record in Redis: the truth about every job. The message in the queue is only a bell.

States: queued → running → succeeded | failed; any of them → canceled → expired. A worker claims a job and
gets an attempt number and a lease. Each later word about the job carries the attempt; stale ones are refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.lock import Lock
from redis.retry import Retry

from service import scripts
from service.errors import InternalError, LeaseLost, SettingsError, WorkerDied
from service.options import Options

STAGES = ("open", "prepare", "infer", "finish", "save")
MOST_STRIKES = 3
MOST_AT_ONCE = 100
BEAT_TTL = 10.0
"""Seconds after which a worker that does not beat counts as gone."""


@dataclass(frozen=True, slots=True)
class Net:
    """The network that a worker has loaded: its name and the hash of its weights."""

    name: str
    sha256: str


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
    secret_sha256: str
    queue_position: int | None
    """1: the next in line."""
    stage: str | None
    timings: dict[str, float]
    options: Options
    net: Net | None
    result: Result | None
    error_code: str | None
    error_detail: str | None

    def is_opened_by(self, secret: str) -> bool:
        """Whether this is the secret that was given out when the job was made."""
        return hmac.compare_digest(self.secret_sha256, _hash(secret))


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to work on a job, for as long as the lease is renewed."""

    id: str
    attempt: int
    options: Options
    pixels: int


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a stage may be silent: seconds, and seconds more per megapixel of the photo."""

    base: float
    per_megapixel: float

    def arguments(self) -> tuple[int, int]:
        return int(self.base * 1000), int(self.per_megapixel * 1000)


def connect(url: str) -> redis.Redis:
    """A client that gives text, and tells within seconds that a server is gone. Raises SettingsError."""
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=10,
            socket_connect_timeout=5,
            health_check_interval=25,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=3),
        )
    except ValueError as error:
        raise SettingsError(f"AUTOCHROME_REDIS_URL cannot be used: {error}.") from error


def new_id() -> str:
    """128 random bits as 32 hexadecimal digits: whoever does not know an id cannot guess it."""
    return secrets.token_hex(16)


def new_secret() -> str:
    """What its maker needs to erase a job; only a hash of it is kept."""
    return secrets.token_urlsafe(24)


class Jobs:
    """Verbs on the record, each one atomic script. All may raise redis.RedisError."""

    def __init__(self, client: redis.Redis, lease: Lease) -> None:
        self._redis = client
        self._lease = lease.arguments()
        self._script = {
            name: client.register_script(getattr(scripts, name))
            for name in (
                *("RESERVE", "CREATE", "CLAIM", "RENEW", "ADVANCE", "COMPLETE", "FAIL", "RETRY"),
                *("REAP", "STRANDED", "CANCEL", "EXPIRE", "ERASED", "BEAT"),
            )
        }

    def _run(self, name: str, *arguments: str | int | float) -> Any:
        return self._script[name](args=arguments)

    # the API's side

    def reserve(self, id: str, seconds: float) -> None:
        """Promise that files under this id are erased after `seconds`, whatever happens before `create`."""
        self._run("RESERVE", id, int(seconds * 1000))

    def create(self, id: str, secret: str, options: Options, pixels: int, keep_for: float) -> bool:
        """Enter a job as queued. False where the id is taken."""
        made = self._run("CREATE", id, _hash(secret), options.model_dump_json(), pixels, int(keep_for * 1000))
        return bool(made)

    def get(self, id: str) -> Job | None:
        """The job as it stands, None where there is none. Past its time it is `expired`, erased or not."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(_job(id))
            pipe.zrank(_key("queued"), id)
            pipe.time()
            record, rank, (seconds, micros) = pipe.execute()
        if not record:
            return None
        return _read(id, record, rank, now=seconds * 1000 + micros // 1000)

    def cancel(self, id: str) -> bool:
        """Leave a tombstone; a worker on the job is refused from now on. Erase its files, say `erased`."""
        return bool(self._run("CANCEL", id))

    def erased(self, id: str) -> None:
        """Say that no file under this id is left."""
        self._run("ERASED", id)

    # the worker's side

    def is_suspect(self, id: str) -> bool:
        """Whether the job was in a process that died with several jobs, and is to run alone."""
        return self._redis.hget(_job(id), "suspect") is not None

    def claim(self, id: str, worker: str, net: Net) -> Claim | None:
        """Take a queued job. None where another has it, or it is gone."""
        taken = self._run("CLAIM", id, worker, *self._lease, net.name, net.sha256)
        if taken is None:
            return None
        attempt, options, pixels = taken
        return Claim(id, int(attempt), Options.model_validate_json(options), int(pixels))

    def renew(self, claim: Claim) -> None:
        """Lengthen the lease. Raises LeaseLost."""
        _demand(self._run("RENEW", claim.id, claim.attempt, *self._lease))

    def advance(self, claim: Claim, ended: str, seconds: float, following: str) -> None:
        """Note that a stage has ended and the next has begun, which renews the lease. Raises LeaseLost."""
        words = (ended, round(seconds, 4), following)
        _demand(self._run("ADVANCE", claim.id, claim.attempt, *self._lease, *words))

    def complete(self, claim: Claim, save_seconds: float, result: Result) -> None:
        """The job has succeeded with this result. Raises LeaseLost where the attempt is stale."""
        _demand(
            self._run(
                *("COMPLETE", claim.id, claim.attempt, round(save_seconds, 4), result.key, result.width),
                *(result.height, result.media_type, result.sha256, result.bytes),
            )
        )

    def fail(self, claim: Claim, code: str, detail: str) -> None:
        """The job cannot succeed, now or later. Raises LeaseLost where the attempt is stale."""
        _demand(self._run("FAIL", claim.id, claim.attempt, code, detail))

    def retry(self, claim: Claim, strike: bool) -> bool:
        """Give the job back after an error of ours: True where it waits again, False where it has failed.

        `strike`: the error may be this job's doing, three of which are the end. Raises LeaseLost.
        """
        error = InternalError.code, InternalError.advice
        state = self._run("RETRY", claim.id, claim.attempt, *error, MOST_STRIKES, int(strike))
        _demand(state >= 0)
        return bool(state == 1)

    # the reaper's side

    def reap(self) -> Sequence[str]:
        """Take jobs from workers that fell silent. Returns those that wait again and want a bell."""
        found = self._run("REAP", WorkerDied.code, WorkerDied.advice, MOST_STRIKES, MOST_AT_ONCE)
        return cast(Sequence[str], found)

    def stranded(self, older_than: float, quiet: float) -> Sequence[str]:
        """Jobs that have waited for some seconds; at most once in `quiet` seconds, whoever asks."""
        found = self._run("STRANDED", int(older_than * 1000), int(quiet * 1000), MOST_AT_ONCE)
        return cast(Sequence[str], found)

    def expire(self) -> Sequence[str]:
        """Bury jobs past their time. Returns ids whose files are to be erased; then say `erased`."""
        return cast(Sequence[str], self._run("EXPIRE", MOST_AT_ONCE))

    def reaper_lock(self, seconds: float) -> Lock:
        """The lock under which one worker at a time reaps; not waited for."""
        return cast(Lock, self._redis.lock(_key("reaper"), timeout=seconds, blocking=False))

    # the workers themselves

    def beat(self, worker: str, net: Net, device: str) -> None:
        """Say that a worker lives and has its net loaded."""
        self._run("BEAT", worker, int(BEAT_TTL * 1000), net.name, net.sha256, device)

    def gone(self, worker: str) -> None:
        """Say that a worker has stopped in order."""
        self._redis.zrem(_key("workers"), worker)

    def workers(self) -> dict[str, Net]:
        """Workers that have beaten lately, and the net of each."""
        seconds, micros = self._redis.time()
        oldest = seconds * 1000 + micros // 1000 - int(BEAT_TTL * 1000)
        names = cast(list[str], self._redis.zrangebyscore(_key("workers"), oldest, "+inf"))
        found = {name: cast(dict[str, str], self._redis.hgetall(_key(f"worker:{name}"))) for name in names}
        return {name: Net(seen["net"], seen["net_sha256"]) for name, seen in found.items() if seen}


def _key(name: str) -> str:
    return scripts.PREFIX + name


def _job(id: str) -> str:
    return _key(f"job:{id}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _demand(done: object) -> None:
    if not done:
        raise LeaseLost


def _read(id: str, record: dict[str, str], rank: int | None, now: int) -> Job:
    expired = now >= int(record["expires"])
    net = Net(record["net"], record["net_sha256"]) if "net" in record else None
    result = None
    if "result_key" in record:
        result = Result(
            key=record["result_key"],
            width=int(record["result_width"]),
            height=int(record["result_height"]),
            media_type=record["result_media_type"],
            sha256=record["result_sha256"],
            bytes=int(record["result_bytes"]),
        )
    return Job(
        id=id,
        status="expired" if expired else record["status"],
        created=int(record["created"]),
        expires=int(record["expires"]),
        secret_sha256=record["secret"],
        queue_position=None if rank is None else rank + 1,
        stage=record.get("stage"),
        timings={s: float(record[f"seconds_{s}"]) for s in STAGES if f"seconds_{s}" in record},
        options=Options.model_validate_json(record.get("options", "{}")),
        net=net,
        result=result,
        error_code=record.get("error_code"),
        error_detail=record.get("error_detail"),
    )
