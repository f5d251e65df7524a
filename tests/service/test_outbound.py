"""Fetching and posting over real sockets: what is let through, and what each bad server is answered with."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpcore
import pytest
import trustme

from service.errors import Problem
from service.outbound import SYSTEM, UNREACHABLE, Allow, Network, Timeouts, fetch, post

PUBLIC = "93.184.216.34"
OUT_OF_REACH = f"url_failed: {re.escape(UNREACHABLE)}"
QUICK = Timeouts(connect=0.4, idle=0.4, total=0.7)
PATIENT = Timeouts(connect=60, idle=60, total=60)
Handler = Callable[[socket.socket, bytes], None]


class Server:
    """A TCP server on this machine; each connection's request is kept and handed to a function."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._handler = handler
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self._answering: list[threading.Thread] = []

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._answering.append(threading.Thread(target=self._answer, args=(connection,)))
                self._answering[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        with suppress(OSError), connection:  # the client may go whenever it likes
            if self._tls is None:
                self._talk(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._talk(secured)

    def _talk(self, connection: socket.socket) -> None:
        request = connection.recv(65536)
        if request.startswith(b"POST"):
            while not request.endswith(b"{}"):
                request += connection.recv(65536)
        self.requests.append(request)
        self._handler(connection, request)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._answering):
            thread.join()


@contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(handler, tls)
    try:
        yield server
    finally:
        server.stop()


def say(*pieces: bytes, pause: float = 0) -> Handler:
    """A handler that says this and hangs up."""

    def handler(connection: socket.socket, request: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)

    return handler


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def for_ever(piece: bytes, pause: float = 0) -> Handler:
    def handler(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if not piece.startswith(b"H") else b"")
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            connection.sendall(piece)
            time.sleep(pause)

    return handler


class Names:
    """Answers in the place of DNS, anew each time, and routes by which public addresses lead to local servers."""

    def __init__(self, routes: dict[tuple[str, int], int], **answers: list[list[str]]) -> None:
        self.looked_up: list[str] = []
        self.dialed: list[tuple[str, int]] = []
        self._routes = routes
        self._answers = answers
        self.network = Network(self._look_up, self._dial)

    def _look_up(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        answers = self._answers[host.partition(".")[0]]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _dial(self, address: str, port: int, seconds: float) -> httpcore.NetworkStream:
        self.dialed.append((address, port))
        if (address, port) not in self._routes:
            raise httpcore.ConnectError
        return httpcore.SyncBackend().connect_tcp("127.0.0.1", self._routes[address, port], timeout=seconds)


def get(url: str, hosts: str, max_bytes: int = 1000, network: Network = SYSTEM, timeouts=PATIENT) -> bytes:
    with fetch(
        url, allow=Allow.of(hosts), max_bytes=max_bytes, timeouts=timeouts, network=network
    ).file as file:
        return file.read()


# what is let through


def test_a_file_comes_with_its_type_and_nothing_of_us_is_told():
    with serving(say(ok(b"x" * 1000, b"Content-Type: Image/JPEG; a=b"))) as server:
        fetched = fetch(f"{server.url}/a%20b?c=d#e", allow=Allow.of(server.url), max_bytes=1000)
        assert (fetched.file.read(), fetched.media_type) == (b"x" * 1000, "image/jpeg")
        fetched.file.close()
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b?c=d HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines[1:] if line}
    assert names == {"host", "user-agent", "connection", "accept", "accept-encoding"}
    assert "Accept-Encoding: identity" in lines
    assert f"Host: 127.0.0.1:{server.port}" in lines


def test_a_body_without_a_length_and_one_in_chunks_come_whole():
    with serving(say(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def", pause=0.05)) as server:
        assert get(server.url, server.url) == b"abcdef"
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    with serving(say(chunks)) as server:
        assert get(server.url, server.url) == b"abcdef"


def test_a_public_name_is_dialed_at_the_address_that_was_checked():
    with serving(say(ok(b"photo"))) as server:
        names = Names({(PUBLIC, 80): server.port}, photos=[[PUBLIC], ["127.0.0.1"]])
        assert get("http://photos.example/", "*.example", network=names.network) == b"photo"
    assert b"Host: photos.example\r\n" in server.requests[0]
    assert (names.looked_up, names.dialed) == (["photos.example"], [(PUBLIC, 80)])


def test_the_next_address_is_tried_where_the_first_does_not_answer():
    with serving(say(ok(b"photo"))) as server:
        names = Names({(PUBLIC, 80): server.port}, photos=[["2606:4700::1111", PUBLIC]])
        assert get("http://photos.example/", "*", network=names.network) == b"photo"
    assert names.dialed == [("2606:4700::1111", 80), (PUBLIC, 80)]


def test_three_redirects_are_followed_and_a_fourth_is_not():
    def handler(connection: socket.socket, request: bytes) -> None:
        left = int(request.split(b" ")[1].removeprefix(b"/"))
        connection.sendall(redirect(f"/{left - 1}", 307) if left else ok(b"photo"))

    with serving(handler) as server:
        assert get(f"{server.url}/3", server.url) == b"photo"
        with pytest.raises(Problem, match=r"url_failed: .*redirects more than"):
            get(f"{server.url}/4", server.url)


# what is not


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.0.0.1./", "http://0.0.0.0/", "http://[::]/", "http://[::1]/"),
        *("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/"),
        *("http://[2002:7f00:1::]/", "http://169.254.169.254/latest/meta-data/", "http://localhost/"),
        *("http://localhost./", "https://127.0.0.1/", "http://[fd00:ec2::254]/", "http://100.100.100.200/"),
    ],
)
def test_an_inner_host_is_refused_by_its_address_without_a_connection(url):
    dialed = []
    network = Network(dial=lambda *call: dialed.append(call))
    with pytest.raises(Problem, match=OUT_OF_REACH):
        get(url, "*", network=network)
    with pytest.raises(Problem, match=OUT_OF_REACH):
        post(url, b"{}", {}, Allow.of("*"), network=network)
    assert not dialed


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1"], ["fe80::1%lo"], ["0.0.0.0"]]
)
def test_a_name_that_leads_inside_is_refused(answer):
    names = Names({}, photos=[answer])
    with pytest.raises(Problem, match=OUT_OF_REACH):
        get("http://photos.example/", "photos.example", network=names.network)
    assert not names.dialed


