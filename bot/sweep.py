"""Once a day: what was deleted on Reddit is erased, and what people did not like is taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot.client import ClientError
from bot.erasing import Eraser
from bot.ledger import Ledger, Summons
from bot.reddit import Reddit
from bot.settings import Settings
from bot.things import Comment, Post

AT_ONCE = 33
"""Answers that are asked about at once: three names each, and Reddit takes a hundred."""
MANY = 3
"""Answers of which Reddit shows nothing at all: that is more likely its fault than that all are gone."""
log = logging.getLogger("autochrome.bot")


class Sweep:
    """Goes through all answers whose pictures are still kept."""

    def __init__(
        self, settings: Settings, ledger: Ledger, reddit: Reddit, eraser: Eraser, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._reddit = reddit
        self._eraser = eraser
        self._clock = clock

    def is_due(self) -> bool:
        return self._clock() >= float(self._ledger.note("swept_at") or 0) + self._settings.bot_sweep

    def run(self) -> None:
        """All of it. Raises RedditError where Reddit does not answer: then it is due again."""
        for fullname in self._ledger.left_behind():
            self._eraser.try_to_drop_pictures(fullname)
        answered = self._ledger.replied()
        for start in range(0, len(answered), AT_ONCE):
            self._look_at(answered[start : start + AT_ONCE])
        self._ledger.take_note("swept_at", str(self._clock()))

    def _look_at(self, answered: list[Summons]) -> None:
        names = {name for it in answered for name in (it.reply, it.source, it.post) if name}
        things = self._reddit.info(names)
        if missing := [name for name in names if name not in things]:
            # What Reddit leaves out counts as gone, and one answer that holds nothing would erase all: it is asked twice.
            things |= self._reddit.info(missing)
        if not things and len(answered) >= MANY:
            log.warning("not swept answers=%d because=Reddit shows nothing of them", len(answered))
            return
        for summons in answered:
            if self._clock() > summons.seen_at + self._settings.bot_keep_for:
                self._ledger.expire(summons.fullname)
            reason = self._why_erase(summons, things)
            if reason is None:
                continue
            try:
                self._eraser.erase(summons)
                log.info("swept summons=%s because=%s", summons.fullname, reason)
            except ClientError as error:
                log.warning("not swept summons=%s because=%s", summons.fullname, type(error).__name__)

    def _why_erase(self, summons: Summons, things: dict[str, Post | Comment]) -> str | None:
        """Why this answer has to go; None where it may stay."""
        for name in (summons.post, summons.source):
            thing = things.get(name)
            if name and (thing is None or thing.removed or thing.author is None):
                return "its original is gone"
        said = things.get(summons.reply)
        if not isinstance(said, Comment) or said.removed or said.author is None:
            return "it was removed"
        return "its score is low" if said.score <= self._settings.bot_score_floor else None
