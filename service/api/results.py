"""Files of a job as they go out: its result, its artifacts."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from service import errors
from service.api import presigned
from service.api.middleware import PHOTO_POLICY, is_head
from service.api.problems import documented
from service.api.state import ApiState, State
from service.errors import Problem
from service.models import Artifact, Job
from service.schemas import SuggestionView
from service.storage import CHUNK, file_name

router = APIRouter()

OCTETS = "application/octet-stream"
"""What a file is sent as to who says so by `Accept`: for programs that take bytes, whatever they are."""
BYTES = {"schema": {"type": "string", "format": "binary"}}
Redirect = Annotated[
    bool, Query(description="false: the file itself, also where it could be read from the store directly")
]
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # RFC 9110, 12.4.2
_OF_FILES = (
    *("not_found", "not_ready", "canceled", "expired", "store_unavailable", "queue_unavailable"),
    *(*errors.PHOTO_CODES, *errors.OUR_CODES),
)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a job in the store. `etag` is strong: with its quotes, and of these very bytes."""

    key: str
    etag: str
    media_type: str
    bytes: int


@router.get(
    "/v1/colorizations/{id}/result",
    summary="The colored photo",
    operation_id="read_result",
    response_class=Response,
    responses={
        200: {"content": {"image/*": BYTES}, "description": "The picture; it never changes"},
        304: {"description": "The client's copy is the picture"},
        307: {"description": "It can be read there for a short time"},
        **documented(*_OF_FILES),
    },
)
def result(
    id: str,
    request: Request,
    state: State,
    if_none_match: Annotated[str | None, Header()] = None,
    redirect: Redirect = True,
) -> Response:
    job = _finished(state, id)
    return file_response(result_of(job), job, request, state, if_none_match, redirect)


@router.get(
    "/v1/colorizations/{id}/artifacts/{name}",
    summary="What was made beside the result",
    operation_id="read_artifact",
    response_class=Response,
    responses={
        200: {
            "content": {
                "image/*": BYTES,
                "application/json": {"schema": {"type": "object"}},
                "application/octet-stream": BYTES,
            },
            "description": "The file; it never changes",
        },
        304: {"description": "The client's copy is the file"},
        307: {"description": "It can be read there for a short time"},
        **documented(*_OF_FILES),
    },
)
def artifact(
    id: str,
    name: str,
    request: Request,
    state: State,
    if_none_match: Annotated[str | None, Header()] = None,
    redirect: Redirect = True,
) -> Response:
    job = _finished(state, id)
    made = _artifact_of(job, name)
    # An attempt writes under a key of its own and only once, so that the key stands for the bytes.
    etag = f'"{hashlib.sha256(made.key.encode()).hexdigest()}"'
    file = File(made.key, etag, made.media_type, made.bytes)
    return file_response(file, job, request, state, if_none_match, redirect)


@router.get(
    "/v1/colorizations/{id}/suggestions",
    summary="The likeliest colors at a place of the photo",
    operation_id="read_suggestions",
    response_model=list[SuggestionView],
    responses=documented(*_OF_FILES, "option_invalid"),
)
def suggestions(
    id: str,
    state: State,
    response: Response,
    x: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="Across the picture, 0 to 1")],
    y: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="Down the picture, 0 to 1")],
) -> list[SuggestionView]:
    """Five at most, which differ, likeliest first; fewer where the net is sure. Of a job with `artifacts=suggestions`."""
    job = _finished(state, id)
    made = _artifact_of(job, "suggestions")
    try:
        grid = json.loads(state.store.get(made.key))
    except FileNotFoundError as gone:
        raise Problem("expired") from gone
    left, top, right, bottom = grid["box"]
    across, down = (x - left) / (right - left), (y - top) / (bottom - top)
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise Problem("place_outside")
    row, column = (
        min(int(share * grid[of]), grid[of] - 1) for share, of in ((down, "rows"), (across, "columns"))
    )
    response.headers["Cache-Control"] = "no-store"
    cell = grid["cells"][row * grid["columns"] + column]
    return [
        SuggestionView(color=color, a=a, b=b, probability=probability) for color, a, b, probability in cell
    ]


def _artifact_of(job: Job, name: str) -> Artifact:
    """Raises `not_ready`, or `not_found` where it was not asked for."""
    made = next((made for made in job.artifacts if made.name == name), None)
    if made is None:
        if job.status == "succeeded":
            raise Problem(
                "not_found", f"This job has no artifact {name[:40]!r}. Ask for it when you send the photo."
            )
        raise Problem("not_ready")
    return made


def _finished(state: ApiState, id: str) -> Job:
    """A job that may have files. Raises what it ended with instead."""
    job = state.find(id)
    if job.status == "canceled":
        raise Problem("canceled")
    if job.status == "failed":
        raise errors.failure(job.error_code, job.error_detail)
    return job


def result_of(job: Job) -> File:
    """Raises `not_ready`."""
    if job.result is None:
        raise Problem("not_ready")
    return File(job.result.key, f'"{job.result.sha256}"', job.result.media_type, job.result.bytes)


def file_response(
    file: File, job: Job, request: Request, state: ApiState, known: str | None, redirect: bool
) -> Response:
    """The file, or as little of it as the client needs. Raises `expired` or `store_unavailable`."""
    left = job.expires / 1000 - time.time()
    headers = {
        "ETag": file.etag,
        "Cache-Control": f"private, immutable, max-age={max(0, int(left))}",
        "Content-Security-Policy": PHOTO_POLICY,
        "Content-Disposition": f'inline; filename="{file_name(file.key)}"',
    }
    if known is not None and _matches(known, file.etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(file.bytes)
    media_type = sent_as(file.media_type, request, headers)
    if is_head(request):
        return Response(headers=headers, media_type=media_type)
    if redirect and state.settings.presign:
        return presigned.redirect(file.key, file.etag, left, state)
    try:
        pieces = state.store.stream(file.key)
    except FileNotFoundError as gone:
        raise Problem("expired") from gone
    if file.bytes <= CHUNK:  # one piece: a stream would only take two turns of a thread more
        return Response(b"".join(pieces), headers=headers, media_type=media_type)
    return StreamingResponse(pieces, headers=headers, media_type=media_type)


def sent_as(media_type: str, request: Request, headers: dict[str, str]) -> str:
    """What a file's answer says that it is; in its headers too, where that was the client's wish."""
    if not prefers(request.headers.getlist("accept"), OCTETS, media_type):
        return media_type
    headers["Vary"] = "Accept"
    return OCTETS


def prefers(headers: Iterable[str], this: str, other: str) -> bool:
    """Whether these headers `Accept` (RFC 9110, 12.5.1) would rather have this media type than another."""
    ranges: dict[str, float] = {}
    for accepted in ",".join(headers).split(","):
        name, *parameters = (part.strip().lower() for part in accepted.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        ranges[name] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0

    def weight_of(kind: str) -> float:
        """By the range that says most of it."""
        return next((ranges[r] for r in (kind, kind.partition("/")[0] + "/*", "*/*") if r in ranges), 0.0)

    return weight_of(this) > weight_of(other)


def _matches(if_none_match: str, etag: str) -> bool:
    """The weak comparison of RFC 9110, 13.1.2."""
    seen = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in seen)
