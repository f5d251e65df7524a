"""What happens to a job, as it happens: replayed to who comes late, and at once to who waits."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service import local
from service.database import connect
from service.events import CHANGED, Hub
from service.jobs import Jobs, new_id
from service.models import Bounds, Claim, Lease, Net, Order, Result, events_of
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)


@pytest.fixture
def jobs(client) -> Jobs:
    return Jobs(client, Lease(3600, 0))


def enter(jobs: Jobs) -> str:
    id = new_id()
    jobs.create(id, "secret", Order(Options(), 100, 60), Bounds(1000, 10**12))
    return id


def take(jobs: Jobs) -> Claim:
    claim = jobs.claim("w1", NET, 10**12, empty=True)
    assert isinstance(claim, Claim)
    return claim


def told(jobs: Jobs, id: str, after: str = "0") -> list[tuple[str, dict]]:
    return [(event.name, event.data) for event in events_of(jobs.get(id), after)]


def test_who_comes_back_is_told_what_has_happened_since_and_still_holds(jobs):
    id = enter(jobs)
    [queued] = events_of(jobs.get(id))
    assert told(jobs, id) == [("queued", {})]
    claim = take(jobs)
    [opened] = events_of(jobs.get(id), queued.id)
    assert (opened.name, opened.data) == ("stage", {"name": "open"})
    jobs.retry(claim, failed=False)
    assert told(jobs, id, queued.id) == told(jobs, id, opened.id) == [("queued", {})], "it waits anew"
    claim = take(jobs)
    jobs.advance(claim, {"open": 0.1}, "preprocess")
    whole = events_of(jobs.get(id), opened.id)
    assert [(event.name, event.data) for event in whole] == [
        ("queued", {}),
        ("stage", {"name": "preprocess"}),
    ]
    assert events_of(jobs.get(id), whole[0].id) == whole[1:]
    assert events_of(jobs.get(id), whole[1].id) == []
    jobs.fail(claim, "photo_damaged", "The file is cut off.")
    assert told(jobs, id, whole[1].id) == [("failed", {})]
    assert told(jobs, id) == told(jobs, id, "what a client may send") == [("queued", {}), ("failed", {})]
    assert told(jobs, id, events_of(jobs.get(id))[-1].id) == []
    assert told(jobs, id, "1764464623000-0") == told(jobs, id), "an id of an earlier version is none"


@pytest.mark.parametrize("how", ["canceled", "expired"])
def test_of_an_erased_job_only_its_end_is_told_also_to_who_comes_late(jobs, client, how):
    id = enter(jobs)
    jobs.complete(take(jobs), {"save": 0.1}, RESULT)
    last = events_of(jobs.get(id))[-1].id
    if how == "canceled":
        jobs.cancel(id)
    else:
        client.hset(f"{{autochrome}}:job:{id}", "expires", 1)
        client.zadd("{autochrome}:due", {id: 1})
        jobs.expire()
        end = events_of(jobs.get(id))
        jobs.expire()  # its files could not be erased
        assert events_of(jobs.get(id)) == end, "it happened once"
    assert told(jobs, id, last) == told(jobs, id) == [(how, {})]
    assert told(jobs, id, events_of(jobs.get(id))[0].id) == []


async def _until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.01)


async def _live(hub: Hub) -> None:
    await _until(lambda: hub.is_live)


async def _seconds(waiting: Awaitable[None]) -> float:
    start = time.monotonic()
    await waiting
    return time.monotonic() - start


def test_who_waits_is_told_of_his_job_at_once_and_of_no_other(jobs, redis_url):
    mine, other = enter(jobs), enter(jobs)

    async def wait() -> None:
        async with Hub(redis_url) as hub, hub.watch(mine) as changed, hub.watch(mine) as too:
            await _live(hub)
            await changed.wait(0)  # what woke it when the subscription began
            await too.wait(0)
            asyncio.get_running_loop().call_later(0.3, jobs.cancel, other)
            assert await _seconds(changed.wait(0.6)) >= 0.6
            asyncio.get_running_loop().call_later(0.2, jobs.cancel, mine)
            assert await _seconds(changed.wait(60)) < 30
            assert await _seconds(too.wait(60)) < 30, "both, also who was not waiting just then"

    asyncio.run(wait())


def test_who_waits_for_the_end_is_not_woken_by_what_comes_before(jobs, redis_url):
    mine = enter(jobs)

    async def wait() -> None:
        async with Hub(redis_url) as hub, hub.watch(mine, only_end=True) as end, hub.watch(mine) as changed:
            await _live(hub)
            await end.wait(0)
            await changed.wait(0)
            claim = await asyncio.to_thread(take, jobs)
            await asyncio.to_thread(jobs.advance, claim, {"open": 0.1}, "preprocess")
            assert await _seconds(changed.wait(60)) < 30
            assert await _seconds(end.wait(0.3)) >= 0.3
            await asyncio.to_thread(jobs.complete, claim, {"save": 0}, RESULT)
            assert await _seconds(end.wait(60)) < 30

    asyncio.run(wait())


def test_only_while_somebody_wants_to_know_more_is_more_received_than_ends(jobs, client, redis_url):
    def subscribed() -> int:
        return client.pubsub_numsub(CHANGED)[0][1]

    def connections() -> set[str]:
        return {each["id"] for each in client.client_list(_type="pubsub")}

    async def wait() -> None:
        async with Hub(redis_url) as hub, hub.watch(enter(jobs), only_end=True):
            await _live(hub)
            assert subscribed() == 0
            async with hub.watch(enter(jobs)), hub.watch(enter(jobs)):
                await _until(lambda: subscribed() == 1)
                broken = connections()
                client.client_kill_filter(_type="pubsub")
                await _until(lambda: subscribed() == 1 and not connections() & broken)
            await _until(lambda: subscribed() == 0)

    asyncio.run(wait())


def test_a_subscription_that_breaks_wakes_all_and_comes_back(jobs, client, redis_url):
    mine = enter(jobs)

    async def wait() -> None:
        async with Hub(redis_url) as hub, hub.watch(mine) as changed:
            await _live(hub)
            await changed.wait(0)
            client.client_kill_filter(_type="pubsub")
            assert await _seconds(changed.wait(60)) < 30
            await _live(hub)
            await changed.wait(0)
            asyncio.get_running_loop().call_later(0.1, jobs.cancel, mine)
            assert await _seconds(changed.wait(60)) < 30

    asyncio.run(wait())


def test_without_a_server_waits_are_short_so_that_who_waits_polls(tmp_path: Path, caplog):
    path = local.valkey_socket(tmp_path)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL)
        assert local.wait_for_valkey(path, 10)
        return process

    async def wait(restart: Callable[[], object]) -> None:
        async with Hub(f"unix://{path}") as hub, hub.watch("any") as changed:
            for _ in range(3):
                assert 0.4 < await _seconds(changed.wait(60)) < 30
            restart()
            await _live(hub)

    servers: list[subprocess.Popen[bytes]] = []
    try:
        asyncio.run(wait(lambda: servers.append(start())))
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    assert caplog.text.count("subscription_lost") == 1


def test_a_lone_change_is_received_in_a_few_milliseconds(jobs, redis_url):
    async def wait() -> list[float]:
        taken = []
        async with Hub(redis_url) as hub:
            await _live(hub)
            for _ in range(20):
                async with hub.watch(enter(jobs)) as changed:
                    with connect(redis_url) as other:
                        words = Jobs(other, Lease(3600, 0))
                        claim = await asyncio.to_thread(take, words)
                        await changed.wait(60)
                        said = time.monotonic()
                        await asyncio.to_thread(words.complete, claim, {}, RESULT)
                        await changed.wait(60)
                        taken.append(time.monotonic() - said)
        return taken

    assert min(asyncio.run(wait())) < 0.02, "others on this machine may hold up some"
