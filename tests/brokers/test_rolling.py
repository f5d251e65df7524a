"""Two APIs behind haproxy and two workers are restarted one after the other, under load of all kinds: no request fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.servers import free_port

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="Debian's haproxy is not installed"),
]
CONFIG = Path(__file__).parents[2] / "docker/haproxy.cfg"
ENDED = ("succeeded", "failed", "canceled", "expired")
CONNECTION = httpx.Limits(max_keepalive_connections=1)


@contextmanager
def haproxy(config: Path, log: Path, **ports: str) -> Iterator[str]:
    """Its address. What it logs is written to `log`."""
    front = f"127.0.0.1:{free_port()}"
    environment = os.environ | {f"AUTOCHROME_{name.upper()}": address for name, address in ports.items()}
    command = ["haproxy", "-db", "-f", str(config)]
    environment["AUTOCHROME_FRONT"] = front
    with (
        log.open("wb") as file,
        subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            yield f"http://{front}"
        finally:
            process.terminate()


class Party:
    """One API or worker, and how it is started again."""

    def __init__(self, launch: Callable, part: str, **settings: object) -> None:
        self._start = lambda: launch("-m", "service", part, **settings)
        self._ready = "net_loaded" if part == "worker" else "api_listening"
        self.running = self._start()

    def wait(self) -> None:
        self.running.line(self._ready, 60)

    def restart(self) -> int:
        """SIGTERM, and a new one when it has ended. Returns the exit code of the old one."""
        code = self.running.stop(signal.SIGTERM, 90)
        self.running = self._start()
        self.wait()
        return code


@pytest.fixture
def parties(launch: Callable, valkey: str, tmp_path: Path) -> dict[str, Party]:
    """Two workers and two APIs, as docker/haproxy.cfg wants them, in the order in which they are replaced."""
    shared = {"redis_url": valkey, "store_url": (tmp_path / "store").as_uri(), "state_dir": tmp_path}
    ours = {**shared, "trusted_proxies": "127.0.0.1", "drain": 3, "grace": 60}
    made = {f"worker_{n}": Party(launch, "worker", concurrency=2, **shared) for n in (1, 2)}
    made |= {f"api_{n}": Party(launch, "api", port=free_port(), **ours) for n in (1, 2)}
    for party in made.values():
        party.wait()
    return made


class Clients:
    """Threads that ask without a pause and never again for the same, but for a stream, which is what streams are for."""

    def __init__(self, url: str, photo: bytes, large: bytes) -> None:
        self._url, self._photo, self._large = url, photo, large
        self._stop = threading.Event()
        self.sent: Counter[str] = Counter()
        self.failed: list[str] = []
        kinds = [
            self._uploads,
            self._uploads,
            self._waits,
            self._streams,
            self._slow_uploads,
            self._slow_downloads,
        ]
        self._threads = [threading.Thread(target=self._repeat, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(base_url=self._url, timeout=100, limits=CONNECTION) as client:
            while not self._stop.is_set():
                try:
                    kind(client)
                except (httpx.HTTPError, AssertionError, KeyError) as error:
                    self.failed.append(f"{kind.__name__}: {type(error).__name__}: {error}")
                time.sleep(0.05)

    def _ask(
        self, client: httpx.Client, what: str, method: str, path: str, *statuses: int, **more: object
    ) -> httpx.Response:
        self.sent[what] += 1
        answer = client.request(method, path, **more)
        assert answer.status_code in statuses, f"{what}: {answer.status_code}: {answer.text[:300]}"
        return answer

    def _uploads(self, client: httpx.Client) -> None:
        """POST, ask until it has ended, look at the result, erase."""
        body = {"files": {"photo": self._photo}}
        job = self._ask(client, "POST", "POST", "/v1/colorizations", 202, **body).json()
        path = f"/v1/colorizations/{job['id']}"
        while (state := self._ask(client, "GET", "GET", path, 200).json()["status"]) not in ENDED:
            time.sleep(0.1)
        assert state == "succeeded"
        answer = self._ask(client, "result", "GET", f"{path}/result", 200)
        assert f'"{hashlib.sha256(answer.content).hexdigest()}"' == answer.headers["etag"]
        self._ask(client, "DELETE", "DELETE", path, 204, headers={"Authorization": f"Bearer {job['secret']}"})

    def _waits(self, client: httpx.Client) -> None:
        """PUT, and wait for the answer: 202 where the API is about to stop."""
        more = {"content": self._photo, "headers": {"Prefer": "wait=30", "Content-Type": "image/jpeg"}}
        path = f"/v1/colorizations/{secrets.token_hex(16)}"
        answer = self._ask(client, "PUT, wait", "PUT", path, 200, 202, **more)
        self.sent["of these told to come again"] += answer.status_code == 202

    def _streams(self, client: httpx.Client) -> None:
        """Follow a job's events to the last, with Last-Event-ID where the stream ended before."""
        job = self._ask(client, "POST", "POST", "/v1/colorizations", 202, files={"photo": self._large}).json()
        seen, last = [], {}
        while not set(seen) & set(ENDED):
            self.sent["stream of events"] += 1
            with client.stream("GET", f"/v1/colorizations/{job['id']}/events", headers=last) as stream:
                assert stream.status_code == 200, f"stream: {stream.status_code}"
                for line in stream.iter_lines():
                    name, _, value = line.partition(": ")
                    seen += [value] if name == "event" else []
                    last = {"Last-Event-ID": value} if name == "id" else last
        assert seen[-1] == "succeeded"

    def _slow_uploads(self, client: httpx.Client) -> None:
        """A photo that takes eight seconds to come."""

        def pieces() -> Iterator[bytes]:
            step = len(self._large) // 80 + 1
            for at in range(0, len(self._large), step):
                yield self._large[at : at + step]
                time.sleep(0.1)

        headers = {"Content-Type": "image/png", "Content-Length": str(len(self._large))}
        self._ask(client, "slow POST", "POST", "/v1/colorizations", 202, content=pieces(), headers=headers)

    def _slow_downloads(self, client: httpx.Client) -> None:
        """A result that takes eight seconds to go."""
        headers = {"Content-Type": "image/png", "Prefer": "wait=60"}
        sent = {"content": self._large, "headers": headers}
        job = self._ask(client, "POST", "POST", "/v1/colorizations", 200, 202, **sent).json()
        path = f"/v1/colorizations/{job['id']}"
        while self._ask(client, "GET", "GET", path, 200).json()["status"] != "succeeded":
            time.sleep(0.1)
        self.sent["slow download"] += 1
        digest = hashlib.sha256()
        with client.stream("GET", f"{path}/result") as stream:
            assert stream.status_code == 200
            step = int(stream.headers["content-length"]) // 80 + 1
            for piece in stream.iter_raw(step):
                digest.update(piece)
                time.sleep(0.1)
        assert f'"{digest.hexdigest()}"' == stream.headers["etag"]


