"""The addresses of batches: many photos sent at once, or one ZIP of them; their results as one ZIP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Annotated, cast

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from service.api.batch_views import status_of, view_of
from service.api.desk import is_id
from service.api.intake import Batching, Intake
from service.api.limits import PHOTO_POLICY, is_head
from service.api.parts import Part, parts
from service.api.problems import documented
from service.api.uploads import IN_MEMORY, media_type, spool, write_body
from service.archives import Names, pack
from service.auth import AnyCaller, Caller, Scope, caller_with
from service.batches import Batch, Standing
from service.errors import Problem
from service.jobs import new_id
from service.schemas import BatchView, CreatedBatchView, batch_path, parse_options

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-zip")
MOST_FIELDS = 32
PAGE = 1000
RETRY_AFTER = "5"

router = APIRouter()

_AT_ANY_TIME: tuple[str, ...] = ("queue_unavailable", "internal_error")
_OF_A_BATCH: tuple[str, ...] = ("not_found", "expired", *_AT_ANY_TIME)
_REFUSALS: tuple[str, ...] = (
    *("body_too_large", "batch_too_large", "archive_invalid", "upload_timeout"),
    *(
        "unsupported_media_type",
        "form_invalid",
        "photo_missing",
        "option_unknown",
        "option_invalid",
    ),
    *(
        "key_missing",
        "key_invalid",
        "scope_missing",
        "webhook_disabled",
        "url_not_allowed",
    ),
    *("canceled", "expired", "queue_full", "store_unavailable", *_AT_ANY_TIME),
)


def _batching(request: Request) -> Batching:
    return cast(Batching, request.app.state.batching)


AtBatches = Annotated[Batching, Depends(_batching)]
Sending = Annotated[Caller, Depends(caller_with(Scope.BATCH))]
Resuming = Annotated[Caller, Depends(caller_with(Scope.BATCH, secrets=True))]


@router.post(
    "/v1/batches",
    summary="Color many photos",
    operation_id="create_batch",
    status_code=202,
    response_model=CreatedBatchView,
    responses=documented(*_REFUSALS),
)
async def create(request: Request, batching: AtBatches, by: Sending) -> Response:
    id = new_id()
    try:
        await _receive(request, batching, id, by)
    except BaseException:  # nobody will ever know the id, not even where this server is told to stop
        with CancelScope(shield=True):
            await run_sync(batching.forget, id)
        raise
    return await run_sync(_created, batching, id, by)


@router.put(
    "/v1/batches/{id}",
    summary="Color many photos under an id of your own; go on with an upload that was broken off",
    operation_id="put_batch",
    status_code=202,
    response_model=CreatedBatchView,
    responses=documented(*_REFUSALS, "id_invalid", "id_conflict", "secret_missing", "secret_wrong"),
)
async def put(
    id: Annotated[str, Path(description="32 lowercase hexadecimal digits: 128 random bits")],
    request: Request,
    batching: AtBatches,
    by: Resuming,
) -> Response:
    if not is_id(id):
        raise Problem("id_invalid")
    await _receive(request, batching, id, by)
    return await run_sync(_created, batching, id, by)


@router.get(
    "/v1/batches/{id}",
    summary="How a batch stands",
    operation_id="read_batch",
    response_model=BatchView,
    responses=documented(*_OF_A_BATCH, "option_invalid"),
)
def read(
    id: str,
    batching: AtBatches,
    response: Response,
    cursor: Annotated[str, Query(pattern=r"^[0-9]{1,6}$", description="`next` of the page before")] = "0",
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Files on one page")] = PAGE,
) -> BatchView:
    view = view_of(batching, _find(batching, id), int(cursor), limit)
    response.headers["Cache-Control"] = "no-store"
    if view.status in ("receiving", "running"):
        response.headers["Retry-After"] = RETRY_AFTER
    return view


@router.get(
    "/v1/batches/{id}/result",
    summary="The colored photos as a ZIP, under the names that were sent, made safe",
    operation_id="read_batch_result",
    response_class=Response,
    responses={
        200: {
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            "description": "Written as it is sent; not compressed",
        },
        **documented(*("not_ready", "canceled", "option_invalid", "store_unavailable"), *_OF_A_BATCH),
    },
)
def result(
    id: str,
    request: Request,
    batching: AtBatches,
    partial: Annotated[bool, Query(description="Whatever is ready, without waiting for the end")] = False,
) -> Response:
    batch = _find(batching, id)
    if batch.status == "canceled":
        raise Problem("canceled")
    files = batching.batches.files(id)
    if not partial and status_of(batch, files) != "ended":
        raise Problem("not_ready", "The batch has not ended. Ask again later, or for `?partial=true`.")
    headers = {
        "Content-Disposition": 'attachment; filename="colorized.zip"',
        "Content-Security-Policy": PHOTO_POLICY,
        "Cache-Control": "no-store",
    }
    if is_head(request):
        return Response(headers=headers, media_type=ZIP_TYPES[0])
    return StreamingResponse(pack(_results(batching, files)), headers=headers, media_type=ZIP_TYPES[0])


@router.delete(
    "/v1/batches/{id}",
    summary="Erase a batch, all its photos and results",
    operation_id="erase_batch",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented("secret_missing", "secret_wrong", *_OF_A_BATCH, "store_unavailable"),
    },
)
def erase(
    id: str,
    batching: AtBatches,
    by: AnyCaller,
    authorization: Annotated[
        str | None, Header(description="`Bearer` and the batch's secret, or the API key that made the batch")
    ] = None,
) -> Response:
    batch = _find(batching, id)
    if not by.owner or by.owner != batch.owner:
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Problem(
                "secret_missing",
                "Send the secret that came with the answer: `Authorization: Bearer <secret>`.",
            )
        if not batch.is_opened_by(secret.strip()):
            raise Problem("secret_wrong")
    batching.erase(id)
    return Response(status_code=204)


async def _receive(request: Request, batching: Batching, id: str, by: Caller) -> None:
    """Read the body, photo by photo. Raises any of _REFUSALS, or `id_conflict`."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        await _receive_form(request, batching, id, by)
    elif kind in ZIP_TYPES:
        intake = await run_sync(Intake, batching, id, parse_options(request.query_params.multi_items()), by)
        async with spool(IN_MEMORY) as file:
            await write_body(request, file.write)
            await run_sync(intake.archive, file)
        await _end(intake)
    elif kind == "":
        raise Problem("photo_missing")
    else:
        raise Problem(
            "unsupported_media_type",
            "Send multipart/form-data with file fields `photo`, or one ZIP as `archive`, or as an application/zip body.",
        )


