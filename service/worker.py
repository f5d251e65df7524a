"""The worker: takes jobs through open → preprocess → infer → postprocess → save. It alone imports the model.

python -m service worker

On a CPU each thread takes one photo from its opening to its end. On a GPU the net has a thread of its own, which takes several at once.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import redis
from celery import Celery
from numpy.typing import NDArray
from structlog.contextvars import bound_contextvars

from model import confidence, image_io, inspection
from model.cards import CheckpointError
from model.colorizer import Colorizer
from model.errors import InputError, PhotoError
from model.machine import cores, give_back_large_blocks, memory_resident, memory_total
from service import celery_app, metrics, notifications, photos, webhooks
from service.artifacts import Colored, Made, artifacts, others_notice, refuse_unless_able, thumbnail
from service.batching import Admission, Answer, Batcher, Direct, NetOutOfMemory, is_out_of_memory
from service.database import WORKER_RETRIES, WORKER_TIMEOUT, connect
from service.errors import KINDS, LeaseLost, Problem, SettingsError, StoreUnavailable, first_line
from service.janitor import EVERY, SWEEP_TICK, Eraser, Reaper, Sweeper
from service.jobs import MOST_ATTEMPTS, Jobs, worker_name
from service.kept import Kept
from service.models import STAGES, Artifact, Claim, Lease, Net, Result
from service.observability import get_logger
from service.photos import Preview
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, artifact_key, attempt_prefix, photo_key, result_key
from service.watchdog import Periodic, Watchdog, end_process

BEAT_EVERY = 2.0
STORE_RETRY_DELAY = 2.0
"""Seconds to wait before the store is tried again, or a job given back because the store did not answer."""
STORE_RETRY_FOR = 60.0
"""Seconds for which storing a result is tried again, before the job is given back and will be colored anew."""
SMALLEST = 64
"""Shorter side of the smallest picture that the net is shown when memory runs out."""
ON_A_GPU = (32, 16)
"""Photos in a worker, and photos in a batch, where the settings say nothing."""
UNKNOWN_MEMORY = 2 * 2**30
"""Bytes for photos where the system does not say what there is."""
KEPT_SHARE, MOST_KEPT, KEPT_FOR = 0.125, 256 * 2**20, 600.0
"""What is kept of colored photos takes this share of the memory for photos, so many bytes at most, for so many seconds unused."""
FORGET_EVERY = 2.0
"""Seconds after which what is kept of a photo that was erased is gone."""
NET_OPTIONS = ("negative", "rotate", "crop_border", "page", "partial", "if_color", "detail")
"""The options that change what the net sees of a photo and answers, or what is noticed of it before."""
TELL_EVERY = 0.1
"""Seconds. Stages that last shorter are told to the record together: nobody could see them pass, and each telling has its price."""

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
        infer = partial(_infer, colorizer)
        if colorizer.device == "cpu":
            # One more than cores: there is work while a photo waits for the store or the record.
            self.concurrency = settings.concurrency or cores() + 1
            self._engine: Direct | Batcher = Direct(infer, self._threads)
        else:
            self.concurrency = settings.concurrency or ON_A_GPU[0]
            self._engine = Batcher(infer, settings.batch or ON_A_GPU[1], settings.lease)
        room, self._most_memory = _memory(settings)
        for_kept = min(int(KEPT_SHARE * room), MOST_KEPT)
        self._room = room - for_kept
        self.admission = Admission(self._room)
        self.kept: Kept[tuple[Any, ...], Preview] = Kept(for_kept, KEPT_FOR)
        self._colorizer = colorizer
        self._jobs = jobs
        self._store = store
        self._app = app
        self._settings = settings
        self._watchdog = Watchdog(settings.deadline)
        self._unnotified: threading.Thread | None = None

    def start(self) -> None:
        """Start the net, and show it what it will see, so that no photo waits for what happens once."""
        self._engine.start()
        square = image_io.Photo(np.full((256, 256), 128, np.uint8), None, "PNG")
        lightness = self._colorizer.preprocess(square)
        self._engine.warm_up(lightness)
        logits = self._engine.ask(lightness, lambda: None).logits
        self._colorizer.postprocess(square, logits)
        self._colorizer.postprocess(
            image_io.deepened(square), logits
        )  # the first time on a machine, it is compiled for seconds

    def stop(self) -> None:
        self._engine.stop()

    def run(self, id: str) -> None:
        """The Celery task: color photos until none waits. The notification names a job, but the best one is taken."""
        try:
            if not self._color_next(answers=True):
                if self.admission.is_closed:
                    celery_app.notify(self._app, id)  # for those who stay
                return
            while self._color_next(answers=False):
                pass
        except redis.RedisError as error:
            # The record cannot be written now. The reaper makes up for the lease, or for the notification.
            log.warning("record_lost", job=id, error=str(error))

    def run_unnotified(self, id: str) -> None:
        """Color what waits in a thread that no message has woken, one at most: a broker that is full hands none out."""
        if self.admission.is_closed:
            return
        if self._unnotified is None or not self._unnotified.is_alive():
            self._unnotified = threading.Thread(target=self.run, args=(id,), name="unnotified", daemon=True)
            self._unnotified.start()

    def finish(self) -> None:
        """Take no more photos, and let the one that no message has brought come to its end."""
        self.admission.close()
        if self._unnotified is not None:
            self._unnotified.join()

    def _color_next(self, answers: bool) -> bool:
        """Take the best job and try it. False where none waits, this worker has closed, or the job was given back, with a notification."""
        with self.admission.enter(partial(self._jobs.claim, self.name, self.net, answers=answers)) as claim:
            if claim is None:
                return False
            with bound_contextvars(request=claim.request_id), self._watchdog.guard():
                return self._attempt(claim)

    def beat(self, jobs: Jobs) -> None:
        """Say that this worker lives. May raise redis.RedisError."""
        jobs.beat(self.name, self.net, self._colorizer.device, self.admission.taken_ms, self.concurrency)

    def forget(self, jobs: Jobs) -> None:
        """Keep nothing more of photos that were erased. May raise redis.RedisError."""
        if ids := self.kept.ids():
            unknown, erased = jobs.orphans([*ids])
            self.kept.forget({*unknown, *erased})

    def watch(self, jobs: Jobs) -> None:
        """End the process where it has taken nothing for long, although photos wait. May raise redis.RedisError."""
        stall = self._settings.stall
        if self.admission.empty_for > stall and self.name in jobs.stalled(stall):
            end_process(f"photos wait, and none has been taken for {stall:g} s")

    def _attempt(self, claim: Claim) -> bool:
        """Whether it came to an end, good or bad; False where the job was given back."""
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
            return False
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
                return False
        return True

    def _fail(self, claim: Claim, code: str, detail: str) -> None:
        with _unless_lost(claim):
            self._jobs.fail(claim, code, detail)

    def _give_back(self, claim: Claim, failed: bool) -> None:
        with _unless_lost(claim):
            if self._jobs.retry(claim, failed):
                celery_app.notify(self._app, claim.id)

    def _colorize(self, claim: Claim) -> None:
        stages, options = _Stages(self._jobs, claim), claim.options
        if self._most_memory is not None and claim.memory > self._most_memory:
            raise _too_large(claim, self._most_memory)
        if claim.memory > self._room:  # it is alone here, and may need all that there is
            self.kept.forget(self.kept.ids())
        key = claim.upload, *(getattr(options, name) for name in NET_OPTIONS)
        kept = self.kept.get(claim.revises, key) if claim.revises else None
        source_sha256 = None
        with stages.next("open"):
            if kept and options.is_preview and "sidecar" not in options.artifacts:
                photo = kept.photo
            else:
                data = self._read(claim)
                source_sha256 = hashlib.sha256(data).hexdigest() if "sidecar" in options.artifacts else None
                photo = photos.opened(data, options, self._settings.limits)
            shown = photos.sized(photo, options)
        if inspection.is_kept(photo):
            with stages.next("save"):
                result = self._store_result(claim, shown, *photos.kept_file(data, photo, shown, options))
                small = [thumbnail(shown, disclosure=False)] if "thumbnail" in options.artifacts else []
                others = self._store_artifacts(claim, small)
            self._jobs.complete(claim, stages.untold, result, others, photo.notices)
            log.info("photo_kept", job=claim.id, attempt=claim.attempt, **stages.seconds)
            return
        refuse_unless_able(self._colorizer.card, options)
        photos.refuse_hints_outside(shown, options)
        if kept:
            answer = Answer(kept.logits, photos=1, leads=False)
        else:
            with stages.next("preprocess"):
                looks = self._colorizer.looks(photo, options.detail)
            with stages.next("infer"):
                answer = self._ask_the_net(claim, photo, looks, stages.renew)
        with stages.next("postprocess"):
            colored = self._postprocess(shown, answer.logits, options, source_sha256)
        with stages.next("save"):
            result, others = self._save(claim, colored)
        batch = answer.photos if answer.leads else 0
        if batch:
            metrics.BATCH_SIZE.observe(batch)
        self._jobs.complete(claim, stages.untold, result, others, colored.before.notices, batch)
        log.info("job_succeeded", job=claim.id, attempt=claim.attempt, **stages.seconds, batch=answer.photos)
        if not kept and options.priority == "interactive":  # somebody may look at it, and want other colors
            preview = Preview.of(photo, answer.logits)
            self.kept.put(claim.photo_of, key, preview, preview.size)

    def _read(self, claim: Claim) -> bytes:
        """The photo. A store that is slow, but gives, keeps the lease. Raises `photo_lost`, and LeaseLost where erased."""
        data, renewed = bytearray(), time.monotonic()
        try:
            for piece in self._store.stream(photo_key(claim.photo_of, claim.upload)):
                data += piece
                if time.monotonic() - renewed > self._settings.lease / 4:
                    self._jobs.renew(claim)
                    renewed = time.monotonic()
        except FileNotFoundError:
            held = self._jobs.is_held(claim)
            raise (Problem("photo_lost") if held else LeaseLost()) from None
        return bytes(data)

    def _ask_the_net(
        self,
        claim: Claim,
        photo: image_io.Photo,
        looks: Sequence[NDArray[np.float32]],
        renew: Callable[[], None],
    ) -> Answer:
        """To all looks, as one. Raises `out_of_memory` where not even a very small picture fits."""
        first = self._ask_at_a_size(claim, photo, looks[0], renew)
        tiles = []
        for tile in looks[1:]:
            renew()
            try:
                tiles.append(self._engine.ask(tile, renew).logits)
            except NetOutOfMemory:
                log.warning("second_look_dropped", job=claim.id, error="out of memory")
                return first
        answers = [first.logits, *tiles]
        return replace(first, logits=self._colorizer.merge(photo, answers, claim.options.detail))

    def _ask_at_a_size(
        self, claim: Claim, photo: image_io.Photo, lightness: NDArray[np.float32], renew: Callable[[], None]
    ) -> Answer:
        """At the card's size, or at one that memory holds."""
        size = self._colorizer.card.size
        while True:
            try:
                return self._engine.ask(lightness, renew)
            except NetOutOfMemory:
                size = size * 3 // 4 // 32 * 32  # about half of the pixels
                if size < SMALLEST:
                    raise Problem("out_of_memory") from None
                log.warning("input_reduced", job=claim.id, size=size, error="out of memory")
                lightness = self._colorizer.preprocess(photo, size)

    def _threads(self) -> int | None:
        """How many cores a photo may have: all where it is alone, else one, so that none waits for another's share."""
        return None if self.admission.count <= 1 else 1

    def _postprocess(
        self,
        photo: image_io.Photo,
        logits_Qhw: NDArray[np.float32],
        options: Options,
        source_sha256: str | None,
    ) -> Colored:
        """The photo in color, what else it could have been, and notices of what the net is sure of."""
        color, threads, others = photos.color_options(options), self._threads(), []
        # The palette once and for all: artifacts are of the colors that the photo gets.
        logits_Qhw = self._colorizer.toward(logits_Qhw, color.palette)
        color = replace(color, palette=())
        if options.beside:
            others = self._colorizer.others(photo, logits_Qhw, options.beside, color)
        guessed = confidence.notice(logits_Qhw, self._colorizer.card)
        notices = (*photo.notices, *((guessed,) if guessed else ()), *others_notice(options, others))
        photo = replace(photo, notices=notices)
        deep = image_io.deepened(photo) if options.bits else photo
        try:
            after = self._colorizer.postprocess(deep, logits_Qhw, color, threads)
        except InputError as error:
            what = f"This photo has no alternative {options.chosen} of {options.alternatives}."
            raise Problem("option_unavailable", what=what) from error
        saving = photos.save_options(options)
        return Colored(
            *(photo, after, logits_Qhw, others, self._colorizer, options, color, saving, threads),
            source_sha256=source_sha256,
        )

    def _save(self, claim: Claim, colored: Colored) -> tuple[Result, tuple[Artifact, ...]]:
        saved_as = image_io.saved_format(colored.after, colored.saving.format)
        data = image_io.save(colored.after, colored.saving)
        result = self._store_result(claim, colored.after, data, saved_as)
        return result, self._store_artifacts(claim, artifacts(colored, result))

    def _store_artifacts(self, claim: Claim, files: Iterable[Made]) -> tuple[Artifact, ...]:
        """One after another: each is made when it is asked for."""
        others = []
        for made in files:
            self._jobs.renew(claim)  # a slow store takes seconds for each
            key = artifact_key(claim.id, claim.attempt, made.file)
            self._put(claim, key, made.data, made.media_type)
            others.append(
                Artifact(
                    *(made.name, made.kind, key, made.media_type, len(made.data)), made.rank, made.probability
                )
            )
        return tuple(others)

    def _store_result(self, claim: Claim, photo: image_io.Photo, data: bytes, format: str) -> Result:
        for earlier in range(1, claim.attempt):  # whoever died in between has left its files
            self._jobs.renew(claim)  # a slow store takes seconds for each
            self._store.erase(attempt_prefix(claim.id, earlier))
        key = result_key(claim.id, claim.attempt, image_io.extension(format))
        self._put(claim, key, data, image_io.media_type(format))
        return Result(
            key=key,
            width=photo.width,
            height=photo.height,
            media_type=image_io.media_type(format),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
        )

    def _put(self, claim: Claim, key: str, data: bytes, media_type: str) -> None:
        """Store what was dear to make: a store that is full has room again when the eraser has been there. Raises StoreUnavailable."""
        give_up = time.monotonic() + STORE_RETRY_FOR
        while True:
            try:
                return self._store.put(key, data, media_type)
            except StoreUnavailable as error:
                if time.monotonic() > give_up or self.admission.is_closed:
                    raise
                log.warning("result_waits", job=claim.id, error=first_line(error.__cause__))
            self._jobs.renew(claim)
            time.sleep(STORE_RETRY_DELAY)


