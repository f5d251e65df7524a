"""Bodies to files, counted as they come: a photo as body or in a form, a form of many part by part, a photo by its URL.

Large ones lie on disk. Hashing, writing and closing are done by threads: the event loop must not wait for a disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from anyio import CancelScope, CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message

from model.errors import PhotoError
from model.image_headers import Header, end_of, probe
from service.api.middleware import declared_length
from service.budgets import Budget
from service.errors import Problem
from service.outbound import MOST_FETCHES, fetch
from service.schemas import Options, options_from_json, parse_options
from service.settings import Settings

IN_MEMORY = 2**18
"""Bytes of an upload from which on it lies on disk."""
PIECE = 2**16
"""Bytes of a body that a thread hashes and writes at a time: the event loop must not wait for a disk."""
AHEAD = 2**20
"""Bytes of a body that are charged before they come. Were it all, a few bodies that never come would hold the whole spool; as much as this
of each connection that may be open does not fill it."""
MOST_FIELDS = 32
"""Each option once, and those of several values a few times."""
MOST_IN_FIELD = 16 * 2**10
JSON = "application/json"
MOST_JSON = 64 * 2**10
MOST_PARSES = 2
"""Headers of photos that are looked at at once. The worst file costs tenths of a second of CPU: others must be answered meanwhile."""
_NAMED = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")
_threads: RunVar[CapacityLimiter] = RunVar("autochrome.by_url")
_parses = threading.BoundedSemaphore(MOST_PARSES)


@dataclass(frozen=True, slots=True)
class Original:
    """Where a photo lies that is to be colored anew: the job it was sent for, and the name of the upload that brought it."""

    id: str
    upload: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo that has come in whole, and what is wished for it."""

    file: IO[bytes]
    """Seekable."""
    sha256: str
    """Of the photo's bytes, as hexadecimal digits; or what else only these bytes are known by."""
    options: Options
    key: str = ""
    """Where it lies in the store already."""
    original: Original | None = None
    """It stays there, as the photo of that job."""


