"""The REST contract, over a real Valkey and a real store; the worker's part is said by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from service import errors
from service.api.app import create_app
from service.jobs import Claim, Jobs, Net, Result
from service.options import Options
from service.settings import Settings
from service.store import photo_key, result_key
from service.supervisor import listen

NET = Net("lite", "ab" * 32)


@contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """The API over real HTTP."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        with httpx.Client(base_url="http://{}:{}".format(*listener.getsockname()), timeout=60) as api:
            yield api
        server.should_exit = True
        thread.join()


@pytest.fixture
def api(settings, client) -> Iterator[httpx.Client]:
    with serving(settings) as api:
        yield api


def send(api: httpx.Client, photo: bytes, **options: str) -> dict:
    answer = api.post("/v1/colorizations", files={"photo": ("a.jpg", photo)}, data=options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def work(jobs: Jobs, store, id: str, picture: bytes = b"a colored picture") -> Claim:
    """What a worker does, without a net."""
    claim = jobs.claim("w1", NET, 10**9, True)
    key = result_key(id, claim.attempt, ".jpg")
    store.put(key, picture)
    jobs.complete(claim, 0.1, Result(key, 320, 240, "image/jpeg", "cd" * 32, len(picture)))
    return claim


def check_problem(answer, kind: type[errors.Problem]) -> dict:
    assert (answer.status_code, answer.headers["content-type"]) == (kind.status, "application/problem+json")
    problem = answer.json()
    assert problem["code"] == kind.code
    assert problem["type"] == f"/problems/{kind.code}"
    assert problem["status"] == kind.status
    assert len(problem["title"]) > 10
    assert len(problem["detail"]) > 10
    return problem


def test_a_form_with_a_photo_becomes_a_job(api, gray_photo, store):
    photo = gray_photo()
    answer = api.post(
        "/v1/colorizations", files={"photo": ("a.jpg", photo)}, data={"vividness": "1.25", "format": "png"}
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/colorizations/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert "preference-applied" not in answer.headers
    assert (job["status"], job["queue_position"], job["result"], job["error"]) == ("queued", 1, None, None)
    assert job["options"] == {"temperature": None, "vividness": 1.25, "format": "png", "quality": 92}
    assert store.get(photo_key(job["id"])) == photo
    assert len(job["secret"]) >= 32
    seen = api.get(answer.headers["location"]).json()
    assert seen == {name: value for name, value in job.items() if name != "secret"}


def test_a_raw_body_becomes_a_job_with_options_from_the_query(api, gray_photo, store):
    photo = gray_photo("PNG", (1200, 1100))
    answer = api.post(
        "/v1/colorizations?temperature=0.2", content=photo, headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 202
    assert answer.json()["options"]["temperature"] == 0.2
    assert store.get(photo_key(answer.json()["id"])) == photo


def test_a_job_tells_how_it_goes_on(api, gray_photo, jobs):
    id = send(api, gray_photo())["id"]
    claim = jobs.claim("w1", NET, 10**9, True)
    jobs.advance(claim, "open", 0.25, "prepare")
    job = api.get(f"/v1/colorizations/{id}").json()
    assert (job["status"], job["timings"], job["queue_position"]) == ("running", {"open": 0.25}, None)
    assert job["net"] == {"name": "lite", "sha256": "ab" * 32}


def test_the_result_is_handed_out_for_ever_and_safely(api, gray_photo, jobs, store):
    id = send(api, gray_photo())["id"]
    work(jobs, store, id, b"x" * 3_000_000)
    url = api.get(f"/v1/colorizations/{id}").json()["result"]["url"]
    answer = api.get(url)
    assert (answer.status_code, answer.content) == (200, b"x" * 3_000_000)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == "3000000"
    assert answer.headers["etag"] == f'"{"cd" * 32}"'
    cache = answer.headers["cache-control"]
    assert cache.startswith("private, immutable, max-age=")
    assert 86_000 < int(cache.rpartition("=")[2]) <= 86_400
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert 'filename="colorized.jpg"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_client_that_has_the_result_is_not_sent_it_again(api, gray_photo, jobs, store, known):
    id = send(api, gray_photo())["id"]
    work(jobs, store, id)
    etag = known.format("cd" * 32)
    answer = api.get(f"/v1/colorizations/{id}/result", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    other = api.get(f"/v1/colorizations/{id}/result", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_the_result_of_a_job_that_still_runs_is_a_conflict(api, gray_photo):
    id = send(api, gray_photo())["id"]
    answer = api.get(f"/v1/colorizations/{id}/result")
    check_problem(answer, errors.NotReady)
    assert answer.headers["retry-after"] == "1"


def test_a_failed_job_says_why_in_the_job_and_as_its_result(api, gray_photo, jobs):
    id = send(api, gray_photo())["id"]
    jobs.fail(jobs.claim("w1", NET, 10**9, True), "photo_damaged", "The file is cut off.")
    job = api.get(f"/v1/colorizations/{id}").json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "code": "photo_damaged",
        "title": "The photo is damaged",
        "detail": "The file is cut off.",
    }
    problem = check_problem(api.get(f"/v1/colorizations/{id}/result"), errors.PhotoDamaged)
    assert problem["detail"] == "The file is cut off."
    assert problem["instance"] == f"/v1/colorizations/{id}/result"


def test_who_prefers_to_wait_gets_the_finished_job(api, gray_photo, jobs, store, client, until):
    def worker() -> None:
        (id,) = until(lambda: client.zrange("{autochrome}:queued", 0, -1), 10, "a job")
        time.sleep(0.3)
        work(jobs, store, id)

    thread = threading.Thread(target=worker)
    thread.start()
    answer = api.post(
        "/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "respond-async, wait=20"}
    )
    thread.join()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["location"] == f"/v1/colorizations/{answer.json()['id']}"
    assert (answer.json()["status"], "secret" in answer.json()) == ("succeeded", True)


def test_who_waits_for_a_bad_photo_gets_its_problem(api, gray_photo, jobs, client, until):
    def worker() -> None:
        (id,) = until(lambda: client.zrange("{autochrome}:queued", 0, -1), 10, "a job")
        jobs.fail(jobs.claim("w1", NET, 10**9, True), "photo_unsupported", "Floating point pixels are not understood.")

    thread = threading.Thread(target=worker)
    thread.start()
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=20"})
    thread.join()
    problem = check_problem(answer, errors.PhotoUnsupported)
    assert problem["detail"] == "Floating point pixels are not understood."


def test_who_waited_in_vain_gets_the_job(api, gray_photo):
    start = time.monotonic()
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers={"Prefer": "wait=1"})
    assert 0.9 < time.monotonic() - start < 5
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    assert answer.json()["status"] == "queued"


@pytest.mark.parametrize("wish", ["wait=soon", "wait", "wait=-1", "respond-async", "wait=٣"])
def test_a_preference_that_cannot_be_read_is_ignored(api, gray_photo, wish):
    headers = {"Prefer": wish.encode()}
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers=headers)
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"sharpness": "3"}, errors.OptionUnknown, "sharpness"),
        ({"temperature": "2"}, errors.OptionInvalid, "temperature"),
        ({"temperature": "nan"}, errors.OptionInvalid, "temperature"),
        ({"vividness": "very"}, errors.OptionInvalid, "vividness"),
        ({"format": "bmp"}, errors.OptionInvalid, "format"),
        ({"quality": "0"}, errors.OptionInvalid, "quality"),
        ({"quality": ["90", "80"]}, errors.OptionInvalid, "quality"),
    ],
)
def test_an_option_that_cannot_be_honored_is_refused(api, gray_photo, client, options, kind, named):
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, data=options)
    assert named in check_problem(answer, kind)["detail"]
    assert client.keys("{autochrome}:*") == []


