"""A fake Reddit, and the real PRAW that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import praw
import prawcore
import pytest
from fake_reddit import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server
        assert not server.unknown


@pytest.fixture
def reddit(server: Server) -> praw.Reddit:
    return praw.Reddit(**server.settings())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """prawcore tries again at once, instead of within 2 s."""
    monkeypatch.setattr(prawcore.sessions.FiniteRetryStrategy, "_sleep_seconds", lambda self: None)
