"""A photo's own page in a real browser: the link that others are given."""

from __future__ import annotations

import io
import json
import secrets
import urllib.request

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from skimage import data


@pytest.fixture(scope="module")
def job(service: str) -> dict[str, str]:
    """A photo of 480 × 320 pixels, colored, with its comparison."""
    out = io.BytesIO()
    coffee = Image.fromarray(data.coffee()).convert("L")  # type: ignore[no-untyped-call]
    coffee.resize((480, 320)).save(out, "JPEG")
    return ask(
        f"{service}/v1/colorizations/{secrets.token_hex(16)}?artifacts=comparison",
        "PUT",
        {"Prefer": "wait=60", "Content-Type": "image/jpeg"},
        out.getvalue(),
    )


def ask(url: str, method: str, headers: dict[str, str], body: bytes | None = None) -> dict[str, str]:
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=90) as answer:
        document: dict[str, str] = json.loads(answer.read() or b"{}")
        return document


def chroma(pixels: NDArray[np.uint8]) -> float:
    """How far from gray, in 8-bit steps: the mean over pixels of the largest less the smallest channel."""
    channels = pixels[..., :3].astype(int)
    return float((channels.max(-1) - channels.min(-1)).mean())


def seen(page: Page, selector: str) -> NDArray[np.uint8]:
    """A part of the page as it stands on the screen."""
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"))


def opened(page: Page, service: str, job: dict[str, str]) -> Page:
    page.goto(f"{service}/photos/{job['id']}")
    expect(page.locator("#compare")).to_be_visible()
    return page


def test_gray_and_color_lie_over_one_another(page: Page, service: str, job: dict[str, str]) -> None:
    opened(page, service, job)
    expect(page.locator("#both")).to_be_hidden()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible()
    picture = seen(page, "#compare")
    height, width = picture.shape[:2]
    assert width / height == pytest.approx(480 / 320, rel=0.01)
    left, right = picture[60:-60, 20 : width // 2 - 30], picture[60:-60, width // 2 + 30 : -20]
    assert chroma(left) < 3
    assert chroma(right) > 8
    page.get_by_role("slider", name="Compare before and after").fill("100")
    gray = seen(page, "#compare")
    page.get_by_role("slider", name="Compare before and after").fill("0")
    colored = seen(page, "#compare")
    inner = np.s_[60:-60, 60:-60]
    assert chroma(gray[inner]) < 3 < 8 < chroma(colored[inner])
    apart = np.abs(gray[inner].mean(-1) - colored[inner].mean(-1)).mean()
    assert apart < 12, "both are the same photograph at the same place"


def test_the_slider_moves_by_keyboard_and_says_where_it_is(
    page: Page, service: str, job: dict[str, str]
) -> None:
    slider = opened(page, service, job).get_by_role("slider", name="Compare before and after")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "51 % before, 49 % after")


def test_without_scripts_the_comparison_is_there(browser: Browser, service: str, job: dict[str, str]) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.goto(f"{service}/photos/{job['id']}", wait_until="load")
    expect(page.locator("#both")).to_be_visible()
    expect(page.locator("#compare")).to_be_hidden()
    picture = seen(page, "#both")
    half = picture.shape[1] // 2
    assert chroma(picture[:, : half - 10]) < 3
    assert chroma(picture[:, half + 10 :]) > 8
    context.close()


@pytest.mark.parametrize("width", [320, 1400])
def test_it_fits_the_screen(page: Page, service: str, job: dict[str, str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    opened(page, service, job)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator("#compare").bounding_box()
    assert box is not None
    assert box["height"] < 700


def test_its_links_lead_to_the_picture_and_to_the_page_that_colors(
    page: Page, service: str, job: dict[str, str]
) -> None:
    opened(page, service, job)
    link = page.get_by_role("link", name="The picture alone").evaluate("link => link.href")
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert Image.open(answer).size == (480, 320)
    page.get_by_role("link", name="Color a photograph of your own").click()
    expect(page.get_by_text("Drop a photograph here")).to_be_visible()


def test_once_erased_it_shows_nothing_more(
    page: Page, service: str, job: dict[str, str], complaints: list[str]
) -> None:
    opened(page, service, job)
    ask(f"{service}/v1/colorizations/{job['id']}", "DELETE", {"Authorization": f"Bearer {job['secret']}"})
    page.reload()
    expect(page.get_by_role("heading", name="This photograph was erased")).to_be_visible()
    assert page.locator("img").count() == 1, "the mark alone"
    assert all("410" in complaint for complaint in complaints)
    complaints.clear()
