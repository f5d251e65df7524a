"""A job's events over real HTTP: as they happen, again after a break, and for many at once."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from model.errors import Notice
from service.models import Net, Result

NET = Net("lite", "ab" * 32)


@dataclass
class Received:
    name: str
    data: Any
    id: str | None


def listen(api: httpx.Client, url: str, **headers: str) -> Iterator[Received]:
    """Events as a browser takes them apart; comments are events without a name."""
    with api.stream("GET", f"{url}/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield Received(fields["event"], json.loads(fields["data"]), fields.get("id"))
                fields = {}
            else:
                yield Received("", fields, None)
                fields = {}


@pytest.fixture
def url(api, gray_photo) -> str:
    return api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"]


def test_what_happens_to_a_job_is_told_as_it_happens(api, url, jobs):
    events = listen(api, url)
    assert next(events).data == {"retry": "2000"}
    queued = next(events)
    assert (queued.name, queued.data) == ("queued", {"position": 1, "eta_s": None})
    claim = jobs.claim("w1", NET, 10**9, True)
    stage = next(events)  # one that is over would not be told any more
    result = Result(f"{claim.id}/1/result.jpg", 320, 240, "image/jpeg", "ab" * 32, 1234)
    jobs.complete(claim, {"save": 0.1}, result, notices=[Notice("file_cut_off", "A third is missing.")])
    last = next(events)
    assert (stage.name, stage.data["name"]) == ("stage", "open")
    assert (last.name, last.data) == ("succeeded", api.get(url).json())
    assert last.data["result"]["url"] == f"{url}/result"
    assert last.data["notices"] == [{"code": "file_cut_off", "detail": "A third is missing."}]
    assert list(events) == [], "and that was all"
    assert len({queued.id, stage.id, last.id}) == 3


def test_who_was_cut_off_is_sent_what_came_after(api, url, work):
    work()
    whole = [event for event in listen(api, url) if event.name]
    assert [event.name for event in whole] == ["queued", "succeeded"], "a stage that is over is no news"
    for seen in range(1):
        rest = [event for event in listen(api, url, **{"Last-Event-ID": whole[seen].id}) if event.name]
        assert rest == whole[seen + 1 :]
    nothing = api.get(f"{url}/events", headers={"Last-Event-ID": whole[-1].id})
    assert (nothing.status_code, nothing.content) == (204, b""), "a browser does not come back after this"
    again = [event for event in listen(api, url, **{"Last-Event-ID": "nonsense"}) if event.name]
    assert again == whole


def test_a_failure_comes_with_its_reason(api, url, jobs):
    jobs.fail(jobs.claim("w1", NET, 10**9, True), "photo_damaged", "The file is cut off.")
    *_, last = listen(api, url)
    assert (last.name, last.data["error"]["code"]) == ("failed", "photo_damaged")


def test_who_follows_a_job_is_sent_that_it_was_erased(api, gray_photo, url):
    events = listen(api, url)
    assert [next(events).name, next(events).name] == ["", "queued"]
    job = api.post("/v1/colorizations", files={"photo": gray_photo()}).json()
    other = listen(api, f"/v1/colorizations/{job['id']}")
    assert [next(other).name, next(other).name] == ["", "queued"]
    api.delete(f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"})
    (last,) = other
    assert (last.name, last.data["status"]) == ("canceled", "canceled")
    late = [event.name for event in listen(api, f"/v1/colorizations/{job['id']}") if event.name]
    assert late == ["canceled"], "also who comes late"
    events.close()


def test_a_job_past_its_time_says_so(api, client, url, jobs):
    id = url.rpartition("/")[2]
    events = listen(api, url)
    assert [next(events).name, next(events).name] == ["", "queued"]
    client.hset(f"{{autochrome}}:job:{id}", "expires", 1)
    client.zadd("{autochrome}:due", {id: 1})
    jobs.expire()
    (last,) = events
    assert (last.name, last.data["status"]) == ("expired", "expired")


def test_a_place_in_the_queue_that_others_move_is_told_too(api, gray_photo, work, monkeypatch):
    monkeypatch.setattr("service.api.events.LOOK", 0.1)
    send = {"files": {"photo": gray_photo()}}
    api.post("/v1/colorizations", **send)
    url = api.post("/v1/colorizations", **send).headers["location"]
    events = listen(api, url)
    assert next(events).name == ""
    assert next(events).data["position"] == 2
    time.sleep(0.3)
    work()
    moved = next(events)
    assert (moved.name, moved.data["position"], moved.id) == ("queued", 1, None)
    events.close()


def test_a_silent_stream_is_kept_alive(api, url, jobs, monkeypatch):
    monkeypatch.setattr("service.api.events.PING", 0.2)
    assert jobs.claim("w1", NET, 10**9, True)
    events = listen(api, url)
    received = [next(events) for _ in range(5)]
    assert [(one.name, one.data) for one in received[-2:]] == 2 * [("", {"": "ping"})]
    events.close()


def test_what_cannot_be_followed_is_a_problem(api, url, check_problem):
    check_problem(api.get(f"/v1/colorizations/{'0' * 32}/events"), "not_found")
    head = api.head(f"{url}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_a_hundred_wait_for_next_to_nothing_and_all_are_sent_the_end(
    api, url, work, client, until, monkeypatch
):
    """One subscription serves them all, and who has gone away is forgotten."""
    monkeypatch.setattr("service.api.events.LOOK", 0.5)
    names: list[str] = []

    def follow(crowd: httpx.Client, leave: bool) -> None:
        for event in listen(crowd, url):
            if event.name == "queued" and leave:
                return
            names.append(event.name)

    with httpx.Client(base_url=api.base_url, timeout=30, limits=httpx.Limits()) as crowd:
        threads = [threading.Thread(target=follow, args=(crowd, n % 2 == 0)) for n in range(100)]
        for thread in threads:
            thread.start()
        until(lambda: names.count("queued") == 50, 30, "fifty wait")
        for thread in threads[::2]:
            thread.join()
        assert client.pubsub_numsub("{autochrome}:changed")[0][1] == 1
        time.sleep(0.3)
        client.config_resetstat()
        time.sleep(1)
        looks = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        assert looks < 150, "fifty look for their place twice a second, and fifty have gone"
        work()
        for thread in threads[1::2]:
            thread.join()
    assert names.count("succeeded") == 50


def test_who_listens_does_not_hold_up_a_process_that_is_to_stop(
    launch, redis_url, client, gray_photo, tmp_path
):
    program = launch("-m", "service", "api", redis_url=redis_url, state_dir=tmp_path, port=0)
    address = program.line(r"api_listening url=(http://\S+)")[1]
    with httpx.Client(base_url=address, timeout=30) as api:
        url = api.post("/v1/colorizations", files={"photo": gray_photo()}).headers["location"]
        events = listen(api, url)
        assert [next(events).name, next(events).name] == ["", "queued"]
        start = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        assert list(events) == []
        assert (
            program.process.wait(60) == -signal.SIGTERM
        )  # which uvicorn, having stopped in order, lets through
        assert time.monotonic() - start < 30
