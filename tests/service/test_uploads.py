"""Photos coming in: what a body may be, how large, how slow, and what is refused before any of it is kept."""

from __future__ import annotations

import errno
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace

import pytest
from PIL import Image

from service.api.state import FULL
from service.errors import SettingsError
from service.schemas import Options
from service.settings import read

HEAD = "POST /v1/colorizations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"


def connect(api) -> socket.socket:
    return socket.create_connection((api.base_url.host, api.base_url.port), timeout=20)


def answer_to(line: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    got = b""
    while piece := line.recv(65536):
        got += piece
    return got


def hints(count: int = 1, **changed: object) -> str:
    """As a form has them."""
    return json.dumps(count * [{"x": 0.25, "y": 0.75, "color": "#7a1f2b", "radius": 0.125, **changed}])


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"sharpness": "3"}, "option_unknown", "sharpness"),
        ({"temperature": "2"}, "option_invalid", "temperature"),
        ({"temperature": "nan"}, "option_invalid", "temperature"),
        ({"vividness": "very"}, "option_invalid", "vividness"),
        ({"palette": "#2e7d34,green"}, "option_invalid", "palette"),
        ({"palette": ["#2e7d34"] * 17}, "option_invalid", "palette"),
        ({"format": "bmp"}, "option_invalid", "format"),
        ({"quality": "0"}, "option_invalid", "quality"),
        ({"quality": ["90", "80"]}, "option_invalid", "quality"),
        ({"rotate": "45"}, "option_invalid", "rotate"),
        ({"mark": "perhaps"}, "option_invalid", "mark"),
        ({"page": "0"}, "option_invalid", "page"),
        ({"artifacts": "comparison,hologram"}, "option_invalid", "artifacts"),
        ({"keep_for": "0"}, "option_invalid", "keep_for"),
        ({"keep_for": "inf"}, "option_invalid", "keep_for"),
        ({"priority": "mine"}, "option_invalid", "priority"),
        ({"webhook": "https://example.com/"}, "webhook_disabled", ""),
        ({"alternatives": "9"}, "option_invalid", "alternatives"),
        ({"boldness": "1.5"}, "option_invalid", "boldness"),
        ({"hints": hints(x=2)}, "option_invalid", "hints[0].x"),
        ({"hints": hints(color="red")}, "option_invalid", "hints[0].color"),
        ({"hints": hints(radius=0.6)}, "option_invalid", "hints[0].radius"),
        ({"hints": hints(count=33)}, "option_invalid", "32 are the most"),
        ({"hints": f"[{', '.join(4000 * ['{}'])}]"}, "option_invalid", "There are 4000"),
        ({"palette": 30 * [8000 * "x,"]}, "option_invalid", "There are 240000"),
        ({"artifacts": 8000 * "x,"}, "option_invalid", "There are 8000"),
        ({"hints": '{"x": 0.5, "y": 0.5, "color": "#7a1f2b"}'}, "option_invalid", 'Write a JSON list: [{"x"'),
        ({"hints": "[" * 9000}, "option_invalid", "Write a JSON list"),
        ({"hints": f"[{', '.join(32 * ['{}'])}]"}, "option_invalid", "hints[2].x"),
    ],
)
def test_an_option_that_cannot_be_honored_is_refused(
    api, gray_photo, client, check_problem, options, kind, named
):
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, data=options)
    assert named in check_problem(answer, kind)["detail"]
    assert client.keys("{autochrome}:*") == []


def test_a_refusal_does_not_repeat_all_that_was_sent(api, gray_photo, check_problem):
    form = {"hints": hints(**{5000 * "k": 1})}
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, data=form)
    assert "hints[0].kkk" in check_problem(answer, "option_invalid")["detail"]
    assert len(answer.text) < 1000


def test_an_empty_option_is_the_default(api, gray_photo):
    answer = api.post(
        "/v1/colorizations", files={"photo": gray_photo()}, data={"temperature": "", "artifacts": ""}
    )
    assert answer.json()["options"] == Options().model_dump(mode="json")


