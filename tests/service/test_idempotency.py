"""Sent twice, colored once: PUT under an id of the client's own, and POST with an Idempotency-Key."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path
from typing import IO

import httpx
import pytest

from service.api import colorizations
from service.auth import Keys, Scope
from service.jobs import new_id
from service.models import Net, secret_hash
from service.storage import Store

ID = "0f8fad5bd9cb469fa16570867728950e"
URL = f"/v1/colorizations/{ID}"
OWN = "a-secret-of-my-own-0123456789abcdef"


def post(api, photo: bytes, key: str | None, **more) -> httpx.Response:
    headers = {**more.pop("headers", {}), **({"Idempotency-Key": key} if key else {})}
    return api.post("/v1/colorizations", files={"photo": photo}, headers=headers, **more)


def photos(folder: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in folder.rglob("photo"))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_put_makes_one_job_however_often_it_comes(api, gray_photo, store, jobs, work, tmp_path):
    photo = gray_photo()
    api.headers.update(bearer(OWN))
    first = api.put(URL, files={"photo": photo}, data={"vividness": "1.1"})
    assert (first.status_code, first.headers["location"]) == (202, URL)
    assert first.json()["id"] == ID
    raw = api.put(f"{URL}?vividness=1.1", content=photo, headers={"Content-Type": "image/jpeg"})
    assert raw.status_code == 202
    assert raw.json() == first.json(), "with its secret, and however it was packed"
    assert jobs.depth().jobs == 1
    assert photos(tmp_path) == [ID]
    work()
    done = api.put(URL, files={"photo": photo}, data={"vividness": "1.1"})
    assert (done.status_code, done.json()["status"]) == (200, "succeeded")
    assert done.json()["secret"] == first.json()["secret"] == OWN
    assert jobs.depth().jobs == 0
    assert api.delete(URL).status_code == 204


def test_a_stranger_who_sends_the_same_photo_under_its_id_is_told_no_secret_and_cannot_erase_it(
    api, client, gray_photo, work, check_problem
):
    """Both may be public: a bot's answer shows the photo and leads to the job."""
    keyed = bearer(Keys(client).create("the bot", [Scope.COLORIZE]))
    for headers in ({}, bearer(OWN), keyed):
        url = f"/v1/colorizations/{new_id()}"
        secret = api.put(url, files={"photo": gray_photo()}, headers=headers).json()["secret"]
        answers = [api.put(url, files={"photo": gray_photo()}) for _ in range(2)]
        work()
        answers.append(api.put(url, files={"photo": gray_photo()}, headers={"Prefer": "wait=5"}))
        for answer in answers:
            assert secret not in answer.text
            if headers is keyed:
                check_problem(answer, "id_conflict")
            else:
                assert (answer.json()["id"], answer.json()["secret"]) == (url[-32:], None)
        check_problem(api.put(url, files={"photo": gray_photo()}, headers=bearer("f" * 32)),
                      "id_conflict" if headers is keyed else "secret_wrong")  # fmt: skip
        for told in {answer.json().get("secret") for answer in answers}:
            answer = api.delete(url, headers=bearer(told) if told else {})
            check_problem(answer, "secret_missing")
        again = api.put(url, files={"photo": gray_photo()}, headers=headers or bearer(secret))
        assert again.json()["secret"] == secret, "who shows to be its sender is told again"
        assert api.delete(url, headers=bearer(secret)).status_code == 204


def test_a_photo_that_fails_while_its_sender_waits_can_be_erased_by_it(
    api, gray_photo, jobs, until, check_problem
):
    answers: list[httpx.Response] = []
    send = threading.Thread(
        target=lambda: answers.append(post(api, gray_photo(), None, headers={"Prefer": "wait=20"}))
    )
    send.start()
    until(lambda: jobs.depth().jobs == 1, 5, "it waits")
    jobs.fail(jobs.claim("w1", Net("lite", "ab" * 32), 10**9, True), "photo_damaged", "The file is cut off.")
    send.join()
    problem = check_problem(answers[0], "photo_damaged")
    assert answers[0].headers["location"] == f"/v1/colorizations/{problem['id']}"
    assert api.delete(answers[0].headers["location"], headers=bearer(problem["secret"])).status_code == 204


def test_a_secret_of_before_there_were_prefixes_is_told_again_as_it_was(api, client, jobs, gray_photo):
    made = post(api, gray_photo(), "k-1").json()
    assert made["secret"].startswith("job_")
    old = made["secret"].removeprefix("job_")
    client.hset(f"{{autochrome}}:job:{made['id']}", "secret", secret_hash(old))
    assert post(api, gray_photo(), "k-1").json()["secret"] == old
    assert api.delete(f"/v1/colorizations/{made['id']}", headers=bearer(old)).status_code == 204


