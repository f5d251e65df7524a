"""Colorizations: a photo comes in by POST or PUT and becomes a job; the job as it stands, its files, its end."""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import redis
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from model.image_headers import memory_needed
from service import celery_app, errors
from service.api import uploads
from service.api.middleware import PHOTO_POLICY, is_head
from service.api.problems import documented
from service.api.state import ApiState, State, is_id
from service.api.uploads import Upload, header_of
from service.auth import AnyCaller, Caller, Scope, caller_with
from service.budgets import network, payer
from service.errors import Problem, StoreUnavailable
from service.events import Changed
from service.jobs import ENDED, Entered, Job, Order, new_id
from service.observability import get_logger
from service.schemas import CreatedJobView, JobView, job_path, job_view
from service.storage import CHUNK, photo_key, upload_prefix

RESERVED = 3600.0
"""Seconds after which the file of an upload that never became a job is erased."""
ENTERING = 60.0
"""Seconds for which a second request with an id of the client's choosing is refused while the first is stored. This
only spares work: an upload may take longer, and `Jobs.create` decides which one the job is made from."""
LONGEST_RETRY_AFTER = 3600
LONGEST_WAIT = 60
"""Seconds that `Prefer: wait=N` may ask for."""
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # RFC 9110, 12.4.2
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
log = get_logger("autochrome.api")

router = APIRouter()

_AT_ANY_TIME = ("queue_unavailable", "internal_error")
_OF_A_JOB = ("not_found", "expired", *_AT_ANY_TIME)
_OF_AN_ATTEMPT = ("out_of_memory", "photo_lost", "worker_died")
_OF_FILES = (
    *("not_ready", "canceled", "store_unavailable"),
    *(*errors.PHOTO_CODES, *_OF_AN_ATTEMPT, *_OF_A_JOB),
)
_OF_UPLOADS = (
    *("body_too_large", "upload_timeout", "unsupported_media_type", "form_invalid", "json_invalid"),
    *("url_disabled", "url_not_allowed", "url_failed", "fetches_busy", "photo_missing"),
    *errors.PHOTO_CODES,
    *("option_unknown", "option_invalid", "webhook_disabled"),
    *("key_missing", "key_invalid", "scope_missing", "rate_limited"),
    *("in_flight", "canceled", "expired", "queue_full", "store_unavailable"),
    *(*_OF_AN_ATTEMPT, *_AT_ANY_TIME),
)
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": CreatedJobView,
        "content": {"image/*": _BYTES},
        "description": "It is colored already, or was within `Prefer: wait=N`: the job, or by `Accept: image/*` the picture",
    },
    202: {"model": CreatedJobView, "description": "Accepted: ask at `Location` until it has ended"},
}

Colorizing = Annotated[Caller, Depends(caller_with(Scope.COLORIZE))]


class Submitted(NamedTuple):
    """A photo that is in the queue, or was before."""

    id: str
    secret: str
    new: bool
    """False: the very same was sent before, and nothing was done."""


@router.post(
    "/v1/colorizations",
    summary="Color a photo",
    operation_id="create_colorization",
    status_code=202,
    response_model=CreatedJobView,
    responses={**_ANSWERS, **documented(*_OF_UPLOADS, "idempotency_key_invalid", "idempotency_mismatch")},
)
async def create(request: Request, state: State, by: Colorizing) -> Response:
    key = _idempotency_key(request)
    id = await run_sync(state.jobs.id_for, by.owner or f"at {network(by.address)}", key) if key else None
    try:
        return await _color(request, state, by, id)
    except Problem as problem:
        if problem.code != "id_conflict":
            raise
        raise Problem("idempotency_mismatch") from problem


@router.put(
    "/v1/colorizations/{id}",
    summary="Color a photo under an id of your own, once however often it is sent",
    operation_id="put_colorization",
    status_code=202,
    response_model=CreatedJobView,
    responses={**_ANSWERS, **documented(*_OF_UPLOADS, "id_invalid", "id_conflict")},
)
async def put(
    id: Annotated[str, Path(description="32 lowercase hexadecimal digits: 128 random bits")],
    request: Request,
    state: State,
    by: Colorizing,
) -> Response:
    if not is_id(id):
        raise Problem("id_invalid")
    return await _color(request, state, by, id)


