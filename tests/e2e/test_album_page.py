"""Albums in a real browser: sent, looked through, decided by keys and by touch, colored again, saved; and what breaks on the way."""

from __future__ import annotations

import csv
import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from skimage import data

from tests.e2e.photo_pages import go_back

MOST_MS = 100
"""Of the browser's own time, which neighbors on the machine do not lengthen, that one task may take while an album is scrolled."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three in gray, and one file that is cut off in its midst."""
    folder = tmp_path_factory.mktemp("box")
    gray = Image.fromarray(data.coffee()).convert("L").resize((240, 160))  # type: ignore[no-untyped-call]
    for name, turn in (
        ("a.jpg", None),
        ("b.jpg", Image.Transpose.ROTATE_180),
        ("d.jpg", Image.Transpose.ROTATE_90),
    ):
        (gray if turn is None else gray.transpose(turn)).save(folder / name)
    whole = (folder / "a.jpg").read_bytes()
    (folder / "c.jpg").write_bytes(whole[: len(whole) * 3 // 5])
    return sorted(folder.iterdir())


def many(folder: Path, count: int) -> list[Path]:
    """Photographs that differ and are colored in no time."""
    folder.mkdir()
    gray = Image.fromarray(data.coffee()).convert("L").resize((96, 64))  # type: ignore[no-untyped-call]
    for place in range(count):
        gray.rotate(place).save(folder / f"{place:03}.jpg")
    return sorted(folder.iterdir())


def start(page: Page, service: str, files: list[Path]) -> None:
    page.goto(f"{service}/album")
    page.locator("#photos").set_input_files(files)
    page.wait_for_url(re.compile(r"/albums/[0-9a-f]{32}$"))


def until_ended(page: Page) -> None:
    """Looks again and again, sooner than the page would by itself."""
    give_up = time.monotonic() + 60
    while "3 of 4" not in page.locator("#standing").inner_text():
        assert time.monotonic() < give_up
        page.reload()


def tile(page: Page, name: str):
    return page.locator("#photographs a", has_text=name)


def saved(page: Page, button: str) -> zipfile.ZipFile:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return zipfile.ZipFile(download.value.path())


def rows(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read("photos.csv").decode("utf-8-sig"))))


