"""What goes around every request to tell it apart later: an id in answer and logs, a line, a count, a last resort."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.api.problems import respond
from service.errors import Problem
from service.observability import get_logger

HEADER = "X-Request-ID"
NOWHERE = "nowhere"
"""The route of requests to addresses that do not exist: they must not become labels."""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
log = get_logger("autochrome.api")

Seen = Callable[[str, str, int, float], None]
"""Told of each answer: method, route, status, seconds until its last byte."""


class Tracing:
    """Give each request an id, its sender's own if that is a plain word, and say how it was answered.

    The id is at `request.state.request_id`, on every line that is logged meanwhile, and on the answer. A
    route may put a dict of more headers at `request.state.answer_headers`. What nobody caught becomes a 500.
    """

    def __init__(self, app: ASGIApp, seen: Seen) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = request_id(Headers(scope=scope).get(HEADER))
        state = scope.setdefault("state", {})
        state["request_id"] = id
        start = time.perf_counter()
        status = 0

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id
                headers.update(state.get("answer_headers", {}))
            await send(message)

        with bound_contextvars(request=id):
            try:
                await self._app(scope, receive, traced)
            except Exception:
                if status:
                    raise
                log.exception("request_failed", method=scope["method"], route=route_of(scope))
                await respond(Problem("internal_error"), scope["path"])(scope, receive, traced)
            finally:
                self._tell(scope, status, time.perf_counter() - start)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = route_of(scope)
        self._seen(method, route, status, seconds)
        # Questions are counted; a line is for what changes something, and for what should not be.
        level = logging.DEBUG if method in ("GET", "OPTIONS") and status != 500 else logging.INFO
        log.log(level, "request_answered", method=method, route=route, status=status, seconds=seconds)


def request_id(sent: str | None) -> str:
    """The id that a client or a proxy gave, where it is harmless in a log; else 64 new random bits."""
    return sent if sent is not None and _ID.fullmatch(sent) else secrets.token_hex(8)


def route_of(scope: Scope) -> str:
    """The template of the address, such as /v1/colorizations/{id}: it has no id in it, and there are few."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else NOWHERE
