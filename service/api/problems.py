"""Errors as application/problem+json (RFC 9457), and as a page to browsers, whoever raised them: the one place where they are HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from errno import EDQUOT, ENOSPC
from typing import Any

from asgi_correlation_id import correlation_id
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from service.api.templates import VARY, render, root_of
from service.database import is_out_of_memory, refuses_writes
from service.errors import KINDS, QUEUE_MEMORY_FULL, Problem, first_line
from service.observability import get_logger

MEDIA_TYPE = "application/problem+json"
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")
log = get_logger("autochrome.api")

router = APIRouter()


class ProblemDocument(BaseModel):
    """RFC 9457, with a stable `code` for programs."""

    type: str = Field(description="/problems/<code>: what it is about, in general")
    title: str
    status: int
    detail: str = Field(description="What is wrong in this case, and what to do")
    code: str
    instance: str | None = Field(default=None, description="The address that was asked")


class ProblemKind(BaseModel):
    """What all problems of one code have in common."""

    code: str
    status: int
    title: str
    advice: str


def document(problem: Problem, instance: str | None, root: str = "") -> ProblemDocument:
    """`root`: the path under which the service is seen."""
    return ProblemDocument(
        type=f"{root}/problems/{problem.code}",
        title=problem.kind.title,
        status=problem.kind.status,
        detail=problem.detail,
        code=problem.code,
        instance=instance,
    )


def respond(problem: Problem, scope: Scope | None, headers: Mapping[str, str] | None = None) -> Response:
    """In words to a browser that opens an address, as a document to all others. `scope`: of the request, where one was read."""
    sent = {"Cache-Control": "no-store", "Vary": "Accept", **problem.headers, **(headers or {})}
    if scope is not None and wants_html(Headers(scope=scope)):
        return _page(problem, Request(scope), sent)
    path, root = (scope["path"], root_of(scope)) if scope else ("", "")
    return JSONResponse(
        {**document(problem, path, root).model_dump(), **problem.members},
        status_code=problem.kind.status,
        media_type=MEDIA_TYPE,
        headers=sent,
    )


def wants_html(headers: Headers) -> bool:
    """Whether HTML is asked for by its name, and no JSON sooner: so do browsers that open an address, not their scripts, nor programs."""
    weights = {"text/html": 0.0, "application/json": 0.0, MEDIA_TYPE: 0.0}
    for part in headers.get("accept", "").lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        if kind in weights:
            weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
            weights[kind] = float(weight) if _WEIGHT.fullmatch(weight) else 1.0
    html = weights.pop("text/html")
    return html > 0 and html >= max(weights.values())


def _page(problem: Problem, request: Request, headers: Mapping[str, str]) -> Response:
    wait = headers.get("Retry-After", "")
    context = {
        "problem": problem,
        "wait": int(wait) if wait.isdecimal() else None,
        "can_repeat": request.method == "GET",
        "request_id": correlation_id.get(),
    }
    vary = {"Vary": f"{headers['Vary']}, {VARY}"}
    return render(request, "error.html.j2", context, problem.kind.status, {**headers, **vary})


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """These problems as OpenAPI responses: one entry a status, each with its codes and their examples."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in dict.fromkeys(codes):
        kind = KINDS[code]
        schema = {"$ref": "#/components/schemas/ProblemDocument"}
        entry = responses.setdefault(
            kind.status, {"description": "", "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}
        )
        entry["description"] += f"{', ' if entry['description'] else ''}`{code}`: {kind.title}"
        entry["content"][MEDIA_TYPE]["examples"][code] = {"value": document(Problem(code), None).model_dump()}
    return responses


@router.get(
    "/problems/{code}",
    summary="What a problem's `type` means",
    operation_id="read_problem",
    response_model=ProblemKind,
    responses=documented("not_found"),
)
async def problem(code: str) -> ProblemKind:
    kind = KINDS.get(code)
    if kind is None:
        raise Problem("not_found")
    return ProblemKind(code=code, status=kind.status, title=kind.title, advice=kind.advice)


def add_handlers(app: FastAPI, routers: Sequence[APIRouter] = ()) -> None:
    """Make every error of this app a problem. `routers`: those whose addresses it has."""
    routes = [*app.routes, *(route for router in routers for route in router.routes)]

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        if problem.is_ours and problem.__cause__ is not None:
            cause = first_line(problem.__cause__)
            log.error("request_failed", code=problem.code, path=request.url.path, error=cause)
        return respond(problem, request.scope)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 400: "form_invalid"}.get(
            error.status_code, "internal_error"
        )
        headers = {"Allow": _allowed(request, routes)} if code == "method_not_allowed" else error.headers
        return respond(Problem(code), request.scope, headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        faults = (f"`{fault['loc'][-1]}`: {fault['msg']}." for fault in error.errors())
        return respond(Problem("option_invalid", " ".join(faults)), request.scope)

    @app.exception_handler(RedisError)
    async def on_redis(request: Request, error: RedisError) -> Response:
        log.error("queue_failed", path=request.url.path, error=str(error))
        if is_out_of_memory(error):
            request.app.state.api.queue.note_full()
            return respond(Problem("store_full", what=QUEUE_MEMORY_FULL), request.scope)
        full = "The disk of the queue is full." if refuses_writes(error) else ""
        return respond(Problem("queue_unavailable", what=full), request.scope)

    @app.exception_handler(OSError)
    async def on_disk(request: Request, error: OSError) -> Response:
        if error.errno not in (ENOSPC, EDQUOT):
            raise error
        log.error("upload_failed", path=request.url.path, error=str(error))
        return respond(Problem("store_full", what="There is no room for the upload now."), request.scope)

    @app.exception_handler(ClientDisconnect)
    async def on_gone(request: Request, error: ClientDisconnect) -> Response:
        return respond(Problem("form_invalid", "The upload was broken off."), request.scope)  # to nobody

    @app.exception_handler(Exception)
    async def on_anything(request: Request, error: Exception) -> Response:
        return respond(Problem("internal_error"), request.scope)


def _allowed(request: Request, routes: Sequence[BaseRoute]) -> str:
    """Every method of this address: a path may have several routes, each with methods of its own."""
    methods: set[str] = set()
    for route in routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
