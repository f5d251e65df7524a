"""How pages follow a job: by events, by looking where none come through, and over a reload."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request, expect

from tests.e2e.photo_pages import gray, send

FOLLOW = """
async (id) => {
    const { follow } = await import(new URL("static/api.js", location));
    const hooks = { onChange: () => {}, onSilence: () => {}, signal: new AbortController().signal };
    return (await follow(id, hooks)).status;
}
"""


def requests_of(page: Page) -> list[str]:
    """What the page asks of the API, as method and last part of the path; an id is said to be one."""
    seen: list[str] = []

    def note(request: Request) -> None:
        folder, _, last = urlsplit(request.url).path.rpartition("/")
        if folder.startswith("/v1"):
            seen.append(f"{request.method} {'ID' if len(last) == 32 else last}")

    page.on("request", note)
    return seen


def test_who_is_notified_does_not_look(page: Page, service: str) -> None:
    seen = requests_of(page)
    assert page.evaluate(FOLLOW, send(service, gray(), wait=0)["id"]) == "succeeded"
    assert seen == ["GET events"]


def test_where_no_events_come_through_a_page_looks_itself(
    page: Page, service: str, complaints: list[str]
) -> None:
    seen = requests_of(page)
    page.route("**/events", lambda route: route.fulfill(status=502, body="a proxy that knows no streams"))
    assert page.evaluate(FOLLOW, send(service, gray(), wait=0)["id"]) == "succeeded"
    assert "GET ID" in seen
    assert all("502" in complaint for complaint in complaints)
    complaints.clear()


def test_a_photos_page_that_is_loaded_anew_goes_on_with_its_job(page: Page) -> None:
    page.set_input_files("#photo", {"name": "street.jpg", "mimeType": "image/jpeg", "buffer": gray()})
    page.wait_for_url(re.compile(r"/photos/[0-9a-f]{32}$"))
    page.reload()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible(timeout=60_000)
    page.reload()
    expect(page.get_by_role("heading", name="These colors are a guess")).to_be_visible()
