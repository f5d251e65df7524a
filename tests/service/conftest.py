"""A real Valkey, real processes of the service, and photographs made on the spot."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import redis
import uvicorn
from PIL import Image

from service import valkey
from service.errors import Problem
from service.job import Artifact, Claim, Lease, Net, Result
from service.jobs import Jobs, connect
from service.settings import Settings
from service.store import Store, attempt_prefix, result_key
from service.supervisor import listen

ROOT = Path(__file__).parents[2]


class Launched:
    """A program, its lines so far, and how to end it."""

    def __init__(self, program: list[str], environment: Mapping[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
        self.process = subprocess.Popen(
            program,
            cwd=ROOT,
            env={**clean, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.url = ""
        self.state_dir = Path()
        self.lines: list[str] = []
        self._known: list[psutil.Process] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(iter(lines.readline, ""))

    def line(self, pattern: str, seconds: float = 30) -> re.Match[str]:
        """The first line that matches, as soon as it is there."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            ended = self.process.poll() is not None and not self._reading.is_alive()
            for line in [*self.lines]:
                if found := re.search(pattern, line):
                    return found
            if ended:
                break
            time.sleep(0.02)
        pytest.fail(f"no line like {pattern!r} in\n{''.join(self.lines)}")

    def family(self) -> list[psutil.Process]:
        """The process and all that came from it."""
        parent = psutil.Process(self.process.pid)
        self._known = [parent, *parent.children(recursive=True)]
        return self._known

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """End it in order; its exit code. Whatever was known of it and still lives then is killed."""
        if self.process.poll() is None:
            self.family()
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            for member in self._known:
                if member.is_running():
                    member.kill()
            self._reading.join(timeout=10)


def _until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    give_up = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > give_up:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], float, str], Any]:
    """What a function gives as soon as it is true; a failed test where it is not in time."""
    return _until


@pytest.fixture
def launch() -> Iterator[Callable[..., Launched]]:
    """Start `python …` with AUTOCHROME_ settings of its own; it is ended with the test."""
    launched: list[Launched] = []

    def start(*arguments: str, **settings: object) -> Launched:
        environment = {f"AUTOCHROME_{name.upper()}": str(value) for name, value in settings.items()}
        launched.append(Launched([sys.executable, *arguments], environment))
        return launched[-1]

    yield start
    for one in reversed(launched):
        one.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """`python -m service`, ready to color; its address is `service.url`, its folder `service.state_dir`."""
    state = tmp_path_factory.mktemp("service")
    environment = {"AUTOCHROME_STATE_DIR": str(state), "AUTOCHROME_PORT": "0"}
    launched = Launched([sys.executable, "-m", "service"], environment)
    try:
        launched.state_dir = state
        launched.url = launched.line(r"ready: (http://\S+)", 60)[1]
        yield launched
    finally:
        launched.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey with the very settings of the embedded one."""
    state = tmp_path_factory.mktemp("valkey")
    path = valkey.socket_path(state)
    with subprocess.Popen(valkey.command(state, path), stdout=subprocess.DEVNULL) as process:
        assert valkey.wait_until_ready(path, 10)
        yield f"unix://{path}"
        process.terminate()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Its client, upon an empty database."""
    with connect(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def jobs(client: redis.Redis) -> Jobs:
    """Job records whose leases last 0.2 s, and 0.1 s more per megapixel."""
    return Jobs(client, Lease(0.2, 0.1))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "a store").as_uri())


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, store_url=(tmp_path / "a store").as_uri(), state_dir=tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], httpx.Client]]:
    """The API for some settings, over real HTTP in this process; it is ended with the test."""
    from service.api.app import create_app

    with ExitStack() as running:

        def start(settings: Settings) -> httpx.Client:
            listener = running.enter_context(listen("127.0.0.1", 0))
            server = uvicorn.Server(
                uvicorn.Config(create_app(settings), log_config=None, proxy_headers=False)
            )
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            running.callback(thread.join)
            running.callback(setattr, server, "should_exit", True)
            url = "http://{}:{}".format(*listener.getsockname())
            return running.enter_context(httpx.Client(base_url=url, timeout=60))

        yield start


@pytest.fixture
def api(serve: Callable[[Settings], httpx.Client], settings: Settings, client: redis.Redis) -> httpx.Client:
    """The API with no setting but the needed ones, upon an empty database; no worker is there."""
    return serve(settings)


@pytest.fixture
def work(jobs: Jobs, store: Store) -> Callable[..., Claim]:
    """Do what a worker does with the job that waits longest, without a net."""

    def do(picture: bytes = b"a colored picture", artifacts: Mapping[str, bytes] | None = None) -> Claim:
        claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, True)
        assert isinstance(claim, Claim)
        key = result_key(claim.id, claim.attempt, ".jpg")
        store.put(key, picture)
        made = []
        for name, data in (artifacts or {}).items():
            made.append(
                Artifact(name, name, f"{attempt_prefix(claim.id, 1)}/{name}.jpg", "image/jpeg", len(data))
            )
            store.put(made[-1].key, data)
        result = Result(key, 320, 240, "image/jpeg", hashlib.sha256(picture).hexdigest(), len(picture))
        jobs.complete(claim, 0.1, result, made)
        return claim

    return do


@pytest.fixture(scope="session")
def check_problem() -> Callable[[httpx.Response, type[Problem]], dict[str, Any]]:
    """An answer is this very problem, and whole; its document."""

    def check(answer: httpx.Response, kind: type[Problem]) -> dict[str, Any]:
        kinds = (answer.status_code, answer.headers["content-type"])
        assert kinds == (kind.status, "application/problem+json"), answer.text
        problem: dict[str, Any] = answer.json()
        assert (problem["code"], problem["type"]) == (kind.code, f"/problems/{kind.code}")
        assert (problem["status"], problem["title"]) == (kind.status, kind.title)
        assert len(problem["detail"]) > 10
        return problem

    return check


@pytest.fixture
def folder(settings: Settings) -> Path:
    return settings.state_dir / "a store"


@pytest.fixture
def photos(gray_photo: Callable[..., bytes]) -> list[bytes]:
    """Eight that differ, of 0.0024 megapixels each."""
    return [gray_photo(size=(60, 40 + index)) for index in range(8)]


@pytest.fixture
def tight(serve, redis_url: str, tmp_path: Path, client: redis.Redis) -> Callable[..., httpx.Client]:
    """The API with settings of a test's own, upon an empty database."""

    def start(**values: object) -> httpx.Client:
        store = (tmp_path / "a store").as_uri()
        return serve(Settings(redis_url=redis_url, store_url=store, state_dir=tmp_path, **values))

    return start


@pytest.fixture(scope="session")
def gray_photo() -> Callable[..., bytes]:
    """A gray picture with something in it, in any format and size that Pillow writes."""

    def make(format: str = "JPEG", size: tuple[int, int] = (320, 240), **options: Any) -> bytes:
        width, height = size
        down, across = np.mgrid[0:height, 0:width]
        waves = np.sin(across / 17) * np.cos(down / 11)
        pixels = (127 + 90 * waves + 30 * down / max(1, height)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format, **options)
        return file.getvalue()

    return make
