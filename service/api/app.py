"""The ASGI application: the page, the API, and one kind of error for both."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import cast
from urllib.parse import urlsplit

import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service import __version__
from service.api import (
    albums,
    batch_results,
    batches,
    clap,
    colorizations,
    events,
    health,
    pages,
    photos,
    presigned,
    problems,
    results,
)
from service.api.connections import BACKLOG, KEEP_ALIVE, Connections, Limits, most_connections
from service.api.docs import add_docs
from service.api.health import SMALL_PHOTO, Metrics, Readiness
from service.api.middleware import (
    REQUEST_ID,
    Access,
    BelowPath,
    BodyLimit,
    BodyPace,
    Compress,
    HeadAsGet,
    KnownHosts,
    SameSite,
    StrictHeaders,
    host_name,
    request_ids,
)
from service.api.openapi import document
from service.api.problems import add_handlers
from service.api.state import ApiState
from service.api.strings import WEB
from service.auth import Authenticator, Keys
from service.batches import SCHEDULE_EVERY
from service.settings import Settings
from service.watchdog import Periodic

LOCAL_DOMAINS = ("local", "lan", "home.arpa", "internal", "localdomain")
"""Below which a network names its own machines: nobody on the internet can have a name there (RFC 6762, 8375; not in DNS's root)."""
ASKED_BY_PAGES = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
)
READ_BY_PAGES = (
    "Content-Location",
    "ETag",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
)


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Connects to nothing yet. Raises SettingsError."""
    state = ApiState.open(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduling = Periodic("scheduler", SCHEDULE_EVERY, state.scheduler.tick)
        scheduling.start()
        try:
            async with state.watches.hub:
                yield
        finally:
            await run_sync(scheduling.stop)

    app = FastAPI(
        title="Autochrome",
        version=__version__,
        summary="Colors black-and-white photographs. The colors are guesses of a network, not the truth.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        root_path_in_servers=False,  # `document` says which there are
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.api = state
    app.state.authenticator = Authenticator(Keys(state.redis), settings.anonymous, settings.is_behind_proxy)
    app.state.readiness = Readiness(
        state.redis, state.jobs, state.store, lambda: state.has_room(state.jobs.depth(), SMALL_PHOTO)
    )
    app.state.metrics = Metrics(state.redis, state.jobs, state.store_left, settings.stall)
    _go_around(app, settings)
    parts = (
        colorizations,
        results,
        presigned,
        batches,
        batch_results,
        events,
        clap,
        health,
        problems,
        pages,
        photos,
        albums,
    )
    routers = [part.router for part in parts]
    for router in routers:
        app.include_router(router)
    app.mount("/static", pages.Files(directory=WEB / "static"))
    add_docs(app, settings)
    add_handlers(app, routers)
    document(app, settings)
    return app


class _Server(uvicorn.Server):
    """Told to stop, it answers on while a proxy sees `/readyz` refuse; a second signal ends that.

    Then it sends home who only waits; else they would use up the time that uploads and downloads have to end.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._state: ApiState = app.state.api
        self._readiness: Readiness = app.state.readiness
        self._close_at = math.inf
        self._signal = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._readiness.stopping and self._state.settings.drain:
            self._readiness.stopping = True
            self._signal, self._close_at = sig, time.monotonic() + self._state.settings.drain
            return
        self._readiness.stopping = True
        super().handle_exit(sig, frame)
        self._state.watches.close()

    async def on_tick(self, counter: int) -> bool:
        if time.monotonic() >= self._close_at and not self.should_exit:
            self.handle_exit(self._signal, None)
        return await super().on_tick(counter)


def server(app: FastAPI) -> uvicorn.Server:
    """What answers for an application; whom to believe about addresses is the application's own business."""
    settings = app.state.api.settings
    limits = Limits(
        settings.connections or most_connections(),
        settings.connections_per_address,
        settings.upload_rate,
        settings.trusted_proxies,
        settings.root_path,
    )
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], Connections(limits).protocol),
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=app.state.api.settings.grace,
    )
    return _Server(config, app)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer on an open socket until SIGTERM."""
    server(app).run(sockets=[listener])


def _names(settings: Settings) -> set[str]:
    """By which this service is asked."""
    machine = socket.gethostname().lower()
    public = host_name(urlsplit(settings.public_url or "").netloc)
    local = (f"{machine.partition('.')[0]}.{domain}" for domain in LOCAL_DOMAINS)
    return {*map(str.lower, settings.hosts), settings.host.lower(), public, machine, *local}


def _go_around(app: FastAPI, settings: Settings) -> None:
    """What every request passes through, from the inside out."""
    app.add_middleware(Compress)
    app.add_middleware(BodyLimit, max_bytes=settings.max_bytes, batch_bytes=settings.batch_bytes)
    app.add_middleware(
        BodyPace,
        seconds=settings.upload_timeout,
        batch_seconds=settings.batch_timeout,
        rate=settings.upload_rate,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=[*ASKED_BY_PAGES, REQUEST_ID],
            expose_headers=[*READ_BY_PAGES, REQUEST_ID, colorizations.SECRET_HEADER],
        )
    origins = [urlsplit(settings.public_url)] if settings.public_url else []
    app.add_middleware(
        SameSite, origins=[*settings.cors_origins, *(f"{url.scheme}://{url.netloc}" for url in origins)]
    )
    app.add_middleware(KnownHosts, names=_names(settings))
    app.add_middleware(Access, seen=app.state.metrics.seen)
    app.add_middleware(request_ids)
    app.add_middleware(StrictHeaders)  # for what Access answers by itself, too
    app.add_middleware(HeadAsGet)
    if settings.root_path:
        app.add_middleware(BelowPath, root_path=settings.root_path)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
