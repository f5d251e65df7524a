"""Rounds: listen, take the next step of each mention, keep the manners; until it is told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot.answering import Answering, place
from bot.database import Database
from bot.errors import Forbidden, Gone, RedditError, Stopped, Throttled
from bot.health import Health
from bot.limits import Limits
from bot.models import Channel, Comment, Mention, Message, State
from bot.pace import Pace
from bot.policy import Policy
from bot.reddit import MARKED_AT_ONCE, Reddit
from bot.settings import Settings
from bot.sweep import Sweep

AT_ONCE = 25
"""Mentions of a round: their photographs are at the service together."""
LONGEST_BACKOFF = 600.0
STREAM_OVERLAP = 120.0
"""Seconds that are read once more, as comments do not show up in order."""
log = logging.getLogger("autochrome.bot")


class Loop:
    """One bot at work."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        policy: Policy,
        limits: Limits,
        answering: Answering,
        sweep: Sweep,
        health: Health,
        pace: Pace,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
    ) -> None:
        """`wait`: sleep so many seconds; whether the bot is to stop."""
        self._settings = settings
        self.database = database
        self.reddit = reddit
        self.policy = policy
        self._limits = limits
        self._answering = answering
        self._sweep = sweep
        self._health = health
        self._pace = pace
        self._clock = clock
        self._wait = wait
        self._heard: dict[str, Comment | Message] = {}
        self._listen_at = 0.0
        self._failures = 0
        self._started_at = self._first_start()

    def _first_start(self) -> float:
        """When this database was begun; a whole second, as Reddit dates comments so."""
        started_at = self.database.progress().started_at
        if started_at is None:
            started_at = float(int(self._clock()))
            self.database.save_progress(started_at=started_at)
        return started_at

    def run(self) -> None:
        """Until `wait` says that it is enough."""
        while not self._wait(self.round()):
            pass

    def run_once(self) -> None:
        """Listen once, and work until nothing is due or soon will be."""
        wait = self.round()
        self._listen_at = float("inf")
        while self._is_soon(self.database.next_due()) and not self._wait(wait):
            wait = self.round()

    def _is_soon(self, due: float | None) -> bool:
        return due is not None and due <= self._clock() + self._settings.bot_pause

    def round(self) -> float:
        """One round, which nothing stops; seconds until the next."""
        try:
            self._one_round()
        except Stopped:
            return 0.0
        except Throttled as error:
            self._health.round_failed("throttled")
            log.warning("Reddit asks for patience seconds=%.0f", error.seconds)
            return max(error.seconds, 1.0)
        except RedditError as error:
            log.warning("%s", error)
            return self._after_failure(error)
        except Exception as error:  # a fault of ours, or of the disk; its words may name people
            log.error("round failed fault=%s at=%s", type(error).__name__, place(error))
            return self._after_failure(error)
        self._failures = 0
        self._health.round_done(self.database.counts(), self._pace.requests)
        due = self.database.next_due()
        due_at = self._listen_at if due is None else min(due, self._listen_at)
        return min(max(due_at - self._clock(), 0.0), self._settings.bot_pause)

    def _after_failure(self, error: Exception) -> float:
        self._health.round_failed(type(error).__name__.lower())
        pause: float = min(self._settings.bot_backoff * 2.0 ** min(self._failures, 16), LONGEST_BACKOFF)
        self._failures += 1
        return pause

    def _one_round(self) -> None:
        if self._clock() >= self._listen_at:
            self._limits.refresh()
            self._listen()
            self._listen_at = self._clock() + self._settings.bot_pause
        if due := self.database.due(self._clock(), AT_ONCE):
            self._answering.advance(due, self._heard)
        self._mark_read()
        if self._sweep.is_due():
            self._recall()
            self._sweep.run()

    def _listen(self) -> None:
        """Take in what is new. What asks for nothing is marked as read."""
        entries = self.reddit.unread()
        self._heard = {entry.fullname: entry for entry in entries}
        ignored = [entry.fullname for entry in entries if not self._take_in(entry, "inbox")]
        for start in range(0, len(ignored), MARKED_AT_ONCE):
            self.reddit.mark_read(ignored[start : start + MARKED_AT_ONCE])
        if self._settings.bot_subreddits:
            self._listen_to_streams()

    def _listen_to_streams(self) -> None:
        known = self.database.progress().stream_read_until or self._clock()
        try:
            comments = self.reddit.comments(self._settings.bot_subreddits, known - STREAM_OVERLAP)
        except (Forbidden, Gone) as error:
            log.warning("AUTOCHROME_BOT_SUBREDDITS names one that cannot be read: %s", error)
            return
        for comment in comments:
            self._take_in(comment, "stream")
        newest = max((comment.created for comment in comments), default=known)
        self.database.save_progress(stream_read_until=max(newest, known))

    def _recall(self) -> None:
        """Mentions that somebody has read on the bot's account before the bot did; since the last time this was looked for."""
        for comment in self.reddit.mentions():
            self._take_in(comment, "stream", late=self._settings.bot_sweep)

    def _take_in(self, said: Comment | Message, channel: Channel, late: float = 0.0) -> bool:
        """Write a mention down; whether it is known, then. `late`: seconds that it may have lain about unseen."""
        known = self.database.mention(said.fullname)
        if known is not None:
            if channel == "inbox":  # it came by the stream first, or was not marked after all
                self.database.mark_read([said.fullname], is_read=False)
            return True
        now = self._clock()
        oldest = now - self._settings.bot_patience - late
        if channel == "stream":  # where nothing tells what a bot before this database has answered
            oldest = max(oldest, self._started_at)
        if said.created < oldest or not self.policy.hears(said):
            return False
        who, post = self.database.hash(said.author), said.post if isinstance(said, Comment) else ""
        channel = channel if isinstance(said, Comment) else "message"
        self.database.add(
            Mention(said.fullname, State.SEEN, channel, who, said.subreddit, post, seen_at=now, due_at=now)
        )
        log.info("heard mention=%s channel=%s", said.fullname, channel)
        return True

    def _mark_read(self) -> None:
        """What is done and written down."""
        done = self.database.to_mark_read()
        for start in range(0, len(done), MARKED_AT_ONCE):
            some = done[start : start + MARKED_AT_ONCE]
            self.reddit.mark_read(some)
            self.database.mark_read(some)
