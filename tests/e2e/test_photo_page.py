"""A photo's own page in a real browser: while it waits, to look at, to save, to pass on, to erase."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.photo_pages import ask, chroma, go_back, gray, opened, remember, seen, send

Look = Callable[[Page], list[str]]


@pytest.fixture(scope="module")
def job(service: str) -> dict[str, Any]:
    """A photo of 900 × 600 pixels, colored; it says who took it."""
    exif = Image.Exif()
    exif[315] = "Ada"
    return send(service, gray(900, 600, exif=exif))


def divider_at(page: Page) -> float:
    """Where the divide is seen, as a share of the picture's width."""
    share: float = page.evaluate(
        """() => {
            const [picture, line] = ["#viewer", ".divide"].map((part) => document.querySelector(part).getBoundingClientRect());
            return (line.x + line.width / 2 - picture.x) / picture.width;
        }"""
    )
    return share


def scale(page: Page) -> float:
    found: float = page.evaluate(
        "document.querySelector('.stage').getBoundingClientRect().width / document.querySelector('#viewer').clientWidth"
    )
    return found


def test_who_waits_sees_place_and_stages_and_then_the_picture(
    page: Page, service: str, axe: Look, small_targets: Look, complaints: list[str]
) -> None:
    # All made before the first is sent: a photograph is sooner colored than made.
    large = [gray(3000, 2250 + 2 * at) for at in range(8)]
    small = [gray(480, 320 + 2 * at) for at in range(2)]
    before = [send(service, photo, wait=0) for photo in large]
    mine, other = (send(service, photo, wait=0) for photo in small)
    remember(page, mine)
    remember(page, other, "other.jpg")
    # Both pages are asked for at once, and hear nothing of what becomes of their photographs before they are let.
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    tab = page.context.new_page()
    for one in (page, tab):
        one.route("**/v1/colorizations/*/events", hold)
    page.goto(f"{service}/photos/{mine['id']}", wait_until="commit")
    tab.goto(f"{service}/photos/{other['id']}", wait_until="commit")

    expect(tab.locator("#heading")).to_contain_text("photographs before yours")
    sheet = seen(tab, "#sheet")
    assert sheet[:, sheet.shape[1] // 2 :].mean() > 30, (
        "where there is no picture of it yet, there is no black hole"
    )
    assert axe(tab) == []
    assert small_targets(tab) == []
    tab.get_by_role("button", name="Stop and erase it").click()
    expect(tab.get_by_role("heading", name="This photograph was erased")).to_be_visible()
    link = tab.get_by_role("link", name="street.jpg").get_attribute("href")
    assert link is not None
    assert link.endswith(mine["id"]), "it leads on to the other one"
    tab.close()

    left = [1]

    def cut(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/v1/colorizations/*/events", cut)
    for route in held:
        if mine["id"] in route.request.url:
            route.abort("connectionreset")
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)
    expect(page.locator("#status")).to_contain_text("Done.")
    expect(page.locator("#heading")).to_be_focused()
    assert left[0] < 0
    assert all("ERR_CONNECTION_RESET" in complaint for complaint in complaints), "it was waited out"
    complaints.clear()
    assert chroma(seen(page)[60:-60, -200:-60]) > 4
    for one in before:
        ask(f"{service}/v1/colorizations/{one['id']}", "DELETE", {"Authorization": f"Bearer {one['secret']}"})


def test_who_waits_sees_the_picture_where_the_browser_forbids_that_anything_is_kept(
    page: Page, service: str
) -> None:
    large = [gray(3000, 2250 + 2 * at) for at in range(4)]
    before = [send(service, photo, wait=0) for photo in large]
    mine = send(service, gray(), wait=0)
    page.add_init_script(
        """for (const storage of ["sessionStorage", "localStorage"])
            Object.defineProperty(window, storage, { get() { throw new DOMException("forbidden", "SecurityError"); } });"""
    )
    held: list[Route] = []
    page.route("**/v1/colorizations/*/events", lambda route: held.append(route))
    with page.expect_request("**/v1/colorizations/*/events"):
        page.goto(f"{service}/photos/{mine['id']}")
    expect(page.locator("#progress")).to_be_visible()
    held[0].continue_()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)
    for one in before:
        ask(f"{service}/v1/colorizations/{one['id']}", "DELETE", {"Authorization": f"Bearer {one['secret']}"})


def test_gray_and_color_lie_over_one_another_and_the_handle_alone_parts_them(
    page: Page, service: str, job: dict[str, Any], axe: Look, small_targets: Look
) -> None:
    opened(page, service, job)
    shown = seen(page)
    height, width = shown.shape[:2]
    assert width / height == pytest.approx(1.5, rel=0.01)
    assert chroma(shown[60:-60, 20 : width // 2 - 40]) < 3 < 8 < chroma(shown[60:-60, width // 2 + 40 : -20])
    assert axe(page) == []
    assert small_targets(page) == []

    box = page.locator("#viewer").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    assert divider_at(page) == pytest.approx(0.5, abs=0.01), "the picture is no slider"
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=5)
    page.mouse.up()
    assert divider_at(page) == pytest.approx(0.8, abs=0.02)
    slider = page.get_by_role("slider", name="Compare before and after")
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "1% before, 99% after")
    assert divider_at(page) == pytest.approx(0.01, abs=0.01)

    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".divide")).to_be_hidden()
    inner = np.s_[60:-60, 60:-60]
    colored = seen(page)
    page.locator("#original").focus()
    page.keyboard.down("Space")
    original = seen(page)
    page.keyboard.up("Space")
    assert chroma(original[inner]) < 3 < 8 < chroma(colored[inner])
    assert np.abs(original[inner].mean(-1) - colored[inner].mean(-1)).mean() < 12, (
        "one photograph at one place"
    )
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    expect(page.locator("#viewer")).to_have_class("viewer halves whole original")
    page.mouse.up()
    expect(page.locator("#viewer")).to_have_class("viewer halves whole")


def test_it_is_made_larger_to_its_last_pixel_and_moved_about(
    page: Page, service: str, job: dict[str, Any]
) -> None:
    opened(page, service, job)
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    x, y = box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"]
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    assert scale(page) > 1.5
    at = divider_at(page)
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    assert divider_at(page) == at, "the divide stays, the picture moves"
    for _ in range(8):
        page.mouse.wheel(0, 400)
    assert scale(page) == pytest.approx(1, abs=0.01)
    page.mouse.dblclick(x, y)
    assert scale(page) > 2
    page.mouse.dblclick(x, y)
    assert scale(page) == pytest.approx(1, abs=0.01)
    page.locator("#viewer").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert scale(page) == pytest.approx(2.25, abs=0.02)
    expect(page.locator("#status")).to_have_text("225% of its size on this page")
    before = seen(page)
    page.keyboard.press("ArrowRight")
    assert np.abs(seen(page).astype(int) - before).mean() > 2
    page.keyboard.press("0")
    assert scale(page) == pytest.approx(1, abs=0.01)


def test_where_it_has_more_pixels_than_the_comparison_they_are_shown(page: Page, service: str) -> None:
    large = send(service, gray(2600, 1700))
    opened(page, service, large)
    page.get_by_role("button", name="Larger").click()
    expect(page.locator("#after")).to_have_attribute("data-whole", "shown")
    assert page.eval_on_selector("#after", "image => image.naturalWidth") == 2600


def test_what_no_browser_shows_is_compared_all_the_same(page: Page, service: str) -> None:
    out = io.BytesIO()
    Image.fromarray((np.indices((240, 360)).sum(0) * 100).astype(np.uint16)).save(out, "TIFF")
    scan = send(service, out.getvalue(), "image/tiff")
    opened(page, service, scan, "scan.tif")
    assert page.eval_on_selector("#after", "image => image.naturalWidth") == 720
    page.reload()
    expect(page.locator("#viewer")).to_be_visible()
    assert page.eval_on_selector("#after", "image => image.naturalWidth") == 720


def test_it_is_saved_as_it_came_or_in_another_format_with_what_it_says(
    page: Page, service: str, job: dict[str, Any]
) -> None:
    opened(page, service, job)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save", exact=True).click()
    assert saved.value.suggested_filename == "street-color.jpg"
    with Image.open(saved.value.path()) as jpeg:
        assert (jpeg.format, jpeg.getexif()[315]) == ("JPEG", "Ada")
    page.get_by_text("Save in another format").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="TIFF").click()
    assert saved.value.suggested_filename == "street-color.tif"
    with Image.open(saved.value.path()) as tiff:
        assert (tiff.format, tiff.size, tiff.getexif()[315]) == ("TIFF", (900, 600), "Ada")
        assert tiff.tag_v2[258] == (16, 16, 16)  # type: ignore[attr-defined]
    expect(page.locator("#said")).to_have_text("Saved as street-color.tif")


def test_it_is_shared_printed_and_seen_by_others_who_cannot_change_it(
    page: Page, browser: Browser, service: str, job: dict[str, Any]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, service, job)
    page.evaluate("delete Navigator.prototype.share")
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#said")).to_contain_text("The link is copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{service}/photos/{job['id']}"
    page.emulate_media(media="print")
    for hidden in (".masthead", ".tools", "#opinion", "#save", "footer", ".divider"):
        expect(page.locator(hidden).first).to_be_hidden()
    assert chroma(seen(page)[20:-20, 20:200]) > 5, "on paper there is the colored picture alone"

    stranger = browser.new_context().new_page()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="These colors are a guess")).to_be_visible()
    expect(stranger.get_by_role("link", name="Save")).to_be_visible()
    for owned in ("#opinion", "#erase", "#formats", "#recent"):
        expect(stranger.locator(owned)).to_be_hidden()
    stranger.context.close()


def test_of_a_file_that_is_cut_off_what_is_there_is_colored(page: Page, service: str, axe: Look) -> None:
    whole = gray()
    page.set_input_files(
        "#photo", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": whole[: len(whole) // 2]}
    )
    expect(page.get_by_role("heading", name="This photograph could not be colored")).to_be_visible(
        timeout=60_000
    )
    expect(page.locator("main")).to_contain_text("Send the whole file, or have what is there colored.")
    assert axe(page) == []
    page.get_by_role("button", name="Color what is there").click()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)
    expect(page.locator("#notices")).to_contain_text("the rest is gray")
    expect(page.locator("#opinion")).to_be_visible()


def test_two_tabs_agree_on_what_there_is_and_what_was_erased(
    page: Page, service: str, job: dict[str, Any], complaints: list[str], axe: Look
) -> None:
    other = send(service, gray(300, 200))
    opened(page, service, other, "aunt.png")
    opened(page, service, job)
    expect(page.get_by_role("link", name="aunt.png")).to_be_visible()
    assert page.locator("#recent img").get_attribute("src", timeout=5000).startswith("data:image/jpeg")  # type: ignore[union-attr]
    assert axe(page) == []
    tab = page.context.new_page()
    tab.goto(f"{service}/photos/{other['id']}")
    expect(tab.get_by_role("link", name="street.jpg")).to_be_visible()
    tab.get_by_text("Erase this photograph").click()
    tab.get_by_role("button", name="Erase it now").click()
    expect(tab.get_by_role("heading", name="This photograph was erased")).to_be_visible()
    expect(page.locator("#recent")).to_be_hidden()
    go_back(page)
    expect(page.get_by_role("heading", name="This photograph was erased")).to_be_visible()
    assert page.locator("img").count() <= 3, "the mark, and what is in the list"
    erase = page.get_by_role("button", name="Erase street.jpg")
    erase.click()
    page.get_by_role("button", name="Really erase street.jpg?").click()
    expect(page.locator("#recent")).to_be_hidden()
    assert all("410" in complaint for complaint in complaints)
    complaints.clear()


def test_without_scripts_it_is_seen_saved_and_erased(browser: Browser, service: str) -> None:
    mine = send(service, gray())
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1000, "height": 800})
    context.add_cookies(
        [
            {
                "name": "photo_secret",
                "value": mine["secret"],
                "url": f"{service}/photos/{mine['id']}",
                "httpOnly": True,
            }
        ]
    )
    page = context.new_page()
    page.goto(f"{service}/photos/{mine['id']}", wait_until="load")
    shown = seen(page)
    half = shown.shape[1] // 2
    assert chroma(shown[:, : half - 10]) < 3 < 8 < chroma(shown[:, half + 10 :])
    for scripted in ("#share", "#print", ".tools", "#opinion", ".divider"):
        expect(page.locator(scripted)).to_be_hidden()
    link = page.get_by_role("link", name="Save").evaluate("link => link.href")
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert Image.open(answer).size == (480, 320)
    page.get_by_text("Erase this photograph").click()
    page.get_by_role("button", name="Erase it now").click()
    expect(page.get_by_role("heading", name="This photograph was erased")).to_be_visible()
    context.close()


@pytest.fixture(scope="module")
def tall(service: str) -> dict[str, Any]:
    return send(service, gray(600, 900))


@pytest.mark.parametrize("width", [320, 390, 1400, 2560])
def test_it_fits_the_screen_and_does_not_jump(
    page: Page, service: str, tall: dict[str, Any], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.add_init_script(
        """window.jumped = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.jumped += entry.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    opened(page, service, tall)
    expect(page.locator("#opinion")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    assert box["height"] < 844
    assert page.evaluate("window.jumped") < 0.02
