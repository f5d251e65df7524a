"""What goes around every request: a limit on its body, HEAD, and headers that tell browsers to be strict."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import respond
from service.errors import BodyTooLarge

FORM_ALLOWANCE = 64 * 2**10
"""Bytes that a form may have beside its photo."""
PATIENCE = 4
"""So many times the limit is read and thrown away: a client that is still sending hears no answer."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PHOTO_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


class BodyLimit:
    """Refuse a body that is too large by what it says of itself, or else by counting as it streams in."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._most = max_bytes + FORM_ALLOWANCE
        self._detail = f"The upload has more than {max_bytes / 2**20:g} MiB. {BodyTooLarge.advice}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most and self._needs_no_draining(headers, declared):
            await respond(BodyTooLarge(self._detail), scope["path"])(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen <= self._most:
                return message
            while message.get("more_body", False) and seen <= PATIENCE * self._most:
                message = await receive()
                seen += len(message.get("body", b""))
            raise BodyTooLarge(self._detail)

        await self._app(scope, counted, send)

    def _needs_no_draining(self, headers: Headers, declared: str) -> bool:
        """Clients that wait for leave to send hear the answer at once; and of some we read nothing at all."""
        return "100-continue" in headers.get("expect", "").lower() or int(declared) > PATIENCE * self._most


class HeadAsGet:
    """What can be got can be asked about (RFC 9110, 9.3.2). The server leaves the body out by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


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
