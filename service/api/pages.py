"""The first page, its form and samples, the page that explains, and the files of all pages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, RedirectResponse, Response

from model.image_headers import ENDINGS, IN_WORDS
from service.api.colorizations import Colorizing, Submitted, submit, take_in
from service.api.cookies import keep_secret
from service.api.problems import wants_html
from service.api.state import State
from service.api.strings import WEB
from service.api.templates import render
from service.api.uploads import Upload, digest
from service.errors import Problem
from service.jobs import new_id
from service.realism import ON_THE_HOME_PAGE
from service.schemas import Options
from service.settings import Settings

ARTIFACTS: Final = ("comparison", "distribution", "suggestions")
"""What a photo's page shows beside the result, and lets people change it by."""
SOURCES: Final = {
    "autochrome.py": "autochrome.py",
    "evaluation.md": "docs/evaluation.md",
    "self_supervised.md": "docs/self_supervised.md",
}
"""Files of the repository that pages lead to, by the name below `/docs`; an image or a package may have none of them."""
_ROOT = Path(__file__).parents[2]
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))

router = APIRouter(include_in_schema=False)


class Files(StaticFiles):
    """What pages load. Scripts and styles that a browser asks about each time: a new page must not meet old scripts."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
def home(request: Request, state: State) -> Response:
    return render(request, "home.html.j2", _described(state.settings))


@router.get("/how")
def how(request: Request) -> Response:
    return render(request, "how.html.j2", {**_explanation(), "served": served()})


@router.get("/docs/{name}")
def source(name: str) -> Response:
    """One of SOURCES, a program to be kept, the rest to be read. Raises `not_found`."""
    if name not in served():
        raise Problem("not_found")
    kept_as = name if name.endswith(".py") else None
    return FileResponse(_ROOT / SOURCES[name], media_type="text/plain; charset=utf-8", filename=kept_as)


@router.get("/photos")
def back(request: Request) -> Response:
    """Where a browser that opens the form's address again, say in another language, finds the form."""
    query = request.url.query
    return RedirectResponse(f"./?{query}" if query else "./", 303)


@router.post("/photos")
async def send(request: Request, state: State, by: Colorizing) -> Response:
    """The form as a browser without scripts sends it. What is wrong with the photo is said above the form; the rest as in the API."""
    try:
        submitted = await take_in(request, state, by, new_id())
    except Problem as problem:
        if problem.kind.status >= 500 or not wants_html(request.headers):
            raise
        context = {**_described(state.settings), "problem": problem}
        return render(request, "home.html.j2", context, problem.kind.status, problem.headers)
    return _to_its_page(request, submitted, "photos/", state.settings.keep_for)


@router.post("/samples/{name}")
async def try_sample(name: str, request: Request, state: State, by: Colorizing) -> Response:
    """Color one of our own photographs, as if it had been sent. Raises `not_found`, or what `submit` does."""
    if name not in ON_THE_HOME_PAGE:
        raise Problem("not_found")

    def sent() -> Submitted:
        with (WEB / f"static/samples/{name}-gray.jpg").open("rb") as file:
            upload = Upload(file, digest(file), Options(artifacts=ARTIFACTS))
            return submit(state, upload, by, new_id(), is_chosen=False)

    return _to_its_page(request, await run_sync(sent), "../photos/", state.settings.keep_for)


def _to_its_page(request: Request, submitted: Submitted, photos: str, seconds: float) -> Response:
    """To the page of a photo, which can erase it. `photos`: the way there."""
    answer = RedirectResponse(photos + submitted.id, 303)
    if submitted.secret:
        keep_secret(answer, request, submitted.id, submitted.secret, seconds)
    return answer


@cache
def served() -> frozenset[str]:
    """Names of SOURCES that are there."""
    return frozenset(name for name, path in SOURCES.items() if (_ROOT / path).is_file())


@cache
def _explanation() -> dict[str, Any]:
    """What `python -m model explain` found."""
    numbers: dict[str, Any] = json.loads((WEB / "static/how/numbers.json").read_text(encoding="utf-8"))
    return numbers


def _described(settings: Settings) -> dict[str, Any]:
    """What the page says of the service."""
    return {
        "formats": IN_WORDS,
        "accept": ",".join(["image/*", *(ending for format in ENDINGS.values() for ending in format)]),
        "max_megabytes": round(settings.max_bytes / 2**20),
        "max_megapixels": round(settings.max_pixels / 1e6),
        "most_photos": settings.batch_files,
        "keep_for": duration(settings.keep_for),
        "anonymous": settings.anonymous,
        "samples": ON_THE_HOME_PAGE,
        "artifacts": ARTIFACTS,
        "problem": None,
    }


def duration(seconds: float) -> tuple[int, str]:
    """24 hours, 90 minutes, 3 days: in the largest unit of which there are two or more and no broken one."""
    whole = max(1, round(seconds))
    for name, size in _UNITS:
        if whole % size == 0 and (whole >= 2 * size or size == 1):
            return whole // size, name
    raise AssertionError("seconds divide everything")
