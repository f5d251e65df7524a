"""The fake Reddit as a server in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme
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
        port: int = 0,
        tls_port: int = 0,
        bot: str = BOT,
        budget: int = PLENTY,
        time: Callable[[], float] = time.time,
    ) -> None:
        clock = Clock(time)
        tokens = Tokens(clock, {CLIENT_ID: CLIENT_SECRET}, {REFRESH_TOKEN: bot})
        self.site = Site(clock, World(clock), tokens, budget)
        self.world = self.site.world
        self.clock = clock
        self.world.user(bot, password=PASSWORD)
        self.bot = Person(self.world, bot)
        self.authority = trustme.CA()
        """Whoever uploads must trust it; see `certificate`."""
        self._port, self._tls_port = port, tls_port
        self._servers: list[uvicorn.Server] = []
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

    def certificate(self, path: Path) -> str:
        """Write the authority's certificate to a file, for `session.verify` or REQUESTS_CA_BUNDLE."""
        self.authority.cert_pem.write_to_path(str(path))
        return str(path)

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
        with self.authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as chain:
            self.site.tls_url = self._serve(self._tls_port, chain)
        return self

    def _serve(self, port: int, chain: str | None = None) -> str:
        """In a thread; with TLS where there is a file with a key and a chain of certificates."""
        listener = self._running.enter_context(socket.create_server(("127.0.0.1", port)))
        # asyncio sets it for sockets that say they are TCP, which these do not: each answer would take 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        config = uvicorn.Config(
            create_app(self.site),
            http=Protocol,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            ssl_certfile=chain,
        )
        config.load()
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        self._running.callback(thread.join)
        self._servers.append(server)
        return "{}://{}:{}".format("https" if chain else "http", *listener.getsockname())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.should_exit = True
        self._running.close()
