"""For schemathesis: what a schema calls binary is a picture here, and what schemas cannot say is seen to.

Bytes that are no picture are the matter of test_mutated_photos.
"""

from __future__ import annotations

import io
import secrets
import zipfile
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

FILES = ("photo", "archive")
KEY = "Idempotency-Key"
HINTS = '[{"x": 0.5, "y": 0.25, "color": "#7a1f2b"}]'


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
    """What no schema can say of a good request: files come last in a form, an option stands in the form, in the JSON or in the
    query, hints are JSON, `chosen` is one of the alternatives, a page is one that the file has, and an Idempotency-Key is used once.
    """
    good = case.meta is None or case.meta.generation.mode.is_positive
    if good and case.headers and KEY in case.headers:
        case.headers[KEY] = secrets.token_hex(16)
    if good:
        for part in (case.query, case.body):
            if isinstance(part, dict) and part.get("page"):
                part["page"] = 1
            if isinstance(part, dict) and isinstance(part.get("hints"), str):
                part["hints"] = HINTS
            if isinstance(part, dict) and part.get("chosen"):
                part["alternatives"] = 4
    if good and case.media_type == "application/json":
        case.query = {}  # there an option stands in the JSON alone
    if good and case.media_type == "multipart/form-data" and isinstance(case.body, dict):
        for name in FILES:
            if name in case.body:
                case.body[name] = case.body.pop(name)
        if isinstance(case.query, dict) and set(case.query) & set(case.body):
            case.query = {name: value for name, value in case.query.items() if name not in case.body}
    return case


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(context: Any, case: Any) -> bool:
    """An option without a value is one that is not given, as browsers send forms: nothing that must be refused."""
    sent = [part for part in (case.query, case.body) if isinstance(part, dict)]
    return not any(value in ("", [""]) for part in sent for value in part.values())
