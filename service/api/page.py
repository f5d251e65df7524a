"""The web page and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.responses import Response

from service.settings import Settings

WEB = Path(__file__).parent.parent / "web"
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class _Fresh(StaticFiles):
    """Scripts and styles that a browser asks about each time: a new page must not meet old scripts."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_page(app: FastAPI, settings: Settings) -> None:
    """Put the page at `/` and what it loads at `/static`."""
    templates = Jinja2Templates(directory=WEB / "templates")
    context = {
        "max_megabytes": round(settings.max_bytes / 2**20),
        "max_megapixels": round(settings.max_pixels / 1e6),
        "keep_for": duration(settings.keep_for),
        "version": app.version,
    }
    app.mount("/static", _Fresh(directory=WEB / "static"))

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "index.html", context)


def duration(seconds: float) -> str:
    """`24 hours`, `90 minutes`, `3 days`: in the largest unit of which there are two or more and no broken one."""
    whole = max(1, round(seconds))
    for name, size in _UNITS:
        if whole % size == 0 and (whole >= 2 * size or size == 1):
            return f"{whole // size} {name}{'s' if whole != size else ''}"
    raise AssertionError("seconds divide everything")
