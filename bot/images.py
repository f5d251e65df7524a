"""Which picture is meant, and its file: found in a comment or post, downloaded from allowed hosts alone, not opened.

ImageError
├── HostRefusedError   the address, or where it leads on to, is not on the list
├── MissingError       there is nothing, or a stand-in for what was removed
├── NotAnImageError    what is there is said to be no picture, or is empty
├── TooLargeError      it has more bytes than it may
└── UnreachableError   it may work later
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit, urlunsplit

import httpx

from bot.commands import read_markdown
from bot.models import Comment, Post

DEFAULT_HOSTS = ("i.redd.it", "preview.redd.it", "external-preview.redd.it", "i.imgur.com", "imgur.com")
"""Reddit's and Imgur's; the last only redirects to i.imgur.com."""
MAX_URL_LENGTH = 2048
MAX_BYTES = 20 * 2**20
MAX_REDIRECTS = 5
TIMEOUT = 10.0
"""Seconds without a byte."""
DEADLINE = 30.0
"""Seconds for one picture in all."""

NO_ALBUMS: Mapping[str, Sequence[str]] = MappingProxyType({})
FoundIn: TypeAlias = Literal["comment", "linked", "parent", "gallery", "link", "text", "crosspost", "preview"]

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}
_ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_IMAGE_HOSTS = ("i.redd.it", "preview.redd.it", "external-preview.redd.it", "i.imgur.com")
"""Where every address is a picture, whatever its ending."""
_IMGUR = ("imgur.com", "www.imgur.com", "m.imgur.com", "i.imgur.com")
_IMGUR_ID = re.compile(r"/(?!gallery|about|rules)(?:[a-zA-Z0-9]{5}|[a-zA-Z0-9]{7})")
_IMGUR_WORDS = re.compile(r"/(?!gallery/|a/|t/)[\w-]+-([a-zA-Z0-9]{7})")
"""A page whose address begins with the title of its picture."""
_IMGUR_ALBUM = re.compile(r"/(a|gallery|t/[\w-]+|topic/[\w-]+)/(?:[\w-]+-)?([a-zA-Z0-9]{5,8})")
"""Its address may begin with its title, and ends with its id."""
_REDDIT_POST = re.compile(r"/(?:(?:r|u|user)/[\w-]+/)?(?:comments|gallery)/([a-z0-9]+)(?:/[^/]*)?")
_REDDIT_SHARE = re.compile(r"/(?:r|u|user)/[\w-]+/s/\w+")
_REDDIT = re.compile(r"(?:[a-z]+\.)?reddit\.com")
_VIDEO_HOSTS = (
    "v.redd.it",
    "youtube.com",
    "youtu.be",
    "vimeo.com",
    "streamable.com",
    "gfycat.com",
    "redgifs.com",
)
_VIDEO_ENDINGS = (".gifv", ".mp4", ".webm", ".mov")
_STAND_INS = ("/removed.png",)
"""To where Imgur sends whoever asks for what it has removed."""
_UNTYPED = ("", "application/octet-stream", "binary/octet-stream")


class ImageError(Exception):
    """The message says what happened, without the address."""


class HostRefusedError(ImageError):
    """The address is not called upon. `host`: whose it is, "" where it cannot be read."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host or 'that address'} is not on the list of hosts")
        self.host = host


class MissingError(ImageError):
    """There is no picture any more."""


class NotAnImageError(ImageError):
    """Something else is there, or nothing. Whether a picture can be read the service says."""


class TooLargeError(ImageError):
    """It has more bytes than it may. `megabytes`: the most."""

    def __init__(self, megabytes: int) -> None:
        super().__init__(f"the picture has more than {megabytes} MB")
        self.megabytes = megabytes


