"""Who asks: the API key in `Authorization: Bearer ac_…`, or nobody known; and what that one may do."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from anyio.to_thread import run_sync
from fastapi import Depends, Request

from service.errors import Problem
from service.keys import Keys, Scope, is_key

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


class Callers:
    """Tells callers apart."""

    def __init__(self, keys: Keys, anonymous: bool, behind_proxy: bool) -> None:
        """`behind_proxy`: requests from this machine may be anyone's."""
        self._keys = keys
        self._open = OPEN_SCOPES if anonymous else frozenset[Scope]()
        self._metrics_open = anonymous and not behind_proxy

    async def of(self, request: Request) -> Caller:
        """Raises `key_invalid`, or redis.RedisError where there is a key to look up."""
        address = request.client.host if request.client else ""
        request_id: str = request.state.request_id
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
    return await cast(Callers, request.app.state.callers).of(request)


AnyCaller = Annotated[Caller, Depends(caller)]


def caller_with(scope: Scope, secrets: bool = False) -> Callable[[Request, Caller], Awaitable[Caller]]:
    """A FastAPI dependency: a caller who may do this. Raises `key_invalid`, `key_missing` or `scope_missing`.

    `secrets`: what is made there may have a secret of its sender's choosing. Elsewhere a bearer that is no key is
    a key mistyped, and never passed over.
    """

    async def allowed(request: Request, by: AnyCaller) -> Caller:
        if by.secret and request.method in ("POST", "PUT"):
            if not secrets or by.secret.startswith("ac_"):
                raise Problem("key_invalid")
            if not _SECRET.fullmatch(by.secret):
                raise Problem(
                    "key_invalid",
                    "It is no API key, and a secret of your own is 32 to 128 random letters and digits.",
                )
        by.require(scope)
        return by

    return allowed


Colorizing = Annotated[Caller, Depends(caller_with(Scope.COLORIZE))]


def _bearer(request: Request) -> str:
    """What comes as `Authorization: Bearer …`; "" without it."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""


def _is_at_this_machine(request: Request, address: str) -> bool:
    """Whether nobody stands between: a proxy that is not trusted would pass the whole world off as itself."""
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
    return loopback and not any(name in request.headers for name in OF_PROXIES)
