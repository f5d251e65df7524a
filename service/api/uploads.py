"""The photo out of a request: a file field of a form, or the body itself. Large ones go to a file on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from anyio.to_thread import run_sync
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import BodyTooLarge, FormInvalid, PhotoMissing, UnsupportedMedia
from service.options import Options, parse

IN_MEMORY = 2**20
MOST_FIELDS = 16


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo that has come in whole, and what is wished for it."""

    file: IO[bytes]
    """Seekable."""
    sha256: str
    """Of the photo's bytes, as hexadecimal digits."""
    options: Options


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters; "" where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def receive(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """Read the body. Raises UnsupportedMedia, FormInvalid, PhotoMissing, BodyTooLarge, or for the options
    OptionUnknown or OptionInvalid.
    """
    kind = media_type(request)
    query = request.query_params.multi_items()
    if kind == "multipart/form-data":
        async with _form(request, max_bytes) as (photo, fields):
            options = parse(query + fields)
            file = cast(IO[bytes], photo.file)
            yield Upload(file, await run_sync(digest, file), options)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        options = parse(query)  # before the body: what is wrong with them is said at once
        with SpooledTemporaryFile(max_size=IN_MEMORY) as spooled:
            seen = hashlib.sha256()
            async for chunk in request.stream():
                seen.update(chunk)
                spooled.write(chunk)
            _check_length(spooled.tell(), max_bytes)
            yield Upload(cast(IO[bytes], spooled), seen.hexdigest(), options)
    elif kind == "":
        raise PhotoMissing
    else:
        raise UnsupportedMedia(f"A body of type {kind[:60]!r} is not understood. {UnsupportedMedia.advice}")


def digest(file: IO[bytes]) -> str:
    """SHA-256 of a seekable file as hexadecimal digits."""
    file.seek(0, os.SEEK_SET)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@asynccontextmanager
async def _form(request: Request, max_bytes: int) -> AsyncIterator[tuple[UploadFile, list[tuple[str, str]]]]:
    try:
        form = await request.form(max_files=1, max_fields=MOST_FIELDS)
    except HTTPException as error:
        raise FormInvalid(f"{error.detail} {FormInvalid.advice}") from error
    try:
        photo, fields = _parts(form)
        _check_length(photo.size or 0, max_bytes)
        yield photo, fields
    finally:
        await form.close()


def _parts(form: FormData) -> tuple[UploadFile, list[tuple[str, str]]]:
    """The photo's file and the other fields."""
    photo: UploadFile | None = None
    fields: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "photo":
                raise PhotoMissing(f"The file is in the field {name[:40]!r}. It belongs in `photo`.")
            photo = value
        elif name == "photo":
            raise PhotoMissing("The field `photo` holds text. Attach the photo as a file.")
        else:
            fields.append((name, value))
    if photo is None:
        raise PhotoMissing
    return photo, fields


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise BodyTooLarge(
            f"The photo has {length / 2**20:.1f} MiB; {max_bytes / 2**20:g} MiB is the most. "
            f"{BodyTooLarge.advice}"
        )
