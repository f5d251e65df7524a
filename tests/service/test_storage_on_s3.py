"""The same store on S3, against moto's server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.errors import Problem
from service.storage import Store, photo_key, result_key


def test_files_are_kept_and_erased_under_the_prefix_of_the_url(bucket, tmp_path):
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
    assert bucket() == {"autochrome/abc/photo"}
    with pytest.raises(FileNotFoundError):
        store.stream(photo_key("ab"))


def test_a_bucket_that_does_not_answer_is_said_within_seconds(monkeypatch, bucket):
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Problem, match="store_unavailable"):
        Store("s3://photos").put(photo_key("ab"), b"photo")


def test_a_bucket_that_takes_calls_and_says_nothing_is_said_well_within_a_lease(monkeypatch, bucket):
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


def test_a_photo_that_breaks_off_midway_is_a_store_that_does_not_answer(monkeypatch, bucket):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Breaking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(Problem, match="store_unavailable"):
            Store("s3://photos").get(photo_key("ab"))
        server.shutdown()
        thread.join()


class _Breaking(BaseHTTPRequestHandler):
    """Half of an object of 3 MiB, whichever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(3 * 2**20))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"e"')
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(bytes(3 * 2**19))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


def test_what_lies_there_is_listed_by_its_first_part_and_by_when_it_was_written(bucket):
    store = Store("s3://photos/autochrome")
    begun = int(time.time())
    for key in ("ab/1/result.jpg", "ab/photo", "abc/photo"):
        store.put(key, b"data")
    assert sorted(store.prefixes()) == ["ab", "abc"]
    assert begun <= store.modified("ab") <= time.time() + 1
    assert store.modified("a") == 0, "a part of a name is no prefix"
