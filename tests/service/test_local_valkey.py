"""The embedded server keeps what it has answered, however it ends."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service import local
from service.__main__ import main
from service.database import refuse_cluster
from service.errors import EX_CONFIG
from service.local import listen


def start(state_dir: Path) -> subprocess.Popen[bytes]:
    socket = local.valkey_socket(state_dir)
    process = subprocess.Popen(local.valkey_command(state_dir, socket), stdout=subprocess.DEVNULL)
    assert local.wait_for_valkey(socket, 30)
    return process


def test_a_kill_9_under_a_busy_disk_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    server = start(tmp_path)
    busy = threading.Event()
    disk = threading.Thread(target=keep_the_disk_busy, args=(tmp_path / "noise", busy))
    disk.start()
    answered = 0
    try:
        threading.Timer(1.5, server.kill).start()
        with redis.Redis(unix_socket_path=str(local.valkey_socket(tmp_path))) as client:
            try:
                while True:
                    answered = int(client.incr("count"))
                    client.rpush("written", b"x" * 2000)
                    if answered % 200 == 0:
                        local.flush_valkey(tmp_path)
            except redis.RedisError:
                pass
    finally:
        busy.set()
        disk.join()
        server.wait()
    assert answered > 100
    again = start(tmp_path)
    try:
        with redis.Redis(unix_socket_path=str(local.valkey_socket(tmp_path))) as client:
            assert int(client.get("count") or 0) >= answered
            assert client.llen("written") >= answered - 1
    finally:
        again.terminate()
        again.wait()


def test_a_flush_before_there_is_a_file_does_nothing(tmp_path: Path) -> None:
    local.flush_valkey(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A node of a cluster, on ports of its own."""
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", 0) as other:
        port, bus = (str(line.getsockname()[1]) for line in (one, other))
    socket = local.valkey_socket(tmp_path)
    enabled = ("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", port, "--cluster-port", bus)
    command = [*local.valkey_command(tmp_path, socket), *enabled]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        assert local.wait_for_valkey(socket, 30)
        yield f"redis://127.0.0.1:{port}"
        process.terminate()


@pytest.mark.parametrize(
    ("part", "runs"), [("api", "service.api.app.serve"), ("worker", "service.worker.main")]
)
def test_a_cluster_is_refused_at_start_with_the_reason(
    cluster: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    runs: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["service", part])
    monkeypatch.setenv("AUTOCHROME_REDIS_URL", cluster)
    monkeypatch.setenv("AUTOCHROME_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("AUTOCHROME_PORT", "0")
    monkeypatch.setattr(runs, lambda *_: 0)
    monkeypatch.setattr("service.__main__.set_up_logging", lambda _: None)
    assert main() == EX_CONFIG
    assert "names a node of a Redis Cluster" in capsys.readouterr().err


def test_a_server_that_is_alone_is_not_refused_nor_is_one_that_does_not_answer(
    redis_url: str, tmp_path: Path
) -> None:
    refuse_cluster(redis_url)
    refuse_cluster(f"unix://{tmp_path}/nobody.sock")


def keep_the_disk_busy(path: Path, stop: threading.Event) -> None:
    with path.open("wb", buffering=0) as file:
        while not stop.is_set():
            file.write(os.urandom(2**20))
            os.fsync(file.fileno())
            time.sleep(0.001)
            if file.tell() > 50 * 2**20:
                file.seek(0)
