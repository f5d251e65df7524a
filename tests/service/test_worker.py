"""One job in the worker's hands, with the real net and a real record, in this process."""

from __future__ import annotations

import pytest

from model.colorizer import Colorizer
from service import tasks
from service.jobs import new_id
from service.options import Options
from service.store import Store, photo_key
from service.worker import Worker


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


@pytest.fixture
def enter(jobs, store, gray_photo):
    def enter(photo: bytes | None = None, **options: object) -> str:
        id = new_id()
        store.put(photo_key(id), photo if photo is not None else gray_photo())
        jobs.create(id, "secret", Options(**options), 320 * 240, 60)
        return id

    return enter


@pytest.fixture
def patient(jobs, client):
    """Leases that do not end while a net is loaded for the first time."""
    jobs._lease = (60_000, 0)
    return jobs


def worker(colorizer, jobs, store, settings) -> Worker:
    app = tasks.make_app(settings.celery_broker_url)
    return Worker("w1", colorizer, jobs, store, app, settings)


def test_a_photo_that_is_erased_while_it_is_saved_leaves_nothing(
    colorizer, patient, settings, enter, tmp_path
):
    class ErasedMeanwhile(Store):
        def put(self, key: str, data: object) -> None:
            patient.cancel(id)
            self.erase(id)
            super().put(key, data)

    id = enter()
    worker(colorizer, patient, ErasedMeanwhile(settings.store_url), settings).run(id)
    assert patient.get(id).status == "canceled"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_second_bell_for_a_job_that_is_done_changes_nothing(colorizer, patient, store, settings, enter):
    hand = worker(colorizer, patient, store, settings)
    id = enter()
    hand.run(id)
    first = patient.get(id)
    assert first.status == "succeeded"
    hand.run(id)
    hand.run(new_id())
    assert patient.get(id) == first


def test_an_error_of_ours_is_tried_three_times_and_never_ends_in_gray(
    patient, store, settings, enter, client
):
    class Broken(Colorizer):
        def infer(self, lightness: object) -> list:
            raise RuntimeError("device-side assert")

    hand = worker(Broken.load("lite", "cpu"), patient, store, settings)
    id = enter()
    for times in (1, 2, 3):
        assert patient.get(id).status == "queued"
        assert client.llen("autochrome") == times - 1, "it rings for itself"
        hand.run(id)
    assert (patient.get(id).status, patient.get(id).error_code) == ("failed", "internal_error")
    assert hand.gate.is_idle


def test_a_photo_that_cannot_be_decoded_fails_at_once_with_its_code(
    colorizer, patient, store, settings, enter, gray_photo
):
    id = enter(gray_photo("PNG")[:3000] + bytes(500) + gray_photo("PNG")[3500:])
    worker(colorizer, patient, store, settings).run(id)
    job = patient.get(id)
    assert (job.status, job.error_code) == ("failed", "photo_damaged")
    assert job.error_detail


def test_the_workers_limits_are_the_doors(colorizer, patient, store, settings, enter):
    strict = settings.model_copy(update={"max_pixels": 1000})
    id = enter()
    worker(colorizer, patient, store, strict).run(id)
    assert patient.get(id).error_code == "photo_too_large"
