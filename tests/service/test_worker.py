"""Jobs in the worker's hands, with the real net and a real record, in this process."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
import redis
import torch
from PIL import Image
from prometheus_client import REGISTRY

from model.colorizer import Colorizer
from service import celery_app
from service.database import WORKER_RETRIES, connect
from service.errors import StoreUnavailable
from service.jobs import Jobs, new_id
from service.models import Bounds, Lease, Order, Result
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, photo_key
from service.worker import Worker, main

SIZE = (320, 240)


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


@pytest.fixture
def jobs(client) -> Jobs:
    """Leases that do not end while a net is loaded for the first time."""
    return Jobs(client, Lease(60, 0))


@pytest.fixture
def enter(jobs, store, gray_photo) -> Callable[..., str]:
    def enter(photo: bytes | None = None, **options: object) -> str:
        id = new_id()
        store.put(photo_key(id, "a1"), photo if photo is not None else gray_photo(size=SIZE))
        order = Order(Options(**options), SIZE[0] * SIZE[1], 60, upload="a1")
        assert jobs.create(id, "secret", order, Bounds(1000, 10**9))
        return id

    return enter


@pytest.fixture
def hand(colorizer, jobs, store, settings) -> Iterator[Callable[..., Worker]]:
    """A worker that is ready, with anything replaced."""
    ready: list[Worker] = []

    def make(colorizer=colorizer, jobs=jobs, store=store, settings: Settings = settings) -> Worker:
        app = celery_app.make_app(settings.celery_broker_url)
        ready.append(Worker("w1", colorizer, jobs, store, app, settings))
        ready[-1].start()
        return ready[-1]

    yield make
    for one in ready:
        one.stop()


def is_a_photo(lightness: np.ndarray) -> bool:
    """Not the gray square of the warm-up."""
    return bool(lightness.std() > 0.01)


def test_a_photo_that_is_erased_while_it_is_saved_leaves_nothing(hand, jobs, settings, enter, tmp_path):
    class ErasedMeanwhile(Store):
        def put(self, key: str, data: object, media_type: str = "") -> None:
            jobs.cancel(id)
            self.erase(id)
            super().put(key, data)

    id = enter()
    hand(store=ErasedMeanwhile(settings.store_url)).run(id)
    assert jobs.get(id).status == "canceled"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_photo_that_is_erased_between_claim_and_open_is_no_error(hand, jobs, settings, enter, caplog):
    class ErasedBefore(Store):
        def stream(self, key: str) -> Iterator[bytes]:
            jobs.cancel(id)
            self.erase(id)
            return super().stream(key)

    id = enter()
    hand(store=ErasedBefore(settings.store_url)).run(id)
    assert jobs.get(id).status == "canceled"
    assert "Traceback" not in caplog.text
    assert "lease_lost" in caplog.text


def test_a_photo_that_the_store_has_lost_fails_at_once_and_says_so(hand, jobs, store, enter):
    id = enter()
    store.erase(id)
    hand().run(id)
    job = jobs.get(id)
    assert (job.status, job.error_code) == ("failed", "photo_lost")


def test_a_store_that_hangs_costs_no_failed_attempt(hand, jobs, client, settings, enter, monkeypatch):
    """Its lease is 0.5 s, the store's silence and the pause after it are 0.35 s each."""
    monkeypatch.setattr("service.worker.STORE_RETRY_DELAY", 0.35)
    ended = threading.Event()

    class Hangs(Store):
        def stream(self, key: str) -> Iterator[bytes]:
            time.sleep(0.35)
            raise StoreUnavailable

    def reap() -> None:
        while not ended.wait(0.02):
            assert list(jobs.reap()) == []

    id = enter()
    short = Jobs(client, Lease(0.5, 0))
    worker = hand(jobs=short, store=Hangs(settings.store_url))
    with ThreadPoolExecutor() as pool:
        reaping = pool.submit(reap)
        try:
            for attempt in range(1, 5):
                worker.run(id)
                seen = client.hmget(f"{{autochrome}}:job:{id}", "status", "attempt", "failures")
                assert seen == ["queued", str(attempt), "0"]
        finally:
            ended.set()
        reaping.result()