def test_an_empty_option_is_the_default(api, gray_photo):
    assert send(api, gray_photo(), temperature="", quality="")["options"] == Options().model_dump()


def test_only_the_holder_of_the_secret_erases(api, gray_photo, jobs, store, tmp_path):
    job, other = send(api, gray_photo()), send(api, gray_photo())
    work(jobs, store, job["id"])
    url = f"/v1/colorizations/{job['id']}"
    answer = api.delete(url)
    check_problem(answer, errors.SecretMissing)
    assert answer.headers["www-authenticate"] == "Bearer"
    check_problem(api.delete(url, headers={"Authorization": f"Bearer {other['secret']}"}), errors.SecretWrong)
    assert api.get(f"{url}/result").status_code == 200

    holder = {"Authorization": f"Bearer {job['secret']}"}
    assert api.delete(url, headers=holder).status_code == 204
    assert [path.parent.name for path in tmp_path.rglob("photo")] == [other["id"]]
    assert list(tmp_path.rglob("result*")) == []
    assert api.get(url).json()["status"] == "canceled"
    check_problem(api.get(f"{url}/result"), errors.Canceled)
    assert api.delete(url, headers=holder).status_code == 204, "twice is fine"


def test_an_expired_job_is_gone(settings, client, gray_photo):
    brief = settings.model_copy(update={"keep_for": 0.3})
    with serving(brief) as api:
        job = send(api, gray_photo())
        time.sleep(0.35)
        for path in ("", "/result"):
            check_problem(api.get(f"/v1/colorizations/{job['id']}{path}"), errors.Expired)
        answer = api.delete(
            f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"}
        )
        check_problem(answer, errors.Expired)