def test_a_name_that_changes_its_mind_between_redirects_is_checked_again():
    with serving(say(redirect("http://photos.example/again"))) as server:
        names = Names({(PUBLIC, 80): server.port}, photos=[[PUBLIC], ["127.0.0.1"]])
        with pytest.raises(Problem, match=OUT_OF_REACH):
            get("http://photos.example/", "*", network=names.network)
    assert names.dialed == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/"),
        *(
            "http://photos.example:6379/",
            "gopher://photos.example/",
            "http://user@photos.example/",
            "//2130706433/",
        ),
        *(
            "http://elsewhere.example/",
            "http://inner.example/",
            "http://[",
            "\\\\10.0.0.1\\x",
            "http://\xff/",
        ),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(location):
    with serving(say(redirect(location))) as server:
        names = Names({(PUBLIC, 80): server.port}, photos=[[PUBLIC]], inner=[["10.0.0.1"]])
        hosts = "photos.example inner.example 127.0.0.1 10.0.0.1"
        with pytest.raises(Problem, match=r"url_not_allowed|url_failed"):
            get(
                "http://photos.example/",
                hosts,
                network=Network(
                    lambda host, port: [host] if host[0] in "1:" else names.network.look_up(host, port),
                    names.network.dial,
                ),
            )
    assert names.dialed == [(PUBLIC, 80)]
    assert len(server.requests) == 1


def test_a_trusted_origin_may_not_redirect_to_another_port():
    with (
        serving(say(ok(b"inner"))) as inner,
        serving(say(redirect(inner.url))) as server,
        pytest.raises(Problem, match="url_not_allowed"),
    ):
        get(server.url, server.url)
    assert not inner.requests


# servers that do ill


