"""The memory of a real worker process: bounded while large photos are under way, and given back after them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.image_headers import memory_needed, probe
from service.celery_app import make_app, notify
from service.jobs import Jobs, new_id
from service.models import Bounds, Lease, Order
from service.schemas import Options
from service.storage import photo_key

MIB = 2**20
FOR_PHOTOS = 100 * MIB
BESIDE = 80 * MIB
"""What a worker takes for itself over its first photos: it compiles its net for one photo a core, threads get stacks."""


@pytest.fixture
def jobs(client) -> Jobs:
    return Jobs(client, Lease(60, 1))


def transparent_png(width: int, height: int) -> bytes:
    """In sepia, so that it is not read as gray."""
    gray = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.dstack([gray, gray // 2, gray // 3, gray])).save(file, "PNG", compress_level=1)
    return file.getvalue()


def memory(pid: int, line: str) -> int:
    """VmRSS: what a process has now, VmHWM: what it has had at most, in bytes."""
    [found] = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith(line)]
    return int(found.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")
def test_six_large_photos_with_transparency_at_once_stay_within_the_workers_memory_which_is_given_back(
    launch, jobs, store, settings, until
):
    app = make_app(settings.celery_broker_url)

    def color(photo: bytes, count: int) -> None:
        header = probe(photo)
        order = Order(Options(), header.width * header.height, 600, memory=memory_needed(header, len(photo)))
        ids = [new_id() for _ in range(count)]
        for id in ids:
            store.put(photo_key(id), photo)
            jobs.create(id, "secret", order, Bounds(100, 10**9))
            notify(app, id)
        until(lambda: all(jobs.get(id).status == "succeeded" for id in ids), 60, "all have succeeded")

    worker = launch(
        *("-m", "service", "worker"),
        redis_url=settings.redis_url,
        store_url=settings.store_url,
        concurrency=6,
        worker_memory=FOR_PHOTOS,
    )
    worker.line("net_loaded", 60)
    color(transparent_png(320, 240), 6)
    before = memory(worker.process.pid, "VmRSS")
    color(transparent_png(2400, 1600), 6)
    assert memory(worker.process.pid, "VmHWM") < before + FOR_PHOTOS + BESIDE
    until(lambda: memory(worker.process.pid, "VmRSS") < before + BESIDE, 5, "it is given back")
