"""Who may do what, over real HTTP: keys, scopes and quotas as a client meets them."""

from __future__ import annotations

import httpx
import pytest

from service.keys import Keys, Scope


@pytest.fixture
def keys(client) -> Keys:
    return Keys(client)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def send(api: httpx.Client, photo: bytes, **headers: str) -> httpx.Response:
    return api.post("/v1/colorizations", files={"photo": ("a.jpg", photo)}, headers=headers)


def check(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_where_anybody_may_a_key_is_optional_but_never_ignored(serve, settings, keys, gray_photo, jobs):
    api = serve(settings)
    key = keys.create("a", [Scope.COLORIZE])
    anonymous, keyed = send(api, gray_photo()), send(api, gray_photo(), **bearer(key))
    assert anonymous.status_code == keyed.status_code == 202
    assert jobs.get(anonymous.json()["id"]).owner == ""
    assert jobs.get(keyed.json()["id"]).owner == key.split("_")[1]
    for wrong in ("ac_0123456789ab_" + "0" * 48, "ac_", "not-a-key"):
        answer = send(api, gray_photo(), **bearer(wrong))
        check(answer, 401, "key_invalid")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    keys.revoke(key.split("_")[1])
    check(send(api, gray_photo(), **bearer(key)), 401, "key_invalid")
    by_a_proxy = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert send(api, gray_photo(), **by_a_proxy).status_code == 202


def test_where_nobody_may_without_a_key_photos_need_one_with_the_scope(serve, settings, keys, gray_photo):
    api = serve(settings.model_copy(update={"anonymous": False}))
    refused = send(api, gray_photo())
    check(refused, 401, "key_missing")
    assert refused.headers["www-authenticate"] == "Bearer"
    answer = send(api, gray_photo(), **bearer(keys.create("numbers only", [Scope.METRICS])))
    check(answer, 403, "scope_missing")
    assert "`colorize`" in answer.json()["detail"]
    made = send(api, gray_photo(), **bearer(keys.create("a", [Scope.COLORIZE])))
    assert made.status_code == 202
    assert api.get(made.headers["location"]).status_code == 200, "who knows the id may look"
    erased = api.delete(made.headers["location"], headers=bearer(made.json()["secret"]))
    assert erased.status_code == 204


def test_the_key_that_made_a_job_erases_it_and_another_does_not(serve, settings, keys, gray_photo):
    api = serve(settings)
    mine, other = (keys.create(name, [Scope.COLORIZE]) for name in "ab")
    location = send(api, gray_photo(), **bearer(mine)).headers["location"]
    assert api.delete(location, headers=bearer(other)).status_code == 403
    assert api.delete(location, headers=bearer(mine)).status_code == 204


def test_a_quota_in_megapixels_is_told_and_kept(serve, settings, gray_photo, jobs):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 3}))
    photo = gray_photo(size=(1500, 1000))  # 1.5 megapixels count 2
    first = send(api, photo)
    assert first.status_code == 202
    assert first.headers["ratelimit-policy"] == '"megapixels";q=3;w=60'
    assert first.headers["ratelimit"].startswith('"megapixels";r=1;t=')
    second = send(api, photo)
    check(second, 429, "rate_limited")
    assert 50 <= int(second.headers["retry-after"]) <= 60
    assert second.headers["ratelimit"].startswith('"megapixels";r=1;t=')
    assert jobs.depth().jobs == 1
    assert send(api, gray_photo()).status_code == 202, "a smaller one still goes through"
    assert "ratelimit" not in api.get("/livez").headers


def test_a_file_that_is_no_photo_costs_nothing(serve, settings, gray_photo):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 1}))
    for _ in range(3):
        check(send(api, b"no photo"), 415, "photo_unsupported")
    assert send(api, gray_photo()).status_code == 202


def test_a_photo_for_which_there_was_no_room_costs_nothing(serve, settings, gray_photo, work):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 6, "queue_megapixels": 3}))
    photo = gray_photo(size=(2000, 1000))
    assert send(api, photo).headers["ratelimit"].startswith('"megapixels";r=4;')
    for _ in range(3):
        full = send(api, photo)
        check(full, 503, "queue_full")
        assert "ratelimit" not in full.headers
    work()
    assert send(api, photo).headers["ratelimit"].startswith('"megapixels";r=2;')


def test_a_photo_that_could_not_be_stored_costs_nothing(serve, settings, gray_photo):
    api = serve(settings.model_copy(update={"quota_megapixels_per_minute": 2}))
    store = settings.state_dir / "a store"
    store.rmdir()
    store.write_text("in the way")
    for _ in range(3):
        check(send(api, gray_photo()), 503, "store_unavailable")
    store.unlink()
    store.mkdir()
    assert send(api, gray_photo()).headers["ratelimit"].startswith('"megapixels";r=1;')
