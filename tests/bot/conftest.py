"""A fake Reddit with a post in it, and what the bot must know to work there."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import praw
import prawcore
import pytest
import uvicorn
from fake_reddit import Ports, Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.__main__ import build
from bot.reddit import RateLimiter
from bot.settings import Settings

read_certificates = functools.cache(ssl.create_default_context)
"""httpx does it anew for each client, which takes 20 ms."""


@pytest.fixture(scope="session")
def ports() -> Iterator[Ports]:
    """Of all Reddits; each test has one of its own."""
    with Ports() as ports:
        yield ports


@pytest.fixture
def server(ports: Ports) -> Iterator[Server]:
    with Server(at=ports) as server:
        yield server
        assert not server.unknown


@pytest.fixture
def reddit(server: Server) -> praw.Reddit:
    """The real PRAW that asks it."""
    return praw.Reddit(**server.settings())


@pytest.fixture
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """prawcore retries at once, instead of within 2 s."""
    monkeypatch.setattr(prawcore.sessions.FiniteRetryStrategy, "_sleep_seconds", lambda self: None)


@pytest.fixture
def bot_settings(server: Server, tmp_path: Path) -> dict[str, Any]:
    """By their names in small letters."""
    known = server.settings()
    return {
        "bot_public_url": "https://colors.example",
        "reddit_client_id": known["client_id"],
        "reddit_client_secret": known["client_secret"],
        "reddit_username": known["username"],
        "reddit_password": known["password"],
        "reddit_url": server.url,
        "reddit_oauth_url": server.url,
        "bot_image_hosts": server.url,
        "bot_state_dir": tmp_path / "bot",
        "bot_poll_interval": 0.5,
        "bot_retry_delay": 0.2,
    }


@pytest.fixture
def shown(server: Server, gray_photo: Callable[..., bytes]) -> Callable[..., Any]:
    """A post with a gray photograph, in r/OldPhotos."""

    def post(name: str = "grandma.jpg", data: bytes | None = None, author: str = "ann", **traits: Any) -> Any:
        url = server.picture(name, gray_photo() if data is None else data)
        return server.person(author).post("OldPhotos", "Grandma in 1931", **{"url": url, **traits})

    return post


class NotedRateLimiter(RateLimiter):
    """Tells when each request was let through."""

    on_request: Callable[[], object] = staticmethod(lambda: None)

    def keep_time_by(self, clock: Callable[[], float]) -> None:
        """Such as one that the machine's slowness does not put forward."""
        self._clock = clock

    def __call__(self) -> None:
        super().__call__()
        self.on_request()


