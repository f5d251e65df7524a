"""Whom and where the bot does not serve, or no more for now: opt-outs, lists of denials, and how often is enough."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from bot.database import CountedBy, Database
from bot.errors import RedditError
from bot.models import Mention
from bot.reddit import Reddit
from bot.replies import Facts, Reason
from bot.settings import Settings

HOUR, DAY = 3600.0, 24 * 3600.0
READ_AGAIN = 600.0
"""Seconds after which r/Bottiquette's page is asked for again when it could not be read."""
NO_COMMENTS = ("disallowed", "permission", "posts-only")
"""Lists of r/Bottiquette's page under which a bot that comments may not come uninvited."""
log = logging.getLogger("autochrome.bot")


class Limits:
    """What the settings, the database and r/Bottiquette say."""

    def __init__(
        self, settings: Settings, database: Database, reddit: Reddit, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._clock = clock
        self._denied = {name.lower() for name in settings.bot_deny}

    def refresh(self) -> None:
        """Read r/Bottiquette's page again, once a day. Where it cannot be read, the last one holds."""
        due = self._database.progress().bottiquette_due_at or 0.0
        if self._settings.bot_ignore_bottiquette or self._clock() < due:
            return
        again = DAY
        try:
            self._database.save_bottiquette(listed(self._reddit.wiki("Bottiquette", "robots_txt_json")))
        except (RedditError, ValueError) as error:
            again = READ_AGAIN
            log.warning("r/Bottiquette's list cannot be read, the last one holds: %s", error)
        self._database.save_progress(bottiquette_due_at=self._clock() + again)

    def is_denied(self, subreddit: str) -> bool:
        """Whether bots, or this one, are to stay out."""
        name = subreddit.lower()
        if name in self._denied or self._database.has_opted_out("subreddit", name):
            return True
        return not self._settings.bot_ignore_bottiquette and self._database.is_in_bottiquette(name)

    def reached(self, mention: Mention) -> tuple[Reason, Facts] | None:
        """The limit that this mention would go beyond, if any."""
        settings, now = self._settings, self._clock()
        count = self._database.count
        limits: tuple[tuple[int, CountedBy, str, float, Reason], ...] = (
            (settings.bot_user_limit, "author_hash", mention.author_hash, now - HOUR, Reason.LIMIT_USER),
            (
                settings.bot_subreddit_limit,
                "subreddit",
                mention.subreddit,
                now - HOUR,
                Reason.LIMIT_SUBREDDIT,
            ),
            (settings.bot_thread_limit, "post", mention.post, 0.0, Reason.LIMIT_THREAD),
        )
        for most, column, value, since, reason in limits:
            if most and value and count(column, value, since) >= most:
                return reason, Facts(wait=HOUR if since else 0)
        return None

    def is_enough(self, mention: Mention, outcome: str) -> bool:
        """Whether this person has heard the same in this thread today, or has had as many words this hour as anybody gets."""
        now, most = self._clock(), self._settings.bot_user_limit
        who, post = mention.author_hash, mention.post
        if not who:
            return False
        if post and self._database.count_said(who, now - DAY, outcome=outcome, post=post):
            return True
        return bool(most) and self._database.count_said(who, now - HOUR) >= most

    def was_told(self, mention: Mention, reason: Reason) -> bool:
        """Whether the same was said already, to this person or in this thread: once is enough."""
        if reason == Reason.LIMIT_THREAD:
            return self._database.count("post", mention.post, 0.0, reason) > 0
        return self._database.count("author_hash", mention.author_hash, self._clock() - HOUR, reason) > 0


def listed(page: str) -> set[str]:
    """Names in small letters. Raises ValueError where the page is none of that kind."""
    document = json.loads(page)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    lists = [document.get(name) or [] for name in NO_COMMENTS]
    return {str(name).lower().removeprefix("r/") for names in lists for name in names}
