"""The worker: takes jobs through open → preprocess → infer → postprocess → save. It alone imports the model.

python -m service worker

Several threads open, preprocess, postprocess and save photos; the batcher's one thread runs the net.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal

import numpy as np
import redis
from celery import Celery
from numpy.typing import NDArray
from PIL import Image
from structlog.contextvars import bound_contextvars

from model import image_io
from model.cards import CheckpointError
from model.colorizer import Colorizer, ColorOptions
from model.errors import PhotoError
from service import celery_app, metrics, webhooks
from service.batching import Admission, Answer, Batcher, NetOutOfMemory, is_out_of_memory
from service.database import WORKER_RETRIES, WORKER_TIMEOUT, connect
from service.errors import KINDS, LeaseLost, Problem, SettingsError, StoreUnavailable, first_line
from service.janitor import EVERY, Eraser, Reaper
from service.jobs import MOST_ATTEMPTS, STAGES, Artifact, Claim, Jobs, Lease, Net, Result
from service.observability import get_logger
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, artifact_key, attempt_prefix, photo_key, result_key
from service.watchdog import Periodic, Watchdog, end_process

BEAT_EVERY = 2.0
STORE_RETRY_DELAY = 2.0
"""Seconds to wait before a job is given back because the store did not answer."""
SMALLEST = 64
"""Shorter side of the smallest picture that the net is shown when memory runs out."""
ON_A_CPU, ON_A_GPU = (4, 4), (32, 16)
"""Photos in a worker, and photos in a batch, where the settings say nothing."""
COMPARISON_SIDE = 2048
"""Longest side of each half of a comparison, which is for looking at."""
OPTIONS_TOLD = {"temperature", "vividness", "format", "quality"}
"""The options that a sidecar repeats: those that the picture depends on. Others, such as a webhook's address, are private."""
GUESSED = (
    "The colors are guesses. They were added by a neural network to a photograph that does not hold its true "
    "colors; only the lightness is the photograph's own."
)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
"""IPTC NewsCodes, Digital Source Type."""

log = get_logger("autochrome.worker")


