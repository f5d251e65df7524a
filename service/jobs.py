"""The job record in Redis: the truth about every job. The message in the queue only says that there is work.

States: queued → running → succeeded | failed; any of them → canceled → expired. Jobs of a batch begin as waiting. A worker claims a job and
gets an attempt number and a lease. Each later call about the job carries the attempt; stale ones are refused.
A job with a failed attempt behind it runs alone in its worker; three failed attempts, and it has failed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, cast

import redis

from model.errors import Notice
from service.database import PREFIX, Scripts
from service.errors import KINDS, LeaseLost, Problem
from service.models import (
    LONGEST_RETRY_AFTER,
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
    Space,
    job_of,
    secret_hash,
    wait_for,
)
from service.schemas import Options

MOST_ATTEMPTS = 3
"""Failed attempts after which a job has failed."""
MOST_AT_ONCE = 100
MOST_NOTIFICATIONS = 300
MOST_NOTICES, MOST_OF_A_CODE, LONGEST_NOTICE = 16, 3, 500
"""Notices in a record, of one code among them, and characters of each: the record must stay small whatever a file brings about."""
BEAT_TTL = 6.0
"""Seconds after which a worker that does not beat counts as gone, and its jobs are given to others."""
BEAT_AGAIN = 2.5
"""Seconds that workers have to beat again after all were cut off."""
FOREVER = 10.0**15
"""Milliseconds since 1970 that no clock says."""
ERASED_FOR = ((0.5, 7 * 24 * 3600.0), (0.75, 3600.0), (math.inf, 60.0))
"""Up to which share of the server's memory an erased record is kept for how many seconds: none for days in the upper half, nor for an hour
in the last quarter, so that there is room for new jobs a minute after others have expired."""
MANY_REVISIONS = (
    "This photo has been colored anew as often as one photo may be at a time. Erase pictures of it that you no longer need, or wait until "
    "they expire."
)


def worker_name(pid: int) -> str:
    """How the name of a worker that is this process begins; the rest is random."""
    return f"{socket.gethostname()}:{pid}:"


class Jobs:
    """Verbs on the record, each one atomic script. The client repeats a call whose answer was lost, which changes nothing.

    All may raise redis.RedisError: where there is no server, and where it cannot write, being out of memory
    (OOM), out of disk (MISCONF) or a replica (READONLY). One without memory refuses new jobs, no other verb.
    """

    def __init__(self, client: redis.Redis, lease: Lease) -> None:
        self._redis = client
        self._lease = lease.arguments()
        self._scripts = Scripts(client)

    def _run(self, name: str, *arguments: str | int | float) -> Any:
        return self._scripts.run(name, *arguments)

    # the API's side

    def reserve(self, id: str, seconds: float, space: Space | None = None) -> bool:
        """Take room in the store, and promise that files under this id are erased after `seconds`, whatever happens before `create`.

        False where the id is taken: then there is nothing to write under it. The room is given back with the files:
        by `unreserve`, or `erased`. Raises `store_full` or `storage_limited`.
        """
        asked = _asked(space or Space())
        return _given(self._run("reserve", id, int(seconds * 1000), *asked, secrets.token_hex(8)))

    def demand_room(self, space: Space) -> None:
        """Take nothing, but raise what `reserve` would now."""
        _given(self._run("reserve", "", 0, *_asked(space), ""))

    def unreserve(self, id: str, space: Space, may_be_written: bool = False) -> None:
        """Say that the photo of an upload that became no job is erased. Other uploads under this id keep what they took.

        `may_be_written`: it may still come to the store, so that the promise of its erasure stands.
        """
        self._run("unreserve", id, space.photo, space.results, int(not may_be_written), secrets.token_hex(8))

    def create(self, id: str, secret: str, order: Order, bounds: Bounds) -> Entered:
        """Enter a job as queued, unless the id is taken. Raises `queue_full` or `storage_limited`; for a photo that is to be colored
        anew, and is erased, `canceled` or `expired`.

        Of several calls with one id, one makes the job, whose photo is that of its own upload. A queue that is
        empty has room for any photo.
        """
        word, *seen = self._run(
            *("create", id, secret_hash(secret), order.options.short_json(), order.pixels),
            *(int(order.keep_for * 1000), int(order.batch), order.owner, order.request_id, order.fingerprint),
            *(order.group, secrets.token_hex(8), bounds.jobs, bounds.pixels, order.upload),
            *(order.allowance.payer, order.allowance.records, order.memory, order.revises),
            order.options.record_bytes,
        )
        match word:
            case "full":
                jobs, pixels, speed = seen
                missing = pixels + order.pixels - bounds.pixels
                wait = wait_for(max(missing, pixels / max(jobs, 1)), float(speed))
                raise Problem("queue_full", retry_after=wait)
            case "records":
                raise records_limited()
            case "revisions":
                raise Problem("storage_limited", MANY_REVISIONS)
            case "canceled" | "expired":
                raise Problem(word)
        return Entered(word)

    def depth(self) -> Depth:
        """How much waits and runs, and how fast it gets done."""
        jobs, pixels, running, running_pixels, speed, *rest = self._run("depth")
        return Depth(jobs, pixels, running, running_pixels, float(speed) or None, *rest)

    def secret_for(self, id: str, kind: Literal["job", "batch"] = "job") -> str:
        """The secret of a job, or of a batch, whose sender brought none: always the same. No API key begins so."""
        named = id if kind == "job" else f"{kind} {id}"
        return f"{kind}_" + base64.urlsafe_b64encode(self.mac(f"secret {named}")).decode().rstrip("=")

    def secret_again(
        self, id: str, is_opened_by: Callable[[str], bool], kind: Literal["job", "batch"] = "job"
    ) -> str | None:
        """The secret of what was made before; None where it is its sender's own, of which only a hash is kept."""
        secret = self.secret_for(id, kind)
        before_prefixes = secret.partition("_")[2]
        return next((each for each in (secret, before_prefixes) if is_opened_by(each)), None)

    def id_for(self, owner: str, key: str) -> str:
        """The id of the job that an owner's Idempotency-Key stands for: 32 hexadecimal digits."""
        return self.mac(f"id {len(owner)} {owner} {key}").hex()[:32]

    def mac(self, text: str) -> bytes:
        """HMAC-SHA-256 of a text, under a key that is made once for all who share this Redis."""
        name = _key("key")
        key = self._redis.get(name)
        if key is None:
            self._redis.set(name, secrets.token_hex(32), nx=True)
            key = self._redis.get(name)
        return hmac.digest(cast(str, key).encode(), text.encode(), hashlib.sha256)

    def get(self, id: str) -> Job | None:
        """The job as it stands, None where there is none. Past its time it is `expired`, erased or not."""
        now, position, eta, flat = self._run("show", id)
        if not flat:
            return None
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        return job_of(id, record, now, position, None if eta is None else float(eta))

    def cancel(self, id: str) -> Sequence[str]:
        """Leave an erased record of a job, and of those that color its photo anew; a worker on one is refused from now on.

        Erase the files of all that are returned, say `erased`.
        """
        return cast(Sequence[str], self._run("cancel", id))

    def revisions(self, id: str) -> Set[str]:
        """Ids of the jobs that color a job's photo anew."""
        return cast(Set[str], self._redis.smembers(_key(f"revisions:{id}")))

    def erased(self, *ids: str, deadline: float = 300.0) -> None:
        """Say that no file under these ids is left. A worker on one may still write for `deadline` seconds."""
        self._run("erased", int(deadline * 1000), *ids)

    # the worker's side

    def claim(
        self, worker: str, net: Net, room: int, empty: bool, answers: bool = False
    ) -> Claim | NoRoom | None:
        """Take the best queued job: interactive ones first, then the oldest. None where nothing waits.

        `room`: bytes of memory for photos. `empty`: the worker holds nothing, so that there is room for a job of any size, and for one that
        runs alone, which waits for such a worker and holds up no other.
        `answers`: it was asked by a notification, which is answered by this.
        """
        mark = secrets.token_hex(8)  # by which a call that the client repeats gets the same job
        asked = room, int(empty), mark, int(answers)
        taken = self._run("claim", worker, *self._lease, net.name, net.sha256, *asked)
        if taken is None:
            return None
        if not taken:
            return NoRoom()
        id, attempt, options, pixels, request_id, upload, failures, memory, revises = taken
        return Claim(
            *(id, int(attempt), Options.model_validate_json(options), int(pixels), request_id, upload),
            failures=int(failures or 0),
            memory=int(memory),
            revises=revises,
        )

    def is_held(self, claim: Claim) -> bool:
        """Whether the job is still this attempt's: cheap, to be asked before dear work."""
        return bool(self._run("held", claim.id, claim.attempt))

    def renew(self, claim: Claim) -> None:
        """Lengthen the lease. Raises LeaseLost."""
        _demand(self._run("renew", claim.id, claim.attempt, *self._lease))

    def advance(self, claim: Claim, ended: Mapping[str, float], following: str) -> None:
        """Note stages that have ended, with their seconds, and the one that has begun, which renews the lease. Raises LeaseLost."""
        _demand(self._run("advance", claim.id, claim.attempt, *self._lease, following, *_flat(ended)))

    def complete(
        self,
        claim: Claim,
        ended: Mapping[str, float],
        result: Result,
        artifacts: Sequence[Artifact] = (),
        notices: Sequence[Notice] = (),
        batch: int = 0,
    ) -> None:
        """The job has succeeded with this result. Raises LeaseLost where the attempt is stale.

        `ended`: the seconds of the stages that `advance` was not told. Of `notices`, what `bounded` keeps. `batch`: how many photos went
        through the net together, by one of them only, so that each batch is counted once.
        """
        _demand(
            self._run(
                *("complete", claim.id, claim.attempt, result.key, result.width, result.height),
                *(result.media_type, result.sha256, result.bytes),
                *(_json(artifacts), _json(bounded(notices))),
                *(batch, *_flat(ended)),
            )
        )

    def fail(self, claim: Claim, code: str, detail: str) -> None:
        """The job cannot succeed, now or later. Raises LeaseLost where the attempt is stale."""
        _demand(self._run("fail", claim.id, claim.attempt, code, detail))

    def retry(self, claim: Claim, failed: bool) -> bool:
        """Give the job back after an error of ours: True where it waits again, False where it has failed.

        `failed`: the error may be this job's doing, so that the attempt counts as a failed one. Raises LeaseLost.
        """
        error = "internal_error", KINDS["internal_error"].advice
        state = self._run("retry", claim.id, claim.attempt, *error, MOST_ATTEMPTS, int(failed))
        _demand(state >= 0)
        return bool(state == 1)

    # the janitor's side

    def reap(self, dead: str = "") -> Sequence[str]:
        """Take jobs from workers that fell silent. Returns those that wait again, for a notification each.

        `dead`: how the names of workers begin that have ended, as their parent knows: nobody waits for them to beat.
        """
        error = "worker_died", KINDS["worker_died"].advice
        found = self._run("reap", *error, MOST_ATTEMPTS, MOST_AT_ONCE, int(BEAT_AGAIN * 1000), dead)
        return cast(Sequence[str], found)

    def stranded(self, older_than: float, quiet: float) -> Sequence[str]:
        """Jobs that have waited for some seconds; at most once in `quiet` seconds, whoever asks."""
        found = self._run("stranded", int(older_than * 1000), int(quiet * 1000), MOST_NOTIFICATIONS)
        return cast(Sequence[str], found)

    def expire(self, until: float = FOREVER) -> Sequence[str]:
        """Leave erased records of jobs past their time. Returns ids whose files are to be erased; then say `erased`.

        The records stay for seven days, or less where the server's memory is short: what lives needs it more.
        `until`: ms since 1970 up to which the server's clock is known to be right.
        """
        kept_ms = int(1000 * _erased_kept_for(self._memory_used()))
        return cast(Sequence[str], self._run("expire", MOST_AT_ONCE, until, kept_ms))

    def _memory_used(self) -> float:
        """Share of the memory that the server may take; 0 where it has no limit."""
        try:
            memory = self._redis.info("memory")
        except redis.exceptions.NoPermissionError:  # a managed Redis; erasing goes on
            return 0.0
        return float(memory["used_memory"] / memory["maxmemory"]) if memory.get("maxmemory") else 0.0

    def due(self, skip: int = 0, until: float = FOREVER) -> Sequence[str]:
        """Ids whose files are to be erased, the first of them passed over. A server that refuses to write answers this."""
        return cast(Sequence[str], self._run("due", MOST_AT_ONCE, skip, until))

    def look_at_clock(
        self, expected: float | None, jumps: str, tolerance: float, since: float
    ) -> tuple[int, str, int]:
        """The server's time in ms since 1970, all its jumps added up, and this one in ms, or 0.

        `expected`: what it should be, where `jumps` are all that the caller knows of. Where it is more than
        `tolerance` seconds off, and nobody has seen that before, all that is alive gets the time that it had left, but for jobs
        made in the `since` seconds after the caller looked last and on the clock as it is now.
        """
        now, jumps, by = self._run("clock", expected or 0, jumps, int(tolerance * 1000), int(since * 1000))
        return now, jumps, by

    def clock(self) -> tuple[float, float] | None:
        """The last jump of the server's clock, in seconds, and how many seconds ago it was; None where there was none."""
        by, at = cast(list[str | None], self._redis.hmget(_key("clock"), ["by", "at"]))
        if by is None or at is None:
            return None
        seconds, _ = self._redis.time()
        return int(by) / 1000, seconds - int(at) / 1000

    def recount(self) -> int:
        """Add up again what is in the store. Returns by how many bytes the sum was wrong."""
        return int(self._run("recount"))

    def rewrite_log(self, every: float) -> bool:
        """Have the server write its log anew, which still holds what was erased since; every so many seconds at most.

        False where there is nothing to do. Raises redis.ResponseError where the server forbids it, or does so already.
        """
        is_wanted = bool(self._run("rewrite", int(every * 1000)))
        if is_wanted:
            try:
                self._redis.bgrewriteaof()
            except redis.ResponseError:
                self._redis.hdel(_key("sums"), "rewritten")  # it is yet to be done
                raise
        return is_wanted

    def postpone(self, id: str, seconds: float) -> None:
        """Say that files could not be erased: they are due again in some time."""
        self._run("postpone", id, int(seconds * 1000))

    def is_sweep_due(self, every: float) -> bool:
        """Whether nobody has begun to look through the store for `every` seconds; then it counts as begun."""
        return bool(self._redis.set(_key("swept"), 1, nx=True, px=int(every * 1000)))

    def orphans(self, ids: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Of ids under which files lie: those of which nothing is known, and those that were erased."""
        unknown, erased = self._run("orphans", *ids)
        return unknown, erased

    @contextmanager
    def alone(self, what: str, seconds: float) -> Iterator[bool]:
        """Whether this process is the one that does so, for as long as the block lasts, `seconds` at most."""
        token = secrets.token_hex(8)
        mine = bool(self._run("lock", what, token, int(seconds * 1000)))
        try:
            yield mine
        finally:
            if mine:
                self._run("unlock", what, token)

    # the workers themselves

    def beat(self, worker: str, net: Net, device: str, claimed_ms: int = 0, threads: int = 0) -> None:
        """Say that a worker lives and has its net loaded, when it last took a job (ms since 1970), and how many it works on at once.

        0 threads: unknown, so that each job is notified of.
        """
        self._run("beat", worker, int(BEAT_TTL * 1000), net.name, net.sha256, device, claimed_ms, threads)

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
        return cast(list[str], self._run("stalled", int(seconds * 1000), int(BEAT_TTL * 1000)))

    # what is counted

    def counters(self) -> dict[str, int | float]:
        """All that was ever counted, by the names in `lua/prelude.lua`: the same from whichever process it is asked."""
        found = cast(dict[str, str], self._redis.hgetall(_key("counters")))
        return {name: int(value) if value.isdigit() else float(value) for name, value in found.items()}


def new_id() -> str:
    """128 random bits as 32 hexadecimal digits: whoever does not know an id cannot guess it."""
    return secrets.token_hex(16)


def records_limited() -> Problem:
    """A sender holds as many records as one may."""
    return Problem(
        "storage_limited",
        what="Your photos of the last days and their jobs are as many as are kept for one sender.",
    )


def _asked(space: Space) -> tuple[str | int, ...]:
    free = -1 if space.free is None else max(0, space.free)
    allowance = space.allowance
    payer = allowance.payer if allowance.store or allowance.records else ""
    return space.photo, space.results, space.most, free, payer, allowance.store


def _given(answer: Sequence[Any]) -> bool:
    word, *first_due_ms = answer
    match word:
        case "sender":
            raise Problem(
                "storage_limited", what="With this photo you would keep more bytes here than one sender may."
            )
        case "store" | "disk":
            raise Problem("store_full", retry_after=_wait_for_room(*first_due_ms))
    return bool(word == "reserved")


def bounded(notices: Sequence[Notice]) -> tuple[Notice, ...]:
    """Each notice once, MOST_NOTICES at most, and no detail longer than LONGEST_NOTICE characters.

    Of one code no more than MOST_OF_A_CODE: a file with many small faults must not crowd out what was seen in its picture.
    """
    times: Counter[str] = Counter()
    kept = []
    for one in dict.fromkeys(notices):
        times[one.code] += 1
        if times[one.code] <= MOST_OF_A_CODE:
            kept.append(Notice(one.code[:64], _shortened(one.detail)))
    return tuple(kept[:MOST_NOTICES])


def _shortened(text: str) -> str:
    """At most LONGEST_NOTICE characters; what is cut off shows as an ellipsis."""
    return text if len(text) <= LONGEST_NOTICE else text[: LONGEST_NOTICE - 1] + "…"


def _json(parts: Sequence[Artifact] | Sequence[Notice]) -> str:
    """As it is kept in records: without what is None."""
    if not parts:
        return ""
    said = [{name: value for name, value in asdict(one).items() if value is not None} for one in parts]
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def _key(name: str) -> str:
    return PREFIX + name


def _flat(seconds: Mapping[str, float]) -> list[str | float]:
    """Names and seconds in turns, as scripts take them."""
    return [word for stage, took in seconds.items() for word in (stage, round(took, 4))]


def _demand(done: object) -> None:
    if not done:
        raise LeaseLost


def _erased_kept_for(used: float) -> float:
    """Seconds, where so much of the server's memory is used."""
    return next(seconds for share, seconds in ERASED_FOR if used <= share)


def _wait_for_room(first_due_ms: int) -> int:
    """Seconds until something is erased; negative: nothing is going to be."""
    seconds = math.ceil(first_due_ms / 1000) if first_due_ms >= 0 else LONGEST_RETRY_AFTER
    return min(max(seconds, 1), LONGEST_RETRY_AFTER)
