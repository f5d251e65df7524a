"""A form as it streams in, part by part: a thousand photos are never all on this machine's disk at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.uploads import closing
from service.errors import Problem

IN_MEMORY = 2**20
MOST_IN_FIELD = 16 * 2**10


@dataclass(slots=True)
class Part:
    """One field of a form, or one file."""

    name: str
    filename: str | None
    """None: it is a field."""
    file: IO[bytes]
    """Seekable, closed when the next part is asked for."""
    size: int = 0
    """Bytes that came, which may be more than are kept."""

    def text(self) -> str:
        """What a field says. Raises `form_invalid`."""
        self.file.seek(0)
        try:
            return self.file.read().decode()
        except UnicodeDecodeError as error:
            raise Problem("form_invalid", f"The field {self.name[:40]!r} is no UTF-8 text.") from error


async def parts(request: Request, most: Callable[[Part], int]) -> AsyncGenerator[Part, None]:
    """Each part as soon as it is there whole. `most` says how many of its bytes are kept; the rest is passed over.
    Close it (`aclosing`) where it is left early.

    Raises `form_invalid`.
    """
    _, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise Problem("form_invalid", what="The form's Content-Type has no boundary.")
    reader = _Reader(most)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            await run_sync(parser.write, chunk)  # which writes files: the event loop must not wait for a disk
            while reader.whole:
                part = reader.whole.popleft()
                async with closing(part.file):
                    yield part
        if not reader.has_ended:
            raise Problem("form_invalid", what="The form ends before its last line.")
    except FormParserError as error:
        raise Problem("form_invalid") from error
    finally:
        with CancelScope(shield=True):
            await run_sync(reader.close)


class _Reader:
    """Puts together what the parser finds."""

    def __init__(self, most: Callable[[Part], int]) -> None:
        self._most = most
        self._header = [b"", b""]
        self._disposition = b""
        self._part: Part | None = None
        self._room = 0
        self.whole: deque[Part] = deque()
        """Parts that have come to their end."""
        self.has_ended = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
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
        for part in (*self.whole, *([self._part] if self._part else [])):
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
        file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (closed by `parts`)
        self._part = Part(found[b"name"].decode(errors="replace"), filename, cast(IO[bytes], file))
        self._room = self._most(self._part) if filename is not None else MOST_IN_FIELD

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None, "a part has headers before its data"
        kept = data[start : min(end, start + max(0, self._room - self._part.size))]
        self._part.file.write(kept)
        self._part.size += end - start
        if self._part.filename is None and self._part.size > self._room:
            raise Problem("form_invalid", f"The field {self._part.name[:40]!r} is too long.")

    def _on_part_end(self) -> None:
        assert self._part is not None, "a part has headers before its end"
        self.whole.append(self._part)
        self._part = None

    def _on_end(self) -> None:
        self.has_ended = True
