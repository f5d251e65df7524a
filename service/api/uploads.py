"""The photo out of a request: a file field of a form, or the body itself. Large ones go to a file on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import Problem
from service.schemas import Options, parse_options

IN_MEMORY = 2**20
PIECE = 2**18
"""Bytes of a body that a thread hashes and writes at a time: the event loop must not wait for a disk."""
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
    """Read the body. Raises `unsupported_media_type`, `form_invalid`, `photo_missing`, `body_too_large`, or for the options
    `option_unknown` or `option_invalid`.
    """
    kind = media_type(request)
    query = request.query_params.multi_items()
    if kind == "multipart/form-data":
        async with _form(request, max_bytes) as (photo, fields):
            options = parse_options(query + fields)
            file = cast(IO[bytes], photo.file)
            yield Upload(file, await run_sync(digest, file), options)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        options = parse_options(query)  # before the body: what is wrong with them is said at once
        async with spool(IN_MEMORY) as file:
            seen = hashlib.sha256()

            def write(piece: bytes) -> None:
                seen.update(piece)
                file.write(piece)

            await write_body(request, write)
            _check_length(file.tell(), max_bytes)
            yield Upload(file, seen.hexdigest(), options)
    elif kind == "":
        raise Problem("photo_missing")
    else:
        raise Problem("unsupported_media_type", what=f"A body of type {kind[:60]!r} is not understood.")


async def write_body(request: Request, write: Callable[[bytes], object]) -> None:
    """Hand a body on, in order, to what is called in a thread: in pieces of PIECE bytes or little more."""
    piece = bytearray()
    async for chunk in request.stream():
        piece += chunk
        if len(piece) >= PIECE:
            await run_sync(write, bytes(piece))
            piece.clear()
    if piece:
        await run_sync(write, bytes(piece))


@asynccontextmanager
async def spool(in_memory: int) -> AsyncIterator[IO[bytes]]:
    """A file for one upload, on disk where it has more than so many bytes."""
    async with closing(cast(IO[bytes], SpooledTemporaryFile(max_size=in_memory))) as file:
        yield file


@asynccontextmanager
async def closing(file: IO[bytes]) -> AsyncIterator[IO[bytes]]:
    """Close a file in a thread: for a large one, a disk takes its time."""
    try:
        yield file
    finally:
        with CancelScope(shield=True):
            await run_sync(file.close)


def digest(file: IO[bytes]) -> str:
    """SHA-256 of a seekable file as hexadecimal digits."""
    file.seek(0, os.SEEK_SET)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@asynccontextmanager
async def _form(request: Request, max_bytes: int) -> AsyncIterator[tuple[UploadFile, list[tuple[str, str]]]]:
    try:
        form = await request.form(max_files=1, max_fields=MOST_FIELDS)
    except HTTPException as error:
        raise Problem("form_invalid", what=f"{error.detail}") from error
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
                raise Problem(
                    "photo_missing", f"The file is in the field {name[:40]!r}. It belongs in `photo`."
                )
            photo = value
        elif name == "photo":
            raise Problem("photo_missing", "The field `photo` holds text. Attach the photo as a file.")
        else:
            fields.append((name, value))
    if photo is None:
        raise Problem("photo_missing")
    return photo, fields


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise Problem(
            "body_too_large",
            what=f"The photo has {length / 2**20:.1f} MiB; {max_bytes / 2**20:g} MiB is the most.",
        )
