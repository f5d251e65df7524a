"""Whom the service may call upon: the lists `url_hosts` and `webhook_hosts`, and which IP addresses are public.

A URL is taken apart once, here, and what comes out is what is connected to: no second parser may see another
host in it. Vectors refused: other schemes, user names, ports, and hosts spelt as numbers (WHATWG URL, "ends in
a number"); by address, whatever IANA's special-purpose registries do not call global (RFC 6890), and every
IPv6 address that carries such an IPv4 address inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urlsplit

from service.errors import Problem

LONGEST = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_UNREADABLE = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_BRACKETS = re.compile(r"\[[^]]*](:\d*)?")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214, 6.1: what stands before an IPv4 address in the lower half
_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # Azure's own services, seen from each of its machines
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, withdrawn (RFC 7526)
)
_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out so far


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, whose host is on the list."""

    scheme: str
    host: str
    """Lower case, no final dot, an IPv6 address without brackets."""
    port: int
    path: str
    """Path and query in ASCII, as the request line has them."""
    trusted: bool
    """Whether the operator listed this very origin, so that its address need not be public."""

    @property
    def authority(self) -> str:
        """The header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Allow:
    """The hosts of one list; an empty one is false and allows nothing."""

    names: frozenset[str] = frozenset()
    """`photos.example`, `*.photos.example` (what lies below it) or `*` (any public host)."""
    origins: frozenset[tuple[str, str, int]] = frozenset()
    """Scheme, host and port that are trusted as they stand."""

    @classmethod
    def of(cls, entries: str | Allow) -> Allow:
        """From a setting: names and origins with commas or spaces between. Raises ValueError."""
        if isinstance(entries, Allow):
            return entries
        names: set[str] = set()
        origins: set[tuple[str, str, int]] = set()
        for entry in re.split(r"[,\s]+", entries.strip().lower()):
            if "://" in entry:
                try:
                    target = _take_apart(entry)
                except Problem as refused:
                    raise ValueError(f"{entry!r} is no origin: {refused.detail}") from refused
                if target.path != "/":
                    raise ValueError(f"{entry!r} has a path; an origin ends with its port")
                origins.add((target.scheme, target.host, target.port))
            elif entry == "*" or _NAME.fullmatch(entry.removeprefix("*.")):
                names.add(entry)
            elif entry:
                raise ValueError(
                    f"{entry!r} is neither a host name nor an origin such as http://10.0.0.7:8080"
                )
        return cls(frozenset(names), frozenset(origins))

    def __bool__(self) -> bool:
        return bool(self.names or self.origins)

    def target(self, url: str) -> Target:
        """What to connect to for this URL. Raises `url_not_allowed`."""
        target = _take_apart(url)
        if (target.scheme, target.host, target.port) in self.origins:
            return Target(target.scheme, target.host, target.port, target.path, trusted=True)
        if not any(name in self.names for name in _names_of(target.host)):
            raise Problem(
                "url_not_allowed", f"The host {target.host!r} is not on this server's list of hosts."
            )
        if target.port not in DEFAULT_PORTS.values():
            raise Problem(
                "url_not_allowed", f"Port {target.port} is not used here. Only ports 80 and 443 are."
            )
        return target


def is_public(address: str) -> bool:
    """Whether an IP address, and each that it carries inside, is reached over the public internet."""
    try:
        return all(_is_public(each) for each in _unwrapped(ip_address(address)))
    except ValueError:  # with a zone, for one
        return False


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return address in _NAT64
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_private or address.is_unspecified
    )


def _unwrapped(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, or what it stands for, and the IPv4 addresses that tunnels and translators read from it."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64 or int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _names_of(host: str) -> Iterator[str]:
    yield host
    yield "*"
    below = host
    while "." in below:
        below = below.partition(".")[2]
        yield f"*.{below}"


def _take_apart(url: str) -> Target:
    if len(url) > LONGEST or _UNREADABLE.search(url):
        raise Problem(
            "url_not_allowed", "The address is too long, or has spaces, control characters or backslashes."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Problem("url_not_allowed", "The address cannot be read.") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise Problem("url_not_allowed", "Only addresses that begin with http:// or https:// are used.")
    if parts.netloc.startswith("[") and not _BRACKETS.fullmatch(parts.netloc):
        raise Problem("url_not_allowed", "The address cannot be read.")
    if "@" in parts.netloc:
        raise Problem("url_not_allowed", "Addresses with a user name or a password are not used.")
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    return Target(parts.scheme, _host(parts.netloc, parts.hostname or ""), port, path, trusted=False)


def _host(netloc: str, host: str) -> str:
    host = host.lower().removesuffix(".")
    try:
        if netloc.startswith("["):
            address = IPv6Address(host)
            if address.scope_id is not None:
                raise Problem("url_not_allowed", "Addresses with a zone are not used.")
            return address.compressed
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(host))  # strict: four decimal numbers, none with a leading zero
    except ValueError as error:
        raise Problem(
            "url_not_allowed", "The host is a number, but not an IP address as it is usually written."
        ) from error
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise Problem(
            "url_not_allowed", "The host is not a name in ASCII; one with other letters is written xn--…."
        )
    return host
