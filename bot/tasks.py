"""The pictures of mentions, as jobs of the service: begun, looked at, erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx

from autochrome import (
    Autochrome,
    ConflictError,
    GoneError,
    Job,
    NotAllowedError,
    NotFoundError,
    Options,
    PhotoRefusedError,
    RefusedError,
    job_id,
    job_secret,
)
from bot import replies
from bot.database import Database
from bot.images import (
    HostRefusedError,
    ImageError,
    ImageLink,
    MissingError,
    TooLargeError,
    UnreachableError,
    download,
)
from bot.models import Mention, Task
from bot.outbox import Eraser
from bot.policy import Color
from bot.replies import NO_DETAILS, Details, Reason
from bot.settings import Settings

WAIT_FOR_JOB = 3.0
"""Seconds that a round waits for one picture; the next round looks again."""
POLL_JOB = 0.25
"""Seconds between two looks at a job."""
MAX_KEEP_FOR_TTL = 600.0
"""Seconds after which the service is asked anew for how long it keeps a picture."""
IN_COLOR = "photo_in_color"
"""The service's code for a photo that is in color already, of a job that is to refuse such a one."""


class NotColoredError(Exception):
    """There will be no picture, for this reason."""

    def __init__(self, reason: Reason, details: Details = NO_DETAILS) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class InColorError(Exception):
    """There is nothing to color, as the picture is in color already. `task`: the first such picture."""

    def __init__(self, task: Task) -> None:
        super().__init__("in color already")
        self.task = task


class Tasks:
    """The pictures of mentions, as jobs of the service."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        service: Autochrome,
        web: httpx.Client,
        eraser: Eraser,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._service = service
        self._web = web
        self._eraser = eraser
        self._clock = clock
        self._max_keep_for = float("inf")
        """Seconds for which the service keeps a job at most, as it said at `_max_keep_for_read_at`."""
        self._max_keep_for_read_at = float("-inf")

    def start(self, mention: Mention, wanted: Color, images: Sequence[ImageLink]) -> set[str]:
        """Have them colored, those in color only where that is wanted. Of several, what is no good is passed over.

        Ids of the jobs that were made. Raises NotColoredError where none could be made.
        """
        started: set[str] = set()
        first_error: NotColoredError | None = None
        for image in images:
            try:
                started.add(self._start_or_smaller(mention, wanted, image))
            except NotColoredError as error:
                first_error = first_error or error
        if first_error and not started:
            raise first_error
        return started

    def done(self, mention: str) -> list[tuple[Task, Job]] | None:
        """Its colored pictures; None where one is still worked on.

        Raises InColorError where there are none and one was in color already, NotColoredError where all failed otherwise. Then
        their jobs stay, so that it can be asked again; where others are colored, they are erased.
        """
        done: list[tuple[Task, Job]] = []
        in_color: list[Task] = []
        failed: list[Task] = []
        reason = Reason.FAILED
        for task in self._database.tasks(mention):
            try:
                job = self._service.wait_for(task.job_id, WAIT_FOR_JOB, POLL_JOB)
            except GoneError:
                raise NotColoredError(Reason.BUSY) from None
            if not job.is_over:
                return None
            if job.status == "succeeded":
                done.append((task, job))
            elif job.error == IN_COLOR:
                in_color.append(task)
            else:
                failed.append(task)
                reason = replies.reason_of(job.error)
        if not done:
            raise InColorError(in_color[0]) if in_color else NotColoredError(reason)
        for task in (*in_color, *failed):
            self._discard(task)
        return done

    def _start_or_smaller(self, mention: Mention, wanted: Color, image: ImageLink) -> str:
        """Of a picture that is too large, Reddit's smaller copy is taken."""
        try:
            return self._start(mention, wanted, image, self._fetch(image.url))
        except NotColoredError as error:
            if error.reason != Reason.TOO_LARGE or not image.smaller:
                raise
            return self._start(mention, wanted, image, self._fetch(image.smaller), from_preview=True)

    def _discard(self, task: Task) -> None:
        """Erase a picture that was not colored, and leave it to others."""
        self._database.release(task.mention, task.image_url)
        self._eraser.delete_task(task)

    def _fetch(self, url: str) -> bytes:
        """A picture's file."""
        try:
            return download(self._web, url, self._settings.bot_image_hosts)
        except UnreachableError:
            raise
        except ImageError as error:
            raise _not_colored(error) from error

    def _start(
        self, mention: Mention, wanted: Color, image: ImageLink, data: bytes, from_preview: bool = False
    ) -> str:
        """The id of a job, which a repetition makes no second time."""
        vividness = wanted.command.vividness
        options: dict[str, str | float] = {"vividness": vividness}
        if wanted.command.kind != "recolor":
            options["if_color"] = "refuse"
        id = job_id(self._database.secret, mention.fullname, image.url, options)
        known = {task.job_id: task.secret for task in self._database.tasks(mention.fullname)}
        own = "" if self._service.has_key else job_secret(self._database.secret, id)
        secret = known.get(id) or own  # of an earlier try, or known before the service is asked
        place = (mention.fullname, image.index, wanted.total, image.url)
        task = Task(id, *place, vividness, secret, from_preview)
        self._database.save_task(task)
        try:
            job = self._create(data, id, options, secret)
        except ConflictError:  # made before the service's settings changed
            job = self._service.get(id)
        except NotAllowedError as error:
            if error.code != "secret_wrong":
                raise
            secret = ""  # it was made by a bot that sent none yet, and the answer was lost
            job = self._service.get(id)
        except NotFoundError:
            raise
        except RefusedError as error:
            if error.code == IN_COLOR:  # the job is there, and has failed: `done` finds it so
                return id
            self._database.delete_task(id)
            raise NotColoredError(replies.reason_of(error.code)) from error
        self._database.save_task(replace(task, secret=job.secret or secret))
        return id

    def _create(self, data: bytes, id: str, options: Options, secret: str) -> Job:
        """Have it colored. An option that is refused may be one that was allowed when the service was last asked."""
        if self._clock() >= self._max_keep_for_read_at + MAX_KEEP_FOR_TTL:
            self._read_max_keep_for()
        try:
            return self._service.create(data, id, self._options(options), secret=secret)
        except (PhotoRefusedError, NotAllowedError, NotFoundError, GoneError, ConflictError):
            raise
        except RefusedError:
            before = self._max_keep_for
            self._read_max_keep_for()
            if self._max_keep_for == before:
                raise
        return self._service.create(data, id, self._options(options), secret=secret)

    def _read_max_keep_for(self) -> None:
        self._max_keep_for = self._service.max_keep_for()
        self._max_keep_for_read_at = self._clock()

    def _options(self, options: Options) -> Options:
        """With those that are the same for every picture."""
        keep_for = min(self._settings.bot_keep_for, self._max_keep_for)
        return {"artifacts": "comparison", "keep_for": f"{keep_for:g}", **options}


def _not_colored(error: ImageError) -> NotColoredError:
    match error:
        case HostRefusedError():
            return NotColoredError(Reason.HOST, Details(host=error.host))
        case MissingError():
            return NotColoredError(Reason.GONE)
        case TooLargeError():
            return NotColoredError(Reason.TOO_LARGE, Details(megabytes=error.megabytes))
    return NotColoredError(Reason.NOT_AN_IMAGE)
