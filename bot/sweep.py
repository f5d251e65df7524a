"""Once a day: what was deleted on Reddit is erased, and what people did not like is taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot.client import ClientError
from bot.database import Database
from bot.erasing import Eraser
from bot.models import Comment, Mention, Post
from bot.reddit import Reddit
from bot.settings import Settings

AT_ONCE = 33
"""Answers that are asked about at once: three names each, and Reddit takes a hundred."""
MANY = 3
"""Answers of which Reddit shows nothing at all: that is more likely its fault than that all are gone."""
log = logging.getLogger("autochrome.bot")


class Sweep:
    """Goes through all answers whose pictures are still kept."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        eraser: Eraser,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._reddit = reddit
        self._eraser = eraser
        self._clock = clock

    def is_due(self) -> bool:
        return self._clock() >= (self._database.progress().swept_at or 0.0) + self._settings.bot_sweep

    def run(self) -> None:
        """All of it. Raises RedditError where Reddit does not answer: then it is due again."""
        for fullname in self._database.with_leftover_tasks():
            self._eraser.try_to_drop_pictures(fullname)
        answered = self._database.replied()
        for start in range(0, len(answered), AT_ONCE):
            self._look_at(answered[start : start + AT_ONCE])
        self._database.save_progress(swept_at=self._clock())

    def _look_at(self, answered: list[Mention]) -> None:
        names = {name for it in answered for name in (it.reply, it.shown_in, it.post) if name}
        things = self._reddit.info(names)
        if missing := [name for name in names if name not in things]:
            # What Reddit leaves out counts as gone, and one answer that holds nothing would erase all: it is asked twice.
            things |= self._reddit.info(missing)
        if not things and len(answered) >= MANY:
            log.warning("not swept answers=%d because=Reddit shows nothing of them", len(answered))
            return
        for mention in answered:
            if self._clock() > mention.seen_at + self._settings.bot_keep_for:
                self._database.forget_pictures(mention.fullname)
            reason = self._why_erase(mention, things)
            if reason is None:
                continue
            try:
                self._eraser.erase(mention)
                log.info("swept mention=%s because=%s", mention.fullname, reason)
            except ClientError as error:
                log.warning("not swept mention=%s because=%s", mention.fullname, type(error).__name__)

    def _why_erase(self, mention: Mention, things: dict[str, Post | Comment]) -> str | None:
        """Why this answer has to go; None where it may stay."""
        for name in (mention.post, mention.shown_in):
            thing = things.get(name)
            if name and (thing is None or thing.removed or thing.author is None):
                return "its original is gone"
        said = things.get(mention.reply)
        if not isinstance(said, Comment) or said.removed or said.author is None:
            return "it was removed"
        return "its score is low" if said.score <= self._settings.bot_score_floor else None
