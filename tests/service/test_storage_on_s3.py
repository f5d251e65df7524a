"""The same store on S3: the verbs of its protocol that it uses, against a small server that keeps a dictionary."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from service.errors import Problem
from service.storage import Store, photo_key, result_key


class FakeS3(BaseHTTPRequestHandler):
    """Put, get, list (version 2) and delete (by POST) of objects; signatures are not looked at."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    parts: dict[int, bytes]

    def do_PUT(self) -> None:
        path, query = self._address()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "partNumber" in query:
            self.parts[int(query["partNumber"][0])] = data
        else:
            self.objects[path] = data
        self._answer(200)

    def do_POST(self) -> None:
        path, query = self._address()
        length = int(self.headers.get("Content-Length", 0))
        said = self.rfile.read(length).decode()
        if "delete" in query:
            keys = re.findall("<Key>(.*?)</Key>", said)
            for key in keys:
                self.objects.pop(f"{path}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            body = f"<DeleteResult>{deleted}</DeleteResult>"
        elif "uploads" in query:
            body = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        else:
            self.objects[path] = b"".join(self.parts[number] for number in sorted(self.parts))
            body = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        self._answer(200, body.encode())

    def do_GET(self) -> None:
        path, query = self._address()
        if "list-type" in query:
            prefix = query["prefix"][0]
            self._answer(200, self._list(path, prefix))
        elif path in self.objects:
            self._answer(200, self.objects[path])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _list(self, bucket: str, prefix: str) -> bytes:
        names = (path.removeprefix(f"{bucket}/") for path in sorted(self.objects))
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(self.objects[f'{bucket}/{name}'])}</Size><ETag>e</ETag>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for name in names
            if name.startswith(prefix)
        )
        return f"<ListBucketResult>{entries}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()

    def _address(self) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(self.path)
        return unquote(url.path).rstrip("/"), parse_qs(url.query, keep_blank_values=True)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


@pytest.fixture
def objects(monkeypatch) -> Iterator[dict[str, bytes]]:
    FakeS3.objects, FakeS3.parts = {}, {}
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeS3) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        yield FakeS3.objects
        server.shutdown()
        thread.join()


def test_files_are_kept_and_erased_under_the_prefix_of_the_url(objects, tmp_path):
    store = Store("s3://photos/autochrome")
    large = bytes(range(256)) * 40_000  # goes up in parts
    (tmp_path / "photo").write_bytes(large)
    with (tmp_path / "photo").open("rb") as file:
        store.put(photo_key("ab"), file)
    store.put(result_key("ab", 1, ".jpg"), b"result")
    store.put(photo_key("abc"), b"another's")
    assert store.get(photo_key("ab")) == large
    assert store.get(result_key("ab", 1, ".jpg")) == b"result"
    assert (store.ids_with(b"result"), store.ids_with(b"nobody's")) == ({"ab"}, set())
    store.erase("ab")
    store.erase("ab")
    assert set(objects) == {"/photos/autochrome/abc/photo"}
    with pytest.raises(FileNotFoundError):
        store.stream(photo_key("ab"))


def test_a_bucket_that_does_not_answer_is_said_within_seconds(monkeypatch, objects):
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Problem, match="store_unavailable"):
        Store("s3://photos").put(photo_key("ab"), b"photo")


def test_a_bucket_that_takes_calls_and_says_nothing_is_said_well_within_a_lease(monkeypatch, objects):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        store = Store("s3://photos")
        verbs = [
            lambda: store.put(photo_key("ab"), b"photo"),
            lambda: store.get(photo_key("ab")),
            lambda: store.erase("ab"),
        ]
        with ThreadPoolExecutor() as pool:
            seconds = list(pool.map(_seconds_until_it_fails, verbs))
    assert max(seconds) < 5.5, "with the worker's pause of 2 s that is less than the lease of 8 s"


def _seconds_until_it_fails(verb: Callable[[], object]) -> float:
    start = time.monotonic()
    with pytest.raises(Problem, match="store_unavailable"):
        verb()
    return time.monotonic() - start


def test_a_photo_that_breaks_off_midway_is_a_store_that_does_not_answer(monkeypatch, objects):
    objects["/photos/ab/photo"] = bytes(3 * 2**20)

    def broken(self: FakeS3, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    monkeypatch.setattr(FakeS3, "_answer", broken)
    with pytest.raises(Problem, match="store_unavailable"):
        Store("s3://photos").get(photo_key("ab"))
