"""What this Reddit is made of: users, subreddits, posts, comments and messages. A misspelled field is an AttributeError."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class User:
    name: str
    id: str
    password: str = ""
    created: float = 0.0
    suspended: bool = False
    shadow_banned: bool = False
    """To others the account is not there, and what it says is removed; it is not told."""
    is_mod: bool = False
    """May reply where a thread is locked."""
    blocked: set[str] = field(default_factory=set)
    inbox: list[Notice] = field(default_factory=list)

    @property
    def fullname(self) -> str:
        return f"t2_{self.id}"


@dataclass(slots=True)
class Subreddit:
    name: str
    id: str
    created: float = 0.0
    over_18: bool = False
    quarantined: bool = False
    private: bool = False
    banned: bool = False
    """By Reddit: it is gone for everybody."""
    banned_users: set[str] = field(default_factory=set)
    """In small letters."""
    wiki: dict[str, str] = field(default_factory=dict)
    allowed_media: list[str] = field(default_factory=list)
    """In comments: "static" are pictures; also "giphy", "animated", "expression"."""

    @property
    def fullname(self) -> str:
        return f"t5_{self.id}"


@dataclass(slots=True)
class Thing:
    """What posts, comments and messages have in common; `number` is its place in time."""

    id: str
    number: int
    author: str
    created: float


@dataclass(slots=True)
class Post(Thing):
    subreddit: str
    title: str
    url: str = ""
    text: str = ""
    is_self: bool = False
    gallery: list[str | dict[str, str]] = field(default_factory=list)
    """Addresses; or what is shown instead: {"gif": address}, {"status": "failed"}, {} for what is missing; with "smaller", a
    still picture's smaller copy beside its "u"."""
    crosspost_of: Post | None = None
    preview: str | None = None
    smaller: list[str] = field(default_factory=list)
    """Reddit's own smaller copies of the picture, the largest last."""
    over_18: bool = False
    locked: bool = False
    archived: bool = False
    removed_by: str | None = None
    """"moderator", "deleted" (by the author), "reddit", …"""
    score: int = 1
    edited: float | None = None

    @property
    def fullname(self) -> str:
        return f"t3_{self.id}"

    @property
    def permalink(self) -> str:
        words = "".join(letter if letter.isalnum() else " " for letter in self.title.lower()).split()
        return f"/r/{self.subreddit}/comments/{self.id}/{'_'.join(words)[:50] or '_'}/"


@dataclass(slots=True)
class Comment(Thing):
    post: Post
    parent: Post | Comment
    text: str
    score: int = 1
    edited: float | None = None
    deleted: bool = False
    removed: bool = False
    locked: bool = False
    distinguished: bool | str = False
    """Whether its author speaks in it as a moderator; "admin" or "special" for Reddit itself."""
    stickied: bool = False
    media: str = ""
    """Id of the uploaded picture above its text."""
    caption: str = ""

    @property
    def fullname(self) -> str:
        return f"t1_{self.id}"

    @property
    def subreddit(self) -> str:
        return self.post.subreddit

    @property
    def permalink(self) -> str:
        return f"{self.post.permalink}{self.id}/"


@dataclass(slots=True)
class Message(Thing):
    to: str
    subject: str
    text: str
    subreddit: str = ""
    """For whose moderators it speaks; whoever wrote it is not shown then."""

    @property
    def fullname(self) -> str:
        return f"t4_{self.id}"


@dataclass(slots=True)
class Notice:
    """An entry of an inbox."""

    thing: Comment | Message
    kind: str
    """"username_mention", "comment_reply", "post_reply", "message", or "award"."""
    new: bool = True
