"""What a key or an address may send in a minute and hold at a time: megapixels, bytes of the store, bytes of records."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import httpx
import pytest
from PIL import Image

from model.errors import Notice
from service.auth import Keys, Scope
from service.batches import Batches, File
from service.budgets import Quota, network
from service.errors import Problem
from service.jobs import new_id
from service.models import STAGES, Allowance, Artifact, Bounds, Net, Order, Result, Space
from service.schemas import Options
from service.settings import Settings

ROOT = Path(__file__).parents[2]

MEGAPIXEL = 1_000_000


class Sender:
    """Sends photos one after the other, each under a token of its own."""

    def __init__(self, quota: Quota, owner: str, address: str) -> None:
        self.quota, self.who, self.sent = quota, (owner, address), 0

    def charge(self, pixels: int) -> dict[str, str]:
        self.sent += 1
        return self.quota.charge(*self.who, pixels, f"{self.sent:04x}")

    def left_after(self, pixels: int) -> int:
        return int(re.search(r"r=(\d+)", self.charge(pixels)["RateLimit"])[1])


@pytest.fixture
def pass_time(client):
    """Let so many seconds pass, as the server sees what is charged."""

    def shift(seconds: float) -> None:
        for key in client.keys("{autochrome}:quota:*"):
            for charge in client.zrange(key, 0, -1):
                client.zincrby(key, -1000 * seconds, charge)

    return shift


def sender(client, owner: str = "", address: str = "1.2.3.4", **settings: object) -> Sender:
    return Sender(Quota(client, Settings(**settings)), owner, address)


def test_a_minute_has_so_many_megapixels_and_the_refusal_says_when_there_is_room(client, pass_time):
    limited = sender(client, quota_megapixels_per_minute=10)
    headers = limited.charge(6 * MEGAPIXEL)
    assert headers == {"RateLimit-Policy": '"megapixels";q=10;w=60', "RateLimit": '"megapixels";r=4;t=60'}
    pass_time(20)
    assert limited.charge(3 * MEGAPIXEL)["RateLimit"] == '"megapixels";r=1;t=40'

    with pytest.raises(Problem, match="rate_limited") as small:
        limited.charge(2 * MEGAPIXEL)
    assert small.value.headers["Retry-After"] == "40", "when the six of the beginning are a minute old"
    assert small.value.headers["RateLimit"] == '"megapixels";r=1;t=40'
    assert "2 megapixels" in small.value.detail
    with pytest.raises(Problem, match="rate_limited") as large:
        limited.charge(8 * MEGAPIXEL)
    assert large.value.headers["Retry-After"] == "60", "for this the later three have to go as well"

    pass_time(40.5)
    assert limited.charge(2 * MEGAPIXEL)
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge(8 * MEGAPIXEL)
    pass_time(20)
    assert limited.left_after(8 * MEGAPIXEL) == 0, "the two of just now and these are all"
    assert client.zcard("{autochrome}:quota:address:1.2.3.4") == 2, "what is older is kept no more"


def test_what_is_refused_costs_nothing(client):
    limited = sender(client, quota_megapixels_per_minute=10)
    limited.charge(6 * MEGAPIXEL)
    for _ in range(5):
        with pytest.raises(Problem, match="rate_limited"):
            limited.charge(5 * MEGAPIXEL)
    limited.charge(4 * MEGAPIXEL)


def test_a_photo_counts_whole_megapixels_and_never_more_than_there_are(client):
    small, larger, largest = (
        sender(client, address=address, quota_megapixels_per_minute=3) for address in "abc"
    )
    assert small.left_after(64) == 2
    assert larger.left_after(MEGAPIXEL + 1) == 1
    assert largest.left_after(50 * MEGAPIXEL) == 0
    with pytest.raises(Problem, match="rate_limited") as refused:
        largest.charge(50 * MEGAPIXEL)
    assert refused.value.headers["Retry-After"] == "60"


def test_a_quota_that_was_made_smaller_meanwhile_is_used_up(client, pass_time):
    sender(client, quota_megapixels_per_minute=10).charge(9 * MEGAPIXEL)
    with pytest.raises(Problem, match="rate_limited") as refused:
        sender(client, quota_megapixels_per_minute=3).charge(2 * MEGAPIXEL)
    assert refused.value.headers["RateLimit"] == '"megapixels";r=0;t=60'
    pass_time(60)
    assert sender(client, quota_megapixels_per_minute=3).left_after(2 * MEGAPIXEL) == 1


def test_keys_and_addresses_are_charged_apart(client):
    for owner, address in (("aa", "1.1.1.1"), ("bb", "1.1.1.1"), ("", "1.1.1.1"), ("", "1.1.1.2")):
        sender(client, owner, address, quota_megapixels_per_minute=1).charge(1)
    again = sender(client, "aa", "9.9.9.9", quota_megapixels_per_minute=1)  # a key is the same from anywhere
    again.sent = 1
    with pytest.raises(Problem, match="rate_limited"):
        again.charge(1)


def test_an_address_of_ipv6_is_its_network(client):
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::1") != network("2001:db8:1:3::1")
    assert network("::ffff:1.2.3.4") == network("1.2.3.4") == "1.2.3.4"
    assert network("fe80::1%eth0") == network("fe80::2")
    assert network("a socket") == "a socket"
    sender(client, address="2001:db8:1:2::1", quota_megapixels_per_minute=1).charge(1)
    neighbor = sender(client, address="2001:db8:1:2::2", quota_megapixels_per_minute=1)
    neighbor.sent = 1
    with pytest.raises(Problem, match="rate_limited"):
        neighbor.charge(1)


@pytest.mark.parametrize(
    ("settings", "anonymous", "keyed"),
    [
        ({}, None, None),
        ({"host": "0.0.0.0"}, 600, None),
        ({"host": "0.0.0.0", "quota_megapixels_per_minute": 0}, None, None),
        ({"quota_megapixels_per_minute": 50}, 50, 50),
    ],
)
def test_who_is_limited_by_default(client, settings, anonymous, keyed):
    assert Settings(**settings).quota(anonymous=True) == anonymous
    assert Settings(**settings).quota(anonymous=False) == keyed
    if anonymous is None:
        unlimited = sender(client, **settings)
        assert [unlimited.charge(50 * MEGAPIXEL) for _ in range(100)] == [{}] * 100


@pytest.mark.parametrize("who", [("", "1.2.3.4"), ("0123456789ab", "")])
def test_what_is_given_back_can_be_spent_again_and_no_more_than_that(client, who):
    limited = Quota(client, Settings(quota_megapixels_per_minute=10))
    limited.charge(*who, 3 * MEGAPIXEL, "a")
    limited.charge(*who, 6 * MEGAPIXEL, "b")
    for _ in range(2):
        limited.give_back(*who, 6 * MEGAPIXEL, "b")
    assert "r=0" in limited.charge(*who, 7 * MEGAPIXEL, "c")["RateLimit"]
    with pytest.raises(Problem, match="rate_limited"):
        limited.charge(*who, MEGAPIXEL, "d")
    Quota(client, Settings(quota_megapixels_per_minute=0)).give_back(*who, MEGAPIXEL, "c")


def test_a_charge_whose_answer_was_lost_is_taken_once(client, lose_answers):
    limited = Quota(client, Settings(quota_megapixels_per_minute=10))
    lose_answers(2)
    assert "r=4" in limited.charge("", "1.2.3.4", 6 * MEGAPIXEL, "a")["RateLimit"]
    lose_answers(2)
    limited.give_back("", "1.2.3.4", 6 * MEGAPIXEL, "a")
    assert "r=0" in limited.charge("", "1.2.3.4", 10 * MEGAPIXEL, "b")["RateLimit"]


def bytes_held(client, jobs) -> tuple[dict[str, str], int]:
    return client.hgetall("{autochrome}:held"), jobs.depth().store


def raw(width: int, height: int) -> bytes:
    """A gray TIFF: a byte a pixel, and no end at which it could be cut off."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "TIFF")
    return file.getvalue()


