"""What docs/operations/key_rotation.md says of Redis's password and of webhooks' secrets, step by step, on real servers under load."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import redis
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from service.database import connect
from tests.benchmarks.servers import free_port

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Debian's redis-server is not installed"),
]
SECRETS = ["whsec_" + b64encode(bytes([number]) * 24).decode() for number in (1, 2)]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A Redis whose password is `old`."""
    number = free_port()
    command = ["redis-server", "--port", str(number), "--dir", str(tmp_path), "--requirepass", "old"]
    with subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL) as process:
        try:
            yield number
        finally:
            process.terminate()


@pytest.fixture
def received() -> Iterator[tuple[str, list[tuple[bytes, dict[str, str]]]]]:
    """An address that takes webhooks, and what has come there: bodies and headers."""
    came = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()
        thread.join()


def test_redis_gets_another_password_and_no_photo_is_lost(launch, port, tmp_path, gray_photo, until):
    def start(part: str, password: str, **more: object):
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        shared = {"redis_url": url, "store_url": (tmp_path / "store").as_uri()}
        started = launch("-m", "service", part, **shared, **more)
        ready = started.line("net_loaded" if part == "worker" else r"api_listening url=(http://\S+)", 60)
        return started, ready[1] if part == "api" else ""

    def color(url: str) -> int:
        answer = httpx.post(
            f"{url}/v1/colorizations",
            files={"photo": gray_photo()},
            headers={"Prefer": "wait=30"},
            timeout=40,
        )
        return answer.status_code

    worker, (api, url) = start("worker", "old")[0], start("api", "old", port=0)
    assert color(url) == 200
    with connect(f"redis://:old@127.0.0.1:{port}/0") as admin:
        admin.execute_command("ACL", "SETUSER", "default", ">new")  # both are good now
        new_worker, (_, new_url) = start("worker", "new")[0], start("api", "new", port=0)
        assert color(url) == color(new_url) == 200
        api.stop()
        worker.stop()
        admin.execute_command("ACL", "SETUSER", "default", "<old")
    with pytest.raises(redis.AuthenticationError), connect(f"redis://:old@127.0.0.1:{port}/0") as late:
        late.ping()
    assert color(new_url) == 200
    assert not [line for line in new_worker.lines if "WARNING" in line or "ERROR" in line]


def test_receivers_of_webhooks_change_their_secret_one_after_the_other(
    launch, tmp_path, received, until, gray_photo
):
    """Before, while both sign, and after: a receiver that knows one of the two is served in between, whichever it knows."""
    receiver, came = received

    def notified(secrets: str) -> list[bool]:
        """Whether a receiver that knows the old secret believes the message, and one that knows the new."""
        came.clear()
        service = launch(
            *("-m", "service"),
            state_dir=tmp_path,
            port=0,
            webhook_hosts=receiver,
            webhook_secret=secrets,
        )
        url = service.line(r"service_ready url=(http://\S+)", 60)[1]
        data = {"webhook": f"{receiver}/told"}
        sent = httpx.post(f"{url}/v1/colorizations", files={"photo": gray_photo()}, data=data)
        assert sent.status_code == 202, sent.text
        body, headers = until(lambda: came and came[0], 20, "it is notified")
        time.sleep(0.2)
        service.stop()
        believed = []
        for secret in SECRETS:
            try:
                Webhook(secret).verify(body, headers)
                believed.append(True)
            except WebhookVerificationError:
                believed.append(False)
        return believed

    old, new = SECRETS
    assert notified(old) == [True, False]
    assert notified(f"{new} {old}") == [True, True]
    assert notified(new) == [False, True]
