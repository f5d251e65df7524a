"""Files going out: the result and what was made beside it. They never change, so that a copy is for ever good."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import StreamingResponse

from service import errors
from service.api.desk import AtDesk, Desk, failure, refuse_if_canceled
from service.api.limits import PHOTO_POLICY, is_head
from service.api.problems import documented
from service.errors import Problem
from service.jobs import Job
from service.storage import CHUNK

router = APIRouter()

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_WHY_NONE: tuple[str, ...] = (
    *("not_found", "not_ready", "canceled", "expired"),
    *errors.PHOTO_CODES,
    *("out_of_memory", "photo_lost", "worker_died", "internal_error"),
    *("store_unavailable", "queue_unavailable"),
)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a job in the store. `etag` is strong: with its quotes, and of these very bytes."""

    key: str
    etag: str
    media_type: str
    bytes: int
    name: str


@router.get(
    "/v1/colorizations/{id}/result",
    summary="The colored photo",
    operation_id="read_result",
    response_class=Response,
    responses={
        200: {"content": {"image/*": _BYTES}, "description": "The picture; it never changes"},
        304: {"description": "The client's copy is the picture"},
        **documented(*_WHY_NONE),
    },
)
def result(
    id: str, request: Request, desk: AtDesk, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    job = _finished(desk, id)
    if job.result is None:
        raise Problem("not_ready")
    name = "colorized." + job.result.key.rpartition(".")[2]
    file = File(job.result.key, f'"{job.result.sha256}"', job.result.media_type, job.result.bytes, name)
    return _hand_out(file, job, request, desk, if_none_match)


@router.get(
    "/v1/colorizations/{id}/artifacts/{name}",
    summary="What was made beside the result",
    operation_id="read_artifact",
    response_class=Response,
    responses={
        200: {
            "content": {"image/jpeg": _BYTES, "application/json": {"schema": {"type": "object"}}},
            "description": "The file; it never changes",
        },
        304: {"description": "The client's copy is the file"},
        **documented(*_WHY_NONE),
    },
)
def artifact(
    id: str, name: str, request: Request, desk: AtDesk, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    job = _finished(desk, id)
    made = next((made for made in job.artifacts if made.name == name), None)
    if made is None:
        if job.status == "succeeded":
            raise Problem(
                "not_found", f"This job has no artifact {name[:40]!r}. Ask for it when you send the photo."
            )
        raise Problem("not_ready")
    # An attempt writes under a key of its own and only once, so that the key stands for the bytes.
    etag = f'"{hashlib.sha256(made.key.encode()).hexdigest()}"'
    shown = made.key.rpartition("/")[2]
    return _hand_out(
        File(made.key, etag, made.media_type, made.bytes, shown), job, request, desk, if_none_match
    )


def _finished(desk: Desk, id: str) -> Job:
    """A job that may have files. Raises what it ended with instead."""
    job = desk.find(id)
    refuse_if_canceled(job)
    if job.status == "failed":
        raise failure(job)
    return job


def _hand_out(file: File, job: Job, request: Request, desk: Desk, known: str | None) -> Response:
    """The file, or as little of it as the client needs. Raises `expired` or `store_unavailable`."""
    headers = {
        "ETag": file.etag,
        "Cache-Control": f"private, immutable, max-age={max(0, int(job.expires / 1000 - time.time()))}",
        "Content-Security-Policy": PHOTO_POLICY,
        "Content-Disposition": f'inline; filename="{file.name}"',
    }
    if known is not None and _matches(known, file.etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(file.bytes)
    if is_head(request):
        return Response(headers=headers, media_type=file.media_type)
    try:
        pieces = desk.store.stream(file.key)
    except FileNotFoundError as gone:
        raise Problem("expired") from gone
    if file.bytes <= CHUNK:  # one piece: a stream would only take two turns of a thread more
        return Response(b"".join(pieces), headers=headers, media_type=file.media_type)
    return StreamingResponse(pieces, headers=headers, media_type=file.media_type)


def _matches(if_none_match: str, etag: str) -> bool:
    """The weak comparison of RFC 9110, 13.1.2."""
    seen = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in seen)