@pytest.mark.parametrize(
    ("handler", "match"),
    [
        (say(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "404"),
        (say(b"HTTP/1.1 204 No\r\n\r\n"), "204"),
        (say(b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n"), "where to"),
        (say(b""), "HTTP"),
        (say(b"SSH-2.0-OpenSSH_9.9\r\n"), "HTTP"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "HTTP|broke off"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg"), "HTTP"),
        (say(ok(b"x" * 1001)), "more than"),
        (say(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n"), "more than"),
        (for_ever(b"x" * 65536), "more than"),
        (say(ok(gzip.compress(bytes(900_000)), b"Content-Encoding: gzip")), "compressed"),
        (for_ever(b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + b"X-A: bbbbbbb\r\n" * 999), "HTTP|time"),
    ],
)
def test_a_bad_answer_is_no_file(handler, match):
    with serving(handler) as server, pytest.raises(Problem, match=f"url_failed: .*({match})"):
        get(server.url, server.url)


@pytest.mark.parametrize(
    "handler",
    [
        lambda connection, request: connection.recv(1),  # says nothing at all
        for_ever(b"x", pause=0.1),  # a byte now and then: never idle, never done
        for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.05),
        say(*[bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaaaaaaaa"], pause=0.05),
    ],
)
def test_a_slow_server_is_given_up_in_time(handler):
    with serving(handler) as server:
        start = time.monotonic()
        with pytest.raises(Problem, match=r"url_failed: .*time"):
            get(server.url, server.url, max_bytes=10**6, timeouts=QUICK)
        assert time.monotonic() - start < 30


def test_redirects_share_one_time():
    with serving(say(b"", redirect("/"), pause=0.25)) as server:
        start = time.monotonic()
        with pytest.raises(Problem, match=r"url_failed: .*time"):
            get(server.url, server.url, timeouts=QUICK)
        assert time.monotonic() - start < 30


def test_a_lookup_that_hangs_is_given_up_in_time():
    released = threading.Event()
    start = time.monotonic()
    with pytest.raises(Problem, match=OUT_OF_REACH):
        get(
            "http://photos.example/",
            "*",
            network=Network(lambda *_: released.wait(60) and []),
            timeouts=QUICK,
        )
    assert time.monotonic() - start < 30
    released.set()


def test_a_host_that_is_not_there_is_refused_in_the_words_for_one_that_is_inside():
    with pytest.raises(Problem, match=OUT_OF_REACH):
        get("http://no-such-host.invalid/", "*", timeouts=Timeouts())
    with serving(say()) as server:
        pass
    with pytest.raises(Problem, match=OUT_OF_REACH):
        get(server.url, server.url)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_goes_by_the_name_and_not_by_the_address(authority, monkeypatch, tmp_path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server_names: list[str | None] = []
    context = certified(authority, "photos.example")
    context.sni_callback = lambda connection, name, _: server_names.append(name)
    with serving(say(ok(b"photo")), context) as server:
        names = Names({(PUBLIC, 443): server.port}, photos=[[PUBLIC]], other=[[PUBLIC]])
        assert get("https://photos.example/", "*", network=names.network) == b"photo"
        with pytest.raises(Problem, match=r"url_failed: .*secure connection"):
            get("https://other.example/", "*", network=names.network)
    assert server_names == ["photos.example", "other.example"]
    assert len(server.requests) == 1


def test_a_certificate_of_nobody_known_is_refused(authority):
    with serving(say(ok(b"photo")), certified(authority, "photos.example")) as server:
        names = Names({(PUBLIC, 443): server.port}, photos=[[PUBLIC]])
        with pytest.raises(Problem, match=r"url_failed: .*secure connection"):
            get("https://photos.example/", "*", network=names.network)
    assert not server.requests


def test_a_server_that_never_ends_its_handshake_is_given_up_in_time():
    with serving(lambda connection, request: connection.recv(1)) as server:
        names = Names({(PUBLIC, 443): server.port}, photos=[[PUBLIC]])
        start = time.monotonic()
        with pytest.raises(Problem, match=r"url_failed: .*secure connection"):
            get("https://photos.example/", "*", network=names.network, timeouts=QUICK)
        assert time.monotonic() - start < 30


# posting


def test_a_post_says_the_status_and_follows_nothing():
    with serving(say(b"HTTP/1.1 204 No\r\n\r\n")) as server:
        assert (
            post(f"{server.url}/hook?a=b", b"{}", {"X-A": "b"}, Allow.of(server.url), timeouts=PATIENT) == 204
        )
    assert server.requests[0].startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert b"X-A: b\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\n{}")
    with serving(say(ok(b""))) as inner, serving(say(redirect(inner.url, 307))) as server:
        assert post(server.url, b"{}", {}, Allow.of(f"{server.url} {inner.url}"), timeouts=PATIENT) == 307
    assert not inner.requests


def test_a_post_does_not_wait_for_a_body_without_end():
    with serving(for_ever(b"x" * 1000, pause=0.01)) as server:
        start = time.monotonic()
        assert post(server.url, b"{}", {}, Allow.of(server.url), timeouts=PATIENT) == 200
        assert time.monotonic() - start < 30


def test_the_environment_s_proxy_is_not_asked(monkeypatch):
    with serving(say(ok(b"proxy"))) as proxy, serving(say(ok(b"photo"))) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert get(server.url, server.url) == b"photo"
    assert not proxy.requests
