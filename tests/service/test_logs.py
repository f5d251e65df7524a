"""What the whole service writes down: the way of each photo, and nothing of the photo or of its sender's secrets."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from PIL import Image, PngImagePlugin

MARK = "m4rkerzz"
"""Wherever a client can put words, these are put."""


@pytest.fixture(scope="module")
def key(service) -> str:
    """Of the embedded Redis, made beside the running service."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
    made = subprocess.run(
        [sys.executable, "-m", "service", "keys", "create", MARK],
        env={**clean, "AUTOCHROME_STATE_DIR": str(service.state_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def marked_photos(gray_photo) -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = f"{MARK}: grandmother, 1931"  # ImageDescription, Artist
    jpeg = gray_photo(exif=exif, comment=MARK.encode())
    assert MARK.encode() in jpeg
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", MARK)
    png = gray_photo("PNG", pnginfo=text)
    floating = io.BytesIO()
    Image.new("F", (64, 64), 2.5).save(floating, "TIFF", tiffinfo={270: MARK})
    return {
        "fine": jpeg,
        "fine too": png,
        "with broken EXIF": jpeg.replace(b"Exif\0\0MM\0*", b"Exif\0\0MM\0+"),
        "that only the worker refuses": floating.getvalue(),
        "cut off": jpeg[: len(jpeg) // 2],
        "no photo": MARK.encode() * 100,
    }


def send_a_batch(api: httpx.Client, photo: bytes, until: Callable[..., object]) -> str:
    """Of a photo and of what is none, both with a name; looked at, fetched and erased. Returns its secret."""
    files = [("photo", (f"{MARK}.jpg", photo)), ("photo", (f"{MARK}.png", b"no photo"))]
    made = api.post("/v1/batches", files=files)
    assert made.status_code == 202, made.text
    where, secret = made.headers["location"], made.json()["secret"]

    def has_ended() -> bool:
        return all(file["status"] in ("succeeded", "failed") for file in api.get(where).json()["files"])

    until(has_ended, 30, "the batch is done")
    assert MARK.encode() in api.get(f"{where}/result").content, "the name is in the ZIP"
    assert api.delete(where, headers={"Authorization": f"Bearer {secret}"}).status_code == 204
    return secret


def test_nothing_of_a_photo_or_of_its_senders_words_is_ever_logged(service, gray_photo, key, until):
    with httpx.Client(base_url=service.url, timeout=60) as api:
        secrets = [key, key.split("_")[2]]
        bearer = {"Authorization": f"Bearer {key}"}
        outcomes = {}
        for what, photo in marked_photos(gray_photo).items():
            answer = api.post(
                f"/v1/colorizations?quality=90#{MARK}",
                files={"photo": (f"{MARK}.jpg", photo, f"image/{MARK}")},
                headers={"Prefer": "wait=30", "User-Agent": MARK, "Referer": f"http://{MARK}/", **bearer},
            )
            outcomes[what] = answer.status_code
            if answer.status_code == 200:
                secrets.append(answer.json()["secret"])
                api.get(f"{answer.json()['result']['url']}?{MARK}")
                api.delete(answer.headers["location"], headers={"Authorization": f"Bearer {MARK}"})
                erase = {"Authorization": f"Bearer {answer.json()['secret']}"}
                assert api.delete(answer.headers["location"], headers=erase).status_code == 204
        assert outcomes["fine"] == outcomes["fine too"] == outcomes["with broken EXIF"] == 200
        assert outcomes["that only the worker refuses"] == outcomes["no photo"] == 415
        assert outcomes["cut off"] == 422

        secrets.append(send_a_batch(api, gray_photo(), until))
        photo = {"photo": (f"{MARK}.jpg", gray_photo())}
        refusals = [
            api.post("/v1/colorizations", files=photo, data={"vividness": MARK}),
            api.post("/v1/colorizations", files=photo, data={MARK: "1"}),
            api.post(f"/v1/colorizations?{MARK}={MARK}", files=photo),
            api.post("/v1/colorizations", files={MARK: photo["photo"]}),
            api.post("/v1/colorizations", json={"url": f"http://{MARK}.example/{MARK}.jpg"}),
            api.post("/v1/colorizations", content=MARK, headers={"Content-Type": f"text/{MARK}"}),
            api.post("/v1/colorizations", files=photo, headers={"Authorization": f"Bearer ac_{MARK}"}),
            api.put(f"/v1/colorizations/{MARK}", files=photo),
            api.post(f"/{MARK}"),
            api.get("/livez", headers={"X-Request-ID": f"{MARK} {MARK}"}),
        ]
        assert [refused.status_code >= 400 for refused in refusals] == [True] * 9 + [False]
        # Logs come by pipes: when this is there, so is all before it.
        api.post("/last", headers={"X-Request-ID": "the-last-line"})
    service.line("request=the-last-line")
    log = "".join(service.lines)
    assert "photo_refused job=" in log, "the worker has said something of what it refused"
    assert MARK not in log
    assert len(secrets) == 6
    assert not [secret for secret in secrets if secret in log]


def test_one_search_finds_a_photos_whole_way(service, gray_photo):
    with httpx.Client(base_url=service.url, timeout=60) as api:
        answer = api.post(
            "/v1/colorizations",
            files={"photo": gray_photo()},
            headers={"Prefer": "wait=30", "X-Request-ID": "the-way-of-one"},
        )
        assert answer.headers["x-request-id"] == "the-way-of-one"
        id = answer.json()["id"]
    service.line(rf"^api .* job_queued job={id} .*request=the-way-of-one")
    service.line(rf"^worker .* job_succeeded job={id} .*request=the-way-of-one")
    service.line(
        r"^api .* request_answered method=POST route=/v1/colorizations status=200 .*request=the-way-of-one"
    )
    tracked = [line for line in service.lines if "the-way-of-one" in line]
    assert len(tracked) == 3