def put(api: httpx.Client, photo: bytes, **headers: str) -> httpx.Response:
    return api.put(f"/v1/colorizations/{new_id()}", files={"photo": photo}, headers=headers)


def test_what_one_sender_holds_in_the_store_is_bounded_and_given_back_when_it_is_erased(
    tight, client, jobs, work, check_problem
):
    api = tight(caller_bytes=1_400_000)
    photo = raw(300, 500)  # 150 kB, and room for results of three times as many
    made = [api.post("/v1/colorizations", files={"photo": photo}) for _ in range(2)]
    refused = api.post("/v1/colorizations", files={"photo": photo})
    check_problem(refused, "storage_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert jobs.depth().jobs == 2
    keyed = {"Authorization": f"Bearer {Keys(client).create('another', [Scope.COLORIZE])}"}
    assert put(api, photo, **keyed).status_code == 202, "each has an allowance of its own"
    work(b"colored" * 1000)
    held, store = bytes_held(client, jobs)
    assert sorted(held) == ["address:127.0.0.1", f"key:{keyed['Authorization'].split('_')[1]}"]
    assert sum(map(int, held.values())) == store
    assert api.post("/v1/colorizations", files={"photo": photo}).status_code == 202, (
        "room for results that turned out small is free again"
    )
    check_problem(api.post("/v1/colorizations", files={"photo": photo}), "storage_limited")
    for answer in made:
        erase = {"Authorization": f"Bearer {answer.json()['secret']}"}
        assert api.delete(answer.headers["location"], headers=erase).status_code == 204
    assert int(bytes_held(client, jobs)[0]["address:127.0.0.1"]) < 700_000
    jobs.recount()
    assert sum(map(int, bytes_held(client, jobs)[0].values())) == bytes_held(client, jobs)[1]
    assert api.post("/v1/colorizations", files={"photo": photo}).status_code == 202


def test_a_zip_is_not_unpacked_into_more_than_its_sender_may_hold(tight, client, jobs, folder, check_problem):
    api = tight(caller_bytes=1_000_000)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.tiff", raw(400, 500 + number))
    assert len(zipped.getvalue()) < 40_000, "8 MB when it is unpacked"
    largest = 0

    def watch() -> None:
        nonlocal largest
        while not ended.wait(0.002):
            largest = max(largest, jobs.depth().store)

    ended = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    answer = api.post("/v1/batches", files={"archive": zipped.getvalue()})
    ended.set()
    watching.join()
    check_problem(answer, "storage_limited")
    assert largest <= 1_000_000
    assert (bytes_held(client, jobs), [*folder.rglob("photo")]) == (({}, 0), [])


def test_a_file_that_is_large_for_its_pixels_counts_by_its_bytes(tight):
    api = tight(quota_megapixels_per_minute=10)
    photo = io.BytesIO()
    Image.new("L", (64, 64)).save(photo, "BMP")
    padded = photo.getvalue() + bytes(9_000_000)
    assert '"megapixels";r=5;' in put(api, padded).headers["ratelimit"]
    assert put(api, padded).headers["ratelimit"].startswith('"megapixels";r=0;')
    assert put(api, padded).status_code == 429


def test_what_lies_behind_a_picture_is_not_stored(api, gray_photo, photo_of):
    for format in ("PNG", "JPEG", "WEBP"):
        photo = gray_photo(format, size=(64, 64))
        made = put(api, photo + bytes(3_000_000))
        assert made.status_code == 202
        assert photo_of(made.json()["id"]) == photo
    [file] = api.post("/v1/batches", files={"photo": photo + bytes(3_000_000)}).json()["files"]
    assert file["status"] == "queued"


def test_files_that_a_batch_refuses_cost_their_sender(tight, client, check_problem):
    api = tight(quota_megapixels_per_minute=5)
    sent = [("photo", (f"{number}.txt", b"no photo")) for number in range(5)]
    answer = api.post("/v1/batches", files=sent)
    assert (answer.status_code, answer.json()["counts"]) == (202, {"failed": 5})
    check_problem(api.post("/v1/batches", files=sent[:1]), "rate_limited")


def test_records_that_one_sender_holds_are_bounded_refused_files_among_them(tight, client, check_problem):
    api = tight(caller_records=60_000)
    sent = [("photo", ("\U0001f600" * 900 + f"{number}.txt", b"no photo")) for number in range(50)]
    for _ in range(20):
        answer = api.post("/v1/batches", files=sent)
        if answer.status_code != 202:
            break
    check_problem(answer, "storage_limited")
    check_problem(api.post("/v1/batches", files=sent[:1]), "storage_limited")
    assert sum(client.memory_usage(key, samples=0) for key in client.keys("*")) < 120_000


def test_a_job_that_is_erased_gives_the_most_of_its_record_back(tight, gray_photo, check_problem):
    api = tight(caller_records=10_000)
    small = gray_photo(size=(16, 16))
    *accepted, refused = [api.post("/v1/colorizations", files={"photo": small}) for _ in range(7)]
    assert {answer.status_code for answer in accepted} == {202}
    check_problem(refused, "storage_limited")
    for answer in accepted:
        erase = {"Authorization": f"Bearer {answer.json()['secret']}"}
        api.delete(answer.headers["location"], headers=erase)
    assert api.post("/v1/colorizations", files={"photo": small}).status_code == 202


def test_the_records_of_a_sender_count_no_longer_than_they_are_kept(client, jobs):
    allowance = Allowance("address:192.0.2.1", 0, 2000)

    def enter() -> None:
        order = Order(Options(), 100, 60, allowance=allowance)
        jobs.create(new_id(), "secret", order, Bounds(10, 10**9))

    enter()
    with pytest.raises(Problem, match="storage_limited"):
        enter()
    name = "{autochrome}:records:address:192.0.2.1"
    hours = sorted(map(int, client.hkeys(name)))
    assert hours[1] - hours[0] == 7 * 24, "what is left of an erased one is kept for a week more"
    client.hset(name, str(hours[0] - 2), client.hget(name, hours[0]))
    client.hdel(name, hours[0])
    enter()


def test_what_is_refused_takes_no_bytes_of_records(client, jobs):
    """Neither a job whose erased record is too much, nor a file of a batch whose job is."""
    allowance, held = Allowance("address:192.0.2.1", 0, 1300), "{autochrome}:records:address:192.0.2.1"
    with pytest.raises(Problem, match="storage_limited"):
        jobs.create(new_id(), "secret", Order(Options(), 100, 60, allowance=allowance), Bounds(10, 10**9))
    batches = Batches(client, jobs, 10, 10)
    batches.open("ab" * 16, 60, "print", "", "192.0.2.1", "", Options())
    with pytest.raises(Problem, match="storage_limited"):
        batches.add("ab" * 16, "x", File("x.jpg", "cd" * 16), 100, most_records=1300)
    assert client.hgetall(held) == {}


def test_a_canceled_job_whose_files_could_not_be_erased_gives_its_record_back_once(client, jobs):
    allowance, held = Allowance("address:192.0.2.1", 10**9, 10**9), "{autochrome}:records:address:192.0.2.1"
    for id in (ids := [new_id(), new_id()]):
        jobs.reserve(id, 60, Space(100, 100, allowance=allowance))
        jobs.create(id, "secret", Order(Options(), 100, 0.1, allowance=allowance), Bounds(10, 10**9))
    jobs.cancel(ids[0])
    before = client.hgetall(held)
    time.sleep(0.11)
    client.hset(f"{{autochrome}}:job:{ids[1]}", "expires", 10**15)  # it lives on
    jobs.expire()
    assert client.hgetall(held) == before


@pytest.mark.parametrize("notices", [0, 16])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(hints=[{"x": 0.1234, "y": 0.9876, "color": "#a03030", "radius": 0.03}] * 32, alternatives=4),
        Options(webhook="https://hooks.example/".ljust(2048, "x"), artifacts=("confidence", "color_layer")),
    ],
)
def test_a_record_counts_as_what_it_takes_and_all_of_it_is_given_back(client, jobs, options, notices):
    allowance = Allowance("address:192.0.2.1", 0, 10**6)

    def used() -> int:
        return sum(client.memory_usage(key, samples=0) for key in client.keys(f"*{id}*"))

    def counted() -> int:
        return sum(map(int, client.hvals("{autochrome}:records:address:192.0.2.1"))) - 400  # for a week after

    jobs.reserve(id := new_id(), 60, Space(100, 100, allowance=allowance))
    jobs.create(id, "secret", Order(options, 100, 60, allowance=allowance), Bounds(10, 10**9))
    assert used() < counted()
    claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, empty=True)
    names = [f"alternative-{rank}" for rank in range(options.alternatives)]
    names += [f"{kind}-{number}" for kind in options.artifacts for number in (1, 2)]
    made = [
        Artifact(name, "alternative", f"{id}/1/{name}.tif", "application/octet-stream", 10**7, 1, 0.1234)
        for name in names
    ]
    said = [Notice(f"file_fault_{number}", "x" * 500) for number in range(notices)]
    jobs.complete(claim, {}, Result(f"{id}/1/result.jpg", 1, 1, "image/jpeg", "ab" * 32, 9), made, said)
    assert used() < counted() < 2 * used() + 200
    jobs.cancel(id)
    assert counted() == 0


