"""The whole road outside: a photo fetched by its address, colored by real processes, told of by webhook."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Elsewhere(ThreadingHTTPServer):
    """Has a photo, and is notified of jobs: the first time it is not well."""

    def __init__(self, photo: bytes) -> None:
        self.photo = photo
        self.received: list[tuple[str, dict]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self._answer(200, self.server.photo)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.headers["webhook-id"], json.loads(body)))
        self._answer(500 if len(self.server.received) == 1 else 204)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def elsewhere(gray_photo) -> Iterator[Elsewhere]:
    server = Elsewhere(gray_photo())
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_message_that_was_not_taken_outlives_every_process(elsewhere, launch, tmp_path, until):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "state_dir": tmp_path,
        "port": port,
        "url_hosts": elsewhere.origin,
        "webhook_hosts": elsewhere.origin,
        "webhook_secret": SECRET,
        "public_url": "https://color.example",
    }
    service = launch("-m", "service", **settings)
    service.line("service_ready ", 60)
    wish = {"url": f"{elsewhere.origin}/photo?token=mine", "webhook": f"{elsewhere.origin}/hook?token=mine"}
    job = httpx.post(f"http://127.0.0.1:{port}/v1/colorizations", json=wish, timeout=30).json()
    until(lambda: elsewhere.received, 30, "a first try")
    service.stop(signal.SIGKILL)  # the supervisor; all that is left of it ends with it
    lines = "".join(service.lines)
    assert len(elsewhere.received) == 1

    again = launch("-m", "service", **settings)
    until(lambda: len(elsewhere.received) == 2, 60, "a second try")
    (first, _), (second, message) = elsewhere.received
    assert first == second == f"{job['id']}-succeeded"
    assert message["data"]["result"]["url"] == f"https://color.example/v1/colorizations/{job['id']}/result"
    again.line("webhook_delivered", 10)
    assert "token" not in lines + "".join(again.lines)