def test_an_album_for_a_museum_is_decided_by_keys_and_saved(
    page: Page,
    service: str,
    photos: list[Path],
    axe: Callable[[Page], list[str]],
    small_targets: Callable[[Page], list[str]],
    complaints: list[str],
) -> None:
    page.goto(f"{service}/album")
    assert axe(page) + small_targets(page) == []
    page.get_by_role("radio", name="For an archive or a museum").check()
    page.get_by_text("Stronger or bolder colors").click()
    strength, boldness = (
        page.get_by_role("slider", name=name) for name in ("Color strength", "Bolder ↔ Safer")
    )
    strength.fill("1.5")
    boldness.focus()
    page.keyboard.press("ArrowLeft")
    expect(strength).to_have_attribute("aria-valuetext", "150%")
    expect(boldness).to_have_attribute("aria-valuetext", "10% bolder")
    assert axe(page) + small_targets(page) == []
    page.locator("#photos").set_input_files(photos)
    expect(page.get_by_role("heading", name="a.jpg and 3 more")).to_be_visible()
    expect(page.locator("#standing")).to_have_text("3 of 4 photographs are colored, 1 could not be.")
    assert axe(page) + small_targets(page) == []

    page.keyboard.press("ArrowRight")
    expect(tile(page, "a.jpg")).to_be_focused()
    page.keyboard.press("a")
    expect(tile(page, "a.jpg")).to_contain_text("Accepted")
    expect(tile(page, "b.jpg")).to_be_focused()
    page.keyboard.press("a")
    page.keyboard.press("a")
    expect(tile(page, "c.jpg")).to_contain_text("The photo is damaged")
    page.keyboard.press("End")
    page.keyboard.press("x")
    expect(page.locator("#verdicts")).to_have_text("2 accepted, 1 rejected")
    page.keyboard.press("u")
    expect(page.locator("#verdicts")).to_have_text("2 accepted, 0 rejected")
    page.keyboard.press("x")

    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog", name="a.jpg")
    expect(viewer.get_by_role("img", name="The photograph in guessed colors")).to_be_visible()
    page.keyboard.press("r")
    assert axe(page) + small_targets(page) == []
    held: list[Route] = []
    page.route("**/v1/colorizations", lambda route: held.append(route))
    viewer.get_by_role("button", name="Weaker colors").press("Enter")
    page.keyboard.press("x")
    expect(page.locator("#viewer-state")).to_have_text(
        "Being colored again: decide when its new colors are here"
    )
    held[0].continue_()
    page.unroute("**/v1/colorizations")
    expect(page.locator("#viewer-frame.busy")).to_have_count(0)
    expect(viewer.get_by_role("button", name="As it was at first")).to_be_visible()
    expect(viewer.get_by_role("button", name="Accept")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(tile(page, "a.jpg")).to_be_focused()

    page.reload()
    expect(page.locator("#verdicts")).to_have_text("2 accepted, 1 rejected")
    page.get_by_label("only what I accepted").check()
    archive = saved(page, "Save as a ZIP")
    of_each = ("{}.tif", "{} (gray).tif", "{} (color layer).tif", "{}.tif.json")
    assert set(archive.namelist()) == {"photos.csv", *(name.format(of) for of in "ab" for name in of_each)}
    assert [row["accepted"] for row in rows(archive)] == ["yes", "yes", "", "no"]
    made = [archive.read(f"{name}.tif.json").replace(b" ", b"") for name in "ab"]
    assert b'"vividness":1.25' in made[0], "the picture colored again"
    assert b'"vividness":1.5' in made[1]
    assert all(b'"boldness":0.1' in sidecar for sidecar in made)

    page.get_by_label("only what I accepted").uncheck()
    also = page.get_by_label("also the rejected one, which is left out otherwise")
    assert "d.tif" not in saved(page, "Save as a ZIP").namelist()
    also.check()
    assert "d.tif" in saved(page, "Save as a ZIP").namelist()

    page.locator("#erase summary").click()
    page.get_by_role("button", name="Erase the album now").click()
    expect(page.get_by_role("heading", name="This album was erased")).to_be_visible()
    page.goto(f"{service}/album")
    expect(page.locator("#mine")).to_be_hidden()
    assert all("410" in complaint for complaint in complaints), complaints
    complaints.clear()


@pytest.fixture
def phone(browser: Browser) -> BrowserContext:
    return browser.new_context(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        locale="de",
        reduced_motion="reduce",
    )


def test_on_a_phone_in_german_what_is_there_of_a_photo_is_colored_or_another_copy_sent_and_another_rejected(
    phone: BrowserContext,
    service: str,
    photos: list[Path],
    axe: Callable[[Page], list[str]],
    small_targets: Callable[[Page], list[str]],
) -> None:
    page = phone.new_page()
    page.add_init_script("delete Crypto.prototype.randomUUID")  # a page that did not come by HTTPS has none
    start(page, service, photos)
    expect(page.locator("#standing")).to_have_text("3 von 4 Fotos sind koloriert, bei 1 ging es nicht.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tile(page, "c.jpg").tap()
    said = page.locator("#viewer-state")
    expect(said).to_contain_text(re.compile(r"Das Foto ist beschädigt.*: \d+ % des Bildes sind da"))
    expect(said).to_contain_text("lassen Sie kolorieren, was da ist.")
    assert axe(page) + small_targets(page) == []
    page.get_by_role("button", name="Kolorieren, was da ist").tap()
    expect(page.get_by_role("img", name="Das Foto in geratenen Farben")).to_be_visible()
    expect(page.locator("#viewer-notices")).to_contain_text("der Rest ist grau")
    expect(page.locator("#standing")).to_have_text("4 von 4 Fotos sind koloriert.")
    page.locator("#viewer-undo").tap()
    with page.expect_request(f"{service}/v1/colorizations") as copy:
        page.locator("#copy").set_input_files(photos[0])
    key = copy.value.headers["idempotency-key"]
    assert re.fullmatch("[0-9a-f]{32}", key), "who guesses it is told the photo's secret"
    expect(page.get_by_role("img", name="Das Foto in geratenen Farben")).to_be_visible()
    page.get_by_role("button", name="Annehmen").tap()
    expect(page.locator("#viewer-name")).to_have_text("d.jpg")
    page.get_by_role("button", name="Verwerfen").tap()
    assert axe(page) + small_targets(page) == []
    page.get_by_role("button", name="Schließen").tap()
    page.get_by_label("Zeigen").select_option("rejected")
    expect(page.locator("#photographs li:visible")).to_have_count(1)
    page.get_by_label("auch das verworfene").check()
    archive = saved(page, "Als ZIP speichern")
    assert [row["status"] for row in rows(archive)] == ["succeeded"] * 4
    assert [row["accepted"] for row in rows(archive)] == ["", "", "yes", "no"]
    phone.close()


def test_an_upload_that_broke_off_is_gone_on_with_when_the_tab_is_open_again(
    browser: Browser, service: str, tmp_path: Path
) -> None:
    """Photographs are sent in parts, the second of which does not come through."""
    context = browser.new_context()
    files = many(tmp_path / "box", 22)
    sent: list[int] = []

    def cut(route: Route) -> None:
        sent.append(len(route.request.post_data_buffer or b""))
        if "more=true" in route.request.url:
            route.continue_()
        else:
            route.abort()

    context.route("**/v1/batches/*", cut)
    page = context.new_page()
    page.goto(f"{service}/album")
    page.locator("#photos").set_input_files(files)
    expect(page.locator("#sent")).to_have_text("The connection is lost; trying again")
    page.close()
    context.unroute("**/v1/batches/*")

    page = context.new_page()
    page.goto(f"{service}/album")
    expect(page.locator("#mine li")).to_contain_text("not all was sent")
    page.get_by_role("link", name="000.jpg and 21 more").click()
    expect(page.locator("#broken-words")).to_contain_text("20 of 22 are here")
    with page.expect_request(lambda request: request.method == "PUT") as rest:
        page.locator("#rest").set_input_files(files)
    assert len(rest.value.post_data_buffer or b"") < max(sent) / 2, "only what is not there"
    expect(page.locator("#photographs li")).to_have_count(22)
    expect(page.locator("#broken")).to_be_hidden()
    context.close()


def test_without_scripts_an_album_is_sent_shown_and_erased(
    browser: Browser, service: str, photos: list[Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{service}/album")
    page.locator("#photos").set_input_files(photos)
    page.get_by_role("button", name="Color them").click()
    page.wait_for_url(re.compile(r"/albums/[0-9a-f]{32}$"))
    expect(page.locator("meta[http-equiv=refresh]")).to_have_attribute("content", "10")
    until_ended(page)
    assert len(saved(page, "Save as a ZIP").namelist()) == 2 * 3 + 1
    assert tile(page, "a.jpg").locator("img").evaluate("image => image.naturalWidth") == 240
    with page.expect_navigation():
        tile(page, "a.jpg").click()
    assert "/photos/" in page.url
    go_back(page)
    page.get_by_text("Erase …").click()
    page.get_by_role("button", name="Erase the album now").click()
    expect(page.get_by_role("heading", name="This album was erased")).to_be_visible()
    context.close()


@pytest.mark.slow
def test_two_hundred_photographs_are_scrolled_without_a_long_task(
    browser: Browser, service: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    context.set_default_timeout(60_000)
    page = context.new_page()
    start(page, service, many(tmp_path / "box", 200))
    expect(page.locator("#standing")).to_contain_text("200 of 200", timeout=240_000)
    page.reload()
    expect(page.locator("#verdicts")).to_have_text("0 accepted, 0 rejected")

    client, events, complete = context.new_cdp_session(page), [], []
    client.on("Tracing.dataCollected", lambda part: events.extend(part["value"]))
    client.on("Tracing.tracingComplete", lambda said: complete.append(said))
    categories = "disabled-by-default-devtools.timeline,__metadata"
    client.send("Tracing.start", {"transferMode": "ReportEvents", "categories": categories})
    page.mouse.move(550, 500)
    for step in [300] * 50 + [-300] * 50:
        page.mouse.wheel(0, step)
        page.wait_for_timeout(30)
    client.send("Tracing.end")
    give_up = time.monotonic() + 60
    while not complete and time.monotonic() < give_up:
        page.wait_for_timeout(200)
    expect(page.locator("#photographs li")).to_have_count(200)
    main = {
        e["pid"]: e["tid"]
        for e in events
        if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        e.get("tdur", 0) / 1000 for e in events if e["name"] == "RunTask" and main.get(e["pid"]) == e["tid"]
    ]
    assert len(tasks) > 100, "the browser tells its tasks"
    assert max(tasks) < MOST_MS
    context.close()