def test_every_option_fits_into_one_form_and_is_understood_as_text(api, gray_photo):
    told = {
        "temperature": 0.5,
        "vividness": 1.5,
        "palette": ["#2e7d34", "#F3E9C6"],
        "boldness": -0.5,
        "hints": [{"x": 0.25, "y": 0.75, "color": "#7a1f2b", "radius": 0.125}],
        "alternatives": 4,
        "chosen": 2,
        "detail": "auto",
        "format": "tiff",
        "bits": 16,
        "size": 640,
        "quality": 80,
        "if_color": "refuse",
        "negative": True,
        "rotate": 270,
        "crop_border": True,
        "page": 1,
        "partial": True,
        "keep_metadata": False,
        "keep_location": True,
        "embed_disclosure": False,
        "mark": True,
        "artifacts": [
            "color_layer",
            "comparison",
            "confidence",
            "distribution",
            "sidecar",
            "suggestions",
            "thumbnail",
        ],
        "keep_for": 60.0,
        "priority": "batch",
    }
    assert set(told) == set(Options.model_fields) - {"webhook"}
    words = {
        name: [*map(str, value)] if isinstance(value, list) else str(value).lower()
        for name, value in told.items()
    } | {"hints": hints()}
    for form, query in ((words, {}), ({}, words)):
        answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, data=form, params=query)
        assert answer.json()["options"] == {**told, "webhook": None}


def test_options_that_take_several_are_repeated_or_have_commas(api, gray_photo):
    for query in ("artifacts=sidecar&artifacts=comparison", "artifacts=comparison,sidecar"):
        answer = api.post(
            f"/v1/colorizations?{query}", content=gray_photo(), headers={"Content-Type": "image/jpeg"}
        )
        assert answer.json()["options"]["artifacts"] == ["comparison", "sidecar"]


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, "unsupported_media_type"),
        ({"content": b""}, "photo_missing"),
        ({"content": b"", "headers": {"Content-Type": "image/jpeg"}}, "photo_empty"),
        ({"data": {"vividness": "1"}, "files": {"picture": b"x"}}, "photo_missing"),
        ({"files": {"a": (None, "1"), "photo": (None, "text")}}, "photo_missing"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "form_invalid"),
        ({"files": {"photo": b"Dear diary"}}, "photo_unsupported"),
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, "url_disabled"),
    ],
)
def test_a_body_without_a_photo_is_refused(api, client, check_problem, request_, kind):
    check_problem(api.post("/v1/colorizations", **request_), kind)
    assert client.keys("{autochrome}:*") == []


def test_a_photo_over_the_limit_is_refused_however_it_comes(
    settings, client, serve, gray_photo, check_problem
):
    api = serve(settings.model_copy(update={"max_bytes": 100_000}))
    big = gray_photo() + bytes(200_000)

    def unannounced() -> Iterator[bytes]:
        for start in range(0, len(big), 10_000):
            yield big[start : start + 10_000]

    jpeg = {"Content-Type": "image/jpeg"}
    for answer in (
        api.post("/v1/colorizations", files={"photo": big}),
        api.post("/v1/colorizations", content=big, headers=jpeg),
        api.post("/v1/colorizations", content=unannounced(), headers=jpeg),
    ):
        check_problem(answer, "body_too_large")
    check_problem(
        api.post("/v1/colorizations", content=gray_photo() + bytes(120_000), headers=jpeg),
        "body_too_large",
    )
    assert client.keys("{autochrome}:*") == []


def test_a_body_is_refused_by_what_it_says_of_itself_before_it_is_sent(api):
    with connect(api) as line:
        line.sendall(f"{HEAD}Content-Length: 99999999999\r\n\r\n".encode())
        assert b"body_too_large" in answer_to(line)


def test_a_body_that_trickles_is_cut_off(settings, client, serve, monkeypatch):
    monkeypatch.setattr("service.api.middleware.PACE_WINDOW", 0.3)
    api = serve(settings.model_copy(update={"upload_rate": 10_000}))
    with connect(api) as line:
        line.sendall(f"{HEAD}Content-Length: 1000000\r\n\r\n".encode())
        start = time.monotonic()
        threading.Thread(target=_trickle, args=(line, 0.2)).start()
        got = answer_to(line)
    assert 0.3 <= time.monotonic() - start < 60
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"upload_timeout" in got
    assert b"connection: close" in got.lower()


