"""The page for developers in a real browser: a photo is tried, things are found, and everybody can use it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

Look = Callable[[Page], list[str]]


@pytest.fixture
def docs(page: Page, service: str) -> Page:
    page.goto(f"{service}/docs")
    return page


def photo() -> dict[str, str | bytes]:
    out = io.BytesIO()
    down, across = np.mgrid[0:160, 0:240]
    Image.fromarray((127 + 90 * np.sin(across / 17) * np.cos(down / 11)).astype(np.uint8)).save(out, "JPEG")
    return {"name": "my street.jpg", "mimeType": "image/jpeg", "buffer": out.getvalue()}


def test_a_photo_is_tried_with_options_and_erased(
    docs: Page, axe: Look, small_targets: Look, complaints: list[str]
) -> None:
    assert axe(docs) == []
    assert small_targets(docs) == []
    docs.locator("#trial summary").click()
    docs.get_by_label("vividness").fill("1.4")
    docs.get_by_label("keep_metadata").select_option("false")
    docs.get_by_label("comparison").check()
    docs.get_by_label("Photograph").set_input_files(photo())  # type: ignore[arg-type]
    docs.get_by_role("button", name="Send").click()
    expect(docs.locator("#trial-picture")).to_be_visible(timeout=60_000)
    request = docs.inner_text("#trial-request")
    assert (
        "-F vividness=1.4 -F keep_metadata=false -F artifacts=comparison -F 'photo=@my street.jpg'" in request
    )
    answer = docs.inner_text("#trial-answer")
    assert answer.startswith("HTTP 200\ncontent-type: application/json")
    assert '"vividness": 1.4' in answer
    size = docs.evaluate(
        "(async () => (await document.getElementById('trial-picture').decode(), "
        "document.getElementById('trial-picture').naturalWidth))()"
    )
    assert size == 240
    assert axe(docs) == []
    assert small_targets(docs) == []
    docs.get_by_role("button", name="Erase").click()
    expect(docs.locator("#trial-answer")).to_contain_text("Erased.")
    expect(docs.locator("#trial-picture")).to_be_hidden()


def test_what_is_refused_is_shown(docs: Page, complaints: list[str]) -> None:
    docs.get_by_label("Photograph").set_input_files(
        {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"text"}
    )
    docs.get_by_role("button", name="Send").click()
    expect(docs.locator("#trial-answer")).to_contain_text('"code": "photo_unsupported"')
    expect(docs.locator("#trial-picture")).to_be_hidden()
    [refused] = complaints
    assert "415" in refused, "the browser's own remark"
    complaints.clear()


def test_an_operation_is_found_and_a_link_unfolds_it(docs: Page, axe: Look) -> None:
    docs.get_by_label("Find in what follows").fill("DELETE batches")
    expect(docs.locator("details.operation:visible")).to_have_count(1)
    expect(docs.locator("#erase_batch")).to_be_visible()
    docs.get_by_label("Find in what follows").fill("")
    docs.locator("#read_colorization summary").click()
    docs.locator("#read_colorization").get_by_role("link", name="JobView").click()
    expect(docs.locator("#object-JobView table")).to_be_visible()
    docs.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert axe(docs) == []


def test_it_fits_a_small_screen_and_needs_no_script(
    browser: Browser, service: str, axe: Look, complaints: list[str]
) -> None:
    context = browser.new_context(
        viewport={"width": 320, "height": 640}, java_script_enabled=False, color_scheme="dark", locale="de"
    )
    page = context.new_page()
    page.goto(f"{service}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    expect(page.get_by_role("heading", name="Für Entwickler")).to_be_visible()
    expect(page.locator("#find")).to_be_hidden()
    for cell in (
        page.locator("#problem-photo_damaged, section[aria-labelledby=options] tr").first.locator("td").all()
    ):
        box = cell.bounding_box()
        assert box
        assert box["width"] > 250, "a row stands as lines below one another"
    with page.expect_download() as client:
        page.get_by_role("link", name="autochrome.py").click()
    assert (
        Path(client.value.path()).read_bytes() == (Path(__file__).parents[2] / "autochrome.py").read_bytes()
    )
    page.locator("#erase_colorization summary").click()
    expect(page.locator("#erase_colorization .answers")).to_be_visible()
    context.close()
