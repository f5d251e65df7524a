"""Connections to the server: how many there may be, how long and how large a header may be, how slowly an answer may be read.

Whatever a client does before its request has a header costs a file, and no middleware sees it: so this stands in the server itself, as
uvicorn's protocol with limits. A connection that owes a header is closed when it owes it for too long, or when a new one needs its
place; one whose request is under way is not.
"""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, cast

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.middleware import PROBES
from service.api.problems import respond
from service.budgets import network
from service.errors import Problem

NOT_MANY = 8
"""Connections that a sender keeps when all places are taken. Browsers open 6."""
HEADER_SECONDS = 10.0
"""From a connection's beginning, or its last answer, to the end of its next header."""
KEEP_ALIVE = int(HEADER_SECONDS)
"""Seconds for which a connection without a request stays open: longer than clients keep theirs, which is 5 s in httpx. Where the server
is the first to close, a photo may be on its way already, and gets no answer."""
HEADER_BYTES = 32 * 2**10
"""Of a header, of the fields behind a chunked body, and of a chunk's own header: what a parser is given before anything comes of it."""
MOST_PIPELINED = 8
"""Requests that wait for the answer to one before them, on the same connection."""
LONGEST_LENGTH = 20
"""Digits of a Content-Length."""
READ_WINDOW = 15.0
"""Seconds over which a client's reading is measured."""
LINGER = 2.0
"""Seconds for which a refusal can be read before the connection is cut: what came unread would cut it at once."""
LEFTOVER = 60.0
"""Seconds that a body may still take which nobody wants any more, since its answer is out."""
MOST_CONNECTIONS = 512
"""Where there are files for more."""
SPARE_FILES = 64
EXTRA = 32
"""Connections beyond the most: they are told that this is so, and whoever asks whether the process lives is answered."""
BACKLOG = 512
SWEEP_EVERY = 0.25
AT_ONCE = 32
"""Connections that are ended in one step: others are answered between two of them."""
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_ACKED = struct.Struct("=120xQ")  # struct tcp_info of linux/tcp.h: tcpi_bytes_acked


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int
    per_address: int
    """Of one address, of IPv6 one /64. Proxies that are trusted, and this machine, may have all."""
    rate: int
    """Bytes a second at which an answer must be read; 0: any."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks; `*`: all."""
    root_path: str = ""
    """Below which the service is shown, whether or not the proxy before it leaves that out."""


def most_connections() -> int:
    """What the process may have open at once: each may need a second file, for what is sent or read."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = math.inf if files == resource.RLIM_INFINITY else (files - SPARE_FILES) // 2
    return max(16, min(MOST_CONNECTIONS, int(there)))


class Connections:
    """The open connections of one server. Its `protocol` is what uvicorn is given."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Connection, None] = {}
        """The oldest first."""
        self._owing: dict[Connection, None] = {}
        """Those that owe a header, in the order in which they began to."""
        self._by_address: Counter[str] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None
        self._everybody = "*" in limits.proxies
        self._exempt = [*_LOOPBACK, *_networks(limits.proxies)]

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        return Connection(self, config, server_state, app_state, _loop)

    def enter(self, new: Connection) -> None:
        """Make room for a connection, or let it be an extra one, or cut it."""
        crowded = self._is_over_address(new)
        if crowded or len(self._open) >= self._limits.connections:
            rivals = (one for one in self._owing if not crowded or one.sender == new.sender)
            rival = next((one for one in rivals if one.can_be_closed), None)
            if rival is None and not crowded:
                rival = self._one_of_many(new)
            if rival is not None:
                self._cut(rival)
            elif len(self._open) < self._limits.connections + EXTRA:
                new.be_refused(self._limits.root_path)
            else:
                new.transport.abort()
                return
        self._open[new] = None
        new.owe()
        self._by_address[new.sender] += 1
        if self._sweeping is None:
            self._sweeping = new.loop.call_later(SWEEP_EVERY, self._sweep, new.loop)

    def leave(self, one: Connection) -> None:
        """The connection is closed."""
        if one in self._open:
            del self._open[one]
            self._owing.pop(one, None)
            self._by_address[one.sender] -= 1
            if not self._by_address[one.sender]:
                del self._by_address[one.sender]

    def owes(self, one: Connection) -> None:
        """A header, from now on."""
        if one in self._open:
            self._owing[one] = None

    def owes_nothing(self, one: Connection) -> None:
        """Its header is whole."""
        self._owing.pop(one, None)

    def _one_of_many(self, new: Connection) -> Connection | None:
        """The oldest connection of who has most, whatever it does: a few senders who follow jobs or send slowly would keep all others
        out."""
        holders = (
            (sender, count) for sender, count in self._by_address.most_common() if self._is_bound(sender)
        )
        sender, count = next(holders, ("", 0))
        if count <= max(NOT_MANY, self._by_address[new.sender] + 1):
            return None
        return next(one for one in self._open if one.sender == sender)

    def _is_over_address(self, new: Connection) -> bool:
        return self._by_address[new.sender] >= self._limits.per_address and self._is_bound(new.sender)

    def _is_bound(self, sender: str) -> bool:
        """Whether a sender may not have all connections."""
        try:
            address = ip_address(sender.partition("/")[0])
        except ValueError:  # a unix socket has none
            return False
        return not (self._everybody or any(address in exempt for exempt in self._exempt))

    def _cut(self, one: Connection) -> None:
        one.transport.abort()
        self.leave(one)  # the place is free now, not when the loop has come round

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        cut = 0
        for one in [*self._open]:
            if one.is_over(now, self._limits.rate):
                self._cut(one)
                cut += 1
            if cut == AT_ONCE:  # the others soon: whoever came together is not ended together
                break
        self._sweeping = loop.call_later(SWEEP_EVERY, self._sweep, loop) if self._open else None


