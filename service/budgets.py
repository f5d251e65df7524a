"""What callers may send in any minute and hold at a time (`Quota`), and what one process has in its hands (`Budget`).

Of megapixels there is a moving window in Redis, exact to the unit. Each photo costs its megapixels, rounded up; one whose file
is large for them costs as many as have so many bytes (`weight`). One that is larger than a whole quota costs all of it: it has to
wait until nothing else was sent for a minute, but it can be sent. What is held is counted by the scripts which enter jobs and erase files.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import redis

from model.image_headers import Header, memory_needed
from service.database import Scripts
from service.errors import Problem
from service.models import Allowance
from service.schemas import Options
from service.settings import Settings

WINDOW = 60
BYTES_A_PIXEL = 2
"""A file of more counts as one of more pixels. Uncompressed, gray has 1 or 2; a color photo of 16 bits has 6, and counts three times."""
ANOTHER = 0.75
"""What a further picture takes beside the first, which is opened and goes through the net as well: of a JPEG of 12 megapixels 0.4 to
0.75, of 2 megapixels 0.4 to 0.5, by `python -m tests.benchmarks opinions` (docs/operations/performance.md)."""
OF_THE_ANSWER = 64 * 2**20
"""Bytes that it takes at most to look through the net's answer, for what is like what or for how sure it is."""
CLOSER = 8_000_000
"""Pixels that a second look counts as, which takes as long as 6 to 10 of a photo of 12 megapixels, by the same benchmark."""
LOOKED_AT_TWICE = 352
"""Pixels on the shorter side of the smallest photo that `lite` looks at twice (`model.detail`)."""
PIXELS_OF_ARTIFACTS = {"confidence": 2_000_000, "distribution": 2_000_000, "suggestions": 4_000_000}
"""Pixels that these count as, however small the photo is, as the net answers no less for it; by the same benchmark."""
OF_THE_PICTURE = frozenset({"comparison", "sidecar", "thumbnail", "color_layer"})
"""Artifacts for which the answer is not looked through."""
OF_LAYER = 12
"""Bytes a pixel that a color layer takes, with its file."""
OF_TILES = 48 * 2**20
"""Bytes of the answers to its tiles."""
REVISED = 0.25
"""Of what the same took for the first time, that a preview of a photo colored before counts as, and the net's answer for its other
pictures: most come from what a worker has kept, some take half as long as the first."""
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

    def allowance(self, owner: str, address: str) -> Allowance:
        """What a sender may hold at a time."""
        return Allowance(payer(owner, address), *self._settings.allowance(anonymous=not owner))

    def arguments(self) -> tuple[int, int]:
        """Megapixels a minute of an address, and of a key; 0: no limit."""
        return self._settings.quota(anonymous=True) or 0, self._settings.quota(anonymous=False) or 0


class Budget:
    """Bytes, or slots, of one process: so many in all, and a share of them for each caller. Threads may use it."""

    def __init__(self, total: int, each: int, busy: str) -> None:
        """`each`: what one caller may hold, but for one that holds nothing else. `busy`: the code where `total` is spent."""
        self._total = total
        self._each = each
        self._busy = busy
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def take(self, caller: str, amount: int) -> Iterator[Held]:
        """Hold so much within. Raises `too_many_at_once`, or the problem of the code `busy`."""
        share = Held(self, caller)
        try:
            share.hold(amount)
            yield share
        finally:
            share.hold(0)

    def _move(self, caller: str, before: int, after: int) -> None:
        with self._lock:
            others = self._held[caller] - before
            if after > before:
                if others and others + after > self._each:
                    raise Problem("too_many_at_once")
                if self._held.total() - before + after > self._total:
                    raise Problem(self._busy)
            self._held[caller] = others + after
            if not self._held[caller]:
                del self._held[caller]


class Held:
    """What one request holds of a budget."""

    def __init__(self, budget: Budget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self.amount = 0

    def hold(self, amount: int) -> None:
        """More or less than before. Raises what `Budget.take` does, and then holds what it held."""
        self._budget._move(self._caller, self.amount, amount)
        self.amount = amount


def work(header: Header, options: Options, is_revision: bool = False) -> int:
    """The pixels that coloring a photo counts as: an alternative is one more picture that is made and saved, a second look the net's
    work on several tiles, and some artifacts look through the net's whole answer.

    `is_revision`: of a photo that was colored before.
    """
    pictures = header.width * header.height * (1 + ANOTHER * options.beside)
    closer = float(CLOSER) if _looks_twice(header, options) else 0.0
    if is_revision:
        closer *= REVISED
        pictures *= REVISED if options.is_preview else 1
    return math.ceil(pictures + closer) + sum(PIXELS_OF_ARTIFACTS.get(name, 0) for name in options.artifacts)


def memory(header: Header, size: int, options: Options) -> int:
    """Bytes that a worker needs for a photo of `size` bytes. Alternatives are made one after another, beside the result."""
    opened = replace(header, bits=options.bits or header.bits)
    needed = memory_needed(opened, size, options.format, other=options.beside > 0)
    asks_more = options.hints or options.alternatives or {*options.artifacts} - OF_THE_PICTURE
    closer = OF_TILES if _looks_twice(header, options) else 0
    layer = OF_LAYER * header.width * header.height if "color_layer" in options.artifacts else 0
    return needed + (OF_THE_ANSWER if asks_more else 0) + closer + layer


def _looks_twice(header: Header, options: Options) -> bool:
    return options.detail != "off" and min(header.width, header.height) >= LOOKED_AT_TWICE


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