async def _receive_form(request: Request, batching: Batching, id: str, by: Caller) -> None:
    settings = batching.desk.settings
    pairs = request.query_params.multi_items()
    intake: Intake | None = None

    def most(part: Part) -> int:
        return settings.batch_bytes if part.name == "archive" else settings.max_bytes

    async with aclosing(parts(request, most)) as form:
        async for part in form:
            if part.filename is None:
                if intake is not None:  # the photos before would have been entered without it
                    raise Problem(
                        "form_invalid",
                        f"The field {part.name[:40]!r} comes after a photo. Options come first.",
                    )
                pairs.append((part.name, part.text()))
                if len(pairs) > MOST_FIELDS:
                    raise Problem("form_invalid", f"{MOST_FIELDS} fields are the most.")
                continue
            if part.filename == "" and part.size == 0:  # how browsers say that nothing was chosen
                continue
            if intake is None:
                intake = await run_sync(Intake, batching, id, parse_options(pairs), by)
            match part.name:
                case "photo":
                    await run_sync(intake.photo, part.filename or "photo", part.file, part.size)
                case "archive":
                    await run_sync(intake.archive, part.file)
                case other:
                    raise Problem(
                        "photo_missing",
                        f"A file is in the field {other[:40]!r}. It belongs in `photo` or `archive`.",
                    )
    if intake is None:
        raise Problem(
            "photo_missing", "Attach photos as files in form fields `photo`, or a ZIP of them as `archive`."
        )
    await _end(intake)


async def _end(intake: Intake) -> None:
    if not intake.seen:
        raise Problem("photo_missing", "There is no file in the ZIP.")
    await run_sync(intake.end)


def _created(batching: Batching, id: str, by: Caller) -> Response:
    """To who made it, or has shown to be that one: with the secret."""
    view = view_of(batching, _find(batching, id), 0, PAGE)
    created = CreatedBatchView(**view.model_dump(), secret=by.secret or batching.batches.secret_for(id))
    headers = {
        "Location": batching.desk.url(batch_path(id)),
        "Retry-After": RETRY_AFTER,
        "Cache-Control": "no-store",
    }
    return JSONResponse(created.model_dump(mode="json"), 202, headers)


def _find(batching: Batching, id: str) -> Batch:
    """Raises `not_found` or `expired`."""
    batch = batching.batches.get(id) if is_id(id) else None
    if batch is None:
        raise Problem("not_found")
    if batch.status == "expired":
        raise Problem("expired")
    return batch


def _results(batching: Batching, files: list[Standing]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names for the ZIP, and the pictures piece by piece. One that was erased meanwhile is left out."""
    names = Names()
    for file in files:
        job = batching.desk.jobs.get(file.job) if file.job and file.status == "succeeded" else None
        if job is None or job.result is None:
            continue
        try:
            pieces = batching.desk.store.stream(job.result.key)
        except FileNotFoundError:
            continue
        extension = "." + job.result.key.rpartition(".")[2]
        yield names.take(file.name, extension), pieces
