"""Photos that their senders write to S3 themselves, and results that are read there: by URLs that are signed for a short time.

A photo has a place first, under an id of its own: `POST /v1/uploads` takes its bytes off a budget and answers with a URL. Its sender
PUTs it there, and makes a job of it by `{"upload": id}`. The URL is good for a while longer, and its holder might write again; so
the photo is copied within the bucket to where no URL leads, and only the copy is looked at.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Annotated, Any, cast

import redis
from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import RedirectResponse

from service.api.problems import documented
from service.api.state import ApiState, State, is_id
from service.api.uploads import Upload, json_object
from service.auth import Caller, Scope, caller_with
from service.database import PREFIX
from service.errors import Problem, StoreUnavailable
from service.jobs import Jobs, new_id
from service.models import Allowance, Space
from service.observability import get_logger
from service.schemas import options_from_json, utc
from service.storage import photo_key

BLOCK = 64 * 2**10
"""Bytes of a photo that are read at a time to find its header."""
MOST_BLOCKS = 64
"""Of one photo. Nearly every header is in the first, or in the first and the last."""
USING = 60.0
"""Seconds for which a second request with the same place is refused while the first makes a job of it."""
SMALLEST = 2**20
"""Bytes that a place costs at least: so the store's bounds are bounds on how many there are."""
log = get_logger("autochrome.api")

router = APIRouter()


class PlaceRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(strict=True, ge=1, description="How many bytes the photo has, exactly")


class PlaceView(BaseModel):
    """A place in the store for one photo."""

    id: str = Field(description="For `upload` in the body of POST /v1/colorizations")
    method: str
    url: str = Field(description="Where to write the photo; the address is a secret")
    headers: dict[str, str] = Field(description="To be sent along")
    expires_at: datetime = Field(description="The photo must be written and its job made before")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key's holder may write one photo that is no job yet."""

    id: str
    owner: str
    bytes: int

    @property
    def space(self) -> Space:
        """What it takes of the store."""
        return Space(photo=max(self.bytes, SMALLEST))


class Places:
    """What was announced. Its bytes are taken of the store like those of any photo. All may raise redis.RedisError."""

    def __init__(self, client: redis.Redis, jobs: Jobs) -> None:
        self._redis = client
        self._jobs = jobs

    def open(self, place: Place, seconds: float, most: int, allowance: Allowance) -> int:
        """When its time is up (ms since 1970); it is erased and its bytes are given back then. Raises `store_full` or `storage_limited`.

        `most`: bytes in the store, of all; 0: no limit.
        """
        self._jobs.reserve(place.id, seconds, replace(place.space, most=most, allowance=allowance))
        now, micros = self._redis.time()
        expires = now * 1000 + micros // 1000 + int(seconds * 1000)
        self._redis.set(_key(place.id), f"{place.owner}:{place.bytes}", pxat=expires)
        return expires

    def find(self, id: str, owner: str) -> Place:
        """Raises `upload_unknown`, which does not tell what is another's from what is not."""
        text = cast("str | None", self._redis.get(_key(id))) if is_id(id) else None
        whose, _, size = (text or "").partition(":")
        if text is None or whose != owner:
            raise Problem("upload_unknown")
        return Place(id, owner, int(size))

    def close(self, place: Place) -> None:
        """Give its bytes back. That it is erased when its time is up stays promised: its URL may be good until then."""
        if self._redis.delete(_key(place.id)):
            self._jobs.unreserve(place.id, place.space, may_be_written=True)


def _key(id: str) -> str:
    return f"{PREFIX}place:{id}"


@router.post(
    "/v1/uploads",
    summary="A place for a photo, to be written to the store directly",
    operation_id="create_upload",
    status_code=201,
    response_model=PlaceView,
    responses=documented(
        *("presign_disabled", "key_missing", "key_invalid", "scope_missing", "cross_site"),
        *("body_too_large", "upload_timeout"),
        *("json_invalid", "option_invalid", "store_full", "storage_limited", "store_unavailable"),
        *("queue_unavailable", "internal_error"),
    ),
)
async def create(
    request: Request,
    state: State,
    by: Annotated[Caller, Depends(caller_with(Scope.COLORIZE))],
    response: Response,
) -> PlaceView:
    if not state.settings.presign:
        raise Problem("presign_disabled")
    if not by.owner:  # S3 takes as much as comes: that is not for strangers
        raise Problem("key_missing")
    try:
        wanted = PlaceRequest.model_validate(await json_object(request))
    except ValidationError as invalid:
        faults = (f"`{fault['loc'][0]}`: {fault['msg']}." for fault in invalid.errors(include_url=False))
        raise Problem("option_invalid", " ".join(faults)) from invalid
    if wanted.bytes > state.settings.max_bytes:
        raise Problem("body_too_large", what=f"{state.settings.max_bytes / 2**20:g} MiB is the most.")
    response.headers["Cache-Control"] = "no-store"
    return await run_sync(_give, state, Place(new_id(), by.owner, wanted.bytes), by.address)