async def _color(request: Request, state: ApiState, by: Caller, id: str | None) -> Response:
    """Take the photo in, and answer when it is colored or the client will wait no longer. `id`: see `submit`."""
    await _refuse_if_full(request, state, id)
    job = id or new_id()
    wait = preferred_wait(request.headers.getlist("prefer"))
    # Watched before it is made, so that it need not be looked at before its end.
    async with _watched(state, job, wait) as changed:
        async with _upload(request, state, by) as upload:
            submitted = await run_sync(submit, state, upload, by, job, id is not None)
        return await _answer(request, state, submitted, wait, changed)


@asynccontextmanager
async def _watched(state: ApiState, id: str, wait: int | None) -> AsyncIterator[Changed | None]:
    """None where nobody waits."""
    if not wait:
        yield None
        return
    async with state.watches.on(id, only_end=True) as changed:
        yield changed


def submit(state: ApiState, upload: Upload, by: Caller, id: str, is_chosen: bool) -> Submitted:
    """Check a photo, store it, make its job and notify the workers.

    `id`: 32 hexadecimal digits; `is_chosen`: of the client's choosing, so that the same photo with the same options by the same caller
    becomes one job under it.
    Raises `scope_missing`, `webhook_disabled`, `url_not_allowed`, one of PHOTO_CODES, `option_invalid`, `id_conflict`, `in_flight`,
    `canceled`, `expired`, `rate_limited`, `queue_full`, `store_unavailable` or redis.RedisError.
    """
    keep_for = state.keep_for(upload.options, by)
    header = header_of(upload.file, state.settings, upload.options.page)
    order = Order(
        options=upload.options,
        pixels=header.width * header.height,
        keep_for=keep_for,
        batch=upload.options.priority == "batch",
        owner=by.owner,
        request_id=by.request_id,
        fingerprint=_fingerprint(upload, by),
        upload=secrets.token_hex(8),
        memory=memory_needed(header, upload.file.seek(0, os.SEEK_END), upload.options.format),
        payer=payer(by.owner, by.address),
    )
    if not is_chosen:
        return _make_job(state, id, upload, order, by)
    with _unless_in_flight(state, id):
        known = state.jobs.get(id)
        return _again(state, known, order) if known else _make_job(state, id, upload, order, by)


def _make_job(state: ApiState, id: str, upload: Upload, order: Order, by: Caller) -> Submitted:
    """Store the photo under a name of this upload's own, then make the job, unless another upload did so first."""
    charged = state.quota.charge(by.owner, by.address, order.pixels, order.upload)
    secret = state.jobs.secret_for(id)
    try:
        state.jobs.reserve(id, RESERVED)
        upload.file.seek(0)
        state.store.put(photo_key(id, order.upload), upload.file)
        entered = state.jobs.create(id, secret, order, state.bounds)
    except (Problem, redis.RedisError) as error:
        with suppress(redis.RedisError):
            state.quota.give_back(by.owner, by.address, order.pixels, order.upload)
        if isinstance(error, Problem) and error.code == "queue_full":
            _erase_upload(state, id, order)
        raise
    if entered is Entered.NOT:
        _erase_upload(state, id, order)
        state.quota.give_back(by.owner, by.address, order.pixels, order.upload)
        return _again(state, state.look(id), order)
    by.headers.update(charged)
    if entered is Entered.TO_NOTIFY:
        celery_app.notify(state.celery, id)
    log.info("job_queued", job=id, megapixels=order.pixels / 1e6)
    return Submitted(id, secret, new=True)


def _again(state: ApiState, job: Job, order: Order) -> Submitted:
    """An id that is not new: it must stand for the same."""
    if job.status == "expired":
        raise Problem("expired")
    _refuse_if_canceled(job)
    if job.fingerprint != order.fingerprint:
        raise Problem("id_conflict")
    return Submitted(job.id, state.jobs.secret_for(job.id), new=False)


def _erase_upload(state: ApiState, id: str, order: Order) -> None:
    """Erase the photo of an upload that became no job, and of no other."""
    with suppress(StoreUnavailable):  # then the eraser does it, when the id's time is up
        state.store.erase(upload_prefix(id, order.upload))


