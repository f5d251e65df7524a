"""Colorizations: a photo comes in by POST or PUT and becomes a job; the job as it stands, its end."""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Annotated, Any, NamedTuple

import redis
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.responses import JSONResponse

from model.image_headers import Header as ImageHeader
from service import celery_app, errors
from service.api import presigned, revisions, uploads
from service.api.middleware import declared_length
from service.api.problems import documented
from service.api.results import BYTES, file_response, prefers, result_of
from service.api.state import ApiState, State, is_id
from service.api.uploads import Upload, cut_off, header_of
from service.auth import AnyCaller, Caller, Scope, caller_with
from service.budgets import memory, network, payer, weight, work
from service.errors import Problem, StoreUnavailable
from service.events import Changed
from service.jobs import new_id
from service.models import ENDED, LONGEST_RETRY_AFTER, Entered, Job, Order, Space
from service.observability import get_logger
from service.schemas import CreatedJobView, JobView, job_path, job_view
from service.storage import erase_job, photo_key, upload_prefix

RESERVED = 3600.0
"""Seconds after which the file of an upload that never became a job is erased."""
ENTERING = 10.0
"""Seconds for which a second request with an id of the client's choosing is refused while the first is stored, or after a process died
over it. This only spares work: storing may take longer, and `Jobs.create` decides which one the job is made from."""
FETCH_PIXELS = 1_000_000
"""What a photo by URL is charged before it is fetched, and keeps being charged whatever comes of it: beside its own pixels."""
LONGEST_WAIT = 60
"""Seconds that `Prefer: wait=N` may ask for."""
SECRET_HEADER = "Autochrome-Secret"
"""Where an answer that is a picture tells the job's secret."""
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
log = get_logger("autochrome.api")

router = APIRouter()

_AT_ANY_TIME = ("queue_unavailable", "internal_error")
_OF_A_JOB = ("not_found", "expired", *_AT_ANY_TIME)
_OF_UPLOADS = (
    *("body_too_large", "upload_timeout", "unsupported_media_type", "form_invalid", "json_invalid"),
    *("url_disabled", "url_not_allowed", "url_failed", "fetches_busy", "photo_missing"),
    *("presign_disabled", "upload_unknown", "upload_mismatch", "not_found", "secret_missing", "secret_wrong"),
    *errors.PHOTO_CODES,
    *("option_unknown", "option_invalid", "webhook_disabled"),
    *("key_missing", "key_invalid", "scope_missing", "rate_limited", "storage_limited", "cross_site"),
    *("uploads_busy", "too_many_at_once"),
    *("in_flight", "canceled", "expired", "queue_full", "store_full", "store_unavailable"),
    *(*errors.OUR_CODES, *_AT_ANY_TIME),
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": CreatedJobView,
        "content": {"image/*": BYTES},
        "description": "It is colored already, or was within `Prefer: wait=N`: the job, or by `Accept: image/*` the picture",
    },
    202: {"model": CreatedJobView, "description": "Accepted: ask at `Location` until it has ended"},
}

Colorizing = Annotated[Caller, Depends(caller_with(Scope.COLORIZE))]
Putting = Annotated[Caller, Depends(caller_with(Scope.COLORIZE, secrets=True))]


class Submitted(NamedTuple):
    """A photo that is in the queue, or was before."""

    id: str
    secret: str | None
    """None: its sender has not shown to be who made it."""
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
        return await _color(request, state, by, id, is_proven=True)
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
    by: Putting,
) -> Response:
    if not is_id(id):
        raise Problem("id_invalid")
    return await _color(request, state, by, id)


async def _color(
    request: Request, state: ApiState, by: Caller, id: str | None, is_proven: bool = False
) -> Response:
    """Take the photo in, and answer when it is colored or the client will wait no longer. `id`, `is_proven`: see `submit`."""
    job = id or new_id()
    wait = preferred_wait(request.headers.getlist("prefer"))
    # Watched before it is made, so that it need not be looked at before its end.
    async with _watched(state, job, wait) as changed:
        submitted = await take_in(request, state, by, job, id is not None, is_proven)
        return await _answer(request, state, submitted, wait, changed)


async def take_in(
    request: Request,
    state: ApiState,
    by: Caller,
    id: str,
    is_chosen: bool = False,
    is_proven: bool = False,
) -> Submitted:
    """Read a request's photo, where there is room for it, and make its job. `id`, `is_chosen`, `is_proven`, errors: see `submit`;
    also raises what reading the body does."""
    await _refuse_if_full(state, id if is_chosen else None, declared_length(request.headers))
    async with await _upload(request, state, by) as upload:
        return await run_sync(submit, state, upload, by, id, is_chosen, is_proven)


