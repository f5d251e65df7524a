"""API keys: made, checked, revoked; from the command line too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service.errors import Problem
from service.keys import Keys, Scope, is_key


@pytest.fixture
def keys(client) -> Keys:
    return Keys(client)


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
    monkeypatch.setattr("service.keys._now", lambda: first + 61_000)
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


def run(redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
    return subprocess.run(
        [sys.executable, "-m", "service", "keys", *arguments],
        env={**clean, "AUTOCHROME_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_makes_lists_and_revokes(keys, client, redis_url):
    made = run(redis_url, "create", "Anna's laptop", "--scope", "colorize", "--scope", "metrics")
    key = made.stdout.strip()
    id, kept = keys.check(key)
    assert kept.scopes == {"colorize", "metrics"}
    listed = run(redis_url, "list").stdout
    assert id in listed
    assert "Anna's laptop" in listed
    assert "colorize,metrics" in listed
    assert key.split("_")[2] not in listed
    assert run(redis_url, "revoke", id).returncode == 0
    assert id not in run(redis_url, "list").stdout
    unknown = run(redis_url, "revoke", id)
    assert unknown.returncode == 1
    assert id in unknown.stderr
    assert run(redis_url, "create", "x", "--scope", "everything").returncode == 2