@contextmanager
def _unless_in_flight(state: ApiState, id: str) -> Iterator[None]:
    """Raises `in_flight` while another request with this id is stored, for ENTERING seconds at most."""
    with state.jobs.alone(f"entering:{id}", ENTERING) as mine:
        if not mine:
            raise Problem("in_flight")
        yield


def _fingerprint(upload: Upload, by: Caller) -> str:
    """Same photo, same options, same caller. Not the address: a retry may come from another network."""
    return hashlib.sha256(
        f"{upload.sha256}\n{upload.options.model_dump_json()}\n{by.owner}".encode()
    ).hexdigest()


async def _refuse_if_full(request: Request, state: ApiState, id: str | None) -> None:
    """Before the body is read: raises `queue_full` where there is room for no photo. One that is in the queue needs none."""
    length = request.headers.get("content-length", "")
    # Little is lost where the queue has filled while a small body came.
    is_small = length.isdecimal() and int(length) <= uploads.IN_MEMORY
    depth = state.queue.seen if is_small else None
    if depth is None:
        depth = await run_sync(state.queue.look)
    if depth.jobs < state.bounds.jobs and depth.pixels < state.bounds.pixels:
        return
    if id is None or await run_sync(state.jobs.get, id) is None:
        raise Problem("queue_full", retry_after=await run_sync(state.jobs.retry_after))


def _upload(request: Request, state: ApiState, by: Caller) -> AbstractAsyncContextManager[Upload]:
    if uploads.media_type(request) == uploads.JSON:
        by.require(Scope.URL)
        return uploads.by_url(request, state.settings)
    return uploads.receive(request, state.settings.max_bytes)


