"""Pictures come from listed hosts alone, and no more of them than may."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from bot.images import (
    AllowedHosts,
    HostRefusedError,
    ImageError,
    MissingError,
    NotAnImageError,
    TooLargeError,
    UnreachableError,
    download,
    open_client,
)

PICTURE = bytes(range(256)) * 40
MOST = 20_000


class Shelf(BaseHTTPRequestHandler):
    """Answers by path; notes what was asked."""

    protocol_version = "HTTP/1.1"
    requests: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.requests.append((self.path, self.headers["user-agent"]))
        path, _, more = self.path.partition("?")
        match path:
            case "/picture":
                self.give(PICTURE)
            case "/untyped":
                self.give(PICTURE, kind="application/octet-stream")
            case "/page":
                self.give(b"<html>", kind="text/html; charset=utf-8")
            case "/empty":
                self.give(b"")
            case "/too-large":
                self.give(b"x" * (MOST + 1))
            case "/endless":
                self.stream(b"x" * 1000, pause=0)
            case "/dripping":
                self.stream(b"x", pause=0.02)
            case "/packed":
                self.give(PICTURE, **{"Content-Encoding": "gzip"})
            case "/cut-off":
                self.give(PICTURE, **{"Content-Length": str(len(PICTURE) + 1)})
            case "/to":
                self.give(b"", status=302, Location=more)
            case "/busy":
                self.give(b"", status=503, **{"Retry-After": "7"})
            case "/removed.png":
                self.give(PICTURE)
            case _:
                self.give(b"", status=int(path.strip("/")))

    def give(self, body: bytes, status: int = 200, kind: str = "image/jpeg", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def stream(self, piece: bytes, pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(2000):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                time.sleep(pause)
        except OSError:  # who asked has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests say what matters."""


class Shop(ThreadingHTTPServer):
    """One host, with all that was asked of it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), type("Shelf", (Shelf,), {"requests": self.requests}))
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that a test cut off is no error."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def other_shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(shop: Shop, path: str, deadline: float = 10) -> bytes:
    with open_client("a test/1") as client:
        return download(client, shop.origin + path, AllowedHosts.parse([shop.origin]), MOST, deadline)


def test_a_picture_comes_whole_and_the_host_sees_who_asks(shop: Shop) -> None:
    assert get(shop, "/picture") == PICTURE
    assert get(shop, "/untyped") == PICTURE
    assert shop.requests == [("/picture", "a test/1"), ("/untyped", "a test/1")]


def test_redirects_are_followed_as_far_as_the_list_goes(shop: Shop, other_shop: Shop) -> None:
    assert get(shop, "/to?/picture") == PICTURE
    assert get(shop, f"/to?/to?{shop.origin}/picture") == PICTURE
    with pytest.raises(HostRefusedError) as refused:
        get(shop, f"/to?{other_shop.origin}/picture")
    assert refused.value.host == "127.0.0.1"
    assert other_shop.requests == []


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/404", MissingError),
        ("/410", MissingError),
        ("/403", MissingError),
        ("/to?/removed.png", MissingError),
        ("/page", NotAnImageError),
        ("/empty", NotAnImageError),
        ("/too-large", TooLargeError),
        ("/endless", TooLargeError),
        ("/500", UnreachableError),
        ("/429", UnreachableError),
        ("/packed", UnreachableError),
        ("/cut-off", UnreachableError),
        ("/to?http://[::1", UnreachableError),
        ("/to?file:///etc/passwd", HostRefusedError),
        ("/to?/to?/to?/to?/to?/to?/picture", UnreachableError),
    ],
)
def test_each_failure_has_its_kind(shop: Shop, path: str, error: type[ImageError]) -> None:
    with pytest.raises(ImageError) as raised:
        get(shop, path)
    assert type(raised.value) is error


def test_a_host_says_when_to_come_again(shop: Shop) -> None:
    with pytest.raises(UnreachableError) as raised:
        get(shop, "/busy")
    assert raised.value.retry_after == 7


def test_who_drips_is_cut_off(shop: Shop) -> None:
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="too slowly"):
        get(shop, "/dripping", deadline=0.3)
    assert time.monotonic() - begun < 30


def test_a_host_that_is_not_there_may_opt_in() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as server:
        port = server.server_port
    origin = f"http://127.0.0.1:{port}"
    with open_client("a test/1") as client, pytest.raises(UnreachableError):
        download(client, f"{origin}/picture", AllowedHosts.parse([origin]))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://i.redd.it/a.jpg", True),
        ("https://I.REDD.IT./a.jpg", True),
        ("https://i.redd.it:443/a.jpg", True),
        ("https://pics.below.example/a.jpg", True),
        ("http://127.0.0.1:8099/a.jpg", True),
        ("http://i.redd.it/a.jpg", False),
        ("https://i.redd.it:8443/a.jpg", False),
        ("https://below.example/a.jpg", False),
        ("https://evilbelow.example/a.jpg", False),
        ("https://i.redd.it.evil.example/a.jpg", False),
        ("https://evil.example/i.redd.it", False),
        ("https://i.redd.it@evil.example/a.jpg", False),
        ("https://user@i.redd.it/a.jpg", False),
        ("https://evil.example#@i.redd.it/a.jpg", False),
        ("https://evil.example\\@i.redd.it/a.jpg", False),
        ("http://127.0.0.1/a.jpg", False),
        ("http://127.0.0.1:8098/a.jpg", False),
        ("https://127.0.0.1:8099/a.jpg", False),
        ("http://2130706433:8099/a.jpg", False),
        ("https://[::1]/a.jpg", False),
        ("ftp://i.redd.it/a.jpg", False),
        ("//i.redd.it/a.jpg", False),
        ("https://i.redd.it/" + "a" * 3000, False),
        ("", False),
        ("https://", False),
        ("https://i.redd.it\n.evil.example/", False),
    ],
)
def test_the_list_means_what_it_says(url: str, allowed: bool) -> None:
    hosts = AllowedHosts.parse(["i.redd.it", "*.below.example", "http://127.0.0.1:8099"])
    assert hosts.allows(url) is allowed
    assert not AllowedHosts.parse([]).allows(url)


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "i.redd.it/path",
        "127.0.0.1",
        "http://127.0.0.1:8099/path",
        "ftp://host",
        "user@host.example",
        "localhost",
    ],
)
def test_an_entry_that_says_nothing_clear_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=entry.replace("*", r"\*").replace(".", r"\.")):
        AllowedHosts.parse([entry])


def test_the_network_is_called_upon_for_nothing_that_is_refused() -> None:
    def never(request: httpx.Request) -> httpx.Response:
        pytest.fail(f"{request.url} was called upon")

    with (
        httpx.Client(transport=httpx.MockTransport(never)) as client,
        pytest.raises(HostRefusedError) as refused,
    ):
        download(client, "https://evil.example/a.jpg", AllowedHosts())
    assert refused.value.host == "evil.example"
