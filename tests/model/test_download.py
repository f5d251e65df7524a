"""Downloads from a real HTTP server that misbehaves in every way we can think of."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.download import DownloadError, fetch

BODY = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(BODY).hexdigest()
FINISH = threading.Event()


class Mirror(BaseHTTPRequestHandler):
    """Each path is a way to fail, but for /good."""

    def do_GET(self) -> None:
        match self.path:
            case "/good":
                self.answer(BODY)
            case "/redirect":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
            case "/chunked":  # says no length
                self.send_response(200)
                self.end_headers()
                self.wfile.write(BODY)
            case "/truncated":
                self.answer(BODY[:100_000], length=len(BODY))
            case "/other":
                self.answer(b"<html>Sign in to this hotel's network</html>")
            case "/endless":
                self.answer(BODY * 2)
            case "/hangs":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(BODY[:1000])
                self.wfile.flush()
                FINISH.wait(20)
            case "/nonsense":
                self.wfile.write(b"this is not HTTP\r\n\r\n")
            case _:
                self.send_error(int(self.path[1:]))

    def answer(self, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        FINISH.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/good", "/redirect", "/chunked"])
def test_a_file_arrives_whole_with_its_hash_and_progress(mirror: str, tmp_path: Path, path: str) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "cache" / "weights.pth"
    found = fetch([mirror + path], SHA256[:8], target, progress=lambda got, of: seen.append((got, of)))
    assert found == SHA256
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), None if path == "/chunked" else len(BODY))
    assert len(seen) > 2


BAD = {
    "/403": "answered 403 Forbidden",
    "/404": "answered 404 Not Found",
    "/500": "answered 500",
    "/truncated": f"ended after 100000 of {len(BODY)} bytes",
    "/other": "another hash",
    "/hangs": "silent for 0.5 s",
    "/endless": "larger than",
    "/nonsense": "this is not HTTP",
}


@pytest.mark.parametrize("path", BAD)
def test_where_a_mirror_fails_the_next_is_used(mirror: str, tmp_path: Path, path: str) -> None:
    target = tmp_path / "weights.pth"
    fetch([mirror + path, mirror + "/good"], SHA256, target, timeout=0.5, max_bytes=len(BODY))
    assert target.read_bytes() == BODY
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pth"]


def test_where_all_fail_the_error_names_each_and_nothing_is_left(mirror: str, tmp_path: Path) -> None:
    urls = [mirror + path for path in BAD] + ["http://127.0.0.1:1/closed", "http://nowhere.invalid/x"]
    with pytest.raises(DownloadError) as caught:
        fetch(urls, SHA256, tmp_path / "weights.pth", timeout=0.5, max_bytes=len(BODY))
    assert [url for url, _ in caught.value.failures] == urls
    for (url, reason), wanted in zip(caught.value.failures, BAD.values(), strict=False):
        assert wanted in reason
        assert f"{url}: {reason}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_stays_as_it_is_when_all_fail(mirror: str, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(b"older")
    with pytest.raises(DownloadError):
        fetch([mirror + "/other", mirror + "/truncated"], SHA256, target)
    assert target.read_bytes() == b"older"


def test_a_file_on_this_machine_is_a_mirror_too(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(BODY)
    assert fetch([(tmp_path / "mine.pth").as_uri()], SHA256, tmp_path / "weights.pth") == SHA256
