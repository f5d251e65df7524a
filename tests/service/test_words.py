"""What a person's browser gets where there is no page to show: words, and what to do next. Programs get a document. And text as gzip."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}


def in_words(answer: httpx.Response, status: int, heading: str) -> str:
    """The page's HTML: whole, strict and in words."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert {"Accept", "Accept-Language"} <= set(answer.headers["vary"].split(", "))
    assert f'<h1 id="heading">{heading}</h1>' in answer.text
    assert not re.search(r"<script>|<style|style=|\son\w+=", answer.text)
    return answer.text


@pytest.mark.parametrize(
    "path", ["/nothing", "/nothing/at/all", "/v1/colorizations/none", "/static/none.css", "/problems/none"]
)
def test_what_is_not_there_is_said_in_words(api, check_problem, path):
    html = in_words(api.get(path, headers=BROWSER), 404, "There is nothing at this address")
    home = re.search(r'<a class="primary" href="([./]+)">Color a photograph</a>', html)
    assert home
    assert httpx.URL(f"{api.base_url}{path}").join(home[1]).path == "/"
    style = re.search(r'href="([./]+static/style.css)"', html)
    assert style
    assert api.get(httpx.URL(f"{api.base_url}{path}").join(style[1])).status_code == 200
    check_problem(api.get(path), "not_found")


def test_a_slash_that_is_no_step_does_not_lead_astray(api):
    html = in_words(api.get("/a%2Fb/c", headers=BROWSER), 404, "There is nothing at this address")
    assert 'href="../static/style.css"' in html


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "application/json, text/html;q=0.9",
        "application/problem+json, text/html;q=0.5",
        "image/avif,image/webp,*/*;q=0.8",
        "text/html;q=0",
        "text/event-stream",
        "text/*",
        ";q=,,text;",
    ],
)
def test_programs_scripts_and_pictures_get_a_document(api, check_problem, accept):
    check_problem(api.get("/v1/colorizations/none", headers={"Accept": accept}), "not_found")


def test_what_is_sent_to_the_wrong_place_is_told_where_to_go(api):
    html = in_words(api.post("/", headers=BROWSER), 405, "This address is not for that")
    assert "Try again" not in html


def test_what_was_erased_is_said_to_be(api, gray_photo):
    job = api.post("/v1/colorizations", files={"photo": gray_photo()}).json()
    api.delete(f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"})
    answer = api.get(f"/v1/colorizations/{job['id']}/result", headers=BROWSER)
    html = in_words(answer, 410, "This photograph was erased")
    assert "erased at its sender&#39;s wish" in html
    assert job["secret"] not in html
    album = api.post("/v1/batches", files={"photo": gray_photo()}).json()
    api.delete(f"/v1/batches/{album['id']}", headers={"Authorization": f"Bearer {album['secret']}"})
    html = in_words(
        api.get(f"/v1/batches/{album['id']}/result", headers=BROWSER), 410, "This album was erased"
    )
    assert "The photo was erased" not in html


def test_who_asks_too_much_is_told_how_long_to_wait(settings, serve, gray_photo):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 1}))
    answers = [
        api.post("/v1/colorizations", files={"photo": gray_photo(size=(1000, 1000))}, headers=BROWSER)
        for _ in range(2)
    ]
    refused = next(answer for answer in answers if answer.status_code == 429)
    html = in_words(refused, 429, "A little too much at once")
    assert re.search(r"Try again in (\d+ seconds|one second)\.", html)
    assert "A little too much in too short a time" in html


def test_a_fault_of_ours_is_owned_and_can_be_reported(settings, serve, monkeypatch):
    from service.api import photos

    monkeypatch.setattr(photos, "_look", lambda state, id: 1 / 0)
    api = serve(settings)
    answer = api.get("/photos/x", headers=BROWSER)
    html = in_words(answer, 500, "Something is broken on our side")
    assert f"<code>{answer.headers['x-request-id']}</code>" in html
    assert "division" not in html


def test_a_service_that_is_not_well_says_when_to_come_again(settings, serve):
    api = serve(settings.model_copy(update={"redis_url": "unix:///nowhere/at/all"}))
    answer = api.get("/v1/colorizations/" + "0" * 32, headers={**BROWSER, "Accept-Language": "de"})
    html = in_words(answer, 503, "Der Dienst ist gerade überlastet")
    assert "Versuchen Sie es in 5 Sekunden noch einmal." in html
    assert "Die Warteschlange antwortet nicht." in html
    assert '<a class="primary" href="">Noch einmal versuchen</a>' in html


def test_other_errors_say_what_the_api_says(api):
    answer = api.post("/v1/colorizations", files={"photo": b""}, headers={**BROWSER, "Accept-Language": "de"})
    html = in_words(answer, 422, "Das Foto ist leer")
    assert "Die Datei ist leer. Holen Sie sie noch einmal von dort, wo sie herkam." in html


@pytest.mark.parametrize(
    "path", ["/", "/static/style.css", "/static/home.js", "/static/grain.svg", "/openapi.json"]
)
def test_text_is_compressed_for_who_takes_it(api, path):
    plain = api.get(path, headers={"Accept-Encoding": "identity"})
    with api.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert "content-encoding" not in plain.headers
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < 0.6 * len(plain.content)
    assert "Accept-Encoding" in plain.headers["vary"]
    assert "Accept-Encoding" in answer.headers["vary"]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_a_browser_has_is_not_sent_again(api, encoding):
    first = api.get("/static/style.css", headers={"Accept-Encoding": encoding})
    etag = first.headers["etag"]
    assert etag.startswith("W/") == (encoding == "gzip"), "a strong one stands for one form"
    again = api.get("/static/style.css", headers={"Accept-Encoding": encoding, "If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = api.get("/static/style.css", headers={"Accept-Encoding": encoding, "If-None-Match": 'W/"other"'})
    assert other.status_code == 200


def test_pictures_events_and_what_holds_a_secret_are_left_as_they_are(api, gray_photo, work):
    gzipped = {"Accept-Encoding": "gzip"}
    made = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers=gzipped)
    assert len(made.content) > 600, "else it would not be compressed anyway"
    assert "content-encoding" not in made.headers
    work(picture=b"a colored picture" * 100)
    result = api.get(f"/v1/colorizations/{made.json()['id']}/result", headers=gzipped)
    assert "content-encoding" not in result.headers
    assert result.headers["etag"].startswith('"')
    events = api.get(f"/v1/colorizations/{made.json()['id']}/events", headers=gzipped)
    assert events.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in events.headers