class _Stages:
    """Seconds of each stage of one attempt, told to the job's record every TELL_EVERY seconds at most."""

    def __init__(self, jobs: Jobs, claim: Claim) -> None:
        self._jobs = jobs
        self._claim = claim
        self._told_at = time.perf_counter()
        self._now = STAGES[0]
        self.seconds: dict[str, float] = {}
        self.untold: dict[str, float] = {}
        """Those that the record does not know yet."""

    @contextmanager
    def next(self, stage: str) -> Iterator[None]:
        self._now, start = stage, time.perf_counter()
        yield
        end = time.perf_counter()
        self.seconds[stage] = self.untold[stage] = end - start
        metrics.STAGE_SECONDS.labels(stage).observe(end - start)
        is_last = stage == STAGES[-1]  # it ends with the job, in one step
        if not is_last and end - self._told_at >= TELL_EVERY:
            self._tell(STAGES[STAGES.index(stage) + 1])

    def renew(self) -> None:
        """Renew the lease in the middle of a stage, and tell what has not been told."""
        if self.untold:
            self._tell(self._now)
        else:
            self._jobs.renew(self._claim)

    def _tell(self, following: str) -> None:
        self._jobs.advance(self._claim, self.untold, following)
        self._told_at, self.untold = time.perf_counter(), {}


