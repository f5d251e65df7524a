"""Run the bot.

    python -m bot              until it is told to stop
    python -m bot --once       answer what there is, and end
    python -m bot --dry-run    say here what it would say there: nothing is written on Reddit or remembered

Every setting is an environment variable that begins with BOT_ or REDDIT_; docs/bot.md lists them.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from autochrome import Autochrome, AutochromeError
from bot import settings as configuration
from bot.commands import Command
from bot.database import Database, DatabaseError
from bot.forwarding import topic_of
from bot.images import open_client
from bot.mentions import MentionHandler, place_of
from bot.models import Channel, Comment, Mention, Message, State
from bot.outbox import Eraser, Outbox, Sweeper
from bot.policy import HOUR, Policy
from bot.reddit import (
    MARK_READ_SIZE,
    PAGE_SIZE,
    DeletedError,
    ForbiddenError,
    NoAnswerError,
    RateLimiter,
    Reddit,
    RedditError,
    SignInError,
    StoppedError,
    ThrottledError,
    user_agent,
)
from bot.settings import Settings, SettingsError
from bot.uploads import Uploader
from bot.visibility import Visibility

EX_CONFIG = 78
"""Exit status of a wrong setting (sysexits.h)."""
DRY_RUN_KEEP_FOR = 3600.0
RETRY_REQUEST_FOR = 2.0
"""Seconds for which a failed request to the service is retried at once; a mention is retried for longer."""
MENTIONS_AT_ONCE = 25
"""Mentions of a round: their photographs are at the service together."""
MAX_RETRY_DELAY = 600.0
HELD = ("rate_limit", "suspended", "shadow_banned", "domain_banned")
"""Why Reddit may take no comments or messages."""
END_AFTER = 1.0
"""Seconds that SIGTERM leaves to what is going on."""
EXIT_AFTER = 1.8
"""Seconds after which the process ends, whatever goes on."""
ENDING = (signal.SIGTERM, signal.SIGINT)
EDITS_FOR, EDITS_INTERVAL = 600.0, 60.0
"""Seconds for which the text of a comment in the inbox is watched, and between two looks: edits notify nobody."""
STREAM_OVERLAP = 120.0
"""Seconds that are read once more, as comments do not show up in order."""
log = logging.getLogger("autochrome.bot")


def main() -> int:
    arguments = _parse()
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING
    )
    log.setLevel(logging.INFO)
    try:
        settings = configuration.read()
        if settings.bot_public_url is None and not arguments.dry_run:
            raise SettingsError(
                "BOT_PUBLIC_URL is not set: the links in answers begin with it, as people reach the service."
            )
        with ExitStack() as resources:
            return _run(settings, arguments.once, arguments.dry_run, resources)
    except (SettingsError, DatabaseError) as error:
        sys.stderr.write(f"error: {error}\n")
        return EX_CONFIG


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="answer what there is, and end")
    parser.add_argument("--dry-run", action="store_true", help="write nothing on Reddit")
    return parser.parse_args()


def _run(settings: Settings, once: bool, dry_run: bool, resources: ExitStack) -> int:
    # Not an Event: to set one from a handler while the main thread is about to wait for it would wait for ever.
    stop: queue.SimpleQueue[None] = queue.SimpleQueue()

    def end(*_: object) -> None:
        stop.put(None)
        signal.setitimer(signal.ITIMER_REAL, END_AFTER, END_AFTER)

    for number in ENDING:
        signal.signal(number, end)
    _exit_when_stuck()
    signal.signal(signal.SIGALRM, _interrupt)
    try:
        loop = build(settings, resources, dry_run=dry_run, wait=partial(_wait, stop))
        _sign_in(loop.reddit, settings)
        if once:
            return 0 if loop.run_once() else 1
        loop.run()
    except InterruptedSleep:
        log.info("bot_interrupted")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _exit_when_stuck() -> None:
    """End also where a library waits in C, such as for a name server: no handler is called before that returns."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(reader, 1)[0] not in ENDING:
            pass
        time.sleep(EXIT_AFTER)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class InterruptedSleep(BaseException):
    """The bot is to end, and something slept or waited for an answer. No `except Exception` keeps it."""


def _interrupt(*_: object) -> None:
    """Wherever we are, as kill -9 there does no harm either."""
    raise InterruptedSleep


def _wait(stop: queue.SimpleQueue[None], seconds: float) -> bool:
    """Wait for so many seconds, or until a signal says to stop; whether one did, then or before."""
    try:
        stop.get(timeout=seconds)
    except queue.Empty:
        return False
    stop.put(None)  # whoever waits next returns at once too
    return True