@pytest.mark.parametrize("path", ["/v1/colorizations/" + "0" * 32, "/v1/colorizations/../../etc", "/nothing"])
def test_what_is_not_there_is_a_problem_too(api, path):
    assert "or it was erased" in check_problem(api.get(path), errors.NotFound)["detail"]


def test_a_method_that_is_not_there_is_a_problem_that_names_the_others(api):
    answer = api.put("/livez")
    check_problem(answer, errors.MethodNotAllowed)
    assert "GET" in answer.headers["allow"]


def test_what_can_be_got_can_be_asked_about_without_its_body(api, gray_photo, jobs, store):
    id = send(api, gray_photo())["id"]
    work(jobs, store, id)
    jobs.beat("w1", NET, "cpu")
    for path in ("/", "/livez", "/readyz", f"/v1/colorizations/{id}", f"/v1/colorizations/{id}/result"):
        got, asked = api.get(path), api.head(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-length"] == str(len(got.content))
        assert asked.headers["content-type"] == got.headers["content-type"]
    assert api.head("/nothing").status_code == 404


def test_ready_means_that_a_worker_is(api, jobs):
    assert api.get("/livez").status_code == 200
    check_problem(api.get("/readyz"), errors.WorkersUnavailable)
    jobs.beat("w1", NET, "cpu")
    assert api.get("/readyz").status_code == 200
    assert api.get("/v1/nets").json() == [{"name": "lite", "sha256": "ab" * 32}]


def test_without_its_queue_the_service_lives_but_is_not_ready(settings, gray_photo, tmp_path):
    lost = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    with serving(lost) as api:
        assert api.get("/livez").status_code == 200
        for answer in (
            api.get("/readyz"),
            api.get("/v1/colorizations/" + "0" * 32),
            api.post("/v1/colorizations", files={"photo": gray_photo()}),
        ):
            check_problem(answer, errors.QueueUnavailable)
            assert answer.headers["retry-after"] == "5"


def test_a_store_that_fails_is_said_to_the_client_and_why_to_the_operator(api, gray_photo, tmp_path, caplog):
    (tmp_path / "a store").rmdir()
    (tmp_path / "a store").write_text("in the way")
    problem = check_problem(
        api.post("/v1/colorizations", files={"photo": gray_photo()}), errors.StoreUnavailable
    )
    assert str(tmp_path) not in problem["detail"]
    (said,) = [record.message for record in caplog.records if "store_unavailable" in record.message]
    assert "Not a directory" in said
    assert "\n" not in said


def test_links_lead_to_the_public_address(settings, client, gray_photo, jobs, store):
    public = settings.model_copy(update={"public_url": "https://photos.example/color/"})
    with serving(public) as api:
        answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
        id = answer.json()["id"]
        assert answer.headers["location"] == f"https://photos.example/color/v1/colorizations/{id}"
        work(jobs, store, id)
        result = api.get(f"/v1/colorizations/{id}").json()["result"]
        assert result["url"] == f"https://photos.example/color/v1/colorizations/{id}/result"


def test_every_problem_explains_itself_at_its_type(api):
    kinds = list(errors.problems())
    assert len({kind.code for kind in kinds}) == len(kinds) > 20
    for kind in kinds:
        seen = api.get(f"/problems/{kind.code}").json()
        assert (seen["code"], seen["status"], seen["title"]) == (kind.code, kind.status, kind.title)
    check_problem(api.get("/problems/no_such_code"), errors.NotFound)


def test_openapi_documents_the_problems_and_only_what_is_sent(api):
    document = api.get("/openapi.json").json()
    post = document["paths"]["/v1/colorizations"]["post"]
    assert "photo_animated" in post["responses"]["422"]["description"]
    problem = post["responses"]["413"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert problem.rpartition("/")[2] in document["components"]["schemas"]
    assert "HTTPValidationError" not in str(document)
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {"photo", *Options.model_fields}
    assert form["temperature"]["anyOf"][0]["maximum"] == 1
    assert "410" in document["paths"]["/v1/colorizations/{id}/result"]["get"]["responses"]


def test_the_page_lets_nothing_of_others_in(api):
    page = api.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "25" in page.text
    script = api.get("/static/app.js")
    assert script.status_code == 200
    assert script.headers["Cache-Control"] == "no-cache", "a new page must not meet old scripts"
    assert api.get("/static/../app.py").status_code == 404


def test_the_api_starts_without_torch_and_without_the_model():
    look = (
        "import sys, service.api.app, service.__main__;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('torch', 'model', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
