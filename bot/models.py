"""What the bot works with, as plain values: what Reddit shows, and what the database keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

Channel: TypeAlias = Literal["inbox", "message", "stream"]
"""How a mention came: as a comment or a message in the inbox, or in the comments of a subreddit. Only what is in the
inbox is marked as read.
"""


@dataclass(frozen=True, slots=True)
class Post:
    """A submission."""

    fullname: str
    subreddit: str
    author: str | None
    title: str
    url: str
    over_18: bool
    quarantined: bool
    removed: bool
    locked: bool
    archived: bool
    is_self: bool
    body: str
    gallery: tuple[str, ...]
    """Addresses of its pictures in order, HTML-unescaped; "" for one that failed, moves or is missing; () where it is none."""
    crosspost_of: Post | None
    preview: str | None
    smaller: Mapping[str, str] = field(default_factory=dict)
    """Address of a picture → Reddit's own smaller copy."""

    @property
    def origins(self) -> tuple[Post, ...]:
        """Itself, and what it was taken from: what holds for one of their authors holds for all."""
        return (self, *(self.crosspost_of.origins if self.crosspost_of else ()))


@dataclass(frozen=True, slots=True)
class Comment:
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
    """Seconds of the epoch, as all times here."""
    removed: bool
    moderator: bool = False
    """Whether it speaks for the moderators."""
    automated: bool = False
    """Whether Reddit marks it as no person's."""
    media: Mapping[str, str] = field(default_factory=dict)
    """Id of a picture uploaded to Reddit that it shows → its state: valid, unprocessed, failed."""


@dataclass(frozen=True, slots=True)
class Message:
    """A private message to the bot."""

    fullname: str
    author: str | None
    subreddit: str
    """Whose moderators wrote it; "" where a person did."""
    body: str
    created: float
    subject: str = ""
    automated: bool = False


class State(StrEnum):
    """Where a mention stands."""

    SEEN = "seen"
    QUEUED = "queued"
    COLORED = "colored"
    REPLYING = "replying"
    """Written before Reddit is asked to post: found so later, it is uncertain whether it did."""
    REPLIED = "replied"
    REFUSED = "refused"
    GIVEN_UP = "given_up"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Mention:
    """One comment or message that asked the bot for something."""

    fullname: str
    state: State
    channel: Channel
    author_hash: str
    subreddit: str
    post: str
    """Fullname of its submission."""
    seen_at: float
    due_at: float
    """When its next step is due; 0: at once, before all others."""
    created_at: float = 0.0
    """When it was written."""
    attempts: int = 0
    """Steps that failed, for whatever reason: the more, the later the next."""
    failure: str = ""
    """Why the last of them did."""
    failures: int = 0
    """How many in a row did for that reason."""
    outcome: str = ""
    """What was said; in the state `replying`, what is being said."""
    final_state: State | None = None
    """In the state `replying`: the state that it has when Reddit has taken the reply."""
    is_private: bool = False
    """In the state `replying`: whether it is said in a message, which cannot be looked for afterward."""
    giving_up: str = ""
    """For which reason it was given up, if only that is still to be said."""
    reply: str = ""
    """Fullname of the bot's comment."""
    reply_link: str = ""
    """Permalink of that comment."""
    shown_in: str = ""
    """Fullname of the post or comment that showed the picture."""
    duplicate_of: str = ""
    """The mention whose reply this one was sent to."""
    media: str = ""
    """Reddit's id of the picture that was uploaded for the reply."""
    uploads: int = 0
    """How often that was begun."""

    def failed(self, why: str) -> int:
        """How many of its last steps failed for this reason and no other."""
        return self.failures if self.failure == why else 0


@dataclass(frozen=True, slots=True)
class Task:
    """One picture of a mention, as a job of the service."""

    job_id: str
    mention: str
    position: int
    """Which of the pictures that there are, from 1."""
    total: int
    """How many there are."""
    image_url: str
    vividness: float
    secret: str = ""
    """Lets its holder erase the job."""
    from_preview: bool = False
    """Whether Reddit's smaller copy was taken, as the picture itself is too large."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the bot has come with what it does from time to time; None: it has not begun."""

    started_at: float | None
    """When this database was begun."""
    stream_read_until: float | None
    bottiquette_due_at: float | None
    """When r/Bottiquette's page is to be read again."""
    swept_at: float | None
    checked_at: float | None
    """When it was last seen that others see the replies."""