async def _answer(
    request: Request, state: ApiState, submitted: Submitted, wait: int | None, changed: Changed | None
) -> Response:
    """The job with its secret, when it has ended or the client will wait no longer; or its picture. Raises its failure."""
    job = await _when_ended(state, submitted, wait or 0, changed)
    headers = {"Location": state.url(job_path(job.id)), "Cache-Control": "no-store"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if job.status == "failed":
        raise _failure(job)
    is_wanted_now = job.status == "succeeded" and (wait is not None or not submitted.new)
    if (
        is_wanted_now
        and job.result
        and prefers_picture(request.headers.getlist("accept"), job.result.media_type)
    ):
        with suppress(StoreUnavailable):  # else the id and the secret would be lost: the document has them
            answer = await run_sync(_file_response, _result_of(job), job, request, state, None)
            answer.headers.update({**headers, "Content-Location": f"{headers['Location']}/result"})
            return answer
    view = CreatedJobView(**job_view(job, state.url("")).model_dump(), secret=submitted.secret)
    if is_wanted_now:
        return JSONResponse(view.model_dump(mode="json"), 200, headers)
    return JSONResponse(view.model_dump(mode="json"), 202, {**headers, "Retry-After": _retry_after(job)})


async def _when_ended(state: ApiState, submitted: Submitted, seconds: float, changed: Changed | None) -> Job:
    """The job when it has ended, or as it stands after `seconds`. `changed`: since before it was made. Raises `expired`."""
    give_up = time.monotonic() + seconds
    if changed is not None and submitted.new:
        await changed.wait(seconds)
    while True:
        job = await run_sync(state.find, submitted.id)
        left = give_up - time.monotonic()
        if changed is None or left <= 0 or job.status in ENDED or state.watches.closing:
            return job
        await changed.wait(left)


def preferred_wait(headers: Iterable[str]) -> int | None:
    """Seconds that a client would wait by its headers `Prefer` (RFC 7240), at most LONGEST_WAIT; None without the wish.

    The first `wait` counts, and what cannot be read is ignored, both as the RFC has it (section 2).
    """
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            is_number = seconds.isascii() and seconds.isdecimal() and len(seconds) < 10
            return min(int(seconds), LONGEST_WAIT) if is_number else None
    return None


def prefers_picture(headers: Iterable[str], media_type: str) -> bool:
    """Whether these headers `Accept` (RFC 9110, 12.5.1) would rather have the picture, of this type, than JSON."""
    ranges: dict[str, float] = {}
    for accepted in ",".join(headers).split(","):
        name, *parameters = (part.strip().lower() for part in accepted.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        ranges[name] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0

    def weight_of(kind: str) -> float:
        """By the range that says most of it."""
        return next((ranges[r] for r in (kind, kind.partition("/")[0] + "/*", "*/*") if r in ranges), 0.0)

    return weight_of(media_type) > weight_of("application/json")


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


@router.get(
    "/v1/colorizations/{id}",
    summary="How a job stands",
    operation_id="read_colorization",
    response_model=JobView,
    responses=documented(*_OF_A_JOB),
)
def read(id: str, state: State, response: Response) -> JobView:
    job = state.find(id)
    response.headers["Cache-Control"] = "no-store"
    if job.status not in ENDED:
        response.headers["Retry-After"] = _retry_after(job)
    return job_view(job, state.url(""))


def _retry_after(job: Job) -> str:
    """When to ask again: when it will probably be done, or soon where nobody knows."""
    seconds = 1 if job.status == "running" or job.eta_s is None else math.ceil(job.eta_s)
    return str(min(max(seconds, 1), LONGEST_RETRY_AFTER))


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
        **documented(*_OF_FILES),
    },
)
def result(
    id: str, request: Request, state: State, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    job = _finished(state, id)
    return _file_response(_result_of(job), job, request, state, if_none_match)


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
        **documented(*_OF_FILES),
    },
)
def artifact(
    id: str, name: str, request: Request, state: State, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    job = _finished(state, id)
    made = next((made for made in job.artifacts if made.name == name), None)
    if made is None:
        if job.status == "succeeded":
            raise Problem(
                "not_found", f"This job has no artifact {name[:40]!r}. Ask for it when you send the photo."
            )
        raise Problem("not_ready")
    # An attempt writes under a key of its own and only once, so that the key stands for the bytes.
    etag = f'"{hashlib.sha256(made.key.encode()).hexdigest()}"'
    file = File(made.key, etag, made.media_type, made.bytes, made.key.rpartition("/")[2])
    return _file_response(file, job, request, state, if_none_match)


def _finished(state: ApiState, id: str) -> Job:
    """A job that may have files. Raises what it ended with instead."""
    job = state.find(id)
    _refuse_if_canceled(job)
    if job.status == "failed":
        raise _failure(job)
    return job


def _result_of(job: Job) -> File:
    """Raises `not_ready`."""
    if job.result is None:
        raise Problem("not_ready")
    name = "colorized." + job.result.key.rpartition(".")[2]
    return File(job.result.key, f'"{job.result.sha256}"', job.result.media_type, job.result.bytes, name)


def _file_response(file: File, job: Job, request: Request, state: ApiState, known: str | None) -> Response:
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
        pieces = state.store.stream(file.key)
    except FileNotFoundError as gone:
        raise Problem("expired") from gone
    if file.bytes <= CHUNK:  # one piece: a stream would only take two turns of a thread more
        return Response(b"".join(pieces), headers=headers, media_type=file.media_type)
    return StreamingResponse(pieces, headers=headers, media_type=file.media_type)


def _matches(if_none_match: str, etag: str) -> bool:
    """The weak comparison of RFC 9110, 13.1.2."""
    seen = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag) for tag in seen)


@router.delete(
    "/v1/colorizations/{id}",
    summary="Erase a job, its photo and its result, whether it waits, runs or has ended",
    operation_id="erase_colorization",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented("secret_missing", "key_invalid", "secret_wrong", "store_unavailable", *_OF_A_JOB),
    },
)
def erase(id: str, state: State, by: AnyCaller) -> Response:
    job = state.find(id)
    by.require_ownership(job.owner, job.is_opened_by)
    state.jobs.cancel(id)  # what a crash leaves undone from here on is done by the janitor
    state.store.erase(id)
    state.jobs.erased(id)
    return Response(status_code=204)


def _refuse_if_canceled(job: Job) -> None:
    if job.status == "canceled":
        raise Problem("canceled")


def _failure(job: Job) -> Problem:
    """The problem that a failed job ended with."""
    return errors.failure(job.error_code, job.error_detail)
