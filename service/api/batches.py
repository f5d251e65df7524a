"""Batches: many photos sent at once, or one ZIP of them, each checked, stored and recorded before the next; results as one ZIP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Annotated, Any, Literal

import redis
from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from model.image_headers import Header
from service.api.middleware import declared_length
from service.api.problems import documented
from service.api.state import ApiState, State, is_id
from service.api.uploads import (
    JSON,
    MOST_FIELDS,
    Part,
    charged,
    check_length,
    closing,
    cut_off,
    digest,
    form,
    header_of,
    media_type,
    spool,
    write_body,
)
from service.archives import Bounds, unpack
from service.auth import AnyCaller, Caller, Scope, caller_with
from service.batches import SLICE, Batch, File, Files, Standing
from service.budgets import memory, payer, weight, work
from service.errors import Problem, StoreUnavailable, failure
from service.jobs import new_id
from service.models import ENDED, Space
from service.observability import get_logger
from service.schemas import (
    BatchView,
    CreatedBatchView,
    ErrorView,
    FileView,
    Options,
    batch_path,
    job_path,
    parse_options,
    utc,
)
from service.storage import cancel, photo_key

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-zip")
MOST_IN_NAME, MOST_IN_DETAIL = 400, 400
"""Bytes that are kept of a name, and of what is the matter with a file."""
PAGE = 1000
ASK_AGAIN = "5"
"""Seconds: `Retry-After` of a batch that is worked on."""
log = get_logger("autochrome.api")

router = APIRouter()

OF_A_BATCH = ("not_found", "expired", "queue_unavailable", "internal_error")
_OF_UPLOADS = (
    *("body_too_large", "batch_too_large", "archive_invalid", "upload_timeout", "unsupported_media_type"),
    *("form_invalid", "photo_missing", "option_unknown", "option_invalid"),
    *("key_missing", "key_invalid", "scope_missing", "webhook_disabled", "url_not_allowed"),
    *("cross_site", "too_many_at_once", "uploads_busy", "rate_limited", "storage_limited"),
    *("canceled", "expired", "queue_full", "store_full", "store_unavailable"),
    *("queue_unavailable", "internal_error"),
)

Sending = Annotated[Caller, Depends(caller_with(Scope.BATCH))]
Resuming = Annotated[Caller, Depends(caller_with(Scope.BATCH, secrets=True))]


@router.post(
    "/v1/batches",
    summary="Color many photos",
    operation_id="create_batch",
    status_code=202,
    response_model=CreatedBatchView,
    responses=documented(*_OF_UPLOADS),
)
async def create(request: Request, state: State, by: Sending) -> Response:
    return await run_sync(_created, state, await receive_new(request, state, by), by)


@router.put(
    "/v1/batches/{id}",
    summary="Color many photos under an id of your own; go on with an upload that was broken off",
    operation_id="put_batch",
    status_code=202,
    response_model=CreatedBatchView,
    responses=documented(*_OF_UPLOADS, "id_invalid", "id_conflict", "secret_missing", "secret_wrong"),
)
async def put(
    id: Annotated[str, Path(description="32 lowercase hexadecimal digits: 128 random bits")],
    request: Request,
    state: State,
    by: Resuming,
    more: Annotated[
        bool, Query(description="More is to come by further requests: the batch stays `receiving`")
    ] = False,
) -> Response:
    if not is_id(id):
        raise Problem("id_invalid")
    await receive(request, state, id, by, more)
    return await run_sync(_created, state, id, by)


@router.get(
    "/v1/batches/{id}",
    summary="How a batch stands",
    operation_id="read_batch",
    response_model=BatchView,
    responses=documented(*OF_A_BATCH, "option_invalid"),
)
def read(
    id: str,
    state: State,
    cursor: Annotated[str, Query(pattern=r"^[0-9]{1,6}$", description="`next` of the page before")] = "0",
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Files on one page")] = PAGE,
) -> Response:
    batch = find(state, id)
    listing = listing_of(state, batch, int(cursor), limit)
    headers = {"Cache-Control": "no-store"}
    if listing.status in ("receiving", "running"):
        headers["Retry-After"] = ASK_AGAIN
    return StreamingResponse(listing.pieces(), headers=headers, media_type=JSON)


@router.delete(
    "/v1/batches/{id}",
    summary="Erase a batch, all its photos and results",
    operation_id="erase_batch",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented(
            "secret_missing", "key_invalid", "secret_wrong", "cross_site", "store_unavailable", *OF_A_BATCH
        ),
    },
)
def erase(id: str, state: State, by: AnyCaller) -> Response:
    batch = find(state, id)
    by.require_ownership(batch.owner, batch.is_opened_by)
    erase_batch(state, id)
    log.info("batch_erased", batch=id)
    return Response(status_code=204)


async def receive_new(request: Request, state: ApiState, by: Caller) -> str:
    """Take a batch in under an id of its own, which is returned. Raises as `receive`, and then nothing of it is left."""
    id = new_id()
    try:
        await receive(request, state, id, by)
    except BaseException:  # nobody will ever know the id, not even where this server is told to stop
        with CancelScope(shield=True):
            await run_sync(_forget, state, id)
        raise
    return id


async def receive(request: Request, state: ApiState, id: str, by: Caller, more: bool = False) -> None:
    """Read the body, photo by photo. `more`: it is not the last. Raises any of _OF_UPLOADS, or `id_conflict`."""
    length = declared_length(request.headers)
    if length and not await run_sync(state.has_room, await state.queue.look_now(), length):
        raise Problem("store_full")
    kind = media_type(request)
    if kind == "multipart/form-data":
        upload = await _receive_form(request, state, id, by)
    elif kind in ZIP_TYPES:
        upload = await run_sync(BatchUpload, state, id, parse_options(_asked(request)), by)
        caller = payer(by.owner, by.address)
        async with charged(request, state.spool, caller) as body, spool() as file:
            await write_body(body, file.write)
            await run_sync(upload.archive, file)
    elif kind == "":
        raise Problem("photo_missing")
    else:
        raise Problem(
            "unsupported_media_type",
            "Send multipart/form-data with file fields `photo`, or one ZIP as `archive`, or as an application/zip body.",
        )
    if not upload.seen:
        raise Problem("photo_missing", "There is no file in the ZIP.")
    if not more:
        await run_sync(upload.end)


def _asked(request: Request) -> list[tuple[str, str]]:
    """The options in the query."""
    return [pair for pair in request.query_params.multi_items() if pair[0] != "more"]


async def _receive_form(request: Request, state: ApiState, id: str, by: Caller) -> BatchUpload:
    settings = state.settings
    pairs = _asked(request)
    upload: BatchUpload | None = None

    def most(part: Part) -> int:
        return settings.batch_bytes if part.name == "archive" else settings.max_bytes

    with state.spool.take(payer(by.owner, by.address), 0) as share:
        async with form(request, most, settings.batch_files + MOST_FIELDS, share.hold) as sent:
            async for part in sent:
                async with closing(part.file):
                    if part.filename is not None:
                        if part.filename == "" and part.size == 0:  # how browsers say that nothing was chosen
                            continue
                        if upload is None:
                            upload = await run_sync(BatchUpload, state, id, parse_options(pairs), by)
                        await run_sync(upload.part, part)
                    elif upload is None:
                        pairs.append((part.name, part.text()))
                    else:  # the photos before would have been entered without it
                        raise Problem(
                            "form_invalid",
                            f"The field {part.name[:40]!r} comes after a photo. Options come first.",
                        )
    if upload is None:
        raise Problem(
            "photo_missing", "Attach photos as files in form fields `photo`, or a ZIP of them as `archive`."
        )
    return upload


def _created(state: ApiState, id: str, by: Caller) -> Response:
    """To who made it, or has shown to be that one: with the secret."""
    batch = find(state, id)
    listing = listing_of(state, batch, 0, PAGE, {"secret": by.secret or state.batches.secret_again(batch)})
    headers = {
        "Location": state.url(batch_path(id)),
        "Retry-After": ASK_AGAIN,
        "Cache-Control": "no-store",
    }
    return StreamingResponse(listing.pieces(), 202, headers, JSON)


def find(state: ApiState, id: str) -> Batch:
    """Raises `not_found` or `expired`."""
    batch = state.batches.get(id) if is_id(id) else None
    if batch is None:
        raise Problem("not_found")
    if batch.status == "expired":
        raise Problem("expired")
    return batch


def erase_batch(state: ApiState, id: str) -> None:
    """Leave nothing but an erased record. Raises `store_unavailable` or redis.RedisError; then the scheduler ends it."""
    cancel(lambda: state.batches.cancel(id), lambda: state.scheduler.erase_files(id))
    state.scheduler.erase(id)


def _forget(state: ApiState, id: str) -> None:
    """Erase a batch whose sender has no answer, as far as that can be done now."""
    with suppress(StoreUnavailable, redis.RedisError):
        erase_batch(state, id)


def status_of(batch: Batch, files: Files) -> Literal["receiving", "running", "ended", "canceled"]:
    """Of the whole."""
    if batch.status == "receiving" or batch.status == "canceled":
        return batch.status
    return "ended" if ENDED.issuperset(files.counts) else "running"


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a batch, as it is written: no more than a few files are in memory at a time, however many are asked for."""

    status: str
    pieces: Callable[[], Iterator[str]]