class Here:
    """The bot in this process, with a clock that waiting puts forward."""

    def __init__(self, values: dict[str, Any], dry_run: bool) -> None:
        self.settings = Settings(**values)
        self.ahead = 0.0
        self._open = ExitStack()
        self.rate_limit = NotedRateLimiter(self.settings.bot_requests_per_minute, self._wait, self.now)
        options: dict[str, Any] = {"clock": self.now, "rate_limit": self.rate_limit, "wait": self._wait}
        self.loop = build(self.settings, self._open, dry_run=dry_run, **options)

    def now(self) -> float:
        return time.time() + self.ahead

    def _sleep(self, seconds: float) -> None:
        self.ahead += seconds

    def _wait(self, seconds: float) -> bool:
        self._sleep(seconds)
        return False

    def work(self, done: Callable[[], object], rounds: int = 60) -> None:
        """Rounds until something is so; a failed test where it is not after so many."""
        for _ in range(rounds):
            self._wait(self.loop.round())
            if done():
                return
            time.sleep(0.01)  # the service works by the true clock
        pytest.fail(f"not after {rounds} rounds")

    def states(self) -> dict[str, int]:
        """How many mentions are in each state."""
        return self.loop.database.counts()

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="session")
def authority(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The certificate of who vouches for the store behind uploads."""
    return ports.certificate(tmp_path_factory.mktemp("tls") / "authority.pem")


@pytest.fixture
def here(
    bot_settings: dict[str, Any], authority: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Here]]:
    """Start the bot in this process; the one before it is ended."""
    monkeypatch.setattr("bot.__main__.RETRY_REQUEST_FOR", 0)  # the true clock is not to be waited for

    def trusting(**options: Any) -> ssl.SSLContext:
        context = read_certificates(**options)
        context.load_verify_locations(authority)
        return context

    monkeypatch.setattr("ssl.create_default_context", trusting)
    started: list[Here] = []

    def start(dry_run: bool = False, **changed: Any) -> Here:
        for one in started:
            one.close()
        values = {**bot_settings, "bot_poll_interval": 1.0, "bot_ignore_bottiquette": True, **changed}
        started.append(Here(values, dry_run))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def ask(server: Server, bot: Here) -> Callable[..., Any]:
    """Write a comment, and give the bot's answer to it, None where it stays silent. `bot`: of the test's own file."""

    def call(
        name: str, on: Any, text: str = "u/colorizebot", at: Here = bot, as_moderator: bool = False
    ) -> Any:
        comment = server.person(name).comment(on, text)
        if as_moderator:
            server.person(name).distinguish(comment)

        def is_over() -> bool:
            known = at.loop.database.mention(comment.fullname)
            return known is not None and known.state not in ("seen", "queued", "colored", "replying")

        at.work(is_over)
        return next((said for said in server.bot.comments() if said.parent is comment), None)

    return call


@pytest.fixture
def unused_url() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "http://{}:{}".format(*listener.getsockname())


class QuickService:
    """The part of our API that the bot calls, without a net: every JPEG or PNG is colored at once, but for those in `failing`.
    For tests of the bot alone.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        """Of each job: it gives back the photo that it was sent."""
        self.failing: dict[bytes, str] = {}
        """Files of which a job fails, and its code; `photo_in_color` where it is to refuse such a one."""
        self.albums: dict[str, Any] = {}
        """As Imgur, which it plays, too: kind and id → what its API says."""
        self.asked_for: list[tuple[str, str]] = []
        """Albums, and the header that says by whom."""
        self.fails_at_once = False
        """Whether the answer to PUT says so already, or only the job when it is looked at."""
        self.sent: list[str] = []
        """Ids in the order in which they came, repetitions too."""
        self.too_large: set[bytes] = set()
        """Files of more pixels than it takes."""
        self.lost = 0
        """So many photos are taken in without an answer that says so."""
        self.is_busy = False
        """Whether jobs stay queued."""
        self.refuses = False
        """Whether the bot's key is no good."""
        self.url = ""
        self.expired: set[str] = set()
        self.max_keep_for = 7 * 86400.0
        """Seconds; more is refused, as the OpenAPI document says."""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/colorizations/{id}", self.put, methods=["PUT"]),
                Route("/v1/colorizations/{id}", self.get, methods=["GET"]),
                Route("/v1/colorizations/{id}", self.delete, methods=["DELETE"]),
                Route("/v1/colorizations/{id}/result", self.result),
                Route("/openapi.json", self.openapi),
                Route("/3/{kind}/{id}", self.album),
            ]
        )

    async def openapi(self, request: Request) -> Response:
        keep_for = {"name": "keep_for", "schema": {"type": "number", "maximum": self.max_keep_for}}
        return JSONResponse({"paths": {"/v1/colorizations/{id}": {"put": {"parameters": [keep_for]}}}})

    async def put(self, request: Request) -> Response:
        if self.refuses:
            return JSONResponse({"code": "not_allowed", "detail": "This key may not color."}, 403)
        if float(request.query_params["keep_for"]) > self.max_keep_for:
            return JSONResponse({"code": "option_invalid", "detail": "keep_for is too long."}, 422)
        body = await request.body()
        if body.startswith(b"GIF89a"):
            return JSONResponse({"code": "photo_animated", "detail": "That moves."}, 422)
        if not body.startswith((b"\xff\xd8", b"\x89PNG")):
            return JSONResponse({"code": "photo_unsupported", "detail": "That is no photo."}, 415)
        if body in self.too_large:
            return JSONResponse({"code": "photo_too_large", "detail": "It has 61 megapixels."}, 413)
        id = request.path_params["id"]
        self.sent.append(id)
        self.files[id] = body
        expires = datetime.now(UTC) + timedelta(seconds=float(request.query_params["keep_for"]))
        own = request.headers.get("authorization", "").removeprefix("Bearer ")
        made = {"net": None, "result": None, "artifacts": [], "notices": [], "error": None}
        job = {
            "id": id,
            "status": "succeeded",
            "expires_at": expires.isoformat(),
            "secret": own or "s" * 43,
            **made,
        }
        code = self.failing.get(body, "")
        if code and (code != "photo_in_color" or request.query_params.get("if_color") == "refuse"):
            job |= {"status": "failed", "error": {"code": code, "detail": "So it is."}}
        self.jobs.setdefault(id, job | {"query": dict(request.query_params)})
        if self.lost:
            self.lost -= 1
            return Response(status_code=502)
        if job["status"] == "failed" and self.fails_at_once:
            return JSONResponse(job["error"], 422)
        if job["status"] == "failed" or self.is_busy:
            return JSONResponse({**self.jobs[id], "status": "queued", "error": None}, 202)
        return JSONResponse(self.jobs[id])

    async def get(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        if request.path_params["id"] in self.expired:
            return Response(status_code=410)
        if job and self.is_busy:
            job = job | {"status": "queued"}
        return JSONResponse({**job, "secret": ""}) if job else Response(status_code=404)

    async def result(self, request: Request) -> Response:
        return Response(self.files[request.path_params["id"]], media_type="image/jpeg")

    async def album(self, request: Request) -> Response:
        name = "{kind}/{id}".format(**request.path_params)
        self.asked_for.append((name, request.headers["authorization"]))
        found = self.albums.get(name)
        return JSONResponse({"data": found, "success": True}) if found else Response(status_code=404)

    async def delete(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        if job and request.headers.get("authorization") != f"Bearer {job['secret']}":
            return JSONResponse({"code": "secret_missing", "detail": "Whose job is it?"}, 401)
        self.jobs.pop(request.path_params["id"], None)
        return Response(status_code=204)


@pytest.fixture(scope="session")
def _quick_service() -> Iterator[QuickService]:
    service = QuickService()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        service.url = "http://{}:{}".format(*listener.getsockname())
        server = uvicorn.Server(uvicorn.Config(service.app(), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield service
        server.should_exit = True
        thread.join()


@pytest.fixture
def quick_service(_quick_service: QuickService) -> QuickService:
    _quick_service.jobs.clear()
    _quick_service.files.clear()
    _quick_service.albums.clear()
    _quick_service.asked_for.clear()
    _quick_service.sent.clear()
    _quick_service.expired.clear()
    _quick_service.max_keep_for = 7 * 86400.0
    _quick_service.failing.clear()
    _quick_service.fails_at_once = _quick_service.is_busy = False
    _quick_service.too_large.clear()
    return _quick_service
