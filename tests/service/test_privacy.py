"""What is left of a photo and of its sender, and `python -m service erase`, by which an operator takes pictures down."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from PIL import Image

from service.__main__ import main

SENDER = "203.0.113.9"
NAME = "Aunt-Marys-wedding.jpg"


@pytest.fixture
def erase(settings, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, output, errors."""

    def run(*what: object) -> tuple[int, str, str]:
        monkeypatch.setenv("AUTOCHROME_REDIS_URL", settings.redis_url)
        monkeypatch.setenv("AUTOCHROME_STORE_URL", settings.store_url)
        monkeypatch.setattr("sys.argv", ["autochrome", "erase", *map(str, what)])
        return main(), *capsys.readouterr()

    return run


def send(api, photo: bytes) -> str:
    return str(api.post("/v1/colorizations", files={"photo": photo}).json()["id"])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def status(api, id: str) -> str:
    return str(api.get(f"/v1/colorizations/{id}").json()["status"])


def test_by_id_or_by_the_address_of_a_page_or_a_file(api, photos, erase, folder):
    ids = [send(api, photo) for photo in photos[:4]]
    code, said, _ = erase(
        ids[0], f"https://colors.example/photos/{ids[1]}", f"/v1/colorizations/{ids[2]}/result"
    )
    assert code == 0
    assert said.split()[1::2] == ids[:3]
    assert [status(api, id) for id in ids] == ["canceled"] * 3 + ["queued"]
    assert [path.relative_to(folder).parts[0] for path in files(folder)] == [ids[3]]


def test_by_a_copy_of_the_photo_or_of_the_result_however_often_it_was_sent(
    api, photos, erase, folder, work, tmp_path
):
    twice = [send(api, photos[0]), send(api, photos[0])]
    colored = send(api, photos[1])
    for number in range(3):
        work(picture=b"colored %d" % number)
    other = send(api, photos[2])
    copy, result = tmp_path / "copy.jpg", tmp_path / "result.jpg"
    copy.write_bytes(photos[0])
    result.write_bytes(api.get(f"/v1/colorizations/{colored}/result").content)
    assert erase(copy, result)[0] == 0
    assert [status(api, id) for id in (*twice, colored, other)] == ["canceled"] * 3 + ["queued"]
    assert {path.relative_to(folder).parts[0] for path in files(folder)} == {other}


def test_by_a_copy_with_something_behind_the_picture_which_is_not_stored(
    api, photos, erase, folder, tmp_path
):
    animation = io.BytesIO()
    frames = [Image.new("L", (60, 60), gray) for gray in (20, 200)]
    frames[0].save(animation, "WEBP", save_all=True, append_images=frames[1:])
    as_sent = [one + b"SEFT" + bytes(200) for one in (photos[0], animation.getvalue())]
    for one in as_sent:
        api.post("/v1/colorizations?page=1", files={"photo": one}).raise_for_status()
    assert not {one.stat().st_size for one in files(folder)} & {len(one) for one in as_sent}
    copies = [tmp_path / name for name in ("a.jpg", "b.webp")]
    for copy, one in zip(copies, as_sent, strict=True):
        copy.write_bytes(one)
    assert erase(*copies)[0] == 0
    assert not files(folder)


