"""What clients ask reaches the model and the file; what a person should know of a photo reaches the record."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage import data

from model.colorizer import Colorizer
from service import celery_app
from service.jobs import Jobs, new_id
from service.models import Bounds, Job, Lease, Order
from service.schemas import Options
from service.storage import photo_key
from service.worker import Worker

GPS = 0x8825


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


@pytest.fixture
def color(client, store, settings, colorizer) -> Callable[..., tuple[Job, bytes]]:
    """A photo through a real worker: its job, and the file that came out, b"" where none did. `max_pixels`: the operator's limit."""
    jobs = Jobs(client, Lease(60, 0))
    app = celery_app.make_app(settings.celery_broker_url)

    def color(photo: bytes, max_pixels: int = 10**6, **options: object) -> tuple[Job, bytes]:
        limits = {"max_pixels": max_pixels, "max_side": 100_000}
        worker = Worker("w1", colorizer, jobs, store, app, settings.model_copy(update=limits))
        id = new_id()
        store.put(photo_key(id, "a1"), photo)
        order = Order(Options.model_validate(options), 320 * 240, 60, upload="a1")
        assert jobs.create(id, "secret", order, Bounds(1000, 10**9))
        worker.run(id)
        job = jobs.get(id)
        assert job is not None
        return job, store.get(job.result.key) if job.result else b""

    return color


def jpeg(colored: bool, place: bool = True) -> bytes:
    """A photograph of 300 × 200 pixels with a camera's name, and where it was taken."""
    image = Image.fromarray(data.coffee()).resize((300, 200))
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Leitz"
    if place:
        exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitudeRef] = "N"
        exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitude] = (51.0, 30.0, 0.0)
    out = io.BytesIO()
    (image if colored else image.convert("L")).save(out, "JPEG", exif=exif, quality=90)
    return out.getvalue()


def record(file: bytes) -> tuple[str | None, bool]:
    """The camera's name, and whether there is a place."""
    exif = Image.open(io.BytesIO(file)).getexif()
    return exif.get(ExifTags.Base.Make), bool(exif.get_ifd(GPS))


def test_the_record_is_kept_but_for_the_place_unless_it_is_asked_for(color):
    assert record(color(jpeg(False))[1]) == ("Leitz", False)
    assert record(color(jpeg(False), keep_location=True)[1]) == ("Leitz", True)
    assert record(color(jpeg(False), keep_metadata=False)[1]) == (None, False)


def test_the_file_says_that_its_colors_are_guesses_unless_that_is_not_wanted(color):
    source_type = b"compositeWithTrainedAlgorithmicMedia"
    assert source_type in color(jpeg(False))[1]
    assert source_type not in color(jpeg(False), embed_disclosure=False)[1]
    marked, plain = (
        np.asarray(Image.open(io.BytesIO(color(jpeg(False), mark=mark, format="png")[1])))
        for mark in (True, False)
    )
    changed = np.abs(marked.astype(int) - plain).max(2) > 0
    assert changed.any()
    assert changed.mean() < 0.2, "in a corner"


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "webp", "avif"])
def test_every_format_comes_out_as_it_is_called(color, format):
    job, file = color(jpeg(False), format=format)
    assert job.result.media_type == f"image/{format}"
    assert Image.open(io.BytesIO(file)).format == format.upper()


def test_a_palette_changes_the_colors_and_is_told_in_the_sidecar(color, store):
    plain = np.asarray(Image.open(io.BytesIO(color(jpeg(False))[1])), int)
    job, file = color(jpeg(False), palette=["#3050b0"], artifacts=["sidecar"])
    blue = np.asarray(Image.open(io.BytesIO(file)), int)
    assert (blue[..., 2] - blue[..., 0]).mean() > (plain[..., 2] - plain[..., 0]).mean() + 10
    assert json.loads(store.get(job.artifacts[0].key))["options"]["palette"] == ["#3050b0"]


def test_a_photo_is_turned_and_inverted_as_asked(color):
    page = Image.fromarray(
        np.tile(np.linspace(20, 90, 300, dtype=np.uint8), (200, 1))
    )  # dark, lighter to the right
    out = io.BytesIO()
    page.save(out, "PNG")
    turned = np.asarray(Image.open(io.BytesIO(color(out.getvalue(), rotate=90)[1])).convert("L")).astype(int)
    assert turned.shape == (300, 200)
    assert turned[-20:].mean() > turned[:20].mean() + 40, "what was right is below"
    inverted = np.asarray(Image.open(io.BytesIO(color(out.getvalue(), negative=True)[1])).convert("L"))
    assert inverted.min() > 150


def test_a_photo_in_color_is_noticed_colored_kept_or_refused_as_asked(color):
    photo = jpeg(True, place=False)
    job, file = color(photo)
    assert [notice.code for notice in job.notices] == ["photo_in_color"]
    assert file != photo
    job, file = color(photo, if_color="keep", artifacts=["comparison", "sidecar"])
    assert (file, [notice.code for notice in job.notices]) == (photo, ["kept_in_color"])
    assert (job.status, job.artifacts, set(job.timings)) == ("succeeded", (), {"open", "save"})
    assert (job.result.media_type, job.result.width, job.result.height) == ("image/jpeg", 300, 200)
    job, _ = color(photo, if_color="refuse")
    assert (job.status, job.error_code) == ("failed", "photo_in_color")
    assert color(jpeg(False), if_color="refuse")[0].status == "succeeded"


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("JPEG2000", "image/jp2"),
        ("PPM", "image/x-portable-anymap"),
        ("TGA", "image/x-tga"),
    ],
)
def test_a_photo_that_is_kept_is_called_what_it_is(color, format, media_type):
    out = io.BytesIO()
    Image.fromarray(data.coffee()).resize((60, 40)).save(out, format)
    job, file = color(out.getvalue(), if_color="keep", keep_location=True)
    assert (file, job.result.media_type) == (out.getvalue(), media_type)


