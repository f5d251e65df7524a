"""What an album asks for beside the pictures: thumbnails, 16 bits, the gray photo and the color apart, made by a real worker."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import color as skcolor
from skimage import data

from model.colorizer import Colorizer
from model.image_headers import Limits, probe
from service import celery_app
from service.budgets import memory
from service.jobs import Jobs
from service.models import Lease
from service.schemas import Options
from service.storage import BYTES_OF_ARTIFACTS, results_bytes
from service.worker import Worker

MUSEUM = {"format": "tiff", "bits": "16", "artifacts": "thumbnail,color_layer,sidecar"}


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    """The net, shown photos at half of its own size, for the sake of time."""
    loaded = Colorizer.load("lite", "cpu")
    loaded.card = replace(loaded.card, size=128)
    return loaded


@pytest.fixture
def color(api, client, store, settings, colorizer):
    """A photo through the API and a worker: its job, when it has ended, and its files by name."""
    app = celery_app.make_app(settings.celery_broker_url)
    worker = Worker("w1", colorizer, Jobs(client, Lease(60, 0)), store, app, settings)

    def color(photo: bytes, **options: str):
        made = api.post("/v1/colorizations", files={"photo": photo}, data=options).json()
        worker.run(made["id"])
        job = api.get(f"/v1/colorizations/{made['id']}").json()
        files = {made["name"]: api.get(made["url"]).content for made in job["artifacts"]}
        return job, files | {"result": api.get(job["result"]["url"]).content}

    return color


def picture(image: Image.Image, format: str) -> bytes:
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


COFFEE = Image.fromarray(data.coffee()).resize((600, 400))  # type: ignore[no-untyped-call]


def test_a_thumbnail_is_a_small_jpeg_of_the_picture_which_says_that_it_is_guessed(color):
    photo = picture(COFFEE.convert("L"), "PNG")
    job, files = color(photo, artifacts="thumbnail")
    small = Image.open(io.BytesIO(files["thumbnail"]))
    assert (small.format, small.size) == ("JPEG", (384, 256))
    whole = Image.open(io.BytesIO(files["result"])).convert("RGB").resize(small.size)
    assert np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean() < 3
    assert b"compositeWithTrainedAlgorithmicMedia" in files["thumbnail"]
    assert [made["kind"] for made in job["artifacts"]] == ["thumbnail"]


def test_a_photo_that_is_kept_in_color_has_a_thumbnail_of_its_own_colors(color):
    job, files = color(picture(COFFEE, "JPEG"), artifacts="thumbnail,sidecar", if_color="keep")
    assert [notice["code"] for notice in job["notices"]] == ["kept_in_color"]
    assert set(files) == {"result", "thumbnail"}
    assert Image.open(io.BytesIO(files["thumbnail"])).size == (384, 256)
    assert b"AlgorithmicMedia" not in files["thumbnail"]


def test_a_noisy_thumbnail_stays_within_the_room_that_is_kept_for_it(color):
    noise = np.random.default_rng(0).integers(0, 256, (384, 384), np.uint8)
    _, files = color(picture(Image.fromarray(noise), "PNG"), artifacts="thumbnail")
    assert len(files["thumbnail"]) < BYTES_OF_ARTIFACTS["thumbnail"]


def test_for_a_museum_the_gray_photo_is_untouched_and_with_the_layer_gives_the_picture(color):
    """docs/metadata.md says how they are put together."""
    gray = COFFEE.convert("L")
    job, files = color(picture(gray, "PNG"), **MUSEUM)
    assert {made["name"]: made["media_type"] for made in job["artifacts"]} == {
        "thumbnail": "image/jpeg",
        "gray": "image/tiff",
        "color_layer": "image/tiff",
        "sidecar": "application/json",
    }
    result, before, layer = (
        tifffile.imread(io.BytesIO(files[name])) for name in ("result", "gray", "color_layer")
    )
    assert (result.dtype, result.shape) == (np.uint16, (400, 600, 3))
    assert (before == np.asarray(gray)).all(), "of 8 bits, as it came"
    assert len(np.unique(result)) > 2 * 256, "more than 8 bits times 257"
    lightness = skcolor.rgb2lab(skcolor.gray2rgb(before / 255))[..., :1]
    ab = layer[..., 1:].view(np.int16) / 256
    together = skcolor.lab2rgb(np.concatenate([lightness, ab], 2)).clip(0, 1)
    assert np.abs(together - result / 65535).mean() < 0.5 / 255
    disclosure = b"compositeWithTrainedAlgorithmicMedia"
    assert (disclosure in files["result"], disclosure in files["color_layer"]) == (True, True)
    assert disclosure not in files["gray"], "nothing in it is guessed"


def test_room_and_memory_are_reckoned_with_them(color):
    photo = picture(COFFEE.convert("L"), "PNG")
    header = probe(io.BytesIO(photo), Limits())
    options = Options.model_validate(MUSEUM | {"bits": 16, "artifacts": ["thumbnail", "color_layer"]})
    _, files = color(photo, **MUSEUM | {"artifacts": "thumbnail,color_layer"})
    assert sum(map(len, files.values())) < results_bytes(len(photo), header, options)
    assert memory(header, 0, options) > memory(header, 0, Options()) + 9 * 600 * 400
    assert results_bytes(1, header, Options(bits=16)) == 6 * 600 * 400, "a PNG of 16 bits"