@pytest.fixture
def large() -> bytes:
    """A PNG whose result is far larger than what sockets and the proxy hold."""
    noise = np.random.default_rng(14).integers(0, 255, (1800, 2400), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=0)
    return file.getvalue()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_no_request_fails_while_all_parts_are_restarted(parties, gray_photo, large, until, capsys, tmp_path):
    apis = {
        name: urlsplit(party.running.line(r"url=(http://\S+)")[1]).netloc
        for name, party in parties.items()
        if "api" in name
    }
    with haproxy(CONFIG, tmp_path / "log", **apis) as url:
        until(lambda: is_ready(url), 20, "haproxy has found an API ready")
        with Clients(url, gray_photo(), large) as clients:
            time.sleep(3)
            for name, party in parties.items():
                begun = time.monotonic()
                assert party.restart() in (0, -signal.SIGTERM)
                with capsys.disabled():
                    sys.stdout.write(f"\n{name} restarted in {time.monotonic() - begun:.1f} s")
                time.sleep(3)
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(clients.sent)}, failed: {len(clients.failed)}\n")
    assert not clients.failed
    assert (
        min(
            clients.sent[kind]
            for kind in ("POST", "PUT, wait", "stream of events", "slow POST", "slow download")
        )
        >= 3
    )


def test_without_a_worker_results_are_still_shown_and_photos_taken_in(parties, gray_photo, until, tmp_path):
    apis = {
        name: urlsplit(party.running.line(r"url=(http://\S+)")[1]).netloc
        for name, party in parties.items()
        if "api" in name
    }
    with haproxy(CONFIG, tmp_path / "log", **apis) as url, httpx.Client(base_url=url, timeout=70) as client:
        until(lambda: is_ready(url), 20, "haproxy has found an API ready")
        send = {"content": gray_photo(), "headers": {"Content-Type": "image/jpeg", "Prefer": "wait=60"}}
        done = client.post("/v1/colorizations", **send).json()
        for name in ("worker_1", "worker_2"):
            parties[name].running.stop()
        problem = until(
            lambda: (answer := client.get("/readyz")).status_code == 503 and answer, 10, "no API is ready"
        )
        assert problem.json()["code"] == "workers_unavailable", "the API itself says so, not the proxy"
        assert client.get(f"/v1/colorizations/{done['id']}/result").status_code == 200
        assert client.post("/v1/colorizations", files={"photo": gray_photo()}).status_code == 202
        assert client.get("/metrics").status_code == 404


def test_the_proxys_own_limits_by_address_hold_where_they_are_turned_on(tmp_path):
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG.read_text().replace("#? ", ""))
    closed = f"127.0.0.1:{free_port()}"
    with (
        haproxy(config, tmp_path / "log", api_1=closed, api_2=closed) as url,
        httpx.Client(base_url=url) as client,
    ):
        time.sleep(0.5)
        statuses = Counter(client.get("/photos/0f8fad5bd9cb?secret=x").status_code for _ in range(203))
    assert statuses == {503: 200, 429: 3}
    lines = (tmp_path / "log").read_text()
    assert "429 GET" in lines
    assert not [words for words in ("127.0.0.1", "0f8fad5bd9cb", "secret") if words in lines]
