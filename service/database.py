"""Redis: its client, the prefix of all keys, and the Lua scripts in `service/lua/`.

`lua/prelude.lua` says which keys there are, and what all scripts share.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.commands.core import Script
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from service.errors import SettingsError

PREFIX = "{autochrome}:"
RETRIES = 3
"""Enough for a connection that broke: people are told within seconds that a server is gone."""
WORKER_RETRIES = 60
"""About half a minute in which a server starts anew, before a worker drops what it has done."""
WORKER_TIMEOUT = 2.0
"""Seconds for an answer. A server that takes calls and answers none is given up after two minutes: sooner than a stuck attempt's worker
is ended (AUTOCHROME_DEADLINE)."""


def connect(url: str, retries: int = RETRIES, timeout: float = 10.0) -> redis.Redis:
    """A client that gives text, and repeats a call that was not answered in `timeout` seconds, or met a replica. Raises SettingsError."""
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, 5),
            # No health checks: a server that cannot write refuses PING too, and would not be read from.
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=retries),
            retry_on_error=[ReadOnlyError],
        )
    except ValueError as error:
        raise SettingsError(f"AUTOCHROME_REDIS_URL cannot be used: {error}.") from error


def refuse_cluster(url: str) -> None:
    """Raises SettingsError where the server is a node of a Redis Cluster. One that does not answer now is let pass."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), retries=0)
        ) as client:
            is_cluster = cast(dict[str, Any], client.info("cluster")).get("cluster_enabled") == 1
    except (redis.RedisError, ValueError):  # or it may not say; a URL that is wrong is said by `connect`
        return
    if is_cluster:
        raise SettingsError(
            "AUTOCHROME_REDIS_URL names a node of a Redis Cluster, which cannot serve: each script here works on many "
            "keys at once. Name a single Redis or Valkey; it may have replicas."
        )


def refuses_writes(error: redis.RedisError) -> bool:
    """Whether the server answers, and writes nothing: it could not put what it was told last onto its disk."""
    return "MISCONF" in str(error)


def is_out_of_memory(error: redis.RedisError) -> bool:
    """Whether the server has as much as it may hold, so that it takes nothing new in."""
    return isinstance(error, redis.OutOfMemoryError) or str(error).startswith("OOM ")


class Scripts:
    """The files of `service/lua/`, each of which runs as one step of the server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._registered: dict[str, Script] = {}

    def run(self, name: str, *arguments: str | int | float) -> Any:
        """What `lua/{name}.lua` answers. The head of that file says what it takes. May raise redis.RedisError."""
        if name not in self._registered:
            self._registered[name] = self._client.register_script(_text(name))
        return self._registered[name](args=arguments)


@cache
def _text(name: str) -> str:
    folder = resources.files("service") / "lua"
    return (folder / "prelude.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
