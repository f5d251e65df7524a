"""The job record in Redis: the truth about every job. The message in the queue is only a bell.

States: queued → running → succeeded | failed; any of them → canceled → expired. A worker claims a job and
gets an attempt number and a lease. Each later word about the job carries the attempt; stale ones are refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from service import metrics, reaper_scripts, scripts
from service.errors import KINDS, LeaseLost, Problem, SettingsError
from service.events import Event
from service.job import (
    STAGES,
    Artifact,
    Bounds,
    Claim,
    Depth,
    Entered,
    Job,
    Lease,
    Loaded,
    Net,
    NoRoom,
    Order,
    Result,
    artifacts_json,
    new_id,
    read_job,
    secret_hash,
    wait_for,
)
from service.prelude import PREFIX, VERSION
from service.schemas import Options

__all__ = [
    "STAGES",
    "VERSION",
    "Artifact",
    "Bounds",
    "Claim",
    "Depth",
    "Entered",
    "Job",
    "Jobs",
    "Lease",
    "Loaded",
    "Net",
    "NoRoom",
    "Order",
    "Result",
    "connect",
    "new_id",
]

MOST_STRIKES = 3
MOST_AT_ONCE = 100
MOST_BELLS = 300
BEAT_TTL = 6.0
"""Seconds after which a worker that does not beat counts as gone, and its jobs are given to others."""
CALM = 2.5
"""Seconds that workers have to beat again after all were cut off."""
_EVENT_ID = re.compile(r"\d{1,19}(-\d{1,19})?")


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


def refuse_cluster(url: str) -> None:
    """Raises SettingsError where the server is a node of a Redis Cluster. One that does not answer now is let pass."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), retries=0)
        ) as client:
            is_cluster = cast(dict[str, Any], client.info("cluster")).get("cluster_enabled") == 1
    except (redis.RedisError, ValueError):  # or it may not say; a URL that is wrong is said by `connect`
        return
    if is_cluster:
        raise SettingsError(
            "AUTOCHROME_REDIS_URL names a node of a Redis Cluster, which cannot serve: each script here works on many "
            "keys at once. Name a single Redis or Valkey; it may have replicas."
        )


