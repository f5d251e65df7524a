"""How many megapixels a key, or an address, may send in any minute: a moving window in Redis, exact to the unit.

Each photo costs its megapixels, rounded up. One that is larger than a whole quota costs all of it: it has to
wait until nothing else was sent for a minute, but it can be sent.
"""

from __future__ import annotations

import ipaddress
import math
import time

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from service.database import PREFIX
from service.errors import Problem
from service.settings import Settings

WINDOW = 60
V6_NETWORK = 64
"""One household or machine has a whole network of this prefix to choose its addresses from."""


class Quota:
    """All may raise redis.RedisError."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings
        self._storage = RedisStorage(
            "redis://", connection_pool=client.connection_pool, key_prefix=PREFIX + "quota"
        )
        self._limiter = MovingWindowRateLimiter(self._storage)

    def charge(self, owner: str, address: str, pixels: int) -> dict[str, str]:
        """Take a photo off the quota of a key, or of an address where `owner` is "". Raises `rate_limited`.

        Returns the headers with which the answer tells what is left (draft-ietf-httpapi-ratelimit-headers-10).
        """
        most = self._settings.quota(anonymous=not owner)
        if most is None:
            return {}
        item = RateLimitItemPerMinute(most)
        who = _who(owner, address)
        cost = _cost(pixels, most)
        if self._limiter.hit(item, *who, cost=cost):
            reset, left = self._limiter.get_window_stats(item, *who)
            return _headers(most, left, reset - time.time())
        # The window's newest first, the photo fits in as soon as the entry that it would push out is old enough.
        hindrance, _ = self._storage.get_moving_window(item.key_for(*who), most - cost + 1, WINDOW)
        wait = max(1, math.ceil(hindrance + WINDOW - time.time()))
        left = self._limiter.get_window_stats(item, *who).remaining
        raise Problem(
            "rate_limited",
            f"This photo counts {cost} megapixels, of {most} that may be sent in any minute {left} are left. "
            f"Send it again in {wait} s.",
            headers={"Retry-After": str(wait), **_headers(most, left, wait)},
        )

    def give_back(self, owner: str, address: str, pixels: int) -> None:
        """Undo a charge of just now, for a photo that could not be taken in."""
        most = self._settings.quota(anonymous=not owner)
        if most is None:
            return
        # The limiter keeps a list of times, one a unit, the newest first. Another's charge may lie on top of
        # ours: as many units go, and those that stay are the older ones.
        key = RateLimitItemPerMinute(most).key_for(*_who(owner, address))
        self._redis.lpop(self._storage.prefixed_key(key), _cost(pixels, most))


def _who(owner: str, address: str) -> tuple[str, str]:
    return ("key", owner) if owner else ("address", network(address))


def _cost(pixels: int, most: int) -> int:
    return min(most, max(1, math.ceil(pixels / 1e6)))


def network(address: str) -> str:
    """What one sender is known by: the address, of IPv6 the network. Text that is no address stays as it is."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 6:
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, V6_NETWORK), strict=False))
    return str(ip)


def _headers(most: int, left: int, seconds: float) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"megapixels";q={most};w={WINDOW}',
        "RateLimit": f'"megapixels";r={left};t={max(0, math.ceil(seconds))}',
    }