class Connection(HttpToolsProtocol):
    """uvicorn's, with limits on what it takes before a request is there, and on how slowly its answers are read."""

    def __init__(
        self,
        others: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._others = others
        self.sender = ""
        """What one sender is known by."""
        self.owes_since = math.inf
        """When it began to owe a header; infinite while a request is under way."""
        self._unparsed = 0
        """Bytes that the parser has been given since something came of them."""
        self._framing = 0
        """Bytes of a body as it came, with what chunks put around it, and of the body itself."""
        self._body_seen = 0
        self._has_body_to_come = False
        self._refused_at = math.inf
        self._reading: tuple[float, int] | None = None
        """Since when answers wait to be read, and what had been read by then."""

    # what Connections asks

    @property
    def can_be_closed(self) -> bool:
        """Whether nobody would miss it: it owes a header, and has read its answers."""
        return self.owes_since < math.inf and not self._unsent

    def is_over(self, now: float, rate: int) -> bool:
        """Whether its time is up. What has begun a header is told so first."""
        if now - self._refused_at > LINGER or (rate and self._reads_too_slowly(now, rate)):
            return True
        owed = LEFTOVER if self._has_body_to_come else HEADER_SECONDS
        if not self.can_be_closed or self._refused_at < math.inf or now - self.owes_since <= owed:
            return False
        if self._has_body_to_come or not self._unparsed:
            return True
        self._refuse(Problem("header_timeout"))
        return False

    def owe(self) -> None:
        """A header, from now on."""
        self.owes_since = self.loop.time()
        self._others.owes(self)

    def be_refused(self, root: str) -> None:
        """Answer nothing on it but that there are too many, and whether this process lives. `root`: as in `Limits`."""
        whole = cast(ASGIApp, self.app)

        async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
            below = {**scope, "root_path": root}
            is_probe = scope["path"].removeprefix(root) in PROBES
            app = whole if is_probe else respond(Problem("connections_busy"), below)
            await app(scope, receive, send)

        self.app = cast(Any, refusing)

    @property
    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _reads_too_slowly(self, now: float, rate: int) -> bool:
        if not self._unsent or (taken := self._acknowledged()) is None:
            self._reading = None
            return False
        since, before = self._reading = self._reading or (now, taken)
        if now - since < READ_WINDOW:
            return False
        self._reading = now, taken
        return taken - before < rate * (now - since)

    def _acknowledged(self) -> int | None:
        """Bytes that the other side has taken; None where the system does not say. How full the buffers are here tells nothing:
        they are emptied in steps of megabytes."""
        kind = getattr(socket, "TCP_INFO", None)
        if kind is None or self.client is None:  # not Linux, or no TCP
            return None
        info = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, kind, 192)
        return int(_ACKED.unpack_from(info)[0]) if len(info) >= _ACKED.size else None

    # what asyncio and the parser call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.sender = network(self.client[0]) if self.client else ""
        self._others.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and self._refused_at == math.inf and self.parser is not None:
            piece, rest = rest[:HEADER_BYTES], rest[HEADER_BYTES:]
            self._unparsed += len(piece)
            self._framing += len(piece)
            super().data_received(cast(bytes, piece))
            if self._unparsed > HEADER_BYTES:
                self._refuse(Problem("header_too_large"))
            elif self._framing > HEADER_BYTES + 2 * self._body_seen:
                self._refuse(Problem("request_invalid"))  # chunks of next to nothing

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length" and len(value) > LONGEST_LENGTH:  # zeros may go before a number
            raise httptools.HttpParserError("no body is so long")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise httptools.HttpParserError("too many requests before the first answer")
        self._unparsed = self._framing = 0
        self._has_body_to_come = True
        self.owes_since = math.inf
        self._others.owes_nothing(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._body_seen += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = self._framing = self._body_seen = 0
        self._has_body_to_come = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline:
            self.owe()

    def send_400_response(self, msg: str) -> None:
        """What the parser raises, and what is raised within its calls, ends here."""
        self._refuse(Problem("request_invalid"))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is upgraded here: the request is answered as if it had not asked, and what follows is read by nobody."""
        self.cycle.keep_alive = False

    def _refuse(self, problem: Problem) -> None:
        """Say what is wrong and read no more; within somebody's answer nothing can be said."""
        if self._refused_at < math.inf or self.transport.is_closing():
            return
        self._refused_at = self.loop.time()
        if self.owes_since == math.inf:
            self.transport.abort()
            return
        self._unset_keepalive_if_required()
        self.transport.write(_written(problem.code, problem.detail))
        self.transport.write_eof()
        self.transport.pause_reading()


def _networks(written: Iterable[str]) -> Iterator[IPv4Network | IPv6Network]:
    """Of words that are addresses or networks; others name no sender."""
    for word in written:
        with suppress(ValueError):
            yield ip_network(word, strict=False)


@lru_cache(maxsize=16)
def _written(code: str, detail: str) -> bytes:
    """A problem as it goes over the wire, where no application is there to say it."""
    answer = respond(Problem(code, detail), None)
    head = b"".join(b"%s: %s\r\n" % field for field in answer.raw_headers)
    return b"".join([STATUS_LINE[answer.status_code], head, b"\r\n", bytes(answer.body)])
