"""Run the bot.

    python -m bot              until it is told to stop
    python -m bot --once       answer what there is, and end
    python -m bot --dry-run    say here what it would say there: nothing is written on Reddit or remembered

Every setting is an environment variable that begins with AUTOCHROME_; docs/bot.md lists them.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from bot import settings as configuration
from bot.answering import Answering
from bot.client import Client
from bot.database import Database, DatabaseError
from bot.download import open_client
from bot.erasing import Eraser
from bot.errors import EX_CONFIG, RedditError, SettingsError, SignedOut
from bot.health import Health
from bot.limits import Limits
from bot.loop import Loop
from bot.pace import Pace
from bot.policy import Policy
from bot.reddit import Reddit, user_agent
from bot.settings import Settings
from bot.sweep import Sweep

DRY_KEEP_FOR = 3600.0
PATIENCE = 2.0
"""Seconds for which a failed request to the service is repeated at once; the loop has its own patience."""
log = logging.getLogger("autochrome.bot")


def main() -> int:
    arguments = _parse()
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING
    )
    log.setLevel(logging.INFO)
    try:
        settings = configuration.read()
        if settings.public_url is None and not arguments.dry_run:
            raise SettingsError(
                "AUTOCHROME_PUBLIC_URL is not set: the links in answers begin with it, as people reach the service."
            )
        with ExitStack() as open_things:
            return _run(settings, arguments.once, arguments.dry_run, open_things)
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


def _run(settings: Settings, once: bool, dry_run: bool, open_things: ExitStack) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loop = build(settings, open_things, dry_run=dry_run, wait=stop.wait)
    _sign_in(loop.reddit, settings)
    if once:
        loop.run_once()
    else:
        loop.run()
    return 0


def build(
    settings: Settings,
    open_things: ExitStack,
    *,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
    pace: Pace | None = None,
    wait: Callable[[float], bool],
) -> Loop:
    """The bot of some settings; what it opens is closed with `open_things`."""
    state = None if dry_run else settings.bot_state_dir
    if dry_run:  # its pictures are only for who tries the bot
        settings = settings.model_copy(update={"bot_keep_for": min(settings.bot_keep_for, DRY_KEEP_FOR)})
    database = Database(state / "bot.sqlite" if state else None)
    open_things.callback(database.close)
    try:
        health = Health(state / "health" if state else None, settings.bot_metrics_port)
    except OSError as error:
        raise SettingsError(f"AUTOCHROME_BOT_METRICS_PORT={settings.bot_metrics_port}: {error}.") from error
    open_things.callback(health.close)
    web = open_things.enter_context(open_client(user_agent(settings)))
    service = open_things.enter_context(
        Client(
            settings.service_url,
            settings.service_key.get_secret_value() or None,
            patience=PATIENCE,
            user_agent=user_agent(settings),
        )
    )
    pace = pace or Pace(settings.bot_requests_per_minute, wait)
    reddit = Reddit(settings, pace, dry_run)
    limits = Limits(settings, database, reddit, clock)
    policy = Policy(settings.reddit_username, database, limits, settings.image_hosts, settings.bot_over_18)
    answering = Answering(settings, database, reddit, service, web, policy, clock)
    sweep = Sweep(settings, database, reddit, Eraser(database, reddit, service), clock)
    return Loop(settings, database, reddit, policy, limits, answering, sweep, health, pace, clock, wait)


def _sign_in(reddit: Reddit, settings: Settings) -> None:
    """Raises SettingsError where Reddit does not know us. Where it does not answer, the loop goes on asking."""
    try:
        name = reddit.me()
    except SignedOut as error:
        raise SettingsError(f"{error} Check AUTOCHROME_REDDIT_CLIENT_ID and what follows it.") from error
    except RedditError as error:
        log.warning("%s", error)
        return
    if name.lower() != settings.reddit_username.lower():
        raise SettingsError(
            f"AUTOCHROME_REDDIT_USERNAME={settings.reddit_username!r}, but the account is {name}."
        )
    log.info("ready as=u/%s", name)


if __name__ == "__main__":
    sys.exit(main())
