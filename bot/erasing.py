"""An answer is taken back everywhere: on Reddit, at the service, in the ledger."""

from __future__ import annotations

import logging

from bot.client import Client, ClientError
from bot.ledger import Errand, Ledger, Summons
from bot.reddit import Reddit

log = logging.getLogger("autochrome.bot")


class Eraser:
    """Erases. What it could not finish, it can be told again."""

    def __init__(self, ledger: Ledger, reddit: Reddit, service: Client) -> None:
        self._ledger = ledger
        self._reddit = reddit
        self._service = service

    def erase(self, summons: Summons) -> None:
        """The answer to a summons, and those that only led to it. Raises RedditError and ClientError."""
        for each in (*self._ledger.followers(summons.fullname), summons):
            if each.reply:
                self._reddit.delete(each.reply)
            self.drop_pictures(each.fullname)
            self._ledger.erase([each.fullname])
            log.info("erased summons=%s", each.fullname)

    def try_to_drop_pictures(self, fullname: str) -> None:
        """The same where it must not stop anything; what is left the sweep finds."""
        try:
            self.drop_pictures(fullname)
        except ClientError as error:
            log.warning("not dropped summons=%s because=%s", fullname, type(error).__name__)

    def drop_pictures(self, fullname: str) -> None:
        """What the service has of it."""
        for errand in self._ledger.errands(fullname):
            self.drop(errand)

    def drop(self, errand: Errand) -> None:
        """The same of one picture."""
        self._service.delete(errand.job, errand.secret)
        self._ledger.drop_errand(errand.job)
