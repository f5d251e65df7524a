"""Errors as application/problem+json (RFC 9457), whoever raised them: the one place where they are HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from service.errors import (
    FormInvalid,
    InternalError,
    MethodNotAllowed,
    NotFound,
    OptionInvalid,
    Problem,
    QueueUnavailable,
    ServerProblem,
    first_line,
)

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("autochrome.api")


class ProblemDocument(BaseModel):
    """RFC 9457, with a stable `code` for programs."""

    type: str = Field(description="/problems/<code>: what it is about, in general")
    title: str
    status: int
    detail: str = Field(description="What is wrong in this case, and what to do")
    code: str
    instance: str | None = Field(default=None, description="The address that was asked")


def document(problem: Problem, instance: str | None) -> ProblemDocument:
    return ProblemDocument(
        type=f"/problems/{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        instance=instance,
    )


def respond(problem: Problem, instance: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        document(problem, instance).model_dump(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **problem.headers, **(headers or {})},
    )


def documented(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """These problems as OpenAPI responses: one entry a status, each with its codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = responses.setdefault(
            kind.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
            },
        )
        entry["description"] += f"{', ' if entry['description'] else ''}`{kind.code}`: {kind.title}"
    return responses


def add_handlers(app: FastAPI) -> None:
    """Make every error of this app a problem."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        if isinstance(problem, ServerProblem) and problem.__cause__ is not None:
            cause = first_line(problem.__cause__)
            log.error("%s path=%s error=%s", problem.code, request.url.path, cause)
        return respond(problem, request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        kind = {404: NotFound, 405: MethodNotAllowed, 400: FormInvalid}.get(error.status_code, InternalError)
        return respond(kind(), request.url.path, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"`{fault['loc'][-1]}`: {fault['msg']}." for fault in error.errors())
        return respond(OptionInvalid(" ".join(faults)), request.url.path)

    @app.exception_handler(RedisError)
    async def on_redis(request: Request, error: RedisError) -> JSONResponse:
        log.error("queue does not answer path=%s error=%s", request.url.path, error)
        return respond(QueueUnavailable(), request.url.path)

    @app.exception_handler(ClientDisconnect)
    async def on_gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return respond(FormInvalid("The upload was broken off."), request.url.path)  # to nobody

    @app.exception_handler(Exception)
    async def on_anything(request: Request, error: Exception) -> JSONResponse:
        return respond(InternalError(), request.url.path)
