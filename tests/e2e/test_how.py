"""The page that explains, in a real browser: each step is alive, by pointer, finger and keys; and it explains without scripts too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, Route, expect

Look = Callable[[Page], list[str]]
HOW = Path(__file__).parents[2] / "service/web/static/how"

APART = """
async ([number, name]) => {
    const image = new Image();
    image.src = new URL(`static/how/${name}.jpg`, location);
    await image.decode();
    const pixels = (source) => {
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext("2d");
        context.drawImage(source, 0, 0);
        return context.getImageData(0, 0, image.width, image.height).data;
    };
    const one = pixels(document.querySelectorAll(".live canvas")[number]), other = pixels(image);
    return one.reduce((sum, value, at) => sum + Math.abs(value - other[at]), 0) / one.length;
}
"""
"""How far the live picture of this number is from a picture of the page, in mean levels of 255."""
FRAMES = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
)
"""Whatever was to be drawn is drawn, and what came into view has been noticed."""
WATCH = """
window.shifted = 0;
new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
WEIGHED, LIKELIEST, ANNEALED, MEAN, RESULT = range(5)
"""The live pictures, from above."""


@pytest.fixture
def how(page: Page, service: str) -> Page:
    """The page with its sample loaded."""
    page.goto(f"{service}/how")
    loaded(page)
    return page


def loaded(page: Page) -> None:
    page.locator("#pick").scroll_into_view_if_needed()
    expect(page.locator("#weight")).to_be_enabled()


def likely(page: Page) -> list[str]:
    return [line.replace("\n", " ") for line in page.locator("#likely li").all_inner_texts()]


def set_to(slider: Locator, value: str) -> None:
    slider.fill(value)
    slider.page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def apart(page: Page, number: int, name: str) -> float:
    page.locator(".live:has(canvas)").nth(number).scroll_into_view_if_needed()
    expect(page.locator(".live canvas").nth(number)).to_be_visible()
    page.evaluate(FRAMES)
    found: float = page.evaluate(APART, [number, name])
    return found


def test_what_stands_there_at_first_is_what_the_scripts_find(page: Page, service: str) -> None:
    page.goto(f"{service}/how")
    page.get_by_role("link", name="How it works").click()
    expect(page.get_by_role("link", name="How it works")).to_have_attribute("aria-current", "page")
    written = likely(page)
    radii = page.locator("[data-shows=chances] circle").evaluate_all(
        "(all) => all.map((one) => one.r.baseVal.value)"
    )
    assert len(radii) == 313
    loaded(page)
    assert likely(page) == written
    assert page.locator("[data-shows=chances] circle").evaluate_all(
        "(all) => all.map((one) => one.r.baseVal.value)"
    ) == pytest.approx(radii, abs=0.02)
    for number in (WEIGHED, ANNEALED, RESULT):
        assert apart(page, number, "colored") < 2


def test_each_step_is_alive(how: Page, axe: Look, small_targets: Look) -> None:
    assert axe(how) == []
    assert small_targets(how) == []
    box = how.locator("#pad").bounding_box()
    assert box
    how.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"])
    first = how.locator("#likely li").first
    expect(first).to_contain_text("brown")
    assert int(first.locator(".value").inner_text().rstrip("%")) > 50, "of wood it is fairly sure"

    set_to(how.get_by_label("How much rare colors count"), "0")
    assert apart(how, WEIGHED, "unweighed") < 2
    expect(how.locator("figure:has(#weight) .tag .value")).to_have_text("0%")
    assert apart(how, LIKELIEST, "likeliest") > 5, "the same weight on all of the next step"
    assert apart(how, MEAN, "mean") > 2
    set_to(how.get_by_label("How much rare colors count"), "70")
    assert apart(how, LIKELIEST, "likeliest") < 2
    assert apart(how, MEAN, "mean") < 2
    ring = how.locator("[data-shows=annealed] .ring")
    between = ring.get_attribute("cx"), ring.get_attribute("cy")
    set_to(how.get_by_role("slider", name="Temperature"), "1")
    assert apart(how, ANNEALED, "mean") < 2
    assert (ring.get_attribute("cx"), ring.get_attribute("cy")) != between
    set_to(how.get_by_role("slider", name="Temperature"), "0.05")
    assert apart(how, ANNEALED, "likeliest") < 2
    set_to(how.get_by_label("Color strength"), "0")
    assert apart(how, RESULT, "gray") < 2
    assert apart(how, ANNEALED, "gray") > 5
    assert axe(how) == []
    how.get_by_role("button", name="Everything as it was").click()
    expect(how.get_by_role("slider", name="Temperature")).to_have_value("0.5")
    set_to(how.get_by_label("Color strength"), "100")
    assert apart(how, RESULT, "colored") < 2

    set_to(how.get_by_label("Take the color away"), "0")
    assert how.locator("#fade img").last.evaluate("(image) => getComputedStyle(image).opacity") == "0"
    set_to(how.get_by_label("Red ones among the ten"), "2")
    assert (
        how.locator("#shirts .row use").evaluate_all(
            "(all) => new Set(all.map((one) => one.getAttribute('fill'))).size"
        )
        == 2
    )
    expect(how.locator("#mean")).not_to_contain_text("brown")
    expect(how.locator("#mode")).to_contain_text("green")
    expect(how.get_by_label("Red ones among the ten")).to_have_attribute(
        "aria-valuetext", "2 of ten are red; the mean is green"
    )


