"""Pictures to the service and back: fetched, looked at, sent, waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import httpx

from bot import wording
from bot.client import (
    Busy,
    Client,
    Conflict,
    Gone,
    Job,
    NotAllowed,
    NotFound,
    Options,
    Refused,
    Unavailable,
    job_id,
)
from bot.deciding import NOTHING, Color
from bot.download import DownloadError, HostRefused, Missing, NoPicture, TooLarge, Unreachable, download
from bot.grayness import NotReadable, TooManyPixels, look
from bot.ledger import Errand, Ledger, Summons
from bot.pictures import Picture
from bot.settings import Settings
from bot.wording import Facts, Reason

COLORING = 3.0
"""Seconds that a round waits for one picture; the next round looks again."""
LOOK = 0.25
"""Seconds between two looks."""


class RefusedError(Exception):
    """There will be no picture, for this reason."""

    def __init__(self, reason: Reason, facts: Facts = NOTHING) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = facts


class Coloring:
    """Has pictures colored."""

    def __init__(self, settings: Settings, ledger: Ledger, service: Client, web: httpx.Client) -> None:
        self._settings = settings
        self._ledger = ledger
        self._service = service
        self._web = web
        self._longest: float | None = None
        """How long the service keeps a job at most, once it is known."""

    def send(self, summons: Summons, wanted: Color, free: Sequence[Picture]) -> set[str]:
        """Those that are gray, or wanted whatever they are. Of several, what is no good is passed over.

        Jobs that were made. Raises RefusedError where none could be made for a reason.
        """
        sent: set[str] = set()
        refused: RefusedError | None = None
        for picture in free:
            try:
                data = self._fetch(picture, wanted.order.kind == "recolor")
                if data is not None:
                    sent.add(self._put(summons, wanted, picture, data))
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

    def _put(self, summons: Summons, wanted: Color, picture: Picture, data: bytes) -> str:
        """The id of a job, which a repetition makes no second time."""
        vividness = wanted.order.vividness
        id = job_id(self._ledger.secret, summons.fullname, picture.url, {"vividness": vividness})
        errand = Errand(id, summons.fullname, picture.index, wanted.of, picture.url, vividness)
        self._ledger.put_errand(errand)
        if self._longest is None:
            self._longest = self._service.longest_keep_for()
        keep_for = min(self._settings.bot_keep_for, self._longest)
        options: Options = {"artifacts": "comparison", "keep_for": f"{keep_for:g}", "vividness": vividness}
        try:
            job = self._service.create(data, id, options)
        except Conflict:  # made before the service's settings changed
            job = self._service.get(id)
        except (Busy, Unavailable, NotFound, NotAllowed):
            raise
        except Refused as error:
            self._ledger.drop_errand(id)
            raise RefusedError(wording.reason_of(error.code)) from error
        self._ledger.put_errand(replace(errand, secret=job.secret))
        return id

    def done(self, summons: str) -> list[tuple[Errand, Job]] | None:
        """Its colored pictures; None where one is still worked on. Raises RefusedError where all failed."""
        done: list[tuple[Errand, Job]] = []
        failed = Reason.FAILED
        for errand in self._ledger.errands(summons):
            try:
                job = self._service.wait_for(errand.job, COLORING, LOOK)
            except Gone:
                raise RefusedError(Reason.BUSY) from None
            if not job.is_over:
                return None
            if job.status == "succeeded":
                done.append((errand, job))
                continue
            failed = wording.reason_of(job.error)
            self._service.delete(errand.job, errand.secret)
            self._ledger.drop_errand(errand.job)
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
