"""The form on the first page as a browser without scripts sends it, and the samples beside it."""

from __future__ import annotations

import re
import sys
import time

import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FIELDS = {"artifacts": ["comparison", "distribution", "suggestions"]}


def test_a_sent_photo_leads_to_its_page_which_can_erase_it(api, gray_photo):
    answer = api.post("/photos", files={"photo": gray_photo()}, data=FIELDS, headers=BROWSER)
    assert answer.status_code == 303
    id = re.fullmatch(r"photos/([0-9a-f]{32})", answer.headers["location"])[1]
    job = api.get(f"/v1/colorizations/{id}").json()
    assert (job["status"], job["options"]["artifacts"]) == ("queued", FIELDS["artifacts"])
    cookie = rf"photo_secret=\S+; HttpOnly; Max-Age=86400; Path=/photos/{id}; SameSite=lax"
    assert re.fullmatch(cookie, answer.headers["set-cookie"])
    erased = api.post(f"/photos/{id}/erase", headers=BROWSER)  # by the cookie, which this client keeps
    assert erased.status_code == 303
    assert api.get(f"/v1/colorizations/{id}").json()["status"] == "canceled"


@pytest.mark.parametrize("path", ["/photos", "/samples/coffee"])
def test_below_a_path_and_by_https_the_cookie_is_for_that(settings, serve, gray_photo, path):
    api = serve(settings.model_copy(update={"root_path": "/color", "trusted_proxies": ("127.0.0.1",)}))
    answer = api.post(path, files={"photo": gray_photo()}, headers={"X-Forwarded-Proto": "https"})
    id = answer.headers["location"][-32:]
    seen_as = api.base_url.copy_with(path=f"/color{path}").join(answer.headers["location"])
    assert seen_as.path == f"/color/photos/{id}"
    assert f"Path=/color/photos/{id};" in answer.headers["set-cookie"]
    assert answer.headers["set-cookie"].endswith("; Secure")


def test_another_sites_page_cannot_send_one(api, gray_photo):
    for origin in ({"Origin": "https://photos.example"}, {"Sec-Fetch-Site": "cross-site"}):
        for path in ("/photos", "/samples/coffee"):
            answer = api.post(path, files={"photo": gray_photo()}, headers={**BROWSER, **origin})
            assert answer.status_code == 403
            assert "Another site&#39;s page may not do this" in answer.text
    assert api.get("/").headers["referrer-policy"] == "same-origin", "else our own form's origin is `null`"


@pytest.mark.parametrize(
    ("photo", "status", "sentence"),
    [
        (b"", 422, "Die Datei ist leer. Holen Sie sie noch einmal von dort, wo sie herkam."),
        (b"Dear diary", 415, "Die Datei ist kein Foto in einem Format, das"),
    ],
)
def test_what_is_wrong_with_a_photo_stands_above_the_form(api, photo, status, sentence):
    answer = api.post("/photos", files={"photo": photo}, headers={**BROWSER, "Accept-Language": "de"})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers
    alert = answer.text.partition('role="alert"')[2].partition("<form")[0]
    assert sentence in alert
    assert '<form id="empty" class="empty" method="post" action="./photos"' in answer.text


def test_who_sends_too_much_is_told_so_by_the_form_and_by_a_sample(settings, serve, gray_photo):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 1}))
    assert api.post("/photos", files={"photo": gray_photo(size=(1000, 900))}).status_code == 303
    again = api.post("/photos", files={"photo": gray_photo(size=(1000, 900))}, headers=BROWSER)
    sample = api.post("/samples/coffee", headers=BROWSER)
    for answer in (again, sample):
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "A little too much in too short a time" in answer.text


def test_what_is_wrong_with_the_service_is_said_on_a_page_of_its_own(settings, serve, gray_photo):
    api = serve(settings.model_copy(update={"redis_url": "unix:///nowhere/at/all"}))
    answer = api.post("/photos", files={"photo": gray_photo()}, headers=BROWSER)
    assert answer.status_code == 503
    assert "The service is busy right now" in answer.text


def test_a_program_that_sends_to_the_form_is_answered_as_one(api, check_problem):
    check_problem(api.post("/photos", files={"photo": b""}), "photo_empty")


def test_the_forms_address_opened_by_itself_shows_the_form(api):
    answer = api.get("/photos?lang=de")
    assert (answer.status_code, answer.headers["location"]) == (303, "./?lang=de")


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
def test_a_sample_is_a_photo_like_any_other(api, photo_of, name):
    answer = api.post(f"/samples/{name}", headers=BROWSER)
    assert answer.status_code == 303
    id = answer.headers["location"].removeprefix("../photos/")
    assert photo_of(id) == api.get(f"/static/samples/{name}-gray.jpg").content
    assert api.get(f"/v1/colorizations/{id}").json()["options"]["artifacts"] == FIELDS["artifacts"]
    assert f"Path=/photos/{id};" in answer.headers["set-cookie"]


def test_there_is_no_other_sample(api):
    assert api.post("/samples/..%2f..%2fstyle", headers=BROWSER).status_code == 404
    assert api.post("/samples/astronaut", headers=BROWSER).status_code == 404


def test_the_first_page_costs_the_server_little(api):
    """CPU of server and client, in milliseconds: `pytest -s -k costs_the_server_little tests/service/test_home.py`."""
    api.get("/")
    begun = time.process_time()
    for _ in range(20):
        assert api.get("/").status_code == 200
    taken = (time.process_time() - begun) / 20
    sys.stdout.write(f"\nGET /: {1000 * taken:.1f} ms of CPU\n")
    assert taken < 0.1


@pytest.mark.parametrize("path", ["/", "/album"])
def test_where_keys_are_needed_no_form_invites_to_send_a_photo_without_one(settings, serve, path):
    page = serve(settings.model_copy(update={"anonymous": False})).get(path, headers=BROWSER).text
    assert "Here photographs are taken in from programs alone" in page
    assert "<form" not in page
    assert "<script" not in page
