"""A real Valkey, and the API for settings of a test's own."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
import redis
from obstore.store import S3Store

from model.errors import Notice
from service import local
from service.database import connect
from service.errors import KINDS
from service.jobs import Jobs
from service.local import listen
from service.models import Artifact, Claim, Lease, Net, Result
from service.settings import Settings
from service.storage import Store, attempt_prefix, photo_key, result_key


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey with the very settings of the embedded one."""
    state = tmp_path_factory.mktemp("valkey")
    path = local.valkey_socket(state)
    with subprocess.Popen(local.valkey_command(state, path), stdout=subprocess.DEVNULL) as process:
        assert local.wait_for_valkey(path, 10)
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
def lose_answers(monkeypatch) -> Callable[[int], None]:
    """The server does what it is told, and so many of its next answers to scripts are lost on the way."""
    real = redis.connection.Connection.read_response

    def lose(count: int) -> None:
        left = [count]

        def read(self: redis.connection.Connection, *arguments: object, **options: object) -> object:
            answer = real(self, *arguments, **options)
            if left[0] and isinstance(answer, int | list):  # not what loads a script or greets
                left[0] -= 1
                raise redis.ConnectionError("the answer was lost")
            return answer

        for kind in (redis.connection.Connection, redis.connection.UnixDomainSocketConnection):
            monkeypatch.setattr(kind, "read_response", read)

    return lose


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "a store").as_uri())


@pytest.fixture
def photo_of(client: redis.Redis, store: Store) -> Callable[[str], bytes]:
    """The photo that a job would be made from."""

    def read(id: str) -> bytes:
        upload = client.hget(f"{{autochrome}}:job:{id}", "upload")
        assert isinstance(upload, str)
        return store.get(photo_key(id, upload))

    return read


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, client: redis.Redis) -> Settings:
    """With no setting but the needed ones, upon an empty database."""
    return Settings(redis_url=redis_url, store_url=(tmp_path / "a store").as_uri(), state_dir=tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], httpx.Client]]:
    """The API for some settings, over real HTTP in this process; it is ended with the test."""
    from service.api.app import create_app
    from service.api.app import server as make_server

    with ExitStack() as running:

        def start(settings: Settings) -> httpx.Client:
            listener = running.enter_context(listen("127.0.0.1", 0))
            server = make_server(create_app(settings))
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

    def do(
        picture: bytes = b"a colored picture",
        artifacts: Mapping[str, bytes] | None = None,
        notices: Sequence[Notice] = (),
    ) -> Claim:
        claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, True)
        assert isinstance(claim, Claim)
        key = result_key(claim.id, claim.attempt, ".jpg")
        store.put(key, picture, "image/jpeg")
        made = []
        for name, data in (artifacts or {}).items():
            made.append(
                Artifact(name, name, f"{attempt_prefix(claim.id, 1)}/{name}.jpg", "image/jpeg", len(data))
            )
            store.put(made[-1].key, data, made[-1].media_type)
        result = Result(key, 320, 240, "image/jpeg", hashlib.sha256(picture).hexdigest(), len(picture))
        jobs.complete(claim, {"save": 0.1}, result, made, notices)
        return claim

    return do


@pytest.fixture(scope="session")
def moto() -> Iterator[httpx.Client]:
    """An S3 to test against, as a server of its own. It keeps objects of others from who has no signature, but checks none."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            _wait_for(client)
            yield client
        finally:
            process.terminate()


def _wait_for(client: httpx.Client) -> None:
    for _ in range(200):
        with suppress(httpx.TransportError):
            client.get("/moto-api/")
            return
        time.sleep(0.05)
    pytest.fail("moto does not answer")


@pytest.fixture
def bucket(moto: httpx.Client, monkeypatch) -> Callable[[], set[str]]:
    """The bucket `photos`, empty, and the settings that lead there; gives the keys of what lies there."""
    moto.post("/moto-api/reset").raise_for_status()
    moto.put("/photos").raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT", str(moto.base_url))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    everything = S3Store("photos", client_options={"allow_http": True})

    def keys() -> set[str]:
        return {entry["path"] for batch in obstore.list(everything) for entry in batch}

    return keys


@pytest.fixture(scope="session")
def check_problem() -> Callable[[httpx.Response, str], dict[str, Any]]:
    """An answer is the problem of this code, and whole; its document."""

    def check(answer: httpx.Response, code: str) -> dict[str, Any]:
        kind = KINDS[code]
        kinds = (answer.status_code, answer.headers["content-type"])
        assert kinds == (kind.status, "application/problem+json"), answer.text
        problem: dict[str, Any] = answer.json()
        assert (problem["code"], problem["type"]) == (code, f"/problems/{code}")
        assert (problem["status"], problem["title"]) == (kind.status, kind.title)
        assert len(problem["detail"]) > 10
        return problem

    return check


@pytest.fixture
def folder(settings: Settings) -> Path:
    return settings.state_dir / "a store"


@pytest.fixture
def stored() -> Callable[[Path], list[Path]]:
    """The files below a store's folder, readiness probes apart; folders may vanish while they are listed, which `rglob` does not bear."""

    def files(folder: Path) -> list[Path]:
        found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
        return [path for path in found if "ready" not in path.parts]

    return files


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
