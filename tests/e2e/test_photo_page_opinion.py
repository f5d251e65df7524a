"""“Not right?” on a photo's page: other colors seen at once, taken back, kept; by mouse, fingers and keyboard."""

from __future__ import annotations

import base64
import io
import json
import re
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from skimage import data

from tests.e2e.photo_pages import chroma, go_back, gray, opened, picture, remember, seen, send

Look = Callable[[Page], list[str]]

PAINT = """
async ([id, boldness, strength, byShader, rounds]) => {
  const load = (name) => import(new URL(`/static/${name}.js`, location));
  const [{ read }, { Painter, decode }] = [await load("distribution"), await load("decode")];
  const files = `/v1/colorizations/${id}/artifacts`;
  const answer = await read(new Uint8Array(await (await fetch(`${files}/distribution`)).arrayBuffer()));
  const image = new Image();
  image.src = `${files}/comparison`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth / 2, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const painter = new Painter(context.getImageData(0, 0, canvas.width, canvas.height), undefined, byShader);
  const times = { bolder: [], strength: [] };
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now();
    painter.take(decode(answer, round / rounds));
    painter.paint(1);
    times.bolder.push(performance.now() - begun);
    const again = performance.now();
    painter.paint(round / 8);
    times.strength.push(performance.now() - again);
  }
  painter.take(decode(answer, boldness));
  painter.paint(strength);
  const slow = answer.annealed(null, boldness), quick = decode(answer, boldness).ab;
  const apart = quick.reduce((most, value, at) => Math.max(most, Math.abs(value - slow[at])), 0);
  return { picture: painter.canvas.toDataURL("image/png"), apart, times };
}
"""


@pytest.fixture(scope="module")
def job(service: str) -> dict[str, Any]:
    """A photo of 720 × 480 pixels, colored."""
    return send(service, gray(720, 480))


def revised(page: Page, service: str, job: dict[str, Any], **options: Any) -> NDArray[np.uint8]:
    """What the worker makes of the photo with these options."""
    made = page.evaluate(
        """async ([revise, secret, options]) => (await fetch("/v1/colorizations", {
            method: "POST",
            headers: { "Content-Type": "application/json", Prefer: "wait=30" },
            body: JSON.stringify({ revise, secret, artifacts: [], format: "png", ...options }),
        })).json()""",
        [job["id"], job["secret"], options],
    )
    return picture(service, made["id"])


def painted(url: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def tap(page: Page, x: float, y: float) -> None:
    """Touch a place of the picture, as shares of it."""
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + x * box["width"], box["y"] + y * box["height"])


def covered_by_the_bar(page: Page) -> list[str]:
    """What can have the focus and then lies under what is at hand at the bottom, or under the picture at the top."""
    page.get_by_label("Color strength").focus()
    found = []
    for _ in range(12):
        page.keyboard.press("Tab")
        found += page.evaluate(
            """() => {
                const [bar, picture] = [".history", ".looking"].map((part) => document.querySelector(part).getBoundingClientRect());
                const has = document.activeElement;
                const { top, bottom } = (has.labels?.[0] ?? has).getBoundingClientRect();
                const isOver = !has.closest(".history, .looking") && (bottom > bar.top + 1 || top < picture.bottom - 1);
                return isOver && bar.bottom <= innerHeight ? [has.outerHTML.slice(0, 80)] : [];
            }"""
        )
    return found


def test_what_the_browser_paints_is_what_the_worker_would(
    page: Page, service: str, job: dict[str, Any]
) -> None:
    for boldness, strength in ((0, 1), (0.6, 1.5), (-1, 0.5)):
        wanted = revised(page, service, job, boldness=boldness, vividness=strength)
        for by_shader in (False, True):
            made = page.evaluate(PAINT, [job["id"], boldness, strength, by_shader, 1])
            found = painted(made["picture"])
            assert found.shape == wanted.shape
            apart = np.abs(found.astype(int) - wanted)
            assert apart.mean() < 2
            assert np.percentile(apart, 99) < 9
            assert made["apart"] < 1e-3, "ab units between the quick decoding and the plain one"


