"""Results read from S3, and photos written there, by signed URLs: against moto, which speaks S3 but checks no signature.

So what is signed is signed once more by botocore, and compared.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import redis
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image
from pydantic import ValidationError

from autochrome import Autochrome
from service.api.presigned import Place, Places
from service.auth import Keys, Scope
from service.errors import Problem
from service.janitor import Eraser
from service.models import Allowance
from service.settings import Settings
from service.storage import Store, photo_key

PICTURE = b"a colored picture"


@pytest.fixture
def store(bucket) -> Store:
    return Store("s3://photos/autochrome")


@pytest.fixture
def start(serve, store, redis_url: str, tmp_path: Path, client: redis.Redis) -> Callable[..., httpx.Client]:
    """The API on S3 with signed URLs, and settings of a test's own."""

    def start(**values: object) -> httpx.Client:
        settings = {"store_url": "s3://photos/autochrome", "presign": True, **values}
        return serve(Settings(redis_url=redis_url, state_dir=tmp_path, **settings))

    return start


@pytest.fixture
def api(start) -> httpx.Client:
    return start()


@pytest.fixture
def key(client) -> dict[str, str]:
    """What a caller with a key sends along."""
    return _key(client)


def _key(client: redis.Redis) -> dict[str, str]:
    return {"Authorization": f"Bearer {Keys(client).create('one', [Scope.COLORIZE])}"}


@pytest.fixture
def job(api, gray_photo, work) -> str:
    """The address of a job with a result and a comparison."""
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()})
    work(PICTURE, {"comparison": b"gray | color"})
    return answer.headers["location"]


def announce(api: httpx.Client, key: dict[str, str], length: int) -> httpx.Response:
    return api.post("/v1/uploads", json={"bytes": length}, headers=key)


def write(place: httpx.Response, photo: bytes) -> str:
    """Write a photo where an answer says; the id of its place."""
    assert place.status_code == 201, place.text
    said = place.json()
    assert httpx.request(said["method"], said["url"], content=photo).status_code == 200
    return said["id"]


def test_files_are_read_from_the_bucket_as_the_api_would_send_them(api, job):
    for path, data, name in (
        ("result", PICTURE, "colorized.jpg"),
        ("artifacts/comparison", b"gray | color", "comparison.jpg"),
    ):
        answer = api.get(f"{job}/{path}")
        assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
        own = api.get(f"{job}/{path}", params={"redirect": "false"})
        assert (own.status_code, own.content, own.headers["etag"]) == (200, data, answer.headers["etag"])
        direct = httpx.get(answer.headers["location"])
        assert (direct.status_code, direct.content) == (200, data)
        for header in ("content-type", "content-disposition", "content-length"):
            assert direct.headers[header] == own.headers[header]
        assert f'filename="{name}"' in direct.headers["content-disposition"]
        assert direct.headers["cache-control"] == "private, no-cache"
        assert httpx.get(answer.headers["location"].partition("?")[0]).status_code == 403, "unsigned"


def test_who_has_the_file_or_only_asks_about_it_is_sent_nowhere(api, job):
    etag = api.get(f"{job}/result").headers["etag"]
    assert api.get(f"{job}/result", headers={"If-None-Match": etag}).status_code == 304
    head = api.head(f"{job}/result")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PICTURE)))
    assert head.headers["etag"] == etag


def test_a_picture_that_was_waited_for_is_the_answer_itself(api, gray_photo, work):
    url = f"/v1/colorizations/{secrets.token_hex(16)}"
    api.put(url, files={"photo": gray_photo()})
    work(PICTURE)
    again = api.put(url, files={"photo": gray_photo()}, headers={"Accept": "image/*"})
    assert (again.status_code, again.content) == (200, PICTURE)


def test_an_address_is_good_no_longer_than_its_photo(api, gray_photo, work, check_problem):
    sent = api.post("/v1/colorizations", files={"photo": gray_photo()}, data={"keep_for": "20"})
    work()
    url = api.get(f"{sent.headers['location']}/result").headers["location"]
    assert 15 <= int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) <= 20
    erased = api.delete(
        sent.headers["location"], headers={"Authorization": f"Bearer {sent.json()['secret']}"}
    )
    assert erased.status_code == 204
    assert httpx.get(url).status_code == 404
    check_problem(api.get(f"{sent.headers['location']}/result"), "canceled")