class Full(Store):
    """Has no room for results for so many tries."""

    left = 0

    def put(self, key: str, data: object, *more: object) -> None:
        if self.left and "/result" in key:
            self.left -= 1
            raise StoreUnavailable from OSError(errno.ENOSPC, "No space left on device")
        super().put(key, data, *more)


@pytest.mark.parametrize(("retry_for", "attempts"), [(60, 1), (0, 5)])
def test_a_result_waits_for_room_in_a_full_store_and_its_job_is_neither_lost_nor_failed(
    hand, jobs, client, settings, enter, monkeypatch, retry_for, attempts
):
    monkeypatch.setattr("service.worker.STORE_RETRY_DELAY", 0.02)
    monkeypatch.setattr("service.worker.STORE_RETRY_FOR", retry_for)
    store = Full(settings.store_url)
    store.left = 4  # more than the failed attempts that a job may have
    worker, id = hand(store=store), enter()
    for attempt in range(1, attempts + 1):
        worker.run(id)
        assert client.hget(f"{{autochrome}}:job:{id}", "attempt") == str(attempt)
    job = jobs.get(id)
    assert job.status == "succeeded"
    assert len(store.get(job.result.key)) == job.result.bytes


def test_a_store_that_gives_slowly_keeps_the_lease(hand, jobs, client, settings, enter):
    class Slow(Store):
        def stream(self, key: str) -> Iterator[bytes]:
            for piece in super().stream(key):
                for at in range(0, len(piece), 1 + len(piece) // 5):
                    time.sleep(0.2)
                    assert list(jobs.reap()) == []
                    yield piece[at : at + 1 + len(piece) // 5]

    id = enter()
    short = settings.model_copy(update={"lease": 0.6})
    hand(jobs=Jobs(client, Lease(0.6, 0)), store=Slow(settings.store_url), settings=short).run(id)
    assert jobs.get(id).status == "succeeded"


def test_a_worker_goes_on_to_what_waits_without_being_notified(hand, jobs, enter):
    ids = [enter() for _ in range(3)]
    hand().run(ids[0])
    assert [jobs.get(id).status for id in ids] == ["succeeded"] * 3


def test_a_notification_too_many_changes_nothing(hand, jobs, enter):
    worker = hand()
    id = enter()
    worker.run(id)
    first = jobs.get(id)
    assert first.status == "succeeded"
    worker.run(id)
    worker.run(new_id())
    assert jobs.get(id) == first


class OnGpu(Colorizer):
    """Says that it is on a GPU, so that photos go through the net together."""

    device = "cuda"


@pytest.mark.parametrize("kind", [Colorizer, OnGpu])
def test_photos_in_many_threads_come_out_as_they_do_alone_and_on_a_gpu_go_through_the_net_together(
    hand, jobs, store, settings, enter, gray_photo, kind
):
    sizes = [(320, 240), (240, 320), (400, 300), (300, 300)] * 3
    photos = [gray_photo("PNG", size) for size in sizes]

    def results(worker: Worker, at_once: int) -> list[np.ndarray]:
        ids = [enter(photo) for photo in photos]
        threads = [threading.Thread(target=worker.run, args=[ids[0]]) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return [np.asarray(Image.open(io.BytesIO(store.get(jobs.get(id).result.key)))) for id in ids]

    many = hand(kind.load("lite", "cpu"), settings=settings.model_copy(update={"batch": 4}))

    def of_four() -> float:
        return REGISTRY.get_sample_value("autochrome_worker_batch_size_bucket", {"le": "4.0"})

    before = of_four()
    together = results(many, 6)
    counted, small = jobs.counters(), of_four() - before
    alone = results(many, 1)
    for one, other, size in zip(together, alone, sizes, strict=True):
        assert one.shape == (size[1], size[0], 3)
        assert np.abs(one.astype(int) - other).max() <= 1, "but for the last bit of a sum in another order"
    assert counted["batch:sum"] == 12
    assert (counted["batch:count"] < 12) == (kind is OnGpu), "some went together"
    assert small == counted["batch:count"], "no more than four at once"
    assert many.admission.answering == 0


def test_an_error_of_ours_is_tried_three_times_and_never_ends_in_gray(hand, jobs, enter, client):
    class Broken(Colorizer):
        def infer(self, lightness: list, threads: int | None = None) -> list:
            if any(map(is_a_photo, lightness)):
                raise RuntimeError("a bug")
            return super().infer(lightness, threads)

    worker = hand(Broken.load("lite", "cpu"))
    id = enter()
    for times in (1, 2, 3):
        assert jobs.get(id).status == "queued"
        assert client.llen("autochrome") == times - 1, "it notifies for itself"
        worker.run(id)
    assert (jobs.get(id).status, jobs.get(id).error_code) == ("failed", "internal_error")
    assert worker.admission.answering == 0


def test_an_answer_of_no_numbers_is_an_error_and_only_of_the_photo_that_got_it(hand, jobs, enter, gray_photo):
    class Dark(Colorizer):
        """Overflows over dark pictures."""

        def infer(self, lightness: list, threads: int | None = None) -> list:
            answers = super().infer(lightness, threads)
            return [
                a * (float("nan") if one.max() < 30 else 1) for a, one in zip(answers, lightness, strict=True)
            ]

    worker = hand(Dark.load("lite", "cpu"))
    file = io.BytesIO()
    Image.new("L", SIZE, 20).save(file, "PNG")
    dark, good = enter(file.getvalue()), enter()
    for id in (dark, good, dark, dark):
        worker.run(id)
    assert (jobs.get(dark).status, jobs.get(dark).error_code) == ("failed", "internal_error")
    assert jobs.get(good).status == "succeeded"


class Narrow(Colorizer):
    """A net whose device has room for so many pixels only."""

    room = 10**9
    shown: list[tuple[int, ...]]

    def infer(self, lightness: list, threads: int | None = None) -> list:
        if any(map(is_a_photo, lightness)):
            self.shown.append(tuple(lightness[0].shape[1:]))
            if len(lightness) * lightness[0].size > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return super().infer(lightness, threads)


@pytest.fixture
def narrow() -> Narrow:
    net = Narrow.load("lite", "cpu")
    net.shown = []
    return net


def test_a_photo_for_which_memory_does_not_suffice_is_shown_to_the_net_smaller(
    hand, narrow, jobs, store, enter
):
    narrow.room = 100 * 150
    id = enter(format="png")
    hand(narrow).run(id)
    result = jobs.get(id).result
    assert (result.width, result.height) == SIZE, "the picture itself is as large as ever"
    assert [min(shape) for shape in narrow.shown] == [224, 160, 96]
    pixels = np.asarray(Image.open(io.BytesIO(store.get(result.key)))).astype(int)
    assert (pixels.max(2) - pixels.min(2)).mean() > 1, "it is not gray"


def test_a_photo_for_which_memory_never_suffices_fails_with_a_code_and_not_in_gray(
    hand, narrow, jobs, store, enter
):
    narrow.room = 10
    id = enter()
    hand(narrow).run(id)
    job = jobs.get(id)
    assert (job.status, job.error_code, job.result) == ("failed", "out_of_memory", None)
    assert [min(shape) for shape in narrow.shown] == [224, 160, 96, 64]


def test_memory_that_runs_out_elsewhere_is_said_so_after_three_attempts(hand, jobs, enter):
    class Full(Colorizer):
        def preprocess(self, *photo: object) -> object:
            if photo[0].size == SIZE:
                raise MemoryError
            return super().preprocess(*photo)

    worker = hand(Full.load("lite", "cpu"))
    id = enter()
    for _ in range(3):
        assert jobs.get(id).status == "queued"
        worker.run(id)
    assert (jobs.get(id).status, jobs.get(id).error_code) == ("failed", "out_of_memory")


def test_what_is_asked_for_besides_lies_beside_the_result(hand, colorizer, jobs, store, enter):
    id = enter(
        artifacts=("comparison", "sidecar"), temperature=0.5, vividness=1.5, webhook="https://a.example/s"
    )
    hand().run(id)
    job = jobs.get(id)
    comparison, sidecar = job.artifacts
    assert {one.key.rpartition("/")[0] for one in job.artifacts} == {job.result.key.rpartition("/")[0]}

    data = store.get(comparison.key)
    assert (comparison.kind, comparison.media_type, comparison.bytes) == (
        "comparison",
        "image/jpeg",
        len(data),
    )
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("JPEG", (2 * SIZE[0], SIZE[1]))
    pixels = np.asarray(picture).astype(int)
    chroma = pixels.max(2) - pixels.min(2)
    assert chroma[:, : SIZE[0] - 8].max() <= 2, "gray on the left"
    assert chroma[:, SIZE[0] :].mean() > 2, "color on the right"

    said = json.loads(store.get(sidecar.key))
    assert (sidecar.kind, sidecar.media_type) == ("sidecar", "application/json")
    assert said["net"] == {"name": "lite", "sha256": colorizer.sha256}
    assert (said["temperature"], said["options"]["vividness"]) == (0.5, 1.5)
    assert said["result"]["sha256"] == hashlib.sha256(store.get(job.result.key)).hexdigest()
    assert "guesses" in said["about"]
    assert "a.example" not in store.get(sidecar.key).decode()


def test_a_comparison_of_a_large_transparent_photo_of_many_bits_is_small_and_white_where_nothing_is(
    hand, jobs, store, enter
):
    file = io.BytesIO()
    pixels = np.full((1000, 3000, 2), 120, np.uint8)
    pixels[..., 1] = np.arange(3000) >= 1500
    pixels[..., 1] *= 255
    Image.fromarray(pixels, "LA").save(file, "PNG")
    deep = io.BytesIO()
    Image.fromarray(np.full((240, 320), 40_000, np.uint16)).save(deep, "PNG")
    transparent, deep_id = (
        enter(file.getvalue(), artifacts=("comparison",)),
        enter(deep.getvalue(), artifacts=("comparison",)),
    )
    worker = hand()
    worker.run(transparent)
    worker.run(deep_id)
    picture = Image.open(io.BytesIO(store.get(jobs.get(transparent).artifacts[0].key)))
    assert picture.size == (4096, 683)
    assert min(picture.getpixel((200, 300))) > 250
    assert abs(picture.getpixel((1900, 300))[0] - 120) < 3
    picture = Image.open(io.BytesIO(store.get(jobs.get(deep_id).artifacts[0].key)))
    assert abs(picture.getpixel((100, 100))[0] - 40_000 // 257) < 3


def test_a_sidecar_names_the_temperature_that_was_used_where_none_was_asked_for(
    hand, colorizer, jobs, store, enter
):
    id = enter(artifacts=("sidecar",))
    hand().run(id)
    (sidecar,) = jobs.get(id).artifacts
    assert json.loads(store.get(sidecar.key))["temperature"] == colorizer.card.temperature


@pytest.fixture
def lossy(redis_url, monkeypatch) -> Iterator[Callable[..., Jobs]]:
    """Jobs of a worker's client whose answers are lost: of each command that `is_lost` says so of."""
    with connect(redis_url, WORKER_RETRIES) as client:
        send = client._send_command_parse_response

        def make(is_lost: Callable[[], bool]) -> Jobs:
            def send_and_lose(*command: object, **options: object) -> object:
                answer = send(*command, **options)
                if is_lost():
                    raise redis.ConnectionError
                return answer

            monkeypatch.setattr(client, "_send_command_parse_response", send_and_lose)
            return Jobs(client, Lease(60, 0))

        yield make


def test_a_result_is_kept_where_only_the_answer_to_the_last_call_was_lost(
    hand, jobs, store, enter, lossy, monkeypatch
):
    lost: list[bool] = []
    losing = lossy(lambda: bool(lost) and lost.pop())
    complete = losing.complete
    monkeypatch.setattr(losing, "complete", lambda *words: (lost.append(True), complete(*words)))
    id = enter()
    hand(jobs=losing).run(id)
    assert not lost, "it was lost"
    result: Result = jobs.get(id).result
    assert jobs.get(id).status == "succeeded"
    assert len(store.get(result.key)) == result.bytes


def test_a_record_that_does_not_answer_for_a_while_costs_the_job_no_attempt(hand, jobs, enter, lossy):
    said = count(1)
    id = enter()
    hand(jobs=lossy(lambda: next(said) % 3 != 0)).run(id)
    assert next(said) > 9, "each of three calls took three commands: claim, complete, and claim again"
    job = jobs.get(id)
    assert job.status == "succeeded"
    assert job.result.key.startswith(f"{id}/1/")


def test_a_lease_is_renewed_while_the_net_moves_and_left_to_end_where_it_hangs(
    hand, client, settings, enter, until
):
    class Held(OnGpu):
        go_on = threading.Event()

        def infer(self, lightness: list, threads: int | None = None) -> list:
            if any(map(is_a_photo, lightness)):
                assert self.go_on.wait(60)
            return super().infer(lightness, threads)

    short = Jobs(client, Lease(1.5, 0))
    net = Held.load("lite", "cpu")
    worker = hand(net, short, settings=settings.model_copy(update={"lease": 3.0}))
    id = enter()
    thread = threading.Thread(target=worker.run, args=[id])
    thread.start()
    until(lambda: short.get(id).stage == "infer", 10, "it is in the net")
    in_the_net = time.monotonic()
    while time.monotonic() - in_the_net < 2.5:
        assert list(short.reap()) == [], "the lease of 1.5 s is renewed"
        time.sleep(0.1)
    until(lambda: list(short.reap()) == [id], 5, "a net that takes longer than 3 s is not waited for")
    net.go_on.set()
    thread.join(60)
    assert short.get(id).result.key.startswith(f"{id}/2/"), "the first attempt's is refused"


def test_a_photo_that_cannot_be_decoded_fails_at_once_with_its_code(hand, jobs, enter, gray_photo):
    id = enter(gray_photo("PNG")[:3000] + bytes(500) + gray_photo("PNG")[3500:])
    hand().run(id)
    job = jobs.get(id)
    assert (job.status, job.error_code) == ("failed", "photo_damaged")
    assert job.error_detail


def test_a_photo_for_which_no_worker_has_the_memory_is_refused_before_it_is_read(hand, jobs):
    id = new_id()
    order = Order(Options(), 40_000_000, 60, memory=2**60)
    jobs.create(id, "secret", order, Bounds(1000, 10**9))
    hand().run(id)
    job = jobs.get(id)
    assert job.error_code == "photo_too_large", "and not photo_lost, although there is none"
    assert f"{2**30:.1f} GiB" in job.error_detail


def test_the_workers_limits_are_the_doors(hand, jobs, settings, enter):
    id = enter()
    hand(settings=settings.model_copy(update={"max_pixels": 1000})).run(id)
    assert jobs.get(id).error_code == "photo_too_large"


def test_a_worker_that_is_closing_hands_its_notification_on(hand, jobs, enter, client):
    worker = hand()
    id = enter()
    worker.admission.close()
    worker.run(id)
    assert jobs.get(id).status == "queued"
    assert client.llen("autochrome") == 1


def test_a_worker_that_is_stopped_ends_the_photo_that_no_message_has_brought_it(
    jobs, settings, enter, monkeypatch
):
    """The broker hands nothing out: the photo is in a thread of which Celery knows nothing, and for which it does not wait."""
    in_the_net, go_on = threading.Event(), threading.Event()

    class Held(Colorizer):
        def infer(self, lightness: list, threads: int | None = None) -> list:
            if any(map(is_a_photo, lightness)):
                in_the_net.set()
                assert go_on.wait(60)
            return super().infer(lightness, threads)

    def consume(app: object, run: object, threads: int, close: Callable[[], None]) -> int:
        assert in_the_net.wait(60)
        close()
        threading.Timer(0.5, go_on.set).start()
        return 0

    monkeypatch.setattr("service.janitor.OLDER_THAN", 0.05)
    monkeypatch.setattr("service.notifications.consume", consume)
    first, second = enter(), enter()
    assert main(settings, Held.load) == 0
    assert [jobs.get(id).status for id in (first, second)] == ["succeeded", "queued"]
    assert jobs.get(first).result.key.startswith(f"{first}/1/"), "by its first attempt"
    assert jobs.workers() == {}
