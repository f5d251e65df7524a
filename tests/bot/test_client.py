"""The client against the real service, and against all that may go wrong on the way there."""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from PIL import Image

from bot.client import (
    BusyError,
    Client,
    ClientError,
    ConflictError,
    FailedError,
    GoneError,
    NotAllowedError,
    NotFoundError,
    PhotoRefusedError,
    RefusedError,
    UnavailableError,
    job_id,
    new_id,
)

A_JOB: dict[str, Any] = {
    "id": "ab" * 16,
    "status": "queued",
    "created_at": "2026-11-23T01:00:00Z",
    "expires_at": "2026-11-24T01:00:00Z",
    "queue_position": 1,
    "eta_s": 1.5,
    "timings": {},
    "options": {},
    "net": None,
    "result": None,
    "artifacts": [],
    "error": None,
    "secret": "s" * 43,
}
DONE = {**A_JOB, "status": "succeeded"}


class Script:
    """A service that answers as it is told, and a clock that only sleeping moves."""

    def __init__(self, answers: Sequence[httpx.Response | Exception]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options: Any) -> Client:
        return Client(
            "http://service.example/color/",
            sleep=self.slept.append,
            clock=lambda: sum(self.slept),
            transport=httpx.MockTransport(self),
            **options,
        )


def job(status: int = 200, document: object = A_JOB, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=document, headers=headers)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    document = {"code": code, "status": status, "title": "A title", "detail": "A sentence."}
    media = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(document), headers={**media, **headers})


@pytest.fixture
def real(service: Any) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_one_life_on_the_real_service(real: Client, gray_photo: Callable[..., bytes]) -> None:
    id = new_id()
    options = {"artifacts": "comparison", "vividness": 1.4, "keep_for": 3600}
    own = secrets.token_hex(24)
    done = real.create(gray_photo(), id, options, wait=25, secret=own)
    again = real.create(gray_photo(), id, options, wait=25, secret=own)
    assert (done.status, done.id, done.width, done.height, done.net) == ("succeeded", id, 320, 240, "lite")
    assert done.artifacts == ("comparison",)
    assert again == done, "the same photo under the same id is colored once, and the secret is the same"
    assert real.wait_for(id, 5).status == real.get(id).status == "succeeded"
    assert Image.open(io.BytesIO(real.result(id))).size == (320, 240)
    assert Image.open(io.BytesIO(real.artifact(id, "comparison"))).size == (640, 240)
    assert httpx.get(real.result_url(id)).content == real.result(id)
    with pytest.raises(ConflictError):
        real.create(gray_photo(size=(64, 64)), id, options)
    assert done.secret == own
    assert real.create(gray_photo(), id, options).secret == "", "the photo and its id prove nothing"
    for other in ("x" * 43, ""):
        with pytest.raises(NotAllowedError):
            real.delete(id, other)
    real.delete(id, done.secret)
    real.delete(id, done.secret)
    with pytest.raises(GoneError):
        real.result(id)
    with pytest.raises(GoneError):
        real.create(gray_photo(), id, options)


def test_what_the_real_service_refuses_has_its_kind(real: Client, gray_photo: Callable[..., bytes]) -> None:
    assert real.is_ready()
    for photo, code in (
        (b"no picture", "photo_unsupported"),
        (gray_photo(size=(4, 4)), "photo_too_small"),
        (b"x" * (26 * 2**20), "body_too_large"),
    ):
        with pytest.raises(PhotoRefusedError) as refused:
            real.create(photo, new_id())
        assert refused.value.code == code
        assert refused.value.detail.endswith(".")
    for id in (new_id(), "none"):
        with pytest.raises(NotFoundError):
            real.get(id)
    with pytest.raises(RefusedError) as invalid:
        real.create(gray_photo(), new_id(), {"vividness": 7})
    assert invalid.value.code == "option_invalid"
    real.delete(new_id())
    with pytest.raises(ValueError, match="is no id"):
        real.create(gray_photo(), "mine")


def test_a_key_is_sent_and_a_wrong_one_is_refused(service: Any, gray_photo: Callable[..., bytes]) -> None:
    with Client(service.url, key="ac_" + "x" * 44) as client, pytest.raises(NotAllowedError) as refused:
        client.create(gray_photo(), new_id())
    assert refused.value.code == "key_invalid"
    script = Script([job()])
    script.client(key="ac_key").get("ab" * 16)
    assert script.requests[0].headers["authorization"] == "Bearer ac_key"


