"""Pictures on the bot's own profile, where they stay. Each is posted once, however often that is tried."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from bot import wording
from bot.client import Client
from bot.errors import Forbidden, Gone, Throttled, Uncertain
from bot.ledger import Errand, Ledger
from bot.reddit import Reddit
from bot.things import Post

LATE = 30.0
"""Seconds within which Reddit shows a new post: only when it has looked at the picture."""
SKEW = 600.0
"""Seconds by which Reddit's clock may be behind ours."""
TRIES = 3
POSTED = "t3_"
"""So begins what the ledger has of a picture that is posted: the post's fullname."""
_BEGUN = "begun"
"""So begins what it has before: when, for the how-manieth time, and under which title. Reddit tells no name of such a post."""
_NOT_THERE = "none"
"""What it has when Reddit will not have the picture."""
log = logging.getLogger("autochrome.bot")


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
        """The picture with its post, or without where Reddit will not have it. None: it is not known yet, look again later.

        Raises Throttled, when nothing was posted, and ClientError where the service has no picture to show.
        """
        if is_posted(errand) or errand.link == _NOT_THERE:
            return errand
        tries = 0
        if errand.link:
            began, tries = _begun(errand)
            if found := self._find(errand):
                return self._noted(errand, found.fullname)
            if self._clock() < began + LATE:
                return None
        if tries == TRIES:
            log.warning("not on the profile job=%s because=it does not show up", errand.job)
            return self._noted(errand, _NOT_THERE)
        picture = self._service.artifact(errand.job, "comparison")
        title = wording.profile_title(source.title)
        errand = self._noted(errand, f"{_BEGUN} {self._clock():.0f} {tries + 1} {title}")
        try:
            self._reddit.post_picture(title, picture, over_18=source.over_18)
        except Uncertain:
            return None
        except Throttled:
            self._noted(errand, "")
            raise
        except (Forbidden, Gone) as error:
            log.warning("not on the profile job=%s because=%s", errand.job, error)
            return self._noted(errand, _NOT_THERE)
        found = self._find(errand)
        return self._noted(errand, found.fullname) if found else None

    def take_back(self, errand: Errand) -> None:
        """Delete its post, if it has one. Raises RedditError."""
        if is_posted(errand):
            self._reddit.delete(errand.link)
        elif errand.link.startswith(_BEGUN) and (found := self._find(errand)):
            self._reddit.delete(found.fullname)

    def _find(self, errand: Errand) -> Post | None:
        """The post that was begun: by its title, not older, and no other picture's."""
        began, _ = _begun(errand)
        title = errand.link.split(" ", 3)[3]
        for post in self._reddit.posts_of_mine():
            is_new = post.created >= began - SKEW
            if post.title == title and is_new and not self._ledger.has_post(post.fullname):
                return post
        return None

    def _noted(self, errand: Errand, link: str) -> Errand:
        errand = replace(errand, link=link)
        self._ledger.put_errand(errand)
        return errand


def is_posted(errand: Errand) -> bool:
    """Whether its picture is known to be on the profile."""
    return errand.link.startswith(POSTED)


def _begun(errand: Errand) -> tuple[float, int]:
    """When it was last begun to be posted, and how often."""
    _, began, tries, _ = errand.link.split(" ", 3)
    return float(began), int(tries)
