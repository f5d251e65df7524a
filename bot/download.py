"""A picture from its address, from hosts on the list alone, and no more of it than it may have.

DownloadError
├── HostRefused   the address, or where it leads on to, is not on the list
├── Missing       there is nothing, or a stand-in for what was removed
├── NoPicture     what is there says that it is no picture
├── TooLarge      it has more bytes than it may
└── Unreachable   it may work later
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from bot.hosts import Hosts, host_of

MOST_BYTES = 20 * 2**20
MOST_REDIRECTS = 5
TIMEOUT = 10.0
"""Seconds without a byte."""
DEADLINE = 30.0
"""Seconds for one picture in all."""
_STAND_INS = ("/removed.png",)
"""To where Imgur sends whoever asks for what it has removed."""
_UNTYPED = ("", "application/octet-stream", "binary/octet-stream")


class DownloadError(Exception):
    """Root of them; the message says what happened, without the address."""


class HostRefused(DownloadError):  # noqa: N818  (a turn of events)
    """The address is not called upon. `host`: whose it is, "" where it cannot be read."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host or 'that address'} is not on the list of hosts")
        self.host = host


class Missing(DownloadError):  # noqa: N818
    """There is no picture any more."""


class NoPicture(DownloadError):  # noqa: N818
    """Something else is there."""


class TooLarge(DownloadError):  # noqa: N818
    """It has more bytes than it may. `megabytes`: the most."""

    def __init__(self, most_bytes: int) -> None:
        self.megabytes = max(1, most_bytes // 2**20)
        super().__init__(f"the picture has more than {self.megabytes} MB")


class Unreachable(DownloadError):  # noqa: N818
    """The host does not answer as it should; it may later. `retry_after`: seconds, 0 where not said."""

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def open_client(user_agent: str) -> httpx.Client:
    """A client for `download`: to be closed by who opens it."""
    # HTML is what Reddit's hosts give to who seems to be a browser; packed answers could not be counted.
    headers = {"User-Agent": user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
    return httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=False)


def download(
    client: httpx.Client,
    url: str,
    hosts: Hosts,
    most_bytes: int = MOST_BYTES,
    deadline: float = DEADLINE,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The picture's file. Raises DownloadError; nothing but the list's hosts is ever called upon."""
    give_up = clock() + deadline
    try:
        for _ in range(MOST_REDIRECTS + 1):
            if not hosts.allows(url):
                raise HostRefused(host_of(url))
            if httpx.URL(url).path in _STAND_INS:
                raise Missing("the host says that the picture was removed")
            with client.stream("GET", url) as answer:
                if not answer.has_redirect_location:
                    _refuse_unless_picture(answer)
                    return _read(answer, most_bytes, lambda: clock() > give_up)
                url = str(answer.url.join(answer.headers["location"]))
    except httpx.InvalidURL as error:
        raise HostRefused("") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"the host does not answer: {type(error).__name__}") from error
    raise Unreachable("the host sends on and on")


def _refuse_unless_picture(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in (401, 403, 404, 410, 451):
        raise Missing(f"the host answers {status}")
    if status != 200:
        raise Unreachable(f"the host answers {status}", _retry_after(answer))
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in _UNTYPED:
        raise NoPicture(f"it is said to be {kind[:60]}")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unreachable("the host packs what it was asked to send as it is")


def _read(answer: httpx.Response, most_bytes: int, is_late: Callable[[], bool]) -> bytes:
    said = answer.headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and int(said) > most_bytes:
        raise TooLarge(most_bytes)
    data = bytearray()
    for piece in answer.iter_raw():
        data += piece
        if len(data) > most_bytes:
            raise TooLarge(most_bytes)
        if is_late():
            raise Unreachable("the host sends too slowly")
    if not data:
        raise NoPicture("it is empty")
    return bytes(data)


def _retry_after(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() else 0.0