def media_type(request: Request) -> str:
    """What the body is said to be, without parameters; "" where nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def receive(request: Request, max_bytes: int, budget: Budget, caller: str) -> AsyncIterator[Upload]:
    """Read the body, within its sender's share of the spool. Raises `uploads_busy`, `too_many_at_once`, `unsupported_media_type`,
    `form_invalid`, `photo_missing`, `body_too_large`, or for the options `option_unknown` or `option_invalid`.
    """
    kind = media_type(request)
    query = request.query_params.multi_items()
    if kind == "multipart/form-data":
        async with (
            charged(request, budget, caller) as body,
            form(body, lambda part: max_bytes, most_files=1) as sent,
        ):
            photo, fields = await _photo_and_fields(sent)
            check_length(photo.size, max_bytes)
            options = parse_options(query + fields)
            is_small = photo.size <= IN_MEMORY  # it takes less time than to wake a thread
            sha256 = digest(photo.file) if is_small else await run_sync(digest, photo.file)
            yield Upload(photo.file, sha256, options)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        options = parse_options(query)  # before the body: what is wrong with them is said at once
        async with charged(request, budget, caller) as body, spool() as file:
            seen = hashlib.sha256()

            def write(piece: bytes) -> None:
                seen.update(piece)
                file.write(piece)

            await write_body(body, write)
            check_length(file.tell(), max_bytes)
            yield Upload(file, seen.hexdigest(), options)
    elif kind == "":
        raise Problem("photo_missing")
    else:
        raise Problem("unsupported_media_type", what=f"A body of type {kind[:60]!r} is not understood.")


@asynccontextmanager
async def charged(request: Request, budget: Budget, caller: str) -> AsyncIterator[Request]:
    """The request with its body charged. One that says it has more than there is room for is not begun; then AHEAD of it is charged
    before it comes, and what it does not say as it comes.

    Raises `uploads_busy` or `too_many_at_once`; so does reading it.
    """
    seen, declared = 0, declared_length(request.headers)
    with budget.take(caller, declared) as share:
        share.hold(min(declared, AHEAD))

        async def counted() -> Message:
            nonlocal seen
            message = await request.receive()
            seen += len(message.get("body", b""))
            share.hold(max(seen, min(declared, seen + AHEAD)))
            return message

        yield Request(request.scope, counted)


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
async def spool() -> AsyncIterator[IO[bytes]]:
    """A file for one upload."""
    async with closing(cast(IO[bytes], SpooledTemporaryFile(max_size=IN_MEMORY))) as file:
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


def header_of(file: IO[bytes], settings: Settings, page: int | None = None) -> Header:
    """A photo's header, or that of a page of it. Refuses what can be refused cheaply, so that it never reaches a worker.

    Raises a Problem about the photo.
    """
    with _parses:
        try:
            return probe(file, settings.limits, page)
        except PhotoError as error:
            raise Problem(error.code, error.detail) from error


def cut_off(file: IO[bytes], header: Header) -> None:
    """Drop what lies behind the picture and is not its own: it would be stored for nothing."""
    end = end_of(file, header)
    if end < file.seek(0, os.SEEK_END):
        file.truncate(end)
    file.seek(0)


async def _photo_and_fields(sent: AsyncIterator[Part]) -> tuple[Part, list[tuple[str, str]]]:
    """Of a form for one photo. Raises `photo_missing`, or what reading it does."""
    photo: Part | None = None
    fields: list[tuple[str, str]] = []
    async for part in sent:
        if part.filename is not None:
            if part.name != "photo":
                raise Problem(
                    "photo_missing", f"The file is in the field {part.name[:40]!r}. It belongs in `photo`."
                )
            photo = part
        elif part.name == "photo":
            raise Problem("photo_missing", "The field `photo` holds text. Attach the photo as a file.")
        else:
            fields.append((part.name, part.text()))
    if photo is None:
        raise Problem("photo_missing")
    return photo, fields


def check_length(length: int, max_bytes: int) -> None:
    """Raises `body_too_large`."""
    if length > max_bytes:
        raise Problem(
            "body_too_large",
            what=f"The photo has {length / 2**20:.1f} MiB; {max_bytes / 2**20:g} MiB is the most.",
        )


@dataclass(slots=True)
class Part:
    """One field of a form, or one file."""

    name: str
    filename: str | None
    """None: it is a field."""
    file: IO[bytes]
    """Seekable."""
    size: int = 0
    """Bytes that came, which may be more than are kept."""
    kept: int = 0

    def text(self) -> str:
        """What a field says. Raises `form_invalid`."""
        self.file.seek(0)
        try:
            return self.file.read().decode()
        except UnicodeDecodeError as error:
            raise Problem("form_invalid", f"The field {self.name[:40]!r} is no UTF-8 text.") from error


@asynccontextmanager
async def form(
    request: Request,
    most: Callable[[Part], int],
    most_files: int,
    hold: Callable[[int], None] = lambda amount: None,
) -> AsyncIterator[AsyncIterator[Part]]:
    """A multipart form: each part as soon as it is there whole, with a file that stays until it is closed, at the latest at the end.

    `most` says how many bytes of a file are kept; the rest is passed over. `hold` is told how many are there, before there are more.
    Reading raises `form_invalid`, where there are more than `most_files` `batch_too_large`, or what `hold` does.
    """
    reader = _Reader(most, most_files)
    try:
        yield reader.parts(request, hold)
    finally:
        with CancelScope(shield=True):
            await run_sync(reader.close)


class _Reader:
    """Puts together what the parser finds."""

    def __init__(self, most: Callable[[Part], int], most_files: int) -> None:
        self._most = most
        self._most_files = most_files
        self._header = [b"", b""]
        self._disposition = b""
        self._part: Part | None = None
        self._room = 0
        self._fields = self._files = 0
        self._begun: list[Part] = []
        """Parts whose files may be open yet."""
        self._whole: deque[Part] = deque()
        """Parts that have come to their end, and are not given out yet."""
        self._has_ended = False

    async def parts(self, request: Request, hold: Callable[[int], None]) -> AsyncIterator[Part]:
        _, parameters = parse_options_header(request.headers.get("content-type"))
        boundary = parameters.get(b"boundary")
        if not boundary:
            raise Problem("form_invalid", what="The form's Content-Type has no boundary.")
        try:
            parser = MultipartParser(boundary, self._callbacks())  # type: ignore[arg-type]
            async for chunk in request.stream():
                self._begun = [part for part in self._begun if not part.file.closed]
                hold(sum(part.kept for part in self._begun) + len(chunk))
                await run_sync(parser.write, chunk)  # the event loop must not wait for a disk
                while self._whole:
                    yield self._whole.popleft()
        except FormParserError as error:
            raise Problem("form_invalid") from error
        if not self._has_ended:
            raise Problem("form_invalid", what="The form ends before its last line.")

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._on_begin,
            "on_header_field": lambda data, start, end: self._on_header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._on_header(1, data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def close(self) -> None:
        for part in self._begun:
            part.file.close()

    def _on_begin(self) -> None:
        self._header = [b"", b""]
        self._disposition = b""

    def _on_header(self, side: int, piece: bytes) -> None:
        self._header[side] += piece

    def _on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _on_headers(self) -> None:
        _, found = parse_options_header(self._disposition)
        if b"name" not in found:
            raise Problem("form_invalid", "A part of the form has no name.")
        filename = found[b"filename"].decode(errors="replace") if b"filename" in found else None
        # Even empty ones take time.
        self._fields, self._files = self._fields + (filename is None), self._files + (filename is not None)
        if self._fields > MOST_FIELDS:
            raise Problem("form_invalid", f"{MOST_FIELDS} fields are the most.")
        if self._files > self._most_files:
            if self._most_files == 1:
                raise Problem("form_invalid", what="There is more than one file in it.")
            raise Problem("batch_too_large")
        file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (closed by `form`)
        self._part = Part(found[b"name"].decode(errors="replace"), filename, cast(IO[bytes], file))
        self._begun.append(self._part)
        self._room = self._most(self._part) if filename is not None else MOST_IN_FIELD

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None, "a part has headers before its data"
        kept = data[start : min(end, start + self._room - self._part.kept)]
        self._part.file.write(kept)
        self._part.kept += len(kept)
        self._part.size += end - start
        if self._part.filename is None and self._part.size > self._room:
            raise Problem("form_invalid", f"The field {self._part.name[:40]!r} is too long.")

    def _on_part_end(self) -> None:
        assert self._part is not None, "a part has headers before its end"
        self._whole.append(self._part)
        self._part = None

    def _on_end(self) -> None:
        self._has_ended = True


@asynccontextmanager
async def by_url(
    wish: dict[str, Any],
    settings: Settings,
    spool: Budget,
    fetches: Budget,
    caller: str,
    pay: Callable[[], object],
) -> AsyncIterator[Upload]:
    """Fetch the photo that a JSON body names, as if it had been sent. `pay` is called before anything is fetched.

    Raises `url_disabled`, `json_invalid`, `option_unknown`, `option_invalid`, `url_not_allowed`, `url_failed`, `uploads_busy`,
    `fetches_busy`, `too_many_at_once` or what `pay` does; also `url_failed`, with what was found there, in place of the block's
    `photo_unsupported` or `photo_empty`.
    """
    if not settings.url_hosts:
        raise Problem("url_disabled")
    url = wish.pop("url", None)
    if not isinstance(url, str):
        raise Problem("json_invalid", what="There is no string `url` in the JSON.")
    options = options_from_json(wish)
    settings.url_hosts.target(url)  # what is refused is refused at once, even when all are busy
    get = partial(fetch, url, allow=settings.url_hosts, max_bytes=settings.max_bytes)
    with spool.take(caller, settings.max_bytes) as share:
        with fetches.take(caller, 1):
            await run_sync(pay)
            fetched = await run_sync(get, limiter=_limiter())
        async with closing(fetched.file) as file:
            share.hold(file.seek(0, os.SEEK_END))
            try:
                yield Upload(file, await run_sync(digest, file), options)
            except Problem as problem:
                if problem.code not in ("photo_unsupported", "photo_empty"):
                    raise
                what = f" but {fetched.media_type}" if _NAMED.fullmatch(fetched.media_type) else ""
                raise Problem(
                    "url_failed", what=f"That address holds no photo that can be read,{what}."
                ) from problem


async def small_body(request: Request, most: int, too_large: Problem) -> bytes:
    """Read it whole. Raises `too_large` as soon as there are more than `most` bytes."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise too_large
    return bytes(body)


async def json_object(request: Request) -> dict[str, Any]:
    """What a JSON body says. Raises `json_invalid`, or `option_invalid` where the query says something, too."""
    if request.query_params:
        raise Problem("option_invalid", "With a JSON body, options stand there and not in the query.")
    body = await small_body(
        request, MOST_JSON, Problem("json_invalid", what=f"The JSON has more than {MOST_JSON // 1024} KiB.")
    )
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem("json_invalid") from error
    if not isinstance(found, dict):
        raise Problem("json_invalid")
    return found


def _limiter() -> CapacityLimiter:
    """One an event loop."""
    try:
        return _threads.get()
    except LookupError:
        limiter = CapacityLimiter(MOST_FETCHES)
        _threads.set(limiter)
        return limiter
