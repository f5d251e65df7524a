"""The colored picture at Reddit, for the comment that shows it: within a budget, and never needed for an answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import httpx

from autochrome import Autochrome, AutochromeError, Job
from bot.database import Database
from bot.models import Mention
from bot.reddit import Lease, Reddit, RedditError, SignInError, ThrottledError

MAX_BYTES = 20 * 2**20
"""Reddit takes no larger picture."""
MAX_PIXELS = 25_000_000
"""Of a larger one the file is not even fetched from the service."""
MAX_UPLOADS = 2
"""Of one reply: the first and one retry, also where the bot was killed meanwhile."""
TIMEOUT, DEADLINE = 10.0, 20.0
"""Seconds without a byte, and for one upload in all."""
CHUNK = 65536
PAUSE = 600.0
"""Seconds without uploads after one has failed for good."""
ALLOWED_FOR, REFUSED_FOR = 86400.0, 3600.0
"""Seconds for which it is known whether a subreddit allows pictures, and that it could not be told."""
_KINDS = ((b"\xff\xd8\xff", "colored.jpg", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "colored.png", "image/png"))
Upload: TypeAlias = Callable[[Lease, str, bytes, str], None]
log = logging.getLogger("autochrome.bot")


class Uploader:
    """Takes colored pictures from the service to Reddit."""

    def __init__(
        self,
        database: Database,
        reddit: Reddit,
        service: Autochrome,
        web: httpx.Client,
        is_calm: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """`is_calm`: whether there are requests to spare; an upload costs one more than the link alone."""
        self._database = database
        self._reddit = reddit
        self._service = service
        self._web = web
        self._is_calm = is_calm
        self._clock = clock
        self._allowed: dict[str, tuple[float, bool]] = {}
        """Subreddit → until when it is known, and whether it allows pictures in comments."""
        self._paused_until = 0.0

    def upload(self, mention: Mention, job: Job) -> str:
        """Reddit's id of a job's picture; "" where the link has to do. Raises ThrottledError and SignInError."""
        if mention.media:  # it lies there already, and only the comment was put off
            return mention.media
        uploads = mention.uploads
        if uploads >= MAX_UPLOADS or not self._has_budget(mention, job):
            return ""
        try:
            data = self._service.result(job.id)
        except AutochromeError as error:
            log.warning("upload_failed mention=%s error=%s", mention.fullname, type(error).__name__)
            return ""
        kind = next((it for it in _KINDS if data.startswith(it[0])), None)
        if kind is None or len(data) > MAX_BYTES:
            return ""
        _, name, media_type = kind
        while uploads < MAX_UPLOADS:
            uploads += 1
            self._update(mention, uploads=uploads)
            try:
                lease = self._reddit.lease(name, media_type)
                send(self._web, lease, name, data, media_type)
            except (ThrottledError, SignInError):
                raise
            except (RedditError, httpx.HTTPError, httpx.InvalidURL) as error:
                log.warning("upload_failed mention=%s error=%s", mention.fullname, type(error).__name__)
                continue
            self._update(mention, media=lease.media)
            return lease.media
        self._paused_until = self._clock() + PAUSE
        return ""

    def refused(self, subreddit: str) -> None:
        """A comment with a picture was refused there, and one without was not."""
        self._allowed[subreddit.lower()] = (self._clock() + ALLOWED_FOR, False)

    def _update(self, mention: Mention, **changed: object) -> None:
        self._database.update(mention.fullname, mention.state, self._clock(), **changed)

    def _has_budget(self, mention: Mention, job: Job) -> bool:
        if job.width * job.height > MAX_PIXELS or self._clock() < self._paused_until:
            return False
        return self._is_calm() and self._is_allowed(mention.subreddit)

    def _is_allowed(self, subreddit: str) -> bool:
        known_until, allowed = self._allowed.get(subreddit.lower(), (0.0, False))
        if self._clock() >= known_until:
            try:
                allowed, known_for = self._reddit.allows_pictures(subreddit), ALLOWED_FOR
            except (ThrottledError, SignInError):
                raise
            except RedditError:
                allowed, known_for = False, REFUSED_FOR
            self._allowed[subreddit.lower()] = (self._clock() + known_for, allowed)
        return allowed


def send(
    web: httpx.Client,
    lease: Lease,
    name: str,
    data: bytes,
    media_type: str,
    deadline: float = DEADLINE,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """The file, to where a lease says. Raises httpx.HTTPError where it did not arrive in time."""
    give_up = clock() + deadline
    # The file last: the store reads no field behind it.
    form = httpx.Request("POST", lease.url, data=dict(lease.fields), files={"file": (name, data, media_type)})
    body = form.read()

    def parts() -> Iterator[bytes]:
        for start in range(0, len(body), CHUNK):
            if clock() > give_up:
                raise httpx.WriteTimeout("the upload takes too long")
            yield body[start : start + CHUNK]

    headers = {name: form.headers[name] for name in ("content-type", "content-length")}
    with web.stream("POST", lease.url, content=parts(), headers=headers, timeout=TIMEOUT) as answer:
        answer.raise_for_status()