class Jobs:
    """Verbs on the record, each one atomic script.

    All may raise redis.RedisError: where there is no server, and where it cannot write, being out of memory
    (OOM), out of disk (MISCONF) or a replica (READONLY). One without memory refuses new jobs, no other verb.
    """

    def __init__(self, client: redis.Redis, lease: Lease) -> None:
        self._redis = client
        self._lease = lease.arguments()
        self._unheard = threading.local()
        self._script = {
            name: client.register_script(getattr(module, name))
            for module, names in (
                (scripts, "RESERVE CREATE SHOW DEPTH CLAIM HELD RENEW ADVANCE COMPLETE FAIL RETRY CANCEL"),
                (scripts, "BEAT STALLED"),
                (reaper_scripts, "REAP STRANDED EXPIRE ERASED POSTPONE LOCK UNLOCK"),
            )
            for name in names.split()
        }

    def _run(self, name: str, *arguments: str | int | float) -> Any:
        return self._script[name](args=arguments)

    # the API's side

    def reserve(self, id: str, seconds: float) -> bool:
        """Promise that files under this id are erased after `seconds`, whatever happens before `create`.

        False where the id is taken: then there is nothing to write under it.
        """
        return bool(self._run("RESERVE", id, int(seconds * 1000)))

    def create(self, id: str, secret: str, order: Order, bounds: Bounds) -> Entered:
        """Enter a job as queued, unless the id is taken. Raises `queue_full`.

        Of several calls with one id, one makes the job, whose photo is that of its own upload. A queue that is
        empty has room for any photo.
        """
        state, *full = self._run(
            *("CREATE", id, secret_hash(secret), order.options.model_dump_json(), order.pixels),
            *(int(order.keep_for * 1000), int(order.batch), order.owner, order.request_id, order.fingerprint),
            *(order.group, secrets.token_hex(8), bounds.jobs, bounds.pixels, order.upload),
        )
        if state == -1:
            jobs, pixels, speed = full
            missing = pixels + order.pixels - bounds.pixels
            raise Problem(
                "queue_full", retry_after=wait_for(max(missing, pixels / max(jobs, 1)), float(speed))
            )
        return Entered(new=state == 1)

    def depth(self) -> Depth:
        """How much waits and runs, and how fast it gets done."""
        jobs, pixels, running, running_pixels, speed, oldest_ms = self._run("DEPTH")
        return Depth(jobs, pixels, running, running_pixels, float(speed) or None, oldest_ms)

    def retry_after(self) -> int:
        """Seconds until one job less of average size is likely to wait, 1 to 3600."""
        depth = self.depth()
        return wait_for(depth.pixels / max(depth.jobs, 1), depth.pixels_per_s or 0)

    def secret_for(self, id: str) -> str:
        """The secret of a job: whoever makes it again by the same id hears the same."""
        return _text(self._hmac(f"secret {id}"))

    def id_for(self, owner: str, key: str) -> str:
        """The id of the job that an owner's Idempotency-Key stands for: 32 hexadecimal digits."""
        return self._hmac(f"id {len(owner)} {owner} {key}").hex()[:32]

    def get(self, id: str) -> Job | None:
        """The job as it stands, None where there is none. Past its time it is `expired`, erased or not."""
        now, position, eta, flat = self._run("SHOW", id)
        if not flat:
            return None
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        return read_job(id, record, now, position, None if eta is None else float(eta))

    def events(self, id: str, after: str = "0") -> list[Event]:
        """What happened to a job after an event: the last 64, or the very last one when it is erased."""
        since = after if _EVENT_ID.fullmatch(after) else "0"
        rows = cast(
            list[tuple[str, dict[str, str]]], self._redis.xrange(f"{_job(id)}:events", min=f"({since}")
        )
        return [Event(event, fields["name"], json.loads(fields["data"])) for event, fields in rows]

    def cancel(self, id: str) -> bool:
        """Leave a tombstone; a worker on the job is refused from now on. Erase its files, say `erased`."""
        return bool(self._run("CANCEL", id))

    def erased(self, id: str, deadline: float = 300.0) -> None:
        """Say that no file under this id is left. A worker on it may still write for `deadline` seconds."""
        self._run("ERASED", id, int(deadline * 1000))

    # the worker's side

    def claim(self, worker: str, net: Net, room_pixels: int, alone: bool) -> Claim | NoRoom | None:
        """Take the best queued job: interactive ones first, then the oldest. None where nothing waits.

        `alone`: the worker holds nothing, so that there is room for a job of any size, and for a suspect. A
        thread whose last claim raised gets what that one took, if it took something.
        """
        mark = getattr(self._unheard, "mark", None) or secrets.token_hex(8)
        self._unheard.mark = mark
        taken = self._run("CLAIM", worker, *self._lease, net.name, net.sha256, room_pixels, int(alone), mark)
        self._unheard.mark = None
        if taken is None:
            return None
        if len(taken) == 2:
            return NoRoom(int(taken[0]), taken[1] != "")
        id, attempt, options, pixels, request_id, upload, suspect = taken
        return Claim(
            *(id, int(attempt), Options.model_validate_json(options), int(pixels), request_id, upload),
            suspect=suspect != "",
        )

    def is_held(self, claim: Claim) -> bool:
        """Whether the job is still this attempt's: cheap, to be asked before dear work."""
        return bool(self._run("HELD", claim.id, claim.attempt))

    def renew(self, claim: Claim) -> None:
        """Lengthen the lease. Raises LeaseLost."""
        _demand(self._run("RENEW", claim.id, claim.attempt, *self._lease))

    def advance(self, claim: Claim, ended: str, seconds: float, following: str) -> None:
        """Note that a stage has ended and the next has begun, which renews the lease. Raises LeaseLost."""
        words = (ended, *_timed(seconds), following)
        _demand(self._run("ADVANCE", claim.id, claim.attempt, *self._lease, *words))

    def complete(
        self, claim: Claim, save_seconds: float, result: Result, artifacts: Sequence[Artifact] = ()
    ) -> None:
        """The job has succeeded with this result. Raises LeaseLost where the attempt is stale."""
        _demand(
            self._run(
                *("COMPLETE", claim.id, claim.attempt, *_timed(save_seconds), result.key, result.width),
                *(result.height, result.media_type, result.sha256, result.bytes),
                artifacts_json(tuple(artifacts)),
            )
        )

    def fail(self, claim: Claim, code: str, detail: str) -> None:
        """The job cannot succeed, now or later. Raises LeaseLost where the attempt is stale."""
        _demand(self._run("FAIL", claim.id, claim.attempt, code, detail))

    def retry(self, claim: Claim, strike: bool) -> bool:
        """Give the job back after an error of ours: True where it waits again, False where it has failed.

        `strike`: the error may be this job's doing, three of which are the end. Raises LeaseLost.
        """
        error = "internal_error", KINDS["internal_error"].advice
        state = self._run("RETRY", claim.id, claim.attempt, *error, MOST_STRIKES, int(strike))
        _demand(state >= 0)
        return bool(state == 1)

    # the reaper's side

    def reap(self) -> Sequence[str]:
        """Take jobs from workers that fell silent. Returns those that wait again and want a bell."""
        error = "worker_died", KINDS["worker_died"].advice
        found = self._run("REAP", *error, MOST_STRIKES, MOST_AT_ONCE, int(CALM * 1000))
        return cast(Sequence[str], found)

    def stranded(self, older_than: float, quiet: float) -> Sequence[str]:
        """Jobs that have waited for some seconds; at most once in `quiet` seconds, whoever asks."""
        found = self._run("STRANDED", int(older_than * 1000), int(quiet * 1000), MOST_BELLS)
        return cast(Sequence[str], found)

    def expire(self) -> Sequence[str]:
        """Bury jobs past their time. Returns ids whose files are to be erased; then say `erased`."""
        return cast(Sequence[str], self._run("EXPIRE", MOST_AT_ONCE))

    def postpone(self, id: str, seconds: float) -> None:
        """Say that files could not be erased: they are due again in some time."""
        self._run("POSTPONE", id, int(seconds * 1000))

    @contextmanager
    def reaping(self, seconds: float, what: str = "reaper") -> Iterator[bool]:
        """Whether this worker is the one that does so, for as long as the block lasts, `seconds` at most."""
        token = secrets.token_hex(8)
        mine = bool(self._run("LOCK", what, token, int(seconds * 1000)))
        try:
            yield mine
        finally:
            if mine:
                self._run("UNLOCK", what, token)

    # the workers themselves

    def beat(self, worker: str, net: Net, device: str, claimed_ms: int = 0) -> None:
        """Say that a worker lives and has its net loaded, and when it last took a job (ms since 1970)."""
        self._run("BEAT", worker, int(BEAT_TTL * 1000), net.name, net.sha256, device, claimed_ms)

    def gone(self, worker: str) -> None:
        """Say that a worker has stopped in order."""
        self._redis.zrem(_key("workers"), worker)

    def workers(self) -> dict[str, Loaded]:
        """Workers that have beaten lately, and the net of each."""
        seconds, micros = self._redis.time()
        oldest = seconds * 1000 + micros // 1000 - int(BEAT_TTL * 1000)
        names = cast(list[str], self._redis.zrangebyscore(_key("workers"), oldest, "+inf"))
        found = {name: cast(dict[str, str], self._redis.hgetall(_key(f"worker:{name}"))) for name in names}
        return {
            name: Loaded(seen["net"], seen["net_sha256"], seen["device"])
            for name, seen in found.items()
            if seen
        }

    def stalled(self, seconds: float) -> list[str]:
        """Workers that beat and hold nothing, but ask for nothing either, although jobs waited all that time."""
        return cast(list[str], self._run("STALLED", int(seconds * 1000), int(BEAT_TTL * 1000)))

    # what is counted

    def batch_sizes(self, n: int) -> None:
        """Note that the net was given so many photos at once."""
        with self._redis.pipeline() as pipe:
            pipe.hincrby(_key("counters"), f"batch:le:{metrics.bucket(n, metrics.PHOTOS)}")
            pipe.hincrby(_key("counters"), "batch:sum", n)
            pipe.execute()

    def counters(self) -> dict[str, int | float]:
        """All that was ever counted; the names are those of service/metrics.py."""
        found = cast(dict[str, str], self._redis.hgetall(_key("counters")))
        return {name: int(value) if value.isdigit() else float(value) for name, value in found.items()}

    def _hmac(self, words: str) -> bytes:
        """Under a key that is made once for all who share this Redis."""
        name = _key("key")
        key = self._redis.get(name)
        if key is None:
            self._redis.set(name, secrets.token_hex(32), nx=True)
            key = self._redis.get(name)
        return hmac.digest(cast(str, key).encode(), words.encode(), hashlib.sha256)


def _key(name: str) -> str:
    return PREFIX + name


def _job(id: str) -> str:
    return _key(f"job:{id}")


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _timed(seconds: float) -> tuple[float, str]:
    """As the record keeps a time, and the bucket in which it is counted."""
    return round(seconds, 4), metrics.bucket(seconds, metrics.SECONDS)


def _demand(done: object) -> None:
    if not done:
        raise LeaseLost
