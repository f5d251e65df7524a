"""The client against the real service, and against all that may go wrong on the way there."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from autochrome import (
    Artifact,
    Autochrome,
    AutochromeError,
    BusyError,
    ConflictError,
    FailedError,
    GoneError,
    NotAllowedError,
    NotFoundError,
    PendingError,
    PhotoRefusedError,
    RefusedError,
    Suggestion,
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
    "notices": [],
    "error": None,
    "secret": "s" * 43,
}
DONE = {**A_JOB, "status": "succeeded"}
ROOT = Path(__file__).parents[1]


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

    def client(self, **options: Any) -> Autochrome:
        return Autochrome(
            "http://service.example/color/",
            sleep=self.slept.append,
            clock=lambda: sum(self.slept),
            transport=httpx.MockTransport(self),
            **options,
        )


def job(status: int = 200, document: object = A_JOB, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=document, headers=headers)


def problem(
    status: int, code: str, members: Mapping[str, str] | None = None, **headers: str
) -> httpx.Response:
    document = {
        "code": code,
        "status": status,
        "title": "A title",
        "detail": "A sentence.",
        **(members or {}),
    }
    media = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(document), headers={**media, **headers})


@pytest.fixture
def real(service: Any) -> Iterator[Autochrome]:
    with Autochrome(service.url) as client:
        yield client


def test_one_life_on_the_real_service(real: Autochrome, gray_photo: Callable[..., bytes]) -> None:
    id = new_id()
    options = {"artifacts": "comparison", "vividness": 1.4, "keep_for": 3600}
    own = secrets.token_hex(24)
    done = real.create(gray_photo(), id, options, wait=25, secret=own)
    again = real.create(gray_photo(), id, options, wait=25, secret=own)
    assert (done.status, done.id, done.width, done.height, done.net) == ("succeeded", id, 320, 240, "lite")
    assert done.artifacts == (Artifact("comparison", "comparison", "image/jpeg", None, None),)
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


def test_a_photo_comes_back_in_color_and_is_erased(
    real: Autochrome, gray_photo: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "old.png").write_bytes(gray_photo("PNG"))
    photo = real.colorize(
        tmp_path / "old.png", artifacts=["comparison", "sidecar"], format="jpeg", crop_border=True
    )
    photo.save(tmp_path / "new.jpg")
    with Image.open(tmp_path / "new.jpg") as saved:
        assert (saved.format, saved.size, saved.mode) == ("JPEG", (320, 240), "RGB")
    assert [(made.name, made.media_type) for made in photo.artifacts] == [
        ("comparison", "image/jpeg"),
        ("sidecar", "application/json"),
    ]
    assert json.loads(photo.artifact("sidecar"))["net"]["name"] == "lite"
    assert photo.notices == ()
    photo.erase()
    with pytest.raises(GoneError):
        photo.artifact("sidecar")


def test_a_second_opinion_comes_from_the_real_service(
    real: Autochrome, gray_photo: Callable[..., bytes]
) -> None:
    photo = real.colorize(gray_photo(), alternatives=2, artifacts=["suggestions"])
    for made in photo.artifacts:
        assert (made.rank is None, made.probability is None) == ((made.kind != "alternative"),) * 2
        assert photo.artifact(made.name)
    likely = photo.suggestions(0.5, 0.5)
    assert 1 <= len(likely) <= 5
    assert all(re.fullmatch("#[0-9a-f]{6}", each.color) and 0 <= each.probability <= 1 for each in likely)
    red = {"x": 0.5, "y": 0.5, "color": "#a02020", "radius": 0.3}
    anew = photo.recolor(hints=[red], size=160, artifacts=[])
    with Image.open(io.BytesIO(anew.picture)) as picture:
        assert picture.size == (160, 120)
        r, _, b = picture.getpixel((80, 60))
        assert r > b + 20, "the place is red"
    assert anew.job.id != photo.job.id
    assert anew.job.secret not in ("", photo.job.secret)
    photo.erase()
    with pytest.raises(GoneError):
        real.result(anew.job.id)


def test_the_documents_examples_run_as_printed(
    service: Any, gray_photo: Callable[..., bytes], tmp_path: Path
) -> None:
    page = (ROOT / "docs/api.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "old.jpg").write_bytes(gray_photo())
    for example in examples:
        program = example.replace("http://127.0.0.1:8000", service.url)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment)
        assert done.returncode == 0
        with Image.open(tmp_path / "new.jpg") as new:
            assert new.mode == "RGB"
        (tmp_path / "new.jpg").unlink()


def test_what_a_person_should_know_comes_with_the_photo(real: Autochrome) -> None:
    file = io.BytesIO()
    gradient = Image.linear_gradient("L")
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(file, "PNG")
    notices = {notice.code: notice.detail for notice in real.colorize(file.getvalue()).notices}
    assert notices["photo_in_color"].endswith(".")


def test_a_photo_that_cannot_be_colored_is_refused_with_the_reason(
    real: Autochrome, gray_photo: Callable[..., bytes], tmp_path: Path
) -> None:
    with pytest.raises(PhotoRefusedError) as refused:
        real.colorize(gray_photo()[:2000])
    assert refused.value.code == "photo_damaged"
    with pytest.raises(FileNotFoundError):
        real.colorize(tmp_path / "none.jpg")


def test_options_go_as_the_service_reads_them() -> None:
    hints = [{"x": 10, "y": 20, "color": "#8b1a1a"}, {"x": 1.5, "y": 2, "color": "#777777", "radius": 4}]
    script = Script([job(document=DONE), httpx.Response(200, content=b"in color")])
    photo = script.client().colorize(
        b"photo", artifacts=("comparison", "sidecar"), hints=hints, crop_border=True, keep_for=90, page=None
    )
    assert photo.picture == b"in color"
    sent = dict(script.requests[0].url.params)
    assert json.loads(sent.pop("hints")) == hints
    assert sent == {"artifacts": "comparison,sidecar", "crop_border": "true", "keep_for": "90"}


def test_a_photo_is_colored_anew_without_being_sent_again() -> None:
    answers = [job(document=DONE), httpx.Response(200, content=b"in color"), job(document=DONE)]
    script = Script([*answers, httpx.Response(200, content=b"redder")])
    photo = script.client().colorize(b"photo", vividness=1.2)
    hints = [{"x": 0.4, "y": 0.6, "color": "#7a1f2b"}]
    assert photo.recolor(hints=hints, size=512).picture == b"redder"
    first, _, second, _ = script.requests
    assert second.method == "PUT"
    assert second.headers["content-type"] == "application/json"
    assert json.loads(second.content) == {
        "revise": "ab" * 16,
        "secret": "s" * 43,
        "hints": hints,
        "size": 512,
    }
    assert second.url.path != first.url.path
    assert second.headers["authorization"] != first.headers["authorization"]


def test_the_colors_that_a_place_could_have_are_read() -> None:
    colors = [
        {"color": "#7a1f2b", "a": 38.2, "b": 17.4, "probability": 0.4},
        {"color": "#4c4f55", "a": -0.3, "b": -3.6, "probability": 0.25},
    ]
    script = Script([job(document=DONE), httpx.Response(200), job(document=colors), job(document=[1])])
    photo = script.client().colorize(b"photo", artifacts=["suggestions"])
    assert photo.suggestions(0.4, 0.6) == (Suggestion("#7a1f2b", 0.4), Suggestion("#4c4f55", 0.25))
    path = f"http://service.example/color/v1/colorizations/{'ab' * 16}/suggestions?x=0.4&y=0.6"
    assert str(script.requests[2].url) == path
    with pytest.raises(UnavailableError):
        photo.suggestions(0.4, 0.6)


def test_each_photo_has_an_id_and_a_secret_of_its_own() -> None:
    script = Script([job(document=DONE), httpx.Response(200), job(document=DONE), httpx.Response(200)])
    client = script.client()
    client.colorize(b"photo")
    client.colorize(b"photo")
    puts = script.requests[::2]
    assert len({request.url.path for request in puts}) == 2
    own = [request.headers["authorization"].removeprefix("Bearer ") for request in puts]
    assert len({*own}) == 2
    assert all(re.fullmatch("[0-9a-f]{48}", each) for each in own)


def test_what_takes_too_long_can_be_waited_for_again() -> None:
    waiting = job(**{"Retry-After": "2"})
    done = job(document={**DONE, "secret": None})
    script = Script([waiting, *[waiting] * 6, done, httpx.Response(200, content=b"in color")])
    client = script.client()
    with pytest.raises(PendingError) as pending:
        client.colorize(b"photo", wait=10)
    assert sum(script.slept) == 10
    assert (pending.value.job.id, pending.value.job.secret) == ("ab" * 16, "s" * 43)
    photo = client.photo_of(pending.value.job)
    assert (photo.picture, photo.job.secret) == (b"in color", "s" * 43)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("photo_damaged", PhotoRefusedError),
        ("worker_died", FailedError),
        ("photo_lost", FailedError),
        ("internal_error", FailedError),
    ],
)
def test_a_job_that_fails_later_raises_its_failure(code: str, kind: type[AutochromeError]) -> None:
    failed = {
        **A_JOB,
        "status": "failed",
        "error": {"code": code, "title": "A title", "detail": "A sentence."},
    }
    script = Script([job(202), job(document=failed)])
    with pytest.raises(AutochromeError, match="A sentence") as raised:
        script.client().colorize(b"photo")
    assert (type(raised.value), raised.value.code) == (kind, code)


def test_the_client_is_one_file_of_the_wheel_that_needs_httpx_alone(tmp_path: Path) -> None:
    for name in ("autochrome.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    built = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "out").glob("autochrome-*.whl")
    program = (
        "import sys, httpx; known = {*sys.modules}; import autochrome; print(autochrome.__file__); "
        "print({name.partition('.')[0] for name in {*sys.modules} - known} - sys.stdlib_module_names)"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "out", env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [str(wheel / "autochrome.py"), "{'autochrome'}"], done.stderr


def test_what_the_real_service_refuses_has_its_kind(
    real: Autochrome, gray_photo: Callable[..., bytes]
) -> None:
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
    with Autochrome(service.url, key="ac_" + "x" * 44) as client, pytest.raises(NotAllowedError) as refused:
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
        (problem(500, "internal_error", {"id": "ab" * 16, "secret": "s" * 43}), FailedError),
        (problem(422, "option_unknown"), RefusedError),
        (httpx.Response(418, json=["no", "object"]), RefusedError),
        (httpx.Response(302, headers={"location": "/login"}), RefusedError),
    ],
)
def test_what_will_not_pass_is_said_at_once(answer: httpx.Response, kind: type[AutochromeError]) -> None:
    script = Script([answer])
    with pytest.raises(AutochromeError) as raised:
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
