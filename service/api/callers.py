"""Who asks: the API key in `Authorization: Bearer ac_…`, or nobody known; and what that one may do."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from anyio.to_thread import run_sync
from fastapi import Depends, Request

from service.errors import KeyInvalid, KeyMissing, ScopeMissing
from service.keys import Keys, Scope, is_key

OPEN_SCOPES = frozenset({Scope.COLORIZE, Scope.BATCH, Scope.WEBHOOK, Scope.URL})
"""What may be done without a key where that is allowed at all."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's sender."""

    owner: str
    """The id of its API key; "" without one."""
    address: str
    request_id: str
    scopes: frozenset[Scope]
    headers: dict[str, str] = field(default_factory=dict, compare=False)
    """What the answer is to carry, whatever it will be; anyone may add to it."""

    def require(self, scope: Scope) -> None:
        """Raises KeyMissing or ScopeMissing."""
        if scope in self.scopes:
            return
        if not self.owner:
            raise KeyMissing
        raise ScopeMissing(f"It lacks the scope `{scope}`. {ScopeMissing.advice}")


class Callers:
    """Tells callers apart."""

    def __init__(self, keys: Keys, anonymous: bool) -> None:
        self._keys = keys
        self._open = OPEN_SCOPES if anonymous else frozenset[Scope]()
        self._anonymous = anonymous

    async def of(self, request: Request) -> Caller:
        """Raises KeyInvalid, or redis.RedisError where there is a key to look up."""
        address = request.client.host if request.client else ""
        request_id: str = request.state.request_id
        key = _key(request)
        if key is None:
            scopes = self._open
            if self._anonymous and _is_at_this_machine(request, address):
                scopes |= {Scope.METRICS}
            caller = Caller("", address, request_id, scopes)
        else:
            id, known = await run_sync(self._keys.check, key)
            caller = Caller(id, address, request_id, known.scopes)
        request.state.answer_headers = caller.headers
        return caller


async def caller(request: Request) -> Caller:
    """FastAPI dependency. Raises KeyInvalid."""
    return await cast(Callers, request.app.state.callers).of(request)


AnyCaller = Annotated[Caller, Depends(caller)]


def caller_with(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """A FastAPI dependency: a caller who may do this. Raises KeyInvalid, KeyMissing or ScopeMissing."""

    async def allowed(by: AnyCaller) -> Caller:
        by.require(scope)
        return by

    return allowed


Colorizing = Annotated[Caller, Depends(caller_with(Scope.COLORIZE))]


def _key(request: Request) -> str | None:
    """The key as it was sent. What else a bearer has is a job's secret, of no use where something is made."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if is_key(credentials.strip()):
        return credentials.strip()
    if request.method in ("POST", "PUT"):
        raise KeyInvalid
    return None


def _is_at_this_machine(request: Request, address: str) -> bool:
    """Whether nobody stands between: a proxy that is not trusted would pass the whole world off as itself."""
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
    return loopback and not any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
