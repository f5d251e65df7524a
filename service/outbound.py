"""Requests to the outside that cannot be led inside: a photo is fetched, a webhook is posted.

Whom: hosts of the lists `url_hosts` and `webhook_hosts`. A URL is taken apart once, here, and what comes out is what is
connected to: no second parser may see another host in it. Refused are other schemes, user names, other ports, and hosts
written as numbers (WHATWG URL, "ends in a number"); by address, whatever IANA's special-purpose registries do not call
global (RFC 6890), by a table here, and every IPv6 address that carries such an IPv4 address inside.

How: the host is looked up once; every address that comes back must be public; the connection goes to one of these very
addresses, while TLS goes by the name. httpcore is the part of httpx that only speaks HTTP, and lets us dial: it
reads no proxy from the environment, follows no redirect, keeps no cookies and unpacks no compressed body.
"""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from service import __version__
from service.errors import Problem

LONGEST = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_UNREADABLE = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_BRACKETS = re.compile(r"\[[^]]*](:\d*)?")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214, 6.1: what stands before an IPv4 address in the lower half
_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out so far
# https://www.iana.org/assignments/iana-ipv4-special-registry as of 2025-10-09, what is not globally reachable; where a block
# has exceptions that are, such as 192.0.0.9 for PCP, none of them has a website.
_SPECIAL_V4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space of carriers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments; metadata of Oracle's cloud at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4, withdrawn (RFC 7526)
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast: a registry of its own
        "240.0.0.0/4",  # reserved, and the limited broadcast
        "168.63.129.16/32",  # not of IANA: Azure's own services, seen from each of its machines
    )
]
# https://www.iana.org/assignments/iana-ipv6-special-registry as of 2025-10-09, of 2000::/3; all else but NAT64 is refused anyhow.
_SPECIAL_V6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which leads to an IPv4 address; withdrawn (RFC 7526)
        "3fff::/20",  # documentation
    )
]

MOST_FETCHES = 8
"""Photos that one process fetches at once, in threads of their own: slow hosts must not take all of them."""
MOST_REDIRECTS = 3
MOST_ADDRESSES = 4
IN_MEMORY = 2**20
UNREACHABLE = "That host cannot be reached: it has no address, none on the public internet, or none that takes connections there."
"""One text for all of these: which names this server's own network knows, and what listens there, is nobody's business."""
AGENT = f"autochrome/{__version__}"
_REDIRECTS = (301, 302, 303, 307, 308)


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
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _SPECIAL_V4)
    return address in _NAT64 or (address in _UNICAST and not any(address in block for block in _SPECIAL_V6))


