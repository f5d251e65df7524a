"""Posts, comments and messages as the rest of the bot sees them: plain values, complete when they are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Post:
    """A submission as the bot needs it."""

    id: str
    fullname: str
    subreddit: str
    author: str | None
    title: str
    url: str
    permalink: str
    over_18: bool
    quarantined: bool
    removed: bool
    locked: bool
    archived: bool
    is_self: bool
    body: str
    gallery: tuple[str, ...]
    """Addresses of its pictures in order, HTML-unescaped; () where it is none."""
    crosspost_of: Post | None
    preview: str | None
    domain: str


@dataclass(frozen=True, slots=True)
class Comment:
    id: str
    fullname: str
    subreddit: str
    author: str | None
    body: str
    permalink: str
    parent: str
    """Fullname, t1_ or t3_."""
    post: str
    """Fullname of its submission."""
    score: int
    created: float
    removed: bool
    moderator: bool = False
    """Whether it speaks for the moderators."""


@dataclass(frozen=True, slots=True)
class Message:
    """A private message to the bot."""

    fullname: str
    author: str | None
    subreddit: str
    """Whose moderators wrote it; "" where a person did."""
    body: str
    created: float
