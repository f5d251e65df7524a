"""For schemathesis: what a schema calls binary is a picture here. What is none is the matter of test_mutated_photos."""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def _picture(format: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(file, format)
    return file.getvalue()


PICTURES = [_picture(format, size) for format in ("JPEG", "PNG", "WEBP") for size in ((48, 32), (16, 64))]
BODIES = st.sampled_from(PICTURES)

schemathesis.openapi.format("binary", BODIES)
for kind in ("jpeg", "png", "webp", "tiff", "gif", "bmp", "avif", "*"):
    schemathesis.openapi.media_type(f"image/{kind}", BODIES)