def test_a_photo_goes_by_put_with_its_options(gray_photo: Callable[..., bytes]) -> None:
    script = Script([job(202)])
    created = script.client(user_agent="me/1").create(b"photo", "ab" * 16, {"vividness": 1.4}, wait=90)
    (request,) = script.requests
    assert (request.method, str(request.url), request.content, request.headers["user-agent"]) == (
        "PUT",
        f"http://service.example/color/v1/colorizations/{'ab' * 16}?vividness=1.4",
        b"photo",
        "me/1",
    )
    assert request.headers["prefer"] == "wait=25"
    assert not created.is_over
    assert created.secret == "s" * 43


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut off"),
        problem(500, "internal_error"),
        problem(503, "queue_unavailable"),
        problem(503, "queue_full"),
        problem(409, "in_flight"),
        problem(429, "rate_limited"),
        httpx.Response(502, text="<html>Bad Gateway"),
        httpx.Response(504),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
def test_what_may_pass_is_tried_again(failure: httpx.Response | Exception) -> None:
    script = Script([failure, failure, job()])
    assert script.client().create(b"photo", "ab" * 16).id == "ab" * 16
    assert len(script.requests) == 3
    assert len({request.content for request in script.requests}) == 1
    assert script.slept[0] > 0


def test_it_waits_for_as_long_as_it_is_told() -> None:
    script = Script([problem(503, "queue_full", **{"Retry-After": "7"}), job()])
    script.client().get("ab" * 16)
    assert script.slept == [7]


def test_retries_end() -> None:
    script = Script([httpx.ConnectError("refused") for _ in range(100)])
    with pytest.raises(UnavailableError, match="refused"):
        script.client(retry_for=20).get("ab" * 16)
    assert 5 <= sum(script.slept) <= 20
    assert len(script.requests) < 12
    script = Script([problem(429, "rate_limited", **{"Retry-After": "60"})])
    with pytest.raises(BusyError) as busy:
        script.client(retry_for=20).get("ab" * 16)
    assert (busy.value.retry_after, script.slept) == (60, [])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(422, "photo_damaged"), PhotoRefusedError),
        (problem(422, "photo_invented_next_year"), PhotoRefusedError),
        (problem(413, "body_too_large"), PhotoRefusedError),
        (httpx.Response(413, text="<html>nginx"), PhotoRefusedError),
        (problem(401, "key_missing"), NotAllowedError),
        (problem(403, "scope_missing"), NotAllowedError),
        (problem(404, "not_found"), NotFoundError),
        (problem(409, "id_conflict"), ConflictError),
        (problem(410, "expired"), GoneError),
        (problem(410, "canceled"), GoneError),
        (problem(500, "worker_died"), FailedError),
        (problem(500, "out_of_memory"), FailedError),
        (problem(500, "photo_lost"), FailedError),
        (problem(422, "option_unknown"), RefusedError),
        (httpx.Response(418, json=["no", "object"]), RefusedError),
        (httpx.Response(302, headers={"location": "/login"}), RefusedError),
    ],
)
def test_what_will_not_pass_is_said_at_once(answer: httpx.Response, kind: type[ClientError]) -> None:
    script = Script([answer])
    with pytest.raises(ClientError) as raised:
        script.client().create(b"photo", "ab" * 16)
    assert type(raised.value) is kind
    assert raised.value.status == answer.status_code
    assert script.slept == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>welcome to the hotel's network"),
        httpx.Response(200, content=b'{"id": "ab'),
        httpx.Response(200, json={"id": "ab"}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={**A_JOB, "result": [1]}),
        httpx.Response(200, json={**A_JOB, "expires_at": "soon"}),
    ],
)
def test_what_is_no_job_is_not_taken_for_one(answer: httpx.Response) -> None:
    with pytest.raises(UnavailableError):
        Script([answer]).client().get("ab" * 16)


def test_who_waits_asks_as_often_as_it_is_told_and_no_longer_than_it_would() -> None:
    waiting = [job(**{"Retry-After": "2"}) for _ in range(100)]
    script = Script([*waiting[:3], job(document=DONE)])
    assert script.client().wait_for("ab" * 16, 60).status == "succeeded"
    assert script.slept == [2, 2, 2]
    script = Script(waiting)
    assert script.client().wait_for("ab" * 16, 5).status == "queued"
    assert script.slept == [2, 2, 1]


def test_whether_it_is_ready_is_what_the_service_says() -> None:
    script = Script([httpx.Response(200), httpx.Response(503), httpx.ConnectError("refused")])
    client = script.client()
    assert [client.is_ready() for _ in range(3)] == [True, False, False]


def test_the_same_wish_has_the_same_id_and_no_other_has() -> None:
    wishes = [
        (secret, thing, picture, options)
        for secret in (b"1" * 16, b"2" * 16)
        for thing in ("t1_a", "t1_ab")
        for picture in ("bc", "c")
        for options in ({}, {"vividness": 1.4}, {"vividness": 0.7}, {"vividness": 1.4, "keep_for": 9})
    ]
    ids = [job_id(*wish) for wish in wishes]
    assert ids == [job_id(*wish) for wish in wishes]
    assert len(set(ids)) == len(wishes)
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    assert job_id(b"1" * 16, "a", "b", {"x": 1, "y": 2}) == job_id(b"1" * 16, "a", "b", {"y": 2, "x": 1})
