"""A photo's own page: how it stands, its picture, what may be done with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from redis.exceptions import RedisError
from starlette.responses import RedirectResponse, Response

from service.api.cookies import drop_secret, secret_of
from service.api.state import ApiState, State
from service.api.templates import render
from service.auth import AnyCaller
from service.errors import Problem, failure
from service.models import Job
from service.observability import get_logger
from service.schemas import job_view
from service.storage import erase_job

STATUSES = {"missing": 404, "canceled": 410, "expired": 410, "away": 503}
"""Of a photo's page, where it has no photo to show and never will, or not now."""
KEPT = "kept_in_color"
"""The notice of a photo that was in color already and was left so (`model.inspection`)."""
log = get_logger("autochrome.api")

router = APIRouter(include_in_schema=False)


@router.get("/photos/{id}")
def photo(id: str, request: Request, state: State) -> Response:
    status, job = _look(state, id)
    is_owner = job is not None and bool(secret_of(request)) and state.opens(job)(secret_of(request))
    shown = _described(job, state.settings.public_url or str(request.base_url)) if job else {}
    headers = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, noimageindex"}
    if status == "away":
        headers |= Problem("queue_unavailable").headers
    context = {"status": status, "is_owner": is_owner, **shown}
    return render(request, "photo.html.j2", context, STATUSES.get(status, 200), headers)


@router.post("/photos/{id}/erase")
def erase(id: str, request: Request, state: State, by: AnyCaller) -> Response:
    """Erase by the cookie of whoever sent the photo from a page, and show that it is gone. Raises as `DELETE` of the API does."""
    job = state.find(id)
    replace(by, secret=secret_of(request)).require_ownership(job.owner, state.opens(job))
    erase_job(state.jobs, state.store, id)
    log.info("job_erased", job=id)
    answer = RedirectResponse(f"../{id}", 303)
    drop_secret(answer, request, id)
    return answer


def _look(state: ApiState, id: str) -> tuple[str, Job | None]:
    """How a job stands, or why there is none to look at."""
    try:
        job = state.look(id)
    except Problem:
        return "missing", None
    except RedisError as error:
        log.error("queue_failed", path="/photos", error=str(error))
        return "away", None
    return job.status, job


def _described(job: Job, base_url: str) -> dict[str, Any]:
    """What the page says of a job. `base_url`: ours from outside, for those who show a preview of the page."""
    return {
        "id": job.id,
        "base_url": base_url.rstrip("/"),
        "job": job_view(job, "").model_dump(mode="json"),
        "result": job.result,
        "has_comparison": any(made.name == "comparison" for made in job.artifacts),
        "net": job.net.name if job.net else "",
        "position": job.queue_position,
        "expires": datetime.fromtimestamp(job.expires / 1000, tz=UTC),
        "notices": job.notices,
        "kept": any(notice.code == KEPT for notice in job.notices),
        "title": failure(job.error_code, None).kind.title if job.error_code else "",
        "detail": job.error_detail or "",
    }
