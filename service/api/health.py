"""`/livez` and `/readyz`: whether this process answers, and whether a photo that is sent now will be colored."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

import redis
from fastapi import APIRouter, Request

from service import errors
from service.api.problems import documented
from service.errors import QueueUnavailable, ServerProblem, StoreUnavailable, WorkersUnavailable
from service.jobs import Jobs
from service.prelude import PREFIX
from service.store import Store

FRESH = 5.0
"""Seconds for which the store counts as writable: it may cost money to ask."""

router = APIRouter()
log = logging.getLogger("autochrome.api")


class Readiness:
    """Asks everything that a photo needs on its way."""

    def __init__(self, client: redis.Redis, jobs: Jobs, store: Store) -> None:
        self._redis = client
        self._jobs = jobs
        self._store = store
        self._lock = threading.Lock()
        self._store_was_fine = -FRESH
        self._probe = f"ready/{socket.gethostname()}-{os.getpid()}"
        self._said = ""

    def check(self) -> None:
        """Raises QueueUnavailable, StoreUnavailable or WorkersUnavailable, which say what is the matter."""
        try:
            self._check()
        except ServerProblem as problem:
            self._say(f"not ready code={problem.code}")
            raise
        self._say("ready")

    def _check(self) -> None:
        try:
            self._redis.set(PREFIX + "ready", 1, px=1000)
            workers = self._jobs.workers()
        except redis.RedisError as error:
            raise QueueUnavailable("Redis does not answer, or cannot be written to.") from error
        self._check_store()
        if not workers:
            raise WorkersUnavailable

    def _say(self, words: str) -> None:
        """Once for each change: probes come every few seconds."""
        if words != self._said:
            log.info(words)
        self._said = words

    def _check_store(self) -> None:
        with self._lock:
            if time.monotonic() - self._store_was_fine < FRESH:
                return
            try:
                self._store.put(f"{self._probe}/probe", b"")
                self._store.erase(self._probe)
            except StoreUnavailable as error:
                raise StoreUnavailable("The photo store cannot be written to.") from error.__cause__
            self._store_was_fine = time.monotonic()


@router.get("/livez", summary="Whether this process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether photos sent now will be colored",
    description="A worker is alive with its net loaded, and Redis and the store can be written to.",
    responses=documented(
        errors.WorkersUnavailable, errors.StoreUnavailable, errors.QueueUnavailable, errors.InternalError
    ),
)
def readyz(request: Request) -> dict[str, str]:
    request.app.state.readiness.check()
    return {"status": "ok"}
