"""The ASGI application: the page, the API, and one kind of error for both."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.responses import Response

from service import __version__
from service.api.desk import Desk
from service.api.limits import BodyLimit, HeadAsGet, StrictHeaders
from service.api.problems import ProblemDocument, add_handlers
from service.api.routes import router
from service.settings import Settings

WEB = Path(__file__).parent.parent / "web"
GRACE = 5
"""Seconds that open requests have when the process is told to stop."""


class _Fresh(StaticFiles):
    """Scripts and styles that a browser asks about each time: a new page must not meet old scripts."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Connects to nothing yet. Raises SettingsError."""
    app = FastAPI(
        title="Autochrome",
        version=__version__,
        summary="Colors black-and-white photographs. The colors are guesses of a network, not the truth.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.desk = Desk.open(settings)
    app.add_middleware(BodyLimit, max_bytes=settings.max_bytes)
    app.add_middleware(HeadAsGet)
    app.add_middleware(StrictHeaders)
    add_handlers(app)
    app.include_router(router)
    app.mount("/static", _Fresh(directory=WEB / "static"))
    _add_page(app, settings)
    _document_problems(app)
    return app


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer on an open socket until SIGTERM."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _add_page(app: FastAPI, settings: Settings) -> None:
    templates = Jinja2Templates(directory=WEB / "templates")
    context = {
        "max_megabytes": round(settings.max_bytes / 2**20),
        "max_megapixels": round(settings.max_pixels / 1e6),
        "version": app.version,
    }

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "index.html", context)


def _document_problems(app: FastAPI) -> None:
    """Put the problem's shape into OpenAPI, and take FastAPI's own error out, which is never sent."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schemas = schema["components"]["schemas"]
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in schema["paths"].values():
            for operation in path.values():
                invalid = operation["responses"].get("422", {})
                if "application/json" in invalid.get("content", {}):
                    del operation["responses"]["422"]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