def test_the_signature_is_the_one_that_botocore_makes(api, job, key):
    for method, url in (
        ("GET", api.get(f"{job}/result").headers["location"]),
        ("PUT", announce(api, key, 5).json()["url"]),
    ):
        plain, _, query = url.partition("?")
        said = {name: values[0] for name, values in parse_qs(query).items()}
        signature = said.pop("X-Amz-Signature")
        signer = S3SigV4QueryAuth(Credentials("key", "secret"), "s3", "us-east-1")
        request = AWSRequest(method, plain, params=said, headers={"host": urlsplit(url).netloc})
        request.context["timestamp"] = said["X-Amz-Date"]
        text = signer.string_to_sign(request, signer.canonical_request(request))
        assert signer.signature(text, request) == signature


def test_the_reference_client_follows_and_keeps_its_key_to_itself(api, job, client):
    sent = Keys(client).create("one", [Scope.COLORIZE])
    with Autochrome(str(api.base_url), key=sent) as reference:
        assert reference.result(job.rpartition("/")[2]) == PICTURE
        assert reference.artifact(job.rpartition("/")[2], "comparison") == b"gray | color"


def test_a_photo_that_was_written_to_the_bucket_is_colored(api, key, gray_photo, work, photo_of, bucket):
    photo = gray_photo()
    place = announce(api, key, len(photo))
    assert place.json()["headers"] == {"Content-Length": str(len(photo))}
    id = write(place, photo)
    answer = api.post("/v1/colorizations", json={"upload": id, "vividness": 1.2}, headers=key)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["options"]["vividness"] == 1.2
    assert photo_of(job["id"]) == photo
    assert {path.split("/")[1] for path in bucket()} == {job["id"]}, "nothing is left of its place"
    assert work(PICTURE).id == job["id"]
    assert api.get(f"{answer.headers['location']}/result", follow_redirects=True).content == PICTURE


def test_only_whoever_announced_a_photo_can_use_it_and_only_once(api, key, client, gray_photo, check_problem):
    photo = gray_photo()
    id = write(announce(api, key, len(photo)), photo)
    check_problem(api.post("/v1/colorizations", json={"upload": id}, headers=_key(client)), "upload_unknown")
    check_problem(api.post("/v1/colorizations", json={"upload": id}), "upload_unknown")
    check_problem(api.post("/v1/colorizations", json={"upload": "0" * 32}, headers=key), "upload_unknown")
    own = f"/v1/colorizations/{secrets.token_hex(16)}"
    first = api.put(own, json={"upload": id}, headers=key)
    assert first.status_code == 202
    check_problem(api.post("/v1/colorizations", json={"upload": id}, headers=key), "upload_unknown")
    again = api.put(own, json={"upload": id}, headers=key)
    assert (again.status_code, again.json()["secret"]) == (202, first.json()["secret"]), (
        "the same request again"
    )
    check_problem(api.put(own, json={"upload": id, "vividness": 2}, headers=key), "id_conflict")


def test_of_requests_that_come_at_once_one_makes_the_job(api, key, gray_photo, jobs):
    photo = gray_photo()
    id = write(announce(api, key, len(photo)), photo)

    def color(_: int) -> int:
        return api.post("/v1/colorizations", json={"upload": id}, headers=key).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(color, range(8)))
    assert statuses.count(202) == jobs.depth().jobs == 1
    assert set(statuses) <= {202, 404, 409}


def test_a_photo_of_another_length_than_announced_is_refused_and_a_longer_one_erased(
    api, key, gray_photo, check_problem, bucket
):
    photo = gray_photo()
    place = announce(api, key, len(photo))
    body = {"upload": place.json()["id"]}
    assert (
        "yet"
        in check_problem(api.post("/v1/colorizations", json=body, headers=key), "photo_missing")["detail"]
    )
    write(place, photo[:-1])
    check_problem(api.post("/v1/colorizations", json=body, headers=key), "upload_mismatch")
    write(place, photo + b"x")
    check_problem(api.post("/v1/colorizations", json=body, headers=key), "upload_mismatch")
    assert not bucket()
    check_problem(api.post("/v1/colorizations", json=body, headers=key), "upload_unknown")


def test_what_is_no_photo_is_refused_and_may_be_written_again(api, key, gray_photo, check_problem, bucket):
    photo = gray_photo()
    place = announce(api, key, len(photo))
    body = {"upload": write(place, b"x" * len(photo))}
    check_problem(api.post("/v1/colorizations", json=body, headers=key), "photo_unsupported")
    assert len(bucket()) == 1, "the copy that was looked at is gone"
    write(place, photo)
    assert api.post("/v1/colorizations", json=body, headers=key).status_code == 202


