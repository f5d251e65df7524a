"""A fake Reddit with a post in it, and what the bot must know to work there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_reddit import Server


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
