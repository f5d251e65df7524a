"""Requests to the outside: a photo is fetched, a webhook is posted. Neither can be led to an inner address.

The host is looked up once; every address that comes back must be public; the connection goes to one of these very
addresses, while TLS goes by the name. httpcore is the part of httpx that only speaks HTTP, and lets us dial: it
reads no proxy from the environment, follows no redirect, keeps no cookies and unpacks no compressed body.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast
from urllib.parse import urljoin

import httpcore

from service import __version__
from service.allow import Allow, Target, is_public
from service.errors import Problem

MOST_REDIRECTS = 3
MOST_ADDRESSES = 4
IN_MEMORY = 2**20
AGENT = f"autochrome/{__version__}"
_REDIRECTS = (301, 302, 303, 307, 308)


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
        except httpcore.ConnectError as error:
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
    except httpcore.TimeoutException as error:
        raise Problem("url_failed", "That address does not answer, or does not end, in time.") from error
    except httpcore.NetworkError as error:
        raise Problem("url_failed", "That address cannot be reached, or broke off.") from error
    except httpcore.ProtocolError as error:
        raise Problem(
            "url_failed", "What answers at that address does not speak HTTP as it should."
        ) from error


def _checked_addresses(target: Target, clock: _Clock, network: Network) -> Sequence[str]:
    """The host's addresses, of which every one may be dialed. Raises `url_not_allowed` or `url_failed`."""
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
        raise Problem("url_failed", f"The host {target.host!r} could not be looked up in time.") from error
    if not addresses:
        raise Problem("url_failed", f"There is no host {target.host!r}.")
    if not target.trusted and not all(is_public(address) for address in addresses):
        raise Problem("url_not_allowed", f"The host {target.host!r} does not lie on the public internet.")
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
