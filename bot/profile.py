"""Pictures on the bot's own profile, where they stay. Each is posted once, however often that is tried."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot import wording
from bot.client import Client, Refused
from bot.errors import Forbidden, Gone, SignedOut, Throttled, Unavailable, Uncertain
from bot.ledger import Errand, Ledger
from bot.reddit import Reddit
from bot.things import Post

LATE = 180.0
"""Seconds within which Reddit shows a new post: only when it has looked at the picture."""
SKEW = 60.0
"""Seconds by which Reddit's clock may be behind ours. Less than LATE, or a post that nobody waits for any more would be
taken for the next of its title.
"""
TRIES = 3
POSTED = "t3_"
"""So begins what the ledger has of a picture that is posted: the post's fullname."""
_BEGUN = "begun"
"""So begins what it has before: see `_Begun`."""
_NOT_THERE = "none"
"""What it has when Reddit will not have the picture."""
log = logging.getLogger("autochrome.bot")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A post that was begun. Reddit tells no name of one with a picture, so it is looked for by all this."""

    first: float
    last: float
    """When it was tried, seconds of the epoch."""
    tries: int
    """TRIES, too, as soon as Reddit has said that it took it: then it is waited for and never tried again."""
    title: str
    """Its keyed hash."""

    def __str__(self) -> str:
        return f"{_BEGUN} {self.first:.0f} {self.last:.0f} {self.tries} {self.title}"


class Profile:
    """The bot's own subreddit, u_name."""

    def __init__(
        self, ledger: Ledger, reddit: Reddit, service: Client, clock: Callable[[], float], url: str
    ) -> None:
        """`url`: Reddit's, with which links to posts begin."""
        self._ledger = ledger
        self._reddit = reddit
        self._service = service
        self._clock = clock
        self._url = url

    def link(self, errand: Errand) -> str:
        """Where people see the picture; "" where it is not posted."""
        return f"{self._url}/comments/{errand.link.removeprefix(POSTED)}" if is_posted(errand) else ""

    def post(self, errand: Errand, source: Post) -> Errand | None:
        """The picture with its post, or without where that cannot be. None: it is not known yet, look again later.

        Raises Throttled, when nothing was posted, and ClientError where the service does not answer.
        """
        if is_posted(errand) or errand.link == _NOT_THERE:
            return errand
        before = _begun(errand.link)
        if before is not None:
            if found := self._find(before):
                return self._adopted(errand, found)
            if self._clock() < before.last + LATE:
                return None
            if before.tries >= TRIES:
                return self._without(errand, "it does not show up")
        return self._begin(errand, source, before)

    def _begin(self, errand: Errand, source: Post, before: _Begun | None) -> Errand | None:
        """Post it, unless one of the same title is on its way: nobody could tell them apart."""
        now, title = self._clock(), wording.profile_title(source.title)
        begun = _Begun(now, now, 1, self._ledger.hash(title))
        if before is not None:
            begun = replace(begun, first=before.first, tries=before.tries + 1)
        others = (_begun(link) for link in self._ledger.links(f"{_BEGUN} * {begun.title}"))
        if any(other and now < other.last + LATE for other in others):
            return None
        try:
            picture = self._service.artifact(errand.job, "comparison")
        except Refused as error:
            return self._without(errand, error)
        noted = self._noted(errand, str(begun))
        try:
            self._reddit.post_picture(title, picture, over_18=source.over_18)
        except Uncertain:
            return None
        except (Throttled, SignedOut):
            self._noted(errand, errand.link)
            raise
        except (Forbidden, Gone) as error:
            return self._without(errand, error)
        begun = replace(begun, tries=TRIES)
        noted = self._noted(errand, str(begun))
        found = self._find(begun)
        return self._adopted(noted, found) if found else None

    def take_back(self, errand: Errand) -> None:
        """Delete its post, if it has one. Raises RedditError, also where one may still show up."""
        if is_posted(errand):
            self._reddit.delete(errand.link)
        elif begun := _begun(errand.link):
            found = self._find(begun)
            if not found and self._clock() < begun.last + LATE:
                raise Unavailable("Reddit does not show a post on the profile yet.")
            for post in found:
                self._reddit.delete(post.fullname)

    def _find(self, begun: _Begun) -> list[Post]:
        """Its posts, the oldest first: by their title, not older, and no other picture's. Several where the first was
        not shown in time.
        """
        try:
            mine = self._reddit.posts_of_mine()
        except (Forbidden, Gone):  # so it is with an account that Reddit hides
            return []
        return [
            post
            for post in reversed(mine)
            if self._ledger.hash(post.title) == begun.title
            and post.created >= begun.first - SKEW
            and not self._ledger.links(post.fullname)
        ]

    def _adopted(self, errand: Errand, found: list[Post]) -> Errand:
        """With the first of them that people see; the others go."""
        kept = next((post for post in found if not post.removed), None)
        for post in found:
            if post is not kept:
                self._reddit.delete(post.fullname)
        return self._noted(errand, kept.fullname) if kept else self._without(errand, "Reddit has removed it")

    def _without(self, errand: Errand, reason: object) -> Errand:
        log.warning("not on the profile job=%s because=%s", errand.job, reason)
        return self._noted(errand, _NOT_THERE)

    def _noted(self, errand: Errand, link: str) -> Errand:
        errand = replace(errand, link=link)
        self._ledger.put_errand(errand)
        return errand


def is_posted(errand: Errand) -> bool:
    """Whether its picture is known to be on the profile."""
    return errand.link.startswith(POSTED)


def _begun(link: str) -> _Begun | None:
    """What the ledger has of one that is not known to be posted yet."""
    if not link.startswith(_BEGUN):
        return None
    _, first, last, tries, title = link.split(" ")
    return _Begun(float(first), float(last), int(tries), title)
