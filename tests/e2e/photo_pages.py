"""What tests of a photo's page share: photographs that are colored, and the browser that sent them."""

from __future__ import annotations

import io
import json
import secrets
import urllib.request
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect
from skimage import data

REMEMBER = """
([id, secret, name]) => import(new URL("/static/recent.js", location)).then((recent) => recent.remember({ id, secret, name }))
"""


def gray(width: int = 480, height: int = 320, **options: Any) -> bytes:
    """A black-and-white photograph of a cup of coffee, as JPEG."""
    out = io.BytesIO()
    coffee = Image.fromarray(data.coffee()).convert("L")  # type: ignore[no-untyped-call]
    coffee.resize((width, height)).save(out, "JPEG", **options)
    return out.getvalue()


def send(
    service: str, photo: bytes, kind: str = "image/jpeg", wait: int = 60, **options: str
) -> dict[str, Any]:
    """A photo to the API as the first page sends it: its job, with its secret."""
    asked = {"artifacts": "comparison,distribution,suggestions", **options}
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    headers = {"Content-Type": kind, "Authorization": f"Bearer {secrets.token_hex(24)}"}
    if wait:
        headers["Prefer"] = f"wait={wait}"
    address = f"{service}/v1/colorizations/{secrets.token_hex(16)}?{query}"
    return ask(address, "PUT", headers, photo)


def ask(
    url: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> Any:
    request = urllib.request.Request(url, body, headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.loads(answer.read() or b"{}")


def remember(page: Page, job: dict[str, Any], name: str = "street.jpg") -> None:
    """Let the page's browser be the one that sent the photo."""
    page.evaluate(REMEMBER, [job["id"], job["secret"], name])


def go_back(page: Page) -> None:
    """To the page before. Chromium has no history for a page that it has just begun to show ("not attached to an active page")."""
    page.wait_for_load_state()
    page.go_back()


def opened(page: Page, service: str, job: dict[str, Any], name: str | None = "street.jpg") -> Page:
    """The photo's page, in the browser that sent it, or in another where it has no name there."""
    if name:
        remember(page, job, name)
    page.goto(f"{service}/photos/{job['id']}")
    expect(page.locator("#viewer")).to_be_visible()
    page.evaluate(
        "Promise.all([...document.querySelectorAll('.stage .side img')].map((image) => image.decode()))"
    )
    return page


def seen(page: Page, selector: str = "#viewer") -> NDArray[np.uint8]:
    """A part of the page as it stands on the screen."""
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"))


def chroma(pixels: NDArray[np.uint8]) -> float:
    """How far from gray, in 8-bit steps: the mean over pixels of the largest less the smallest channel."""
    channels = pixels[..., :3].astype(int)
    return float((channels.max(-1) - channels.min(-1)).mean())


def picture(service: str, id: str, name: str = "result") -> NDArray[np.uint8]:
    """A file of a job, as 8-bit RGB."""
    with urllib.request.urlopen(f"{service}/v1/colorizations/{id}/{name}", timeout=30) as answer:
        return np.asarray(Image.open(answer).convert("RGB"))
