"""Files going out: results and artifacts, whole, in part as a copy, or only asked about; a picture as the answer to its photo."""

from __future__ import annotations

import hashlib
import threading

import pytest

from service.api.results import prefers
from service.errors import StoreUnavailable
from service.models import Net

PICTURE = b"a colored picture"
ETAG = f'"{hashlib.sha256(PICTURE).hexdigest()}"'


@pytest.fixture
def job(api, gray_photo, work) -> str:
    """The address of a job with a result and a comparison."""
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
    work(PICTURE, {"comparison": b"gray | color"})
    return answer.headers["location"]


def test_the_result_is_handed_out_for_ever_and_safely(api, gray_photo, work):
    url = api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"]
    picture = b"x" * 3_000_000
    work(picture)
    answer = api.get(api.get(url).json()["result"]["url"])
    assert (answer.status_code, answer.content) == (200, picture)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == "3000000"
    assert answer.headers["etag"] == f'"{hashlib.sha256(picture).hexdigest()}"'
    cache = answer.headers["cache-control"]
    assert cache.startswith("private, immutable, max-age=")
    assert 86_000 < int(cache.rpartition("=")[2]) <= 86_400
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert 'filename="colorized.jpg"' in answer.headers["content-disposition"]


def test_what_was_made_beside_the_result_is_listed_and_handed_out(api, job, check_problem):
    (made,) = api.get(job).json()["artifacts"]
    url = f"{job}/artifacts/comparison"
    wanted = {"name": "comparison", "kind": "comparison", "media_type": "image/jpeg", "bytes": 12, "url": url}
    assert made == {**wanted, "rank": None, "probability": None}
    answer = api.get(url)
    assert (answer.status_code, answer.content) == (200, b"gray | color")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"].startswith("private, immutable")
    assert "sandbox" in answer.headers["content-security-policy"]
    again = api.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (
        "no artifact 'sidecar'" in check_problem(api.get(f"{job}/artifacts/sidecar"), "not_found")["detail"]
    )


@pytest.mark.parametrize(
    "name",
    [
        *(
            "..%2F..%2Fphoto",
            "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "..%5c..%5cphoto",
            "%2Fetc%2Fpasswd",
            "comparison.jpg",
        ),
        *(
            "comparison%00",
            "comparison%2F..",
            "..;%2Fphoto",
            "%252e%252e%252fphoto",
            "comparison%20",
            "*",
        ),
    ],
)
def test_a_name_that_leads_out_of_a_job_leads_nowhere(api, job, name, check_problem):
    check_problem(api.get(f"{job}/artifacts/{name}"), "not_found")
    check_problem(api.get(f"/v1/colorizations/{name}"), "not_found")
    check_problem(api.get(f"/v1/batches/{name}"), "not_found")


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_client_that_has_the_result_is_not_sent_it_again(api, job, known):
    answer = api.get(f"{job}/result", headers={"If-None-Match": known})
    assert (answer.status_code, answer.content) == (304, b"")
    other = api.get(f"{job}/result", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, PICTURE)


def test_files_of_a_job_that_has_not_ended_are_a_conflict(api, gray_photo, check_problem):
    url = api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"]
    for path in ("result", "artifacts/comparison"):
        answer = api.get(f"{url}/{path}")
        check_problem(answer, "not_ready")
        assert answer.headers["retry-after"] == "1"


def test_what_can_be_got_can_be_asked_about_without_its_body(api, job, jobs):
    jobs.beat("w1", Net("lite", "ab" * 32), "cpu")
    for path in ("/", "/livez", "/readyz", job, f"{job}/result", f"{job}/artifacts/comparison"):
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers.get("etag") == got.headers.get("etag")
    assert api.head("/nothing").status_code == 404


def test_who_only_asks_about_a_file_makes_nobody_read_it(api, job, tmp_path, check_problem):
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    assert api.head(f"{job}/result").headers["content-length"] == str(len(PICTURE))
    assert api.head(f"{job}/artifacts/comparison").status_code == 200
    check_problem(api.get(f"{job}/result"), "expired")


