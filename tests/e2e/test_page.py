"""The first page in a real browser, on the real service: how a photograph gets from there to a page of its own."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, CDPSession, JSHandle, Page, Request, Route, expect
from skimage import data

from tests.e2e.photo_pages import go_back

Look = Callable[[Page], list[str]]
Photo = dict[str, str | bytes]

ARTIFACTS = ["comparison", "distribution", "suggestions"]
PAGE_BYTES = 150 * 1024
FIRST_VIEW = 1.0
"""Seconds of a processor, slowed down to a quarter, until the page is there. Not of a clock: others use this machine too."""
LAYOUT_SHIFT = 0.02

TAKE = """
(files) => {
    const carrier = new DataTransfer();
    for (const [name, type, base64] of files) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        carrier.items.add(new File([bytes], name, { type }));
    }
    return carrier;
}
"""
SHIFT = """
() => new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(sum), 200);
})
"""


def gray(width: int = 480, height: int = 320) -> Image.Image:
    """A black-and-white photograph of a cup of coffee."""
    coffee = data.coffee()  # type: ignore[no-untyped-call]
    return Image.fromarray(coffee).convert("L").resize((width, height))


def file(image: Image.Image, name: str = "street.jpg", format: str = "JPEG") -> Photo:
    """The photograph as the browser's file chooser hands it over."""
    out = io.BytesIO()
    image.save(out, format)
    return {"name": name, "mimeType": f"image/{format.lower()}", "buffer": out.getvalue()}


def carry(page: Page, *photos: Photo) -> JSHandle:
    """The photographs as the browser hands over what is dropped or pasted."""
    packed = [
        [photo["name"], photo["mimeType"], base64.b64encode(bytes(photo["buffer"])).decode()]  # type: ignore[arg-type]
        for photo in photos
    ]
    return page.evaluate_handle(TAKE, packed)


def choose(page: Page, *photos: Photo | Path) -> None:
    page.set_input_files("#photo", list(photos))  # type: ignore[arg-type]


def await_choosers(page: Page) -> None:
    """Have the browser hand over its file choosers from now on: told in the moment itself, it may show one instead."""
    page.on("filechooser", lambda chooser: None)


def posted(page: Page) -> list[str]:
    """Where the page sends something, from now on."""
    sent: list[str] = []
    page.on(
        "request", lambda request: sent.append(request.url) if request.method in ("POST", "PUT") else None
    )
    return sent


def its_page(page: Page) -> str:
    """The id of the photo at whose page the browser has arrived."""
    page.wait_for_url(re.compile(r"/photos/[0-9a-f]{32}$"), wait_until="commit")
    return page.url[-32:]


def job(service: str, id: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{service}/v1/colorizations/{id}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def is_whole(page: Page, axe: Look, small_targets: Look) -> bool:
    """Whether a page can be read, pressed, and stays within its width."""
    assert axe(page) == []
    assert small_targets(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return True


def slowed(context: BrowserContext, page: Page, **how: float) -> CDPSession:
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 20, "downloadThroughput": -1, "uploadThroughput": -1, **how},
    )
    return session


def test_a_chosen_photo_gets_a_page_of_its_own_and_back_leads_to_an_empty_plate(
    page: Page, service: str, axe: Look, small_targets: Look
) -> None:
    assert is_whole(page, axe, small_targets)
    assert {"image/*", ".heic", ".tiff", ".jp2", ".zip"} <= set(
        page.get_attribute("#photo", "accept").split(",")
    )  # type: ignore[union-attr]
    for word in ("temperature", "vividness"):
        assert word not in page.content().lower()
    choose(page, file(gray(), "Grandma at sea.jpg"))
    id = its_page(page)
    assert job(service, id)["options"]["artifacts"] == ARTIFACTS
    known = page.evaluate("JSON.parse(localStorage.getItem('autochrome.photos'))")
    assert [(photo["id"], photo["name"]) for photo in known] == [(id, "Grandma at sea.jpg")]
    go_back(page)
    expect(page.get_by_text("Choose a photograph", exact=True)).to_be_visible()
    expect(page.locator("#work")).to_be_hidden()
    expect(page.get_by_role("link", name="Grandma at sea.jpg")).to_be_visible()
    assert is_whole(page, axe, small_targets)

    page.get_by_role("button", name="Erase Grandma at sea.jpg").click()
    page.get_by_role("button", name="Really erase Grandma at sea.jpg?").click()
    expect(page.locator("#recent")).to_be_hidden()
    assert job(service, id)["status"] == "canceled"


