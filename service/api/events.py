"""A job's events as they happen: server-sent events (HTML Living Standard, 9.2), with replay."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import redis
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from service.api.middleware import is_head
from service.api.problems import documented
from service.api.state import ApiState, State
from service.models import ENDED, Event, Job, events_of
from service.observability import get_logger
from service.schemas import job_view

MEDIA_TYPE = EventSourceResponse.media_type
RETRY_MS = 2000
"""What a client waits before it comes back to a stream that broke."""
PING = 15.0
"""Seconds of silence after which a comment is sent, so that nobody on the way takes the stream for dead."""
LOOK = 3.0
"""Seconds between two looks at the place in the queue: others move it, so that no event tells."""
log = get_logger("autochrome.api")

router = APIRouter()

EXAMPLE = """retry: 2000

event: queued
data: {"position":2,"eta_s":1.8}
id: 10

event: stage
data: {"name":"open"}
id: 11

event: succeeded
data: {"id":"0f8fad5bd9cb469fa16570867728950e","status":"succeeded"}
id: 19

"""


@router.get(
    "/v1/colorizations/{id}/events",
    summary="What happens to a job, as it happens",
    description=(
        "`queued {position, eta_s}`, `stage {name}`, and at last `succeeded`, `failed`, `canceled` or `expired` "
        "with the job. `Last-Event-ID` goes on where a broken stream ended, with what has "
        "happened since and still holds: a stage that is over meanwhile is left out. After the last event there is nothing to come back "
        "for: 204. A `queued` without an id says that others have moved the job's place."
    ),
    operation_id="follow_colorization",
    response_class=Response,
    responses={
        200: {
            "content": {MEDIA_TYPE: {"example": EXAMPLE}},
            "description": "The stream; it ends after the last event",
        },
        204: {"description": "`Last-Event-ID` was the last event"},
        **documented("not_found", "queue_unavailable", "internal_error"),
    },
)
async def events(
    id: str,
    request: Request,
    state: State,
    last_event_id: Annotated[
        str | None, Header(description="The `id` of the last event that was seen")
    ] = None,
) -> Response:
    job = await run_sync(state.look, id)
    after = last_event_id or "0"
    if job.status in ENDED and not events_of(job, after):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if is_head(request):
        return Response(headers=headers, media_type=MEDIA_TYPE)
    return EventSourceResponse(_Stream(state, id, after).frames(), headers=headers)


class _Stream:
    """One client's view of one job."""

    def __init__(self, state: ApiState, id: str, after: str) -> None:
        self._state = state
        self._id = id
        self._after = after
        self._place: dict[str, Any] | None = None
        """Where in the queue the client believes the job to be."""

    async def frames(self) -> AsyncIterator[bytes]:
        """Until the last event. Where Redis does not answer, or this process is to stop, the client comes back."""
        yield format_sse_event(retry=RETRY_MS)
        spoken = time.monotonic()
        try:
            async with self._state.watches.on(self._id) as changed:
                while not self._state.watches.closing:
                    news, last = await self._news()
                    if not news and time.monotonic() - spoken >= PING:
                        news = KEEPALIVE_COMMENT
                    if news:
                        spoken = time.monotonic()
                        yield news
                    if last:
                        return
                    await changed.wait(LOOK if self._place else PING)
        except redis.RedisError as error:
            log.warning("stream_failed", job=self._id, error=type(error).__name__)

    async def _news(self) -> tuple[bytes, bool]:
        """What the client has not been sent yet, and whether that is all that will ever be sent."""
        job = await run_sync(self._state.jobs.get, self._id)
        if job is None:
            return b"", True
        events = events_of(job, self._after)
        news = b"".join(self._frame(event, job) for event in events)
        if events:
            self._after = events[-1].id
            self._place = _place(job) if job.status == "queued" else None
        elif self._place not in (None, _place(job)) and job.status == "queued":
            self._place = _place(job)
            news = _frame("queued", self._place)
        return news, any(event.name in ENDED for event in events)

    def _frame(self, event: Event, job: Job) -> bytes:
        data: dict[str, Any] = event.data
        if event.name in ENDED:
            data = job_view(job, self._state.url("")).model_dump(mode="json")
        elif event.name == "queued":
            data = _place(job)
        return _frame(event.name, data, event.id)


def _place(job: Job) -> dict[str, Any]:
    return {"position": job.queue_position, "eta_s": job.eta_s}


def _frame(name: str, data: dict[str, Any], id: str | None = None) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data, separators=(",", ":")), id=id)