def _unwrapped(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, or what it stands for, and the IPv4 address that a translator or a tunnel reads from it."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    else:
        yield address
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


def _look_up(host: str, port: int) -> Sequence[str]:
    """The host's addresses, the preferred first. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _dial(address: str, port: int, seconds: float) -> httpcore.NetworkStream:
    """A connection to an IP address. Raises what httpcore raises."""
    return httpcore.SyncBackend().connect_tcp(address, port, timeout=seconds)


@dataclass(frozen=True, slots=True)
class Network:
    """How names are looked up and addresses dialed."""

    look_up: Callable[[str, int], Sequence[str]] = _look_up
    dial: Callable[[str, int, float], httpcore.NetworkStream] = _dial


SYSTEM = Network()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until connected, between two words of the other side, and for everything with all redirects."""

    connect: float = 5.0
    idle: float = 5.0
    total: float = 15.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, at its beginning, and what the sender said it is (lower case, no parameters, perhaps empty)."""

    file: IO[bytes]
    media_type: str


def fetch(
    url: str, *, allow: Allow, max_bytes: int, timeouts: Timeouts = Timeouts(), network: Network = SYSTEM
) -> Fetched:
    """Get a file of at most `max_bytes`; the caller closes it. Raises `url_not_allowed` or `url_failed`."""
    clock = _Clock(timeouts)
    headers = {"Accept": "image/*", "Accept-Encoding": "identity"}
    for _ in range(MOST_REDIRECTS + 1):
        with _exchange("GET", allow.target(url), headers, None, clock, network) as response:
            if response.status not in _REDIRECTS:
                return _received(response, max_bytes)
            url = _redirected(url, response)
    raise Problem("url_failed", f"That address redirects more than {MOST_REDIRECTS} times.")


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allow: Allow,
    *,
    timeouts: Timeouts = Timeouts(),
    network: Network = SYSTEM,
) -> int:
    """Send a body; the status of the answer, of which nothing else is read. No redirect is followed.

    Raises `url_not_allowed` or `url_failed`.
    """
    with _exchange("POST", allow.target(url), headers, body, _Clock(timeouts), network) as response:
        return response.status


@dataclass(slots=True)
class _Clock:
    """What is left of the time for everything."""

    timeouts: Timeouts
    _start: float = field(default_factory=time.monotonic)

    def left(self, most: float) -> float:
        """Seconds that the next step may take. Raises httpcore.TimeoutException."""
        left = self._start + self.timeouts.total - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException
        return min(most, left)


class _Pinned(httpcore.NetworkBackend):
    """Dials addresses that were checked, whatever the name says by now."""

    def __init__(self, addresses: Sequence[str], clock: _Clock, network: Network) -> None:
        self._addresses = addresses
        self._clock = clock
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError()
        for address in self._addresses:
            try:
                seconds = self._clock.left(self._clock.timeouts.connect)
                return _Timed(self._network.dial(address, port, seconds), self._clock)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Timed(httpcore.NetworkStream):
    """A stream of which no step waits past the end of the time for everything."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left(self._clock.timeouts.idle))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.left(self._clock.timeouts.idle))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = self._clock.left(self._clock.timeouts.connect)
        try:
            return _Timed(self._stream.start_tls(ssl_context, server_hostname, seconds), self._clock)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise Problem("url_failed", "No secure connection to that address could be made.") from error

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _exchange(
    method: str,
    target: Target,
    headers: Mapping[str, str],
    body: bytes | None,
    clock: _Clock,
    network: Network,
) -> Iterator[httpcore.Response]:
    """One request; the body of its answer can be read within. Raises `url_not_allowed` or `url_failed`."""
    addresses = _checked_addresses(target, clock, network)
    # The system's certificates; SSL_CERT_FILE names others, as it does everywhere.
    tls = ssl.create_default_context() if target.scheme == "https" else None
    url = httpcore.URL(
        scheme=target.scheme.encode(),
        host=target.host.encode(),
        port=target.port,
        target=target.path.encode(),
    )
    words = {"Host": target.authority, "User-Agent": AGENT, "Connection": "close", **headers}
    backend = _Pinned(addresses, clock, network)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=tls, max_connections=1, network_backend=backend) as pool,
            pool.stream(method, url, headers=list(words.items()), content=body) as response,
        ):
            yield response
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise Problem("url_failed", UNREACHABLE) from error
    except httpcore.TimeoutException as error:
        raise Problem("url_failed", "That address does not answer, or does not end, in time.") from error
    except httpcore.NetworkError as error:
        raise Problem("url_failed", "That address broke off.") from error
    except httpcore.ProtocolError as error:
        raise Problem(
            "url_failed", "What answers at that address does not speak HTTP as it should."
        ) from error


def _checked_addresses(target: Target, clock: _Clock, network: Network) -> Sequence[str]:
    """The host's addresses, of which every one may be dialed. Raises `url_failed`."""
    answer: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(network.look_up(target.host, target.port))
        except OSError:
            answer.put([])

    # getaddrinfo knows no timeout: the thread is left behind, until the resolver gives up by itself.
    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        addresses = answer.get(timeout=clock.left(clock.timeouts.connect))
    except (queue.Empty, httpcore.TimeoutException) as error:
        raise Problem("url_failed", UNREACHABLE) from error
    if not addresses or not (target.trusted or all(is_public(address) for address in addresses)):
        raise Problem("url_failed", UNREACHABLE)
    return addresses[:MOST_ADDRESSES]


def _received(response: httpcore.Response, max_bytes: int) -> Fetched:
    """The body as a file. Raises `url_failed`."""
    if response.status != 200:
        raise Problem("url_failed", f"That address answers with status {response.status} instead of a file.")
    headers = {name.lower(): value for name, value in response.headers}
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem("url_failed", "That address sends a compressed body, although it was asked not to.")
    too_large = Problem("url_failed", f"The file at that address has more than {max_bytes / 2**20:g} MiB.")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large
    file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (it is the caller's)
    try:
        for piece in response.iter_stream():
            if file.tell() + len(piece) > max_bytes:
                raise too_large
            file.write(piece)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    media_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return Fetched(cast(IO[bytes], file), media_type)


def _redirected(url: str, response: httpcore.Response) -> str:
    """Where an answer points to. Raises `url_failed`."""
    for name, value in response.headers:
        if name.lower() == b"location":
            try:
                return urljoin(url, value.decode())
            except ValueError as error:
                raise Problem(
                    "url_failed", "That address redirects to something that cannot be read."
                ) from error
    raise Problem("url_failed", "That address redirects, but does not say where to.")
