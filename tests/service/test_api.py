"""The REST contract, over a real Valkey and a real store; the worker's part is said by hand."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
import threading
import time

import pytest

from service import errors
from service.api.state import ApiState
from service.models import Net
from service.schemas import Options

NET = Net("lite", "ab" * 32)


def send(api, photo: bytes, **options: str) -> dict:
    answer = api.post("/v1/colorizations", files={"photo": ("a.jpg", photo)}, data=options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_form_with_a_photo_becomes_a_job(api, gray_photo, photo_of):
    photo = gray_photo()
    answer = api.post(
        "/v1/colorizations",
        files={"photo": ("a.jpg", photo)},
        data={"vividness": "1.25", "format": "png", "artifacts": ["sidecar", "comparison"], "keep_for": "60"},
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/colorizations/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert "preference-applied" not in answer.headers
    assert (job["status"], job["queue_position"], job["result"], job["error"]) == ("queued", 1, None, None)
    wished = {"vividness": 1.25, "format": "png", "artifacts": ["comparison", "sidecar"], "keep_for": 60.0}
    assert job["options"] == Options().model_dump(mode="json") | wished
    assert photo_of(job["id"]) == photo
    assert len(job["secret"]) >= 32
    seen = api.get(answer.headers["location"]).json()
    assert seen == {name: value for name, value in job.items() if name != "secret"}


def test_a_raw_body_becomes_a_job_with_options_from_the_query(api, gray_photo, photo_of):
    photo = gray_photo("PNG", (1200, 1100))
    answer = api.post(
        "/v1/colorizations?temperature=0.2", content=photo, headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 202
    assert answer.json()["options"]["temperature"] == 0.2
    assert photo_of(answer.json()["id"]) == photo


def test_a_job_is_kept_as_long_as_was_asked_for_and_no_longer(
    api, gray_photo, serve, settings, check_problem
):
    photo = {"photo": gray_photo()}
    answer = api.post("/v1/colorizations", files=photo, data={"keep_for": "8e5"})
    assert "604800 seconds is the longest" in check_problem(answer, "option_invalid")["detail"]
    generous = serve(settings.model_copy(update={"keep_for": 8e5}))
    assert generous.post("/v1/colorizations", files=photo, data={"keep_for": "8e5"}).status_code == 202
    id = send(api, gray_photo(), keep_for="1")["id"]
    time.sleep(1.05)
    check_problem(api.get(f"/v1/colorizations/{id}"), "expired")


def test_who_waits_lets_those_go_first_who_sit_before_a_screen(api, gray_photo):
    slow = send(api, gray_photo(), priority="batch")
    quick = send(api, gray_photo())
    places = [api.get(f"/v1/colorizations/{job['id']}").json()["queue_position"] for job in (slow, quick)]
    assert places == [2, 1]


def test_a_job_tells_how_it_goes_on_and_how_long_it_will_take(api, gray_photo, jobs, work):
    send(api, gray_photo())
    time.sleep(0.3)  # in which something was done: this is the speed that is measured
    work()
    id = send(api, gray_photo())["id"]
    answer = api.get(f"/v1/colorizations/{id}")
    eta = answer.json()["eta_s"]
    assert 0 < eta < 60
    assert answer.headers["retry-after"] == str(math.ceil(eta))
    claim = jobs.claim("w1", NET, 10**9, True)
    jobs.advance(claim, {"open": 0.25}, "preprocess")
    job = api.get(f"/v1/colorizations/{id}").json()
    assert (job["status"], job["timings"], job["queue_position"]) == ("running", {"open": 0.25}, None)
    assert job["net"] == {"name": "lite", "sha256": "ab" * 32}


def test_a_failed_job_says_why_in_the_job_and_as_its_result(api, gray_photo, jobs, check_problem):
    id = send(api, gray_photo())["id"]
    jobs.fail(jobs.claim("w1", NET, 10**9, True), "photo_damaged", "The file is cut off.")
    job = api.get(f"/v1/colorizations/{id}").json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "code": "photo_damaged",
        "title": "The photo is damaged",
        "detail": "The file is cut off.",
    }
    problem = check_problem(api.get(f"/v1/colorizations/{id}/result"), "photo_damaged")
    assert problem["detail"] == "The file is cut off."
    assert problem["instance"] == f"/v1/colorizations/{id}/result"


def test_who_prefers_to_wait_gets_the_finished_job_as_soon_as_it_is(api, gray_photo, work, until, client):
    ended = []

    def worker() -> None:
        until(lambda: client.zcard("{autochrome}:queued"), 10, "a job")
        time.sleep(0.3)
        work()
        ended.append(time.monotonic())

    thread = threading.Thread(target=worker)
    thread.start()
    answer = api.post(
        "/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "respond-async, wait=20"}
    )
    answered = time.monotonic()
    thread.join()
    assert answered - ended[0] < 10, "it does not wait for all of its 20 s"
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"] == f"/v1/colorizations/{answer.json()['id']}"
    assert (answer.json()["status"], "secret" in answer.json()) == ("succeeded", True)


def test_who_waits_asks_the_queue_for_nothing_meanwhile(api, gray_photo, client):
    client.config_resetstat()
    api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=2"})
    scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert scripts < 10


def test_who_waits_for_a_bad_photo_gets_its_problem(api, gray_photo, jobs, client, until, check_problem):
    def worker() -> None:
        until(lambda: client.zcard("{autochrome}:queued"), 10, "a job")
        claim = jobs.claim("w1", NET, 10**9, True)
        jobs.fail(claim, "photo_unsupported", "Floating point pixels are not understood.")

    thread = threading.Thread(target=worker)
    thread.start()
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=20"})
    thread.join()
    problem = check_problem(answer, "photo_unsupported")
    assert problem["detail"] == "Floating point pixels are not understood."


def test_who_does_not_wait_gets_the_job_though_it_failed_already(api, gray_photo, jobs, monkeypatch):
    """A quick worker may be done before the answer is made; the page of the photo tells what to do."""
    find = ApiState.find

    def late(state, id):
        if claim := jobs.claim("w1", NET, 10**9, True):
            jobs.fail(claim, "photo_damaged", "The file is cut off.")
        return find(state, id)

    monkeypatch.setattr(ApiState, "find", late)
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
    assert answer.status_code == 202
    assert (answer.json()["status"], "secret" in answer.json()) == ("failed", True)


def test_who_waited_in_vain_gets_the_job(api, gray_photo):
    start = time.monotonic()
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=1"})
    assert 0.9 < time.monotonic() - start < 60
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    assert answer.json()["status"] == "queued"


@pytest.mark.parametrize(
    "wish", ["wait=soon", "wait", "wait=-1", "respond-async", "wait=٣", "wait=" + "9" * 5000]
)
def test_a_preference_that_cannot_be_read_is_ignored(api, gray_photo, wish):
    headers = {"Prefer": wish.encode()}
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers=headers)
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_only_the_holder_of_the_secret_erases(api, gray_photo, work, check_problem, tmp_path):
    job = send(api, gray_photo())
    work()
    other = send(api, gray_photo())
    url = f"/v1/colorizations/{job['id']}"
    answer = api.delete(url)
    check_problem(answer, "secret_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    check_problem(api.delete(url, headers={"Authorization": f"Bearer {other['secret']}"}), "secret_wrong")
    assert api.get(f"{url}/result").status_code == 200

    holder = {"Authorization": f"Bearer {job['secret']}"}
    assert api.delete(url, headers=holder).status_code == 204
    assert [path.parent.parent.name for path in tmp_path.rglob("photo")] == [other["id"]]
    assert list(tmp_path.rglob("result*")) == []
    assert api.get(url).json()["status"] == "canceled"
    check_problem(api.get(f"{url}/result"), "canceled")
    assert api.delete(url, headers=holder).status_code == 204, "twice is fine"


def test_a_key_erases_what_it_has_made_and_nothing_else(api, gray_photo, client, check_problem):
    from service.auth import Keys, Scope

    mine, others = ({"Authorization": f"Bearer {Keys(client).create(n, [Scope.COLORIZE])}"} for n in "ab")
    files = {"photo": gray_photo()}
    url = api.post("/v1/colorizations", files=files, headers=mine).headers["location"]
    check_problem(api.delete(url, headers=others), "secret_wrong")
    assert api.delete(url, headers=mine).status_code == 204
    nobodys = api.post("/v1/colorizations", files=files).headers["location"]
    check_problem(api.delete(nobodys, headers=mine), "secret_wrong")


def test_erasing_takes_a_job_out_of_the_queue_and_out_of_a_workers_hands(api, gray_photo, jobs, tmp_path):
    waiting, running = send(api, gray_photo()), send(api, gray_photo())
    holder = {"Authorization": f"Bearer {waiting['secret']}"}
    assert api.delete(f"/v1/colorizations/{waiting['id']}", headers=holder).status_code == 204
    claim = jobs.claim("w1", NET, 10**9, True)
    assert claim.id == running["id"]
    holder = {"Authorization": f"Bearer {running['secret']}"}
    assert api.delete(f"/v1/colorizations/{running['id']}", headers=holder).status_code == 204
    with pytest.raises(errors.LeaseLost):
        jobs.advance(claim, {"open": 0.1}, "preprocess")
    assert jobs.depth().jobs == jobs.depth().running == 0
    assert list(tmp_path.rglob("photo")) == []


def test_an_expired_job_is_gone(settings, client, gray_photo, serve, check_problem):
    api = serve(settings.model_copy(update={"keep_for": 0.3}))
    job = send(api, gray_photo())
    time.sleep(0.35)
    for path in ("", "/result", "/artifacts/sidecar"):
        check_problem(api.get(f"/v1/colorizations/{job['id']}{path}"), "expired")
    answer = api.delete(
        f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"}
    )
    check_problem(answer, "expired")


@pytest.mark.parametrize("path", ["/v1/colorizations/" + "0" * 32, "/v1/colorizations/../../etc", "/nothing"])
def test_what_is_not_there_is_a_problem_too(api, path, check_problem):
    assert "or it was erased" in check_problem(api.get(path), "not_found")["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/livez", "GET, HEAD"),
        ("GET", "/v1/colorizations", "POST"),
        ("PATCH", "/v1/colorizations/" + "0" * 32, "DELETE, GET, HEAD, PUT"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_a_problem_that_names_all_others(
    api, method, path, allowed, check_problem
):
    answer = api.request(method, path)
    check_problem(answer, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_every_problem_explains_itself_at_its_type(api, check_problem):
    assert len(errors.KINDS) > 20
    for code, kind in errors.KINDS.items():
        seen = api.get(f"/problems/{code}").json()
        assert (seen["code"], seen["status"], seen["title"]) == (code, kind.status, kind.title)
    check_problem(api.get("/problems/no_such_code"), "not_found")


def test_the_nets_are_those_that_workers_have(api, jobs):
    assert api.get("/v1/nets").json() == []
    jobs.beat("w1", NET, "cpu")
    assert api.get("/v1/nets").json() == [{"name": "lite", "sha256": "ab" * 32}]


def test_the_page_lets_nothing_of_others_in(settings, serve):
    api = serve(settings.model_copy(update={"keep_for": 5400.0}))
    page = api.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "25&nbsp;MB" in page.text
    assert "Erased after 90 minutes" in page.text
    script = api.get("/static/home.js")
    assert script.status_code == 200
    assert script.headers["Cache-Control"] == "no-cache", "a new page must not meet old scripts"
    assert api.get("/static/../app.py").status_code == 404


def test_the_api_starts_without_torch_and_with_nothing_of_the_model_but_the_photo_rules():
    look = (
        "import sys, service.api.app, service.__main__;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('torch', 'model', 'numpy', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    headers = ("header_source", "raster_headers", "tiff_headers", "box_headers")
    rules = {
        "model",
        "model.errors",
        "model.image_headers",
        "model.machine",
        "model.metadata",
        "model.metadata.tiff",
    }
    rules |= {"model.formats", *(f"model.formats.{name}" for name in headers)}
    assert set(ast.literal_eval(done.stdout)) == rules
