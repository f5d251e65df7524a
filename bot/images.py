"""Which pictures a mention is about: what its comment links to, else its parent, else what the post shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit, urlunsplit

from bot.markdown import read
from bot.models import Comment, Post

Why: TypeAlias = Literal["comment", "parent", "gallery", "link", "text", "crosspost", "preview"]

_ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
_PICTURES_ONLY = ("i.redd.it", "preview.redd.it", "external-preview.redd.it", "i.imgur.com")
_IMGUR = ("imgur.com", "www.imgur.com", "m.imgur.com", "i.imgur.com")
_IMGUR_ID = re.compile(r"/(?!gallery|about|rules)(?:[a-zA-Z0-9]{5}|[a-zA-Z0-9]{7})")
_REDDIT = re.compile(r"(?:[a-z]+\.)?reddit\.com")
_MOVING = ("v.redd.it", "youtube.com", "youtu.be", "vimeo.com", "streamable.com", "gfycat.com", "redgifs.com")
_MOVING_ENDINGS = (".gifv", ".mp4", ".webm", ".mov")


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture."""

    url: str
    why: Why
    """Where it was found."""
    index: int
    """From 1, among those found in the same place."""


def find(
    comment_body: str,
    parent: Comment | None,
    post: Post,
    allowed: Callable[[str], bool] = lambda url: True,
) -> tuple[Picture, ...]:
    """The pictures of the first place that shows any: comment, parent, post.

    `allowed`: which addresses may be called upon; others are as if they were not there.
    """
    places: list[tuple[Why, Iterable[str]]] = [("comment", _linked(comment_body))]
    if parent is not None and not parent.removed:
        places.append(("parent", _linked(parent.body)))
    places += _in_post(post)
    for why, urls in places:
        if shown := [url for url in dict.fromkeys(urls) if allowed(url)]:
            return tuple(Picture(url, why, index) for index, url in enumerate(shown, 1))
    return ()


def is_moving(post: Post) -> bool:
    """Whether it shows a film, whose preview is nobody's photograph."""
    parts = urlsplit(post.url)
    host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    return host in _MOVING or parts.path.lower().endswith(_MOVING_ENDINGS)


def direct(url: str) -> str | None:
    """The address of the picture itself that a link shows; None where it shows none.

    Known: files by their ending, Reddit's and Imgur's hosts, pages of Imgur with one picture, and Reddit's
    page around a picture. Albums of Imgur cannot be read without its API.
    """
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    if _REDDIT.fullmatch(host) and parts.path == "/media":
        inner = direct(parse_qs(parts.query).get("url", [""])[0])
        return inner if inner and urlsplit(inner).hostname in _PICTURES_ONLY else None
    path = parts.path.lower()
    if path.endswith(_MOVING_ENDINGS):
        return None
    if host in _IMGUR and _IMGUR_ID.fullmatch(parts.path.rstrip("/")):
        return f"https://i.imgur.com{parts.path.rstrip('/')}.jpg"  # whatever ending it has there
    if host in _IMGUR and path.endswith(_ENDINGS):
        return f"https://i.imgur.com{parts.path}"
    if host in _PICTURES_ONLY:
        return urlunsplit(("https", host, parts.path, parts.query, "")) if path.strip("/") else None
    return urlunsplit(parts._replace(fragment="")) if path.endswith(_ENDINGS) else None


def _linked(body: str) -> list[str]:
    """Pictures that a text links to, in order."""
    return [picture for link in read(body).links if (picture := direct(link))]


def _in_post(post: Post) -> list[tuple[Why, Iterable[str]]]:
    places: list[tuple[Why, Iterable[str]]] = [
        ("gallery", post.gallery),
        ("link", [] if post.is_self else [picture for picture in [direct(post.url)] if picture]),
        ("text", _linked(post.body)),
    ]
    if post.crosspost_of is not None:
        # Of the post that it was taken from, a preview is worth less than a picture.
        places += [("crosspost", urls) for _, urls in _in_post(post.crosspost_of)]
    if post.preview and not is_moving(post):
        places.append(("preview", [post.preview]))
    return places
