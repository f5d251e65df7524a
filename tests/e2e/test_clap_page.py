"""Clap if fake, in a real browser: a second is a second by the page's own clock, and a game goes to its end by any hand."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

Look = Callable[[Page], list[str]]
PAIRS = Path(__file__).parents[2] / "service/web/pairs/pairs.json"
MACHINE_MADE = {pair["colored"] for pair in json.loads(PAIRS.read_text())["pairs"]}


def rates(service: str) -> tuple[int, int]:
    """Answers so far, and wrong ones."""
    with urllib.request.urlopen(f"{service}/v1/realism") as answer:
        nets: list[dict[str, Any]] = json.load(answer)["nets"]
    return sum(net["shown"] for net in nets), sum(net["fooled"] for net in nets)


class Game:
    """A game by a clock that stands still unless it is told to go on."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def begin(self, service: str, button: str = "10 rounds, the answer after each") -> None:
        """Up to the first round that counts: two of practice are answered by keys."""
        self.begin_practice(service, button)
        for _ in range(2):
            self.look()
            self.page.keyboard.press("1")
            expect(self.page.locator("#told")).to_be_visible()
            self.page.keyboard.press("Enter")

    def begin_practice(self, service: str, button: str) -> None:
        self.page.clock.install()
        self.page.goto(f"{service}/clap")
        self.stop_clock()
        self.page.get_by_role("button", name=button).click()

    def stop_clock(self) -> None:
        self.page.clock.pause_at(self.page.evaluate("Date.now()") / 1000 + 1)

    def faults(self, axe: Look, small_targets: Look) -> list[str]:
        """Of a state that waits for a person. axe needs a clock that goes."""
        self.page.clock.resume()
        found = [*axe(self.page), *small_targets(self.page)]
        self.stop_clock()
        return found

    def shown(self) -> str:
        """The name of the picture that stands on the stage, or ""."""
        source: str = self.page.evaluate("document.querySelector('#stage img')?.src ?? ''")
        return source.rpartition("/")[2]

    def go_until(self, is_there: Callable[[], bool], milliseconds: int = 50) -> None:
        for _ in range(200):
            if is_there():
                return
            self.page.clock.run_for(milliseconds)
        pytest.fail(f"it never came; the stage shows {self.shown()!r}")

    def is_asked(self) -> bool:
        return self.page.locator("#first").get_attribute("aria-disabled") == "false"

    def look(self) -> str:
        """Sees both pictures; which one is the machine's."""
        self.go_until(lambda: self.shown() != "")
        first = self.shown()
        self.go_until(self.is_asked, 500)
        return "first" if first in MACHINE_MADE else "second"


@pytest.fixture
def game(page: Page) -> Game:
    return Game(page)


def test_a_second_is_a_second_and_ten_rounds_have_a_score(
    game: Game, service: str, axe: Look, small_targets: Look
) -> None:
    page, before = game.page, rates(service)
    game.begin_practice(service, "10 rounds, the answer after each")
    for number in range(2):
        truth = game.look()
        expect(page.locator("#round")).to_have_text(f"Practice {number + 1} of 2, which does not count")
        page.keyboard.press("1")
        expect(page.locator("#question")).to_contain_text(f"The {truth} was the machine’s.")
        marked = page.locator("#pair figure", has_text="This one was colored by the machine")
        shown = marked.get_by_alt_text("With colors by the machine")
        expect(shown).to_be_in_viewport(ratio=1)
        assert (shown.get_attribute("src") or "").rpartition("/")[2] in MACHINE_MADE
        expect(page.locator("#pair img")).to_have_count(2)
        page.keyboard.press("Enter")
    assert rates(service) == before, "practice counts nowhere"
    for _ in range(2):
        game.go_until(lambda: game.shown() != "", 16)
        seen = game.shown()
        page.clock.run_for(960)
        assert game.shown() == seen, "it stands for a second"
        page.clock.run_for(60)
        assert game.shown() == "", "and no longer"
        assert not game.is_asked(), "nothing can be said before both were seen"
        page.keyboard.press("1")
    game.go_until(game.is_asked)
    expect(page.get_by_role("heading", name="Which one was colored by a machine?")).to_be_focused()
    assert game.faults(axe, small_targets) == []
    first = "first" if seen not in MACHINE_MADE else "second"

    keys = {"first": ["1", "ArrowLeft"], "second": ["2", "ArrowRight"]}
    for number in range(10):
        truth = first if number == 0 else game.look()
        expect(page.locator("#round")).to_have_text(f"Round {number + 1} of 10")
        chosen = truth if number >= 3 else {"first": "second", "second": "first"}[truth]
        page.keyboard.press(keys[chosen][number % 2])
        told = "Fooled." if number < 3 else "Right."
        expect(page.locator("#question")).to_have_text(f"{told} The {truth} was the machine’s.")
        expect(
            page.get_by_role("button", name="See the score" if number == 9 else "Next round")
        ).to_be_focused()
        if number == 0:
            assert game.faults(axe, small_targets) == []
        page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Fooled 3 times in 10 rounds")).to_be_focused()
    assert "30% of your answers were wrong" in page.inner_text("#yours")
    assert page.inner_text("#yours").endswith("from 11% to 60%.")  # Wilson's interval of 3 in 10
    expect(page.locator("#score")).to_contain_text("fooled people in 32% of rounds")
    expect(page.locator("#all")).to_contain_text("All who played here, with the network “lite”: ")
    made = page.get_by_alt_text("With colors by the machine").evaluate_all("all => all.map(one => one.src)")
    assert len(made) == 10
    assert {source.rpartition("/")[2] for source in made} <= MACHINE_MADE
    assert page.get_by_text("Fooled you.").count() == 3
    after = rates(service)
    assert (after[0] - before[0], after[1] - before[1]) == (10, 3)
    assert game.faults(axe, small_targets) == []
    page.get_by_role("button", name="Play again").click()
    expect(page.get_by_role("heading", name="Real or fake?")).to_be_focused()


