"""Redis: its client, the prefix of all keys, and the Lua scripts in `service/lua/`.

`lua/prelude.lua` says which keys there are, and what all scripts share.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.commands.core import Script
from redis.exceptions import ReadOnlyError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection

from service.errors import SettingsError

PREFIX = "{autochrome}:"
RETRIES = 3
"""Enough for a connection that broke: people are told within seconds that a server is gone."""
WORKER_RETRIES = 60
"""About half a minute in which a server starts anew, before a worker drops what it has done."""
WORKER_TIMEOUT = 2.0
"""Seconds for an answer. A server that takes calls and answers none is given up after two minutes: sooner than a stuck attempt's worker
is ended (AUTOCHROME_DEADLINE)."""
MOST_CONNECTIONS = 10_000
"""Of one client. A thread has one at a time, and who makes threads bounds them: redis-py's own 100 would refuse the next thread."""
SENTINEL_TIMEOUT = 1.0
"""Seconds for an answer of one Sentinel, before the next is asked."""
SENTINEL_PORT = 26379
SENTINEL_FORM = "sentinel://[user:password@]host:26379,host:26379,…/master-name[/database]"


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Redis behind Sentinels: where these are, what they call the master, and how to log in. Ports default to 26379."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    database: int
    login: Mapping[str, str]
    """`username` and `password` of Redis itself, where they are needed."""
    sentinel_login: Mapping[str, str]
    """Those of the Sentinels."""

    @classmethod
    def of(cls, url: str) -> Sentinels | None:
        """What a URL like SENTINEL_FORM says; None where it has another scheme. Raises ValueError, which repeats no secret.

        The Sentinels' own password is a parameter: `?sentinel_username=…&sentinel_password=…`.
        """
        if not url.startswith("sentinel://"):
            return None
        parts = urlsplit(url)
        user, _, hosts = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        master, _, database = parts.path.strip("/").partition("/")
        own = dict(parse_qsl(parts.query, keep_blank_values=True))
        known = own.keys() <= {"sentinel_username", "sentinel_password"}
        try:
            found = tuple(_host_and_port(host) for host in hosts.split(","))
            is_whole = bool(master) and known and (database or "0").isdecimal()
        except ValueError:  # its words may be a part of the password
            is_whole = False
        if not is_whole:
            raise ValueError(f"a Redis behind Sentinels is written {SENTINEL_FORM}")
        return cls(
            found,
            unquote(master),
            int(database or 0),
            {key: unquote(value) for key, value in (("username", name), ("password", password)) if value},
            {key.removeprefix("sentinel_"): value for key, value in own.items()},
        )

    @property
    def options(self) -> dict[str, Any]:
        """How the Sentinels themselves are called."""
        return {
            **self.sentinel_login,
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
        }


def _host_and_port(address: str) -> tuple[str, int]:
    """Raises ValueError."""
    parts = urlsplit(f"//{address}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or SENTINEL_PORT


def connect(url: str, retries: int = RETRIES, timeout: float = 10.0) -> redis.Redis:
    """A client that gives text, and repeats a call that was not answered in `timeout` seconds, or met a replica. Raises SettingsError.

    Behind Sentinels it asks them for the master at each new connection.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, 5),
        # No health checks: a server that cannot write refuses PING too, and would not be read from.
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=retries),
        "retry_on_error": [ReadOnlyError],
        "max_connections": MOST_CONNECTIONS,
    }
    try:
        sentinels = Sentinels.of(url)
        if sentinels is None:
            return redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise SettingsError(f"AUTOCHROME_REDIS_URL cannot be used: {error}.") from error
    once = Retry(NoBackoff(), retries=0)
    manager: Any = cast(Any, Sentinel)(sentinels.hosts, sentinel_kwargs={**sentinels.options, "retry": once})
    login = {"db": sentinels.database, **sentinels.login, "connection_class": _MasterConnection}
    return cast(redis.Redis, manager.master_for(sentinels.master, **login, **options))


class _MasterConnection(SentinelManagedConnection):
    """redis-py connects to the server that it had when it repeats a call (8.1, `send_packed_command`): this one asks for the master."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self._sock:
            cast(Any, self).connect_to(self.connection_pool.get_master_address())
        cast(Any, super()).send_packed_command(command, check_health)


@asynccontextmanager
async def connect_to_listen(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client for a subscription: a connection that breaks is an error, else what was missed meanwhile would be lost unnoticed."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": 5,
        "retry": AsyncRetry(NoBackoff(), retries=0),
    }
    sentinels = Sentinels.of(url)
    if sentinels is None:
        async with redis.asyncio.Redis.from_url(url, **options) as client:
            yield client
        return
    once = AsyncRetry(NoBackoff(), retries=0)
    manager: Any = cast(Any, AsyncSentinel)(
        sentinels.hosts, sentinel_kwargs={**sentinels.options, "retry": once}
    )
    login = {"db": sentinels.database, **sentinels.login}
    async with manager, manager.master_for(sentinels.master, **login, **options) as client:
        yield client


def refuse_cluster(url: str) -> None:
    """Raises SettingsError where the URL is wrong, or the server is a node of a Redis Cluster. One that does not answer now is let pass."""
    if url.startswith("sentinel://"):  # a Cluster has no Sentinels
        return
    try:
        with connect(url, retries=0, timeout=2) as client:
            is_cluster = cast(dict[str, Any], client.info("cluster")).get("cluster_enabled") == 1
    except redis.RedisError:  # or it may not say
        return
    if is_cluster:
        raise SettingsError(
            "AUTOCHROME_REDIS_URL names a node of a Redis Cluster, which cannot serve: each script here works on many "
            "keys at once. Name a single Redis or Valkey; it may have replicas."
        )


def is_confirmed(client: redis.Redis, name: str, replicas: int, seconds: float) -> bool:
    """Whether a key is there, and so many replicas have it: else a failover may lose it. May raise redis.RedisError.

    WAIT is about what its own connection wrote, and replicas take all writes in their order: whoever has the mark has the key, too, where
    the same server has both. What the key's writer was told by an earlier master does not count.
    """
    with client.pipeline(transaction=False) as pipe:
        pipe.set(f"{PREFIX}confirming", name)
        pipe.exists(PREFIX + name)
        pipe.wait(replicas, int(seconds * 1000))
        _, exists, reached = pipe.execute()
    return bool(exists) and int(reached) >= replicas


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
    """Without comments: the server keeps each script whole. Lines keep their numbers, which errors tell."""
    folder = resources.files("service") / "lua"
    text = (folder / "prelude.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return re.sub(r"(?m)^ *--.*$", "", text)