def listing_of(
    state: ApiState, batch: Batch, start: int, limit: int, more: Mapping[str, Any] | None = None
) -> Listing:
    """`more`: what the answer has besides."""
    some = Files({}, [])
    if batch.status != "canceled":
        some = state.batches.files(batch.id, start, min(limit, SLICE))
    root, end = state.url(""), min(start + limit, some.total)
    status = status_of(batch, some)
    view = BatchView(
        id=batch.id,
        status=status,
        created_at=utc(batch.created),
        expires_at=utc(batch.expires),
        options=batch.options.model_copy(update={"webhook": None}),  # its address may hold a secret
        counts=dict(sorted(some.counts.items())),
        result_url=f"{root}{batch_path(batch.id)}/result",
        files=[],
        next=str(end) if end < some.total else None,
    )
    whole = CreatedBatchView(**view.model_dump(), **more) if more else view
    before, after = whole.model_dump_json().split('"files":[]')

    def pieces() -> Iterator[str]:
        files, place, comma = some.files, start, ""
        yield f'{before}"files":['
        while files:
            yield comma + ",".join(_file_view(file, root).model_dump_json() for file in files)
            place, comma = place + len(files), ","
            files = (
                state.batches.files(batch.id, place, min(end - place, SLICE), count=False).files
                if place < end
                else []
            )
        yield f"]{after}"

    return Listing(status, pieces)


