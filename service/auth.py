"""Who calls, and what that caller may do: API keys in Redis, and the caller of each request.

    keys       hash: id → JSON of name, scopes, hash of the secret, time of making
    keys:used  hash: id → time of the last use (ms)

A key is `ac_<id>_<secret>`, with 48 and 192 random bits as hexadecimal digits: no dictionary reaches that, so
one round of SHA-256 does. It is shown once, when it is made; only a hash of it is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, cast

import redis
from anyio.to_thread import run_sync
from asgi_correlation_id import correlation_id
from fastapi import Depends, Request
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


OPEN_SCOPES = frozenset({Scope.COLORIZE, Scope.BATCH, Scope.WEBHOOK, Scope.URL})
"""What may be done without a key where that is allowed at all."""
OF_PROXIES = ("forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{32,128}")  # RFC 6750, 2.1: b64token


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's sender."""

    owner: str
    """The id of its API key; "" without one."""
    address: str
    request_id: str
    scopes: frozenset[Scope]
    secret: str = field(default="", repr=False)
    """What its bearer says that is no API key: the secret of a job or of a batch."""
    headers: dict[str, str] = field(default_factory=dict, compare=False)
    """What the answer is to carry, whatever it will be; anyone may add to it."""

    def require(self, scope: Scope) -> None:
        """Raises `key_missing` or `scope_missing`."""
        if scope in self.scopes:
            return
        if not self.owner:
            raise Problem("key_missing")
        raise Problem("scope_missing", what=f"It lacks the scope `{scope}`.")

    def require_ownership(self, owner: str, is_opened_by: Callable[[str], bool]) -> None:
        """Of what a key made, or what a secret opens. Raises `secret_missing` or `secret_wrong`."""
        if self.owner and self.owner == owner:
            return
        if not (self.owner or self.secret):
            raise Problem("secret_missing")
        if not self.secret or not is_opened_by(self.secret):
            raise Problem("secret_wrong")


class Authenticator:
    """Tells callers apart."""

    def __init__(self, keys: Keys, anonymous: bool, behind_proxy: bool) -> None:
        """`behind_proxy`: requests from this machine may be anyone's."""
        self._keys = keys
        self._open = OPEN_SCOPES if anonymous else frozenset[Scope]()
        self._metrics_open = anonymous and not behind_proxy

    async def authenticate(self, request: Request) -> Caller:
        """Raises `key_invalid`, or redis.RedisError where there is a key to look up."""
        address = request.client.host if request.client else ""
        request_id = correlation_id.get() or ""
        bearer = _bearer(request)
        if not is_key(bearer):
            scopes = self._open
            if self._metrics_open and _is_at_this_machine(request, address):
                scopes |= {Scope.METRICS}
            caller = Caller("", address, request_id, scopes, bearer)
        else:
            id, known = await run_sync(self._keys.check, bearer)
            caller = Caller(id, address, request_id, known.scopes)
        request.state.answer_headers = caller.headers
        return caller


async def caller(request: Request) -> Caller:
    """FastAPI dependency. Raises `key_invalid`."""
    return await cast(Authenticator, request.app.state.authenticator).authenticate(request)


AnyCaller = Annotated[Caller, Depends(caller)]


def caller_with(scope: Scope, secrets: bool = False) -> Callable[[Request, Caller], Awaitable[Caller]]:
    """A FastAPI dependency: a caller who may do this. Raises `key_invalid`, `key_missing` or `scope_missing`.

    `secrets`: what is made there may have a secret of its sender's choosing. Elsewhere a bearer that is no key is
    a key mistyped, and never passed over.
    """

    async def allowed(request: Request, by: AnyCaller) -> Caller:
        if by.secret and request.method in ("POST", "PUT"):
            if not secrets:
                raise Problem("key_invalid")
            if not _SECRET.fullmatch(by.secret):
                raise Problem(
                    "key_invalid",
                    "It is no API key, and a secret of your own is 32 to 128 random letters and digits.",
                )
        by.require(scope)
        return by

    return allowed


def _bearer(request: Request) -> str:
    """What comes as `Authorization: Bearer …`; "" without it."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _is_at_this_machine(request: Request, address: str) -> bool:
    """Whether nobody stands between: a proxy that is not trusted would pass the whole world off as itself, and a stranger's name that
    was made to lead here would let a page of that stranger read what comes."""
    name = request.url.hostname or ""
    is_ours = _is_loopback(address) and (name == "localhost" or _is_loopback(name))
    return is_ours and not any(header in request.headers for header in OF_PROXIES)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> int:
    return int(time.time() * 1000)
