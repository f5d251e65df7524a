"""For operators: `/livez`, `/readyz`, `/metrics`, and the nets that workers have loaded."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from logging import INFO, WARNING
from typing import Any

import redis
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service import errors
from service.api.problems import documented
from service.api.state import State
from service.auth import Scope, caller_with
from service.database import PREFIX, is_out_of_memory
from service.errors import Problem, StoreUnavailable
from service.jobs import Jobs
from service.metrics import SECONDS
from service.models import STAGES, Depth
from service.observability import get_logger
from service.schemas import NetView
from service.storage import Store
from service.webhooks import OUTCOMES

FRESH = 5.0
"""Seconds for which what the store said is believed: it may cost money to ask, or seconds when it hangs."""
ASKING = 4
"""Probes that may ask at once; others wait for them, and take no thread from what else is served."""

SMALL_PHOTO = 2**20
"""Bytes that a store has no room for which is called full: few photos are smaller."""
JUMP_SHOWN = 24 * 3600.0
"""Seconds for which a jump of the clock is shown."""
RECORD_FULL = (
    "The memory of Redis is full: new photos are refused, all else goes on. It has room again as jobs expire; "
    "or give it more."
)
STORE_FULL = (
    "The photo store is full, or its disk: new photos are refused, all else goes on. It has room again as photos "
    "expire; or free some of its disk, of which AUTOCHROME_FREE_BYTES are left free, or raise AUTOCHROME_STORE_BYTES."
)
CLOCK_JUMPED = (
    "The clock of Redis jumped by {0:.0f} s, {1:.0f} s ago. No photo expires early or late by that. Set the clock right; where it is right "
    "now, nothing is to be done."
)

StoreLeft = Callable[[Depth], int | None]
"""Bytes that the store still takes; None where it has no bound. Raises `store_unavailable`."""

router = APIRouter()
log = get_logger("autochrome.api")


class Readiness:
    """Asks everything that a photo needs on its way."""

    def __init__(self, client: redis.Redis, jobs: Jobs, store: Store, has_room: Callable[[], bool]) -> None:
        """`has_room`: whether the store takes a small photo."""
        self._has_room = has_room
        self._redis = client
        self._jobs = jobs
        self._store = store
        self._lock = threading.Lock()
        self._asked = -FRESH
        self._store_problem: StoreUnavailable | None = None
        self._probe = f"ready/{socket.gethostname()}-{os.getpid()}"
        self._said = ("", "")
        self.threads = CapacityLimiter(ASKING)
        self.stopping = False
        """Whether this process was told to stop and answers for a while yet."""

    def check(self) -> list[dict[str, str]]:
        """What an operator should know, each with `code` and `detail`, although what was accepted is colored, read and erased.

        Raises `stopping`, `queue_unavailable`, `store_unavailable` or `workers_unavailable`, which say what is the matter.
        """
        try:
            notices = self._check()
        except Problem as problem:
            self._say("readiness_lost", code=problem.code)
            raise
        codes = ",".join(notice["code"] for notice in notices)
        if notices:
            self._say("readiness_limited", codes, " ".join(notice["detail"] for notice in notices))
        else:
            self._say("readiness_gained")
        return notices

    def _check(self) -> list[dict[str, str]]:
        if self.stopping:
            raise Problem("stopping")
        try:
            takes_new = self._takes_new()
            workers, jump = self._jobs.workers(), self._jobs.clock()
            has_room = self._has_room()
        except redis.RedisError as error:
            raise Problem("queue_unavailable", "Redis does not answer, or cannot be written to.") from error
        self._check_store()
        if not workers:
            raise Problem("workers_unavailable")
        notices = [] if takes_new else [_notice("record_full", RECORD_FULL)]
        if not has_room:
            notices.append(_notice("store_full", STORE_FULL))
        if jump is not None and jump[1] < JUMP_SHOWN:
            notices.append(_notice("clock_jumped", CLOCK_JUMPED.format(*jump)))
        return notices

    def _takes_new(self) -> bool:
        """Whether the record has memory for new jobs; it is written to for all others even without. May raise redis.RedisError."""
        try:
            self._redis.set(PREFIX + "ready", 1, px=1000)
        except redis.ResponseError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _say(self, event: str, code: str = "", detail: str = "") -> None:
        """Once for each change: probes come every few seconds. `detail`: what is to be done."""
        if (event, code) != self._said:
            log.log(WARNING if detail else INFO, event, code=code, detail=detail)
        self._said = (event, code)

    def _check_store(self) -> None:
        # While one asks, the others say what is known, if anything is.
        if self._lock.acquire(blocking=self._asked < 0):
            try:
                if time.monotonic() - self._asked >= FRESH:
                    self._store_problem = self._ask_store()
                    self._asked = time.monotonic()
            finally:
                self._lock.release()
        if (problem := self._store_problem) is not None and problem.code != "store_full":
            raise StoreUnavailable(problem.detail) from problem.__cause__

    def _ask_store(self) -> StoreUnavailable | None:
        try:
            self._store.put(f"{self._probe}/probe", b"")
            self._store.erase(self._probe)
        except StoreUnavailable as error:
            problem = StoreUnavailable("The photo store cannot be written to.", code=error.code)
            problem.__cause__ = error.__cause__
            return problem
        return None


@router.get("/livez", summary="Whether this process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether photos sent now will be colored",
    description="A worker is alive with its net loaded, Redis and the store can be written to, and this process is not about to stop. "
    "Where they are full, or a clock is wrong, `notices` say so: new photos may be refused, those that were accepted are colored, read and "
    "erased.",
    responses=documented(
        "workers_unavailable", "stopping", "store_unavailable", "queue_unavailable", "internal_error"
    ),
)
async def readyz(request: Request) -> dict[str, Any]:
    readiness: Readiness = request.app.state.readiness
    notices = await to_thread.run_sync(readiness.check, limiter=readiness.threads)
    return {"status": "ok", "notices": notices} if notices else {"status": "ok"}


@router.get(
    "/v1/nets",
    summary="The networks that workers have loaded",
    operation_id="list_nets",
    response_model=list[NetView],
    responses=documented("queue_unavailable", "internal_error"),
)
def nets(state: State) -> list[NetView]:
    loaded = sorted({(net.name, net.sha256) for net in state.jobs.workers().values()})
    return [NetView(name=name, sha256=sha256) for name, sha256 in loaded]


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    description="Open to this machine where keys are not demanded; else for a key with the scope `metrics`.",
    response_class=Response,
    dependencies=[Depends(caller_with(Scope.METRICS))],
    responses={
        200: {
            "content": {"text/plain": {}, "application/openmetrics-text": {}},
            "description": "As asked for",
        },
        **documented("key_missing", "key_invalid", "scope_missing", "internal_error"),
    },
)
def metrics(request: Request) -> Response:
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    body = encode(request.app.state.metrics.registry)
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


class Metrics:
    """One process's registry: its own answers, its own memory and CPU, and the record as it stands when asked."""

    def __init__(self, client: redis.Redis, jobs: Jobs, left: StoreLeft, stall: float) -> None:
        """`client`: of the Redis that holds the record. `stall`: seconds after which a worker counts as stalled."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "autochrome_http_requests",
            "Answers of this API process",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "autochrome_http_seconds",
            "From a request's head to its answer's last byte, in this API process",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Record(client, jobs, left, stall))
        ProcessCollector(registry=self.registry)

    def seen(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class _Record(Collector):
    """What the record says; where Redis does not answer, that alone."""

    def __init__(self, client: redis.Redis, jobs: Jobs, left: StoreLeft, stall: float) -> None:
        self._redis = client
        self._jobs = jobs
        self._left = left
        self._stall = stall

    def describe(self) -> Iterator[Metric]:
        return iter(())  # else registering would ask Redis

    def collect(self) -> Iterator[Metric]:
        try:
            found = [
                *self._waiting(),
                *self._workers(),
                *_counted(self._jobs.counters()),
                *_server(self._redis),
            ]
        except redis.RedisError as error:
            log.warning("record_failed", error=errors.first_line(error))
            found = []
        yield _gauge("autochrome_redis_up", "1 where Redis answers", int(bool(found)))
        yield from found

    def _waiting(self) -> Iterator[Metric]:
        depth = self._jobs.depth()
        yield _gauge("autochrome_jobs_waiting", "Photos that wait for a worker", depth.jobs)
        yield _gauge("autochrome_megapixels_waiting", "Megapixels of these", depth.pixels / 1e6)
        yield _gauge("autochrome_jobs_in_flight", "Photos that workers have in their hands", depth.running)
        yield _gauge("autochrome_megapixels_in_flight", "Megapixels of these", depth.running_pixels / 1e6)
        yield _gauge(
            "autochrome_store_bytes", "Bytes of photos and results, and room for those to come", depth.store
        )
        yield _gauge("autochrome_store_room_bytes", "Bytes of these that are room", depth.store_room)
        with suppress(StoreUnavailable):
            if (left := self._left(depth)) is not None:
                yield _gauge(
                    "autochrome_store_left_bytes", "Bytes that photos and results may still take", left
                )
        by, ago = self._jobs.clock() or (0.0, math.inf)
        jumped = by if ago < JUMP_SHOWN else 0
        yield _gauge("autochrome_clock_jump_seconds", "The last jump of Redis's clock, for a day", jumped)
        yield _gauge(
            "autochrome_oldest_waiting_seconds",
            "For how long the one has waited that has waited longest",
            depth.oldest_ms / 1e3,
        )
        yield _gauge(
            "autochrome_megapixels_per_second",
            "Megapixels ended a second over the last minute",
            (depth.pixels_per_s or 0) / 1e6,
        )

    def _workers(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "autochrome_workers", "Workers alive with their net loaded", labels=("net", "device")
        )
        for (net, device), count in Tally(
            (net.name, net.device) for net in self._jobs.workers().values()
        ).items():
            family.add_metric((net, device), count)
        yield family
        yield _gauge(
            "autochrome_workers_stalled",
            f"Workers alive that have taken nothing for {self._stall:g} s while photos waited",
            len(self._jobs.stalled(self._stall)),
        )


def _notice(code: str, detail: str) -> dict[str, str]:
    return {"code": code, "detail": detail}


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _server(client: redis.Redis) -> Iterator[Metric]:
    """How the Redis itself does."""
    seen: Mapping[str, Any] = {**client.info("memory"), **client.info("persistence")}
    yield _gauge("autochrome_redis_memory_bytes", "What Redis uses", seen["used_memory"])
    yield _gauge("autochrome_redis_memory_limit_bytes", "Its `maxmemory`; 0: none", seen.get("maxmemory", 0))
    outcomes = [seen.get(f"aof_last_{act}_status", "ok") for act in ("write", "bgrewrite")]
    yield _gauge(
        "autochrome_redis_log_failing",
        "1 where Redis could not write or rewrite its append-only file the last time",
        int(outcomes != ["ok", "ok"]),
    )


def _counted(counters: Mapping[str, float]) -> Iterator[Metric]:
    """The record's counters (see service/lua/prelude.lua) as Prometheus has them."""
    ended = CounterMetricFamily("autochrome_jobs_ended", "Jobs by how they ended", labels=("status", "code"))
    # Those that are alerted of are there from the beginning: Prometheus sees no increase in a number that appears.
    never = {f"outcome:failed:{code}": 0 for code in errors.OUR_CODES}
    for field, count in sorted({**never, **counters}.items()):
        kind, *names = field.split(":", 2)
        if kind == "outcome":
            ended.add_metric(names, count)
    yield ended
    yield CounterMetricFamily(
        "autochrome_leases_expired",
        "Attempts that failed as their worker fell silent",
        value=counters.get("leases:expired", 0),
    )
    webhooks = CounterMetricFamily(
        "autochrome_webhooks", "Webhooks by what became of them", labels=("outcome",)
    )
    for outcome in OUTCOMES:
        webhooks.add_metric((outcome,), counters.get(f"webhooks:{outcome}", 0))
    yield webhooks
    stages = SummaryMetricFamily(
        "autochrome_stage_seconds", "Seconds that each stage took", labels=("stage",)
    )
    for stage in STAGES:
        stages.add_metric((stage,), *_summary(counters, f"stage:{stage}"))
    yield stages
    batches = SummaryMetricFamily("autochrome_batch_size", "Photos that the net was given at once", labels=())
    batches.add_metric((), *_summary(counters, "batch"))
    yield batches


def _summary(counters: Mapping[str, float], name: str) -> tuple[int, float]:
    """How many, and the sum of all."""
    return int(counters.get(f"{name}:count", 0)), counters.get(f"{name}:sum", 0.0)
