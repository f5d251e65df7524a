"""Which addresses pictures are downloaded from: the setting AUTOCHROME_IMAGE_HOSTS."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

DEFAULT = ("i.redd.it", "preview.redd.it", "external-preview.redd.it", "i.imgur.com", "imgur.com")
"""Reddit's and Imgur's; the last only sends on to i.imgur.com."""
LONGEST = 2048
_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Hosts:
    """The list; an empty one allows nothing."""

    names: frozenset[str] = frozenset(DEFAULT)
    """`i.redd.it`, or `*.redd.it` for what lies below it: reached by https on its usual port alone."""
    origins: frozenset[tuple[str, str, int]] = frozenset()
    """Scheme, host and port, trusted as they stand."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> Hosts:
        """From a setting's words. Raises ValueError that names the word that cannot be used."""
        names: set[str] = set()
        origins: set[tuple[str, str, int]] = set()
        for entry in (word.strip().lower().rstrip("/") for word in entries):
            if "://" in entry:
                origin = _origin(entry)
                if origin is None or httpx.URL(entry).raw_path != b"/":
                    raise ValueError(f"{entry!r} is no origin such as http://127.0.0.1:8099")
                origins.add(origin)
            elif _NAME.fullmatch(entry) and not _NUMBER.fullmatch(entry.rpartition(".")[2]):
                names.add(entry)
            elif entry:
                raise ValueError(f"{entry!r} is neither a host's name nor an origin with scheme and port")
        return cls(frozenset(names), frozenset(origins))

    def allows(self, url: str) -> bool:
        """Whether this very address may be called upon."""
        origin = _origin(url)
        if origin is None:
            return False
        scheme, host, port = origin
        if origin in self.origins:
            return True
        return (scheme, port) == ("https", 443) and any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name for name in self.names
        )


def host_of(url: str) -> str:
    """Its host, for a sentence; "" where it has none."""
    origin = _origin(url)
    return origin[1] if origin else ""


def _origin(url: str) -> tuple[str, str, int] | None:
    """Read by httpx, which also connects: no other reader may see another host in it."""
    if len(url) > LONGEST:
        return None
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    host = parts.raw_host.decode("ascii").lower().removesuffix(".")
    if parts.scheme not in _PORTS or not host or parts.userinfo:
        return None
    return parts.scheme, host, parts.port or _PORTS[parts.scheme]
