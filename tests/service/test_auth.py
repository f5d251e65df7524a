"""Who may do what: keys made, checked and revoked, from the command line too; keys, scopes and quotas over real HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest

from service.__main__ import main
from service.auth import Keys, Scope, is_key
from service.batches import Batches
from service.errors import Problem


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


def test_no_secret_can_be_taken_for_a_key(jobs, client):
    batches = Batches(client, jobs, most_files=10, most_waiting=10)
    secrets = [make(f"{n:032x}") for n in range(2000) for make in (jobs.secret_for, batches.secret_for)]
    assert not any(is_key(secret) for secret in secrets)
    assert {secret.split("_")[0] for secret in secrets} == {"job", "batch"}


def test_a_key_is_known_again_with_its_scopes_until_it_is_revoked(keys, client):
    key = keys.create("the bot", [Scope.COLORIZE, Scope.BATCH])
    assert is_key(key)
    id, kept = keys.check(key)
    assert (kept.name, kept.scopes) == ("the bot", {"colorize", "batch"})
    assert keys.revoke(id)
    assert not keys.revoke(id)
    with pytest.raises(Problem, match="key_invalid"):
        keys.check(key)
    assert keys.list() == {}
    assert client.keys("*") == [], "nothing of it is left"


def test_what_is_not_quite_a_key_is_refused(keys):
    key, other = keys.create("a", [Scope.COLORIZE]), keys.create("b", [Scope.COLORIZE])
    id, secret = key.split("_")[1:]
    for wrong in (
        key[:-1],
        key + "0",
        key.upper(),
        f"ac_{id}_{other.split('_')[2]}",
        f"ac_{'0' * 12}_{secret}",
        f"ac_{id}_",
        "ac_",
        "",
    ):
        with pytest.raises(Problem, match="key_invalid"):
            keys.check(wrong)


def test_no_key_and_no_secret_is_kept_in_redis(keys, client):
    key = keys.create("a", [Scope.COLORIZE])
    keys.check(key)
    kept = str([client.hgetall(name) for name in client.keys("*")])
    assert key.split("_")[1] in kept, "its id is"
    assert key.split("_")[2] not in kept


def test_the_last_use_is_noted_but_not_each_time(keys, client, monkeypatch):
    key = keys.create("a", [Scope.COLORIZE])
    id, _ = keys.check(key)
    first = keys.list()[id][1]
    assert first is not None
    keys.check(key)
    assert keys.list()[id][1] == first
    monkeypatch.setattr("service.auth._now", lambda: first + 61_000)
    keys.check(key)
    assert keys.list()[id][1] == first + 61_000


def test_a_redis_that_is_full_still_tells_who_asks(keys, client):
    key = keys.create("a", [Scope.METRICS])
    client.config_set("maxmemory", "1")
    try:
        _, kept = keys.check(key)
    finally:
        client.config_set("maxmemory", "0")
    assert kept.scopes == {"metrics"}


def keys_command(redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
    return subprocess.run(
        [sys.executable, "-m", "service", "keys", *arguments],
        env={**clean, "AUTOCHROME_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def command(redis_url, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """The same in this process, which is quicker: exit code, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("AUTOCHROME_REDIS_URL", redis_url)
        monkeypatch.setattr("sys.argv", ["autochrome", "keys", *arguments])
        return main(), *capsys.readouterr()

    return run


def test_the_command_makes_lists_and_revokes(keys, client, redis_url, command):
    made = keys_command(redis_url, "create", "Anna's laptop", "--scope", "colorize", "--scope", "metrics")
    key = made.stdout.strip()
    id, kept = keys.check(key)
    assert kept.scopes == {"colorize", "metrics"}
    listed = command("list")[1]
    assert id in listed
    assert "Anna's laptop" in listed
    assert "colorize,metrics" in listed
    assert key.split("_")[2] not in listed
    assert command("revoke", id)[0] == 0
    assert id not in command("list")[1]
    code, _, error = command("revoke", id)
    assert code == 1
    assert id in error
    assert command("create", "x", "--scope", "everything")[0] == 2
