"""Pictures to the service and back: fetched, looked at, sent, waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx

from bot import replies
from bot.client import (
    Client,
    Conflict,
    Gone,
    Job,
    NotAllowed,
    NotFound,
    Options,
    PhotoRefused,
    Refused,
    job_id,
)
from bot.database import Database
from bot.download import DownloadError, HostRefused, Missing, NoPicture, TooLarge, Unreachable, download
from bot.grayness import NotReadable, TooManyPixels, look
from bot.images import Picture
from bot.models import Mention, Task
from bot.policy import NOTHING, Color
from bot.replies import Facts, Reason
from bot.settings import Settings

COLORING = 3.0
"""Seconds that a round waits for one picture; the next round looks again."""
LOOK = 0.25
"""Seconds between two looks."""
MAX_KEEP_FOR_TTL = 600.0
"""Seconds after which the service is asked anew for how long it keeps a picture."""


class RefusedError(Exception):
    """There will be no picture, for this reason."""

    def __init__(self, reason: Reason, facts: Facts = NOTHING) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = facts


class Coloring:
    """Has pictures colored."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        service: Client,
        web: httpx.Client,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._service = service
        self._web = web
        self._clock = clock
        self._max_keep_for = float("inf")
        """Seconds for which the service keeps a job at most, as it said at `_max_keep_for_read_at`."""
        self._max_keep_for_read_at = float("-inf")

    def send(self, mention: Mention, wanted: Color, free: Sequence[Picture]) -> set[str]:
        """Those that are gray, or wanted whatever they are. Of several, what is no good is passed over.

        Jobs that were made. Raises RefusedError where none could be made for a reason.
        """
        sent: set[str] = set()
        refused: RefusedError | None = None
        for picture in free:
            try:
                data = self._fetch(picture, wanted.command.kind == "recolor")
                if data is not None:
                    sent.add(self._put(mention, wanted, picture, data))
            except RefusedError as error:
                refused = refused or error
        if refused and not sent:
            raise refused
        return sent

    def _fetch(self, picture: Picture, whatever: bool) -> bytes | None:
        """Its file; None where it is in color."""
        try:
            data = download(self._web, picture.url, self._settings.image_hosts)
            looks = look(data)
        except Unreachable:
            raise
        except DownloadError as error:
            raise _refusal_of(error) from error
        except NotReadable as error:
            raise RefusedError(Reason.NOT_A_PICTURE) from error
        except TooManyPixels as error:
            raise RefusedError(Reason.TOO_LARGE) from error
        if looks.moving:
            raise RefusedError(Reason.MOVING)
        return None if looks.in_color and not whatever else data

    def _put(self, mention: Mention, wanted: Color, picture: Picture, data: bytes) -> str:
        """The id of a job, which a repetition makes no second time."""
        vividness = wanted.command.vividness
        id = job_id(self._database.secret, mention.fullname, picture.url, {"vividness": vividness})
        task = Task(id, mention.fullname, picture.index, wanted.of, picture.url, vividness)
        self._database.save_task(task)
        try:
            job = self._create(data, id, vividness)
        except Conflict:  # made before the service's settings changed
            job = self._service.get(id)
        except (NotFound, NotAllowed):
            raise
        except Refused as error:
            self._database.delete_task(id)
            raise RefusedError(replies.reason_of(error.code)) from error
        self._database.save_task(replace(task, secret=job.secret))
        return id

    def _create(self, data: bytes, id: str, vividness: float) -> Job:
        """Have it colored. An option that is refused may be one that was allowed when the service was last asked."""
        if self._clock() >= self._max_keep_for_read_at + MAX_KEEP_FOR_TTL:
            self._read_max_keep_for()
        try:
            return self._service.create(data, id, self._options(vividness))
        except (PhotoRefused, NotAllowed, NotFound, Gone, Conflict):
            raise
        except Refused:
            before = self._max_keep_for
            self._read_max_keep_for()
            if self._max_keep_for == before:
                raise
        return self._service.create(data, id, self._options(vividness))

    def _read_max_keep_for(self) -> None:
        self._max_keep_for = self._service.max_keep_for()
        self._max_keep_for_read_at = self._clock()

    def _options(self, vividness: float) -> Options:
        keep_for = min(self._settings.bot_keep_for, self._max_keep_for)
        return {"artifacts": "comparison", "keep_for": f"{keep_for:g}", "vividness": vividness}

    def done(self, mention: str) -> list[tuple[Task, Job]] | None:
        """Its colored pictures; None where one is still worked on. Raises RefusedError where all failed."""
        done: list[tuple[Task, Job]] = []
        failed = Reason.FAILED
        for task in self._database.tasks(mention):
            try:
                job = self._service.wait_for(task.job_id, COLORING, LOOK)
            except Gone:
                raise RefusedError(Reason.BUSY) from None
            if not job.is_over:
                return None
            if job.status == "succeeded":
                done.append((task, job))
                continue
            failed = replies.reason_of(job.error)
            self._service.delete(task.job_id, task.secret)
            self._database.delete_task(task.job_id)
        if not done:
            raise RefusedError(failed)
        return done


def _refusal_of(error: DownloadError) -> RefusedError:
    match error:
        case HostRefused():
            return RefusedError(Reason.HOST, Facts(host=error.host))
        case Missing():
            return RefusedError(Reason.GONE)
        case TooLarge():
            return RefusedError(Reason.TOO_LARGE, Facts(megabytes=error.megabytes))
        case NoPicture():
            return RefusedError(Reason.NOT_A_PICTURE)
    raise error
