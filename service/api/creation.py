"""Photos coming in: POST, and PUT under an id of the client's own."""

from __future__ import annotations

import re
import time
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from service import errors
from service.api import by_url
from service.api.callers import Caller, Colorizing
from service.api.desk import Admitted, AtDesk, Desk, failure, is_id, retry_after
from service.api.prefer import preferred_wait
from service.api.problems import documented
from service.api.uploads import Upload, media_type, receive
from service.errors import Problem
from service.jobs import ENDED, Job
from service.keys import Scope
from service.quota import network
from service.views import CreatedJobView, job_path, job_view

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

router = APIRouter()

_OF_THE_BODY: tuple[str, ...] = (
    "body_too_large",
    "upload_timeout",
    "unsupported_media_type",
    "form_invalid",
    "json_invalid",
    "url_disabled",
    "url_not_allowed",
    "url_failed",
    "fetches_busy",
    "photo_missing",
    *errors.PHOTO_CODES,
)
_REFUSALS: tuple[str, ...] = (
    *_OF_THE_BODY,
    "option_unknown",
    "option_invalid",
    "webhook_disabled",
    "key_missing",
    "key_invalid",
    "scope_missing",
    "rate_limited",
    "in_flight",
    "canceled",
    "expired",
    "queue_full",
    "queue_unavailable",
    "store_unavailable",
    "out_of_memory",
    "photo_lost",
    "worker_died",
    "internal_error",
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": CreatedJobView, "description": "It is colored already, or was within `Prefer: wait=N`"},
    202: {"model": CreatedJobView, "description": "Accepted: ask at `Location` until it has ended"},
}


@router.post(
    "/v1/colorizations",
    summary="Color a photo",
    operation_id="create_colorization",
    status_code=202,
    response_model=CreatedJobView,
    responses={
        **_ANSWERS,
        **documented(*_REFUSALS, "idempotency_key_invalid", "idempotency_mismatch"),
    },
)
async def create(request: Request, desk: AtDesk, by: Colorizing) -> Response:
    key = _idempotency_key(request)
    id = await run_sync(desk.jobs.id_for, by.owner or f"at {network(by.address)}", key) if key else None
    await _refuse_if_full(desk, id)
    async with _upload(request, desk, by) as upload:
        try:
            admitted = await run_sync(_admit, desk, upload, by, id)
        except Problem as problem:
            if problem.code != "id_conflict":
                raise
            raise Problem("idempotency_mismatch") from problem
    return await _answer(request, desk, admitted)


@router.put(
    "/v1/colorizations/{id}",
    summary="Color a photo under an id of your own, once however often it is sent",
    operation_id="put_colorization",
    status_code=202,
    response_model=CreatedJobView,
    responses={**_ANSWERS, **documented(*_REFUSALS, "id_invalid", "id_conflict")},
)
async def put(
    id: Annotated[str, Path(description="32 lowercase hexadecimal digits: 128 random bits")],
    request: Request,
    desk: AtDesk,
    by: Colorizing,
) -> Response:
    if not is_id(id):
        raise Problem("id_invalid")
    await _refuse_if_full(desk, id)
    async with _upload(request, desk, by) as upload:
        admitted = await run_sync(_admit, desk, upload, by, id)
    return await _answer(request, desk, admitted)


async def _refuse_if_full(desk: Desk, id: str | None) -> None:
    """Before the body is read. A photo that is in the queue already needs no room."""
    if id is None or await run_sync(desk.jobs.get, id) is None:
        await run_sync(desk.refuse_if_full)


def _upload(request: Request, desk: Desk, by: Caller) -> AbstractAsyncContextManager[Upload]:
    if media_type(request) == by_url.MEDIA_TYPE:
        by.require(Scope.URL)
        return by_url.receive(request, desk.settings)
    return receive(request, desk.settings.max_bytes)


def _admit(desk: Desk, upload: Upload, by: Caller, id: str | None) -> Admitted:
    return desk.admit(upload.file, upload.options, by, id, sha256=upload.sha256)


async def _answer(request: Request, desk: Desk, admitted: Admitted) -> Response:
    """The job with its secret, when it has ended or the client will wait no longer. Raises its failure."""
    wait = preferred_wait(request.headers.getlist("prefer"))
    job = await _when_ended(desk, admitted.id, wait or 0)
    headers = {"Location": desk.url(job_path(job.id)), "Cache-Control": "no-store"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if job.status == "failed":
        raise failure(job)
    view = CreatedJobView(**job_view(job, desk.url("")).model_dump(), secret=admitted.secret)
    if job.status == "succeeded" and (wait is not None or not admitted.new):
        return JSONResponse(view.model_dump(mode="json"), 200, headers)
    return JSONResponse(view.model_dump(mode="json"), 202, {**headers, "Retry-After": retry_after(job)})


async def _when_ended(desk: Desk, id: str, seconds: float) -> Job:
    """The job when it has ended, or as it stands after `seconds`. Raises `expired`."""
    if seconds <= 0:
        return await run_sync(desk.find, id)
    give_up = time.monotonic() + seconds
    async with desk.watches.on(id, only_end=True) as changed:
        while True:
            job = await run_sync(desk.find, id)
            left = give_up - time.monotonic()
            if left <= 0 or job.status in ENDED or desk.watches.closing:
                return job
            await changed.wait(left)


def _idempotency_key(request: Request) -> str | None:
    """The key, with or without the quotes that the draft writes around it. Raises `idempotency_key_invalid`."""
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return None
    key = sent[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(sent) > 1 or not IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem("idempotency_key_invalid")
    return key
