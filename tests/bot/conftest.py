"""A fake Reddit with a post in it, and what the bot must know to work there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fake_reddit import Server

from bot.__main__ import build
from bot.pace import Pace
from bot.settings import Settings


@pytest.fixture
def reddit() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def words(reddit: Server, tmp_path: Path) -> dict[str, Any]:
    """The bot's settings, by their names without AUTOCHROME_ and in small letters."""
    known = reddit.settings()
    return {
        "public_url": "https://colors.example",
        "reddit_client_id": known["client_id"],
        "reddit_client_secret": known["client_secret"],
        "reddit_username": known["username"],
        "reddit_password": known["password"],
        "reddit_url": reddit.url,
        "reddit_oauth_url": reddit.url,
        "image_hosts": reddit.url,
        "bot_state_dir": tmp_path / "bot",
        "bot_pause": 0.5,
        "bot_backoff": 0.2,
    }


@pytest.fixture
def shown(reddit: Server, gray_photo: Callable[..., bytes]) -> Callable[..., Any]:
    """Ann's post with a gray photograph, in r/OldPhotos."""

    def post(name: str = "grandma.jpg", data: bytes | None = None, **traits: Any) -> Any:
        url = reddit.picture(name, gray_photo() if data is None else data)
        return reddit.person("ann").post("OldPhotos", "Grandma in 1931", **{"url": url, **traits})

    return post


class Here:
    """The bot in this process, with a clock that waiting puts forward."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.settings = Settings(**values)
        self.ahead = 0.0
        self._open = ExitStack()
        self.pace = Pace(self.settings.bot_requests_per_minute, self.now, self._sleep)
        self.loop = build(self.settings, self._open, clock=self.now, pace=self.pace, wait=self._wait)

    def now(self) -> float:
        return time.time() + self.ahead

    def _sleep(self, seconds: float) -> None:
        self.ahead += seconds

    def _wait(self, seconds: float) -> bool:
        self._sleep(seconds)
        return False

    def work(self, done: Callable[[], object], rounds: int = 60) -> None:
        """Rounds until something is so; a failed test where it is not after so many."""
        for _ in range(rounds):
            self._wait(self.loop.round())
            if done():
                return
            time.sleep(0.01)  # the service works by the true clock
        pytest.fail(f"not after {rounds} rounds")

    def states(self) -> dict[str, int]:
        """How many summonses are in each state."""
        return self.loop.ledger.counts()

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def here(words: dict[str, Any]) -> Iterator[Callable[..., Here]]:
    """Start the bot in this process; the one before it is ended."""
    started: list[Here] = []

    def start(**changed: Any) -> Here:
        for one in started:
            one.close()
        started.append(Here({**words, "bot_pause": 1.0, "bot_ignore_bottiquette": True, **changed}))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def unused_url() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "http://{}:{}".format(*listener.getsockname())
