"""The addresses of the REST API, version 1."""

from __future__ import annotations

import time
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from service import errors
from service.api.desk import AtDesk, Desk, failure, refuse_if_canceled
from service.api.limits import PHOTO_POLICY
from service.api.prefer import preferred_wait
from service.api.problems import documented
from service.api.uploads import receive
from service.api.views import CreatedJobView, JobView, NetView, job_path, job_view
from service.errors import PhotoProblem, Problem
from service.jobs import Job
from service.options import Options, parse

FIRST_POLL = 0.03
LONGEST_POLL = 0.5
RETRY_AFTER = "1"

router = APIRouter()

_OPTIONS: dict[str, Any] = Options.model_json_schema()["properties"]
_POST = {
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _OPTIONS.items()
    ]
    + [
        {
            "name": "Prefer",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "`wait=N`: answer 200 with the finished job if it is ready in N ≤ 60 seconds.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {"photo": {"type": "string", "format": "binary"}, **_OPTIONS},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
_FROM_PHOTO: tuple[type[Problem], ...] = tuple(
    kind for kind in errors.problems() if issubclass(kind, PhotoProblem)
)
_AT_ANY_TIME: tuple[type[Problem], ...] = (errors.QueueUnavailable, errors.InternalError)
_OF_A_JOB: tuple[type[Problem], ...] = (errors.NotFound, errors.Expired, *_AT_ANY_TIME)


@router.post(
    "/v1/colorizations",
    summary="Color a photo",
    status_code=202,
    response_model=CreatedJobView,
    openapi_extra=_POST,
    responses={
        200: {"model": CreatedJobView, "description": "Ready within the time that `Prefer: wait=N` gave"},
        202: {"description": "Accepted: ask at `Location` until its status is `succeeded`"},
        **documented(
            *(errors.BodyTooLarge, errors.UnsupportedMedia, errors.FormInvalid, errors.PhotoMissing),
            *_FROM_PHOTO,
            *(errors.OptionUnknown, errors.OptionInvalid, errors.StoreUnavailable, errors.WorkerDied),
            *_AT_ANY_TIME,
        ),
    },
)
async def create(request: Request, desk: AtDesk) -> Response:
    async with receive(request, desk.settings.max_bytes) as upload:
        options = parse(upload.pairs)
        id, secret = await run_sync(desk.admit, upload.file, options)
    wait = preferred_wait(request.headers.getlist("prefer"))
    job = await _when_ended(desk, id, wait or 0)
    headers = {"Location": desk.url(job_path(id)), "Cache-Control": "no-store"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if job.status == "failed":
        raise failure(job)
    view = CreatedJobView(**job_view(job, desk.url("")).model_dump(), secret=secret)
    if wait is not None and job.status == "succeeded":
        return JSONResponse(view.model_dump(mode="json"), 200, headers)
    return JSONResponse(view.model_dump(mode="json"), 202, {**headers, "Retry-After": RETRY_AFTER})


@router.get(
    "/v1/colorizations/{id}",
    summary="How a job stands",
    response_model=JobView,
    responses=documented(*_OF_A_JOB),
)
def read(id: str, desk: AtDesk, response: Response) -> JobView:
    job = desk.find(id)
    response.headers["Cache-Control"] = "no-store"
    if job.status in ("queued", "running"):
        response.headers["Retry-After"] = RETRY_AFTER
    return job_view(job, desk.url(""))


@router.get(
    "/v1/colorizations/{id}/result",
    summary="The colored photo",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "The picture; it never changes"},
        304: {"description": "The client's copy is the picture"},
        **documented(
            *_OF_A_JOB,
            *_FROM_PHOTO,
            *(errors.NotReady, errors.Canceled, errors.StoreUnavailable, errors.WorkerDied),
        ),
    },
)
def result(id: str, desk: AtDesk, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    job = desk.find(id)
    refuse_if_canceled(job)
    if job.status == "failed":
        raise failure(job)
    if job.result is None:
        raise errors.NotReady
    etag = f'"{job.result.sha256}"'
    extension = job.result.key.rpartition(".")[2]
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, immutable, max-age={max(0, int(job.expires / 1000 - time.time()))}",
        "Content-Security-Policy": PHOTO_POLICY,
        "Content-Disposition": f'inline; filename="colorized.{extension}"',
    }
    if if_none_match is not None and _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    try:
        pieces = desk.store.stream(job.result.key)
    except FileNotFoundError as gone:
        raise errors.Expired from gone
    headers["Content-Length"] = str(job.result.bytes)
    return StreamingResponse(pieces, headers=headers, media_type=job.result.media_type)


@router.delete(
    "/v1/colorizations/{id}",
    summary="Erase a job, its photo and its result",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented(errors.SecretMissing, errors.SecretWrong, *_OF_A_JOB, errors.StoreUnavailable),
    },
)
def erase(id: str, desk: AtDesk, authorization: Annotated[str | None, Header()] = None) -> Response:
    scheme, _, secret = (authorization or "").partition(" ")
    job = desk.find(id)
    if scheme.lower() != "bearer" or not secret:
        raise errors.SecretMissing
    if not job.is_opened_by(secret.strip()):
        raise errors.SecretWrong
    desk.erase(job)
    return Response(status_code=204)


@router.get(
    "/v1/nets",
    summary="The networks that workers have loaded",
    response_model=list[NetView],
    responses=documented(*_AT_ANY_TIME),
)
def nets(desk: AtDesk) -> list[NetView]:
    loaded = sorted({(net.name, net.sha256) for net in desk.jobs.workers().values()})
    return [NetView(name=name, sha256=sha256) for name, sha256 in loaded]


@router.get("/livez", summary="Whether this process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether photos sent now will be colored",
    responses=documented(errors.WorkersUnavailable, *_AT_ANY_TIME),
)
def readyz(desk: AtDesk) -> dict[str, str]:
    if not desk.jobs.workers():
        raise errors.WorkersUnavailable
    return {"status": "ok"}


@router.get(
    "/problems/{code}", summary="What a problem's `type` means", responses=documented(errors.NotFound)
)
async def problem(code: str) -> dict[str, str | int]:
    kind = errors.by_code(code)
    if kind.code != code:
        raise errors.NotFound
    return {"code": kind.code, "status": kind.status, "title": kind.title, "advice": kind.advice}


async def _when_ended(desk: Desk, id: str, seconds: float) -> Job:
    """The job when it has ended, or as it stands after `seconds`."""
    give_up = time.monotonic() + seconds
    pause = FIRST_POLL
    while True:
        job = await run_sync(desk.find, id)
        left = give_up - time.monotonic()
        if left <= 0 or job.status not in ("queued", "running"):
            return job
        await anyio.sleep(min(pause, left))
        pause = min(1.5 * pause, LONGEST_POLL)


def _matches(if_none_match: str, etag: str) -> bool:
    """The weak comparison of RFC 9110, 13.1.2."""
    seen = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in seen)
