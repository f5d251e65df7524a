"""Saying something on Reddit at most once, and knowing afterwards that it was said."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot import wording
from bot.errors import Forbidden, Gone, RedditError, Throttled, Uncertain
from bot.ledger import Ledger, State, Summons
from bot.reddit import Reddit

LONGEST_BACKOFF = 3600.0
LOOKS = 8
"""For what was said, where neither the thread nor the account's comments can be seen."""
PRIVATE = "private:"
"""Before the outcome of what was said in a message: that cannot be looked for, and is not said again."""
log = logging.getLogger("autochrome.bot")


class Speaker:
    """Writes into the ledger what is about to be said, says it, and writes what came of it."""

    def __init__(
        self, ledger: Ledger, reddit: Reddit, clock: Callable[[], float], first_backoff: float
    ) -> None:
        self._ledger = ledger
        self._reddit = reddit
        self._clock = clock
        self._first_backoff = first_backoff

    def answer(self, summons: Summons, text: str, outcome: str, end: State) -> None:
        """Below the summons. Raises Throttled and Forbidden, when nothing was said; the summons is then as it was."""
        if summons.fullname.startswith("t4_"):
            self._once(summons, outcome, lambda: self._reddit.reply(summons.fullname, text))
            return
        # The state that it has if it is found: replied or refused.
        # Who finds it so after a kill is to look later, as Reddit shows a new comment late.
        now = self._clock()
        later = now + self._first_backoff
        self._ledger.move(summons.fullname, State.REPLYING, now, next_at=later, outcome=f"{end}:{outcome}")
        try:
            made = self._reddit.reply(summons.fullname, text)
        except Uncertain:
            self.postpone(summons, State.REPLYING)
            return
        except (Throttled, Forbidden):
            self._ledger.move(summons.fullname, summons.state, self._clock(), outcome=summons.outcome)
            raise
        except Gone:  # the next step sees whether the summons is
            self.postpone(summons, summons.state)
            return
        reply, link = (made.fullname, made.permalink) if made else ("", "")
        self._ledger.move(summons.fullname, end, self._clock(), outcome=outcome, reply=reply, link=link)
        log.info("answered summons=%s outcome=%s after=%.1fs", summons.fullname, outcome, self._age(summons))

    def tell(self, summons: Summons, name: str, text: str, outcome: str) -> None:
        """In a message to a person. Raises Throttled, when nothing was said."""
        self._once(summons, outcome, lambda: self._reddit.message(name, wording.message_subject(), text))

    def _once(self, summons: Summons, outcome: str, say: Callable[[], object]) -> None:
        self._ledger.move(summons.fullname, State.REPLYING, self._clock(), outcome=PRIVATE + outcome)
        try:
            say()
        except Throttled:
            self._ledger.move(summons.fullname, summons.state, self._clock(), outcome=summons.outcome)
            raise
        except RedditError as error:
            log.info("not told summons=%s because=%s", summons.fullname, type(error).__name__)
        self._ledger.move(summons.fullname, State.REFUSED, self._clock(), outcome=outcome)

    def look(self, summons: Summons) -> None:
        """After a loss: whether it was said. If not, the summons goes back to where it can be said anew."""
        end, _, outcome = summons.outcome.partition(":")
        if summons.outcome.startswith(PRIVATE):
            self._ledger.move(summons.fullname, State.REFUSED, self._clock(), outcome=outcome)
            return
        try:
            mine = self._reddit.replies_of_mine(summons.fullname)
        except (Gone, Forbidden):  # nobody can tell; to say it again would be worse than not to say it
            if summons.tries < LOOKS:
                self.postpone(summons, State.REPLYING)
            else:
                self._ledger.move(summons.fullname, State.GIVEN_UP, self._clock(), outcome="uncertain")
            return
        if not mine:
            state = State.COLORED if self._ledger.errands(summons.fullname) else State.SEEN
            self._ledger.move(summons.fullname, state, self._clock(), outcome="")
            return
        said = mine[0]
        self._ledger.move(
            summons.fullname,
            State(end),
            self._clock(),
            outcome=outcome,
            reply=said.fullname,
            link=said.permalink,
        )
        log.info("found answer summons=%s outcome=%s", summons.fullname, outcome)

    def postpone(self, summons: Summons, state: State) -> None:
        """Again later, each time twice as late."""
        wait = min(self._first_backoff * 2 ** min(summons.tries, 16), LONGEST_BACKOFF)
        now = self._clock()
        self._ledger.move(summons.fullname, state, now, next_at=now + wait, tries=summons.tries + 1)

    def _age(self, summons: Summons) -> float:
        return self._clock() - summons.seen_at