MOST_LIVE, MOST_ENDED, MOST_DELIVERED = 3000, 1024, 850


@pytest.mark.parametrize("webhook", [None, "https://hooks.example.com/autochrome/0123456789abcdef"])
def test_a_job_takes_under_3_kb_of_redis_while_it_lives_and_1_kb_when_it_has_ended(client, jobs, webhook):
    def used(id: str) -> int:
        return sum(client.memory_usage(key, samples=0) for key in client.keys(f"*{id}*"))

    def measured() -> tuple[int, int, int]:
        id = new_id()
        order = Order(Options(webhook=webhook), 12_000_000, 86400, owner="ab" * 6, request_id="cd" * 12,
                      fingerprint="ef" * 32, upload="01" * 8, allowance=Allowance("key:" + "ab" * 6, 10**9, 10**9))  # fmt: skip
        jobs.reserve(id, 60, Space(10**6, 10**6, allowance=order.allowance))
        jobs.create(id, jobs.secret_for(id), order, Bounds(10, 10**9))
        sizes = [used(id)]
        claim = jobs.claim("worker-of-a-machine-1", Net("lite", "ab" * 32), 10**9, empty=True)
        for stage, following in pairwise(STAGES):
            jobs.advance(claim, {stage: 0.1234}, following)
            sizes.append(used(id))
        result = Result(f"{id}/1/result.jpg", 4000, 3000, "image/jpeg", "ab" * 32, 3_456_789)
        jobs.complete(claim, {"save": 0.1}, result)
        ended = used(id)
        client.delete(f"{{autochrome}}:webhook:{id}")
        assert jobs.get(id).result == result
        return max(sizes), ended, used(id)

    # The server's malloc gives a key now and then 16 bytes more than it asks for, so one job alone says too little.
    live, ended, delivered = (median(sizes) for sizes in zip(*(measured() for _ in range(9)), strict=True))
    assert live < MOST_LIVE
    assert ended <= MOST_ENDED, "a webhook that is still to be delivered included"
    assert delivered <= MOST_DELIVERED