class Worker:
    """Everything that one job after another needs. `start` before the first, `stop` after the last."""

    def __init__(
        self,
        name: str,
        colorizer: Colorizer,
        jobs: Jobs,
        store: Store,
        app: Celery,
        settings: Settings,
    ) -> None:
        self.name = name
        self.net = Net(colorizer.name, colorizer.sha256)
        by_device = ON_A_CPU if colorizer.device == "cpu" else ON_A_GPU
        self.concurrency = settings.concurrency or by_device[0]
        self.batcher = Batcher(self._infer, settings.batch or by_device[1], settings.lease)
        self.admission = Admission(int(settings.worker_megapixels * 1e6))
        self._colorizer = colorizer
        self._jobs = jobs
        self._store = store
        self._app = app
        self._settings = settings
        self._watchdog = Watchdog(settings.deadline)

    def start(self) -> None:
        """Start the net's thread, and show it what it will see, so that no photo waits for what happens once."""
        self.batcher.start()
        square = image_io.Photo(np.full((256, 256), 128, np.uint8), None, "PNG")
        lightness = self._colorizer.preprocess(square)
        answers = [self.batcher.submit(lightness) for _ in range(1 + self.batcher.most)]
        logits = [answer.result().logits for answer in answers]
        self._colorizer.postprocess(square, logits[0])

    def stop(self) -> None:
        self.batcher.stop()

    def run(self, id: str) -> None:
        """The Celery task. The notification names a job, but the best one is taken; that none waits is no error."""
        try:
            with self.admission.enter(partial(self._jobs.claim, self.name, self.net)) as claim:
                if claim is not None:
                    with bound_contextvars(request=claim.request_id), self._watchdog.guard():
                        self._attempt(claim)
                elif self.admission.is_closed:
                    celery_app.notify(self._app, id)  # for those who stay
        except redis.RedisError as error:
            # The record cannot be written now. The reaper makes up for the lease, or for the notification.
            log.warning("record_lost", job=id, error=str(error))

    def beat(self, jobs: Jobs) -> None:
        """Say that this worker lives. May raise redis.RedisError."""
        jobs.beat(self.name, self.net, self._colorizer.device, self.admission.taken_ms)

    def watch(self, jobs: Jobs) -> None:
        """End the process where it has taken nothing for long, although photos wait. May raise redis.RedisError."""
        stall = self._settings.stall
        if self.admission.empty_for > stall and self.name in jobs.stalled(stall):
            end_process(f"photos wait, and none has been taken for {stall:g} s")

    def _attempt(self, claim: Claim) -> None:
        try:
            self._colorize(claim)
        except LeaseLost:
            log.warning("lease_lost", job=claim.id, attempt=claim.attempt)
            with suppress(StoreUnavailable):  # it is erased with the job, at the latest
                self._store.erase(attempt_prefix(claim.id, claim.attempt))
        except PhotoError as error:
            log.info("photo_refused", job=claim.id, code=error.code)
            self._fail(claim, error.code, error.detail)
        except StoreUnavailable as error:
            log.warning("store_failed", job=claim.id, error=first_line(error.__cause__))
            with _unless_lost(claim):
                self._jobs.renew(claim)
                time.sleep(STORE_RETRY_DELAY)
            self._give_back(claim, failed=False)
        except Problem as error:
            log.warning("job_failed", job=claim.id, code=error.code, pixels=claim.pixels)
            self._fail(claim, error.code, error.detail)
        except redis.RedisError:
            raise
        except Exception as error:
            log.exception("attempt_failed", job=claim.id, attempt=claim.attempt)
            if is_out_of_memory(error) and claim.failures + 1 >= MOST_ATTEMPTS:
                self._fail(claim, "out_of_memory", KINDS["out_of_memory"].advice)
            else:
                self._give_back(claim, failed=True)

    def _fail(self, claim: Claim, code: str, detail: str) -> None:
        with _unless_lost(claim):
            self._jobs.fail(claim, code, detail)

    def _give_back(self, claim: Claim, failed: bool) -> None:
        with _unless_lost(claim):
            if self._jobs.retry(claim, failed):
                celery_app.notify(self._app, claim.id)

    def _colorize(self, claim: Claim) -> None:
        stages = _Stages(self._jobs, claim)
        with stages.next("open"):
            picture = image_io.open(self._read(claim), self._settings.limits)
        with stages.next("preprocess"):
            lightness = self._colorizer.preprocess(picture)
        with stages.next("infer"):
            answer = self._ask_the_net(claim, picture, lightness)
        with stages.next("postprocess"):
            colored = self._colorizer.postprocess(picture, answer.logits, color_options(claim.options))
        with stages.next("save"):
            result, others = self._save(claim, picture, colored)
        if answer.leads:
            metrics.BATCH_SIZE.observe(answer.photos)
            with suppress(redis.RedisError):  # one count less
                self._jobs.count_batch(answer.photos)
        self._jobs.complete(claim, stages.seconds["save"], result, others)
        log.info("job_succeeded", job=claim.id, attempt=claim.attempt, **stages.seconds, batch=answer.photos)

    def _read(self, claim: Claim) -> bytes:
        """The photo. A store that is slow, but gives, keeps the lease. Raises `photo_lost`, and LeaseLost where erased."""
        data, renewed = bytearray(), time.monotonic()
        try:
            for piece in self._store.stream(photo_key(claim.id, claim.upload)):
                data += piece
                if time.monotonic() - renewed > self._settings.lease / 4:
                    self._jobs.renew(claim)
                    renewed = time.monotonic()
        except FileNotFoundError:
            held = self._jobs.is_held(claim)
            raise (Problem("photo_lost") if held else LeaseLost()) from None
        return bytes(data)

    def _ask_the_net(self, claim: Claim, picture: image_io.Photo, lightness: NDArray[np.float32]) -> Answer:
        """Raises `out_of_memory` where not even a very small picture fits."""
        size = self._colorizer.card.size
        while True:
            try:
                return self._wait(claim, self.batcher.submit(lightness))
            except NetOutOfMemory:
                size = size * 3 // 4 // 32 * 32  # about half of the pixels
                if size < SMALLEST:
                    raise Problem("out_of_memory") from None
                log.warning("input_reduced", job=claim.id, size=size, error="out of memory")
                lightness = self._colorizer.preprocess(picture, size)

    def _wait(self, claim: Claim, answer: Future[Answer]) -> Answer:
        """Wait, and renew the lease as long as the net moves. A net that hangs is left to the watchdog."""
        try:
            while True:
                with suppress(TimeoutError):
                    return answer.result(timeout=min(1.0, self._settings.lease / 4))
                if answer.done():
                    return answer.result()
                if self.batcher.is_moving:
                    self._jobs.renew(claim)
        finally:
            answer.cancel()  # it need not be in the net if nobody waits for it

    def _infer(self, lightness: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Called by the batcher, in its thread. Raises FloatingPointError: no numbers would become no colors."""
        try:
            logits = self._colorizer.infer(lightness)
            are_numbers = all(bool(np.isfinite(single.sum())) for single in logits)
        except RuntimeError as error:
            if is_out_of_memory(error) or type(error).__name__ != "AcceleratorError":  # PyTorch's
                raise
            end_process(f"the device is lost to this process: {first_line(error)}")
        if not are_numbers:
            raise FloatingPointError("the net's answer is no number")
        return logits

    def _save(
        self, claim: Claim, picture: image_io.Photo, colored: image_io.Photo
    ) -> tuple[Result, tuple[Artifact, ...]]:
        options = claim.options
        format = None if options.format == "auto" else options.format.upper()
        saved_as = image_io.saved_format(colored, format)
        data = image_io.save(colored, image_io.SaveOptions(format, options.quality))
        for earlier in range(1, claim.attempt):  # whoever died in between has left its files
            self._store.erase(attempt_prefix(claim.id, earlier))
        key = result_key(claim.id, claim.attempt, image_io.extension(saved_as))
        self._store.put(key, data)
        result = Result(
            key=key,
            width=colored.width,
            height=colored.height,
            media_type=image_io.media_type(saved_as),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )
        others = []
        for kind, file, media_type, data in self._artifacts(options, picture, colored, result):
            self._jobs.renew(claim)  # a slow store takes seconds for each
            key = artifact_key(claim.id, claim.attempt, file)
            self._store.put(key, data)
            others.append(Artifact(kind, kind, key, media_type, len(data)))
        return result, tuple(others)

    def _artifacts(
        self, options: Options, picture: image_io.Photo, colored: image_io.Photo, result: Result
    ) -> Iterator[tuple[Literal["comparison", "sidecar"], str, str, bytes]]:
        """Kind, name, media type and content of each file that the options ask for beside the result."""
        if "comparison" in options.artifacts:
            pixels = comparison(picture.pixels, colored.pixels, colored.alpha)
            yield "comparison", "comparison.jpg", "image/jpeg", _as_jpeg(options.quality, pixels)
        if "sidecar" in options.artifacts:
            own = self._colorizer.card.temperature
            temperature = own if options.temperature is None else options.temperature
            yield (
                "sidecar",
                "sidecar.json",
                "application/json",
                sidecar(options, self.net, temperature, result),
            )


class _Stages:
    """Seconds of each stage of one attempt, written to the job's record as the stage ends."""

    def __init__(self, jobs: Jobs, claim: Claim) -> None:
        self._jobs = jobs
        self._claim = claim
        self.seconds: dict[str, float] = {}

    @contextmanager
    def next(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start
        metrics.STAGE_SECONDS.labels(stage).observe(self.seconds[stage])
        if stage != STAGES[-1]:  # the last one ends with the job, in one step
            following = STAGES[STAGES.index(stage) + 1]
            self._jobs.advance(self._claim, stage, self.seconds[stage], following)


@contextmanager
def _unless_lost(claim: Claim) -> Iterator[None]:
    """What is said here need not be said where the job is another's by now."""
    try:
        yield
    except LeaseLost:
        log.warning("lease_lost", job=claim.id, attempt=claim.attempt)


def color_options(options: Options) -> ColorOptions:
    """The one place where what a client asked becomes what the model is told."""
    return ColorOptions(temperature=options.temperature, vividness=options.vividness)


def _as_jpeg(quality: int, pixels: NDArray[np.uint8]) -> bytes:
    return image_io.save(image_io.Photo(pixels, None, "JPEG"), image_io.SaveOptions("JPEG", quality))


def comparison(
    gray: NDArray[Any], colored: NDArray[Any], alpha: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Gray on the left, color on the right, (h, 2w, 3) uint8, at most COMPARISON_SIDE each; what is transparent becomes white.

    `gray`: (H, W) or (H, W, 3); `colored`: (H, W, 3), both uint8 or uint16; `alpha`: how opaque, (H, W), or None.
    """
    left = _thumbnail(Image.fromarray(_of_8_bits(gray)).convert("L").convert("RGB"), alpha)
    right = _thumbnail(Image.fromarray(_of_8_bits(colored)), alpha)
    return np.concatenate([np.asarray(left), np.asarray(right)], axis=1)


def _of_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return pixels.astype(np.uint8) if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def _thumbnail(image: Image.Image, alpha: NDArray[np.uint8] | None) -> Image.Image:
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
    image.thumbnail((COMPARISON_SIDE, COMPARISON_SIDE), Image.Resampling.LANCZOS)
    return image


def sidecar(options: Options, net: Net, temperature: float, result: Result) -> bytes:
    """How the colors came about, as JSON in UTF-8. `temperature`: as it was used, the option's or the net's own."""
    said = {
        "about": GUESSED,
        "digital_source_type": SOURCE_TYPE,
        "software": "Autochrome",
        "net": {"name": net.name, "sha256": net.sha256},
        "temperature": temperature,
        "options": options.model_dump(mode="json", include=OPTIONS_TOLD),
        "result": {"sha256": result.sha256, "width": result.width, "height": result.height},
    }
    return (json.dumps(said, indent=2) + "\n").encode()


def main(settings: Settings, load: Callable[[str, str], Colorizer] = Colorizer.load) -> int:
    """Load the net, then take jobs until SIGTERM, upon which those begun are ended. Returns the exit code.

    Raises SettingsError where the net, the queue or the store cannot be used.
    """
    if settings.metrics_port is not None:
        metrics.serve(settings.host, settings.metrics_port)
    lease = Lease(settings.lease, settings.lease_per_megapixel)
    client = connect(settings.required_redis_url)
    jobs = Jobs(client, lease)  # for what comes round every second or two
    attempts = Jobs(connect(settings.required_redis_url, WORKER_RETRIES, WORKER_TIMEOUT), lease)
    store = Store(settings.effective_store_url)
    app = celery_app.make_app(settings.celery_broker_url)
    start = time.perf_counter()
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    worker = Worker(name, _load(settings, load), attempts, store, app, settings)
    worker.start()
    log.info("net_loaded", net=worker.net.name, worker=name, seconds=time.perf_counter() - start)

    reaper = Reaper(jobs, partial(celery_app.notify, app), lambda: worker.admission.is_idle)
    hooks = webhooks.Webhooks.of(settings, client, jobs)
    periodics = [
        Periodic("beat", BEAT_EVERY, partial(worker.beat, jobs)),
        Periodic("reaper", EVERY, reaper.tick),
        Periodic("eraser", EVERY, Eraser(jobs, store, settings.deadline).tick),
        Periodic("watch", min(5.0, settings.stall / 4), partial(worker.watch, jobs)),
        Periodic("webhooks", webhooks.EVERY, hooks.tick),
    ]
    for periodic in periodics:
        periodic.start()
    try:
        return celery_app.consume(app, worker.run, worker.concurrency, worker.admission.close)
    finally:
        for periodic in periodics:
            periodic.stop()
        hooks.stop()
        worker.stop()
        with suppress(redis.RedisError):  # it will be seen to beat no more
            jobs.gone(name)


def _load(settings: Settings, load: Callable[[str, str], Colorizer]) -> Colorizer:
    """Raises SettingsError."""
    if len(settings.devices) > 1:
        raise SettingsError(
            f"AUTOCHROME_DEVICE={settings.device!r} names several. A worker has one: start one for each, "
            "or let `python -m service` do so."
        )
    try:
        return load(settings.net, settings.devices[0])
    except CheckpointError as error:
        raise SettingsError(f"AUTOCHROME_NET={settings.net!r} cannot be loaded: {error}") from error
    except ValueError as error:
        raise SettingsError(f"AUTOCHROME_DEVICE={settings.device!r} cannot be used: {error}") from error
