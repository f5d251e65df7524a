"""Who waits for changes of jobs in this process, and how they are told: by one subscription to Redis."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import NoReturn

from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError, RedisError

from service.database import PREFIX, connect_to_listen
from service.errors import first_line
from service.observability import get_logger

CHANGED, ENDED = f"{PREFIX}changed", f"{PREFIX}ended"
POLL = 0.5
"""Seconds between two looks of those who wait while the subscription is broken."""
SILENCE = 5.0
"""Seconds of silence after which the server is asked whether it is still there."""

log = get_logger("autochrome.events")


class Changed:
    """Something has happened to one job since this was last waited for, or may have."""

    def __init__(self, hub: Hub, only_end: bool) -> None:
        self.only_end = only_end
        self._hub = hub
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until it has, for so many seconds at most. Then look at the job, whatever woke you."""
        if not self._hub.is_live:
            seconds = min(seconds, POLL)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        self._event.clear()

    def wake(self) -> None:
        self._event.set()


class Hub:
    """One subscription to the ends of all jobs, for all who wait in this process, and to all changes while one waits for these.

    Runs while its block is open. While the subscription is broken, waits are short, so that whoever waits polls.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: defaultdict[str, set[Changed]] = defaultdict(set)
        self._curious = 0
        """How many wait for more than an end."""
        self._follows_all = False
        self._listening: asyncio.Task[None] | None = None
        self._subscription: PubSub | None = None
        self.is_live = False

    async def __aenter__(self) -> Hub:
        self._listening = asyncio.create_task(self._listen(), name="hub")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    @asynccontextmanager
    async def watch(self, id: str, only_end: bool = False) -> AsyncIterator[Changed]:
        """Be told of changes of a job from now on, or only of its end: look at it after this, and then wait."""
        changed = Changed(self, only_end)
        self._waiting[id].add(changed)
        self._curious += not only_end
        await self._tune()
        try:
            yield changed
        finally:
            self._waiting[id].discard(changed)
            if not self._waiting[id]:
                del self._waiting[id]
            self._curious -= not only_end
            await self._tune()

    async def _tune(self) -> None:
        """Follow all changes while somebody waits for more than an end, and only then."""
        subscription, wanted = self._subscription, self._curious > 0
        if subscription is None or wanted == self._follows_all:
            return
        self._follows_all = wanted
        with suppress(RedisError, OSError):  # it is made anew, and tuned then
            await (subscription.subscribe if wanted else subscription.unsubscribe)(CHANGED)

    async def _listen(self) -> None:
        is_reported = False
        while True:
            try:
                await self._subscribe()
            except (RedisError, OSError) as error:
                if self.is_live or not is_reported:  # an outage is one line
                    log.warning("subscription_lost", error=first_line(error))
                is_reported = True
            self._subscription = None
            self._set_live(False)
            await asyncio.sleep(POLL)

    async def _subscribe(self) -> NoReturn:
        """Until the server answers no more: then raises RedisError or OSError."""
        async with connect_to_listen(self._url) as client, client.pubsub() as subscription:
            await subscription.subscribe(ENDED)
            self._subscription, self._follows_all = subscription, False
            await self._tune()
            pinged = False
            while True:
                message = await subscription.get_message(timeout=SILENCE)
                if message is None:
                    if pinged:
                        raise ConnectionError("it fell silent")
                    await subscription.ping()
                pinged = message is None
                kind, channel = (message["type"], message["channel"]) if message else ("", "")
                if kind == "subscribe":
                    self._set_live(True)
                    self._wake(but_for_ends=channel == CHANGED)
                elif kind == "message":
                    for changed in self._waiting.get(message["data"], ()):
                        if channel == ENDED or not changed.only_end:
                            changed.wake()

    def _set_live(self, live: bool) -> None:
        if live != self.is_live:
            self.is_live = live
            self._wake()

    def _wake(self, but_for_ends: bool = False) -> None:
        """What happened before was perhaps missed: everybody looks at the job, or all who wait for more than an end."""
        for waiting in self._waiting.values():
            for changed in waiting:
                if not (but_for_ends and changed.only_end):
                    changed.wake()
