"""The pages of albums: the form that starts one, and one for each, which is a batch of the API."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from model.image_headers import ENDINGS, IN_WORDS
from service.api.batches import Sending, erase_batch, find, receive_new, status_of
from service.api.cookies import ALBUMS, drop_secret, keep_secret, secret_of
from service.api.state import ApiState, State
from service.api.templates import render
from service.auth import AnyCaller
from service.batches import Batch, Standing
from service.errors import Problem, failure
from service.models import ENDED
from service.observability import get_logger
from service.settings import Settings

PAGE = 100
"""Photographs of an album that its page has at first; so many more come at a time."""
PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, noimageindex"}
PICTURES = ("image/*", ".zip", *(ending for format in ENDINGS.values() for ending in format))
log = get_logger("autochrome.api")

router = APIRouter(include_in_schema=False)


@router.get("/album")
def start(request: Request, state: State) -> Response:
    return render(request, "albums.html.j2", _taken(state.settings))


@router.get("/albums")
def back(request: Request) -> Response:
    """Where a browser that opens the form's address again, say in another language, finds the form."""
    query = request.url.query
    return RedirectResponse(f"./album?{query}" if query else "./album", 303)


@router.post("/albums")
async def send(request: Request, state: State, by: Sending) -> Response:
    """The form as a browser without scripts sends it. Raises as `POST /v1/batches` does."""
    id = await receive_new(request, state, by)
    batch = await run_sync(find, state, id)
    answer = RedirectResponse(f"albums/{id}", 303)
    if secret := state.batches.secret_again(batch):
        keep_secret(answer, request, id, secret, (batch.expires - batch.created) / 1000, ALBUMS)
    return answer


@router.get("/albums/{id}")
def album(
    id: str, request: Request, state: State, place: Annotated[int, Query(ge=0, le=10**6, alias="from")] = 0
) -> Response:
    """A part of it, from a place on; the rest by scripts, or by links. Raises `not_found`, `expired` or `canceled`."""
    batch = find(state, id)
    if batch.status == "canceled":
        raise Problem("canceled")
    secret = secret_of(request)
    shown = {
        "is_owner": bool(secret) and batch.is_opened_by(secret),
        **_described(state, batch, place // PAGE * PAGE),
    }
    return render(request, "album.html.j2", shown, headers=PRIVATE)


@router.post("/albums/{id}/erase")
def erase(id: str, request: Request, state: State, by: AnyCaller) -> Response:
    """Erase by the cookie of whoever sent the album, and show that it is gone. Raises as `DELETE` of the API does."""
    batch = find(state, id)
    replace(by, secret=secret_of(request)).require_ownership(batch.owner, batch.is_opened_by)
    erase_batch(state, id)
    log.info("batch_erased", batch=id)
    answer = RedirectResponse(f"../{id}", 303)
    drop_secret(answer, request, id, ALBUMS)
    return answer


def _taken(settings: Settings) -> dict[str, Any]:
    """What an album may hold."""
    return {
        "formats": IN_WORDS,
        "accept": ",".join(PICTURES),
        "max_megabytes": round(settings.max_bytes / 2**20),
        "max_photographs": settings.batch_files,
        "anonymous": settings.anonymous,
    }


def _described(state: ApiState, batch: Batch, start: int) -> dict[str, Any]:
    """What the page says of an album."""
    files = state.batches.files(batch.id, start, PAGE)
    asked = batch.options.artifacts
    ended = sum(count for status, count in files.counts.items() if status in ENDED)
    return {
        "id": batch.id,
        "status": status_of(batch, files),
        "colored": files.counts.get("succeeded", 0),
        "failed": files.counts.get("failed", 0),
        "total": files.total,
        "ended": ended,
        "start": start,
        "page": PAGE,
        "photographs": [_shown(file) for file in files.files],
        "contents": ",".join(_contents(asked)),
        "options": batch.options.model_dump(mode="json", include={"boldness", "vividness"}),
        "expires": datetime.fromtimestamp(batch.expires / 1000, tz=UTC),
        **_taken(state.settings),
    }


def _shown(file: Standing) -> dict[str, Any]:
    """A photograph of the list, as a template takes it."""
    return {
        "name": file.name,
        "status": file.status,
        "job": file.job,
        "has_thumbnail": file.has_thumbnail,
        "title": failure(file.code, None).kind.title if file.code else "",
    }


def _contents(asked: tuple[str, ...]) -> list[str]:
    """Of the ZIP: all that is for others, and not what only the page shows."""
    layers = ["gray", "color_layer"] if "color_layer" in asked else []
    return ["result", *layers, *(kind for kind in asked if kind == "sidecar"), "csv"]
