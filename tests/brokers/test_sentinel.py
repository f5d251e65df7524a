"""Redis with Sentinels as record and broker: a master that dies takes no accepted job along."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.database import WORKER_TIMEOUT, connect
from service.events import Hub
from service.jobs import Jobs, new_id
from service.models import Bounds, Lease, Order
from service.schemas import Options
from tests.benchmarks.load import FORM, Connection, Response
from tests.brokers.fleet import Fleet, Puts, verify
from tests.brokers.servers import PASSWORD, SENTINEL_PASSWORD, Redises, wait_until

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(
        shutil.which("redis-sentinel") is None, reason="Debian's redis-sentinel is not installed"
    ),
]


@pytest.fixture
def redises(tmp_path: Path) -> Iterator[Redises]:
    with Redises(tmp_path / "redis") as redises:
        yield redises


@pytest.fixture
def fleet(tmp_path: Path, redises: Redises, net: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, redis_url=redises.url, net=net) as fleet:
        yield fleet


def put(fleet: Fleet, id: str, body: bytes, kind: str = "colorizations") -> Response:
    async def send() -> Response:
        connection = Connection(fleet.url)
        try:
            return await connection.request("PUT", f"/v1/{kind}/{id}", body, FORM)
        finally:
            await connection.close()

    return asyncio.run(send())


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_jobs_end_once_though_the_master_fails_and_workers_and_apis_are_killed(
    fleet, redises, bodies, count, how
):
    async def kill(puts: Puts) -> None:
        await puts.until(0.2)
        await asyncio.to_thread(fleet.kill, "worker 1")
        await puts.until(0.4)
        first = redises.master
        if how == "killed":
            redises.kill(first)
        else:
            redises.send(first, signal.SIGSTOP)
        await puts.until(0.6)  # another is the master by now
        if how == "killed":
            redises.start(first)
        else:
            redises.send(
                first, signal.SIGCONT
            )  # it takes itself for the master, until a Sentinel says otherwise
        await asyncio.to_thread(fleet.kill, "api 1")

    async def run() -> Puts:
        puts = Puts(fleet.urls, bodies, count)
        async with asyncio.TaskGroup() as group:
            group.create_task(kill(puts))
            await puts.send()
        return puts

    first = redises.master
    puts = asyncio.run(run())
    fleet.wait()
    wait_until(lambda: redises.master != first, 10, "the first Sentinel knows it, too")
    assert puts.repeated, "the failover was noticed"
    verify(fleet, puts)
    wait_until(redises.is_whole, 30, "the old master follows the new one")
    said = "".join(line for name in ("api 1", "api 2", "worker 1", "worker 2") for line in fleet.lines(name))
    assert PASSWORD not in said
    assert SENTINEL_PASSWORD not in said


def test_a_job_that_only_the_master_has_is_refused_and_made_when_it_is_sent_again(fleet, redises, bodies):
    replicas, master = redises.replicas, redises.master
    for port in replicas:
        redises.send(port, signal.SIGSTOP)
    id = secrets.token_hex(16)
    refused = put(fleet, id, bodies[0])
    assert (refused.status, refused.json()["code"]) == (503, "queue_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert put(fleet, id, bodies[0]).status == 503, "it is known by now, and still not safe"
    assert put(fleet, id, bodies[0], "batches").status == 503

    redises.kill(master)
    for port in replicas:  # what lies in their sockets must not reach them
        redises.kill(port)
        redises.start(port)
    wait_until(lambda: redises.master != master, 60, "there is a new master")
    fleet.wait()
    with connect(redises.url) as client:
        assert Jobs(client, Lease(8, 1)).get(id) is None, "the failover has lost it, as the refusal said"
    puts = Puts(fleet.urls, bodies, 1)
    give_up = time.monotonic() + 30
    while (answer := put(fleet, id, bodies[0])).status != 202 and time.monotonic() < give_up:
        time.sleep(0.5)
    puts.accepted[id] = answer.json()["secret"] or ""
    redises.start(master)
    verify(fleet, puts)


def test_a_workers_call_that_the_old_master_did_not_answer_is_answered_by_the_new_one(redises):
    with connect(redises.url, retries=10, timeout=WORKER_TIMEOUT) as client:
        client.set("photos", 1)
        master = redises.master
        redises.send(master, signal.SIGSTOP)
        assert client.incr("photos") == 2
        wait_until(lambda: redises.master != master, 10, "the first Sentinel knows it, too")


def test_who_waits_for_a_job_is_told_by_the_new_master(redises):
    def enter(jobs: Jobs) -> str:
        id = new_id()
        jobs.create(id, "secret", Order(Options(), 100, 600), Bounds(1000, 10**9))
        return id

    async def wait() -> None:
        with connect(redises.url) as client:
            jobs = Jobs(client, Lease(8, 1))
            async with Hub(redises.url) as hub:
                await _live(hub, True)
                master = redises.master
                redises.kill(master)
                await _live(hub, False)
                await _live(hub, True)
                wait_until(lambda: redises.master != master, 10, "the first Sentinel knows it, too")
                id = await asyncio.to_thread(enter, jobs)
                async with hub.watch(id, only_end=True) as changed:
                    await changed.wait(0)
                    asyncio.get_running_loop().call_later(0.2, jobs.cancel, id)
                    start = time.monotonic()
                    await changed.wait(10)
                    assert time.monotonic() - start < 1

    async def _live(hub: Hub, is_live: bool) -> None:
        async with asyncio.timeout(60):
            while hub.is_live != is_live:
                await asyncio.sleep(0.05)

    asyncio.run(wait())
