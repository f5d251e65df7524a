"""What goes around every request: its id, its line in the log and its count; limits on its body, HEAD, strict headers."""

from __future__ import annotations

import logging
import math
import re
import secrets
import time
from collections.abc import Callable

import anyio
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.api.problems import respond
from service.errors import KINDS, Problem
from service.observability import get_logger

REQUEST_ID = "X-Request-ID"
NOWHERE = "nowhere"
"""The route of requests to addresses that do not exist: they must not become labels."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
log = get_logger("autochrome.api")
logging.getLogger("asgi_correlation_id").setLevel(
    logging.ERROR
)  # else each id that is refused is a line of the log

Seen = Callable[[str, str, int, float], None]
"""Called with each answer: method, route, status, seconds until its last byte."""

FORM_ALLOWANCE = 64 * 2**10
"""Bytes that a form may have beside its photo."""
MOST_DRAINED = 4
"""Photos' worth of a body that is read and thrown away: a client that is still sending reads no answer."""
HEAD_START = 10.0
"""Seconds that a body has before its pace counts."""
_ASKED = "autochrome.head"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PHOTO_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


def request_ids(app: ASGIApp) -> ASGIApp:
    """Give each request an id, its sender's own if that is a plain word, else 64 random bits; it is on the answer, too."""
    return CorrelationIdMiddleware(
        app,
        REQUEST_ID,
        generator=lambda: secrets.token_hex(8),
        validator=lambda sent: _ID.fullmatch(sent) is not None,
        transformer=None,
    )


class Access:
    """Log and count each answer, and answer what nobody caught with a 500. Goes inside `request_ids`.

    The request's id is on every line that is logged meanwhile. A route may put a dict of more headers at
    `request.state.answer_headers`.
    """

    def __init__(self, app: ASGIApp, seen: Seen) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        start = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(state.get("answer_headers", {}))
            await send(message)

        with bound_contextvars(request=correlation_id.get()):
            try:
                await self._app(scope, receive, watched)
            except Exception:
                if status:
                    raise
                log.exception("request_failed", method=scope["method"], route=route_of(scope))
                await respond(Problem("internal_error"), scope["path"])(scope, receive, watched)
            finally:
                self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = route_of(scope)
        self._seen(method, route, status, seconds)
        # Reads are only counted; a line is for what changes something, and for what should not be.
        level = logging.DEBUG if method in ("GET", "OPTIONS") and status != 500 else logging.INFO
        log.log(level, "request_answered", method=method, route=route, status=status, seconds=seconds)


def route_of(scope: Scope) -> str:
    """The template of the address, such as /v1/colorizations/{id}: it has no id in it, and there are few."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else NOWHERE


class BodyLimit:
    """Refuse a body that is too large by what it says of itself, or else by counting as it streams in."""

    def __init__(self, app: ASGIApp, max_bytes: int, batch_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._drain = (MOST_DRAINED - 1) * (max_bytes + FORM_ALLOWANCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        batch = is_batch(scope)
        most = (self._batch_bytes if batch else self._max_bytes) + FORM_ALLOWANCE
        advice = "Send it as several smaller batches." if batch else KINDS["body_too_large"].advice
        detail = f"The upload has more than {(most - FORM_ALLOWANCE) / 2**20:g} MiB. {advice}"
        drained = most + self._drain
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        length = int(declared) if declared.isdecimal() else 0
        # Clients that wait for leave to send read the answer at once; and of some we read nothing at all.
        needs_no_draining = "100-continue" in headers.get("expect", "").lower() or length > drained
        if length > most and needs_no_draining:
            await respond(Problem("body_too_large", detail), scope["path"], root=scope.get("root_path", ""))(
                scope, receive, send
            )
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen <= most:
                return message
            while message.get("more_body", False) and seen <= drained:
                message = await receive()
                seen += len(message.get("body", b""))
            raise Problem("body_too_large", detail)

        await self._app(scope, counted, send)


class BodyPace:
    """Cut off a body that takes too long, in all or for what has come of it so far."""

    def __init__(self, app: ASGIApp, seconds: float, batch_seconds: float, rate: int) -> None:
        """`rate`: bytes a second that it must reach after a head start; 0: any."""
        self._app = app
        self._seconds = seconds
        self._batch_seconds = batch_seconds
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._batch_seconds if is_batch(scope) else self._seconds
        begun = math.inf
        seen = 0
        more = True

        async def paced() -> Message:
            nonlocal begun, seen, more
            if not more:  # all that can still come is word that the client has gone
                return await receive()
            begun = min(begun, time.monotonic())
            earned = HEAD_START + seen / self._rate if self._rate else math.inf
            left = begun + min(seconds, earned) - time.monotonic()
            try:
                with anyio.fail_after(max(0, left)):
                    message = await receive()
            except TimeoutError as slow:
                more = False
                raise Problem("upload_timeout") from slow
            seen += len(message.get("body", b""))
            more = message.get("more_body", False)
            return message

        await self._app(scope, paced, send)


class BelowPath:
    """Be found below a path, whether the proxy that shows us there passes it on or leaves it out."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            whole = path == self._root or path.startswith(f"{self._root}/")
            # ASGI, HTTP connection scope: `path` has `root_path` in it.
            scope = {**scope, "root_path": self._root, "path": path if whole else self._root + path}
        await self._app(scope, receive, send)


class HeadAsGet:
    """What can be got can be asked about (RFC 9110, 9.3.2). The server leaves the body out by itself.

    A route whose body is dear asks `is_head` and makes none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", _ASKED: True}
        await self._app(scope, receive, send)


def is_batch(scope: Scope) -> bool:
    """Whether it goes to where many photos may come at once."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith("/v1/batches")


def is_head(request: HTTPConnection) -> bool:
    """Whether the body of the answer goes nowhere."""
    return _ASKED in request.scope


class StrictHeaders:
    """Defaults for every response; a route may say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", PAGE_POLICY)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self._app(scope, receive, with_headers)
