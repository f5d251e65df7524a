"""Batches over real HTTP: what comes in, what waits, what comes out, and what a crash leaves behind."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import httpx
import psutil
import pytest
from PIL import Image

from service import archives
from service.api.state import ARCHIVES_OF_ONE
from service.auth import Keys, Scope
from service.batches import Batches, File
from service.janitor import Eraser
from service.schemas import Options

ID = "0f8fad5bd9cb469fa16570867728950e"
OWN = "a-secret-of-my-own-0123456789abcdef"


def form(photos: Iterable[tuple[str, bytes]]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("photo", photo) for photo in photos]


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_many_photos_become_one_batch_of_jobs(api, jobs, photos):
    answer = api.post(
        "/v1/batches", files=form([("a.jpg", photos[0]), ("b.jpg", photos[1])]), data={"vividness": "1.5"}
    )
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert answer.headers["location"] == f"/v1/batches/{batch['id']}"
    assert batch["status"] == "running"
    assert batch["counts"] == {"queued": 2}
    assert [file["name"] for file in batch["files"]] == ["a.jpg", "b.jpg"]
    for file in batch["files"]:
        job = api.get(file["url"]).json()
        assert job["options"]["vividness"] == 1.5
        assert job["options"]["priority"] == "batch"
        assert job["expires_at"][:16] == batch["expires_at"][:16]
        assert jobs.get(file["job"]).group == batch["id"]
    again = api.get(answer.headers["location"]).json()
    assert "secret" not in again
    assert again == {name: value for name, value in batch.items() if name != "secret"}


@pytest.mark.parametrize("how", ["body", "field"])
def test_a_zip_is_a_batch_of_what_is_in_it(api, photos, how):
    archive = zipped(("holiday/a.jpg", photos[0]), ("holiday/b.jpg", photos[1]), ("__MACOSX/._a.jpg", b"x"))
    if how == "body":
        answer = api.post("/v1/batches", content=archive, headers={"Content-Type": "application/zip"})
    else:
        answer = api.post("/v1/batches", files={"archive": ("photos.zip", archive)})
    assert answer.status_code == 202, answer.text
    assert [file["name"] for file in answer.json()["files"]] == ["holiday/a.jpg", "holiday/b.jpg"]
    assert answer.json()["counts"] == {"queued": 2}


def test_a_bad_file_fails_alone_and_says_why(api, photos, tight):
    api = tight(max_bytes=20_000)
    sent = [("good.jpg", photos[0]), ("text.txt", b"hello" * 9), ("cut.jpg", photos[1][:100]), ("none.jpg", b""),
            ("long.jpg", photos[2] + bytes(200_000)), ("packed.zip", zipped(("a.jpg", photos[3])))]  # fmt: skip
    batch = api.post("/v1/batches", files=form(sent)).json()
    assert batch["counts"] == {"failed": 5, "queued": 1}
    codes = [file["error"] and file["error"]["code"] for file in batch["files"]]
    assert codes == [
        None,
        "photo_unsupported",
        "photo_damaged",
        "photo_empty",
        "body_too_large",
        "photo_unsupported",
    ]
    assert all(len(file["error"]["detail"]) > 10 for file in batch["files"][1:])


def test_zips_of_one_sender_do_not_take_all_threads(api, photos, monkeypatch, until):
    """Sent again and again, a small one takes a second of a thread each time, for nothing."""
    go_on, unpacking = threading.Event(), []

    def slowly(*arguments):
        unpacking.append(None)
        go_on.wait(20)
        return archives.unpack(*arguments)

    monkeypatch.setattr("service.api.batches.unpack", slowly)
    sent = {"content": zipped(("a.jpg", photos[0])), "headers": {"Content-Type": "application/zip"}}
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(api.post, "/v1/batches", **sent) for _ in range(ARCHIVES_OF_ONE)]
        until(lambda: len(unpacking) == ARCHIVES_OF_ONE, 10, "they are unpacked at once")
        assert api.post("/v1/batches", **sent).json()["code"] == "too_many_at_once"
        go_on.set()
    assert [other.result().status_code for other in others] == [202] * ARCHIVES_OF_ONE
    assert api.post("/v1/batches", **sent).status_code == 202


def test_parts_without_end_are_not_read_to_the_end(serve, settings, client, check_problem):
    few = serve(settings.model_copy(update={"batch_files": 10}))
    nothing = b'--b\r\nContent-Disposition: form-data; name="photo"; filename=""\r\n\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for count, code in ((20, "photo_missing"), (1000, "batch_too_large")):
        check_problem(few.post("/v1/batches", content=nothing * count + b"--b--\r\n", headers=headers), code)


def test_results_come_as_one_zip_under_safe_names(api, photos, work, check_problem):
    names = ["../../etc/passwd.jpg", "a.png", "A.jpg", "con.jpg", "day\u202egpj.exe"]
    batch = api.post("/v1/batches", files=form(zip(names, photos, strict=False))).json()
    path = f"/v1/batches/{batch['id']}"
    work(b"first")
    early = api.get(f"{path}/result")
    assert int(early.headers["retry-after"]) >= 1
    check_problem(early, "not_ready")
    partial = api.get(f"{path}/result?partial=true")
    with zipfile.ZipFile(io.BytesIO(partial.content)) as archive:
        assert [(name, archive.read(name)) for name in archive.namelist()] == [("etc/passwd.jpg", b"first")]
    for index in range(4):
        work(b"%d" % index)
    assert api.get(path).json()["status"] == "ended"
    whole = api.get(f"{path}/result")
    assert whole.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["etc/passwd.jpg", "a.jpg", "A (2).jpg", "_con.jpg", "daygpj.exe.jpg"]
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
    assert api.head(f"{path}/result").content == b""


def test_an_animation_is_taken_in_only_where_a_page_of_it_is_asked_for(api):
    out = io.BytesIO()
    frames = [Image.new("L", (32, 24), shade) for shade in (40, 200)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    sent = form([("a.gif", out.getvalue())])
    [refused] = api.post("/v1/batches", files=sent).json()["files"]
    assert (refused["status"], refused["error"]["code"]) == ("failed", "photo_animated")
    [taken] = api.post("/v1/batches?page=1", files=sent).json()["files"]
    assert (taken["status"], taken["error"]) == ("queued", None)


def test_the_pages_of_a_long_batch_follow_each_other(api, photos):
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos)]
    id = api.post("/v1/batches", files=form(sent)).json()["id"]
    seen, cursor = [], "0"
    while cursor is not None:
        page = api.get(f"/v1/batches/{id}", params={"cursor": cursor, "limit": 3}).json()
        assert page["counts"] == {"queued": 8}
        seen.append([file["name"] for file in page["files"]])
        cursor = page["next"]
    assert seen == [["0.jpg", "1.jpg", "2.jpg"], ["3.jpg", "4.jpg", "5.jpg"], ["6.jpg", "7.jpg"]]


def test_forty_large_listings_at_once_take_little_memory(launch, redis_url, client, jobs, tmp_path):
    batches = Batches(client, jobs, most_files=2000, most_waiting=10)
    batches.open(ID, 600, "print", "", "192.0.2.1", "", Options())
    refused = (File(f"{n:0400}", None, "photo_unsupported", "This is no photo. " * 20) for n in range(4000))
    client.rpush(f"{{autochrome}}:batch:{ID}:files", *(json.dumps(asdict(file)) for file in refused))
    program = launch("-m", "service", "api", redis_url=redis_url, state_dir=tmp_path, port=0)
    url = program.line(r"api_listening url=(http://\S+)")[1] + f"/v1/batches/{ID}"
    names = [file["name"] for file in httpx.get(url, timeout=30).json()["files"]]
    assert names == [f"{number:0400}" for number in range(1000)]
    process = psutil.Process(program.process.pid)
    before, most = process.memory_info().rss, 0
    answers: list[int] = []

    def ask() -> None:
        with httpx.stream("GET", url, timeout=60) as answer:
            time.sleep(0.5)
            answers.append(len(answer.read()))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, process.memory_info().rss)
        time.sleep(0.01)
    assert len(answers) == 40
    assert len(set(answers)) == 1
    assert (most - before) / 2**20 < 80


def test_an_upload_that_broke_off_is_gone_on_with(api, photos, folder, until, client, stored):
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos[:4])]
    whole = httpx.Request("PUT", f"{api.base_url}/v1/batches/{ID}", files=form(sent))
    body = whole.read()
    with socket.create_connection((api.base_url.host, api.base_url.port)) as broken:
        lines = [f"PUT /v1/batches/{ID} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}",
                 f"Content-Type: {whole.headers['content-type']}", f"Authorization: Bearer {OWN}"]  # fmt: skip
        broken.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body[: body.index(b"3.jpg")])
        until(lambda: client.llen("{autochrome}:batch:" + ID + ":files") == 3, 5, "three are taken in")
    before = api.get(f"/v1/batches/{ID}").json()
    assert before["status"] == "receiving"
    again = api.put(f"/v1/batches/{ID}", files=form(sent), headers=bearer(OWN))
    assert again.status_code == 202, again.text
    assert again.json()["status"] == "running"
    assert [file["name"] for file in again.json()["files"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [file["job"] for file in again.json()["files"]][:3] == [file["job"] for file in before["files"]]
    written = {path: path.stat().st_mtime_ns for path in stored(folder)}
    assert len(written) == 4
    repeated = api.put(f"/v1/batches/{ID}", files=form(sent), headers=bearer(OWN)).json()
    assert (repeated["files"], repeated["secret"]) == (again.json()["files"], again.json()["secret"])
    assert {path: path.stat().st_mtime_ns for path in stored(folder)} == written


def test_a_whole_batch_takes_in_nothing_more_and_its_options_stay(api, photos, check_problem, folder, stored):
    def put(photo: bytes, **options: str) -> httpx.Response:
        files = form([("a.jpg", photo)])
        return api.put(f"/v1/batches/{ID}", files=files, data=options, headers=bearer(OWN))

    assert put(photos[0]).status_code == 202
    check_problem(put(photos[1]), "id_conflict")
    check_problem(put(photos[0], vividness="0.5"), "id_conflict")
    check_problem(api.put("/v1/batches/nonsense", files=form([("a.jpg", photos[0])])), "id_invalid")
    assert len(stored(folder)) == 1


def test_the_same_photo_under_two_names_is_wanted_twice(api, photos):
    sent = [("a.jpg", photos[0]), ("b.jpg", photos[0]), ("a.jpg", photos[0])]
    batch = api.post("/v1/batches", files=form(sent)).json()
    assert [file["name"] for file in batch["files"]] == ["a.jpg", "b.jpg"]


def test_erasing_a_batch_leaves_no_file_of_it(tight, photos, work, folder, jobs, check_problem, stored):
    api = tight(queue_jobs=6)
    sent = [(f"{index}.jpg", photo) for index, photo in enumerate(photos)]
    batch = api.post("/v1/batches", files=form(sent)).json()
    assert batch["counts"] == {"queued": 3, "waiting": 5}
    work()
    path = f"/v1/batches/{batch['id']}"
    check_problem(api.delete(path), "secret_missing")
    check_problem(api.delete(path, headers=bearer("wrong")), "secret_wrong")
    assert len(stored(folder)) == 9
    assert api.delete(path, headers=bearer(batch["secret"])).status_code == 204
    assert not stored(folder)
    assert jobs.depth().jobs == 0
    after = api.get(path).json()
    assert (after["status"], after["files"]) == ("canceled", [])
    check_problem(api.get(f"{path}/result"), "canceled")
    check_problem(api.put(path, files=form(sent)), "canceled")
    assert api.delete(path, headers=bearer(batch["secret"])).status_code == 204


def test_a_secret_of_a_job_with_the_batchs_id_does_not_open_the_batch(api, photos, check_problem):
    api.put(f"/v1/batches/{ID}", files=form([("a.jpg", photos[0])]))
    job = api.put(f"/v1/colorizations/{ID}", files={"photo": photos[1]}).json()
    check_problem(api.delete(f"/v1/batches/{ID}", headers=bearer(job["secret"])), "secret_wrong")


def test_a_batch_expires_with_all_it_has(api, photos, client, jobs, store, until, check_problem):
    batch = api.post("/v1/batches", files=form([("a.jpg", photos[0])]), data={"keep_for": "1"}).json()
    path = f"/v1/batches/{batch['id']}"
    until(lambda: api.get(path).status_code != 200, 5, "it has expired")
    check_problem(api.get(path), "expired")
    check_problem(api.get(f"{path}/result"), "expired")
    Eraser(jobs, store, 60).tick()
    kept = client.keys(f"*batch:{batch['id']}*")
    assert kept == [f"{{autochrome}}:batch:{batch['id']}"]
    assert not {"options", "address"} & set(client.hkeys(kept[0]))


def test_what_cannot_be_a_batch_is_refused_and_leaves_nothing(
    tight, photos, folder, client, check_problem, stored
):
    api = tight(batch_files=2, batch_bytes=2**20)
    zip_type = {"Content-Type": "application/zip"}
    two = form([("a.jpg", photos[0]), ("b.jpg", photos[1])])
    late = [("photo", ("a.jpg", photos[0])), ("vividness", (None, "1.5"))]
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    begun = (
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        + photos[0]
        + b"\r\n--x"
    )
    refused = [
        (api.post("/v1/batches"), "photo_missing"),
        (api.post("/v1/batches", files={"vividness": (None, "1")}), "photo_missing"),
        (api.post("/v1/batches", files={"picture": ("a.jpg", photos[0])}), "photo_missing"),
        (
            api.post("/v1/batches", content=b"{}", headers={"Content-Type": "text/plain"}),
            "unsupported_media_type",
        ),
        (api.post("/v1/batches", content=b"no ZIP", headers=zip_type), "archive_invalid"),
        (api.post("/v1/batches", content=zipped(), headers=zip_type), "photo_missing"),
        (api.post("/v1/batches", content=bytes(2**21), headers=zip_type), "body_too_large"),
        (api.post("/v1/batches", files=[*two, ("photo", ("c.jpg", photos[2]))]), "batch_too_large"),
        (api.post("/v1/batches?vividnes=1", files=two), "option_unknown"),
        (api.post("/v1/batches?keep_for=1e9", files=two), "option_invalid"),
        (api.post("/v1/batches?webhook=https://example.com", files=two), "webhook_disabled"),
        (api.post("/v1/batches", files=late), "form_invalid"),
        (api.post("/v1/batches", content=begun, headers=broken), "form_invalid"),
        (api.post("/v1/batches", content=b"--y", headers=broken), "form_invalid"),
    ]
    for answer, kind in refused:
        check_problem(answer, kind)
    assert not stored(folder)
    assert client.zcard("{autochrome}:queued") == 0
    assert client.zcard("{autochrome}:batches") == 0
    check_problem(api.get(f"/v1/batches/{ID}"), "not_found")
    check_problem(api.get("/v1/batches/nonsense"), "not_found")


def test_a_key_needs_the_scope_and_opens_what_it_made(tight, client, photos, check_problem):
    api = tight(anonymous=False)
    keys = Keys(client)
    one, other = keys.create("a", {Scope.COLORIZE}), keys.create("b", {Scope.BATCH})
    sent = form([("a.jpg", photos[0])])
    check_problem(api.post("/v1/batches", files=sent), "key_missing")
    check_problem(api.post("/v1/batches", files=sent, headers=bearer(one)), "scope_missing")
    batch = api.post("/v1/batches", files=sent, headers=bearer(other)).json()
    path = f"/v1/batches/{batch['id']}"
    check_problem(api.delete(path, headers=bearer(one)), "secret_wrong")
    assert api.delete(path, headers=bearer(other)).status_code == 204


def test_a_real_worker_colors_a_batch(service, gray_photo, until, stored):
    archive = zipped(("a.png", gray_photo("PNG")), ("b.jpg", gray_photo("JPEG")), ("c.jpg", b"no photo"))
    batch = httpx.post(
        f"{service.url}/v1/batches?artifacts=sidecar", files={"archive": ("a.zip", archive)}
    ).json()
    path = f"{service.url}/v1/batches/{batch['id']}"
    until(lambda: httpx.get(path).json()["status"] == "ended", 60, "the batch has ended")
    assert httpx.get(path).json()["counts"] == {"failed": 1, "succeeded": 2}
    with zipfile.ZipFile(io.BytesIO(httpx.get(f"{path}/result").content)) as results:
        assert results.namelist() == ["a.png", "b.jpg"]
        for name in results.namelist():
            with Image.open(results.open(name)) as picture:
                assert (picture.mode, picture.size) == ("RGB", (320, 240))
    assert httpx.delete(path, headers=bearer(batch["secret"])).status_code == 204
    assert not [
        path for path in stored(service.state_dir / "store") if batch["files"][0]["job"] in path.parts
    ]