def _file_view(file: Standing, root: str) -> FileView:
    error: dict[str, Any] = {"code": file.code, "detail": file.detail or ""}
    return FileView(
        name=file.name,
        job=file.job,
        status=file.status,
        url=f"{root}{job_path(file.job)}" if file.job else None,
        thumbnail=f"{root}{job_path(file.job or '')}/artifacts/thumbnail" if file.has_thumbnail else None,
        error=ErrorView(**error, title=failure(file.code, None).kind.title) if file.code else None,
    )


class BatchUpload:
    """One upload into one batch, new or begun before: its photos are checked, stored and recorded one by one."""

    def __init__(self, state: ApiState, id: str, options: Options, by: Caller) -> None:
        """Raises what `ApiState.keep_for` and `Batches.open` do."""
        if "priority" not in options.model_fields_set:
            options = options.model_copy(update={"priority": "batch"})
        keep_for = state.keep_for(options, by)
        self._state = state
        self._id = id
        self._owner = by.owner
        self._address = by.address
        self._allowance = state.quota.allowance(by.owner, by.address)
        self._keep_for = keep_for
        self._options = options
        self._page = options.page
        mark = hashlib.sha256(f"{options.model_dump_json()}\n{by.owner}".encode()).hexdigest()
        self._state.batches.open(
            *(id, keep_for, mark, by.owner, by.address, by.request_id, options),
            *(by.secret, self._allowance.records),
        )
        self.seen = 0
        """Files in this upload, those that were there before included."""

    def part(self, part: Part) -> None:
        """Take in a file of a form. Raises `photo_missing`, and what `photo` and `archive` do."""
        match part.name:
            case "photo":
                self.photo(part.filename or "photo", part.file, part.size)
            case "archive":
                self.archive(part.file)
            case other:
                raise Problem(
                    "photo_missing",
                    f"A file is in the field {other[:40]!r}. It belongs in `photo` or `archive`.",
                )

    def photo(self, name: str, file: IO[bytes], size: int) -> None:
        """Take in one file of `size` bytes, of which no more than max_bytes need be there.

        Raises `batch_too_large`, `id_conflict`, `canceled`, `rate_limited`, `storage_limited`, `store_full`,
        `store_unavailable` or redis.RedisError.
        """
        most = self._state.settings.max_bytes
        content = digest(file) if size <= most else f"{size} bytes"
        try:
            check_length(size, most)
            header = header_of(file, self._state.settings, self._page)
            cut_off(file, header)
        except Problem as problem:
            self._refuse(name, content, problem)
        else:
            self._keep(name, content, file, header, size)

    def archive(self, file: IO[bytes]) -> None:
        """Take in each file of a ZIP. Raises `archive_invalid`, `batch_too_large`, `too_many_at_once`, `uploads_busy`, and what
        `photo` does."""
        settings = self._state.settings
        bounds = Bounds(settings.batch_files, settings.batch_bytes, settings.max_bytes)
        caller = payer(self._owner, self._address)

        def admit(size: int) -> None:
            self._state.jobs.demand_room(Space(size, size, settings.store_bytes, allowance=self._allowance))
            in_hand.hold(size)

        # As another sender's: beside a ZIP that is more than its sender's share of the spool, no photo of it would have room.
        unpacked = self._state.spool.take(f"{caller} unpacked", 0)
        with self._state.archives.take(caller, 1), unpacked as in_hand:
            for name, found in unpack(file, bounds, admit):
                if isinstance(found, Problem):
                    self._refuse(name, found.code, found)
                else:
                    self.photo(name, found, found.seek(0, 2))

    def end(self) -> None:
        """All of it has come. Raises `canceled` or `queue_unavailable`."""
        self._state.batches.close(self._id)
        self._confirm()
        log.info("batch_received", batch=self._id, files=self.seen)

    def _keep(self, name: str, content: str, file: IO[bytes], header: Header, size: int) -> None:
        self.seen += 1
        mark = _mark(name, content)
        if self._state.batches.knows(self._id, mark):
            self._confirm()
            return
        job = self._state.batches.job_for(self._id, self._owner, mark)
        # Until it stands in the batch, nothing else knows of the file: it is erased when the batch would be.
        pixels, space = work(header, self._options), Space()
        try:
            with self._state.room_for(
                job, self._keep_for, file, header, self._options, self._allowance
            ) as space:
                self._state.store.put(photo_key(job), file)
            counts = weight(pixels, space.photo)
            self._state.batches.add(
                *(self._id, mark, File(_cut(name, MOST_IN_NAME), job), pixels, counts),
                *(self._allowance.records, memory(header, size, self._options)),
            )
        except Problem as problem:
            with suppress(StoreUnavailable):  # it is erased when the batch would be
                self._state.store.erase(job)
                self._state.jobs.unreserve(job, space, isinstance(problem, StoreUnavailable))
                self._state.jobs.erased(job)
            raise
        self._state.scheduler.schedule()
        self._confirm()

    def _refuse(self, name: str, content: str, problem: Problem) -> None:
        """Write a file down as failed. It costs as much as the smallest photo, and its sender's allowance of records."""
        self.seen += 1
        mark = _mark(name, content)
        if self._state.batches.knows(self._id, mark):
            self._confirm()
            return
        self._state.quota.charge(self._owner, self._address, 0, _mark(self._id, mark)[:16])
        detail = _cut(problem.detail, MOST_IN_DETAIL)
        file = File(_cut(name, MOST_IN_NAME), code=problem.code, detail=detail)
        self._state.batches.add(self._id, mark, file, most_records=self._allowance.records)
        self._confirm()

    def _confirm(self) -> None:
        """After each file: a failover in the middle would lose some, and keep what comes after it."""
        self._state.confirm(f"batch:{self._id}")


def _cut(text: str, most: int) -> str:
    """As much of it as `most` bytes of UTF-8 hold."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _mark(name: str, content: str) -> str:
    """What a file is known by: the same picture under two names is wanted twice."""
    return hashlib.sha256(f"{content}\n{name}".encode(errors="replace")).hexdigest()