@asynccontextmanager
async def _watched(state: ApiState, id: str, wait: int | None) -> AsyncIterator[Changed | None]:
    """None where nobody waits."""
    if not wait:
        yield None
        return
    async with state.watches.on(id, only_end=True) as changed:
        yield changed


def submit(
    state: ApiState, upload: Upload, by: Caller, id: str, is_chosen: bool, is_proven: bool = False
) -> Submitted:
    """Check a photo, store it, make its job and notify the workers.

    `id`: 32 hexadecimal digits; `is_chosen`: of the client's choosing, so that the same photo with the same options by the same caller
    becomes one job under it. `is_proven`: only who made the job can know what led to this id, so that it is told the secret again.
    Raises `scope_missing`, `webhook_disabled`, `url_not_allowed`, one of PHOTO_CODES, `option_invalid`, `id_conflict`, `secret_wrong`,
    `in_flight`, `canceled`, `expired`, `rate_limited`, `queue_full`, `store_full`, `storage_limited`, `store_unavailable`,
    `queue_unavailable` or redis.RedisError.
    """
    submitted = _submit(state, upload, by, id, is_chosen, is_proven)
    state.confirm(f"job:{id}")
    return submitted


def _submit(
    state: ApiState, upload: Upload, by: Caller, id: str, is_chosen: bool, is_proven: bool
) -> Submitted:
    if not is_chosen:
        return _make_job(state, id, upload, by, is_proven)
    with _unless_in_flight(state, id):
        known = state.jobs.get(id)
        if known:
            return _again(state, known, _fingerprint(upload, by), by, is_proven)
        return _make_job(state, id, upload, by, is_proven)


def _order(state: ApiState, upload: Upload, by: Caller) -> tuple[ImageHeader, Order]:
    """Check a photo and what is wished for it. Raises as `submit` does."""
    keep_for = state.keep_for(upload.options, by)
    upload.file.seek(0)  # finds one that lies in the store already, where there is one
    header = header_of(upload.file, state.settings, upload.options.page)
    if not upload.key:
        cut_off(upload.file, header)
    original = upload.original
    return header, Order(
        options=upload.options,
        pixels=work(header, upload.options, is_revision=original is not None),
        keep_for=keep_for,
        batch=upload.options.priority == "batch",
        owner=by.owner,
        request_id=by.request_id,
        fingerprint=_fingerprint(upload, by),
        upload=original.upload if original else secrets.token_hex(8),
        revises=original.id if original else "",
        memory=memory(header, upload.file.seek(0, os.SEEK_END), upload.options),
        allowance=state.quota.allowance(by.owner, by.address),
    )


def _make_job(state: ApiState, id: str, upload: Upload, by: Caller, is_proven: bool) -> Submitted:
    """Store the photo under a name of this upload's own, then make the job, unless another upload did so first."""
    header, order = _order(state, upload, by)
    is_there, charge = upload.original is not None, secrets.token_hex(8)
    counts = order.pixels if is_there else weight(order.pixels, upload.file.seek(0, os.SEEK_END))
    charged = state.quota.charge(by.owner, by.address, counts, charge)
    secret = by.secret or state.jobs.secret_for(id)
    space = Space()
    try:
        room = state.room_for(
            id, RESERVED, upload.file, header, order.options, order.allowance, is_there=is_there
        )
        with room as space:
            if not is_there:
                _store(state, upload, photo_key(id, order.upload))
        entered = state.jobs.create(id, secret, order, state.bounds)
    except (Problem, redis.RedisError) as error:
        with suppress(redis.RedisError):
            state.quota.give_back(by.owner, by.address, counts, charge)
        if isinstance(error, Problem):
            _erase_upload(state, id, order, space, isinstance(error, StoreUnavailable))
        raise
    if entered is Entered.TAKEN:
        _erase_upload(state, id, order, space)
        state.quota.give_back(by.owner, by.address, counts, charge)
        return _again(state, state.look(id), order.fingerprint, by, is_proven)
    by.headers.update(charged)
    if entered is Entered.TO_NOTIFY:
        celery_app.notify(state.celery, id)
    log.info("job_queued", job=id, megapixels=order.pixels / 1e6)
    return Submitted(id, secret, new=True)


def _store(state: ApiState, upload: Upload, key: str) -> None:
    if upload.key:
        try:
            state.store.copy(upload.key, key)
        except FileNotFoundError as gone:  # its time was up just now
            raise Problem("upload_unknown") from gone
        return
    upload.file.seek(0)
    state.store.put(key, upload.file)


