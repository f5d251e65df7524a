"""Saying something on Reddit at most once, and knowing afterwards that it was said."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot import replies
from bot.database import Database, Mention, State
from bot.errors import Forbidden, Gone, RedditError, Throttled, Uncertain
from bot.reddit import Reddit

LONGEST_BACKOFF = 3600.0
LOOKS = 8
"""For what was said, where neither the thread nor the account's comments can be seen."""
PRIVATE = "private:"
"""Before the outcome of what was said in a message: that cannot be looked for, and is not said again."""
log = logging.getLogger("autochrome.bot")


class Outbox:
    """Writes into the database what is about to be said, says it, and writes what came of it."""

    def __init__(
        self, database: Database, reddit: Reddit, clock: Callable[[], float], first_backoff: float
    ) -> None:
        self._database = database
        self._reddit = reddit
        self._clock = clock
        self._first_backoff = first_backoff

    def answer(self, mention: Mention, text: str, outcome: str, end: State) -> None:
        """Below the mention. Raises Throttled and Forbidden, when nothing was said; the mention is then as it was."""
        if mention.fullname.startswith("t4_"):
            self._once(mention, outcome, lambda: self._reddit.reply(mention.fullname, text))
            return
        # The state that it has if it is found: replied or refused.
        # Who finds it so after a kill is to look later, as Reddit shows a new comment late.
        now = self._clock()
        later = now + self._first_backoff
        self._database.move(mention.fullname, State.REPLYING, now, next_at=later, outcome=f"{end}:{outcome}")
        try:
            made = self._reddit.reply(mention.fullname, text)
        except Uncertain:
            self.postpone(mention, State.REPLYING)
            return
        except (Throttled, Forbidden):
            self._database.move(mention.fullname, mention.state, self._clock(), outcome=mention.outcome)
            raise
        except Gone:  # the next step sees whether the mention is
            self.postpone(mention, mention.state)
            return
        reply, link = (made.fullname, made.permalink) if made else ("", "")
        self._database.move(mention.fullname, end, self._clock(), outcome=outcome, reply=reply, link=link)
        log.info("answered mention=%s outcome=%s after=%.1fs", mention.fullname, outcome, self._age(mention))

    def tell(self, mention: Mention, name: str, text: str, outcome: str) -> None:
        """In a message to a person. Raises Throttled, when nothing was said."""
        self._once(mention, outcome, lambda: self._reddit.message(name, replies.message_subject(), text))

    def _once(self, mention: Mention, outcome: str, say: Callable[[], object]) -> None:
        self._database.move(mention.fullname, State.REPLYING, self._clock(), outcome=PRIVATE + outcome)
        try:
            say()
        except Throttled:
            self._database.move(mention.fullname, mention.state, self._clock(), outcome=mention.outcome)
            raise
        except RedditError as error:
            log.info("not told mention=%s because=%s", mention.fullname, type(error).__name__)
        self._database.move(mention.fullname, State.REFUSED, self._clock(), outcome=outcome)

    def look(self, mention: Mention) -> None:
        """After a loss: whether it was said. If not, the mention goes back to where it can be said anew."""
        end, _, outcome = mention.outcome.partition(":")
        if mention.outcome.startswith(PRIVATE):
            self._database.move(mention.fullname, State.REFUSED, self._clock(), outcome=outcome)
            return
        try:
            mine = self._reddit.replies_of_mine(mention.fullname)
        except (Gone, Forbidden):  # nobody can tell; to say it again would be worse than not to say it
            if mention.attempts < LOOKS:
                self.postpone(mention, State.REPLYING)
            else:
                self._database.move(mention.fullname, State.GIVEN_UP, self._clock(), outcome="uncertain")
            return
        if not mine:
            state = State.COLORED if self._database.tasks(mention.fullname) else State.SEEN
            self._database.move(mention.fullname, state, self._clock(), outcome="")
            return
        said = mine[0]
        self._database.move(
            mention.fullname,
            State(end),
            self._clock(),
            outcome=outcome,
            reply=said.fullname,
            link=said.permalink,
        )
        log.info("found answer mention=%s outcome=%s", mention.fullname, outcome)

    def postpone(self, mention: Mention, state: State) -> None:
        """Again later, each time twice as late."""
        wait = min(self._first_backoff * 2 ** min(mention.attempts, 16), LONGEST_BACKOFF)
        now = self._clock()
        self._database.move(mention.fullname, state, now, next_at=now + wait, attempts=mention.attempts + 1)

    def _age(self, mention: Mention) -> float:
        return self._clock() - mention.seen_at
