"""The fake Reddit as a server in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import uvicorn

from fake_reddit.app import create_app
from fake_reddit.calls import Call
from fake_reddit.clock import Clock
from fake_reddit.door import Protocol
from fake_reddit.faults import Fault, Kind
from fake_reddit.people import Person
from fake_reddit.site import Site
from fake_reddit.things import Subreddit
from fake_reddit.tokens import Tokens
from fake_reddit.world import World

CLIENT_ID, CLIENT_SECRET = "an-app", "its secret"
BOT, PASSWORD, REFRESH_TOKEN = "colorizebot", "hunter2", "a-refresh-token"
PLENTY = 600_000


class Server:
    """`with Server() as reddit: …`; its app and its bot are known from the start."""

    def __init__(
        self, *, port: int = 0, bot: str = BOT, budget: int = PLENTY, time: Callable[[], float] = time.time
    ) -> None:
        clock = Clock(time)
        tokens = Tokens(clock, {CLIENT_ID: CLIENT_SECRET}, {REFRESH_TOKEN: bot})
        self.site = Site(clock, World(clock), tokens, budget)
        self.world = self.site.world
        self.clock = clock
        self.world.user(bot, password=PASSWORD)
        self.bot = Person(self.world, bot)
        self._port = port
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
        self.site.url = self._serve(self._port)
        return self

    def _serve(self, port: int) -> str:
        listener = self._running.enter_context(socket.create_server(("127.0.0.1", port)))
        config = uvicorn.Config(
            create_app(self.site), http=Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        self._running.callback(thread.join)
        self._running.callback(setattr, server, "should_exit", True)
        return "http://{}:{}".format(*listener.getsockname())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
