"""One API process that may open 1,024 files, and what strangers do to it: its CPU and memory stay bounded, and others are answered."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.benchmarks import connections
from tests.benchmarks.connections import MOST_MB, Attack, Config, Peak, probe

SIZE = 24 * 2**20
AT_ONCE = 6


@pytest.fixture
def api(launch, settings, client) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """Over HTTP, and its process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (connections.FILES, hard))
    try:
        given = {"redis_url": settings.redis_url, "store_url": settings.store_url, "port": 0}
        process = launch("-m", "service", "api", **given, state_dir=settings.state_dir)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    url = process.line(r"api_listening url=(http://\S+)")[1]
    with httpx.Client(base_url=url, timeout=60) as http:
        http.get("/livez").raise_for_status()
        yield http, psutil.Process(process.process.pid)


def tiff_of_rationals() -> bytes:
    """Of 3,145,000 resolutions."""
    values = struct.pack("<II", 300, 1) * (SIZE // 8 - 100)
    entries = [(256, 3, 1, 320), (257, 3, 1, 240), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (278, 3, 1, 240), (279, 4, 1, 76_800), (282, 5, len(values) // 8, 8)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(values)) + values + directory + bytes(4)


def tiff_of_directories() -> bytes:
    """Each of 4,000 entries, in a chain."""
    size = struct.pack("<HHIIHHII", 256, 3, 1, 320, 257, 3, 1, 240)
    entries = size + struct.pack("<HHII", 258, 3, 16, 100) * 3998
    found = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    while len(found) < SIZE:
        found += struct.pack("<H", 4000) + entries + struct.pack("<I", len(found) + 2 + len(entries) + 4)
    return bytes(found)


def png_of_chunks() -> bytes:
    """Two million of them, all empty."""

    def chunk(kind: bytes, data: bytes = b"") -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 320, 240, 8, 0, 0, 0, 0))
        + chunk(b"teSt") * (SIZE // 12)
    )


def boxes(first: bytes, brand: bytes) -> bytes:
    """Three million boxes, all empty."""
    start = first + struct.pack(">I4s4sI4s", 20, b"ftyp", brand, 0, brand)
    return start + struct.pack(">I4s", 8, b"free") * (SIZE // 8 - 10)


FILES: dict[str, Callable[[], bytes]] = {
    "TIFF of rationals": tiff_of_rationals,
    "TIFF of directories": tiff_of_directories,
    "PNG": png_of_chunks,
    "JPEG": lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * (SIZE // 4),
    "GIF": lambda: b"GIF89a" + struct.pack("<HHBBB", 320, 240, 0, 0, 0) + b"\x21\xfe\x00" * (SIZE // 3),
    "HEIC": lambda: boxes(b"", b"heic"),
    "JPEG 2000": lambda: boxes(b"\0\0\0\x0cjP  \r\n\x87\n", b"jp2 "),
    "JPEG XL": lambda: boxes(b"\0\0\0\x0cJXL \r\n\x87\n", b"jxl "),
}


@pytest.mark.parametrize(
    "names",
    [("TIFF of rationals", "HEIC"), pytest.param(tuple(FILES), marks=pytest.mark.slow)],
    ids=["two formats", "all"],
)
def test_headers_made_to_be_dear_cost_little_even_six_at_once(api, names):
    http, process = api
    peak = Peak(lambda: process.memory_info().rss / 2**20)
    peak.start()
    dear = {}
    with ThreadPoolExecutor(AT_ONCE) as clients:
        for name in names:
            photo, before = FILES[name](), cpu_of(process)
            sent = [clients.submit(send, str(http.base_url), photo) for _ in range(AT_ONCE)]
            assert http.get("/livez").status_code == 200
            assert {each.result() for each in sent} <= {202, 413, 415, 422, 429}
            dear[name] = cpu_of(process) - before
    peak.stop()
    assert max(dear.values()) < 6, dear
    assert peak.mb < MOST_MB


def test_half_requests_endless_headers_and_slow_clients_keep_nobody_from_an_answer(api, work, gray_photo):
    http, process = api
    id = http.post("/v1/colorizations", files={"photo": gray_photo()}).json()["id"]
    work(bytes(8 * 2**20))
    before = cpu_of(process)
    peak = Peak(lambda: process.memory_info().rss / 2**20)
    peak.start()
    with Attack(str(http.base_url), f"/v1/colorizations/{id}/result", Config()):
        latencies = probe(str(http.base_url), 3)
    peak.stop()
    assert None not in latencies
    assert len(latencies) > 10
    assert cpu_of(process) - before < 6
    assert peak.mb < MOST_MB


def send(url: str, photo: bytes) -> int:
    headers = {"Content-Type": "application/octet-stream"}
    return httpx.post(f"{url}/v1/colorizations", content=photo, headers=headers, timeout=60).status_code


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