def test_a_photo_may_be_dropped_anywhere_or_pasted(page: Page) -> None:
    carrier = carry(page, file(gray(200, 160)))
    page.dispatch_event("footer", "dragenter", {"dataTransfer": carrier})
    expect(page.locator("#plate")).to_have_class("plate over")
    page.dispatch_event("footer", "drop", {"dataTransfer": carrier})
    dropped = its_page(page)
    go_back(page)
    page.evaluate(
        "carrier => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: carrier, bubbles: true, cancelable: true }))",
        carry(page, file(gray(160, 200))),
    )
    assert its_page(page) != dropped


def test_several_photos_or_a_zip_become_an_album(page: Page, service: str, complaints: list[str]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.jpg", bytes(file(gray(96, 64))["buffer"]))  # type: ignore[arg-type]
    several = (file(gray(200, 160), "first.jpg"), file(gray(160, 200), "second.jpg"))
    zipped: Photo = {"name": "box.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    for files, names in ((several, ["first.jpg", "second.jpg"]), ((zipped,), ["a.jpg"])):
        page.goto(service)
        choose(page, *files)
        page.wait_for_url(re.compile(r"/albums/[0-9a-f]{32}$"), wait_until="commit")
        with urllib.request.urlopen(f"{service}/v1/batches/{page.url[-32:]}", timeout=10) as answer:
            assert [file["name"] for file in json.load(answer)["files"]] == names
    complaints.clear()


def test_by_keyboard_alone_a_photo_is_chosen_and_a_sample_tried(page: Page, service: str) -> None:
    await_choosers(page)

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("(name) => document.activeElement.matches(name)", name):
                return
        pytest.fail(f"the keyboard does not reach {name}")

    tab_to("#photo")
    assert page.eval_on_selector(".box-label", "label => getComputedStyle(label).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    chooser.value.set_files([])
    tab_to("form[data-name='A cat'] button")
    page.keyboard.press("Enter")
    id = its_page(page)
    assert job(service, id)["options"]["artifacts"] == ARTIFACTS
    go_back(page)
    expect(page.get_by_role("link", name="A cat.jpg")).to_be_visible()


def test_a_phone_offers_its_camera_and_a_tap_is_enough(
    browser: Browser, page: Page, service: str, axe: Look, small_targets: Look
) -> None:
    expect(page.get_by_text("Photograph a print")).to_be_hidden()
    expect(page.get_by_text("or drop one anywhere, or paste it.")).to_be_visible()
    with browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}) as phone:
        small = phone.new_page()
        await_choosers(small)
        small.goto(service)
        expect(small.get_by_text("or drop one anywhere, or paste it.")).to_be_hidden()
        assert is_whole(small, axe, small_targets)
        expect(small.get_by_text("Choose a photograph", exact=True)).to_be_in_viewport(ratio=1)
        expect(small.get_by_text("Photograph a print")).to_be_in_viewport(ratio=1)
        assert small.get_attribute("#camera", "capture") == "environment"
        with small.expect_file_chooser() as chooser:
            small.get_by_text("Photograph a print").tap()
        chooser.value.set_files([file(gray(300, 400), "shot.jpg")])  # type: ignore[list-item]
        its_page(small)
        go_back(small)
        small.get_by_role("button", name="Try this one (A cup of coffee)").tap()
        its_page(small)


def test_without_scripts_the_form_and_the_samples_do_the_same(
    browser: Browser, service: str, axe: Look, small_targets: Look
) -> None:
    with browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844}) as context:
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.goto(service)
        expect(page.get_by_role("button", name="Color it")).to_be_hidden()
        choose(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"Dear diary"})
        page.get_by_role("button", name="Color it").click()
        expect(page.get_by_role("alert")).to_contain_text("This is not a photo that can be read")
        choose(page, file(gray()))
        assert small_targets(page) == []
        with page.expect_request(lambda request: request.method == "POST") as sent:
            page.get_by_role("button", name="Color it").click()
        id = its_page(page)
        assert sent.value.all_headers()["origin"] == service, "else it would be taken for another site's"
        assert job(service, id)["options"]["artifacts"] == ARTIFACTS
        (cookie,) = context.cookies()
        assert (cookie["name"], cookie["path"], cookie["httpOnly"]) == ("photo_secret", f"/photos/{id}", True)
        page.goto(service)
        page.get_by_role("button", name="Try this one (A rocket at dusk)").click()
        assert its_page(page) != id
        page.goto(service)
        choose(page, file(gray(200, 160), "first.jpg"), file(gray(160, 200), "second.jpg"))
        page.get_by_role("button", name="Color several, as an album").click()
        page.wait_for_url(re.compile(r"/albums/[0-9a-f]{32}$"), wait_until="commit")
        with urllib.request.urlopen(f"{service}/v1/batches/{page.url[-32:]}", timeout=10) as answer:
            batch = json.load(answer)
        assert [file["name"] for file in batch["files"]] == ["first.jpg", "second.jpg"]
        assert "thumbnail" in batch["options"]["artifacts"], "what the album's list shows"