def _give(state: ApiState, place: Place, address: str) -> PlaceView:
    settings = state.settings
    # Who begins to write in the last moment has as long for it as any other upload.
    seconds = settings.presign_seconds + settings.upload_timeout
    allowance = state.quota.allowance(place.owner, address)
    expires = _places(state).open(place, seconds, settings.store_bytes, allowance)
    log.info("place_given", upload=place.id, megabytes=place.bytes / 1e6)
    return PlaceView(
        id=place.id,
        method="PUT",
        url=state.store.signed("PUT", photo_key(place.id), settings.presign_seconds),
        headers={"Content-Length": str(place.bytes)},
        expires_at=utc(expires),
    )


@asynccontextmanager
async def named(wish: dict[str, Any], state: ApiState, by: Caller) -> AsyncIterator[Upload]:
    """The photo that a JSON body names by its place in the store.

    Raises `json_invalid`, `option_unknown`, `option_invalid` or `presign_disabled`. Reading the photo may raise
    `upload_unknown`, `photo_missing` or `upload_mismatch`.
    """
    if not state.settings.presign:
        raise Problem("presign_disabled")
    id = wish.pop("upload")
    if not isinstance(id, str):
        raise Problem("json_invalid", what="`upload` is no string.")
    placed = _Placed(state, id, by.owner)
    try:
        yield Upload(stored(state, placed.seal), f"upload {id}", options_from_json(wish), placed.key)
    except BaseException:
        with CancelScope(shield=True):
            await run_sync(placed.leave)
        raise
    await run_sync(placed.end)


class _Placed:
    """A photo in its place, on its way to be a job. A job that is known already needs none: nothing is asked before `seal`."""

    def __init__(self, state: ApiState, id: str, owner: str) -> None:
        self._state = state
        self._id = id
        self._owner = owner
        self._place: Place | None = None
        self._held = ExitStack()
        self._sealed = f"{id}/{secrets.token_hex(8)}"
        self.key = f"{self._sealed}/photo"
        """Of the copy to which no URL leads."""

    def seal(self) -> tuple[str, int]:
        """Copy it. Its key, and how many bytes it has. Raises `upload_unknown`, `in_flight`, `photo_missing` or `upload_mismatch`."""
        place = _places(self._state).find(self._id, self._owner)
        if not self._held.enter_context(self._state.jobs.alone(f"place:{place.id}:used", USING)):
            raise Problem("in_flight")
        self._place = _places(self._state).find(self._id, self._owner)  # another may have used it until now
        store = self._state.store
        try:
            size = store.size(photo_key(place.id))
            if size == place.bytes:
                store.copy(photo_key(place.id), self.key)
                size = store.size(self.key)  # it may have been written again in between
        except FileNotFoundError as error:
            raise Problem("photo_missing", "Nothing has been written to the upload's URL yet.") from error
        if size != place.bytes:
            if size > place.bytes:
                self._close(place)
            raise Problem("upload_mismatch", what=f"{place.bytes} bytes were announced, {size} have come.")
        return self.key, size

    def leave(self) -> None:
        """It has become no job: erase the copy. The place stays until its time is up."""
        with self._held, suppress(StoreUnavailable):  # then the eraser does it
            if self._place is not None:
                self._state.store.erase(self._sealed)

    def end(self) -> None:
        """It has become a job, and has been copied once more. That is to be told, whatever fails here: then the eraser does it."""
        with suppress(redis.RedisError), self._held:
            if self._place is not None:
                self._close(self._place)

    def _close(self, place: Place) -> None:
        with suppress(StoreUnavailable):
            self._state.store.erase(place.id)
        _places(self._state).close(place)


def stored(state: ApiState, opened: Callable[[], tuple[str, int]]) -> IO[bytes]:
    """A file in the store, of which only what is asked for is read, in blocks, and not many of them.

    `opened`: its key, and how many bytes it has; asked when the file is first looked at.
    """
    return cast("IO[bytes]", io.BufferedReader(_Remote(state, opened)))


class _Remote(io.RawIOBase):
    def __init__(self, state: ApiState, opened: Callable[[], tuple[str, int]]) -> None:
        self._state = state
        self._open = opened
        self._file: tuple[str, int] | None = None
        self._position = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        _, size = self._opened()
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        block, skipped = divmod(self._position, BLOCK)
        piece = self._block(block)[skipped : skipped + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _opened(self) -> tuple[str, int]:
        if self._file is None:
            self._file = _, size = self._open()
            self._block(0)  # now, as those who parse it hold others up
            self._block((size - 1) // BLOCK)
        return self._file

    def _block(self, number: int) -> bytes:
        key, size = self._opened()
        if number * BLOCK >= size:
            return b""
        if number not in self._blocks:
            if len(self._blocks) == MOST_BLOCKS:
                raise Problem(
                    "photo_unsupported",
                    f"Its header is not within {MOST_BLOCKS * BLOCK // 2**20} MiB. Send the photo itself, in the body.",
                )
            start = number * BLOCK
            self._blocks[number] = self._state.store.part(key, start, min(BLOCK, size - start))
        return self._blocks[number]


def redirect(key: str, etag: str, expires: float, state: ApiState) -> Response:
    """To where a file can be read for a short time, and no longer than `expires` seconds from now."""
    url = state.store.signed("GET", key, min(state.settings.presign_seconds, expires))
    return RedirectResponse(url, 307, {"ETag": etag, "Cache-Control": "no-store"})


def _places(state: ApiState) -> Places:
    return Places(state.redis, state.jobs)