@pytest.mark.slow
def test_strength_and_boldness_are_seen_at_once(page: Page, service: str) -> None:
    """Milliseconds without a graphics card: `pytest -m slow -s -k seen_at_once tests/e2e/test_photo_page_opinion.py`.

    The bounds hold for the quickest of 15, since who else is on the machine slows down the others.
    """
    large = send(service, gray(1024, 683))
    times = page.evaluate(PAINT, [large["id"], 0, 1, None, 15])["times"]
    for name, bound in (("strength", 50), ("bolder", 150)):
        sys.stdout.write(
            f"\n{name}: {min(times[name]):.0f} ms, median {statistics.median(times[name]):.0f} ms\n"
        )
        assert min(times[name]) < bound


def test_strength_and_boldness_need_no_server_until_they_are_kept(
    page: Page, browser: Browser, service: str, job: dict[str, Any], axe: Look, small_targets: Look
) -> None:
    opened(page, service, job)
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("Color strength").focus()
    expect(page.locator("#keep")).to_be_disabled()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    before = chroma(seen(page))
    page.keyboard.press("End")
    expect(page.locator(".after canvas")).to_be_visible()
    expect(page.get_by_label("Color strength")).to_have_attribute("aria-valuetext", "200%")
    assert chroma(seen(page)) > 1.3 * before
    page.keyboard.press("Home")
    assert chroma(seen(page)) < 3
    page.get_by_role("button", name="Undo").click()
    assert chroma(seen(page)) > 1.3 * before
    page.get_by_label("Bolder ↔ Safer").focus()
    page.keyboard.press("End")
    expect(page.get_by_label("Bolder ↔ Safer")).to_have_attribute("aria-valuetext", "100% safer")
    assert asked == []
    assert axe(page) == []
    assert small_targets(page) == []

    wished = seen(page)
    page.get_by_role("button", name="Keep this").click()
    page.wait_for_url(lambda url: "/photos/" in url and not url.endswith(job["id"]))
    expect(page.get_by_label("Color strength")).to_have_value("2")
    expect(page.get_by_label("Bolder ↔ Safer")).to_have_value("1")
    page.get_by_role("button", name="Compare").click()
    assert np.abs(seen(page).astype(int) - wished).mean() < 6, "what was kept is what was seen"
    kept = page.url
    stranger = browser.new_context(viewport={"width": 1100, "height": 800}).new_page()
    stranger.goto(kept)
    stranger.get_by_role("button", name="Compare").click()
    assert np.abs(seen(stranger).astype(int) - wished).mean() < 6, "the link has it"
    stranger.context.close()
    go_back(page)
    page.wait_for_url(f"**/{job['id']}")
    expect(page.get_by_label("Color strength")).to_have_value("1")
    expect(page.locator("#recent a")).to_have_count(1)


def test_what_is_saved_is_what_is_seen_and_a_link_to_other_colors_is_not_shared(
    page: Page, service: str, job: dict[str, Any]
) -> None:
    opened(page, service, job)
    page.get_by_label("Color strength").focus()
    page.keyboard.press("Home")
    expect(page.locator("#keep")).to_be_enabled()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save", exact=True).click()
    assert chroma(np.asarray(Image.open(saved.value.path()).convert("RGB"))) < 3
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#said")).to_contain_text("Choose “Keep this” first")
    assert page.url.endswith(job["id"])