def test_by_a_copy_that_comes_on_standard_input(api, photos, erase, folder, monkeypatch):
    """As into a container, which sees no file outside of itself."""
    id = send(api, photos[0])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photos[0])))
    assert erase("-")[:2] == (0, f"erased {id}\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photos[1])))
    assert erase("-") == (1, "", "error: nothing is kept of standard input\n")


def test_a_batch_with_all_its_jobs_or_one_photo_of_it(api, photos, erase, folder, tmp_path):
    batch = api.post(
        "/v1/batches", files=[("photo", (f"{n}.jpg", photo)) for n, photo in enumerate(photos[:3])]
    ).json()
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(photos[1])
    assert erase(copy)[0] == 0
    assert len(files(folder)) == 2
    code, said, _ = erase(batch["id"])
    assert (code, said.splitlines()[-1]) == (0, f"erased {batch['id']}, a batch with 2 jobs")
    assert not files(folder)
    assert api.get(f"/v1/batches/{batch['id']}").json()["status"] == "canceled"


def test_what_is_not_there_is_said(api, erase, tmp_path, photos):
    unknown = tmp_path / "unknown.jpg"
    unknown.write_bytes(photos[0])
    id = send(api, photos[1])
    code, said, errors = erase("0" * 32, unknown, id)
    assert (code, said) == (1, f"erased {id}\n")
    assert "0" * 32 in errors
    assert str(unknown) in errors


def test_a_file_that_is_not_there_is_not_taken_for_one_of_which_nothing_is_kept(api, photos, erase, tmp_path):
    id = send(api, photos[0])
    absent = tmp_path / "complained.jpg"
    code, said, errors = erase("0" * 32, absent, id)
    assert (code, said) == (2, f"erased {id}\n")
    assert f"error: {absent} is no file here, and holds no id\n" in errors


def held(client: redis.Redis, words: str) -> set[str]:
    """The keys of Redis under which these words stand."""
    reading = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
    }
    return {key for key in client.scan_iter() if words in f"{key} {reading[client.type(key)](key)}"}


@pytest.fixture
def from_afar(tight) -> dict:
    """The API behind a proxy that tells it of SENDER, and the headers by which it does."""
    api = tight(trusted_proxies=("127.0.0.1",), quota_megapixels_per_minute=100)
    return {"api": api, "headers": {"X-Forwarded-For": SENDER}}


def test_the_address_of_a_sender_is_kept_for_a_minute_and_until_its_jobs_have_ended(
    from_afar, client, photos, work
):
    api, headers = from_afar.values()
    for photo in photos[:3]:
        assert api.post("/v1/colorizations", files={"photo": photo}, headers=headers).status_code == 202
    assert {key.split(":")[1] for key in held(client, SENDER)} == {"job", "quota"}
    for _ in photos[:3]:
        work()
    [key] = held(client, SENDER)
    assert 0 < client.ttl(key) <= 60


def test_the_address_of_a_sender_whose_bytes_are_limited_is_kept_until_they_count_no_more(
    tight, client, photos, work
):
    api = tight(trusted_proxies=("127.0.0.1",), caller_bytes=10**9, caller_records=10**9)
    made = api.post(
        "/v1/colorizations", files={"photo": photos[0]}, headers={"X-Forwarded-For": SENDER}
    ).json()
    work()
    keys = {key.removeprefix("{autochrome}:") for key in held(client, SENDER)}
    assert keys == {"payers", "held", f"records:address:{SENDER}"}
    api.delete(
        f"/v1/colorizations/{made['id']}", headers={"Authorization": f"Bearer {made['secret']}"}
    ).raise_for_status()
    [key] = held(client, SENDER)
    assert 7 * 86400 < client.ttl(key) <= 8 * 86400 + 3600


def test_of_a_batch_the_address_and_the_names_are_kept_until_it_is_erased(from_afar, client, photos):
    api, headers = from_afar.values()
    files = [("photo", (NAME, photo)) for photo in photos[:3]]
    made = api.post("/v1/batches", files=files, headers=headers).json()
    of_quota = {key for key in held(client, SENDER) if "quota:" in key}
    assert held(client, SENDER) - of_quota
    assert held(client, NAME)
    erased = api.delete(f"/v1/batches/{made['id']}", headers={"Authorization": f"Bearer {made['secret']}"})
    assert erased.status_code == 204
    assert held(client, SENDER) == of_quota
    assert not held(client, NAME)


def test_of_an_erased_job_its_times_and_the_hash_of_its_secret_are_left(api, client, photos, folder, work):
    made = api.post("/v1/colorizations", files={"photo": (NAME, photos[0])}, data={"vividness": 1.37}).json()
    assert not held(client, NAME), "the name of a file is not kept at all"
    work()
    api.delete(f"/v1/colorizations/{made['id']}", headers={"Authorization": f"Bearer {made['secret']}"})
    assert not files(folder)
    assert not held(client, "1.37")
    record = client.hgetall(f"{{autochrome}}:job:{made['id']}")
    assert set(record) <= {"status", "created", "expires", "secret", "erase_again"}
