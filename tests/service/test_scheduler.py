"""Photos of batches wait their turn: for room, for their quota, for a killed process to be started again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import httpx

from service.auth import Keys, Scope
from service.batches import Batches, File, Scheduler
from service.budgets import Quota
from service.janitor import Eraser
from service.models import Bounds
from service.schemas import Options
from service.settings import Settings
from service.storage import Store, photo_key

ID = "0f8fad5bd9cb469fa16570867728950e"


class Killed(Exception):  # noqa: N818
    """Stands for the end of a process: nobody catches it on the way."""


def form(photos: Iterable[tuple[str, bytes]]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("photo", photo) for photo in photos]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_somebody_who_waits_goes_before_a_batch_unless_it_is_in_a_hurry_too(api, photos, work):
    (slow,) = api.post("/v1/batches", files=form([("a.jpg", photos[0])])).json()["files"]
    (fast,) = api.post("/v1/batches?priority=interactive", files=form([("b.jpg", photos[1])])).json()["files"]
    person = api.post("/v1/colorizations", files={"photo": photos[2]}).json()["id"]
    assert [work().id for _ in range(3)] == [fast["job"], person, slow["job"]]


def test_a_batch_larger_than_the_room_waits_and_people_still_get_in(tight, photos, work, until):
    api = tight(queue_jobs=4)
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos[:5])]
    batch = api.post("/v1/batches", files=form(sent)).json()
    assert batch["counts"] == {"queued": 2, "waiting": 3}
    waiting = [file for file in batch["files"] if file["status"] == "waiting"]
    assert {(file["job"], file["url"]) for file in waiting} == {(None, None)}
    person = api.post("/v1/colorizations", files={"photo": photos[0]})
    assert person.status_code == 202
    done = [work().id for _ in range(3)]
    assert done[0] == person.json()["id"]

    def counts() -> dict[str, int]:
        return api.get(f"/v1/batches/{batch['id']}").json()["counts"]

    until(lambda: counts() == {"succeeded": 2, "queued": 2, "waiting": 1}, 5, "the batch goes on")
    work()
    until(lambda: counts() == {"succeeded": 3, "queued": 2}, 5, "the last one is queued")


def test_batches_take_turns(tight, photos, work, until):
    api = tight(queue_jobs=4)
    first, second = (
        api.post(
            "/v1/batches", files=form((f"{index}.jpg", photo) for index, photo in enumerate(photos))
        ).json()
        for _ in range(2)
    )

    def queued_of(batch: dict) -> int:
        counts = api.get(f"/v1/batches/{batch['id']}").json()["counts"]
        return counts.get("queued", 0) + counts.get("succeeded", 0)

    assert (queued_of(first), queued_of(second)) == (2, 0)
    work()
    work()
    until(lambda: queued_of(first) + queued_of(second) == 4, 5, "two more are queued")
    assert queued_of(second) == 1


def test_turns_are_kept_however_quickly_they_follow_each_other(jobs, client):
    batches, quota = Batches(client, jobs, 20, 100), Quota(client, Settings())
    for id in ("ab" * 16, "cd" * 16):
        batches.open(id, 60, "print", "", "192.0.2.1", "", Options())
        for index in range(20):
            batches.add(id, str(index), File(f"{index}.jpg", batches.job_for(id, "", str(index))), 10_000)
    promoted = [batches.promote(Bounds(100, 10**9), quota) for _ in range(40)]
    assert {one.batch for one in promoted[::2]} == {"ab" * 16}
    assert {one.batch for one in promoted[1::2]} == {"cd" * 16}
    assert [one.job for one in promoted[::2]] == batches.jobs_of("ab" * 16)


def test_a_used_up_quota_puts_a_batch_off_and_neither_refuses_nor_holds_up_any(tight, photos, client):
    api = tight(quota_megapixels_per_minute=2)  # each counts as one, however small
    sent = form((f"{index}.jpg", photo) for index, photo in enumerate(photos[:4]))
    one, other = (bearer(Keys(client).create(name, set(Scope))) for name in "ab")
    assert api.post("/v1/batches", files=sent, headers=one).json()["counts"] == {"queued": 2, "waiting": 2}
    assert api.post("/v1/colorizations", files={"photo": photos[0]}, headers=one).status_code == 429
    assert api.post("/v1/batches", files=sent, headers=other).json()["counts"] == {"queued": 2, "waiting": 2}


def test_an_erasure_that_was_broken_off_is_ended_by_the_scheduler(api, photos, folder, client, until, stored):
    batch = api.post("/v1/batches", files=form([("a.jpg", photos[0])])).json()
    assert len(stored(folder)) == 1
    client.hset(
        f"{{autochrome}}:batch:{batch['id']}", "status", "canceled"
    )  # as `cancel` does, and then nothing
    client.zadd("{autochrome}:batches:erasing", {batch["id"]: 1})
    until(lambda: not stored(folder), 5, "the files are erased")


def test_erasing_a_large_batch_erases_few_files_before_it_answers(jobs, client, store, settings, monkeypatch):
    batches = Batches(client, jobs, 100, 100)
    batches.open(ID, 600, "print", "", "192.0.2.1", "", Options())
    ids = [f"{number:032x}" for number in range(40)]
    for id in ids:
        batches.add(ID, id, File("a.jpg", id), 100)
        store.put(photo_key(id), b"a photo")
    scheduler = Scheduler(batches, jobs, store, Quota(client, settings), Bounds(10, 10**9), print)
    batches.cancel(ID)
    erased: list[str] = []
    real = Store.erase
    monkeypatch.setattr(Store, "erase", lambda self, id: erased.append(id) or real(self, id))
    scheduler.erase(ID)
    assert len(erased) == 32
    assert {jobs.get(id).status for id in ids} == {"canceled"}
    Eraser(jobs, store, 60).tick()
    assert store.prefixes() == []


def test_no_batch_is_begun_while_too_many_photos_wait(tight, photos, check_problem):
    api = tight(queue_jobs=2, batch_backlog=3)
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos)]
    begun = api.put(f"/v1/batches/{ID}", files=form(sent)).json()
    assert begun["counts"] == {"queued": 1, "waiting": 7}
    refused = api.post("/v1/batches", files=form(sent))
    check_problem(refused, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    again = api.put(f"/v1/batches/{ID}", files=form(sent), headers=bearer(begun["secret"]))
    assert again.status_code == 202, "the one that is there"


def test_a_killed_api_loses_no_photo_that_waits(launch, redis_url, client, tmp_path, photos, work, until):
    settings = {
        "redis_url": redis_url,
        "store_url": (tmp_path / "a store").as_uri(),
        "port": 0,
        "queue_jobs": 4,
    }
    first = launch("-m", "service", "api", **settings)
    url = first.line(r"api_listening url=(http://\S+)")[1]
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos[:4])]
    batch = httpx.post(f"{url}/v1/batches", files=form(sent)).json()
    assert batch["counts"] == {"queued": 2, "waiting": 2}
    first.process.kill()
    done = {work().id, work().id}
    second = launch("-m", "service", "api", **settings)
    path = second.line(r"api_listening url=(http://\S+)")[1] + f"/v1/batches/{batch['id']}"
    until(lambda: httpx.get(path).json()["counts"] == {"succeeded": 2, "queued": 2}, 10, "the batch goes on")
    done |= {work().id, work().id}
    assert len(done) == 4
    assert httpx.get(path).json()["status"] == "ended"


def test_a_photo_of_a_batch_is_charged_once_and_done_though_who_queued_it_dies(
    tight, photos, jobs, monkeypatch
):
    """Before its notification is sent: a worker that is idle finds it all the same."""
    api = tight(quota_megapixels_per_minute=3)  # each counts as one

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr("service.celery_app.notify", die)
        with suppress(httpx.HTTPError):
            api.put(f"/v1/batches/{ID}", files=form([("a.jpg", photos[0])]))
    (file,) = api.get(f"/v1/batches/{ID}").json()["files"]
    assert file["status"] == "queued"
    assert jobs.stranded(0, 1) == [file["job"]]
    for status in (202, 202, 429):
        assert api.post("/v1/colorizations", files={"photo": photos[1]}).status_code == status


def test_a_photo_of_a_batch_that_finds_no_room_costs_nothing(tight, photos, client):
    api = tight(quota_megapixels_per_minute=2, queue_jobs=4)  # of which batches may fill two
    mine, other = (bearer(Keys(client).create(name, set(Scope))) for name in "ab")

    def color(sender: dict[str, str]) -> int:
        return api.post("/v1/colorizations", files={"photo": photos[0]}, headers=sender).status_code

    assert [color(other), color(other)] == [202, 202]
    sent = form((f"{index}.jpg", photo) for index, photo in enumerate(photos[:3]))
    batch = api.post("/v1/batches", files=sent, headers=mine).json()
    assert batch["counts"] == {"waiting": 3}
    assert [color(mine), color(mine)] == [202, 202]
    assert api.get(f"/v1/batches/{batch['id']}").json()["counts"] == {"waiting": 3}
