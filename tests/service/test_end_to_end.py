"""From a gray file to a colored one through a real `python -m service`, and bad files at its door."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image


@pytest.fixture
def api(service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as api:
        yield api


def colorize(api: httpx.Client, photo: bytes, **options: str) -> tuple[dict, httpx.Response]:
    answer = api.post(
        "/v1/colorizations", files={"photo": ("a.jpg", photo)}, data=options, headers={"Prefer": "wait=60"}
    )
    assert answer.status_code == 200, answer.text
    job = answer.json()
    return job, api.get(job["result"]["url"])


def chroma(data: bytes) -> np.ndarray:
    """How far each pixel is from gray, 0…255."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return pixels.max(axis=2) - pixels.min(axis=2)


def test_a_gray_photo_comes_back_in_color_at_its_own_size(api, gray_photo):
    job, answer = colorize(api, gray_photo(size=(640, 427)))
    assert job["status"] == "succeeded"
    assert list(job["timings"]) == ["open", "preprocess", "infer", "postprocess", "save"]
    assert all(seconds > 0 for seconds in job["timings"].values())
    assert (job["net"]["name"], len(job["net"]["sha256"])) == ("lite", 64)
    assert {"width": 640, "height": 427, "media_type": "image/jpeg"}.items() <= job["result"].items()

    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert Image.open(io.BytesIO(answer.content)).size == (640, 427)
    assert chroma(answer.content).mean() > 1, "it is not gray"
    again = api.get(job["result"]["url"], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_options_reach_the_net_and_the_file(api, gray_photo):
    photo = gray_photo()
    _, vivid = colorize(api, photo, vividness="2", format="png")
    _, calm = colorize(api, photo, vividness="0.5", format="png")
    job, gray = colorize(api, photo, vividness="0", format="png")
    assert (job["result"]["media_type"], gray.headers["content-type"]) == ("image/png", "image/png")
    assert Image.open(io.BytesIO(gray.content)).format == "PNG"
    assert chroma(vivid.content).mean() > 1.5 * chroma(calm.content).mean() > 0
    assert chroma(gray.content).max() <= 1
    _, cautious = colorize(api, photo, temperature="1", format="png")
    _, bold = colorize(api, photo, temperature="0.05", format="png")
    assert cautious.content != bold.content
    _, fine = colorize(api, photo, quality="95")
    _, coarse = colorize(api, photo, quality="10")
    assert len(coarse.content) < len(fine.content) / 2


def test_what_is_asked_for_beside_the_result_can_be_fetched(api, gray_photo):
    job, result = colorize(api, gray_photo(), artifacts="comparison,sidecar")
    comparison, sidecar = (one for one in job["artifacts"] if one["kind"] != "result")
    picture = api.get(comparison["url"])
    assert picture.headers["content-type"] == comparison["media_type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (640, 240)
    said = api.get(sidecar["url"]).json()
    assert said["net"] == job["net"]
    assert said["result"]["sha256"] == hashlib.sha256(result.content).hexdigest()


def test_photos_of_many_people_at_once_all_come_back_and_each_gets_its_own(api, gray_photo):
    sizes = [(200 + 8 * number, 240) for number in range(12)]

    def send(size: tuple[int, int]) -> tuple[int, int]:
        _, answer = colorize(api, gray_photo(size=size))
        return Image.open(io.BytesIO(answer.content)).size

    with ThreadPoolExecutor(12) as people:
        assert list(people.map(send, sizes)) == sizes


def test_a_format_that_cannot_hold_the_result_is_replaced_and_said(api):
    file = io.BytesIO()
    Image.new("LA", (64, 64), (120, 90)).save(file, "PNG")
    job, answer = colorize(api, file.getvalue(), format="jpeg")
    assert job["result"]["media_type"] == answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).getchannel("A").getextrema() == (90, 90)


def test_what_only_a_full_decode_finds_is_a_problem_too(api, gray_photo):
    file = io.BytesIO()
    Image.new("F", (64, 64), 2.5).save(file, "TIFF")
    answer = api.post("/v1/colorizations", files={"photo": file.getvalue()}, headers={"Prefer": "wait=60"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (415, "photo_unsupported")
    assert "floating point" in answer.json()["detail"]
    photo = gray_photo(size=(800, 600))
    cut = {"photo": photo[: len(photo) // 2]}
    answer = api.post("/v1/colorizations", files=cut, headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.json()["code"]) == (422, "photo_damaged")
    assert "% of the picture is there." in answer.json()["detail"]
    job, colored = colorize(api, photo[:-2])
    assert job["status"] == "succeeded", "its end mark alone is missing"
    assert Image.open(io.BytesIO(colored.content)).size == (800, 600)


def png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    squeeze = zlib.compressobj(9)
    rows = (
        b"".join(squeeze.compress(bytes(side // 8 + 1) * 100) for _ in range(side // 100)) + squeeze.flush()
    )
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animation() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (64, 64), gray) for gray in (0, 128, 255)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize("prefer", ["wait=30", ""])
@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ("empty", 422, "photo_empty"),
        ("text named .jpg", 415, "photo_unsupported"),
        ("truncated JPEG", 422, "photo_damaged"),
        ("truncated PNG", 422, "photo_damaged"),
        ("PNG bomb", 422, "photo_too_large"),
        ("animated GIF", 422, "photo_animated"),
        ("1x1", 422, "photo_too_small"),
        ("30 MB", 413, "body_too_large"),
        ("30 MB raw", 413, "body_too_large"),
        ("30 MB in chunks of unknown number", 413, "body_too_large"),
        ("26 MB raw", 413, "body_too_large"),
        ("wrong field", 422, "photo_missing"),
        ("text in the field", 422, "photo_missing"),
        ("no field", 422, "photo_missing"),
        ("no body", 422, "photo_missing"),
        ("two photos", 400, "form_invalid"),
        ("broken form", 400, "form_invalid"),
        ("JSON", 403, "url_disabled"),
        ("XML", 415, "unsupported_media_type"),
    ],
)
def test_bad_input_is_refused_with_a_code_and_the_worker_lives(
    service, api, gray_photo, what, status, code, prefer
):
    photo = gray_photo(size=(800, 600))

    def form(data: bytes, field: str = "photo") -> dict:
        return {"files": {field: ("photo.jpg", data, "image/jpeg")}}

    def raw(data: object, kind: str = "image/jpeg") -> dict:
        return {"content": data, "headers": {"Content-Type": kind}}

    request = {
        "empty": lambda: form(b""),
        "text named .jpg": lambda: form(b"Dear sir or madam, enclosed you find no photo. " * 100),
        "truncated JPEG": lambda: form(photo[:100]),
        "truncated PNG": lambda: form(gray_photo("PNG")[:40]),
        "PNG bomb": lambda: form(png_bomb(50_000)),
        "animated GIF": lambda: form(animation()),
        "1x1": lambda: form(gray_photo("PNG", (1, 1))),
        "30 MB": lambda: form(bytes(30_000_000)),
        "30 MB raw": lambda: raw(bytes(30_000_000)),
        "30 MB in chunks of unknown number": lambda: raw(bytes(100_000) for _ in range(300)),
        "26 MB raw": lambda: raw(bytes(25 * 2**20 + 1)),
        "wrong field": lambda: form(photo, "picture"),
        "text in the field": lambda: {"data": {"photo": "my photo"}, "files": {"x": (None, "y")}},
        "no field": lambda: {"files": {"vividness": (None, "1")}},
        "no body": dict,
        "two photos": lambda: {"files": [("photo", photo), ("photo", photo)]},
        "broken form": lambda: raw(b"nonsense", "multipart/form-data; boundary=x"),
        "JSON": lambda: raw(b"{}", "application/json"),
        "XML": lambda: raw(b"<photo/>", "application/xml"),
    }[what]()
    request["headers"] = {**request.get("headers", {}), **({"Prefer": prefer} if prefer else {})}
    before = memory(service)
    answer = api.post("/v1/colorizations", **request)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert len(problem["detail"]) > 20
    assert memory(service) - before < 100e6
    assert api.get("/readyz").status_code == 200


def test_a_body_without_end_is_answered_before_it_ends(api):
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 400:
            sent += 1
            yield bytes(2**20)

    answer = api.post("/v1/colorizations", content=endless(), headers={"Content-Type": "image/jpeg"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert sent < 200


def memory(service) -> int:
    """Bytes of the service and all its processes."""
    return sum(process.memory_info().rss for process in service.family())


def test_after_all_that_a_photo_is_colored_as_ever_by_the_same_processes(service, api, gray_photo):
    job, _ = colorize(api, gray_photo())
    assert job["status"] == "succeeded"
    assert not any("program_ended" in line for line in service.lines), "nothing died"
    assert len([p for p in service.family() if p.status() != psutil.STATUS_ZOMBIE]) == 4
    assert not any("Traceback" in line for line in service.lines)