@pytest.fixture
def color(api, gray_photo, jobs, work, until):
    """Send a photo with these headers, while somebody waits for it to color it."""

    def send(picture: bytes = PICTURE, url: str = "/v1/colorizations", **headers: str):
        def color_it() -> None:
            until(lambda: jobs.depth().jobs == 1, 20, "it is queued")
            work(picture)

        worker = threading.Thread(target=color_it)
        worker.start()
        headers = {"Prefer": "wait=30", **headers}
        answer = api.request(
            "PUT" if url.count("/") > 2 else "POST", url, files={"photo": gray_photo()}, headers=headers
        )
        worker.join()
        return answer

    return send


@pytest.mark.parametrize("size", [17, 3_000_000])
def test_who_takes_bytes_alone_gets_the_file_as_bytes(api, gray_photo, work, size):
    url = api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"]
    picture = b"x" * size
    work(picture)
    answer = api.get(f"{url}/result", headers={"Accept": "application/octet-stream"})
    assert (answer.content, answer.headers["content-type"]) == (picture, "application/octet-stream")
    assert answer.headers["vary"] == "Accept"
    of_browsers = api.get(f"{url}/result", headers={"Accept": "image/avif,image/webp,*/*;q=0.8"})
    assert of_browsers.headers["content-type"] == "image/jpeg"
    assert "vary" not in of_browsers.headers, "else a browser would load what it has shown again to save it"


@pytest.mark.parametrize("size", [17, 3_000_000])
def test_who_waits_and_accepts_pictures_is_answered_with_the_picture(api, color, size):
    picture = b"x" * size
    answer = color(picture, Accept="image/*")
    assert (answer.status_code, answer.content) == (200, picture)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["cache-control"] == "no-store", "it answers a POST"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-location"] == answer.headers["location"] + "/result"
    again = api.get(answer.headers["content-location"], headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, api.get(answer.headers["location"]).json()["status"]) == (304, "succeeded")


def test_who_takes_json_as_well_is_answered_with_the_job(color):
    for accept in ("*/*", "application/json", "image/*;q=0.5, application/json", "image/png", ""):
        answer = color(Accept=accept)
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), accept


def test_a_picture_that_the_store_does_not_give_is_a_job_with_its_secret(api, color, monkeypatch):
    def broken(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr("service.api.colorizations.file_response", broken)
    answer = color(Accept="image/*")
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.json()["secret"]


def test_a_picture_that_is_not_ready_in_time_is_a_job_to_ask_about(api, gray_photo):
    send = {"files": {"photo": gray_photo()}, "headers": {"Accept": "image/*", "Prefer": "wait=1"}}
    answer = api.post("/v1/colorizations", **send)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.json()["secret"]


def test_a_photo_that_is_sent_again_is_answered_with_its_picture(api, color, gray_photo):
    url = f"/v1/colorizations/{'ab' * 16}"
    first = color(url=url, Accept="image/jpeg")
    assert first.content == PICTURE
    again = api.put(url, files={"photo": gray_photo()}, headers={"Accept": "image/jpeg"})
    assert (again.status_code, again.content) == (200, PICTURE)
    assert "autochrome-secret" not in again.headers, "who sends the same photo may be anybody"
    holder = {"Authorization": f"Bearer {first.headers['autochrome-secret']}"}
    assert api.put(url, files={"photo": gray_photo()}, headers=holder).json()["secret"]
    assert api.delete(url, headers=holder).status_code == 204


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        (["image/*"], True),
        (["IMAGE/JPEG"], True),
        (["image/png", "image/jpeg;q=0.1"], True),
        (["image/webp,image/*;q=0.9,*/*;q=0.8"], True),
        (["application/json;q=0.5, image/*;q=0.6"], True),
        (["image/*, application/json"], False),
        (["image/*;q=0"], False),
        (["image/*;q=2"], False),
        (["image/jpeg;q=0, image/*"], False),
        (["image/png"], False),
        (["*/*"], False),
        ([], False),
        ([",;=,"], False),
    ],
)
def test_the_header_that_says_more_of_a_type_counts(accept, picture):
    assert prefers(accept, "image/jpeg", "application/json") == picture
