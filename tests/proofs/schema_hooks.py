"""For schemathesis: what a schema calls binary is a picture here, and what schemas cannot say is seen to.

Bytes that are no picture are the matter of test_mutated_photos.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

FILES = ("photo", "archive")


def _picture(format: str, size: tuple[int, int]) -> bytes:
    """A picture that is a ZIP with a picture in it as well: one is read from its head, the other from its tail."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(file, format)
    inner = file.getvalue()
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"a picture.{format.lower()}", inner)
    return file.getvalue()


PICTURES = st.sampled_from(
    [_picture(format, size) for format in ("JPEG", "PNG", "WEBP") for size in ((48, 32), (16, 64))]
)
schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.media_type("application/zip", PICTURES)
for kind in ("jpeg", "png", "webp", "tiff", "gif", "bmp", "avif", "*"):
    schemathesis.openapi.media_type(f"image/{kind}", PICTURES)


@schemathesis.hook  # type: ignore[untyped-decorator]
def map_case(context: Any, case: Any) -> Any:
    """A good form has files last, and gives no option that the query gives too: order and that no schema can say."""
    good = case.meta is None or case.meta.generation.mode.is_positive
    if good and case.media_type == "multipart/form-data" and isinstance(case.body, dict):
        for name in FILES:
            if name in case.body:
                case.body[name] = case.body.pop(name)
        if isinstance(case.query, dict) and set(case.query) & set(case.body):
            case.query = {name: value for name, value in case.query.items() if name not in case.body}
    return case
