"""Workers that are killed, frozen or hang in the middle of a job: the job still succeeds, and once."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from service.celery_app import make_app, notify
from service.database import connect
from service.jobs import Jobs, new_id
from service.models import Bounds, Lease, Order
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, photo_key, result_key

SLOW = str(Path(__file__).with_name("slow_worker.py"))
PLENTY = Bounds(1000, 10**9)
SHORT_LEASE = {"lease": 2, "lease_per_megapixel": 0}
"""Two seconds of silence are allowed: tests need not wait as long as the default has it."""


@pytest.fixture
def worker(launch, settings) -> Callable:
    """Start a real worker that takes its time in the net, and wait until it has loaded it."""

    def start(how: float | str | Path, **more: object):
        launched = launch(SLOW, str(how), redis_url=settings.redis_url, store_url=settings.store_url, **more)
        launched.line("net_loaded", 60)
        return launched

    return start


@pytest.fixture
def enter(jobs, settings, gray_photo) -> Callable[..., str]:
    """Enter a job and notify the workers, as the API does."""
    app = make_app(settings.celery_broker_url)

    def enter(notifies: bool = True, pixels: int = 320 * 240, photo: bytes | None = None) -> str:
        id = new_id()
        Store(settings.effective_store_url).put(photo_key(id), photo or gray_photo())
        jobs.create(id, "secret", Order(Options(), pixels, 600), PLENTY)
        if notifies:
            notify(app, id)
        return id

    return enter


def state(jobs: Jobs, id: str) -> tuple[str, str | None]:
    job = jobs.get(id)
    assert job is not None
    return job.status, job.stage


def said(workers: list, word: str, id: str) -> int:
    """How many lines of all these workers say a word about a job."""
    return sum(word in line and id in line for worker in workers for line in worker.lines)


def kill(worker) -> None:
    worker.process.kill()
    worker.process.wait()


def test_a_dead_workers_job_is_taken_by_another_long_before_its_lease_ends_and_ends_once(
    worker, enter, jobs, store, until
):
    first = worker(600, lease=600)
    id = enter()
    until(lambda: state(jobs, id) == ("running", "infer"), 15, "the job is in the net")
    second = worker(0)
    store.put(result_key(id, 1, ".png"), b"written just before it died")
    kill(first)
    until(lambda: said([second], "succeeded", id) == 1, 10, "the other one has done it")
    with pytest.raises(FileNotFoundError):
        store.get(result_key(id, 1, ".png"))
    assert state(jobs, id)[0] == "succeeded"
    assert jobs.get(id).result.key.startswith(f"{id}/2/")
    time.sleep(1.5)
    assert said([first, second], "succeeded", id) == 1


def test_a_worker_that_was_frozen_is_refused_when_it_wakes(worker, enter, jobs, store, until, settings):
    frozen = worker(1.5, **SHORT_LEASE)
    id = enter()
    until(lambda: state(jobs, id) == ("running", "infer"), 15, "the job is in the net")
    frozen.process.send_signal(signal.SIGSTOP)
    other = worker(0, **SHORT_LEASE)
    until(lambda: state(jobs, id)[0] == "succeeded", 15, "another has done it")
    result = jobs.get(id).result
    frozen.process.send_signal(signal.SIGCONT)
    until(lambda: said([frozen], "lease_lost", id), 15, "it notices")
    assert said([frozen, other], "succeeded", id) == 1
    assert jobs.get(id).result == result
    assert len(Store(settings.effective_store_url).get(result.key)) == result.bytes
    assert result.key.startswith(f"{id}/2/")


def test_a_worker_that_hangs_ends_itself_and_says_where(worker, enter, jobs, until):
    hangs = worker(600, deadline=2, lease=3)
    id = enter()
    assert hangs.process.wait(60) == 1
    hangs.line("slow_worker.py.*infer")
    until(lambda: id in jobs.reap(), 5, "the job waits again")


def test_a_worker_whose_device_is_lost_ends_itself_and_another_does_its_jobs(worker, enter, jobs, until):
    broken = worker("lost", **SHORT_LEASE)
    ids = [enter(), enter()]
    assert broken.process.wait(60) == 70
    broken.line('process_ended reason="the device is lost to this process: CUDA error')
    worker(0, **SHORT_LEASE)
    until(lambda: all(state(jobs, id)[0] == "succeeded" for id in ids), 20, "both have succeeded")


def test_a_worker_that_takes_nothing_although_photos_wait_ends_itself(worker, enter, jobs, client):
    stalled = worker(0, stall=1)
    time.sleep(2)
    assert stalled.process.poll() is None, "nothing waits: there is nothing to be missed"
    client.set("{autochrome}:notified", 1)  # nobody notifies again
    id = enter(notifies=False)
    assert stalled.process.wait(60) == 70
    stalled.line('process_ended reason="photos wait, and none has been taken for 1 s"')
    assert state(jobs, id)[0] == "queued"


def test_jobs_that_were_in_a_killed_worker_together_are_done_alone(worker, enter, jobs, client, until):
    first = worker(600, concurrency=3, **SHORT_LEASE)
    both = [enter(), enter()]
    until(lambda: all(state(jobs, id)[0] == "running" for id in both), 15, "both run")
    kill(first)
    worker(1, concurrency=3, **SHORT_LEASE)
    attempts = [f"{{autochrome}}:job:{id}" for id in both]
    until(lambda: "2" in [client.hget(job, "attempt") for job in attempts], 15, "one runs again")
    others = [enter(), enter()]
    together = 0

    def done() -> bool:
        nonlocal together
        running = client.zrange("{autochrome}:running", 0, -1)
        if set(both) & set(running):
            together = max(together, len(running))
        return all(state(jobs, id)[0] == "succeeded" for id in both + others)

    until(done, 20, "all have succeeded")
    assert together == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_photos_that_kill_workers_fail_in_time_and_others_go_on_at_a_third_of_the_pace_at_least(
    worker, launch, settings, enter, jobs
):
    dark = io.BytesIO()
    Image.effect_noise((320, 240), 8).point(lambda level: level // 8).save(dark, "PNG")
    running = [worker("kills"), worker("kills")]

    def succeeded() -> float:
        return jobs.counters().get("outcome:succeeded:", 0)

    def start_again(index: int) -> None:
        running[index] = launch(SLOW, "kills", redis_url=settings.redis_url, store_url=settings.store_url)

    def go_on(until: Callable[[], bool]) -> float:
        """Photos a second while there is always something to do and dead workers are started again."""
        begin, before = time.monotonic(), succeeded()
        while not until():
            for _ in range(100 - jobs.depth().jobs):
                enter()
            for index, one in enumerate(running):
                if one.process.poll() is not None:
                    start_again(index)
            time.sleep(0.1)
        return (succeeded() - before) / (time.monotonic() - begin)

    def lasted(seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    go_on(lasted(3))
    undisturbed = go_on(lasted(8))
    begin = time.monotonic()
    killers = [enter(photo=dark.getvalue())]
    go_on(lasted(5))
    killers.append(enter(photo=dark.getvalue()))
    disturbed = go_on(lambda: all(state(jobs, id)[0] == "failed" for id in killers))
    took = time.monotonic() - begin
    assert took < 120
    assert disturbed > undisturbed / 3, (
        "one of two workers is dead or empty nearly all the time, and started again beside the other"
    )
    assert jobs.counters().get("outcome:failed:worker_died", 0) == len(killers), "and no other"


def test_jobs_whose_notifications_were_lost_are_done_soon_and_a_worker_that_is_stopped_ends_what_it_began(
    worker, enter, jobs, client, until, tmp_path
):
    id = enter()
    client.delete("autochrome")  # the queue, with the notification in it
    stopping = worker(tmp_path / "go on", concurrency=2)
    until(lambda: state(jobs, id) == ("running", "infer"), 15, "the job is in the net")
    another = enter(notifies=False)
    until(lambda: state(jobs, another) == ("running", "infer"), 10, "the next one is there beside it")
    assert state(jobs, id) == ("running", "infer")
    stopping.process.send_signal(signal.SIGTERM)
    (tmp_path / "go on").touch()
    assert stopping.stop() == 0
    assert state(jobs, id)[0] == state(jobs, another)[0] == "succeeded"
    assert jobs.workers() == {}


def test_a_store_that_is_gone_for_a_while_costs_the_job_nothing(service, gray_photo, until):
    redis_url = f"unix://{service.state_dir}/valkey/valkey.sock"
    folder, aside = service.state_dir / "store", service.state_dir / "aside"
    with connect(redis_url) as client:
        jobs = Jobs(client, Lease(30, 0))
        folder.rename(aside)
        folder.write_text("in the way")
        try:
            id = new_id()
            jobs.create(id, "secret", Order(Options(), 100, 600), PLENTY)
            notify(make_app(Settings(redis_url=redis_url).celery_broker_url), id)
            until(lambda: said([service], "store_failed", id) >= 2, 20, "it is tried again and again")
            service.line(f"store_failed job={id} error=.*Not a directory")
            (aside / id).mkdir()
            (aside / id / "photo").write_bytes(gray_photo())
        finally:
            folder.unlink()
            aside.rename(folder)
        until(lambda: state(jobs, id)[0] == "succeeded", 20, "the job has succeeded")


@pytest.mark.parametrize(("variable", "value"), [("NET", "imaginary"), ("DEVICE", "toaster")])
def test_a_net_or_device_that_is_not_there_is_said_in_one_sentence(settings, variable, value):
    done = subprocess.run(
        [sys.executable, "-m", "service", "worker"],
        env={"PATH": "", f"AUTOCHROME_{variable}": value, "AUTOCHROME_REDIS_URL": settings.redis_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 78
    assert f"AUTOCHROME_{variable}={value!r}" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_notification_is_dropped_with_one_line_and_holds_up_no_job(
    worker, enter, jobs, client, until
):
    steady = worker(0, concurrency=1)
    id = enter(notifies=False)

    def message(body: object = ([new_id()], {}, {}), headers: object = None, **more: object) -> str:
        names = {"task": "autochrome.colorize", "id": "x", "lang": "py"} if headers is None else headers
        delivery = {"exchange": "", "routing_key": "autochrome"}
        properties = {"delivery_tag": new_id(), "body_encoding": "utf-8", "delivery_info": delivery}
        kind = {"content-type": "application/json", "content-encoding": "utf-8"}
        text = body if isinstance(body, str) else json.dumps(body)
        return json.dumps({"body": text, "headers": names, "properties": properties, **kind, **more})

    rubbish = [
        *("", "rubbish", "\xff\xfe", "[" * 100_000, "null", "7", "[1]", '"text"', "{}", '{"properties": {}}'),
        json.dumps({"__type__": "uuid", "__value__": 7}),
        "x" * 8_000_000,
        message(properties={"delivery_tag": ["a", "list"], "delivery_info": {}}),
        message(properties=[]),
        message(headers={"task": "os.system", "id": "x"}),
        message(headers={"task": ["autochrome.colorize"], "id": "x"}),
        message(headers={"task": "autochrome.colorize"}),
        message(headers=["a", "list"]),
        message(headers={}),
        message(headers={"task": "autochrome.colorize", "id": "x", "eta": "tomorrow"}),
        message(headers={"task": "autochrome.colorize", "id": "x", "expires": {}}),
        message(headers={"task": "autochrome.colorize", "id": "x", "timelimit": "long", "retries": []}),
        message(headers={"task": "autochrome.colorize", "id": "x", "compression": "zlib"}),
        message(**{"content-type": "application/x-python-serialize"}),
        message("not JSON"),
        message([]),
        message([[], {}, {}]),
        message([[7], {}, {}]),
        message([["x" * 1_000_000], {}, {}]),
        message([[new_id(), "more"], {}, {}]),
        message([[new_id()], {"keyword": 1}, {}]),
        message({"a": "mapping"}),
    ]
    client.rpush("autochrome", *rubbish)  # it takes them from this end
    until(lambda: client.llen("autochrome") == 0, 10, "all have been taken")
    after = enter()
    until(lambda: {state(jobs, each)[0] for each in (id, after)} == {"succeeded"}, 10, "jobs are done")
    assert steady.process.poll() is None
    dropped = [line for line in steady.lines if "message_dropped" in line]
    assert len(dropped) == len(rubbish), "".join(steady.lines)
    assert max(map(len, steady.lines)) < 500
    assert "Traceback" not in "".join(steady.lines)
    assert client.hlen("unacked") == 0, "nothing comes again"
