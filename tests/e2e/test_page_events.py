"""The page follows its job: by events, by looking where none come through, and over a reload."""

from __future__ import annotations

import io
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Page, Request, Route, expect
from skimage import data


def choose_a_photo(page: Page) -> None:
    out = io.BytesIO()
    coffee = Image.fromarray(data.coffee()).convert("L")  # type: ignore[no-untyped-call]
    coffee.resize((480, 320)).save(out, "JPEG")
    page.set_input_files("#photo", {"name": "street.jpg", "mimeType": "image/jpeg", "buffer": out.getvalue()})


def wait_for_result(page: Page) -> None:
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)


def requests_of(page: Page) -> list[str]:
    """What the page asks of the API, as method and last part of the path; an id is said to be one."""
    seen: list[str] = []

    def note(request: Request) -> None:
        folder, _, last = urlsplit(request.url).path.rpartition("/")
        if folder.startswith("/v1"):
            seen.append(f"{request.method} {'ID' if len(last) == 32 else last}")

    page.on("request", note)
    return seen


def test_the_page_is_notified_and_does_not_look(page: Page) -> None:
    seen = requests_of(page)
    choose_a_photo(page)
    wait_for_result(page)
    assert seen == ["POST colorizations", "GET events", "GET result"]


def test_where_no_events_come_through_the_page_looks_itself(page: Page, complaints: list[str]) -> None:
    seen = requests_of(page)
    page.route("**/events", lambda route: route.fulfill(status=502, body="a proxy that knows no streams"))
    choose_a_photo(page)
    wait_for_result(page)
    assert "GET ID" in seen
    assert all("502" in complaint for complaint in complaints)
    complaints.clear()


def test_who_waits_sees_for_how_many_and_for_how_long(page: Page) -> None:
    left = [1]

    def crowded(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            news = 'retry: 1500\n\nevent: queued\ndata: {"position":3,"eta_s":11.2}\n\n'
            route.fulfill(status=200, content_type="text/event-stream", body=news)
        else:
            route.continue_()

    page.route("**/events", crowded)
    page.evaluate(
        """() => {
            window.titles = [];
            const title = document.getElementById("work-title");
            new MutationObserver(() => window.titles.push(title.textContent)).observe(title, { childList: true });
        }"""
    )
    choose_a_photo(page)
    wait_for_result(page)
    assert "Waiting: 2 photographs before yours, about 12\u00a0s" in page.evaluate("window.titles")


def test_a_page_that_is_loaded_anew_goes_on_with_its_job(page: Page) -> None:
    page.route("**/events", lambda route: None)  # no answer, as if it took long
    with page.expect_request("**/events"):
        choose_a_photo(page)
    page.unroute("**/events")
    page.reload()
    wait_for_result(page)
    assert page.get_attribute("#download", "download") == "street-color.jpg"
    expect(page.get_by_role("slider", name="Compare before and after")).to_be_hidden()
    expect(page.get_by_role("button", name="Color this photograph again")).to_be_hidden()

    page.reload()
    wait_for_result(page)
    page.get_by_role("button", name="Erase from the server now").click()
    expect(page.locator("#kept")).to_contain_text("Erased from the server")
    page.reload()
    expect(page.get_by_text("Drop a photograph here")).to_be_visible()


def test_a_job_that_was_erased_meanwhile_is_let_go(page: Page) -> None:
    choose_a_photo(page)
    wait_for_result(page)
    page.evaluate(
        """async () => {
            const { id, secret } = JSON.parse(sessionStorage.getItem("autochrome.job"));
            const headers = { Authorization: `Bearer ${secret}` };
            await fetch(`v1/colorizations/${id}`, { method: "DELETE", headers });
        }"""
    )
    page.reload()
    expect(page.get_by_text("Drop a photograph here")).to_be_visible()
