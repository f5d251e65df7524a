"""The web pages and their files: the one that colors, one for each photo that was colored, and how it works."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError
from starlette.responses import Response

from model.image_headers import ENDINGS, IN_WORDS
from service.api.state import ApiState, State
from service.api.strings import WEB
from service.api.templates import render
from service.errors import Problem, failure
from service.models import Job
from service.observability import get_logger
from service.settings import Settings

STATUSES = {"missing": 404, "canceled": 410, "expired": 410, "away": 503}
"""Of a photo's page, where it has no photo to show and never will, or not now."""
KEPT = "kept_in_color"
"""The notice of a photo that was in color already and was left so (`model.inspection`)."""
log = get_logger("autochrome.api")
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class _Fresh(StaticFiles):
    """Scripts and styles that a browser asks about each time: a new page must not meet old scripts."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Put the page at `/` and what it loads at `/static`."""
    home = {
        "formats": IN_WORDS,
        "accept": ",".join(["image/*", *(ending for format in ENDINGS.values() for ending in format)]),
        "max_megabytes": round(settings.max_bytes / 2**20),
        "max_megapixels": round(settings.max_pixels / 1e6),
        "keep_for": duration(settings.keep_for),
    }
    # What `python -m model explain` found.
    explanation = json.loads((WEB / "static/how/numbers.json").read_text(encoding="utf-8"))
    app.mount("/static", _Fresh(directory=WEB / "static"))

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return render(request, "home.html.j2", home)

    @app.get("/how", include_in_schema=False)
    def how(request: Request) -> Response:
        return render(request, "how.html.j2", explanation)

    @app.get("/photos/{id}", include_in_schema=False)
    def photo(id: str, request: Request, state: State) -> Response:
        status, job = _look(state, id)
        shown = _described(job, settings.public_url or str(request.base_url)) if job else {}
        headers = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, noimageindex"}
        if status == "away":
            headers |= Problem("queue_unavailable").headers
        return render(
            request, "photo.html.j2", {"status": status, **shown}, STATUSES.get(status, 200), headers
        )


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


def duration(seconds: float) -> tuple[int, str]:
    """24 hours, 90 minutes, 3 days: in the largest unit of which there are two or more and no broken one."""
    whole = max(1, round(seconds))
    for name, size in _UNITS:
        if whole % size == 0 and (whole >= 2 * size or size == 1):
            return whole // size, name
    raise AssertionError("seconds divide everything")
