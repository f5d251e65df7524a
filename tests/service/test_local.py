"""`python -m service`: starts all, keeps all running, stops all in order, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from service import local
from service import settings as configuration
from service.database import connect
from service.jobs import Jobs
from service.models import Lease


@pytest.fixture
def everything(launch) -> Callable:
    """Start it all on a free port, and wait until it is ready."""

    def start(state_dir: Path):
        launched = launch("-m", "service", state_dir=state_dir, port=0)
        launched.url = launched.line(r"service_ready url=(http://\S+)", 60)[1]
        return launched

    return start


def part(launched, word: str) -> psutil.Process | None:
    """The process of one part, if it lives."""
    for member in launched.family()[1:]:
        with suppress(psutil.Error):
            if word in " ".join(member.cmdline()):
                return member
    return None


def is_ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    return False


def colorize(url: str, photo: bytes) -> dict:
    answer = httpx.post(
        f"{url}/v1/colorizations", files={"photo": photo}, headers={"Prefer": "wait=60"}, timeout=90
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_it_stops_web_first_and_valkey_last_and_has_its_jobs_when_it_is_back(
    everything, tmp_path, gray_photo, until
):
    first = everything(tmp_path)
    done = colorize(first.url, gray_photo())
    family = first.family()
    parts = [part(first, word) for word in ("service api", "service worker", "valkey")]
    order: list[psutil.Process | None] = []

    def gone() -> bool:
        order.extend(one for one in parts if one not in order and not one.is_running())
        return len(order) == 3

    first.process.send_signal(signal.SIGINT)
    until(gone, 30, "all parts have stopped")
    assert order == parts
    assert first.process.wait(60) == 0
    assert not any(member.is_running() for member in family)

    second = everything(tmp_path)
    job = httpx.get(f"{second.url}/v1/colorizations/{done['id']}").json()
    assert job["result"] == done["result"]
    assert httpx.get(f"{second.url}{job['result']['url']}").status_code == 200


def test_what_dies_is_started_again_and_nobody_outlives_a_killed_supervisor(
    everything, tmp_path, gray_photo, until
):
    launched = everything(tmp_path)
    for word in ("service worker", "service api", "valkey"):
        dead = part(launched, word)
        dead.kill()
        until(lambda word=word, dead=dead: part(launched, word) not in (None, dead), 10, f"a new {word}")
    until(lambda: is_ready(launched.url), 60, "all is ready again")
    assert colorize(launched.url, gray_photo())["status"] == "succeeded"

    family = launched.family()
    assert len(family) == 4
    launched.process.kill()
    launched.process.wait()
    until(lambda: not any(member.is_running() for member in family), 10, "all are gone")


def test_each_device_has_a_worker_that_is_started_again_by_itself(launch, tmp_path, gray_photo, until):
    launched = launch("-m", "service", state_dir=tmp_path, port=0, device="cpu, cpu:0")
    url = launched.line(r"service_ready url=(http://\S+)", 60)[1]
    with connect(f"unix://{tmp_path}/valkey/valkey.sock") as client:
        jobs = Jobs(client, Lease(8, 1))
        first = until(lambda: len(found := jobs.workers()) == 2 and found, 60, "both are there")
        processes = {
            process.environ()["AUTOCHROME_DEVICE"]: process
            for process in (psutil.Process(int(name.split(":")[1])) for name in first)
        }
        assert sorted(processes) == ["cpu", "cpu:0"]
        processes["cpu:0"].kill()
        launched.line("worker 2 *[|] .*net_loaded")
        launched.line('program_ended program="worker 2" code=-9')
        assert colorize(url, gray_photo())["status"] == "succeeded", "the other goes on"
        until(lambda: set(jobs.workers()) - set(first), 60, "there is another in its place")
    family = launched.family()
    assert launched.stop() == 0
    assert not any(member.is_running() for member in family)


def test_a_second_one_in_the_same_folder_is_refused_and_the_first_lives(service, launch):
    port = service.url.rpartition(":")[2]
    second = launch("-m", "service", state_dir=service.state_dir, port=port)
    second.line("error: Autochrome already runs in .*AUTOCHROME_STATE_DIR")
    assert second.process.wait(60) == 78
    assert is_ready(service.url)


def test_the_log_begins_with_what_concerns_whoever_started_it(service):
    early = [line for line in service.lines if "readiness_lost code=workers_unavailable" not in line]
    assert "net_loaded" in early[0]


def test_the_state_is_for_this_user_alone(service):
    for private in ("valkey", "store", "valkey/valkey.sock"):
        assert stat.S_IMODE((service.state_dir / private).stat().st_mode) == 0o700


def test_a_server_that_was_left_behind_is_ended_and_its_data_kept(tmp_path):
    path = local.valkey_socket(tmp_path)
    with redis.Redis(unix_socket_path=str(path)) as client:
        with subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL) as orphan:
            assert local.wait_for_valkey(path, 10)
            client.set("a job", "waits")
            local.stop_orphan(path)
            assert orphan.wait(60) == 0
            assert not path.exists()
        with subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL) as server:
            assert local.wait_for_valkey(path, 10)
            assert client.get("a job") == b"waits"
            server.terminate()


def test_a_socket_that_nobody_answers_on_is_removed(tmp_path):
    path = local.valkey_socket(tmp_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    local.stop_orphan(path)
    assert not path.exists()


def test_a_long_state_folder_gets_a_short_private_socket(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long = tmp_path / ("deep/" * 40)
    path = local.valkey_socket(long)
    assert len(os.fsencode(path)) <= 100
    assert path == local.valkey_socket(long), "the same again for the same folder"
    assert path != local.valkey_socket(long / "other")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    with pytest.raises(local.SettingsError):
        local.valkey_socket(long)


def test_a_taken_port_is_said_in_one_sentence_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(AUTOCHROME_PORT=str(port), AUTOCHROME_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 78
    assert done.stderr.startswith(
        f"error: Cannot listen on 127.0.0.1 port {port}: Address already in use. Set"
    )
    assert "AUTOCHROME_PORT" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AUTOCHROME_PORT", "eighty", "valid integer"),
        ("AUTOCHROME_STATE_DIR", "/sys/autochrome", "/sys/autochrome/valkey cannot be made"),
        ("AUTOCHROME_STATE_DIR", __file__, "Not a directory"),
    ],
)
def test_a_wrong_setting_is_said_in_one_sentence(variable, value, reason):
    done = run(**{"AUTOCHROME_PORT": "0", variable: value})
    assert done.returncode == 78
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert variable in error
    assert reason in error
    assert "Traceback" not in done.stderr


def test_a_setting_that_only_a_part_finds_wrong_ends_all_with_its_reason_last_and_a_misspelt_one_is_warned_of_once(
    tmp_path,
):
    settings = {
        "NET": "nope",
        "PORT": "0",
        "STATE_DIR": str(tmp_path),
        "CACHE_DIR": str(tmp_path),
        "PROT": "80",
        "WORKER_MEGAPIXELS": "64",
    }
    done = run(**{f"AUTOCHROME_{name}": value for name, value in settings.items()})
    assert done.returncode == 78
    assert "program_ended" not in done.stderr
    reason = done.stderr.index("error: AUTOCHROME_NET='nope'")
    assert reason < done.stderr.index("program_refused program=worker")
    assert [line for line in done.stderr.splitlines() if "warning: " in line] == [
        "warning: AUTOCHROME_PROT is no setting and changes nothing. Did you mean AUTOCHROME_PORT?",
        "warning: AUTOCHROME_WORKER_MEGAPIXELS is no setting and changes nothing. Did you mean AUTOCHROME_WORKER_MEMORY?",
    ]


def test_a_tilde_in_the_state_folder_is_the_home(monkeypatch):
    monkeypatch.setenv("AUTOCHROME_STATE_DIR", "~/pictures")
    assert configuration.read().state_dir == Path.home() / "pictures"


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, timeout=60
    )
