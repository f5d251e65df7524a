"""What goes around every request, over real HTTP: its id, its line in the log, its count, and the last resort."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from typing import cast

import httpx
import pytest
import uvicorn
from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from service.api.middleware import Access, BelowPath, request_ids
from service.api.problems import add_handlers
from service.errors import Problem
from service.local import listen
from service.observability import get_logger, set_up_logging

SEEN: list[tuple[str, str, int]] = []


def small_app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(
        Access, seen=lambda method, route, status, seconds: SEEN.append((method, route, status))
    )
    app.add_middleware(request_ids)
    add_handlers(app)

    @app.get("/things/{id}")
    def thing(id: str, request: Request) -> dict[str, str | None]:
        get_logger("autochrome.test").info("thing_read")
        request.state.answer_headers = {"RateLimit": "r=3"}
        return {"request": correlation_id.get()}

    @app.post("/refused/{id}")
    def refused() -> None:
        raise Problem("photo_empty")

    @app.get("/broken/{id}")
    def broken() -> None:
        raise RuntimeError("a bug")

    @app.get("/half")
    def half() -> Response:
        def pieces() -> Iterator[bytes]:
            yield b"x" * 100
            raise RuntimeError("too late")

        return StreamingResponse(pieces())

    return app


@pytest.fixture(scope="module")
def api() -> Iterator[httpx.Client]:
    with listen("127.0.0.1", 0) as listener:
        app = BelowPath(small_app(), root_path="/color")
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        with httpx.Client(base_url="http://{}:{}".format(*listener.getsockname()), timeout=20) as api:
            yield api
        server.should_exit = True
        thread.join()


@pytest.fixture
def log() -> Iterator[Callable[[], list[str]]]:
    """The log's lines so far."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    set_up_logging()
    (handler,) = root.handlers
    lines = io.StringIO()
    cast(logging.StreamHandler, handler).setStream(lines)
    SEEN.clear()
    yield lambda: lines.getvalue().splitlines()
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(False)


def test_the_senders_own_id_is_on_the_answer_and_on_every_line_of_its_request(api, log):
    answer = api.get("/things/secret-7", headers={"X-Request-ID": "from-a.proxy_7"})
    assert answer.headers["x-request-id"] == answer.json()["request"] == "from-a.proxy_7"
    assert answer.headers["ratelimit"] == "r=3", "a header that was asked for on the way"
    api.post("/refused/secret-7", headers={"X-Request-ID": "other"})
    looked, answered = log()
    assert looked.endswith("thing_read request=from-a.proxy_7")
    assert "request_answered method=POST route=/refused/{id} status=422 seconds=0." in answered
    assert answered.endswith(" request=other")


@pytest.mark.parametrize("sent", [None, "", "two words", "x" * 65, "a=b", "é", "a\tb"])
def test_an_id_that_would_spoil_the_log_is_replaced(api, sent, log):
    headers = {} if sent is None else {"X-Request-ID": sent.encode()}
    first, second = (api.get("/things/1", headers=headers).headers["x-request-id"] for _ in range(2))
    assert len(first) == 16
    assert first != second
    assert int(first, 16) >= 0
    assert not [line for line in log() if "failed validation" in line], "the log says nothing of it"


def test_answers_are_counted_by_template_so_that_addresses_do_not_become_numbers(api, log):
    for path in ("/things/1?a=b", "/things/2", "/nothing/here", "/broken/1"):
        api.get(path)
    api.post("/refused/1")
    api.put("/things/1")
    api.request("PROPFIND", "/things/1")
    assert SEEN == [
        ("GET", "/things/{id}", 200),
        ("GET", "/things/{id}", 200),
        ("GET", "nowhere", 404),
        ("GET", "/broken/{id}", 500),
        ("POST", "/refused/{id}", 422),
        ("PUT", "/things/{id}", 405),
        ("OTHER", "/things/{id}", 405),
    ]


def test_what_nobody_caught_is_an_internal_error_with_its_id_and_its_traceback_in_the_log(api, log):
    answer = api.get("/broken/secret-7")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.json()["type"] == "/color/problems/internal_error"
    assert "a bug" not in answer.text
    lines = log()
    assert lines[0].endswith(
        f"request_failed method=GET route=/broken/{{id}} request={answer.headers['x-request-id']}"
    )
    assert "RuntimeError: a bug" in lines
    assert "status=500" in lines[-1]
    assert sum("Traceback" in line for line in lines) == 1


def test_an_answer_that_breaks_in_the_middle_is_broken_off_and_counted(api, log):
    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/half")
    assert SEEN == [("GET", "/half", 200)]
    assert api.get("/things/1").status_code == 200
