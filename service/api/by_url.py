"""Color by URL: a JSON body names a photo, which is fetched as if it had been sent."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from fastapi import Request

from service.api.uploads import Upload, closing, digest
from service.errors import Problem
from service.outbound import fetch
from service.schemas import Options, options_from_json
from service.settings import Settings

MEDIA_TYPE = "application/json"
MOST_BYTES = 64 * 2**10
MOST_AT_ONCE = 8
"""Fetches that one process has under way. They have threads of their own: slow hosts must not take all of them."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {
            "type": "string",
            "maxLength": 2048,
            "description": "Where the photo lies: http or https, on a host that the operator has listed",
        },
        **Options.model_json_schema()["properties"],
    },
    "example": {"url": "https://photos.example/harbor-1912.jpg", "vividness": 1.1},
}
_NAMED = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")
_threads: RunVar[CapacityLimiter] = RunVar("autochrome.by_url")


@asynccontextmanager
async def receive(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    """Read the body and fetch what it names.

    Raises `url_disabled`, `json_invalid`, `option_unknown`, `option_invalid`, `url_not_allowed`, `url_failed` or `fetches_busy`; also
    `url_failed`, with what was found there, in place of the block's `photo_unsupported` or `photo_empty`.
    """
    if not settings.url_hosts:
        raise Problem("url_disabled")
    if request.query_params:
        raise Problem("option_invalid", "Options stand in the JSON body, beside `url`, and not in the query.")
    url, options = _wish(await _body(request))
    settings.url_hosts.target(url)  # what is refused is refused at once, even when all threads are busy
    limiter = _limiter()
    if limiter.available_tokens < 1:
        raise Problem("fetches_busy")
    get = partial(fetch, url, allow=settings.url_hosts, max_bytes=settings.max_bytes)
    fetched = await run_sync(get, limiter=limiter)
    async with closing(fetched.file) as file:
        try:
            yield Upload(file, await run_sync(digest, file), options)
        except Problem as problem:
            if problem.code not in ("photo_unsupported", "photo_empty"):
                raise
            what = f" but {fetched.media_type}" if _NAMED.fullmatch(fetched.media_type) else ""
            raise Problem(
                "url_failed", what=f"That address holds no photo that can be read,{what}."
            ) from problem


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Problem("json_invalid", what=f"The JSON has more than {MOST_BYTES // 1024} KiB.")
    return bytes(body)


def _wish(body: bytes) -> tuple[str, Options]:
    try:
        wish = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem("json_invalid") from error
    if not isinstance(wish, dict) or not isinstance(wish.get("url"), str):
        raise Problem("json_invalid", what="There is no string `url` in the JSON.")
    return wish.pop("url"), options_from_json(wish)


def _limiter() -> CapacityLimiter:
    """One an event loop."""
    try:
        return _threads.get()
    except LookupError:
        limiter = CapacityLimiter(MOST_AT_ONCE)
        _threads.set(limiter)
        return limiter