def test_an_id_stands_for_one_photo_with_its_options_by_one_sender(
    api, gray_photo, photo_of, client, check_problem
):
    photo = gray_photo()
    api.put(URL, files={"photo": photo})
    check_problem(api.put(URL, files={"photo": gray_photo(size=(64, 64))}), "id_conflict")
    check_problem(api.put(URL, files={"photo": photo}, data={"quality": "80"}), "id_conflict")
    other = {"Authorization": f"Bearer {Keys(client).create('other', [Scope.COLORIZE])}"}
    answer = api.put(URL, files={"photo": photo}, headers=other)
    assert "secret" not in check_problem(answer, "id_conflict")
    assert photo_of(ID) == photo, "the first is not written over"
    made = post(api, photo, None).json()["id"]
    check_problem(api.put(f"/v1/colorizations/{made}", files={"photo": gray_photo("PNG")}), "id_conflict")


@pytest.mark.parametrize("id", ["1", "0F" * 16, "g" * 32, "0" * 33])
def test_an_id_is_128_bits(api, gray_photo, client, id, check_problem):
    check_problem(api.put(f"/v1/colorizations/{id}", files={"photo": gray_photo()}), "id_invalid")
    assert client.keys("{autochrome}:job:*") == []


def test_an_id_that_was_erased_does_not_come_back(api, gray_photo, check_problem, tmp_path):
    secret = api.put(URL, files={"photo": gray_photo()}).json()["secret"]
    api.delete(URL, headers={"Authorization": f"Bearer {secret}"})
    check_problem(api.put(URL, files={"photo": gray_photo()}), "canceled")
    assert photos(tmp_path) == []


def test_a_put_that_was_refused_leaves_its_id_free(api, gray_photo, check_problem):
    check_problem(api.put(URL, files={"photo": b"no photo"}), "photo_unsupported")
    check_problem(api.put(URL, files={"photo": gray_photo()[:100]}), "photo_damaged")
    assert api.put(URL, files={"photo": gray_photo()}).status_code == 202


def test_the_same_sent_at_the_same_time_is_one_job(api, gray_photo, jobs, tmp_path):
    """Eight different photos race for one id: one gets it, and its photo is the one that is kept."""
    sent = [gray_photo(size=(700 + n, 500)) for n in range(8)]
    answers: dict[int, httpx.Response] = {}

    def put(n: int) -> None:
        answers[n] = api.put(URL, files={"photo": sent[n]})

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [n for n, answer in answers.items() if answer.status_code == 202]
    assert {a.json()["code"] for n, a in answers.items() if n != winner} <= {"id_conflict", "in_flight"}
    assert next(tmp_path.rglob("photo")).read_bytes() == sent[winner]
    assert jobs.depth().jobs == 1


@pytest.mark.parametrize("same", [False, True], ids=["another photo", "the same photo"])
def test_of_two_uploads_that_take_long_one_makes_the_job_and_its_photo_stays(
    tight, gray_photo, jobs, client, monkeypatch, check_problem, photo_of, until, tmp_path, same
):
    """The first is still being stored when nobody remembers any more that it came first."""
    api = tight(quota_megapixels_per_minute=3)  # each counts as one
    monkeypatch.setattr(colorizations, "ENTERING", 0.05)
    slow, quick = gray_photo(), gray_photo() if same else gray_photo(size=(64, 64))
    go_on, kept = threading.Event(), Store.put

    def put(store: Store, key: str, data: IO[bytes]) -> None:
        begun.append(key)
        assert len(begun) > 1 or go_on.wait(30)
        kept(store, key, data)

    begun: list[str] = []
    monkeypatch.setattr(Store, "put", put)
    answers: dict[str, httpx.Response] = {}
    first = threading.Thread(target=lambda: answers.update(slow=api.put(URL, files={"photo": slow})))
    first.start()
    until(lambda: begun, 10, "the first is being stored")
    until(lambda: not client.exists(f"{{autochrome}}:entering:{ID}"), 10, "it is forgotten")
    answers["quick"] = api.put(URL, files={"photo": quick})
    go_on.set()
    first.join()
    assert answers["quick"].status_code == 202
    if same:
        assert answers["slow"].status_code == 202
        assert answers["slow"].json() == answers["quick"].json() | {"secret": None}
    else:
        assert "secret" not in check_problem(answers["slow"], "id_conflict")
    assert len(begun) == 2, "both were stored"
    assert photo_of(ID) == quick
    assert photos(tmp_path) == [ID], "nothing is left of the other"
    assert jobs.depth().jobs == 1
    for status in (202, 202, 429):
        assert api.post("/v1/colorizations", files={"photo": slow}).status_code == status, "one was charged"


