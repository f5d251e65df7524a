"""A photo's own page, in each state that a job can be in, as it goes over the wire."""

from __future__ import annotations

import re
import time

import pytest

from model.errors import Notice
from service.models import Claim, Net

NET = Net("lite", "ab" * 32)
SECRET = re.compile(r"secret", re.IGNORECASE)


@pytest.fixture
def job(api, gray_photo) -> dict:
    """One that waits; no worker is there."""
    return api.post("/v1/colorizations", files={"photo": gray_photo()}).json()


def claim(jobs) -> Claim:
    claimed = jobs.claim("w1", NET, 10**9, True)
    assert isinstance(claimed, Claim)
    return claimed


def page(api, id: str, status: int, heading: str) -> str:
    """The page's HTML without the sentences of its scripts; it has this heading and nothing that it should not have."""
    answer = api.get(f"/photos/{id}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert answer.headers["x-robots-tag"] == "noindex, noimageindex"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert re.search(rf"<h1[^>]*>{re.escape(heading)}</h1>", answer.text)
    assert '<meta name="robots" content="noindex, noimageindex">' in answer.text
    assert not re.search(r"<script>|<style|style=|\son\w+=|https?://(?!127\.0\.0\.1)", answer.text)
    html = re.sub(r'<script type="application/json" id="strings">.*?</script>', "", answer.text)
    assert not SECRET.search(html)
    return html


def looks_again(html: str) -> bool:
    return 'http-equiv="refresh"' in html


def test_a_colored_photo_is_shown_beside_the_gray_one(api, job, work):
    work(artifacts={"comparison": b"gray | color"})
    html = page(api, job["id"], 200, "These colors are a guess")
    files = f"../v1/colorizations/{job['id']}"
    assert html.count(f'src="{files}/artifacts/comparison?redirect=false"') == 2
    assert 'viewBox="0 0 320 240"' in html, "its place is known before it is there"
    assert f'href="{files}/result?redirect=false" download' in html
    assert "320 × 240 pixels, guessed by the network “lite”" in html
    day = job["expires_at"][:10]
    assert f'<time datetime="{day}T' in html
    assert not looks_again(html)
    about = dict(re.findall(r'<meta property="(og:[a-z:_]+)" content="([^"]*)">', html))
    here = str(api.base_url).rstrip("/")
    assert about["og:image"] == f"{here}/v1/colorizations/{job['id']}/artifacts/comparison"
    assert about["og:url"] == f"{here}/photos/{job['id']}"
    assert "not the true ones" in about["og:description"]
    assert about["og:image:alt"] == "Left the photograph in gray, right in guessed colors"


def test_what_a_person_should_know_of_the_picture_stands_beside_it(api, job, work):
    work(notices=[Notice("file_cut_off", "A <b>third</b> is missing.")])
    html = page(api, job["id"], 200, "These colors are a guess")
    assert '<li data-code="file_cut_off">A &lt;b&gt;third&lt;/b&gt; is missing.</li>' in html


def test_a_photo_that_was_left_in_its_own_colors_is_not_called_a_guess(api, job, work):
    work(notices=[Notice("kept_in_color", "It was left as it is.")])
    html = page(api, job["id"], 200, "This photograph was in color already")
    assert "It was left as it is." in html
    assert "guess" not in html.partition("</head>")[2]


def test_links_for_others_begin_where_the_service_is_seen_from_outside(
    settings, client, serve, gray_photo, work
):
    api = serve(settings.model_copy(update={"public_url": "https://colors.example/x/", "root_path": "/x"}))
    id = api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"][-32:]
    work(artifacts={"comparison": b"gray | color"})
    html = api.get(f"/photos/{id}").text
    assert f'content="https://colors.example/x/v1/colorizations/{id}/artifacts/comparison"' in html
    assert f'src="../v1/colorizations/{id}/artifacts/comparison?redirect=false"' in html


def test_without_a_comparison_the_picture_alone_is_shown(api, job, work):
    work()
    html = page(api, job["id"], 200, "These colors are a guess")
    assert html.count(f'src="../v1/colorizations/{job["id"]}/result?redirect=false"') == 1
    assert "Compare before and after" not in html


def test_a_photo_that_waits_or_is_worked_on_says_so_and_looks_again(api, job, jobs):
    html = page(api, job["id"], 200, "Waiting for its turn")
    assert "It is number 1 in line." in html
    assert looks_again(html)
    claim(jobs)
    html = page(api, job["id"], 200, "Being colored")
    assert looks_again(html)
    assert "og:image" not in html


def test_a_failed_one_says_why(api, job, jobs):
    jobs.fail(claim(jobs), "photo_damaged", "It ends <i>early</i>.")
    html = page(api, job["id"], 200, "This photograph could not be colored")
    assert "The photo is damaged. It ends &lt;i&gt;early&lt;/i&gt;." in html
    assert not looks_again(html)


def test_an_erased_one_says_so_and_shows_nothing(api, job, work):
    work(artifacts={"comparison": b"gray | color"})
    api.delete(f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"})
    html = page(api, job["id"], 410, "This photograph was erased")
    assert "Whoever had it colored asked for that" in html
    assert job["id"] not in html


def test_an_expired_one_says_so(settings, client, serve, gray_photo):
    api = serve(settings.model_copy(update={"keep_for": 0.2}))
    id = api.post("/v1/colorizations", files={"photo": gray_photo()}).json()["id"]
    time.sleep(0.25)
    html = page(api, id, 410, "This photograph was erased")
    assert "kept for a limited time" in html


@pytest.mark.parametrize("id", ["0" * 32, "none", "A" * 32, "%3Cscript%3Ealert(1)"])
def test_what_never_was_is_missing(api, id):
    html = page(api, id, 404, "There is no photograph here")
    assert "alert" not in html


def test_where_the_record_does_not_answer_the_page_says_so_and_looks_again(settings, serve):
    api = serve(settings.model_copy(update={"redis_url": "unix:///nowhere/at/all"}))
    html = page(api, "0" * 32, 503, "This page cannot be shown right now")
    assert looks_again(html)
    assert api.get("/photos/" + "0" * 32).headers["retry-after"] == "5"


def test_it_can_be_asked_about_and_is_nothing_to_send_to(api, job):
    assert api.head(f"/photos/{job['id']}").status_code == 200
    assert api.post(f"/photos/{job['id']}").status_code == 405


def test_whoever_sent_it_may_erase_it_there_without_scripts(api, job, work):
    work()
    address = f"/photos/{job['id']}"
    assert '<details class="erase scripted owned" id="erase">' in page(
        api, job["id"], 200, "These colors are a guess"
    )
    stranger = api.post(
        f"{address}/erase", headers={"Accept": "text/html", "Cookie": "photo_secret=job_of_another"}
    )
    assert stranger.status_code == 403
    assert api.post(f"{address}/erase").status_code == 401
    mine = {"Cookie": f"photo_secret={job['secret']}"}
    assert '<details class="erase" id="erase">' in api.get(address, headers=mine).text
    erased = api.post(f"{address}/erase", headers=mine)
    assert (erased.status_code, erased.headers["location"]) == (303, f"../{job['id']}")
    assert f'photo_secret=""; HttpOnly; Max-Age=0; Path={address}' in re.sub(
        r"expires=[^;]*; ", "", erased.headers["set-cookie"]
    )
    page(api, job["id"], 410, "This photograph was erased")
    assert api.get(f"/v1/colorizations/{job['id']}/result").status_code == 410


def test_another_sites_page_erases_nothing(api, job, work):
    work()
    theirs = {"Cookie": f"photo_secret={job['secret']}", "Sec-Fetch-Site": "cross-site"}
    assert api.post(f"/photos/{job['id']}/erase", headers=theirs).status_code == 403
    page(api, job["id"], 200, "These colors are a guess")