def test_keys_move_the_place_and_it_is_told_in_words(how: Page) -> None:
    before = likely(how)
    how.locator("#pad").focus()
    for _ in range(5):
        how.keyboard.press("Shift+ArrowRight")
    how.keyboard.press("ArrowUp")
    assert likely(how) != before
    expect(how.get_by_role("status")).to_have_text(", ".join(likely(how)))
    slider = how.get_by_label("How much rare colors count")
    slider.focus()
    how.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0%; at the marked place: dark gray")


def test_a_phone_in_german_at_night(browser: Browser, service: str, axe: Look, small_targets: Look) -> None:
    context = browser.new_context(
        locale="de-AT",
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
        viewport={"width": 390, "height": 844},
    )
    page = context.new_page()
    page.goto(f"{service}/how")
    loaded(page)
    before = likely(page)
    page.locator("#pad").tap(position={"x": 300, "y": 40})
    expect(page.locator("#likely li").first).to_contain_text("braun")
    assert likely(page) != before
    expect(page.locator("#weighed")).to_contain_text("An der markierten Stelle: ")
    assert axe(page) == []
    assert small_targets(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def test_it_explains_without_scripts(browser: Browser, service: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    missing: list[str] = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    page.goto(f"{service}/how")
    for heading in page.get_by_role("heading").all():
        heading.scroll_into_view_if_needed()
    expect(page.get_by_role("slider")).to_have_count(0)
    expect(page.get_by_role("button")).to_have_count(0)
    expect(page.get_by_alt_text("The sample in its true colors")).to_be_visible()
    expect(page.get_by_alt_text("The mean of all colors")).to_be_visible()
    numbers = json.loads((HOW / "numbers.json").read_text())
    expect(page.locator("#likely")).to_contain_text(f"{numbers['likely'][0][1]}%")
    page.get_by_role("link", name="docs/evaluation.md").click()
    expect(page.locator("body")).to_contain_text("# Evaluation")
    assert missing == []
    context.close()


def test_it_is_light_loads_the_sample_late_and_nothing_jumps(browser: Browser, service: str) -> None:
    context = browser.new_context(locale="de-AT", viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.add_init_script(WATCH)
    sizes: dict[str, int] = {}

    def weigh(answer: Response) -> None:
        sizes[answer.url.rpartition("/")[2]] = answer.request.sizes()["responseBodySize"]

    page.on("response", weigh)
    page.goto(f"{service}/how", wait_until="networkidle")
    assert "sample.distribution" not in sizes
    loaded(page)
    for heading in page.get_by_role("heading").all():
        heading.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert sizes["sample.distribution"] <= 300_000
    assert sum(size for name, size in sizes.items() if not name.endswith((".jpg", ".distribution"))) < 100_000
    assert page.evaluate("window.shifted") < 0.02
    context.close()


def test_a_sample_that_is_lost_on_its_way_is_fetched_anew(
    page: Page, service: str, complaints: list[str]
) -> None:
    def lose(route: Route) -> None:
        route.abort()

    page.route("**/sample.distribution", lose)
    page.goto(f"{service}/how")
    page.locator("#pick").scroll_into_view_if_needed()
    expect(page.locator("#trouble")).to_contain_text("The sample did not arrive")
    expect(page.get_by_role("button", name="Try again")).to_be_in_viewport()
    expect(page.get_by_role("slider", name="Temperature")).to_be_disabled()
    expect(page.get_by_role("status")).to_contain_text("The sample did not arrive")
    complaints.clear()
    page.unroute("**/sample.distribution")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("slider", name="Temperature")).to_be_enabled()
    expect(page.locator("#trouble")).to_be_hidden()
