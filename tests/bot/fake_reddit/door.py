"""The door that each call comes through: it is written down, and goes wrong where it is told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from fake_reddit.asking import form_error
from fake_reddit.calls import Call
from fake_reddit.faults import Fault
from fake_reddit.refusals import FormError
from fake_reddit.site import Site


class Protocol(H11Protocol):
    """Lets the door cut a connection, and waits for nobody at the end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)

    def shutdown(self) -> None:
        self.transport.abort()


@dataclass
class Answer:
    """One that was caught on its way out."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] | None = None
    body: bytes = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")


class Door:
    def __init__(self, site: Site, inner: ASGIApp) -> None:
        self.site = site
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") or "/"
        body = await _whole(receive)
        call = self._write_down(scope, path, body)
        scope = {**scope, "path": path, "raw_path": path.encode()}
        scope["state"] = {**scope.get("state", {}), "call": call}

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        fault = None if path.startswith("/fake") else self.site.fault_for(call.method, path)
        if fault is None:
            await self.inner(scope, _again(body, receive), watched)
            return
        call.fault = fault.kind
        answer = Answer()
        if fault.when == "after" or fault.kind in {"truncated", "duplicate"}:
            await self.inner(scope, _again(body, receive), answer.send)
        if fault.kind in {"timeout", "reset"}:
            await _cut(scope, receive, fault)
        else:
            await _spoiled(fault, answer)(scope, receive, watched)

    def _write_down(self, scope: Scope, path: str, body: bytes) -> Call:
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        form: dict[str, str] = {}
        if _kind(scope).startswith("application/x-www-form-urlencoded"):
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        call = Call(scope["method"], path, query, form, at=self.site.clock.now())
        if not path.startswith("/fake"):
            self.site.calls.append(call)
        return call


def _kind(scope: Scope) -> str:
    return next((value.decode() for name, value in scope["headers"] if name == b"content-type"), "")


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, once more."""
    replayed = False

    async def receive_again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _cut(scope: Scope, receive: Receive, fault: Fault) -> None:
    """End the connection without a word; a timeout first lets the caller wait."""
    try:
        if fault.kind == "timeout":
            await asyncio.wait_for(receive(), fault.seconds)
    except TimeoutError:
        pass
    scope["state"]["transport"].abort()
    await receive()


def _spoiled(fault: Fault, answer: Answer) -> Response:
    if fault.kind == "truncated":
        return Response(answer.body[: len(answer.body) // 2], answer.status, media_type="application/json")
    if fault.kind == "duplicate":
        document = json.loads(answer.body)
        children = document["data"]["children"]
        document["data"]["children"] = [child for child in children for _ in range(2)]
        return JSONResponse(document, answer.status)
    if isinstance(fault.kind, str):
        return form_error(FormError(fault.kind, fault.words))
    headers = {"retry-after": str(round(fault.seconds))} if fault.kind == 429 else {}
    if fault.kind >= 500:
        return Response(
            "<html><h1>Our CDN was unable to reach our servers</h1></html>", fault.kind, headers, "text/html"
        )
    document = {"message": fault.words or "Error", "error": fault.kind}
    return JSONResponse(document, fault.kind, headers)