def _again(state: ApiState, job: Job, fingerprint: str, by: Caller, is_proven: bool) -> Submitted:
    """An id that is not new: it must stand for the same. To know id and photo, which may both be public, proves nothing."""
    if job.status == "expired":
        raise Problem("expired")
    if job.status == "canceled":
        raise Problem("canceled")
    if job.fingerprint != fingerprint:
        raise Problem("id_conflict")
    if by.secret and not job.is_opened_by(by.secret):
        raise Problem("secret_wrong")
    is_maker = is_proven or (by.owner != "" and by.owner == job.owner)
    known = state.jobs.secret_again(job.id, job.is_opened_by) if is_maker else None
    return Submitted(job.id, by.secret or known, new=False)


def _erase_upload(state: ApiState, id: str, order: Order, space: Space, may_be_written: bool = False) -> None:
    """Erase the photo of an upload that became no job, and of no other."""
    with suppress(StoreUnavailable, redis.RedisError):  # then the eraser does it, when the id's time is up
        state.store.erase(upload_prefix(id, order.upload))
        state.jobs.unreserve(id, space, may_be_written)


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


async def _refuse_if_full(state: ApiState, id: str | None, size: int) -> None:
    """Before a body of `size` bytes is read: raises `store_full` or `queue_full` where there is no room. A photo that is in the queue
    needs none."""
    # Little is lost where the queue has filled while a small body came.
    depth = (state.queue.seen if 0 < size <= uploads.IN_MEMORY else None) or await state.queue.look_now()
    if not (has_room := await run_sync(state.has_room, depth, size)):
        depth = await state.queue.look_now()  # something may have been erased since
        has_room = await run_sync(state.has_room, depth, size)
    has_memory = not state.queue.is_full
    if has_memory and has_room and depth.jobs < state.bounds.jobs and depth.pixels < state.bounds.pixels:
        return
    if id is not None and await run_sync(state.jobs.get, id) is not None:
        return
    if not has_memory:
        raise Problem("store_full", what=errors.QUEUE_MEMORY_FULL)
    if not has_room:
        raise Problem("store_full")
    raise Problem("queue_full", retry_after=depth.retry_after)


async def _upload(request: Request, state: ApiState, by: Caller) -> AbstractAsyncContextManager[Upload]:
    """The photo of a request: its body, a file in it, or what its JSON names."""
    caller = payer(by.owner, by.address)
    if uploads.media_type(request) != uploads.JSON:
        return uploads.receive(request, state.settings.max_bytes, state.spool, caller)
    wish = await uploads.json_object(request)
    if "revise" in wish:
        return revisions.named(wish, state, by)
    if "upload" in wish:
        return presigned.named(wish, state, by)
    by.require(Scope.URL)
    pay = partial(state.quota.charge, by.owner, by.address, FETCH_PIXELS, secrets.token_hex(8))
    return uploads.by_url(wish, state.settings, state.spool, state.fetches, caller, pay)


async def _answer(
    request: Request, state: ApiState, submitted: Submitted, wait: int | None, changed: Changed | None
) -> Response:
    """The job with its secret, when it has ended or the client will wait no longer; or its picture. Raises its failure.

    Who made a job and does not wait gets the job, however soon it ended: what the answer is depends on no race with the worker.
    """
    job = await _when_ended(state, submitted, wait or 0, changed)
    is_end_wanted = wait is not None or not submitted.new
    headers = {"Location": state.url(job_path(job.id)), "Cache-Control": "no-store"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if job.status == "failed" and is_end_wanted:
        told = {"secret": submitted.secret} if submitted.secret else {}
        raise errors.failure(
            job.error_code, job.error_detail, headers=headers, members={"id": job.id, **told}
        )
    is_wanted_now = job.status == "succeeded" and is_end_wanted
    if (
        is_wanted_now
        and job.result
        and prefers(request.headers.getlist("accept"), job.result.media_type, uploads.JSON)
    ):
        with suppress(StoreUnavailable):  # else the id and the secret would be lost: the document has them
            answer = await run_sync(file_response, result_of(job), job, request, state, None, False)
            answer.headers.update({**headers, "Content-Location": f"{headers['Location']}/result"})
            if submitted.secret:
                answer.headers[SECRET_HEADER] = submitted.secret
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


@router.delete(
    "/v1/colorizations/{id}",
    summary="Erase a job, its photo and its result, whether it waits, runs or has ended",
    operation_id="erase_colorization",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented(
            "secret_missing", "key_invalid", "secret_wrong", "cross_site", "store_unavailable", *_OF_A_JOB
        ),
    },
)
def erase(id: str, state: State, by: AnyCaller) -> Response:
    job = state.find(id)
    by.require_ownership(job.owner, state.opens(job))
    erase_job(state.jobs, state.store, id)  # what a crash leaves undone is done by the janitor
    log.info("job_erased", job=id)
    return Response(status_code=204)