def _sign_in(reddit: Reddit, settings: Settings) -> None:
    """Raises SettingsError where Reddit does not know us. Where it does not answer, the loop goes on asking."""
    try:
        name = reddit.me()
    except SignInError as error:
        raise SettingsError(f"{error} Check REDDIT_CLIENT_ID and what follows it.") from error
    except RedditError as error:
        log.warning("sign_in_failed error=%s detail=%r", type(error).__name__, str(error))
        return
    if name.lower() != settings.reddit_username.lower():
        raise SettingsError(f"REDDIT_USERNAME={settings.reddit_username!r}, but the account is {name}.")
    log.info("bot_ready account=u/%s", name)


def build(
    settings: Settings,
    resources: ExitStack,
    *,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
    rate_limit: RateLimiter | None = None,
    wait: Callable[[float], bool],
) -> Loop:
    """The bot of some settings; what it opens is closed with `resources`."""
    state = None if dry_run else settings.bot_state_dir
    if dry_run:  # its pictures are only for who tries the bot
        keep_for = min(settings.bot_keep_for, DRY_RUN_KEEP_FOR)
        settings = settings.model_copy(update={"bot_keep_for": keep_for, "bot_pictures": False})
    database = Database(state / "bot.sqlite" if state else None)
    resources.callback(database.close)
    try:
        health = Health(
            state / "health" if state else None, settings.bot_metrics_host, settings.bot_metrics_port
        )
    except OSError as error:
        raise SettingsError(
            f"BOT_METRICS_HOST={settings.bot_metrics_host}, BOT_METRICS_PORT={settings.bot_metrics_port}: {error}."
        ) from error
    resources.callback(health.close)
    web = resources.enter_context(open_client(user_agent(settings)))
    service = resources.enter_context(
        Autochrome(
            settings.bot_service_url,
            settings.bot_service_key.get_secret_value() or None,
            retry_for=RETRY_REQUEST_FOR,
            user_agent=user_agent(settings),
        )
    )
    rate_limit = rate_limit or RateLimiter(settings.bot_requests_per_minute, wait)
    reddit = Reddit(settings, rate_limit, dry_run, clock)
    policy = Policy(settings, database, reddit, clock)
    eraser = Eraser(database, reddit, service)
    outbox = Outbox(settings, database, reddit, clock)
    uploader = Uploader(database, reddit, service, web, rate_limit.is_calm, clock)
    handler = MentionHandler(
        settings, database, reddit, service, web, policy, eraser, outbox, uploader, clock
    )
    sweeper = Sweeper(settings, database, reddit, eraser, clock)
    visibility = Visibility(database, reddit, outbox, clock)
    parts = (policy, handler, outbox, sweeper, visibility, health)
    return Loop(settings, database, reddit, *parts, rate_limit, clock, wait)


