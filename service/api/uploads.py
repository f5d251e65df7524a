"""The photo out of a request: a file field of a form, or the body itself. Large ones go to a file on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import BodyTooLarge, FormInvalid, PhotoMissing, UnsupportedMedia

IN_MEMORY = 2**20
MOST_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Upload:
    """A seekable file with the photo, and the options as they were written."""

    file: IO[bytes]
    pairs: list[tuple[str, str]]


@asynccontextmanager
async def receive(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """Read the body. Raises UnsupportedMedia, FormInvalid, PhotoMissing or BodyTooLarge."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.query_params.multi_items()
    if kind == "multipart/form-data":
        async with _form(request, max_bytes) as upload:
            yield Upload(upload.file, query + upload.pairs)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            async for chunk in request.stream():
                file.write(chunk)
            _check_length(file.tell(), max_bytes)
            yield Upload(cast(IO[bytes], file), query)
    elif kind == "":
        raise PhotoMissing
    else:
        raise UnsupportedMedia(f"A body of type {kind[:60]!r} is not understood. {UnsupportedMedia.advice}")


@asynccontextmanager
async def _form(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    try:
        form = await request.form(max_files=1, max_fields=MOST_FIELDS)
    except HTTPException as error:
        raise FormInvalid(f"{error.detail} {FormInvalid.advice}") from error
    try:
        photo, pairs = _parts(form)
        _check_length(photo.size or 0, max_bytes)
        yield Upload(cast(IO[bytes], photo.file), pairs)
    finally:
        await form.close()


def _parts(form: FormData) -> tuple[UploadFile, list[tuple[str, str]]]:
    """The photo's file and the other fields."""
    photo: UploadFile | None = None
    pairs: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "photo":
                raise PhotoMissing(f"The file is in the field {name[:40]!r}. It belongs in `photo`.")
            photo = value
        elif name == "photo":
            raise PhotoMissing("The field `photo` holds text. Attach the photo as a file.")
        else:
            pairs.append((name, value))
    if photo is None:
        raise PhotoMissing
    return photo, pairs


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise BodyTooLarge(
            f"The photo has {length / 2**20:.1f} MiB; {max_bytes / 2**20:g} MiB is the most. "
            f"{BodyTooLarge.advice}"
        )
