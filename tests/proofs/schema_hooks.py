"""For schemathesis: bodies that are pictures now and then, since random bytes are none."""

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
BODIES = st.sampled_from(PICTURES) | st.binary(max_size=64)

schemathesis.openapi.format("binary", st.sampled_from(PICTURES))
for kind in ("image/jpeg", "image/png", "image/webp", "image/*"):
    schemathesis.openapi.media_type(kind, BODIES)
