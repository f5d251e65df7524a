"""What goes around every request: id, log line and count; whom it is for and from; its body's limits; HEAD, gzip, strict headers."""

from __future__ import annotations

import logging
import math
import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import anyio
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.api.problems import respond
from service.errors import KINDS, Problem
from service.observability import get_logger
from service.settings import FORM_ALLOWANCE

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

PROBES = ("/livez", "/readyz")
"""Answered under any name: who watches a process asks it by whatever address it has, and learns nothing of anybody."""
MOST_DRAINED = 4
"""Photos' worth of a body that is read and thrown away: a client that is still sending reads no answer."""
PACE_WINDOW = 15.0
"""Seconds over which the pace of a body counts: so long may it be silent, however fast it was before."""
LONGEST_NAME = 253
"""Letters of a name in DNS (RFC 1035, 2.3.4)."""
_ASKED = "autochrome.head"

COMPRESSED = (
    *("text/html", "text/css", "text/javascript", "application/javascript", "text/plain"),
    *("application/json", "image/svg+xml"),
)
WORTH_COMPRESSING = 500
"""Bytes: what is shorter travels in one packet anyway."""
_GZIP = 31
"""zlib's name for a gzip header and the largest window."""

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
                await respond(Problem("internal_error"), scope)(scope, receive, watched)
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
        length = declared_length(headers)
        # Clients that wait for leave to send read the answer at once; and of some we read nothing at all.
        needs_no_draining = "100-continue" in headers.get("expect", "").lower() or length > drained
        if length > most and needs_no_draining:
            await respond(Problem("body_too_large", detail), scope)(scope, receive, send)
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


def declared_length(headers: Headers) -> int:
    """Bytes that a body says it has; 0 where it does not say. The server has refused what is no number, or has many digits."""
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0


class BodyPace:
    """Cut off a body that takes too long, in all, or over a moving window."""

    def __init__(self, app: ASGIApp, seconds: float, batch_seconds: float, rate: int) -> None:
        """`rate`: bytes a second that it must have over any PACE_WINDOW; 0: any."""
        self._app = app
        self._seconds = seconds
        self._batch_seconds = batch_seconds
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._batch_seconds if is_batch(scope) else self._seconds
        give_up = math.inf
        # Seconds that it may be silent: what it sends is worth some, but is not saved up.
        credit = PACE_WINDOW
        more = True

        async def paced() -> Message:
            nonlocal give_up, credit, more
            if not more:  # all that can still come is word that the client has gone
                return await receive()
            begun = time.monotonic()
            give_up = min(give_up, begun + seconds)
            left = min(give_up - begun, credit if self._rate else math.inf)
            try:
                with anyio.fail_after(max(0, left)):
                    message = await receive()
            except TimeoutError as slow:
                more = False
                raise Problem("upload_timeout") from slow
            if self._rate:
                waited = time.monotonic() - begun
                credit = min(PACE_WINDOW, credit - waited + len(message.get("body", b"")) / self._rate)
            more = message.get("more_body", False)
            return message

        await self._app(scope, paced, send)


class KnownHosts:
    """Refuse requests to another host's name, which a browser sends where a stranger's name was made to lead here (DNS rebinding)."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        """`names`: in lower case; `*.example` for what lies below it, `*` for any."""
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        app = respond(problem, scope) if problem else self._app
        await app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        if _path_of(scope) in PROBES:
            return None
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
            return Problem("request_invalid")
        host = host_name(hosts[0]) if hosts else ""
        if "." not in host or is_address(host) or host.endswith(".localhost") or "*" in self._names:
            return None
        below = (f"*.{host.split('.', count)[-1]}" for count in range(1, host.count(".") + 1))
        if host in self._names or any(name in self._names for name in below):
            return None
        return Problem("host_unknown", what=f"The request is for {host[:LONGEST_NAME]}.")


def host_name(host: str) -> str:
    """Of a header `Host`, or of an origin behind its scheme: lower case, no port, no brackets, no final dot."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().removesuffix(".")


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class SameSite:
    """Refuse what another site's page has a browser send and change here, where no key or secret shows that it is meant.

    A browser says where a request comes from (Fetch Metadata's `Sec-Fetch-Site`, `Origin`); programs say neither. A bearer token is
    no browser's to add, and another site's page that adds one, or `X-Requested-With`, must ask first (CORS). Our own page sends the
    latter: behind a proxy that changes `Host`, nothing else shows that it is ours.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        """`origins`: of pages that may; `*`: all."""
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if (
            scope["type"] == "http"
            and scope["method"] not in ("GET", "HEAD", "OPTIONS")
            and self._is_foreign(scope)
        ):
            app = respond(Problem("cross_site"), scope)
        await app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        is_meant = "x-requested-with" in headers or headers.get("authorization", "")[:7].lower() == "bearer "
        if is_meant or not self._origins.isdisjoint((origin, "*")):
            return False
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site not in ("same-origin", "none")
        return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _path_of(scope: Scope) -> str:
    """Below the path under which the service is shown."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


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
    path = _path_of(scope)
    return path.startswith("/v1/batches") or path == "/albums"


def is_head(request: HTTPConnection) -> bool:
    """Whether the body of the answer goes nowhere."""
    return _ASKED in request.scope


class Compress:
    """Text as gzip to whoever takes it: pages, scripts, styles, drawings and JSON that are got.

    Pictures are compressed already, events must not wait, and answers to POST and PUT may hold a secret, which a length could tell where a
    stranger chose what stands beside it (BREACH).

    The ETag becomes a weak one: it stands for both forms (RFC 9110, 8.8.1), and so does the 304's of who has that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        is_taken = "gzip" in asked.get("accept-encoding", "").lower()
        start: Message | None = None
        deflate: zlib._Compress | None = None

        async def compressed(message: Message) -> None:
            nonlocal start, deflate
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if _is_text(headers):
                    headers.add_vary_header("Accept-Encoding")
                    start = message  # its length is known with the first piece of the body
                    return
                if message["status"] == 304 and f"W/{headers.get('etag')}" in asked.get("if-none-match", ""):
                    _weaken(headers)
                await send(message)
                return
            body, more = message.get("body", b""), message.get("more_body", False)
            if start is not None and is_taken and (more or len(body) >= WORTH_COMPRESSING):
                deflate = zlib.compressobj(wbits=_GZIP)
            if deflate is not None:
                body = deflate.compress(body) + (b"" if more else deflate.flush())
                message = {**message, "body": body}
            if start is not None:
                if deflate is not None:
                    _say_gzip(MutableHeaders(scope=start), None if more else len(body))
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, compressed)


def _is_text(headers: MutableHeaders) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip()
    is_known = kind in COMPRESSED or kind.endswith("+json")
    return is_known and "content-encoding" not in headers and "content-range" not in headers


def _say_gzip(headers: MutableHeaders, length: int | None) -> None:
    headers["Content-Encoding"] = "gzip"
    if length is None:
        del headers["Content-Length"]
    else:
        headers["Content-Length"] = str(length)
    _weaken(headers)


def _weaken(headers: MutableHeaders) -> None:
    etag = headers.get("etag", "")
    if etag.startswith('"'):
        headers["ETag"] = f"W/{etag}"


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
                # With `no-referrer` a browser says `Origin: null` of our own form (Fetch, "append a request Origin header").
                headers.setdefault("Referrer-Policy", "same-origin")
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self._app(scope, receive, with_headers)