def test_while_one_is_received_the_other_is_asked_to_wait(api, gray_photo, client, check_problem):
    client.set(f"{{autochrome}}:entering:{ID}", "another process", px=60_000)
    answer = api.put(URL, files={"photo": gray_photo()})
    check_problem(answer, "in_flight")
    assert int(answer.headers["retry-after"]) >= 1


def test_who_has_no_key_shares_idempotency_keys_with_its_own_network_alone(
    serve, settings, client, gray_photo, check_problem
):
    api = serve(settings.model_copy(update={"trusted_proxies": ("127.0.0.1",)}))

    def sent(address: str, size: int) -> httpx.Response:
        return post(api, gray_photo(size=(size, 99)), "1", headers={"X-Forwarded-For": address})

    mine = sent("2001:db8:1:1::5", 100)
    other = sent("2001:db8:1:2::5", 101)
    assert (mine.status_code, other.status_code, sent("192.0.2.7", 102).status_code) == (202, 202, 202)
    assert sent("2001:db8:1:1:ffff::9", 100).json()["id"] == mine.json()["id"] != other.json()["id"]
    check_problem(sent("2001:db8:1:1::5", 103), "idempotency_mismatch")


@pytest.mark.parametrize("key", ["8e03978e-40d5-43e8-bc93-6894a57f9324", '"8e03978e-40d5-43e8"'])
def test_a_post_with_a_key_makes_one_job_however_often_it_comes(api, gray_photo, jobs, key):
    first, second = post(api, gray_photo(), key), post(api, gray_photo(), key.strip('"'))
    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert jobs.depth().jobs == 1
    assert post(api, gray_photo(), None).json()["id"] != first.json()["id"]
    assert first.json()["id"] != hashlib.sha256(key.encode()).hexdigest()[:32], (
        "not to be guessed from the key"
    )


def test_a_key_stands_for_one_photo_with_its_options(api, gray_photo, client, check_problem):
    photo = gray_photo()
    first = post(api, photo, "k-1")
    check_problem(post(api, gray_photo("PNG"), "k-1"), "idempotency_mismatch")
    check_problem(post(api, photo, "k-1", data={"quality": "80"}), "idempotency_mismatch")
    keys = Keys(client)
    owner = {"Authorization": f"Bearer {keys.create('one', [Scope.COLORIZE])}"}
    assert post(api, photo, "k-1", headers=owner).json()["id"] != first.json()["id"], (
        "each has keys of its own"
    )


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "two words", "schlüssel"])
def test_a_key_that_cannot_be_used_is_refused(api, gray_photo, key, check_problem):
    headers = [("Idempotency-Key", key.encode())]
    answer = api.post("/v1/colorizations", files={"photo": gray_photo()}, headers=headers)
    check_problem(answer, "idempotency_key_invalid")


def test_a_full_queue_refuses_new_photos_but_knows_those_that_it_has(
    settings, client, gray_photo, serve, check_problem, tmp_path
):
    api = serve(settings.model_copy(update={"queue_jobs": 1}))
    photo = gray_photo()
    assert api.put(URL, files={"photo": photo}).status_code == 202
    answer = api.put(f"/v1/colorizations/{'1' * 32}", files={"photo": photo})
    check_problem(answer, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    check_problem(post(api, photo, "k-1"), "queue_full")
    check_problem(post(api, photo, None), "queue_full")
    assert api.put(URL, files={"photo": photo}).status_code == 202
    assert photos(tmp_path) == [ID]


def test_a_full_queue_is_said_before_the_photo_is_sent(settings, client, gray_photo, serve):
    api = serve(settings.model_copy(update={"queue_megapixels": 0.05}))
    assert post(api, gray_photo(), None).status_code == 202
    address = api.base_url.host, api.base_url.port
    with socket.create_connection(address, timeout=10) as line:
        line.sendall(
            b"POST /v1/colorizations HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 20000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert line.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_of_those_who_race_for_the_last_place_one_gets_it_and_nothing_is_left_of_the_others(
    settings, client, gray_photo, serve, jobs, tmp_path
):
    api = serve(settings.model_copy(update={"queue_jobs": 1}))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(api, gray_photo(), None).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202] + 7 * [503]
    assert len(photos(tmp_path)) == jobs.depth().jobs == 1
