"""The page that colors, and the files of all pages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from model.image_headers import ENDINGS, IN_WORDS
from service.api.strings import WEB
from service.api.templates import render
from service.settings import Settings

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
    app.mount("/static", _Fresh(directory=WEB / "static"))

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return render(request, "home.html.j2", home)


def duration(seconds: float) -> tuple[int, str]:
    """24 hours, 90 minutes, 3 days: in the largest unit of which there are two or more and no broken one."""
    whole = max(1, round(seconds))
    for name, size in _UNITS:
        if whole % size == 0 and (whole >= 2 * size or size == 1):
            return whole // size, name
    raise AssertionError("seconds divide everything")
