"""A batch's ZIP by what is asked for and what was decided of its photos; batches that come in parts; what a batch's secret opens."""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

ID = "0f8fad5bd9cb469fa16570867728950e"
OWN = {"Authorization": "Bearer a-secret-of-my-own-0123456789abcdef"}


@pytest.fixture
def batch(api, photos, work) -> dict[str, Any]:
    """Four photos: two colored, with sidecars and layers, one that is no photo, one that waits."""
    names = ("box/a.png", "=cmd().jpg", "notes.jpg", "later.jpg")
    sent = [
        ("photo", (name, data))
        for name, data in zip(names, (*photos[:2], b"hello" * 9, photos[2]), strict=True)
    ]
    made = api.post("/v1/batches", files=sent).json()
    for _ in range(2):
        work(
            b"in color",
            {
                "sidecar": b'{"source": {"sha256": "ab"}}',
                "gray": b"gray",
                "color_layer": b"ab",
                "thumbnail": b"small",
            },
        )
    return api.get(f"/v1/batches/{made['id']}").json() | {"secret": made["secret"]}


def unpacked(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def table(files: dict[str, bytes]) -> list[dict[str, str]]:
    assert files["photos.csv"].startswith(b"\xef\xbb\xbf"), "else spreadsheets read another encoding"
    return list(csv.DictReader(io.StringIO(files["photos.csv"].decode("utf-8-sig"))))


def test_the_zip_holds_what_is_asked_for_and_a_table_of_all_photos(api, batch, check_problem):
    path = f"/v1/batches/{batch['id']}/result?partial=true"
    assert set(unpacked(api.get(path))) == {"box/a.jpg", "=cmd().jpg"}, "pictures alone, as before"
    files = unpacked(api.get(f"{path}&contents=result,gray,color_layer,sidecar,csv"))
    assert set(files) == {
        *("box/a.jpg", "box/a (gray).jpg", "box/a (color layer).jpg", "box/a.jpg.json"),
        *("=cmd().jpg", "=cmd() (gray).jpg", "=cmd() (color layer).jpg", "=cmd().jpg.json", "photos.csv"),
    }
    first, risky, failed, waiting = table(files)
    assert (first["name"], first["file"], first["status"], first["net"]) == (
        *("box/a.png", "box/a.jpg", "succeeded", "lite"),
    )
    assert (first["width"], first["height"], first["accepted"]) == ("320", "240", "")
    assert risky["name"] == "'=cmd().jpg", "a spreadsheet would compute it"
    assert (failed["status"], failed["error"], failed["file"]) == ("failed", "photo_unsupported", "")
    assert "JPEG" in failed["error_detail"]
    assert (waiting["status"], waiting["file"], waiting["error"]) == ("queued", "", "")
    assert "hologram" not in check_problem(api.get(f"{path}&contents=csv,hologram"), "option_invalid")


def test_the_zip_its_dates_and_its_sidecars_say_when_and_of_what_they_were_made(api, batch):
    answer = api.get(f"/v1/batches/{batch['id']}/result?partial=true&contents=result,sidecar,csv")
    day = batch["created_at"][:10]
    assert answer.headers["content-disposition"] == f'attachment; filename="autochrome-album-{day}.zip"'
    assert json.loads(unpacked(answer)["box/a.jpg.json"])["source"] == {"name": "box/a.png", "sha256": "ab"}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        dates = {datetime(*entry.date_time, tzinfo=UTC) for entry in archive.infolist()}
    begun = datetime.fromisoformat(batch["created_at"])
    assert all(abs(date - begun) < timedelta(minutes=10) for date in dates), dates


def test_what_was_decided_makes_the_zip(api, batch, jobs, work, photos):
    """One is accepted, one rejected, and one that could not be colored was sent again by itself."""
    again = api.post("/v1/colorizations", files={"photo": photos[3]}).json()["id"]
    while jobs.get(again).status != "succeeded":
        work(b"sent again")
    decided = {"accepted": "0,2", "rejected": "1", "redone": f"2:{again}", "only_accepted": "true"}
    path = f"/v1/batches/{batch['id']}/result"
    files = unpacked(api.post(path, data=decided | {"contents": "result,csv", "partial": "true"}))
    assert set(files) == {"box/a.jpg", "notes.jpg", "photos.csv"}
    assert files["notes.jpg"] == b"sent again"
    rows = table(files)
    assert [row["accepted"] for row in rows] == ["yes", "no", "yes", ""]
    assert (rows[2]["status"], rows[2]["job"], rows[2]["error"]) == ("succeeded", again, "")
    rest = {"rejected": "1", "without_rejected": "true", "contents": "result,csv", "partial": "true"}
    files = unpacked(api.post(path, data=rest))
    assert set(files) == {"box/a.jpg", "photos.csv"}
    assert [row["accepted"] for row in table(files)] == ["", "no", "", ""]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"accepted": "1,-2"}, "option_invalid"),
        ({"redone": "1:nothing"}, "option_invalid"),
        ({"partial": "perhaps"}, "option_invalid"),
        ({"contents": ""}, "not_ready"),
        ({"secret": "x"}, "option_unknown"),
        ({"accepted": "1," * 100_000}, "form_invalid"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(api, batch, check_problem, fields, code):
    check_problem(api.post(f"/v1/batches/{batch['id']}/result", data=fields), code)


def test_a_batch_that_comes_in_parts_waits_for_the_last(api, photos):
    def put(*places: int, more: bool) -> dict[str, Any]:
        files = [("photo", (f"{place}.jpg", photos[place])) for place in places]
        query = {"vividness": "1.5", **({"more": "true"} if more else {})}
        answer = api.put(f"/v1/batches/{ID}", params=query, files=files, headers=OWN)
        assert answer.status_code == 202, answer.text
        return answer.json()

    first = put(0, 1, more=True)
    assert (first["status"], first["counts"]) == ("receiving", {"queued": 2})
    assert put(1, 2, more=True)["counts"] == {"queued": 3}, "what has come is not taken in twice"
    last = put(3, more=False)
    assert (last["status"], last["counts"], last["options"]["vividness"]) == ("running", {"queued": 4}, 1.5)


def test_a_batchs_secret_opens_its_photos_and_no_others(api, batch, photos, check_problem):
    [job, *_] = (file["job"] for file in batch["files"])
    wish = {"revise": job, "secret": batch["secret"], "vividness": 0.5}
    revision = api.post("/v1/colorizations", json=wish).json()
    assert (revision["revises"], revision["options"]["vividness"]) == (job, 0.5)
    another = api.post("/v1/colorizations", files={"photo": photos[3]}).json()["id"]
    check_problem(api.post("/v1/colorizations", json=wish | {"revise": another}), "secret_wrong")
    bearer = {"Authorization": f"Bearer {batch['secret']}"}
    check_problem(api.delete(f"/v1/colorizations/{another}", headers=bearer), "secret_wrong")
    assert api.delete(f"/v1/colorizations/{job}", headers=bearer).status_code == 204
    assert api.get(f"/v1/batches/{batch['id']}").json()["files"][0]["status"] == "canceled"


def test_files_say_where_their_thumbnails_are(api, batch):
    first, _, failed, waiting = batch["files"]
    assert api.get(first["thumbnail"]).content == b"small"
    assert failed["thumbnail"] is waiting["thumbnail"] is None


# Pages


def test_an_albums_page_says_how_each_photo_stands_without_scripts(api, batch):
    page = api.get(f"/albums/{batch['id']}").text
    assert "2 of 4 photographs are colored, 1 could not be." in page
    first, *_ = batch["files"]
    assert f'href="../photos/{first["job"]}"' in page
    assert f'src="../v1/colorizations/{first["job"]}/artifacts/thumbnail?redirect=false"' in page
    for words in ("box/a.png", "=cmd().jpg", "This is not a photo that can be read", "Waiting its turn"):
        assert words in page
    assert "Ein Album" in api.get(f"/albums/{batch['id']}?lang=de").text
    gone = api.get("/albums/none", headers={"Accept": "text/html"})
    assert gone.status_code == 404
    assert "Unter dieser Adresse gibt es nichts" in gone.text


def test_a_form_starts_an_album_and_its_page_can_erase_it_by_the_cookie(api, photos, folder):
    files = [("photo", ("a.jpg", photos[0])), ("photo", ("b.jpg", photos[1]))]
    sent = api.post("/albums", data={"artifacts": "thumbnail"}, files=files)
    assert sent.status_code == 303
    path = "/" + sent.headers["location"]
    assert f"Path={path}; SameSite=lax" in sent.headers["set-cookie"]
    page = api.get(path)
    assert "0 of 2 photographs are colored." in page.text
    assert f'action="{path.rpartition("/")[2]}/erase"' in page.text
    assert api.get("/albums", follow_redirects=True).url.path == "/album"
    stranger = httpx.post(api.base_url.join(f"{path}/erase"), headers={"Accept": "application/json"})
    assert stranger.json()["code"] == "secret_missing"
    erased = api.post(f"{path}/erase", follow_redirects=True)
    assert erased.status_code == 410
    assert not [one for one in folder.rglob("*") if one.is_file() and "ready" not in one.parts]


def test_the_form_of_an_album_takes_as_many_bytes_and_as_long_as_a_batch(tight, photos):
    """Where there are no scripts: the limits of one photo's upload are not those of many."""
    api = tight(max_bytes=2**17, batch_bytes=2**20, upload_timeout=0.5)
    files = [("photo", (f"{place}.jpg", photo + bytes(2**16))) for place, photo in enumerate(photos[:5])]
    body = api.build_request("POST", "/albums", files=files)
    whole = body.read()

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(whole), len(whole) // 3):
            yield whole[start : start + len(whole) // 3]
            time.sleep(0.3)

    sent = api.post("/albums", content=slowly(), headers={"Content-Type": body.headers["content-type"]})
    assert sent.status_code == 303, sent.text
    assert "0 of 5 photographs are colored." in api.get("/" + sent.headers["location"]).text


def test_an_album_of_one_photograph_does_not_count(api, photos, work):
    page = f"/albums/{api.post('/v1/batches', files={'photo': photos[0]}).json()['id']}"
    assert "The photograph is not colored yet." in api.get(page).text
    work()
    assert "The photograph is colored." in api.get(page).text
    assert "Das Foto ist koloriert." in api.get(f"{page}?lang=de").text


def test_an_album_of_many_is_shown_in_parts(api, photos, monkeypatch):
    """By links, where there are no scripts."""
    monkeypatch.setattr("service.api.albums.PAGE", 3)
    files = [("photo", (f"{place}.jpg", photo)) for place, photo in enumerate(photos[:5])]
    id = api.post("/v1/batches", files=files).json()["id"]
    first, second = (api.get(f"/albums/{id}?from={place}").text for place in (0, 3))
    assert ("2.jpg" in first, "3.jpg" in first, "?from=3" in first) == (True, False, True)
    assert ("2.jpg" in second, "4.jpg" in second, 'start="4"' in second) == (False, True, True)