def test_a_photo_that_is_kept_does_not_tell_where_it_was_taken_unless_asked(color):
    photo = jpeg(True)
    _, file = color(photo, if_color="keep")
    assert record(file) == ("Leitz", False)
    assert b"TrainedAlgorithmicMedia" not in file, "nothing in it is a guess"
    assert color(photo, if_color="keep", keep_location=True)[1] == photo
    bare = jpeg(True, place=False)
    place = Image.open(io.BytesIO(photo)).getexif().tobytes()
    twice = b"\xff\xe1" + (len(place) + 2).to_bytes(2, "big") + place
    second = color(bare[:2] + bare[2:].replace(b"\xff\xdb", twice + b"\xff\xdb", 1), if_color="keep")[1]
    assert second.count(b"Exif\0\0") == 1
    assert record(second) == ("Leitz", False)
    video = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom+51.5000-000.1278/"
    assert b"+51.5" not in color(bare + video, if_color="keep")[1], "as phones append it to a photograph"
    manifest = b"JP\0\x01\0\0\0\x01\0\0\0\x30jumb\0\0\0\x20jumdc2pa GPSLatitude 51.5"
    said = b"\xff\xeb" + (len(manifest) + 2).to_bytes(2, "big") + manifest
    assert b"GPSLatitude" not in color(bare[:2] + said + bare[2:], if_color="keep")[1]
    assert color(bare, if_color="keep")[1] == bare
    maker = b"\xff\xe7" + (2 + 14).to_bytes(2, "big") + b"Maker\x00 51.5 N"
    assert b"51.5 N" not in color(bare[:2] + maker + bare[2:], if_color="keep")[1], (
        "of an application nobody knows"
    )
    said = Image.open(io.BytesIO(bare))
    out = io.BytesIO()
    said.save(out, "JPEG", exif=said.getexif(), progressive=True)
    assert color(out.getvalue(), if_color="keep")[1] == out.getvalue()
    out = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(out, "GIF", comment=b"51.5 N", optimize=False)
    assert b"51.5 N" not in color(out.getvalue(), if_color="keep")[1], "of a GIF no record is read"
    assert color(photo, if_color="keep", format="png")[0].result.media_type == "image/png"


def test_what_is_odd_about_a_file_is_told_in_the_record_and_the_sidecar(color, store):
    out = io.BytesIO()
    Image.fromarray(data.coffee()).resize((300, 200)).convert("L").save(out, "PNG")
    whole = out.getvalue()
    text = b"Comment\0an old box"
    chunk = len(text).to_bytes(4, "big") + b"tEXt" + text + (zlib.crc32(text) ^ 1).to_bytes(4, "big")
    job, _ = color(whole[:33] + chunk + whole[33:], artifacts=["sidecar"], rotate=180)
    assert job.status == "succeeded"
    assert len(job.notices) == 1
    said = json.loads(store.get(job.artifacts[0].key))
    assert said["notices"] == [{"code": job.notices[0].code, "detail": job.notices[0].detail}]
    assert (said["options"]["rotate"], said["options"]["if_color"]) == (180, "colorize")
    assert not {"webhook", "keep_for", "priority"} & set(said["options"])


def test_a_file_that_is_cut_off_is_colored_as_far_as_it_goes_only_where_asked(color):
    cut = jpeg(False)[: len(jpeg(False)) * 2 // 3]
    assert color(cut)[0].error_code == "photo_damaged"
    job, file = color(cut, partial=True)
    assert "file_cut_off" in [notice.code for notice in job.notices]
    assert Image.open(io.BytesIO(file)).size == (300, 200)


def test_many_small_faults_of_a_file_do_not_hide_what_is_seen_in_its_picture(color, store):
    out = io.BytesIO()
    Image.fromarray(data.coffee()).resize((300, 200)).save(out, "PNG")
    names = [bytes(f"t{chr(97 + i)}Xt", "ascii") for i in range(26)]
    bad = b"".join(b"\0\0\0\0" + name + b"\0\0\0\0" for name in names)
    whole = out.getvalue()
    job, _ = color(whole[:33] + bad + whole[33:], artifacts=["sidecar"])
    codes = [notice.code for notice in job.notices]
    assert "photo_in_color" in codes
    assert len(codes) < 5
    assert len(json.loads(store.get(job.artifacts[0].key))["notices"]) == len(codes)


def test_a_page_of_a_tiff_is_chosen_by_its_number(color):
    pages = [Image.new("L", (300 - 40 * page, 200), 60 + 60 * page) for page in range(3)]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    assert color(out.getvalue())[0].result.width == 300
    assert color(out.getvalue(), page=3)[0].result.width == 220
    assert color(out.getvalue(), page=4)[0].error_code == "photo_unsupported"


@pytest.mark.slow
def test_a_limit_is_honored_to_its_full_value(color):
    """202 megapixels, which Pillow by itself takes for an attack, in a file of some hundred kilobytes."""
    side = 14_213
    row = b"\0" + bytes(range(250)) * (side // 250 + 1)
    squeeze = zlib.compressobj(1)
    packed = b"".join(squeeze.compress(row[: side + 1]) for _ in range(side)) + squeeze.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    photo = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert color(photo, max_pixels=200_000_000)[0].error_code == "photo_too_large"
    job, _ = color(photo, max_pixels=500_000_000, format="jpeg")
    assert (job.status, job.result.width, job.result.height) == ("succeeded", side, side)