def _infer(
    colorizer: Colorizer, lightness: Sequence[NDArray[np.float32]], threads: int | None = None
) -> list[NDArray[np.float32]]:
    """The net's answers. Raises FloatingPointError: no numbers would become no colors. Ends the process where the device is lost."""
    try:
        logits = colorizer.infer(lightness, threads)
        are_numbers = all(math.isfinite(float(single.sum())) for single in logits)
    except RuntimeError as error:
        if is_out_of_memory(error) or type(error).__name__ != "AcceleratorError":  # PyTorch's
            raise
        end_process(f"the device is lost to this process: {first_line(error)}")
    if not are_numbers:
        raise FloatingPointError("the net's answer is no number")
    return logits


def _memory(settings: Settings) -> tuple[int, int | None]:
    """Bytes that photos may take at once; and the most that one alone may, where that is known: all but what this process has now."""
    total = memory_total()
    if total is None:
        return settings.worker_memory or UNKNOWN_MEMORY, None
    room = settings.worker_memory or total // 2
    return room, max(room, total - memory_resident())


def _too_large(claim: Claim, most: int) -> PhotoError:
    return PhotoError(
        "photo_too_large",
        f"Coloring the photo takes about {claim.memory / 2**30:.1f} GiB of memory, and the service has {most / 2**30:.1f} GiB.",
        "Use a smaller version.",
    )


