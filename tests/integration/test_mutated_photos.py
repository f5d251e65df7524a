"""Photos that were valid until somebody sat on them: they are colored or refused, and the worker lives."""

from __future__ import annotations

import io
from collections import Counter

import httpx
import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.model.test_formats import HEIC, HEIC_10

GROWTH_MB = 300
"""What the worker may have grown by: a few photos of the largest size that is let in, and what the allocator keeps."""


def _valid() -> list[bytes]:
    down, across = np.mgrid[0:48, 0:64]
    gray = (127 + 60 * np.sin(across / 5) * np.cos(down / 4) + down).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(gray)
    kinds = [
        *(("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")),
        ("JPEG", "L", {"progressive": True}),
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *(("WEBP", "RGB", {"lossless": lossless}) for lossless in (False, True)),
        *(("TIFF", "L", {"compression": kind}) for kind in ("raw", "tiff_lzw", "tiff_deflate", "packbits")),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("GIF", "P", {}),
        *(("BMP", mode, {}) for mode in ("1", "L", "RGB")),
        *((format, "L", {}) for format in ("AVIF", "JPEG2000", "PPM", "TGA")),
    ]
    files: list[bytes] = []
    for format, mode, options in kinds:
        file = io.BytesIO()
        picture.convert(mode).save(file, format, **options)
        files.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(gray.astype(np.uint16) * 257).save(file, "PNG")
    deep = np.repeat(gray[:24, :32, None].astype(np.uint16) * 257, 3, 2)
    planes = io.BytesIO()
    tifffile.imwrite(planes, np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate")
    more = [imagecodecs.png_encode(deep), imagecodecs.jpegxl_encode(gray[:24, :32], lossless=True)]
    more += [imagecodecs.jpegxl_encode(deep, lossless=True), imagecodecs.jpeg2k_encode(deep)]
    more += [imagecodecs.jpeg8_encode(deep >> 4, bitspersample=12), HEIC, HEIC_10]
    for compression in ("zstd", "lzma", "packbits", "lzw"):
        packed = io.BytesIO()
        tifffile.imwrite(packed, deep, photometric="rgb", compression=compression, tile=(16, 16))
        more.append(packed.getvalue())
    return [*files, file.getvalue(), planes.getvalue(), *more]


VALID = _valid()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file after one to four accidents: bytes flipped, cut off, cut out, doubled, or another file's put in."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 32))
        match draw(st.sampled_from(("flip", "head", "cut", "out", "double", "splice"))):
            case "flip":
                data[begin : begin + 1] = draw(st.binary(min_size=1, max_size=1))
            case "head":  # where sizes, depths and offsets are
                place = draw(st.integers(0, min(64, len(data))))
                data[place : place + 4] = draw(st.binary(min_size=4, max_size=4))
            case "cut":
                del data[max(1, begin) :]
            case "out":
                del data[begin : begin + length]
            case "double":
                data[begin:begin] = data[begin : begin + length]
            case "splice":
                other = draw(st.sampled_from(VALID))
                data[begin : begin + length] = other[begin : begin + length]
    return bytes(data)


def statuses(fast_service, count: int) -> Counter[int]:
    """How often each status answered so many damaged photos. The worker lives on, and what it colored can be opened."""
    (worker,) = fast_service.parts()["worker"]
    answers: Counter[int] = Counter()
    with httpx.Client(base_url=fast_service.url, timeout=120) as api:

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(mutated())
        def send(data: bytes) -> None:
            answer = api.post(
                "/v1/colorizations", files={"photo": ("a", data)}, headers={"Prefer": "wait=60"}
            )
            answers[answer.status_code] += 1
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
            if answer.status_code == 200:
                picture = api.get(answer.json()["result"]["url"])
                assert Image.open(io.BytesIO(picture.content)).size == (
                    answer.json()["result"]["width"],
                    answer.json()["result"]["height"],
                )

        for file in VALID:
            api.post("/v1/colorizations", files={"photo": ("a", file)}, headers={"Prefer": "wait=60"})
        before = worker.memory_info().rss
        send()
    assert [member.pid for member in fast_service.parts()["worker"]] == [worker.pid], "the worker died"
    assert worker.status() != psutil.STATUS_ZOMBIE
    assert (worker.memory_info().rss - before) / 2**20 < GROWTH_MB
    return answers


@pytest.mark.timeout(120)
def test_a_hundred_damaged_photos_are_colored_or_refused(fast_service):
    answers = statuses(fast_service, 100)
    assert answers[200] > 2, "some are still photos"
    assert answers[422] > 5, "some are not"


@pytest.mark.slow
def test_two_thousand_damaged_photos_are_colored_or_refused(fast_service):
    answers = statuses(fast_service, 2000)
    assert answers[200] > 40, "some are still photos"
    assert answers[422] > 100, "some are not"
