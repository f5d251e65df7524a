"""What all pages share, in a real browser: language, light and dark, errors in words, sizes, what is read out."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

Look = Callable[[Page], list[str]]


def photo(**options: object) -> dict[str, str | bytes]:
    """A gray photograph as the browser's file chooser hands it over."""
    out = io.BytesIO()
    down, across = np.mgrid[0:320, 0:480]
    waves = 127 + 90 * np.sin(across / 17) * np.cos(down / 11)
    Image.fromarray(waves.astype(np.uint8)).save(out, "JPEG", **options)
    return {"name": "street.jpg", "mimeType": "image/jpeg", "buffer": out.getvalue()}


def lightness(page: Page, name: str) -> float:
    """Of a color of the page's body, from 0 to 255."""
    color: list[int] = page.evaluate(
        "(name) => getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number)", name
    )
    return sum(color[:3]) / 3


def test_who_reads_german_gets_german_through_the_whole_flow(
    page: Page, browser: Browser, service: str, axe: Look
) -> None:
    context = browser.new_context(
        locale="de-AT", reduced_motion="reduce", viewport={"width": 1100, "height": 800}
    )
    german = context.new_page()
    german.goto(service)
    expect(german.locator("html")).to_have_attribute("lang", "de")
    assert axe(german) == []
    german.set_input_files("#photo", {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"text"})
    expect(german.get_by_role("heading", name="Das ist kein Foto, das sich lesen lässt")).to_be_visible()
    assert german.inner_text("#trouble-detail").startswith("Die Datei ist kein Foto in einem Format, das")
    assert axe(german) == []
    german.set_input_files("#photo", photo())  # type: ignore[arg-type]
    expect(german.get_by_role("heading", name="Diese Farben sind geraten")).to_be_visible(timeout=60_000)
    assert axe(german) == []
    context.close()


def test_the_language_can_be_chosen_and_stays(page: Page, service: str) -> None:
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Ein Schwarz‑Weiß‑Foto kolorieren")).to_be_visible()
    expect(page.get_by_role("link", name="Deutsch")).to_have_attribute("aria-current", "true")
    page.goto(service)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Color a black‑and‑white photograph")).to_be_visible()


@pytest.mark.parametrize("path", ["/nothing/at/all", "/v1/colorizations/none"])
def test_an_address_that_leads_nowhere_is_answered_in_words(
    page: Page, service: str, complaints: list[str], axe: Look, small_targets: Look, path: str
) -> None:
    page.goto(f"{service}{path}")
    expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
    assert axe(page) == []
    assert small_targets(page) == []
    assert all("404" in complaint for complaint in complaints), "the style is found from any depth"
    complaints.clear()
    document = page.evaluate("async (path) => (await fetch(path)).json()", path)
    assert document["code"] == "not_found", "a script gets a document from the same address"
    complaints.clear()
    page.get_by_role("link", name="Color a photograph").click()
    expect(page.get_by_text("Choose a photograph", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_both_legible(
    page: Page, service: str, axe: Look, complaints: list[str], scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    ground, ink = lightness(page, "backgroundColor"), lightness(page, "color")
    assert (ground > 200 > 60 > ink) if scheme == "light" else (ground < 60 < 200 < ink)
    assert axe(page) == []
    page.goto(f"{service}/photos/none")
    assert axe(page) == []
    complaints.clear()


@pytest.mark.parametrize("width", [320, 1400])
def test_fingers_and_narrow_screens_are_served(page: Page, small_targets: Look, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    assert small_targets(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("language", ["en", "de"])
def test_on_a_phone_names_of_pages_take_two_rows(page: Page, service: str, language: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{service}/?lang={language}")
    rows = page.eval_on_selector_all(
        ".masthead a", "links => new Set(links.map((link) => link.getBoundingClientRect().top)).size"
    )
    assert rows <= 2


def test_the_keyboard_skips_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="To the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_messages_are_read_out_one_a_second_and_the_last_is_never_lost(page: Page) -> None:
    heard: list[tuple[float, str]] = page.evaluate(
        """async () => {
            const { say } = await import(new URL("static/live.js", location));
            const region = document.getElementById("status");
            const heard = [];
            const done = new Promise((resolve) => {
                new MutationObserver(() => {
                    heard.push([performance.now(), region.textContent]);
                    if (region.textContent === "message 20") resolve();
                }).observe(region, { childList: true });
            });
            for (let number = 1; number <= 20; number++) {
                say(`message ${number}`);
                await new Promise((wait) => setTimeout(wait, 60));
            }
            await done;
            return heard;
        }"""
    )
    assert heard[0][1].startswith("message ")
    assert heard[-1][1] == "message 20"
    assert min(np.diff([at for at, _ in heard])) > 900


def test_without_scripts_errors_and_languages_work(browser: Browser, service: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{service}/nothing")
    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Unter dieser Adresse gibt es nichts")).to_be_visible()
    page.get_by_role("link", name="Ein Foto kolorieren").click()
    expect(page.get_by_role("heading", name="Ein Schwarz‑Weiß‑Foto kolorieren")).to_be_visible()
    context.close()