def test_by_touch_on_a_phone_and_over_a_broken_connection(
    browser: Browser, service: str, axe: Look, small_targets: Look
) -> None:
    phone = {"width": 390, "height": 844}
    context = browser.new_context(viewport=phone, has_touch=True, color_scheme="dark")  # type: ignore[arg-type]
    page = context.new_page()
    game = Game(page)
    game.begin(service)
    truth = game.look()
    for name in ("The first", "The second"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert game.faults(axe, small_targets) == []
    context.set_offline(True)
    page.locator(f"#{truth}").tap()
    expect(page.get_by_role("heading", name="That did not come through")).to_be_focused()
    assert game.faults(axe, small_targets) == []
    context.set_offline(False)
    page.get_by_role("button", name="Try again").tap()
    expect(page.locator("#question")).to_contain_text("Right.")
    expect(page.get_by_role("button", name="Next round")).to_be_in_viewport(ratio=1)
    for picture in page.locator("#pair img").all():
        expect(picture).to_be_in_viewport(ratio=1)
    context.close()


def test_a_picture_that_stood_too_long_does_not_count(game: Game, service: str) -> None:
    page, before = game.page, rates(service)
    game.begin(service)
    game.go_until(lambda: game.shown() != "")
    page.clock.fast_forward(5000)  # as a tab that was hidden, or a machine that slept
    game.go_until(game.is_asked, 500)
    page.keyboard.press("1")
    expect(page.locator("#told")).to_contain_text("this round does not count for others")
    assert rates(service) == before

    page.reload()
    go_on = page.get_by_role("button", name="Go on with your game: round 2 of 10")
    go_on.click()
    expect(page.locator("#round")).to_have_text("Round 2 of 10")
    game.look()
    page.reload()
    go_on.click()
    game.look()
    page.keyboard.press("1")
    expect(page.locator("#told")).to_contain_text("this round does not count for others")
    assert rates(service) == before, "who saw its pictures twice"


def test_in_german_and_without_scripts_it_says_what_it_is(browser: Browser, service: str, axe: Look) -> None:
    context = browser.new_context(locale="de-DE", java_script_enabled=False)
    page = context.new_page()
    page.goto(service)
    page.get_by_role("link", name="Unecht? Klatschen!").click()
    expect(page.locator("noscript p")).to_be_visible()
    assert page.locator("#intro").is_hidden(), "no button that does nothing"
    context.close()
    context = browser.new_context(locale="de-DE")
    page = context.new_page()
    page.goto(f"{service}/clap")
    expect(page.get_by_role("heading", name="Echt oder unecht?")).to_be_visible()
    page.get_by_role("button", name="10 Runden, Auflösung nach jeder").click()
    expect(page.locator("#round")).to_have_text("Übung 1 von 2, die nicht zählt")
    expect(page.locator(".terms[lang=en]")).to_contain_text("CC0")
    assert axe(page) == []
    context.close()