def test_who_writes_again_changes_no_job(api, key, gray_photo, photo_of):
    photo = gray_photo()
    place = announce(api, key, len(photo))
    job = api.post("/v1/colorizations", json={"upload": write(place, photo)}, headers=key).json()
    write(place, b"x" * len(photo))
    assert photo_of(job["id"]) == photo


def test_a_large_photo_is_not_read_whole_to_look_at_its_header(api, key, monkeypatch, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.tif")
    photo = (tmp_path / "noise.tif").read_bytes()
    read: list[int] = []
    part = Store.part

    def counted(self: Store, key: str, start: int, length: int) -> bytes:
        read.append(length)
        return part(self, key, start, length)

    monkeypatch.setattr(Store, "part", counted)
    id = write(announce(api, key, len(photo)), photo)
    assert api.post("/v1/colorizations", json={"upload": id}, headers=key).status_code == 202
    assert 0 < sum(read) <= 2 * 64 * 1024 < len(photo) // 50


def test_bytes_are_taken_off_a_budget_until_there_is_a_job(start, key, client, gray_photo, check_problem):
    api = start(caller_bytes=9 * 2**19, store_bytes=6 * 2**20)
    photo = gray_photo()
    assert announce(api, key, 2**21).status_code == 201
    check_problem(announce(api, key, 3 * 2**20), "storage_limited")
    small = announce(api, key, len(photo))  # counts as a MiB all the same
    assert announce(api, key, 1).status_code == 201
    check_problem(announce(api, key, 1), "storage_limited")
    assert api.post("/v1/colorizations", json={"upload": write(small, photo)}, headers=key).status_code == 202
    assert announce(api, key, 1).status_code == 201, "it was given back"
    check_problem(announce(api, _key(client), 2**21), "store_full")


def test_a_place_that_was_not_used_is_erased_and_given_back(client, jobs, store, until, bucket):
    places, place, share = Places(client, jobs), Place("ab" * 16, "one", 2**21), Allowance("key:one", 2**21)
    places.open(place, 0.2, 0, share)
    store.put(photo_key(place.id), b"a photo")
    with pytest.raises(Problem, match="storage_limited"):
        places.open(Place("cd" * 16, "one", 1), 60, 0, share)
    until(lambda: Eraser(jobs, store, 300).tick() or not bucket(), 10, "the photo is erased")
    places.open(Place("cd" * 16, "one", 1), 60, 0, share)
    with pytest.raises(Problem, match="upload_unknown"):
        places.find(place.id, "one")


def test_announcements_that_cannot_be_met_are_refused(api, key, check_problem):
    check_problem(announce(api, {}, 10), "key_missing")
    check_problem(announce(api, key, 26 * 2**20), "body_too_large")
    for wrong in ({}, {"bytes": 0}, {"bytes": "9"}, {"bytes": 9, "name": "a"}):
        check_problem(api.post("/v1/uploads", json=wrong, headers=key), "option_invalid")
    check_problem(api.post("/v1/uploads", content=b"{", headers=key), "json_invalid")
    check_problem(api.post("/v1/colorizations", json={"upload": 1}, headers=key), "json_invalid")
    check_problem(api.post("/v1/colorizations", json={"upload": "a", "x": 1}, headers=key), "option_unknown")


def test_without_the_setting_nothing_is_signed(start, key, gray_photo, work, check_problem):
    api = start(presign=False)
    sent = api.post("/v1/colorizations", files={"photo": gray_photo()})
    work(PICTURE)
    assert api.get(f"{sent.headers['location']}/result").content == PICTURE
    assert "AUTOCHROME_PRESIGN" in check_problem(announce(api, key, 10), "presign_disabled")["detail"]
    check_problem(api.post("/v1/colorizations", json={"upload": "0" * 32}, headers=key), "presign_disabled")


def test_a_folder_cannot_be_signed_for():
    with pytest.raises(ValidationError, match="AUTOCHROME_PRESIGN needs a store on S3"):
        Settings(presign=True)


def test_the_contract_says_how(api):
    contract = api.get("/openapi.json").json()
    OpenAPIV31SpecValidator(contract).validate()
    body = contract["paths"]["/v1/colorizations"]["post"]["requestBody"]["content"]["application/json"]
    assert [one["required"] for one in body["schema"]["oneOf"]] == [["revise"], ["upload"]]
    assert "307" in contract["paths"]["/v1/colorizations/{id}/result"]["get"]["responses"]
