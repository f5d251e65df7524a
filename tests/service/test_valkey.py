"""The embedded server keeps what it has answered, however it ends."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import redis

from service import valkey


def start(state_dir: Path) -> subprocess.Popen[bytes]:
    socket = valkey.socket_path(state_dir)
    process = subprocess.Popen(valkey.command(state_dir, socket), stdout=subprocess.DEVNULL)
    assert valkey.wait_until_ready(socket, 30)
    return process


def test_a_kill_9_under_a_busy_disk_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    server = start(tmp_path)
    busy = threading.Event()
    disk = threading.Thread(target=keep_the_disk_busy, args=(tmp_path / "noise", busy))
    disk.start()
    answered = 0
    try:
        threading.Timer(1.5, server.kill).start()
        with redis.Redis(unix_socket_path=str(valkey.socket_path(tmp_path))) as client:
            try:
                while True:
                    answered = int(client.incr("count"))
                    client.rpush("written", b"x" * 2000)
                    if answered % 200 == 0:
                        valkey.flush(tmp_path)
            except redis.RedisError:
                pass
    finally:
        busy.set()
        disk.join()
        server.wait()
    assert answered > 100
    again = start(tmp_path)
    try:
        with redis.Redis(unix_socket_path=str(valkey.socket_path(tmp_path))) as client:
            assert int(client.get("count") or 0) >= answered
            assert client.llen("written") >= answered - 1
    finally:
        again.terminate()
        again.wait()


def test_a_flush_before_there_is_a_file_does_nothing(tmp_path: Path) -> None:
    valkey.flush(tmp_path)
    assert not list(tmp_path.iterdir())


def keep_the_disk_busy(path: Path, stop: threading.Event) -> None:
    with path.open("wb", buffering=0) as file:
        while not stop.is_set():
            file.write(os.urandom(2**20))
            os.fsync(file.fileno())
            time.sleep(0.001)
            if file.tell() > 50 * 2**20:
                file.seek(0)
