"""A store, a disk or a Redis that is full: new photos are refused, what was accepted is kept, and erasing makes room."""

from __future__ import annotations

import asyncio
import io
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import ANY

import psutil
import pytest
import redis

from model.image_headers import Limits, probe
from service import local
from service.api.state import Queue
from service.database import connect
from service.errors import Problem
from service.janitor import Eraser
from service.jobs import Jobs, new_id
from service.models import Bounds, Depth, Lease, Net, Order, Space
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, photo_key, results_bytes

NET = Net("lite", "ab" * 32)
NAME = "grandmother-in-1931.jpg"


class Cramped:
    """A Valkey whose append-only file can be kept from growing, as a full disk would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = local.valkey_socket(folder)
        self.log = folder / "valkey/appendonlydir"
        self.start()
        self.client = connect(f"unix://{self.socket}")

    def start(self) -> None:
        # Python ignores SIGXFSZ, and so shall the server: its write fails, as one to a full disk does.
        command = local.valkey_command(self.folder, self.socket)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, restore_signals=False)
        assert local.wait_for_valkey(self.socket, 10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fill(self, room: int = 0) -> None:
        self._limit(max(path.stat().st_size for path in self.log.iterdir()) + room)
        while self.writes():
            pass

    def make_room(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def writes(self) -> bool:
        try:
            return bool(self.client.set("probe", 1))
        except redis.ResponseError:
            return False

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()

    def _limit(self, size: int) -> None:
        psutil.Process(self._process.pid).rlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[Cramped]:
    server = Cramped(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def sums(client: redis.Redis) -> Callable[[], tuple[int, int]]:
    """Bytes that are counted: of the store, and of room for results."""

    def read() -> tuple[int, int]:
        store, room = client.hmget("{autochrome}:sums", "store", "room")
        return int(store or 0), int(room or 0)

    return read


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def bearer(made: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['secret']}"}


def enter(jobs: Jobs, store: Store, keep_for: float = 60) -> str:
    id = new_id()
    store.put(photo_key(id), b"photo")
    jobs.create(id, "secret", Order(Options(), 100, keep_for), Bounds(10**5, 10**12))
    return id


def test_what_the_store_holds_is_counted_to_the_byte_and_given_back(api, gray_photo, sums, folder, work):
    made = api.post("/v1/colorizations", files={"photo": gray_photo()}).json()
    store, room = sums()
    assert room > 0
    assert store == on_disk(folder) + room
    work(b"x" * 5000, {"comparison": b"y" * 700})
    assert sums() == (on_disk(folder), 0)
    assert api.delete(f"/v1/colorizations/{made['id']}", headers=bearer(made)).status_code == 204
    assert sums() == (0, 0)


@pytest.mark.parametrize("way", ["queue", "id"])
def test_an_upload_that_becomes_no_job_holds_nothing(api, tight, gray_photo, sums, folder, jobs, way):
    if way == "queue":
        small = tight(queue_jobs=1)
        small.post("/v1/colorizations", files={"photo": gray_photo()})
        before = sums()
        assert small.post("/v1/batches", files={"photo": gray_photo()}).status_code == 202
        assert small.post("/v1/colorizations", files={"photo": gray_photo()}).status_code == 503
        assert sums()[0] == before[0] + len(gray_photo()) + room_of(gray_photo())
    else:
        id = new_id()
        api.put(f"/v1/colorizations/{id}", files={"photo": gray_photo()})
        before = sums()
        for photo, status in ((gray_photo(), 202), (gray_photo(size=(64, 64)), 409)):
            assert api.put(f"/v1/colorizations/{id}", files={"photo": photo}).status_code == status
        assert sums() == before


@pytest.mark.parametrize(("path", "most"), [("colorizations", 2000), ("batches", 4000)])
def test_photos_that_are_refused_for_their_records_leave_none(tight, gray_photo, client, path, most):
    """Else whoever holds as many as one may would fill Redis with them, charged for none."""
    api = tight(caller_records=most)
    files = [("photo", (f"{index}.jpg", gray_photo(size=(64, 64 + index)))) for index in range(3)]

    def left() -> list[int]:
        return [
            client.zcard("{autochrome}:due"),
            *(client.hlen(f"{{autochrome}}:{of}") for of in ("stored", "payers")),
        ]

    own, secret = new_id(), {"Authorization": f"Bearer {'s' * 32}"}
    if path == "batches":
        assert api.put(f"/v1/batches/{own}", files=files[:2], headers=secret).status_code == 429
    else:
        assert api.post("/v1/colorizations", files=files[:1]).status_code == 202
    assert left() == [1, 1, 1]
    for _ in range(3):
        refused = (
            api.put(f"/v1/batches/{own}", files=files[2:], headers=secret)
            if path == "batches"
            else api.post("/v1/colorizations", files=files[2:])
        )
        assert refused.json()["code"] == "storage_limited"
    assert left() == [1, 1, 1]


def room_of(photo: bytes) -> int:
    return results_bytes(len(photo), probe(io.BytesIO(photo), Limits()), Options())


def test_two_uploads_that_race_for_an_id_give_back_what_one_of_them_took(jobs, client, sums):
    id, space = new_id(), Space(photo=1000, results=300)
    jobs.reserve(id, 60, space)
    jobs.reserve(id, 60, space)
    assert sums() == (2600, 600)
    jobs.unreserve(id, space)
    assert sums() == (1300, 300)
    jobs.create(id, "secret", Order(Options(), 100, 60), Bounds(10, 10**9))
    claim = jobs.claim("w1", NET, 10**9, empty=True)
    jobs.fail(claim, "photo_damaged", "no")
    assert sums() == (1000, 0)
    client.hincrby("{autochrome}:sums", "store", 77)
    jobs.cancel(id)
    jobs.erased(id)
    assert sums() == (77, 0)
    assert jobs.recount() == 77
    assert sums() == (0, 0)


def test_a_full_store_refuses_with_an_advice_before_the_photo_is_sent_and_takes_photos_again_after_erasing(
    tight, gray_photo, folder, check_problem
):
    photo = gray_photo()
    api = tight(store_bytes=2 * (len(photo) + room_of(photo)) + 10)
    made = [api.post("/v1/colorizations", files={"photo": photo}).json() for _ in range(2)]
    before = on_disk(folder)

    refused = api.post("/v1/colorizations", files={"photo": photo})
    assert "erased" in check_problem(refused, "store_full")["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3600
    check_problem(api.post("/v1/batches", files={"photo": photo}), "store_full")
    check_problem(api.put(f"/v1/batches/{new_id()}", files={"photo": photo}), "store_full")
    check_problem(api.put(f"/v1/colorizations/{new_id()}", files={"photo": photo}), "store_full")
    assert on_disk(folder) == before
    assert api.get(f"/v1/colorizations/{made[0]['id']}").status_code == 200
    assert api.delete(f"/v1/colorizations/{made[0]['id']}", headers=bearer(made[0])).status_code == 204
    assert api.post("/v1/colorizations", files={"photo": photo}).status_code == 202


def test_a_disk_with_little_left_is_not_filled_and_nothing_is_read_for_it(
    tight, gray_photo, check_problem, folder
):
    api = tight(free_bytes=2**60)
    problem = check_problem(api.post("/v1/colorizations", files={"photo": gray_photo()}), "store_full")
    assert "no room" in problem["title"].lower()
    assert files(folder) == []
    with socket.create_connection((api.base_url.host, api.base_url.port), timeout=10) as sending:
        head = "POST /v1/colorizations HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\nContent-Length: 9999999\r\n\r\n"
        sending.sendall(head.encode())
        assert sending.recv(100).startswith(b"HTTP/1.1 507 "), "none of the photo has been sent"


def test_uploads_under_way_and_room_for_results_count_against_the_free_disk(store, jobs):
    with store.under_way(2**40) as first, store.under_way(2**30) as second:
        assert first is not None
        assert second is not None
        assert first - second == pytest.approx(2**40, rel=0.01), (
            "the disk does not show yet what is being written"
        )
    jobs.reserve(new_id(), 60, Space(100, 500, free=700))
    with pytest.raises(Problem, match="store_full"):
        jobs.reserve(new_id(), 60, Space(100, 101, free=700))
    jobs.reserve(new_id(), 60, Space(100, 100, free=700))
    with pytest.raises(Problem, match="store_full"):
        jobs.reserve(new_id(), 60, Space(100, 101, most=1000))
    jobs.reserve(new_id(), 60, Space(100, 100, most=1000))


def test_the_eraser_makes_room_where_the_record_cannot_be_written_and_the_records_follow(
    cramped, store, folder, until
):
    jobs = Jobs(cramped.client, Lease(60, 0))
    kept, gone = enter(jobs, store), [enter(jobs, store, keep_for=0.2) for _ in range(120)]
    eraser = Eraser(jobs, store, 60)
    eraser.tick()
    cramped.fill()
    time.sleep(0.25)
    eraser.tick()
    assert [path.parent.name for path in files(folder)] == [kept]
    assert {jobs.get(id).status for id in gone} == {"expired"}
    eraser.tick()
    cramped.make_room()
    until(cramped.writes, 5, "it writes again by itself")
    for _ in range(3):
        eraser.tick()
    assert jobs.due() == []
    assert jobs.get(kept).status == "queued"


def test_erased_records_give_way_where_redis_is_short_of_memory(jobs, store, client):
    def erased_for(used: float) -> float:
        """Seconds for which the record is kept, where so much of the memory is used."""
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] / used))
        id = enter(jobs, store, keep_for=0.01)
        time.sleep(0.02)
        assert id in jobs.expire()
        jobs.erased(id)
        assert jobs.get(id).status == "expired"
        return client.pttl(f"{{autochrome}}:job:{id}") / 1000

    try:
        assert erased_for(0.1) == pytest.approx(7 * 24 * 3600, abs=5)
        assert erased_for(0.6) == pytest.approx(3600, abs=5)
        assert erased_for(0.8) == pytest.approx(60, abs=5)
    finally:
        client.config_set("maxmemory", 0)


def test_many_photos_at_once_look_at_the_queue_twice(jobs, monkeypatch):
    looks = []

    def look() -> Depth:
        looks.append(1)
        time.sleep(0.05)
        return Jobs.depth(jobs)

    monkeypatch.setattr(jobs, "depth", look)

    async def together() -> None:
        queue = Queue(jobs)
        await asyncio.gather(*(queue.look_now() for _ in range(50)))

    asyncio.run(together())
    assert len(looks) <= 2


@pytest.mark.parametrize("what", ["colorizations", "batches"])
def test_a_client_erases_its_photo_where_the_record_cannot_be_written(
    cramped, serve, tmp_path, gray_photo, until, folder, check_problem, monkeypatch, what
):
    monkeypatch.setattr("service.storage.ROOM_COMES_WITHIN", 0.5)
    store = (tmp_path / "a store").as_uri()
    api = serve(Settings(redis_url=f"unix://{cramped.socket}", store_url=store, state_dir=tmp_path))
    made = api.post(f"/v1/{what}", files={"photo": gray_photo()}).json()
    path = f"/v1/{what}/{made['id']}"
    cramped.fill()
    assert (
        "disk"
        in check_problem(api.post("/v1/colorizations", files={"photo": gray_photo()}), "queue_unavailable")[
            "detail"
        ]
    )
    assert api.get(path).status_code == 200, "reading goes on"
    answer = api.delete(path, headers=bearer(made))
    assert "are erased" in check_problem(answer, "queue_unavailable")["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert files(folder) == []
    cramped.make_room()
    until(cramped.writes, 5, "it writes again by itself")
    assert api.delete(path, headers=bearer(made)).status_code == 204
    check_problem(api.get(f"{path}/result"), "canceled")


def test_a_disk_that_cuts_a_log_short_after_it_was_written_anew_costs_nothing_that_was_answered(
    cramped, until
):
    """Valkey 9.1 opens a log that it writes anew without O_APPEND: see `keep_appending`."""
    cramped.client.bgrewriteaof()
    until(
        lambda: any("2.incr" in path.name for path in cramped.log.iterdir()), 5, "it writes into another file"
    )
    local.keep_appending(cramped.pid, cramped.folder)
    for turn in range(3):
        cramped.client.rpush("answered", "x" * 1000 * turn)
        cramped.fill(room=17)
        cramped.make_room()
        until(cramped.writes, 5, "it writes again by itself")
    cramped.client.rpush("answered", "after")
    cramped.kill()
    cramped.start()
    assert cramped.client.llen("answered") == 4


def test_a_server_that_refuses_even_to_greet_has_started(cramped):
    cramped.fill()
    with pytest.raises(redis.ResponseError):
        cramped.client.ping()
    assert local.wait_for_valkey(cramped.socket, 2)


def test_what_was_erased_is_in_the_servers_log_no_more_once_that_is_written_anew(
    cramped, serve, tmp_path, gray_photo, until
):
    store = (tmp_path / "a store").as_uri()
    settings = Settings(
        redis_url=f"unix://{cramped.socket}",
        store_url=store,
        state_dir=tmp_path,
        webhook_hosts="hooks.example",
        webhook_secret="whsec_" + "A" * 32,
    )
    api, jobs = serve(settings), Jobs(cramped.client, Lease(60, 0))
    hook = "https://hooks.example/?token=a-token-of-theirs"

    def said() -> list[str]:
        logs = b"".join(path.read_bytes() for path in cramped.log.iterdir())
        return [word for word in (NAME, "a-token-of-theirs") if word.encode() in logs]

    batch = api.post("/v1/batches", files={"photo": (NAME, gray_photo())}, data={"webhook": hook}).json()
    assert said() == [NAME, "a-token-of-theirs"]
    eraser = Eraser(jobs, Store(store), 60, rewrite_every=0.5)
    eraser.tick()
    jobs.fail(jobs.claim("w1", NET, 10**9, empty=True), "photo_damaged", "no")
    assert api.delete(f"/v1/batches/{batch['id']}", headers=bearer(batch)).status_code == 204
    assert said() == [NAME, "a-token-of-theirs"]

    def is_rewritten() -> bool:
        eraser.tick()
        return said() == []

    until(is_rewritten, 5, "the log is written anew")
    before = sorted(path.name for path in cramped.log.iterdir())
    time.sleep(0.6)
    eraser.tick()
    assert sorted(path.name for path in cramped.log.iterdir()) == before, "nothing was erased since"


def test_a_redis_that_forbids_to_write_its_log_anew_is_left_alone(cramped, store, caplog):
    jobs = Jobs(cramped.client, Lease(60, 0))
    enter(jobs, store, keep_for=0.05)
    eraser = Eraser(jobs, store, 60, rewrite_every=0.01)
    cramped.client.execute_command("ACL", "SETUSER", "default", "-bgrewriteaof", "-info")
    for _ in range(4):
        time.sleep(0.1)
        eraser.tick()
        jobs.cancel(enter(jobs, store))
    assert jobs.due() != [], "what has just been canceled"
    eraser.tick()
    assert jobs.due() == [], "though it does not say how much memory it has"
    assert [record.msg for record in caplog.records if "log_rewrite_refused" in record.message] == [
        {"event": "log_rewrite_refused", "error": ANY}
    ]


def test_a_log_that_is_being_written_anew_already_is_written_anew_later(cramped, store, monkeypatch, until):
    jobs = Jobs(cramped.client, Lease(60, 0))
    eraser = Eraser(jobs, store, 60, rewrite_every=60)
    real, asked = cramped.client.bgrewriteaof, []

    def rewrite() -> object:
        asked.append(real())
        return asked[-1]

    def busy() -> object:
        real()
        return real()  # in progress: Redis refuses another

    monkeypatch.setattr(cramped.client, "bgrewriteaof", busy)
    jobs.cancel(enter(jobs, store))
    eraser.tick()
    monkeypatch.setattr(cramped.client, "bgrewriteaof", rewrite)

    def is_asked_again() -> bool:
        eraser.tick()
        return bool(asked)

    until(is_asked_again, 5, "the log is written anew")
