"""How Redis is named, found and called."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import redis

from service.celery_app import make_app, notify
from service.database import Sentinels, connect
from service.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sentinel://s1/photos", Sentinels((("s1", 26379),), "photos", 0, {}, {})),
        (
            "sentinel://anna:a%2Fb%40c@s1:1,[::1]:2,s3/my%20photos/7?sentinel_username=x&sentinel_password=y%2Bz",
            Sentinels(
                (("s1", 1), ("::1", 2), ("s3", 26379)),
                "my photos",
                7,
                {"username": "anna", "password": "a/b@c"},
                {"username": "x", "password": "y+z"},
            ),
        ),
        ("redis://:secret@h:6379/0", None),
    ],
)
def test_a_url_of_sentinels_says_who_they_are_and_how_to_log_in(url, meant):
    assert Sentinels.of(url) == meant


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:secret@s1:26379",
        "sentinel://:secret@/photos",
        "sentinel://:secret@s1,,s3/photos",
        "sentinel://:secret@s1:port/photos",
        "sentinel://:slash/secret@s1/photos",
        "sentinel://:secret@s1/photos/first",
        "sentinel://:secret@s1/photos?db=secret",
    ],
)
def test_a_url_of_sentinels_that_cannot_be_is_said_without_its_secrets(url):
    for use, name in ((connect, "REDIS"), (make_app, "BROKER")):
        with pytest.raises(
            SettingsError, match=rf"AUTOCHROME_{name}_URL cannot be used: .* sentinel://\["
        ) as said:
            use(url)
        assert "secret" not in str(said.value)
        assert "slash" not in str(said.value)


def test_a_broker_that_takes_calls_and_answers_none_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr("service.celery_app.BROKER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        start = time.monotonic()
        notify(make_app(f"redis://{host}:{port}/0"), "ab" * 16)
    assert time.monotonic() - start < 30
    assert "notification_failed" in caplog.text


def test_three_hundred_threads_have_a_connection_each(redis_url):
    """redis-py's own bound is 100: the next thread would be told that there are too many connections."""
    together, faults = threading.Barrier(300), []

    def ask(client: redis.Redis) -> None:
        together.wait(30)
        try:
            client.blpop(["nothing"], timeout=0.5)  # keeps its connection
        except redis.RedisError as error:
            faults.append(error)

    with connect(redis_url) as client:
        threads = [threading.Thread(target=ask, args=[client]) for _ in range(300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