class UnreachableError(ImageError):
    """The host does not answer as it should; it may later. `retry_after`: seconds, 0 where not said."""

    def __init__(self, message: str, retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# Which addresses may be called upon.


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that pictures are downloaded from; an empty list allows nothing."""

    names: frozenset[str] = frozenset(DEFAULT_HOSTS)
    """`i.redd.it`, or `*.redd.it` for what lies below it: reached by https on its usual port alone."""
    origins: frozenset[tuple[str, str, int]] = frozenset()
    """Scheme, host and port, trusted as they stand."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> AllowedHosts:
        """From a setting's words. Raises ValueError that names the word that cannot be used."""
        names: set[str] = set()
        origins: set[tuple[str, str, int]] = set()
        for entry in (word.strip().lower().rstrip("/") for word in entries):
            if "://" in entry:
                origin = _origin(entry)
                if origin is None or httpx.URL(entry).raw_path != b"/":
                    raise ValueError(f"{entry!r} is no origin such as http://127.0.0.1:8099")
                origins.add(origin)
            elif _HOST.fullmatch(entry) and not _NUMBER.fullmatch(entry.rpartition(".")[2]):
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
    if len(url) > MAX_URL_LENGTH:
        return None
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    host = parts.raw_host.decode("ascii").lower().removesuffix(".")
    if parts.scheme not in _PORTS or not host or parts.userinfo:
        return None
    return parts.scheme, host, parts.port or _PORTS[parts.scheme]


# Which picture is meant.


@dataclass(frozen=True, slots=True)
class ImageLink:
    """The address of one picture; "" where it has its number and shows no still picture."""

    url: str
    found_in: FoundIn
    index: int
    """From 1, among those found in the same place, as people see them."""
    smaller: str = ""
    """Address of Reddit's own smaller copy."""


def find_images(
    comment_body: str,
    parent: Comment | None,
    post: Post,
    allowed: Callable[[str], bool] = lambda url: True,
    linked: Post | None = None,
    albums: Mapping[str, Sequence[str]] = NO_ALBUMS,
) -> tuple[ImageLink, ...]:
    """The pictures of the first place that shows any: comment, the post that it or what it is about links to, parent, post.

    `allowed`: which addresses may be called upon; others are as if they were not there. `linked`: see `linked_post`.
    `albums`: address of an album → its pictures, "" for what is no still one.
    """
    places: list[tuple[FoundIn, Iterable[str]]] = [("comment", _linked(comment_body, albums))]
    if linked is not None:
        places += [("linked", urls) for _, urls in _in_post(linked, albums)]
    if parent is not None and not parent.removed:
        places.append(("parent", _linked(parent.body, albums)))
    places += _in_post(post, albums)
    smaller = _smaller_copies(post, linked)
    for found_in, urls in places:
        shown = [url for url in _once(urls) if not url or allowed(url)]
        if any(shown):
            return tuple(
                ImageLink(url, found_in, index, smaller.get(url, "")) for index, url in enumerate(shown, 1)
            )
    return ()


def linked_post(comment_body: str, parent: Comment | None, post: Post) -> str:
    """The other post that a comment, the one above it or the post leads to: its fullname, or a share link; "" where none."""
    bodies = [comment_body, *([parent.body] if parent is not None and not parent.removed else [])]
    for body in bodies:
        if _linked(body):
            return ""
        if found := next((it for link in read_markdown(body).links if (it := post_of(link))), ""):
            return found
    own = {it.fullname for it in post.origins}
    found = "" if post.is_self else post_of(post.url)
    return "" if found in own else found


def post_of(link: str) -> str:
    """The post that an address of Reddit's shows: its fullname, or the address where only Reddit knows; "" where none."""
    try:
        parts = urlsplit(link.strip())
        host = parts.hostname or ""
    except ValueError:
        return ""
    path = parts.path.rstrip("/")
    if host in ("redd.it", "www.redd.it") and re.fullmatch(r"/[a-z0-9]+", path):
        return f"t3_{path[1:]}"
    if not _REDDIT.fullmatch(host):
        return ""
    if found := _REDDIT_POST.fullmatch(path):
        return f"t3_{found[1]}"
    return link if _REDDIT_SHARE.fullmatch(path) else ""


def album_of(link: str) -> tuple[str, str] | None:
    """What an album's address at Imgur says: how its API calls it, `album` or `gallery`, and its id; None where it is none."""
    try:
        parts = urlsplit(link)
        found = _IMGUR_ALBUM.fullmatch(parts.path.rstrip("/"))
        if parts.hostname not in _IMGUR or not found:
            return None
    except ValueError:
        return None
    return ("album" if found[1] == "a" else "gallery"), found[2]


def albums_in(comment_body: str, parent: Comment | None, post: Post) -> list[str]:
    """The albums that are looked at, in order, as far as nothing before them shows a picture."""
    places = [[*read_markdown(comment_body).links]]
    if parent is not None and not parent.removed:
        places.append([*read_markdown(parent.body).links])
    places += [[it.url, *read_markdown(it.body).links] for it in post.origins]
    albums: list[str] = []
    for links in places:
        if any(image_url(link) for link in links):
            break
        albums += [link for link in links if album_of(link)]
    return albums


def _once(urls: Iterable[str]) -> list[str]:
    """Each address once; a number without a picture stays."""
    found: list[str] = []
    for url in urls:
        if not url or url not in found:
            found.append(url)
    return found


def _smaller_copies(*posts: Post | None) -> dict[str, str]:
    copies: dict[str, str] = {}
    for post in (origin for it in posts if it for origin in it.origins):
        copies |= post.smaller
        if copy := post.smaller.get(post.url):
            copies[image_url(post.url) or post.preview or ""] = copy
    return copies


def is_video(post: Post) -> bool:
    """Whether it shows a film, whose preview is nobody's photograph."""
    parts = urlsplit(post.url)
    host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    return host in _VIDEO_HOSTS or parts.path.lower().endswith(_VIDEO_ENDINGS)


def image_url(link: str) -> str | None:
    """The address of the picture itself that a link shows; None where it shows none.

    Known: files by their ending, Reddit's and Imgur's hosts, pages of Imgur with one picture, and Reddit's
    page around a picture. Albums of Imgur `bot.albums` opens.
    """
    try:
        parts = urlsplit(link.strip())
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    if _REDDIT.fullmatch(host) and parts.path == "/media":
        inner = image_url(parse_qs(parts.query).get("url", [""])[0])
        return inner if inner and urlsplit(inner).hostname in _IMAGE_HOSTS else None
    path = parts.path.lower()
    if path.endswith(_VIDEO_ENDINGS):
        return None
    if host in _IMGUR and _IMGUR_ID.fullmatch(parts.path.rstrip("/")):
        return f"https://i.imgur.com{parts.path.rstrip('/')}.jpg"  # whatever ending it has there
    if host in _IMGUR and (words := _IMGUR_WORDS.fullmatch(parts.path.rstrip("/"))):
        return f"https://i.imgur.com/{words[1]}.jpg"
    if host in _IMGUR and path.endswith(_ENDINGS):
        return f"https://i.imgur.com{parts.path}"
    if host in _IMAGE_HOSTS:
        return urlunsplit(("https", host, parts.path, parts.query, "")) if path.strip("/") else None
    return urlunsplit(parts._replace(fragment="")) if path.endswith(_ENDINGS) else None


def _linked(body: str, albums: Mapping[str, Sequence[str]] = NO_ALBUMS) -> list[str]:
    """Pictures that a text links to, in order."""
    return [url for link in read_markdown(body).links for url in _behind(link, albums)]


def _behind(link: str, albums: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Pictures that an address leads to."""
    if link in albums:
        return albums[link]
    url = image_url(link)
    return [url] if url else []


def _in_post(
    post: Post, albums: Mapping[str, Sequence[str]] = NO_ALBUMS
) -> list[tuple[FoundIn, Iterable[str]]]:
    places: list[tuple[FoundIn, Iterable[str]]] = [
        ("gallery", post.gallery),
        ("link", [] if post.is_self else _behind(post.url, albums)),
        ("text", _linked(post.body, albums)),
    ]
    if post.crosspost_of is not None:
        # Of the post that it was taken from, a preview is worth less than a picture.
        places += [("crosspost", urls) for _, urls in _in_post(post.crosspost_of, albums)]
    if post.preview and not is_video(post):
        places.append(("preview", [post.preview]))
    return places


# Its file.


def open_client(user_agent: str) -> httpx.Client:
    """A client for `download`: to be closed by who opens it."""
    # HTML is what Reddit's hosts give to who seems to be a browser; packed answers could not be counted.
    headers = {"User-Agent": user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
    return httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=False)


def download(
    client: httpx.Client,
    url: str,
    hosts: AllowedHosts,
    max_bytes: int = MAX_BYTES,
    deadline: float = DEADLINE,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The picture's file. Raises ImageError; nothing but the list's hosts is ever called upon."""
    give_up = clock() + deadline
    try:
        for _ in range(MAX_REDIRECTS + 1):
            if not hosts.allows(url):
                raise HostRefusedError(host_of(url))
            if httpx.URL(url).path in _STAND_INS:
                raise MissingError("the host says that the picture was removed")
            with client.stream("GET", url) as answer:
                if not answer.has_redirect_location:
                    _refuse_unless_image(answer)
                    return read_bytes(answer, max_bytes, lambda: clock() > give_up)
                url = str(answer.url.join(answer.headers["location"]))
    except httpx.InvalidURL as error:
        raise HostRefusedError("") from error
    except httpx.HTTPError as error:
        raise UnreachableError(f"the host does not answer: {type(error).__name__}") from error
    raise UnreachableError("the host redirects on and on")


def _refuse_unless_image(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in (401, 403, 404, 410, 451):
        raise MissingError(f"the host answers {status}")
    if status != 200:
        raise UnreachableError(f"the host answers {status}", _retry_after(answer))
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in _UNTYPED:
        raise NotAnImageError(f"it is said to be {kind[:60]}")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnreachableError("the host packs what it was asked to send as it is")


def read_bytes(answer: httpx.Response, max_bytes: int, is_late: Callable[[], bool]) -> bytes:
    """The body of an answer that is read as it comes. Raises ImageError where it is empty, too long or too slow."""
    too_large = TooLargeError(max(1, max_bytes // 2**20))
    said = answer.headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and int(said) > max_bytes:
        raise too_large
    data = bytearray()
    for piece in answer.iter_raw():
        data += piece
        if len(data) > max_bytes:
            raise too_large
        if is_late():
            raise UnreachableError("the host sends too slowly")
    if not data:
        raise NotAnImageError("it is empty")
    return bytes(data)


def _retry_after(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() else 0.0
