"""`python -m service`: starts all, keeps all running, stops all in order, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from service import valkey


@pytest.fixture
def everything(launch) -> Callable:
    """Start it all on a free port, and wait until it is ready."""

    def start(state_dir: Path, **more: object):
        launched = launch("-m", "service", state_dir=state_dir, port=0, **more)
        launched.url = launched.line(r"ready: (http://\S+)", 60)[1]
        return launched

    return start


def part(launched, word: str) -> psutil.Process:
    """The process of one part."""
    return next(member for member in launched.family()[1:] if word in " ".join(member.cmdline()))


def colored(url: str, photo: bytes) -> bool:
    answer = httpx.post(
        f"{url}/v1/colorizations", files={"photo": photo}, headers={"Prefer": "wait=60"}, timeout=90
    )
    return answer.status_code == 200


def test_nobody_outlives_a_supervisor_that_is_killed(everything, tmp_path, until):
    launched = everything(tmp_path)
    family = launched.family()
    assert len(family) == 4
    launched.process.kill()
    launched.process.wait()
    until(lambda: not any(member.is_running() for member in family), 10, "all are gone")


def test_it_stops_web_first_and_valkey_last(everything, tmp_path, until):
    launched = everything(tmp_path)
    family = launched.family()
    parts = [part(launched, word) for word in ("service api", "service worker", "valkey")]
    launched.process.send_signal(signal.SIGINT)
    order: list[psutil.Process] = []

    def gone() -> bool:
        order.extend(one for one in parts if one not in order and not one.is_running())
        return len(order) == 3

    until(gone, 30, "all parts have stopped")
    assert order == parts
    assert launched.process.wait(10) == 0
    assert not any(member.is_running() for member in family)
    assert "stopped" in launched.lines[-1]


def test_each_part_that_dies_is_started_again_and_queued_jobs_survive(
    everything, tmp_path, gray_photo, until
):
    launched = everything(tmp_path)
    for word in ("service worker", "service api", "valkey"):
        dead = part(launched, word)
        dead.kill()
        until(lambda word=word, dead=dead: part(launched, word).pid != dead.pid, 10, f"a new {word}")

    def ready() -> bool:
        try:
            return httpx.get(f"{launched.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    until(ready, 60, "all is ready again")
    assert colored(launched.url, gray_photo())


def test_jobs_survive_a_restart_of_everything(everything, tmp_path, gray_photo):
    launched = everything(tmp_path)
    done = httpx.post(
        f"{launched.url}/v1/colorizations",
        files={"photo": gray_photo()},
        headers={"Prefer": "wait=60"},
        timeout=90,
    ).json()
    assert launched.stop() == 0
    again = everything(tmp_path)
    job = httpx.get(f"{again.url}/v1/colorizations/{done['id']}").json()
    assert job["result"] == done["result"]
    assert httpx.get(f"{again.url}{job['result']['url']}").status_code == 200


def test_a_second_one_in_the_same_folder_is_refused_and_the_first_lives(everything, tmp_path, launch):
    first = everything(tmp_path)
    second = launch("-m", "service", state_dir=tmp_path, port=0)
    second.line("error: Autochrome already runs in .*AUTOCHROME_STATE_DIR")
    assert second.process.wait(10) == 78
    assert httpx.get(f"{first.url}/readyz").status_code == 200


def test_a_server_that_was_left_behind_is_ended_and_its_data_kept(tmp_path):
    path = valkey.socket_path(tmp_path)
    for _ in range(2):
        process = subprocess.Popen(valkey.command(tmp_path, path), stdout=subprocess.DEVNULL)
        assert valkey.wait_until_ready(path, 10)
    # Both are there: the second took the first one's place on the socket, as an orphan's successor would.
    valkey.end_orphan(path)
    assert process.wait(10) == 0
    assert not path.exists()
    psutil.Process().children()[0].kill()


def test_the_state_is_for_this_user_alone(everything, tmp_path):
    everything(tmp_path / "state")
    for folder in ("valkey", "store"):
        assert stat.S_IMODE((tmp_path / "state" / folder).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state/valkey/valkey.sock").stat().st_mode) == 0o700


def test_a_long_state_folder_gets_a_short_private_socket(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long = tmp_path / ("deep/" * 40)
    path = valkey.socket_path(long)
    assert len(os.fsencode(path)) <= 100
    assert path == valkey.socket_path(long), "the same again for the same folder"
    assert path != valkey.socket_path(long / "other")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    with pytest.raises(valkey.SettingsError):
        valkey.socket_path(long)


def test_a_taken_port_is_said_in_one_sentence_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(AUTOCHROME_PORT=str(port), AUTOCHROME_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 78
    assert f"error: Cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "AUTOCHROME_PORT" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_wrong_setting_is_said_in_one_sentence():
    done = run(AUTOCHROME_PORT="eighty")
    assert done.returncode == 78
    assert done.stderr.startswith("error: AUTOCHROME_PORT='eighty'")
    assert "Traceback" not in done.stderr


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, timeout=60
    )
