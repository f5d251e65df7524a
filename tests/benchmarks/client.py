"""A light HTTP/1.1 client for load: one connection, kept open, one request at a time.

A client of the usual weight would take more of the machine than the service that it measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by their names in small letters; the last of several of one name."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """Made when it is first used, and again when the server has closed it."""

    def __init__(self, url: str) -> None:
        """`url` is http://host:port."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 120.0,
    ) -> Answer:
        """The answer, whole. Raises OSError: refused, cut off, or (TimeoutError) not there in time."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await self._opened()
                writer.write(self._head(method, path, len(body), headers or {}) + body)
                await writer.drain()
                answer = await _read(reader, method)
        except BaseException as error:
            await self.close()
            if isinstance(error, EOFError | ValueError | IndexError):
                raise ConnectionResetError("the answer was cut off") from error
            raise
        if answer.headers.get("connection", "").lower() == "close":
            await self.close()
        return answer

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._reader.at_eof():
            await self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._reader, self._writer

    def _head(self, method: str, path: str, length: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Connections:
    """As many as are in use at once; the one that was used last is used next. Close them where they were used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[Connection] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Connection]:
        connection = self._free.pop() if self._free else Connection(self._url)
        try:
            yield connection
        finally:
            self._free.append(connection)

    async def close(self) -> None:
        while self._free:
            await self._free.pop().close()


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    """Body by Content-Length or in chunks (RFC 9112, section 6); no trailers."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    status = int(first.split(" ")[1])
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    pieces: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Answer(status, headers, b"".join(pieces))