def test_a_wrong_dress_is_mended_by_fingers_on_a_phone(
    browser: Browser, service: str, axe: Look, small_targets: Look
) -> None:
    """From the page of a colored photo to the saved picture in four taps, beside a spot, and one that takes a color back."""
    out = io.BytesIO()
    woman = Image.fromarray(data.astronaut()).convert("L")  # type: ignore[no-untyped-call]
    woman.save(out, "JPEG")
    mine = send(service, out.getvalue())
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(f"{service}/photos/none")
    opened(page, service, mine, "grandmother.jpg")
    assert axe(page) == []
    assert small_targets(page) == []
    page.get_by_role("button", name="Change the color of a place").tap()
    expect(page.locator("#viewer")).to_be_in_viewport(ratio=0.9)
    tap(page, 0.3, 0.6)
    swatches = page.locator("#swatches")
    expect(swatches.get_by_role("button", name="no color")).to_be_visible()
    names = swatches.locator("button").all_inner_texts()
    assert 3 <= len(names) <= 6
    assert len(set(names)) == len(names), "each can be told from the others without seeing it"
    assert axe(page) == []
    assert small_targets(page) == []

    def blue_dress() -> float:
        """How much of it is."""
        swatches.locator("input").fill("#2040a0")
        expect(page.get_by_role("button", name="Undo")).to_be_enabled()
        expect(page.locator("#busy")).to_be_hidden()
        expect(page.locator(".after canvas")).to_be_visible()
        shown = seen(page).astype(int)
        height, width = shown.shape[:2]
        dress = shown[int(0.58 * height) : int(0.95 * height), int(0.1 * width) : int(0.45 * width)]
        return float((dress[..., 2] > dress[..., 0] + 10).mean())

    page.get_by_text("a small spot").tap()
    spot = blue_dress()
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator(".after canvas")).to_be_hidden()
    page.get_by_text("the whole thing").tap()
    tap(page, 0.3, 0.6)
    assert spot < 0.25
    assert blue_dress() > 0.4
    assert axe(page) == []
    assert small_targets(page) == []
    assert covered_by_the_bar(page) == []
    expect(page.locator("#save-here")).to_be_in_viewport(ratio=1)
    with page.expect_download() as saved:
        page.locator("#save-here").tap()
    assert saved.value.suggested_filename == "grandmother-color.jpg"
    with Image.open(saved.value.path()) as kept:
        assert kept.size == (512, 512)
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator(".after canvas")).to_be_hidden()
    page.get_by_role("button", name="Redo").tap()
    expect(page.locator(".after canvas")).to_be_visible()
    page.get_by_role("button", name="Keep this").tap()
    page.wait_for_url(lambda url: not url.endswith(mine["id"]))
    expect(page.get_by_role("heading", name="Not right?")).to_be_visible()
    expect(page.get_by_role("link", name="Save", exact=True)).to_be_in_viewport(ratio=1)
    context.close()


def test_fingers_scroll_the_page_part_the_picture_and_pinch_it(
    browser: Browser, service: str, job: dict[str, Any]
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{service}/photos/none")
    opened(page, service, job)
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    fingers = context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": at}
            for at, (x, y) in enumerate(places)
        ]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def scale() -> float:
        found: float = page.evaluate(
            "document.querySelector('.stage').getBoundingClientRect().width / innerWidth"
        )
        return found

    touch("touchStart", (0.5, 0.5))
    for x in (0.6, 0.7, 0.8):
        touch("touchMove", (x, 0.5))
    touch("touchEnd")
    assert 70 <= int(page.locator("#divider").input_value()) <= 90, "the handle follows the finger"
    touch("touchStart", (0.3, 0.3))
    touch("touchStart", (0.3, 0.3), (0.6, 0.6))
    for step in (0.1, 0.2, 0.3):
        touch("touchMove", (0.3 - step / 2, 0.3 - step / 2), (0.6 + step, 0.6 + step))
    touch("touchEnd")
    assert scale() > 1.6
    tap(page, 0.2, 0.2)
    tap(page, 0.2, 0.2)
    expect(page.locator("#viewer")).not_to_have_class(re.compile("zoomed"))
    touch("touchStart", (0.2, 0.8))
    for y in (0.6, 0.3, 0.1):
        touch("touchMove", (0.2, y))
    touch("touchEnd")
    expect(page.locator(".masthead")).not_to_be_in_viewport()
    assert int(page.locator("#divider").input_value()) >= 70, "and only the handle"
    context.close()


