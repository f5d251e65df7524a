"""An answer is taken back everywhere: on Reddit, at the service, in the database."""

from __future__ import annotations

import logging

from bot.client import Client, ClientError
from bot.database import Database
from bot.models import Mention, Task
from bot.reddit import Reddit

log = logging.getLogger("autochrome.bot")


class Eraser:
    """Erases. What it could not finish, it can be told again."""

    def __init__(self, database: Database, reddit: Reddit, service: Client) -> None:
        self._database = database
        self._reddit = reddit
        self._service = service

    def erase(self, mention: Mention) -> None:
        """The answer to a mention, and those that only led to it. Raises RedditError and ClientError."""
        for each in (*self._database.duplicates_of(mention.fullname), mention):
            if each.reply:
                self._reddit.delete(each.reply)
            self.drop_pictures(each.fullname)
            self._database.erase(each.fullname)
            log.info("erased mention=%s", each.fullname)

    def try_to_drop_pictures(self, fullname: str) -> None:
        """The same where it must not stop anything; what is left the sweep finds."""
        try:
            self.drop_pictures(fullname)
        except ClientError as error:
            log.warning("not dropped mention=%s because=%s", fullname, type(error).__name__)

    def drop_pictures(self, fullname: str) -> None:
        """What the service has of it."""
        for task in self._database.tasks(fullname):
            self.drop(task)

    def drop(self, task: Task) -> None:
        """The same of one picture."""
        self._service.delete(task.job_id, task.secret)
        self._database.delete_task(task.job_id)
