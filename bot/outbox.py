"""Saying something on Reddit at most once, and knowing afterwards that it was said."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot import replies
from bot.database import Database
from bot.errors import Forbidden, Gone, RedditError, Throttled, Uncertain
from bot.models import Comment, Mention, State
from bot.reddit import Reddit

MAX_RETRY_DELAY = 3600.0
MAX_LOOKS = 8
"""For a reply, where neither the thread nor the account's comments can be seen."""
log = logging.getLogger("autochrome.bot")


class Outbox:
    """Writes into the database what is about to be said, says it, and writes what came of it."""

    def __init__(
        self, database: Database, reddit: Reddit, clock: Callable[[], float], retry_delay: float
    ) -> None:
        """`retry_delay`: seconds before the first retry."""
        self._database = database
        self._reddit = reddit
        self._clock = clock
        self._retry_delay = retry_delay

    def reply(self, mention: Mention, text: str, outcome: str, final_state: State) -> None:
        """Below the mention. Raises Throttled and Forbidden, when nothing was said; the mention is then as it was."""
        if mention.fullname.startswith("t4_"):
            self._send_private(mention, outcome, lambda: self._reddit.reply(mention.fullname, text))
            return
        # Who finds it so after a kill is to look later, as Reddit shows a new comment late.
        now = self._clock()
        due_at = now + self._retry_delay
        sending = {"outcome": outcome, "final_state": final_state, "due_at": due_at}
        self._database.update(mention.fullname, State.REPLYING, now, **sending)
        try:
            comment = self._reddit.reply(mention.fullname, text)
        except Uncertain:
            self.postpone(mention, State.REPLYING)
            return
        except (Throttled, Forbidden):
            self._put_back(mention)
            raise
        except Gone:  # the next step sees whether the mention is
            self._put_back(mention)
            self.postpone(mention, mention.state)
            return
        self._confirm(mention, outcome, final_state, comment)
        age = self._clock() - mention.seen_at
        log.info("reply_sent mention=%s outcome=%s after_s=%.1f", mention.fullname, outcome, age)

    def message(self, mention: Mention, to: str, text: str, outcome: str) -> None:
        """To a person. Raises Throttled, when nothing was said."""
        subject = replies.message_subject()
        self._send_private(mention, outcome, lambda: self._reddit.message(to, subject, text))

    def _send_private(self, mention: Mention, outcome: str, send: Callable[[], object]) -> None:
        """Messages cannot be looked for: whether or not one arrived, it is not sent again."""
        sending = {"outcome": outcome, "final_state": State.REFUSED, "is_private": True}
        self._database.update(mention.fullname, State.REPLYING, self._clock(), **sending)
        try:
            send()
        except Throttled:
            self._put_back(mention)
            raise
        except RedditError as error:
            log.info("message_failed mention=%s error=%s", mention.fullname, type(error).__name__)
        self._database.update(mention.fullname, State.REFUSED, self._clock(), outcome=outcome)

    def resume(self, mention: Mention) -> None:
        """After a loss: whether it was said. If not, the mention goes back to where it can be said anew."""
        if mention.is_private or mention.final_state is None:
            self._database.update(mention.fullname, State.REFUSED, self._clock())
            return
        try:
            mine = self._reddit.replies_of_mine(mention.fullname)
        except (Gone, Forbidden):  # nobody can tell; to say it again would be worse than not to say it
            if mention.attempts < MAX_LOOKS:
                self.postpone(mention, State.REPLYING)
            else:
                self._database.update(mention.fullname, State.GIVEN_UP, self._clock(), outcome="uncertain")
            return
        if not mine:
            state = State.COLORED if self._database.tasks(mention.fullname) else State.SEEN
            self._database.update(mention.fullname, state, self._clock(), outcome="", giving_up="")
            return
        self._confirm(mention, mention.outcome, mention.final_state, mine[0])
        log.info("reply_found mention=%s outcome=%s", mention.fullname, mention.outcome)

    def postpone(self, mention: Mention, state: State) -> None:
        """Again later, each time twice as late."""
        delay = min(self._retry_delay * 2 ** min(mention.attempts, 16), MAX_RETRY_DELAY)
        now = self._clock()
        attempts = mention.attempts + 1
        self._database.update(mention.fullname, state, now, due_at=now + delay, attempts=attempts)

    def _confirm(self, mention: Mention, outcome: str, state: State, comment: Comment | None) -> None:
        """It was said; None: without a comment, as in a dry run."""
        reply, link = (comment.fullname, comment.permalink) if comment else ("", "")
        said = {"outcome": outcome, "reply": reply, "reply_link": link}
        self._database.update(mention.fullname, state, self._clock(), **said)

    def _put_back(self, mention: Mention) -> None:
        before = {"outcome": mention.outcome, "giving_up": mention.giving_up}
        self._database.update(mention.fullname, mention.state, self._clock(), **before)