class Loop:
    """Rounds: read what is new, take the next step of each mention, sweep; until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reddit: Reddit,
        policy: Policy,
        handler: MentionHandler,
        outbox: Outbox,
        sweeper: Sweeper,
        visibility: Visibility,
        health: Health,
        rate_limit: RateLimiter,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
    ) -> None:
        """`wait`: sleep so many seconds; whether the bot is to stop."""
        self._settings = settings
        self.database = database
        self.reddit = reddit
        self.policy = policy
        self._handler = handler
        self._outbox = outbox
        self._sweeper = sweeper
        self._visibility = visibility
        self._health = health
        self._rate_limit = rate_limit
        self._clock = clock
        self._wait = wait
        self._inbox: dict[str, Comment | Message] = {}
        self._watched: dict[str, tuple[float, Command | None]] = {}
        """Comments of the inbox, the newest last: when each was written, and what it asked."""
        self._edits_due_at = 0.0
        self._poll_at = 0.0
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

    def run_once(self) -> bool:
        """Read once what is new, and work until nothing is due or soon will be. Whether it could be read."""
        delay = self.round()
        was_read = self._poll_at > 0
        self._poll_at = float("inf")
        while self._is_soon(self.database.next_due()) and not self._wait(delay):
            delay = self.round()
        return was_read

    def _is_soon(self, due: float | None) -> bool:
        return due is not None and due <= self._clock() + self._settings.bot_poll_interval

    def round(self) -> float:
        """One round, which nothing stops; seconds until the next."""
        try:
            self._one_round()
        except StoppedError:
            return 0.0
        except ThrottledError as error:
            self._health.round_failed(error)
            log.warning("reddit_throttled seconds=%.0f", error.seconds)
            return max(error.seconds, 1.0)
        except RedditError as error:
            log.warning("round_failed error=%s detail=%r", type(error).__name__, str(error))
            return self._delay_after(error)
        except Exception as error:  # a fault of ours, or of the disk; its words may name people
            log.error("round_failed error=%s at=%s", type(error).__name__, place_of(error))
            return self._delay_after(error)
        self._failures = 0
        self._health.round_done(
            self.database.counts(),
            self._rate_limit.requests,
            self._outbox.held(),
            self._sweeper.removed,
            self._visibility.unseen,
        )
        due = self.database.next_due()
        next_at = self._poll_at if due is None else min(due, self._poll_at)
        return min(max(next_at - self._clock(), 0.0), self._settings.bot_poll_interval)

    def _delay_after(self, error: Exception) -> float:
        self._health.round_failed(error)
        delay: float = min(self._settings.bot_retry_delay * 2.0 ** min(self._failures, 16), MAX_RETRY_DELAY)
        self._failures += 1
        return delay

    def _one_round(self) -> None:
        if self._clock() >= self._poll_at:
            self.policy.refresh()
            self.database.forget_tallies(self._clock() - HOUR)
            self._poll()
            self._poll_at = self._clock() + self._settings.bot_poll_interval
        if self._visibility.is_due():
            self._visibility.run()
        if due := self.database.due(self._clock(), MENTIONS_AT_ONCE):
            self._handler.advance(due, self._inbox)
        self._mark_read()
        if self._sweeper.is_due():
            self._read_old_mentions()
            self._sweeper.run()

    def _poll(self) -> None:
        """Take in what is new. What asks for nothing is marked as read."""
        entries, unreadable = self.reddit.unread()
        self._inbox = {entry.fullname: entry for entry in entries}
        ignored = [entry.fullname for entry in entries if not self._take_in(entry, "inbox")]
        for start in range(0, len(ignored), MARK_READ_SIZE):
            self.reddit.mark_read(ignored[start : start + MARK_READ_SIZE])
        for name in unreadable:
            try:
                self.reddit.mark_read([name])
            except (
                NoAnswerError,
                DeletedError,
                ForbiddenError,
            ) as error:  # perhaps no kind that can be marked
                log.warning("mark_failed entry=%s error=%s", name, type(error).__name__)
        self._read_edits()
        if self._settings.bot_subreddits:
            self._read_streams()

    def _read_edits(self) -> None:
        """Look at what was written in the last minutes once more, the newest hundred, as an edit notifies nobody."""
        now = self._clock()
        for entry in reversed(self._inbox.values()):  # Reddit lists the newest first
            if isinstance(entry, Comment) and entry.fullname not in self._watched:
                self._watched[entry.fullname] = (entry.created, self.policy.command(entry))
        self._watched = {name: it for name, it in self._watched.items() if it[0] > now - EDITS_FOR}
        if not self._watched or now < self._edits_due_at:
            return
        self._edits_due_at = now + EDITS_INTERVAL
        for name, written in self.reddit.info([*self._watched][-PAGE_SIZE:]).items():
            asked = self.policy.command(written) if isinstance(written, Comment) else None
            if isinstance(written, Comment) and asked != self._watched[name][1] and self._hear_edit(written):
                self._watched[name] = (written.created, asked)

    def _hear_edit(self, written: Comment) -> bool:
        """What asked for nothing may ask now; what was refused may be put right; and what was colored may be taken back.

        Whether that is done: a mention that is worked on, or an edit that cannot be carried out now, is looked at again.
        """
        mention = self.database.mention(written.fullname)
        if mention is None:
            self._take_in(written, "inbox")
            return True
        try:
            if mention.state in (State.REFUSED, State.REPLIED):
                self._handler.reconsider(mention, written)
        except (ThrottledError, SignInError, NoAnswerError):
            raise
        except (RedditError, AutochromeError) as error:
            log.warning("edit_failed mention=%s error=%s", written.fullname, type(error).__name__)
            return False
        return mention.state not in (State.SEEN, State.QUEUED, State.COLORED, State.REPLYING)

    def _read_streams(self) -> None:
        read_until = self.database.progress().stream_read_until or self._clock()
        try:
            comments = self.reddit.comments(self._settings.bot_subreddits, read_until - STREAM_OVERLAP)
        except (ForbiddenError, DeletedError) as error:
            log.warning("stream_failed setting=BOT_SUBREDDITS detail=%r", str(error))
            return
        for comment in comments:
            self._take_in(comment, "stream")
        newest = max((comment.created for comment in comments), default=read_until)
        self.database.save_progress(stream_read_until=max(newest, read_until))

    def _read_old_mentions(self) -> None:
        """Mentions that somebody has read on the bot's account before the bot did, since the last sweep."""
        for comment in self.reddit.mentions():
            self._take_in(comment, "stream", late=self._settings.bot_sweep_interval)

    def _take_in(self, written: Comment | Message, channel: Channel, late: float = 0.0) -> bool:
        """Write a mention down; whether it is known, then. `late`: seconds that it may have lain about unseen."""
        if self.database.mention(written.fullname) is not None:
            if channel == "inbox":  # it came by the stream first, or was not marked after all
                self.database.mark_read([written.fullname], is_read=False)
            return True
        now = self._clock()
        oldest = now - self._settings.bot_retry_for - late
        if channel == "stream":  # where nothing tells what a bot before this database has answered
            oldest = max(oldest, self._started_at)
        is_for_operator = channel == "inbox" and topic_of(written) != ""
        if written.created < oldest or not (is_for_operator or self.policy.is_request(written)):
            return False
        post = written.post if isinstance(written, Comment) else ""
        channel = channel if isinstance(written, Comment) else "message"
        author = self.database.hash(written.author)
        self.database.add(
            Mention(
                written.fullname,
                State.SEEN,
                channel,
                author,
                written.subreddit,
                post,
                seen_at=now,
                due_at=0.0 if self.policy.takes_away(written) else now,
                created_at=written.created,
            )
        )
        log.info("mention_seen mention=%s channel=%s", written.fullname, channel)
        return True

    def _mark_read(self) -> None:
        """What is done and written down."""
        done = self.database.to_mark_read()
        for start in range(0, len(done), MARK_READ_SIZE):
            some = done[start : start + MARK_READ_SIZE]
            self.reddit.mark_read(some)
            self.database.mark_read(some)