def test_docs_say_how_many_photos_a_day_a_megabyte_of_redis_holds(client, jobs):
    """Each photo has a record for a day, and what is left of it for a week more."""
    bounds, allowance = Bounds(10**5, 10**12), Allowance("address:192.0.2.1", 10**12, 10**9)

    def used() -> int:
        lasting = [
            key for key in client.keys("*") if ":reserved:" not in key and ":made:" not in key
        ]  # those are gone in a minute
        return sum(client.memory_usage(key, samples=0) for key in lasting)

    def enter() -> str:
        id = new_id()
        words = {"request_id": "cd" * 12, "fingerprint": "ef" * 32, "upload": "01" * 8}
        jobs.reserve(id, 60, Space(10**6, 10**6, allowance=allowance))
        jobs.create(
            id, jobs.secret_for(id), Order(Options(), 100, 86400, allowance=allowance, **words), bounds
        )
        return id

    def end() -> None:
        claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**12, empty=True)
        result = Result(f"{claim.id}/1/result.jpg", 1, 1, "image/jpeg", "ab" * 32, 10**6)
        jobs.complete(claim, dict.fromkeys(STAGES, 0.1234), result)

    def erase(id: str) -> None:
        jobs.cancel(id)
        jobs.erased(id)

    first = enter()  # which loads the scripts
    end()
    erase(first)
    empty, count = used(), 300
    ids = [enter() for _ in range(count)]
    for _ in ids:
        end()
    ended = (used() - empty) / count
    for id in ids:
        erase(id)
    erased = (used() - empty) / count
    a_day = 1e6 / (ended + 7 * erased)
    said = re.search(r"about (\d+) photos a day for each megabyte", (ROOT / "docs/operating.md").read_text())
    assert int(said[1]) == pytest.approx(a_day, rel=0.1), f"{ended:.0f} bytes, then {erased:.0f}"
