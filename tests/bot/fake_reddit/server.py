"""The fake Reddit as a test holds it: what is there, what goes wrong, and what was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from fake_reddit.app import create_app
from fake_reddit.calls import Call
from fake_reddit.clock import Clock
from fake_reddit.faults import Fault, Kind
from fake_reddit.people import Person
from fake_reddit.ports import Ports
from fake_reddit.site import Site
from fake_reddit.things import Subreddit
from fake_reddit.tokens import Tokens
from fake_reddit.uploads import add_picture
from fake_reddit.world import World

CLIENT_ID, CLIENT_SECRET = "an-app", "its secret"
BOT, PASSWORD, REFRESH_TOKEN = "colorizebot", "hunter2", "a-refresh-token"
PLENTY = 600_000


class Server:
    """`with Server() as reddit: …`; its app and its bot are known from the start."""

    def __init__(
        self,
        *,
        at: Ports | None = None,
        bot: str = BOT,
        budget: int = PLENTY,
        time: Callable[[], float] = time.time,
    ) -> None:
        """`at`: ports that are open, for it to answer at until another does; None: its own, closed with it."""
        clock = Clock(time)
        tokens = Tokens(clock, {CLIENT_ID: CLIENT_SECRET}, {REFRESH_TOKEN: bot})
        self.site = Site(clock, World(clock), tokens, budget)
        self.world = self.site.world
        self.clock = clock
        self.world.user(bot, password=PASSWORD)
        self.bot = Person(self.world, bot)
        self._at = at
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """Both for `reddit_url` and for `oauth_url`."""
        return self.site.url

    @property
    def calls(self) -> list[Call]:
        return self.site.calls

    @property
    def unknown(self) -> list[str]:
        return self.site.unknown

    def calls_to(self, path: str, method: str = "") -> list[Call]:
        """Those of one path, which ends without a slash."""
        return [call for call in self.calls if call.path == path and method in {"", call.method}]

    def person(self, name: str) -> Person:
        return Person(self.world, name)

    def subreddit(self, name: str, **traits: Any) -> Subreddit:
        """With `private`, `quarantined`, `banned`, `over_18`, `banned_users` (small letters), `wiki` (page → text)."""
        return self.world.subreddit(name, **traits)

    def fail(self, path: str, kind: Kind, **how: Any) -> Fault:
        """See `Fault`: `times`, `skip`, `when`, `method`, `seconds`, `words`."""
        fault = Fault(path, kind, **how)
        with self.world.lock:
            self.site.faults.append(fault)
        return fault

    def heal(self) -> None:
        """No more faults."""
        with self.world.lock:
            self.site.faults.clear()

    def picture(self, name: str, data: bytes) -> str:
        """Where a picture can be fetched from now on, as from i.redd.it."""
        with self.world.lock:
            return add_picture(self.site, name, data)

    def settings(self) -> dict[str, str]:
        """What `praw.Reddit(**…)` needs."""
        return {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "username": self.bot.name,
            "password": PASSWORD,
            "user_agent": "linux:fake-reddit:1 (by /u/somebody)",
            "reddit_url": self.url,
            "oauth_url": self.url,
        }

    def __enter__(self) -> Self:
        self.ports = self._at or self._running.enter_context(Ports())
        self.site.url, self.site.tls_url = self.ports.url, self.ports.tls_url
        self.ports.app = create_app(self.site)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
