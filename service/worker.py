"""The worker: takes a job through open → prepare → infer → finish → save. It alone imports the model.

python -m service worker
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import redis
from celery import Celery, signals
from celery.platforms import SecurityWarning

from model import photo
from model.checkpoint import CheckpointError
from model.colorizer import Colorizer, ColorOptions
from service import tasks
from service.deadline import Deadline
from service.errors import LeaseLost, SettingsError, StoreUnavailable, first_line
from service.gate import Gate
from service.jobs import STAGES, Claim, Jobs, Lease, Net, Result, connect
from service.options import Options
from service.reaper import EVERY, Reaper
from service.settings import Settings
from service.store import Store, attempt_prefix, photo_key, result_key
from service.telemetry import pairs
from service.ticker import Ticker

BEAT_EVERY = 2.0
STORE_PAUSE = 2.0
"""Seconds to wait before a job is given back because the store did not answer."""

log = logging.getLogger("autochrome.worker")


class Worker:
    """Everything that one job after another needs."""

    def __init__(
        self, name: str, colorizer: Colorizer, jobs: Jobs, store: Store, app: Celery, settings: Settings
    ) -> None:
        self.name = name
        self.net = Net(colorizer.name, colorizer.sha256)
        self.gate = Gate()
        self._colorizer = colorizer
        self._jobs = jobs
        self._store = store
        self._app = app
        self._device = settings.device
        self._limits = photo.Limits(
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            max_side=settings.max_side,
            min_side=settings.min_side,
            max_aspect=settings.max_aspect,
        )
        self._deadline = Deadline(settings.deadline)
        self._one_in_the_net = threading.Lock()

    def run(self, id: str) -> None:
        """The Celery task. A bell for a job that another has, or that is gone, is no error."""
        try:
            with self.gate.enter(alone=self._jobs.is_suspect(id)):
                claim = self._jobs.claim(id, self.name, self.net)
                if claim is not None:
                    with self._deadline.guard():
                        self._attempt(claim)
        except redis.RedisError as error:
            # Nothing can be said to the record now. Its lease, or its bell, is made up for by the reaper.
            log.warning("queue lost job=%s error=%s", id, error)

    def beat(self) -> None:
        """Say that this worker lives. May raise redis.RedisError."""
        self._jobs.beat(self.name, self.net, self._device)

    def _attempt(self, claim: Claim) -> None:
        try:
            self._colorize(claim)
        except LeaseLost:
            log.warning("lease lost, work dropped job=%s attempt=%d", claim.id, claim.attempt)
            self._store.erase(attempt_prefix(claim.id, claim.attempt))
        except photo.PhotoError as error:
            log.info("refused job=%s code=%s", claim.id, error.code)
            with _unless_lost(claim):
                self._jobs.fail(claim, error.code, error.detail)
        except StoreUnavailable as error:
            log.warning("store does not answer job=%s error=%s", claim.id, first_line(error.__cause__))
            time.sleep(STORE_PAUSE)
            with _unless_lost(claim):
                self._give_back(claim, strike=False)
        except redis.RedisError:
            raise
        except Exception:
            log.exception("attempt failed job=%s attempt=%d", claim.id, claim.attempt)
            with _unless_lost(claim):
                self._give_back(claim, strike=True)

    def _give_back(self, claim: Claim, strike: bool) -> None:
        if self._jobs.retry(claim, strike):
            tasks.ring(self._app, claim.id)

    def _colorize(self, claim: Claim) -> None:
        stages = _Stages(self._jobs, claim)
        with stages.next("open"):
            picture = photo.open(self._store.get(photo_key(claim.id)), self._limits)
        with stages.next("prepare"):
            lightness = self._colorizer.prepare(picture)
        with stages.next("infer"), self._turn(claim):
            (logits,) = self._colorizer.infer([lightness])
        with stages.next("finish"):
            colored = self._colorizer.finish(picture, logits, color_options(claim.options))
        with stages.next("save"):
            format = None if claim.options.format == "auto" else claim.options.format.upper()
            saved_as = photo.saved_format(colored, format)
            data = photo.save(colored, format, claim.options.quality)
            key = result_key(claim.id, claim.attempt, photo.extension(saved_as))
            self._store.put(key, data)
        result = Result(
            key=key,
            width=colored.width,
            height=colored.height,
            media_type=photo.media_type(saved_as),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        self._jobs.complete(claim, stages.seconds["save"], result)
        log.info("succeeded job=%s attempt=%d %s", claim.id, claim.attempt, pairs(stages.seconds))

    @contextmanager
    def _turn(self, claim: Claim) -> Iterator[None]:
        """One job in the net at a time; the deadline sees to it that no wait is for ever."""
        while not self._one_in_the_net.acquire(timeout=1):
            self._jobs.renew(claim)
        try:
            yield
        finally:
            self._one_in_the_net.release()


class _Stages:
    """Seconds of each stage, told to the job's record as it ends."""

    def __init__(self, jobs: Jobs, claim: Claim) -> None:
        self._jobs = jobs
        self._claim = claim
        self.seconds: dict[str, float] = {}

    @contextmanager
    def next(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
        if stage != STAGES[-1]:  # the last one ends with the job, in one step
            following = STAGES[STAGES.index(stage) + 1]
            self._jobs.advance(self._claim, stage, self.seconds[stage], following)


@contextmanager
def _unless_lost(claim: Claim) -> Iterator[None]:
    """What is said here need not be said where the job is another's by now."""
    try:
        yield
    except LeaseLost:
        log.warning("lease lost job=%s attempt=%d", claim.id, claim.attempt)


def color_options(options: Options) -> ColorOptions:
    """The one place where what a client asked becomes what the model is told."""
    return ColorOptions(temperature=options.temperature, vividness=options.vividness)


def warm_up(colorizer: Colorizer) -> None:
    """Color a gray square, so that the first photo does not wait for what happens once."""
    colorizer.colorize([photo.Photo(np.full((256, 256), 128, np.uint8), None, "PNG")])


def _keep_logging(**_: object) -> None:
    """Celery sets up no log of its own where somebody else says to have done so."""


def main(settings: Settings, load: Callable[[str, str], Colorizer] = Colorizer.load) -> int:
    """Load the net, then take jobs until SIGTERM, upon which those begun are ended. Returns the exit code.

    Raises SettingsError where the net, the queue or the store cannot be used.
    """
    jobs = Jobs(connect(settings.required_redis_url), Lease(settings.lease, settings.lease_per_megapixel))
    store = Store(settings.effective_store_url)
    app = tasks.make_app(settings.celery_broker_url)
    start = time.perf_counter()
    try:
        colorizer = load(settings.net, settings.device)
    except CheckpointError as error:
        raise SettingsError(f"AUTOCHROME_NET={settings.net!r} cannot be loaded: {error}") from error
    except ValueError as error:
        raise SettingsError(f"AUTOCHROME_DEVICE={settings.device!r} cannot be used: {error}") from error
    warm_up(colorizer)
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    worker = Worker(name, colorizer, jobs, store, app, settings)
    log.info("net loaded net=%s worker=%s seconds=%.1f", worker.net.name, name, time.perf_counter() - start)

    reaper = Reaper(jobs, store, lambda id: tasks.ring(app, id), lambda: worker.gate.is_idle)
    tickers = [Ticker("beat", BEAT_EVERY, worker.beat), Ticker("reaper", EVERY, reaper.tick)]
    app.task(name=tasks.COLORIZE)(worker.run)
    signals.setup_logging.connect(_keep_logging, weak=False)
    # It warns root of pickled messages; ours are JSON, and in a container root is the custom.
    warnings.simplefilter("ignore", SecurityWarning)
    celery = app.Worker(
        pool="threads",
        concurrency=settings.concurrency,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    for ticker in tickers:
        ticker.start()
    try:
        celery.start()
    finally:
        for ticker in tickers:
            ticker.stop()
        with suppress(redis.RedisError):  # it will be seen to beat no more
            jobs.gone(name)
    return int(celery.exitcode or 0)
