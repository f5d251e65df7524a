"""Whether others see what the bot says: Reddit hides a shadow-banned account's comments, and moderators remove some, without a
word to their author.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from bot.database import Database
from bot.models import Comment, Mention
from bot.outbox import MANY, Outbox
from bot.reddit import PAGE_SIZE, Reddit, RedditError, ThrottledError
from bot.richtext import without_picture

INTERVAL = 3600.0
"""Seconds between two looks; without new replies there is none, but while the account is shadow-banned."""
HOLD = INTERVAL + 600.0
"""Seconds for which nothing is said then: the next look, which ends or renews that, comes before."""
WINDOW = 24 * 3600.0
"""Seconds for which a reply is looked at."""
PROCESSING = 600.0
"""Seconds after which a picture that Reddit does not show yet is given up."""
log = logging.getLogger("autochrome.bot")


class Visibility:
    """Looks once an hour at the newest hundred replies of the last day as others see them: one request."""

    def __init__(
        self, database: Database, reddit: Reddit, outbox: Outbox, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._reddit = reddit
        self._outbox = outbox
        self._clock = clock
        self._due_at = 0.0
        self.unseen = 0
        """Replies that others did not see at the last look."""

    def is_due(self) -> bool:
        now = self._clock()
        return now >= self._due_at and now >= (self._database.progress().checked_at or 0.0) + INTERVAL

    def run(self) -> None:
        """Raises ThrottledError. What else goes wrong is tried again in an hour."""
        self._due_at = self._clock() + INTERVAL
        replied = self._database.last_replied(self._clock() - WINDOW, PAGE_SIZE)
        self.unseen = self.unseen if replied else 0
        was_banned = "shadow_banned" in self._outbox.held()
        if not replied and not was_banned:
            return
        try:
            if was_banned and self._is_banned():
                return
            if self._check(replied):
                self._database.save_progress(checked_at=self._clock())
        except ThrottledError:
            self._due_at = 0.0
            raise
        except RedditError as error:
            log.warning("visibility_failed error=%s detail=%r", type(error).__name__, str(error))

    def _check(self, replied: Sequence[Mention]) -> bool:
        """Whether the account is seen."""
        seen = self._reddit.seen_by_others(it.reply for it in replied) if replied else {}
        # What is not shown at all lies where only members look.
        unseen = [it for it in replied if (reply := seen.get(it.reply)) and reply.removed]
        self.unseen = len(unseen)
        if unseen and self._is_banned():
            return False
        self._outbox.release("shadow_banned")
        for subreddit, count in Counter(it.subreddit for it in unseen).items():
            log.warning("replies_unseen subreddit=%s count=%d", subreddit, count)
            if count >= MANY:  # it speaks to nobody there
                self._database.opt_out("banned", subreddit)
        for mention in replied:
            if mention.media and (reply := seen.get(mention.reply)) and not reply.removed:
                try:
                    self._check_picture(mention, reply)
                except ThrottledError:
                    raise
                except RedditError as error:  # of this comment alone
                    log.warning("edit_failed mention=%s error=%s", mention.fullname, type(error).__name__)
        return True

    def _is_banned(self) -> bool:
        """Whether to others the account is not there; then nothing is said."""
        if not self._reddit.is_shadow_banned():
            return False
        log.error("account_shadow_banned account=u/%s", self._reddit.name)
        self._outbox.hold("comment", HOLD, "shadow_banned")
        return True

    def _check_picture(self, mention: Mention, reply: Comment) -> None:
        """A picture that failed would say for good that it is being processed: the link alone stays."""
        status = reply.media.get(mention.media, "failed")
        is_late = self._clock() > reply.created + PROCESSING
        if status == "valid" or (status != "failed" and not is_late):
            return
        if text := without_picture(reply.body, mention.media):
            self._reddit.edit(mention.reply, text)
        self._database.update(mention.fullname, mention.state, self._clock(), media="")
        log.warning("picture_failed mention=%s status=%s", mention.fullname, status)