@pytest.mark.parametrize(
    ("photo", "title"),
    [
        ({"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}, "This file is empty"),
        ({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}, "This is not a photograph"),
        (file(Image.new("1", (8000, 7000)), "huge.png", "PNG"), "This photograph has too many pixels"),
        (26 * 2**20, "This file is too large"),
    ],
)
def test_what_needs_no_server_to_be_refused_is_not_sent(
    page: Page, tmp_path: Path, axe: Look, photo: Photo | int, title: str
) -> None:
    sent = posted(page)
    if isinstance(photo, int):
        with (tmp_path / "big.jpg").open("wb") as out:
            out.truncate(photo)
    choose(page, tmp_path / "big.jpg" if isinstance(photo, int) else photo)
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    expect(page.get_by_role("heading", name=title)).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text(title)
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    if isinstance(photo, int):
        assert "It has 26.0 MB; up to 25 MB can be sent." in page.inner_text("#trouble-detail")
    assert axe(page) == []
    assert sent == []


def test_what_the_server_refuses_is_told_in_its_words_and_another_photo_can_be_chosen(
    page: Page, complaints: list[str], axe: Look, small_targets: Look
) -> None:
    await_choosers(page)
    page.set_viewport_size({"width": 320, "height": 640})
    choose(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"Dear diary, no picture today."})
    expect(page.get_by_role("heading", name="This is not a photo that can be read")).to_be_visible()
    expect(page.locator("#trouble-code")).to_have_text("photo_unsupported")
    (complaint,) = complaints
    assert "415" in complaint, "the browser notes the refusal itself"
    complaints.clear()
    assert is_whole(page, axe, small_targets)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose another photograph").click()
    chooser.value.set_files([file(gray(640, 200), "a-name-without-any-place-to-break-" * 4 + ".jpg")])  # type: ignore[list-item]
    its_page(page)


def test_over_a_slow_connection_it_is_said_how_much_is_sent_and_it_can_be_stopped(
    page: Page, service: str, axe: Look, small_targets: Look
) -> None:
    slow = slowed(page.context, page, uploadThroughput=20_000)
    photo = file(gray(1600, 1000))
    choose(page, photo)
    expect(page.get_by_role("heading", name="Sending the photograph")).to_be_visible()
    expect(page.locator("#sent")).to_contain_text(re.compile(r"[1-9]\d?% of 0\.\d MB"))
    expect(page.get_by_role("progressbar", name="Sending the photograph")).to_be_visible()
    assert is_whole(page, axe, small_targets)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#photo")).to_be_focused()
    assert page.url.rstrip("/") == service
    slow.send("Network.disable")
    slow.detach()
    choose(page, photo)
    its_page(page)


def test_a_connection_that_is_lost_is_told_and_mended_without_coloring_twice(
    page: Page, service: str, complaints: list[str]
) -> None:
    page.context.set_offline(True)
    choose(page, file(gray()))
    expect(page.get_by_role("heading", name="The connection to the server was lost")).to_be_visible()
    page.context.set_offline(False)
    made: list[str] = []

    def lose_the_answer(route: Route) -> None:
        made.append(route.fetch().json()["id"])
        route.abort("connectionreset")

    page.route("**/v1/colorizations", lose_the_answer, times=1)
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="The connection to the server was lost")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    assert [its_page(page)] == made, "it is the job that was made by the try before"
    secret = page.evaluate("JSON.parse(localStorage.getItem('autochrome.photos'))[0].secret")
    request = urllib.request.Request(
        f"{service}/v1/colorizations/{made[0]}",
        method="DELETE",
        headers={"Authorization": f"Bearer {secret}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 204
    complaints.clear()


def test_a_proxy_may_call_the_server_by_another_name_than_the_page_does(page: Page) -> None:
    def pass_on(route: Route) -> None:  # as over plain HTTP, where browsers send Origin and no Sec-Fetch-Site
        headers = {
            name: value for name, value in route.request.headers.items() if not name.startswith("sec-")
        }
        route.fulfill(response=route.fetch(headers=headers | {"origin": "http://photos.example"}))

    page.route("**/v1/colorizations", pass_on)
    choose(page, file(gray()))
    its_page(page)


def test_samples_move_unless_the_reader_wants_no_motion(browser: Browser, page: Page, service: str) -> None:
    moving = "document.getAnimations().filter((one) => one.animationName === 'across').length"
    page.locator(".sample").first.hover()
    assert page.evaluate(moving) == 0
    with browser.new_context(viewport={"width": 1100, "height": 1000}) as context:
        lively = context.new_page()
        lively.goto(service)
        lively.locator(".samples").scroll_into_view_if_needed()
        lively.wait_for_function(f"() => {moving} === 3")
        durations = lively.evaluate(
            "document.getAnimations().map((one) => one.effect.getComputedTiming().endTime)"
        )
        assert max(durations) < 5000, "what moves longer by itself must be stoppable (WCAG 2.2.2)"


def test_the_page_is_light_soon_there_and_does_not_jump(browser: Browser, service: str) -> None:
    """From an empty cache; before photographs. `pytest -s -k soon_there tests/e2e/test_page.py` prints what it took of the processor."""
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.goto(service)
        metrics = session.send("Performance.getMetrics")["metrics"]
        taken = {metric["name"]: metric["value"] for metric in metrics}
        parts = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
        shown = ", ".join(f"{name.removesuffix('Duration')} {1000 * taken[name]:.0f}" for name in parts)
        painted = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        page.wait_for_function(painted)
        sys.stdout.write(f"\nfirst view, milliseconds of a processor slowed down to a quarter: {shown}; ")
        sys.stdout.write(f"by the clock it is painted after {page.evaluate(painted):.0f}\n")
        assert 0 < taken["TaskDuration"] < FIRST_VIEW

    with browser.new_context(viewport={"width": 1100, "height": 800}) as context:
        page = context.new_page()
        loaded: list[Request] = []
        page.on("requestfinished", lambda request: loaded.append(request))
        page.goto(service)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_function(
            "() => [...document.images].every((image) => image.complete && (image.hidden || image.naturalWidth))"
        )
        assert page.evaluate(SHIFT) < LAYOUT_SHIFT
        sizes = {request.url: request.sizes() for request in loaded if not request.url.endswith(".jpg")}
        assert len(sizes) > 8, "scripts and styles are counted at all"
        total = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes.values())
        sys.stdout.write(f"{len(sizes)} requests, {total / 1024:.0f} KB before photographs\n")
        assert total < PAGE_BYTES, sizes


def test_inline_scripts_and_styles_are_refused(page: Page, complaints: list[str]) -> None:
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = true";
            const style = document.createElement("style");
            style.textContent = "h1 { color: red }";
            document.head.append(script, style);
        }"""
    )
    assert page.evaluate("window.injected") is None
    assert len(complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in complaints)
    complaints.clear()
