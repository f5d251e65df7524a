"""Whose a batch is: knowing its id, and all that is shown of it, is not enough to go on with it or to erase it."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from service.auth import Keys, Scope

ID = "ab" * 16
URL = f"/v1/batches/{ID}"
OWN = "a-secret-of-my-own-0123456789abcdef"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def put(api: httpx.Client, *photos: tuple[str, bytes], secret: str = "", **options: str) -> httpx.Response:
    files = [("photo", photo) for photo in photos]
    return api.put(URL, files=files, params=options, headers=bearer(secret) if secret else {})


def break_off(api: httpx.Client, photo: bytes, secret: str) -> None:
    """Send one photo whole, and half of another."""
    head = b'--X\r\nContent-Disposition: form-data; name="photo"; filename="%s.jpg"\r\n\r\n'
    body = head % b"a" + photo + b"\r\n" + head % b"b" + b"half"
    headers = {"Content-Type": "multipart/form-data; boundary=X"} | (bearer(secret) if secret else {})
    assert api.put(URL, content=body, headers=headers).status_code == 400


@pytest.fixture
def photo(gray_photo: Callable[..., bytes]) -> bytes:
    return gray_photo(size=(60, 40))


@pytest.mark.parametrize("secret", ["", OWN])
def test_nobody_else_goes_on_with_a_batch_that_broke_off(api, gray_photo, photo, check_problem, secret):
    break_off(api, photo, secret)
    strange = ("z.jpg", gray_photo(size=(64, 64)))
    check_problem(put(api, strange), "secret_missing")
    check_problem(put(api, strange, secret="f" * 32), "secret_wrong")
    check_problem(put(api, ("a.jpg", photo)), "secret_missing")
    seen = api.get(URL).json()
    assert ([file["name"] for file in seen["files"]], seen["status"]) == (["a.jpg"], "receiving")
    assert "secret" not in seen


def test_an_answer_that_was_lost_is_given_again_by_a_secret_of_ones_own(
    api, gray_photo, photo, check_problem
):
    break_off(api, photo, OWN)
    both = ("a.jpg", photo), ("b.jpg", gray_photo(size=(60, 41)))
    whole = put(api, *both, secret=OWN)
    assert (whole.status_code, whole.json()["secret"]) == (202, OWN)
    assert put(api, *both, secret=OWN).json() == whole.json()
    check_problem(put(api, *both, secret=OWN, vividness="0.5"), "id_conflict")
    check_problem(api.delete(URL, headers=bearer("f" * 32)), "secret_wrong")
    assert api.delete(URL, headers=bearer(OWN)).status_code == 204


def test_without_one_the_first_answer_alone_has_the_secret(api, photo, check_problem):
    files = [("a.jpg", photo), ("empty.jpg", b"")]
    made = put(api, *files)
    assert made.status_code == 202
    for again in (files, files[:1], files[1:]):
        problem = check_problem(put(api, *again), "secret_missing")
        assert made.json()["secret"] not in str(problem)
    assert put(api, *files, secret=made.json()["secret"]).json() == made.json()
    assert api.delete(URL, headers=bearer(made.json()["secret"])).status_code == 204


def test_nor_is_one_from_post_told_to_who_puts_under_its_id(api, photo, check_problem):
    made = api.post("/v1/batches", files=[("photo", ("a.jpg", photo)), ("photo", ("empty.jpg", b""))])
    for files in ([("empty.jpg", b"")], [("a.jpg", photo)]):
        answer = api.put(made.headers["location"], files=[("photo", file) for file in files])
        check_problem(answer, "secret_missing")


def test_a_batch_of_a_key_is_gone_on_with_by_that_key_alone(api, client, photo, check_problem):
    keys = Keys(client)
    mine, other = keys.create("a", {Scope.BATCH}), keys.create("b", {Scope.BATCH})
    break_off(api, photo, mine)
    for secret in ("", OWN, other):
        check_problem(put(api, ("a.jpg", photo), secret=secret), "id_conflict")
    whole = put(api, ("a.jpg", photo), secret=mine)
    assert whole.status_code == 202
    assert put(api, ("a.jpg", photo), secret=mine).json() == whole.json()
    assert api.delete(URL, headers=bearer(whole.json()["secret"])).status_code == 204


@pytest.mark.parametrize("weak", ["short", "x" * 31, "x" * 129, "ac_0123456789ab_mistyped-0123456789abcdef"])
def test_a_secret_that_can_be_guessed_or_is_a_key_mistyped_is_refused(api, photo, check_problem, weak):
    check_problem(put(api, ("a.jpg", photo), secret=weak), "key_invalid")
    check_problem(api.get(URL), "not_found")
