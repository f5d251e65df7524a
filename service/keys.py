"""API keys in Redis: who may do what. A key is shown once, when it is made; only a hash of it is kept.

    keys       hash: id → JSON of name, scopes, hash of the secret, time of making
    keys:used  hash: id → time of the last use (ms)

A key is `ac_<id>_<secret>`, with 48 and 192 random bits as hexadecimal digits: no dictionary reaches that, so
one round of SHA-256 does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from typing import cast

import redis
from pydantic import BaseModel

from service.database import PREFIX
from service.errors import Problem

USED_EVERY = 60.0
"""Seconds in which the last use is noted at most once."""
_KEYS, _USED = PREFIX + "keys", PREFIX + "keys:used"
_SHAPE = re.compile(r"ac_([0-9a-f]{12})_([0-9a-f]{48})")


class Scope(StrEnum):
    """What a key may be good for."""

    COLORIZE = "colorize"
    BATCH = "batch"
    WEBHOOK = "webhook"
    URL = "url"
    METRICS = "metrics"


class Key(BaseModel):
    """What is kept of a key. Times are milliseconds since 1970."""

    name: str
    scopes: frozenset[Scope]
    sha256: str
    created: int


class Keys:
    """All may raise redis.RedisError."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def create(self, name: str, scopes: Iterable[Scope]) -> str:
        """A new key, whole: it cannot be told again."""
        id, secret = secrets.token_hex(6), secrets.token_hex(24)
        kept = Key(name=name, scopes=frozenset(scopes), sha256=_hash(secret), created=_now())
        self._redis.hset(_KEYS, id, kept.model_dump_json())
        return f"ac_{id}_{secret}"

    def check(self, key: str) -> tuple[str, Key]:
        """The key's id, and what is kept of it. Raises `key_invalid`."""
        found = _SHAPE.fullmatch(key)
        kept = self._redis.hget(_KEYS, found[1]) if found else None
        if found is None or kept is None:
            raise Problem("key_invalid")
        known = Key.model_validate_json(cast(str, kept))
        if not hmac.compare_digest(known.sha256, _hash(found[2])):
            raise Problem("key_invalid")
        self._note_use(found[1])
        return found[1], known

    def list(self) -> dict[str, tuple[Key, int | None]]:
        """Each key's id, what is kept of it, and when it was last used; the oldest first."""
        kept = cast(dict[str, str], self._redis.hgetall(_KEYS))
        used = cast(dict[str, str], self._redis.hgetall(_USED))
        keys = {id: Key.model_validate_json(text) for id, text in kept.items()}
        in_order = sorted(keys, key=lambda id: keys[id].created)
        return {id: (keys[id], int(used[id]) if id in used else None) for id in in_order}

    def revoke(self, id: str) -> bool:
        """From now on the key is refused. False where there is none of this id."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(_KEYS, id)
            pipe.hdel(_USED, id)
            revoked, _ = pipe.execute()
        return bool(revoked)

    def _note_use(self, id: str) -> None:
        used = self._redis.hget(_USED, id)
        if used is None or _now() - int(cast(str, used)) > USED_EVERY * 1000:
            with suppress(redis.ResponseError):  # full or read-only: reading goes on all the same
                self._redis.hset(_USED, id, _now())


def is_key(credentials: str) -> bool:
    """Whether a bearer token means to be an API key; else it means to be a job's secret."""
    return credentials.startswith("ac_")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> int:
    return int(time.time() * 1000)
