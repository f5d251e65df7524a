"""What a key, or an address, may send in any minute and hold at a time.

Of megapixels there is a moving window in Redis, exact to the unit. Each photo costs its megapixels, rounded up; one whose file
is large for them costs as many as have so many bytes (`weight`). One that is larger than a whole quota costs all of it: it has to
wait until nothing else was sent for a minute, but it can be sent. What is held is counted by the scripts which enter jobs and erase files.
"""

from __future__ import annotations

import ipaddress
import math

import redis

from service.database import Scripts
from service.errors import Problem
from service.jobs import Share
from service.settings import Settings

WINDOW = 60
BYTES_A_PIXEL = 2
"""A file of more counts as one of more pixels. Uncompressed, gray has 1 or 2; a color photo of 16 bits has 6, and counts three times."""
V6_NETWORK = 64
"""One household or machine has a whole network of this prefix to choose its addresses from."""


class Quota:
    """All may raise redis.RedisError. A call whose answer was lost can be repeated: a token is charged once."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._settings = settings
        self._scripts = Scripts(client)

    def charge(self, owner: str, address: str, pixels: int, token: str) -> dict[str, str]:
        """Take a photo off the quota of a key, or of an address where `owner` is "". Raises `rate_limited`.

        Returns the headers with which the answer tells what is left (draft-ietf-httpapi-ratelimit-headers-10).
        """
        most = self._settings.quota(anonymous=not owner)
        if most is None:
            return {}
        wait_ms, left, reset_ms, cost = self._scripts.run(
            "charge", payer(owner, address), most, pixels, token
        )
        left = max(0, left)
        if wait_ms == 0:
            return _headers(most, left, reset_ms / 1000)
        wait = max(1, math.ceil(wait_ms / 1000))
        raise Problem(
            "rate_limited",
            f"This counts as {cost} megapixels, of {most} that may be sent in any minute {left} are left. "
            f"Send it again in {wait} s.",
            headers={"Retry-After": str(wait), **_headers(most, left, wait)},
        )

    def give_back(self, owner: str, address: str, pixels: int, token: str) -> None:
        """Undo the charge of a photo that could not be taken in."""
        most = self._settings.quota(anonymous=not owner)
        if most is not None:
            self._scripts.run("uncharge", payer(owner, address), most, pixels, token)

    def share(self, owner: str, address: str) -> Share:
        """What a sender may hold at a time."""
        store, records = self._settings.share(anonymous=not owner)
        return Share(payer(owner, address) if store or records else "", store, records)

    def arguments(self) -> tuple[int, int]:
        """Megapixels a minute of an address, and of a key; 0: no limit."""
        return self._settings.quota(anonymous=True) or 0, self._settings.quota(anonymous=False) or 0


def weight(pixels: int, size: int) -> int:
    """The pixels that a photo of so many bytes counts as."""
    return max(pixels, size // BYTES_A_PIXEL)


def payer(owner: str, address: str) -> str:
    """Whose quota a photo is taken off: that of a key, or of an address where `owner` is ""."""
    return f"key:{owner}" if owner else f"address:{network(address)}"


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