def test_by_keyboard_alone_a_place_is_found_and_colored(
    page: Page, service: str, job: dict[str, Any]
) -> None:
    opened(page, service, job)
    page.get_by_role("button", name="Change the color of a place").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("move the cross by the arrow keys")
    cross = page.locator("#cross")
    cross.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    expect(cross).to_have_attribute("aria-label", "Place: 40% from the left, 44% from the top. Choose it")
    page.keyboard.press("Enter")
    first = page.locator("#swatches button").first
    expect(first).to_be_focused()
    name = first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(f"This is {name} now.")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_other_guesses_differ_and_one_can_be_taken(
    page: Page, service: str, job: dict[str, Any], axe: Look
) -> None:
    opened(page, service, job)
    page.get_by_role("button", name="Other guesses").click()
    guesses = page.locator("#guesses button")
    expect(guesses.first).to_be_visible(timeout=30_000)
    assert 2 <= guesses.count() <= 4
    expect(guesses.first).to_have_attribute("aria-pressed", "true")
    assert re.search(r"Guess 2\s*\d+% likely", guesses.nth(1).inner_text())
    assert axe(page) == []
    page.get_by_role("button", name="Compare").click()
    before = seen(page)
    guesses.last.click()
    expect(page.locator(".after canvas")).to_be_visible(timeout=30_000)
    expect(guesses.last).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#busy")).to_be_hidden()
    taken = seen(page)
    assert np.abs(taken.astype(int) - before).mean() > 2
    page.get_by_role("button", name="Keep this").click()
    page.wait_for_url(lambda url: not url.endswith(job["id"]))
    page.get_by_role("button", name="Compare").click()
    assert np.abs(seen(page).astype(int) - taken).mean() < 6


def test_colors_have_names_that_tell_them_apart(page: Page) -> None:
    colors = ["#8a5f3b", "#8f5a45", "#7d6a35", "#75624f", "#7b2f2f", "#6f3038"]
    names = page.evaluate(
        "async (colors) => (await import(new URL('/static/colors.js', location))).namesOf(colors)", colors
    )
    assert len(set(names)) == len(colors)
    assert names[:2] == ["brown", "reddish brown"]
    assert not any(character.isdigit() for name in names for character in name)


def test_how_sure_it_is_is_hatched_and_said(page: Page, service: str, job: dict[str, Any], axe: Look) -> None:
    opened(page, service, job)
    button = page.get_by_role("button", name="How sure?")
    button.click()
    expect(page.locator("#unsure")).to_be_visible(timeout=30_000)
    expect(page.locator("#sureness")).to_contain_text("% of the picture the network is unsure of the color")
    assert axe(page) == []
    button.click()
    expect(page.locator("#unsure")).to_be_hidden()


def test_what_was_noticed_and_what_is_wrong_otherwise_is_mended_by_one_tap(page: Page, service: str) -> None:
    out = io.BytesIO()
    Image.fromarray(data.coffee()).resize((300, 200)).save(out, "JPEG")  # type: ignore[no-untyped-call]
    mine = send(service, out.getvalue())
    opened(page, service, mine)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Turn right").click()
    page.wait_for_url(lambda url: not url.endswith(mine["id"]))
    assert page.eval_on_selector(".spacer", "spacer => spacer.viewBox.baseVal.height") == 300
    go_back(page)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Look closer at small people (slower)").click()
    page.wait_for_url(lambda url: not url.endswith(mine["id"]))
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("button", name="Do not look closer")).to_be_visible()
    page.get_by_role("button", name="Add a color").click()
    page.get_by_label("dark red", exact=True).fill("#102a83")
    closer = page.url
    page.get_by_role("button", name="Color it with these").click()
    page.wait_for_url(lambda url: url != closer)
    options = json.loads(page.text_content("#job") or "")["options"]
    assert (options["detail"], options["palette"]) == ("on", ["#102a83"])
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("button", name=re.compile("Remove .*blue"))).to_be_visible()
    page.goto(f"{service}/photos/{mine['id']}")
    page.get_by_role("button", name="Keep its own colors").click()
    expect(page.get_by_role("heading", name="This photograph was in color already")).to_be_visible(
        timeout=30_000
    )
    expect(page.locator("#opinion")).to_have_count(0)
    page.get_by_role("button", name="Color it all the same").click()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=30_000)


def test_what_cannot_be_done_is_said_and_nothing_is_lost(
    page: Page, service: str, job: dict[str, Any], complaints: list[str]
) -> None:
    remember(page, job | {"secret": "job_of_nobody"})
    page.goto(f"{service}/photos/{job['id']}")
    page.get_by_role("button", name="How sure?").click()
    expect(page.locator("#said")).to_contain_text("Only whoever sent the photograph")
    page.context.set_offline(True)
    page.get_by_role("button", name="Other guesses").click()
    expect(page.locator("#said")).to_contain_text("The connection to the server was lost.")
    page.context.set_offline(False)
    assert all("403" in complaint or "ERR_INTERNET_DISCONNECTED" in complaint for complaint in complaints)
    complaints.clear()
    remember(page, job)
