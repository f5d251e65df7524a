"""Connections, by raw sockets: headers that never end, slow readers, too many, requests that two parsers would read differently."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from service.api import connections

HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: "
WHOLE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOAD = b"POST /v1/colorizations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Times in which a test can be ended."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(connections, "SWEEP_EVERY", 0.05)
    monkeypatch.setattr(connections, "LINGER", 0.2)


@pytest.fixture
def line(api) -> Iterator[Callable[..., socket.socket]]:
    """A connection to the API, or to another one."""
    with ExitStack() as opened:

        def connect(to: httpx.Client = api, at: str = "127.0.0.1") -> socket.socket:
            place = (to.base_url.host, to.base_url.port)
            return opened.enter_context(socket.create_connection(place, 20, (at, 0)))

        yield connect


def said(line: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(65536):
            got += piece
    return got


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_client_is_the_first_to_close_an_idle_connection():
    assert httpx.Limits().keepalive_expiry < connections.KEEP_ALIVE


# headers


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["the first", "one after an answer"])
def test_a_header_that_trickles_is_cut_off_in_time(line, impatient, before):
    slow = line()
    slow.sendall(before + HALF)
    over = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                slow.sendall(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    answer = said(slow)
    over.set()
    thread.join()
    assert answer.count(b"HTTP/1.1 ") == 1 + bool(before)
    assert b"HTTP/1.1 408 " in answer
    assert b'"code":"header_timeout"' in answer


def test_who_connects_and_says_nothing_is_cut_off_in_time(line, impatient):
    assert said(line()) == b""


@pytest.mark.parametrize(
    "endless",
    [
        *(b"GET /", HALF, b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"GET /livez HTTP/1.1\r\n"),
        UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",  # fields behind a body
        UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1;",  # what a chunk says of itself
    ],
    ids=["address", "field", "fields", "name of a field", "trailers", "chunk extension"],
)
@pytest.mark.parametrize("filler", [b"a" * 1000, b"X-A: b\r\n" * 125], ids=["long", "many"])
def test_a_header_without_end_is_refused_when_it_is_too_large(line, endless, filler):
    sender = line()
    sent = 0
    with contextlib.suppress(OSError):
        sender.sendall(endless)
        while sent < 4 * connections.HEADER_BYTES:
            sender.sendall(filler)
            sent += len(filler)
    answer = said(sender)
    assert not answer or status(answer) in (400, 431)


def test_a_header_that_is_too_large_is_said_to_be_so_and_a_long_one_is_read(line):
    long, longer = line(), line()
    long.sendall(HALF + b"a" * (connections.HEADER_BYTES - 100) + b"\r\nConnection: close\r\n\r\n")
    assert status(said(long)) == 200
    longer.sendall(HALF + b"a" * connections.HEADER_BYTES)
    answer = said(longer)
    assert status(answer) == 431
    assert b'"code":"header_too_large"' in answer


def test_a_body_in_chunks_of_a_byte_is_not_read_to_its_end(line):
    sender = line()
    sender.sendall(UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b"1\r\na\r\n" * 10_000
    sent = 0
    with contextlib.suppress(OSError):  # reset, or a broken pipe
        while sent < 100 * len(piece):
            sent += sender.send(piece)
    assert sent < 100 * len(piece)


# how many


def test_beyond_the_most_the_one_that_has_waited_longest_makes_room(settings, client, serve, line):
    few = serve(settings.model_copy(update={"connections": 8}))
    first = line(few)
    first.sendall(HALF)
    for _ in range(40):
        line(few).sendall(HALF)
        asking = line(few)
        asking.sendall(WHOLE)
        assert status(asking.recv(1000)) == 200
    assert said(first) == b""


def test_requests_under_way_are_not_cut_and_who_comes_then_is_told_so(
    settings, client, serve, line, check_problem
):
    few = serve(settings.model_copy(update={"connections": 2}))
    uploads = [line(few) for _ in range(2)]
    for upload in uploads:
        upload.sendall(UPLOAD + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert upload.recv(100).startswith(b"HTTP/1.1 100 ")
    check_problem(httpx.get(f"{few.base_url}/v1/nets"), "connections_busy")
    assert httpx.get(f"{few.base_url}/livez").status_code == 200
    for upload in uploads:
        upload.sendall(b"Dear diary")
        assert upload.recv(100).startswith(b"HTTP/1.1 415 ")


def test_below_a_path_too_this_process_lives_when_all_connections_are_taken(settings, client, serve, line):
    few = serve(settings.model_copy(update={"connections": 1, "root_path": "/color"}))
    upload = line(few)
    upload.sendall(UPLOAD + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    assert upload.recv(100).startswith(b"HTTP/1.1 100 ")
    for path in ("/color/livez", "/livez"):
        assert httpx.get(f"{few.base_url}{path}").status_code == 200
    refused = httpx.get(f"{few.base_url}/color/v1/nets")
    assert (refused.status_code, refused.json()["type"]) == (503, "/color/problems/connections_busy")


def test_one_address_cannot_have_all(settings, client, serve, line, monkeypatch):
    monkeypatch.setattr(connections, "_LOOPBACK", ())
    several = serve(settings.model_copy(update={"connections": 20, "connections_per_address": 4}))
    other = line(several, at="127.0.0.2")
    other.sendall(HALF)
    many = [line(several) for _ in range(12)]
    for one in many:
        one.sendall(HALF)
    assert httpx.get(f"{several.base_url}/livez").status_code == 200
    assert [said(one) for one in many[:8]] == [b""] * 8
    other.sendall(b"\r\nConnection: close\r\n\r\n")
    assert status(said(other)) == 200


def test_who_has_most_gives_way_to_others_when_all_places_are_taken(
    settings, client, serve, line, monkeypatch
):
    """A few senders who follow jobs, or send slowly, would keep all others out."""
    monkeypatch.setattr(connections, "_LOOPBACK", ())
    few = serve(settings.model_copy(update={"connections": 12}))
    uploads = [line(few, at="127.0.0.2") for _ in range(12)]
    for upload in uploads:
        upload.sendall(UPLOAD + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert upload.recv(100).startswith(b"HTTP/1.1 100 ")
    assert httpx.get(f"{few.base_url}/v1/nets").status_code == 200
    assert said(uploads[0]) == b""
    for upload in uploads[1:]:
        upload.sendall(b"Dear diary")
        assert upload.recv(100).startswith(b"HTTP/1.1 415 ")


def test_twenty_people_behind_one_address_can_open_the_page_at_once(
    settings, client, serve, line, monkeypatch
):
    monkeypatch.setattr(connections, "_LOOPBACK", ())
    api = serve(settings)
    browsers = [line(api) for _ in range(20 * 6)]
    for one in browsers:
        one.sendall(WHOLE)
    assert {one.recv(100)[:13] for one in browsers} == {b"HTTP/1.1 200 "}


def test_a_proxy_that_is_trusted_may_have_more_than_an_address(settings, client, serve, line, monkeypatch):
    monkeypatch.setattr(connections, "_LOOPBACK", ())
    trusting = {"connections_per_address": 2, "trusted_proxies": ("127.0.0.0/8",)}
    api = serve(settings.model_copy(update=trusting))
    many = [line(api) for _ in range(8)]
    for one in many:
        one.sendall(WHOLE)
        assert one.recv(100).startswith(b"HTTP/1.1 200 ")


# answers


def test_who_does_not_read_an_answer_is_cut_off_and_who_does_gets_it_whole(
    settings, client, serve, work, gray_photo, line, monkeypatch
):
    monkeypatch.setattr(connections, "READ_WINDOW", 0.5)
    monkeypatch.setattr(connections, "SWEEP_EVERY", 0.05)
    api = serve(settings.model_copy(update={"upload_rate": 100_000}))
    id = api.post("/v1/colorizations", files={"photo": gray_photo()}).json()["id"]
    picture = bytes(16 * 2**20)
    work(picture)
    ask = f"GET /v1/colorizations/{id}/result HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    sleeper = line(api)
    sleeper.sendall(ask)
    time.sleep(1.2)
    got = len(said(sleeper))
    assert 0 < got < len(picture)
    reader, got = line(api), 0
    reader.sendall(ask)
    end = time.monotonic() + 1.2  # two windows, at some megabytes a second
    while piece := reader.recv(2**16 if time.monotonic() < end else 2**20):
        got += len(piece)
        if time.monotonic() < end:
            time.sleep(0.02)
    assert got > len(picture)


def test_requests_that_do_not_wait_are_answered_in_order_unless_there_are_too_many(line):
    few, many = line(), line()
    few.sendall(WHOLE * 3 + WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert said(few).count(b"HTTP/1.1 200 ") == 4
    many.sendall(WHOLE * 1000)
    assert said(many).count(b"HTTP/1.1 ") < 1000


def test_nothing_becomes_a_websocket(line):
    asking = line()
    asking.sendall(
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert status(said(asking)) == 200


# what two parsers would read differently


@pytest.mark.parametrize(
    "fields",
    [
        *(b"Content-Length: +5", b"Content-Length: -5", b"Content-Length: 5\r\nContent-Length: 5"),
        *(b"Content-Length: 5, 5", b"Content-Length: 0x5", b"Content-Length: 5 5", b"Content-Length: \xb2"),
        *(b"Content-Length: " + b"9" * 5000,),
        *(b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length:"),
        *(
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        ),
        *(
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding : chunked",
        ),
        *(b"Transfer-Encoding:\x0bchunked", b"Content-Length : 5", b" Content-Length: 5", b"X: a\r\n b"),
        *(b"X: a\x00b", b"X\x00: a", b"X: a\rContent-Length: 5", b"Host: y", b"No colon"),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_read_in_none(line, fields):
    sender = line()
    sender.sendall(UPLOAD + fields + b"\r\n\r\n" + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = said(sender)
    assert not answer or status(answer) == 400  # or cut off, where it was read as far as its body
    assert answer.count(b"HTTP/1.1 ") <= 1


def test_a_length_of_5000_digits_is_refused_whatever_number_it_is(line):
    sender = line()
    sender.sendall(UPLOAD + b"Connection: close\r\nContent-Length: " + b"0" * 5000 + b"5\r\n\r\nhello")
    assert status(said(sender)) == 400


@pytest.mark.parametrize("head", [b"GET /livez HTTP/1.1\r\n\r\n", b"GET /v1/nets HTTP/1.1\r\n\r\n"])
def test_a_request_names_its_host(line, head):
    sender = line()
    sender.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert status(said(sender)) == (200 if b"livez" in head else 400)