@contextmanager
def _unless_lost(claim: Claim) -> Iterator[None]:
    """What is said here need not be said where the job is another's by now."""
    try:
        yield
    except LeaseLost:
        log.warning("lease_lost", job=claim.id, attempt=claim.attempt)


def main(settings: Settings, load: Callable[[str, str], Colorizer] = Colorizer.load) -> int:
    """Load the net, then take jobs until SIGTERM, upon which those begun are ended. Returns the exit code.

    Raises SettingsError where the net, the queue or the store cannot be used.
    """
    give_back_large_blocks()
    if settings.metrics_port is not None:
        metrics.serve(settings.host, settings.metrics_port)
    lease = Lease(settings.lease, settings.lease_per_megapixel)
    client = connect(settings.required_redis_url)
    jobs = Jobs(client, lease)  # for what comes round every second or two
    attempts = Jobs(connect(settings.required_redis_url, WORKER_RETRIES, WORKER_TIMEOUT), lease)
    store = Store(settings.effective_store_url)
    app = celery_app.make_app(settings.celery_broker_url)
    started: list[Worker] = []
    notify = partial(celery_app.notify, app)

    def has_idle() -> bool:
        return any(one.admission.answering < one.concurrency for one in started)

    def run_unnotified(id: str) -> None:
        for one in started:
            one.run_unnotified(id)

    # It begins before the net is loaded, which takes seconds: where this is the only worker, a dead one's jobs wait for that as well.
    reaper = Periodic("reaper", EVERY, Reaper(jobs, notify, has_idle, run_unnotified).tick)
    reaper.start()
    start = time.perf_counter()
    name = worker_name(os.getpid()) + secrets.token_hex(3)
    worker = Worker(name, _load(settings, load), attempts, store, app, settings)
    worker.start()
    started.append(worker)
    log.info("net_loaded", net=worker.net.name, worker=name, seconds=time.perf_counter() - start)

    hooks = webhooks.Webhooks.of(settings, client, jobs)
    periodics = [
        Periodic("beat", BEAT_EVERY, partial(worker.beat, jobs)),
        Periodic("eraser", EVERY, Eraser(jobs, store, settings.deadline, settings.log_rewrite).tick),
        Periodic(
            "sweeper", SWEEP_TICK, Sweeper(jobs, store, max(settings.keep_for, settings.max_keep_for)).tick
        ),
        Periodic("forget", FORGET_EVERY, partial(worker.forget, jobs)),
        Periodic("watch", min(5.0, settings.stall / 4), partial(worker.watch, jobs)),
        Periodic("webhooks", webhooks.EVERY, hooks.tick),
    ]
    for periodic in periodics:
        periodic.start()
    try:
        return notifications.consume(app, worker.run, worker.concurrency, worker.admission.close)
    finally:
        reaper.stop()
        worker.finish()  # while it beats, else another takes the photo
        hooks.stop()
        for periodic in periodics:
            periodic.stop()
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