class Health:
    """What others may look at: a file that every whole round touches, and metrics for Prometheus."""

    def __init__(self, path: Path | None, host: str, port: int) -> None:
        """`path`: of the file; None: there is none. `host`, `port`: where metrics are served; port 0: nowhere."""
        self._path = path
        registry = CollectorRegistry()
        prefix = "autochrome_bot"
        self._mentions = Gauge(f"{prefix}_mentions", "Mentions by state", ["state"], registry=registry)
        self._rounds = Counter(f"{prefix}_rounds", "Whole rounds", registry=registry)
        self._failures = Counter(
            f"{prefix}_failed_rounds", "Rounds that failed, by error", ["error"], registry=registry
        )
        self._requests = Counter(f"{prefix}_reddit_requests", "Requests to Reddit", registry=registry)
        self._held = Gauge(f"{prefix}_held", "Reddit takes no comments", ["reason"], registry=registry)
        self._removed = Counter(f"{prefix}_removed_replies", "Replies removed by others", registry=registry)
        self._unseen = Gauge(
            f"{prefix}_unseen_replies", "Of the last day, at the last look", registry=registry
        )
        self._counted_requests = self._counted_removed = 0
        self._counts: dict[str, int] = {}
        self._server = start_http_server(port, host, registry) if port else None

    def close(self) -> None:
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()

    def round_done(
        self, counts: dict[str, int], requests: int, held: set[str], removed: int, unseen: int
    ) -> None:
        """A whole round went well. `requests`, `removed` (replies, by others): since the start; `held`: why Reddit takes no
        comments or messages just now; `unseen`: replies of the last day that others do not see.
        """
        self._unseen.set(unseen)
        for reason in HELD:
            self._held.labels(reason).set(reason in held)
        self._removed.inc(removed - self._counted_removed)
        self._counted_removed = removed
        self._rounds.inc()
        self._counts = dict.fromkeys(self._counts, 0) | counts  # a state that all have left, too, is shown
        for state, count in self._counts.items():
            self._mentions.labels(state).set(count)
        self._requests.inc(requests - self._counted_requests)
        self._counted_requests = requests
        if self._path is not None:
            said = sorted(held) + ([f"unseen_replies {unseen}"] if unseen else [])
            self._path.write_text("".join(f"{line}\n" for line in said) or "ok\n")

    def round_failed(self, error: Exception) -> None:
        self._failures.labels(type(error).__name__).inc()


if __name__ == "__main__":
    sys.exit(main())