def test_a_body_that_was_fast_may_not_be_slow_for_longer_than_one_that_never_was(
    settings, client, serve, monkeypatch
):
    monkeypatch.setattr("service.api.middleware.PACE_WINDOW", 0.5)
    api = serve(settings.model_copy(update={"upload_rate": 10_000}))
    with connect(api) as line:
        line.sendall(f"{HEAD}Content-Length: 1000000\r\n\r\n".encode() + bytes(500_000))  # worth 50 s
        start = time.monotonic()
        assert answer_to(line).startswith(b"HTTP/1.1 408 ")
    assert 0.4 <= time.monotonic() - start < 40


def test_a_body_that_takes_too_long_in_all_is_cut_off_whatever_its_pace(settings, client, serve):
    api = serve(settings.model_copy(update={"upload_timeout": 0.8, "upload_rate": 0}))
    with connect(api) as line:
        line.sendall(
            b"POST /v1/colorizations HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        )
        threading.Thread(target=_trickle, args=(line, 0.4)).start()
        assert answer_to(line).startswith(b"HTTP/1.1 408 ")


def test_a_body_at_a_fair_pace_may_take_its_time(settings, client, serve, monkeypatch, gray_photo):
    monkeypatch.setattr("service.api.middleware.PACE_WINDOW", 0.6)
    api = serve(settings.model_copy(update={"upload_rate": 2_000}))
    photo = gray_photo()

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(photo), len(photo) // 5):
            yield photo[start : start + len(photo) // 5]
            time.sleep(0.15)

    answer = api.post("/v1/colorizations", content=slowly(), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 202


@pytest.fixture
def narrow(settings, client, serve):
    """The API with a spool of 400,000 bytes, of which one sender may have 100,000, or one body."""
    small = {
        "spool_bytes": 400_000,
        "max_bytes": 300_000,
        "batch_bytes": 300_000,
        "trusted_proxies": ("127.0.0.1",),
    }
    return serve(settings.model_copy(update=small))


def begin(api, length: int, address: str, body: bytes = b"") -> socket.socket:
    """An upload whose body is asked for, or refused, before it is sent."""
    line = connect(api)
    length_ = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
    head = f"{HEAD}{length_}\r\nX-Forwarded-For: {address}\r\nExpect: 100-continue\r\n\r\n"
    line.sendall(head.encode() + body)
    return line


def told(line: socket.socket) -> bytes:
    """That the body may come, or a whole problem."""
    got = line.recv(65536)
    while not got.startswith(b"HTTP/1.1 100 ") and b'"code"' not in got and (more := line.recv(65536)):
        got += more
    return got


def test_uploads_under_way_are_charged_before_they_come_and_given_back(narrow):
    with ExitStack() as lines:

        def status(length: int, address: str) -> tuple[bytes, socket.socket]:
            line = lines.enter_context(begin(narrow, length, address))
            return told(line), line

        first, one = status(300_000, "9.9.9.1")
        assert first.startswith(b"HTTP/1.1 100 "), "one body may be as large as any"
        assert b"too_many_at_once" in status(1000, "9.9.9.1")[0]
        busy = status(200_000, "9.9.9.2")[0]
        assert busy.startswith(b"HTTP/1.1 503 ")
        assert b"uploads_busy" in busy
        assert b"retry-after" in busy.lower()
        assert status(60_000, "9.9.9.2")[0].startswith(b"HTTP/1.1 100 ")
        assert b"too_many_at_once" in status(60_000, "9.9.9.2")[0], "two of them are more than its share"
        one.sendall(bytes(300_000))
        assert b"photo_unsupported" in told(one)
        assert status(200_000, "9.9.9.3")[0].startswith(b"HTTP/1.1 100 ")


def test_bodies_that_never_come_hold_no_room_in_the_spool(narrow, gray_photo, monkeypatch, until):
    monkeypatch.setattr("service.api.uploads.AHEAD", 10_000)
    with begin(narrow, 300_000, "9.9.9.1") as one, begin(narrow, 300_000, "9.9.9.2") as other:
        assert one.recv(100).startswith(b"HTTP/1.1 100 ")
        assert other.recv(100).startswith(b"HTTP/1.1 100 ")
        photo = gray_photo("BMP", size=(300, 300))
        headers = {"Content-Type": "image/bmp", "X-Forwarded-For": "9.9.9.3"}
        assert narrow.post("/v1/colorizations", content=photo, headers=headers).status_code == 202
        one.sendall(bytes(299_999))  # what has come is held

        def is_refused() -> bool:
            with begin(narrow, 200_000, "9.9.9.4") as line:
                return b"uploads_busy" in told(line)

        until(is_refused, 5, "one that there is no room for is not begun")


@pytest.mark.parametrize("path", ["/v1/colorizations", "/v1/batches"])
def test_bodies_of_unknown_length_are_charged_as_they_come(narrow, path):
    def unannounced() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        for _ in range(25):
            yield bytes(10_000)

    with begin(narrow, 290_000, "9.9.9.1") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        headers = {"Content-Type": "multipart/form-data; boundary=b", "X-Forwarded-For": "9.9.9.2"}
        answer = narrow.post(path, content=unannounced(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "uploads_busy")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/colorizations", "image/jpeg"),
        ("/v1/colorizations", "multipart/form-data; boundary=b"),
        ("/v1/batches", "multipart/form-data; boundary=b"),
        ("/v1/batches", "application/zip"),
    ],
)
def test_what_a_client_held_that_has_gone_is_given_back(narrow, until, path, kind):
    def answer() -> bytes:
        with begin(narrow, 290_000, "9.9.9.2") as line:
            return told(line)

    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 300000\r\n\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'

    def is_held() -> bool:
        with connect(narrow) as line:  # which is refused where the one before it has not gone yet
            line.sendall((head + part).encode() + bytes(200_000))
            return b"uploads_busy" in answer()

    until(is_held, 10, "it is held")
    until(lambda: answer().startswith(b"HTTP/1.1 100 "), 10, "it is given back")


def test_a_batch_of_many_photos_is_charged_for_those_that_are_in_hand(narrow, gray_photo):
    photo = gray_photo(size=(640, 480))
    files = [("photo", (f"{index}.jpg", photo)) for index in range(280_000 // len(photo))]
    with begin(narrow, 200_000, "9.9.9.1") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        assert (
            narrow.post("/v1/batches", files=files, headers={"X-Forwarded-For": "9.9.9.2"}).status_code == 202
        )


def test_what_a_zip_unpacks_to_is_charged_while_it_is_in_hand(narrow, until):
    photo, archive = io.BytesIO(), io.BytesIO()
    # 196,662 bytes, of which the ZIP makes 1,000.
    Image.new("RGB", (256, 256), (90, 120, 60)).save(photo, "BMP")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("photo.bmp", photo.getvalue())

    def send():
        headers = {"X-Forwarded-For": "9.9.9.2", "Content-Type": "application/zip"}
        return narrow.post("/v1/batches", content=archive.getvalue(), headers=headers)

    with begin(narrow, 280_000, "9.9.9.1") as line:
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")
        refused = send()
        assert (refused.status_code, refused.json()["code"]) == (503, "uploads_busy")
        assert refused.headers["Retry-After"]
    until(lambda: send().status_code == 202, 10, "there is room again")


def test_a_spool_that_takes_no_full_zip_is_said_at_the_start(monkeypatch):
    monkeypatch.setenv("AUTOCHROME_BATCH_BYTES", "50000000")
    monkeypatch.setenv("AUTOCHROME_MAX_BYTES", "20000000")
    monkeypatch.setenv("AUTOCHROME_SPOOL_BYTES", "60000000")  # a ZIP, without room for a photo of it
    with pytest.raises(SettingsError, match="AUTOCHROME_SPOOL_BYTES is smaller"):
        read()
    monkeypatch.setenv("AUTOCHROME_SPOOL_BYTES", "71000000")
    assert read().effective_spool_bytes == 71_000_000


def test_waiting_for_the_answer_is_not_uploading_slowly(settings, client, serve, gray_photo):
    api = serve(settings.model_copy(update={"upload_timeout": 0.5}))
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202


def test_an_upload_that_breaks_off_leaves_nothing(api, client, gray_photo, tmp_path):
    with connect(api) as line:
        line.sendall(f"{HEAD}Content-Length: 1000000\r\n\r\n".encode() + gray_photo())
    time.sleep(0.2)
    assert client.keys("{autochrome}:*") == []
    assert list(tmp_path.rglob("photo")) == []


def test_without_its_queue_the_service_lives_and_says_so(
    settings, serve, gray_photo, tmp_path, check_problem
):
    api = serve(settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"}))
    assert api.get("/livez").status_code == 200
    for answer in (
        api.get("/v1/colorizations/" + "0" * 32),
        api.get("/v1/colorizations/" + "0" * 32 + "/events"),
        api.post("/v1/colorizations", files={"photo": gray_photo()}),
        api.put("/v1/colorizations/" + "0" * 32, files={"photo": gray_photo()}),
    ):
        check_problem(answer, "queue_unavailable")
        assert answer.headers["retry-after"] == "5"


def test_a_queue_that_is_out_of_memory_says_so_and_is_not_broken(
    api, gray_photo, client, check_problem, tmp_path
):
    client.config_set("maxmemory", 1)
    try:
        answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
        assert "memory of the queue" in check_problem(answer, "store_full")["detail"]
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        client.config_set("maxmemory", 0)
    assert list(tmp_path.rglob("photo")) == []
    time.sleep(FULL)
    assert api.post("/v1/colorizations", files={"photo": gray_photo()}).status_code == 202


def test_a_store_that_fails_is_said_to_the_client_and_why_to_the_operator(
    api, gray_photo, tmp_path, caplog, check_problem
):
    (tmp_path / "a store").rmdir()
    (tmp_path / "a store").write_text("in the way")
    problem = check_problem(api.post("/v1/colorizations", files={"photo": gray_photo()}), "store_unavailable")
    assert str(tmp_path) not in problem["detail"]
    (said,) = [record.message for record in caplog.records if "store_unavailable" in record.message]
    assert "Not a directory" in said
    assert "\n" not in said


@pytest.mark.parametrize("way", ["body", "form", "ZIP", "batch"])
def test_a_disk_without_room_for_uploads_is_said_as_what_it_is(
    api, gray_photo, tmp_path, monkeypatch, check_problem, way
):
    class Full(SpooledTemporaryFile):
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("service.api.uploads.SpooledTemporaryFile", Full)
    photo = gray_photo()
    if way == "body":
        answer = api.post("/v1/colorizations", content=photo, headers={"Content-Type": "image/jpeg"})
    elif way == "form":
        answer = api.post("/v1/colorizations", files={"photo": photo})
    elif way == "ZIP":
        answer = api.post("/v1/batches", content=photo, headers={"Content-Type": "application/zip"})
    else:
        answer = api.post("/v1/batches", files={"photo": photo})
    check_problem(answer, "store_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert list(tmp_path.rglob("photo")) == []


@pytest.mark.parametrize("way", ["room", "body", "its hash", "form", "ZIP", "closing"])
def test_others_are_answered_while_the_disk_takes_its_time_over_an_upload(
    api, gray_photo, monkeypatch, until, way
):
    go_on, reached = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert go_on.wait(60)

    class Slow(SpooledTemporaryFile):
        def write(self, data: bytes) -> int:
            if way in ("body", "form", "ZIP"):
                wait()
            return super().write(data)

        def close(self) -> None:
            if way == "closing":
                wait()
            super().close()

        def __exit__(self, *_: object) -> None:
            self.close()

    class Hash:
        def __init__(self) -> None:
            self.hexdigest = lambda: "ab" * 32

        def update(self, data: bytes) -> None:
            wait()

    monkeypatch.setattr("service.api.uploads.SpooledTemporaryFile", Slow)
    if way == "room":
        monkeypatch.setattr("service.storage.Store.free", lambda store: wait())
    if way == "its hash":
        monkeypatch.setattr("service.api.uploads.hashlib", SimpleNamespace(sha256=Hash))
    photo = gray_photo()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.jpg", photo)
    request = {
        "form": {"url": "/v1/batches", "files": {"photo": photo}},
        "ZIP": {
            "url": "/v1/batches",
            "content": archive.getvalue(),
            "headers": {"Content-Type": "application/zip"},
        },
    }.get(way, {"url": "/v1/colorizations", "content": photo, "headers": {"Content-Type": "image/jpeg"}})
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(api.post(**request).status_code))
    sender.start()
    try:
        until(reached.is_set, 20, "the disk is at it")
        assert api.get("/livez", timeout=20).status_code == 200
    finally:
        go_on.set()
        sender.join()
    assert answers == [202]


def _trickle(line: socket.socket, seconds: float) -> None:
    """A byte now and then; silent before the line is cut, since who still sends may not read the answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line.sendall(b"x")
        time.sleep(0.05)
