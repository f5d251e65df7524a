"""`/livez` and `/readyz`: whether this process answers, and whether a photo that is sent now will be colored."""

from __future__ import annotations

import os
import socket
import threading
import time

import redis
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request

from service.api.problems import documented
from service.database import PREFIX
from service.errors import Problem, StoreUnavailable
from service.jobs import Jobs
from service.observability import get_logger
from service.storage import Store

FRESH = 5.0
"""Seconds for which what the store said is believed: it may cost money to ask, or seconds when it hangs."""
ASKING = 4
"""Probes that may ask at once; others wait for them, and take no thread from what else is served."""

router = APIRouter()
log = get_logger("autochrome.api")


class Readiness:
    """Asks everything that a photo needs on its way."""

    def __init__(self, client: redis.Redis, jobs: Jobs, store: Store) -> None:
        self._redis = client
        self._jobs = jobs
        self._store = store
        self._lock = threading.Lock()
        self._asked = -FRESH
        self._store_problem: StoreUnavailable | None = None
        self._probe = f"ready/{socket.gethostname()}-{os.getpid()}"
        self._said = ("", "")
        self.threads = CapacityLimiter(ASKING)

    def check(self) -> None:
        """Raises `queue_unavailable`, `store_unavailable` or `workers_unavailable`, which say what is the matter."""
        try:
            self._check()
        except Problem as problem:
            self._say("readiness_lost", code=problem.code)
            raise
        self._say("readiness_gained")

    def _check(self) -> None:
        try:
            self._redis.set(PREFIX + "ready", 1, px=1000)
            workers = self._jobs.workers()
        except redis.RedisError as error:
            raise Problem("queue_unavailable", "Redis does not answer, or cannot be written to.") from error
        self._check_store()
        if not workers:
            raise Problem("workers_unavailable")

    def _say(self, event: str, code: str = "") -> None:
        """Once for each change: probes come every few seconds."""
        if (event, code) != self._said:
            log.info(event, code=code)
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
        if (problem := self._store_problem) is not None:
            raise StoreUnavailable(problem.detail) from problem.__cause__

    def _ask_store(self) -> StoreUnavailable | None:
        try:
            self._store.put(f"{self._probe}/probe", b"")
            self._store.erase(self._probe)
        except StoreUnavailable as error:
            problem = StoreUnavailable("The photo store cannot be written to.")
            problem.__cause__ = error.__cause__
            return problem
        return None


@router.get("/livez", summary="Whether this process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether photos sent now will be colored",
    description="A worker is alive with its net loaded, and Redis and the store can be written to.",
    responses=documented("workers_unavailable", "store_unavailable", "queue_unavailable", "internal_error"),
)
async def readyz(request: Request) -> dict[str, str]:
    readiness: Readiness = request.app.state.readiness
    await to_thread.run_sync(readiness.check, limiter=readiness.threads)
    return {"status": "ok"}
