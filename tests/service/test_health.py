"""Readiness: whether a photo that is sent now will be colored, and if not, why."""

from __future__ import annotations

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import ANY

import httpx
import pytest

from service.api import health
from service.errors import StoreUnavailable
from service.jobs import new_id
from service.models import Net
from service.storage import Store

NET = Net("lite", "ab" * 32)


def test_without_a_worker_it_is_alive_but_not_ready(serve, settings, jobs):
    api = serve(settings)
    assert api.get("/livez").json() == {"status": "ok"}
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "workers_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    jobs.beat("w1", NET, "cpu", 0)
    assert api.get("/readyz").json() == {"status": "ok"}
    jobs.gone("w1")
    assert api.get("/readyz").status_code == 503


def test_a_redis_that_takes_no_writes_is_not_ready(serve, settings, jobs, client):
    api = serve(settings)
    jobs.beat("w1", NET, "cpu", 0)
    client.replicaof("127.0.0.1", 1)
    try:
        answer = api.get("/readyz")
        assert api.get("/livez").status_code == 200
    finally:
        client.replicaof("NO", "ONE")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
    assert "written" in answer.json()["detail"]
    assert api.get("/readyz").status_code == 200


@pytest.mark.parametrize("limits", [{"free_bytes": 2**60}, {"store_bytes": 2**19}])
def test_a_store_without_room_for_a_photo_is_told_of_and_what_may_be_done(
    serve, settings, jobs, caplog, limits
):
    full = serve(settings.model_copy(update=limits))
    jobs.beat("w1", NET, "cpu", 0)
    [notice] = full.get("/readyz").json()["notices"]
    assert notice["code"] == "store_full"
    assert {"AUTOCHROME_FREE_BYTES", "AUTOCHROME_STORE_BYTES"} <= set(
        re.findall(r"[A-Z_]{9,}", notice["detail"])
    )
    [said] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert said.msg == {"event": "readiness_limited", **notice, "request": ANY}


def test_a_full_redis_is_told_of_while_all_that_was_accepted_goes_on(serve, settings, jobs, client):
    jobs.beat("w1", NET, "cpu", 0)
    api = serve(settings)
    client.config_set("maxmemory", "1")
    try:
        answer = api.get("/readyz")
    finally:
        client.config_set("maxmemory", "0")
    assert answer.status_code == 200
    assert answer.json()["notices"] == [{"code": "record_full", "detail": ANY}]
    assert api.get("/readyz").json() == {"status": "ok"}


def test_a_store_that_takes_no_writes_is_not_ready(serve, settings, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "FRESH", 0.2)
    api = serve(settings)
    jobs.beat("w1", NET, "cpu", 0)
    assert api.get("/readyz").status_code == 200
    folder = Path(tmp_path / "a store")
    assert not [file for file in folder.rglob("*") if file.is_file()], "asking leaves nothing behind"
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("in the way of the folder")
    assert api.get("/readyz").status_code == 200, "it is not asked each time"
    time.sleep(0.25)
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert "written" in answer.json()["detail"]
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    assert api.get("/readyz").status_code == 503, "nor when it failed"
    time.sleep(0.25)
    assert api.get("/readyz").status_code == 200


def test_many_probes_of_a_store_that_hangs_keep_nobody_else_waiting(serve, settings, jobs, monkeypatch):
    looked_at: list[str] = []
    let_go = threading.Event()

    def hang(self: Store, key: str, data: object) -> None:
        looked_at.append(key)
        let_go.wait(90)
        raise StoreUnavailable

    monkeypatch.setattr(Store, "put", hang)
    url = str(serve(settings).base_url)
    with ThreadPoolExecutor(45) as pool:
        probes = [pool.submit(httpx.get, f"{url}/readyz", timeout=30) for _ in range(45)]
        try:
            time.sleep(1)
            assert httpx.get(f"{url}/v1/colorizations/{new_id()}", timeout=60).status_code == 404
        finally:
            let_go.set()
        assert {probe.result().json()["code"] for probe in probes} == {"store_unavailable"}
    assert len(looked_at) == 1


def test_the_log_says_once_that_it_is_ready_or_why_not(serve, settings, jobs, caplog):
    caplog.set_level("INFO", "autochrome.api")
    api = serve(settings)
    for _ in range(3):
        api.get("/readyz")
    jobs.beat("w1", NET, "cpu", 0)
    for _ in range(3):
        api.get("/readyz")
    assert [record.msg for record in caplog.records] == [
        {"event": "readiness_lost", "code": "workers_unavailable", "request": ANY},
        {"event": "readiness_gained", "request": ANY},
    ]


def test_a_bug_on_the_way_is_answered_with_all_that_every_answer_has(serve, settings, monkeypatch):
    def bug(self: health.Readiness) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(health.Readiness, "check", bug)
    answer = serve(settings).get("/readyz", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_may_ask_for_the_head_alone(serve, settings, jobs, path):
    jobs.beat("w1", NET, "cpu", 0)
    answer = serve(settings).head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_told_to_stop_it_is_not_ready_and_answers_on_until_a_proxy_has_seen_that(
    launch, settings, jobs, gray_photo, until
):
    shared = {"redis_url": settings.redis_url, "store_url": settings.store_url, "drain": 5, "port": 0}
    api = launch("-m", "service", "api", **shared)
    with httpx.Client(base_url=api.line(r"url=(http://\S+)")[1], timeout=10) as client:
        jobs.beat("w1", NET, "cpu", 0)
        assert client.get("/readyz").status_code == 200
        id = client.post("/v1/colorizations", files={"photo": gray_photo()}).json()["id"]
        with client.stream("GET", f"/v1/colorizations/{id}/events") as stream:
            lines = stream.iter_lines()
            until(lambda: next(lines) == "event: queued", 5, "it says how the job stands")
            told = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            answer = until(lambda: (a := client.get("/readyz")).status_code == 503 and a, 1, "it refuses")
            assert answer.json()["code"] == "stopping"
            assert client.get("/livez").status_code == 200
            assert client.post("/v1/colorizations", files={"photo": gray_photo()}).status_code == 202
            list(lines)  # to an end in order: httpx raises where it is cut off
        assert api.process.wait(60) in (0, -signal.SIGTERM)
        assert time.monotonic() - told > 5
