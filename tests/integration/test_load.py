"""The load generator, against a server that answers one at a time and stalls once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.benchmarks import load
from tests.benchmarks.load import Connection, Plan
from tests.benchmarks.report import median, percentile
from tests.benchmarks.servers import write_photos
from tests.benchmarks.serving import throughput

STALL = 1.0
SERVICE = 0.01


class OneByOne(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection for each request, so that they queue at the door."""

    count = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(STALL if OneByOne.count == 5 else SERVICE)
        OneByOne.count += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    OneByOne.count = 0
    with HTTPServer(("127.0.0.1", 0), OneByOne) as server:
        server.socket.listen(128)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def names(tmp_path) -> list[str]:
    return [str(path) for path in write_photos(tmp_path, 32)]


def test_an_open_loop_tells_how_long_people_waited_while_the_server_stalled(url, names):
    plan = Plan(url, "litserve", names, rate=20, seconds=2)
    outcome = load.run(plan)
    samples = sorted(outcome.samples, key=lambda sample: sample.due)
    assert {sample.status for sample in samples} == {200}
    assert 20 < len(samples) < 65
    assert all(sample.sent >= sample.due for sample in samples)
    waited = [sample for sample in samples if sample.latency > STALL / 4]
    assert len(waited) > 20 * STALL / 2, "those who came meanwhile have waited too, not the first alone"
    assert max(sample.latency for sample in samples) > STALL
    assert 0 < outcome.cpu_seconds < 2


def test_a_closed_loop_asks_again_as_soon_as_it_is_answered(url, names):
    plan = Plan(url, "litserve", names, clients=2, requests=40)
    samples = load.run(plan).samples
    assert len(samples) in (40, 41)  # two clients may both see the last turn
    stalled = [sample for sample in samples if sample.latency > STALL / 2]
    assert len(stalled) <= 3, "nobody else came meanwhile"
    assert throughput(samples, plan) == pytest.approx(len(samples) / (STALL + 40 * SERVICE), rel=0.4)


def test_a_lost_connection_is_no_answer(names):
    samples = load.run(Plan("http://127.0.0.1:9", "litserve", names, rate=20, seconds=0.5)).samples
    assert samples
    assert {sample.status for sample in samples} == {0}


def test_answers_are_read_whole_or_not_at_all():
    answers = {
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
        "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwh\r\n3\r\nole\r\n0\r\n\r\n",
        "/none": b"HTTP/1.1 204 No Content\r\nRetry-After: 3\r\n\r\n",
        "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nwhole",
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readline()).decode():
            await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1]
            writer.write(answers[path])
            if path == "/cut":
                break
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        connection = Connection(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await connection.request("GET", "/length")).body == b"whole"
        assert (await connection.request("GET", "/chunks")).body == b"whole"
        none = await connection.request("GET", "/none")
        assert (none.status, none.headers["retry-after"], none.body) == (204, "3", b"")
        with pytest.raises(ConnectionResetError):
            await connection.request("GET", "/cut")
        assert (await connection.request("GET", "/length")).body == b"whole", "by a new connection"
        await connection.close()
        server.close()
        await server.wait_closed()

    asyncio.run(ask())


def test_percentiles_are_values_that_were_measured():
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7
    assert (median([3.0, 1.0, 2.0]), median([4.0, 1.0, 2.0, 3.0])) == (2, 2.5)
