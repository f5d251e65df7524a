"""A photo that was sent before, colored anew: who may, with which options, at what cost; and it goes with the original."""

from __future__ import annotations

import io
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from model.colorizer import Colorizer
from service import celery_app
from service.auth import Keys, Scope
from service.database import Scripts
from service.errors import LeaseLost
from service.janitor import Eraser
from service.jobs import Jobs, new_id
from service.models import Bounds, Claim, Job, Lease, Net, Order
from service.schemas import Options
from service.storage import Store, erase_job, photo_key, result_key
from service.worker import Worker

ALL = "/v1/colorizations"


@pytest.fixture
def send(api, gray_photo) -> Callable[..., dict[str, str]]:
    """A job by its answer, of a photo of its own."""

    def send(headers: dict[str, str] | None = None, **options: str) -> dict[str, str]:
        answer = api.post(ALL, files={"photo": gray_photo()}, data=options, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return send


@pytest.fixture
def revise(api) -> Callable[..., httpx.Response]:
    def revise(
        original: dict[str, str], headers: dict[str, str] | None = None, **options: object
    ) -> httpx.Response:
        body = {"revise": original["id"], "secret": original["secret"], **options}
        return api.post(ALL, json=body, headers=headers)

    return revise


def bearer(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credentials}"}


def erase(api: httpx.Client, job: dict[str, str]) -> None:
    assert api.delete(f"{ALL}/{job['id']}", headers=bearer(job["secret"])).status_code == 204


def key(client: redis.Redis) -> dict[str, str]:
    return bearer(Keys(client).create("one", [Scope.COLORIZE]))


def test_options_that_are_not_named_are_those_of_the_original(send, revise, work):
    original = send(vividness="1.3", format="png", keep_for="600")
    first = revise(original, size=512, hints=[{"x": 0.5, "y": 0.2, "color": "#7A1F2B"}])
    assert first.status_code == 202, first.text
    options = first.json()["options"]
    assert (options["vividness"], options["format"], options["keep_for"], options["size"]) == (
        *(1.3, "png", 600, 512),
    )
    assert options["hints"] == [{"x": 0.5, "y": 0.2, "color": "#7a1f2b", "radius": 0}]
    for _ in range(2):
        work()  # what has ended says less in its record
    again = revise(first.json(), size=None, vividness=1).json()
    assert again["options"] == {**options, "size": None, "vividness": 1}
    assert [first.json()["revises"], again["revises"], original["revises"]] == [original["id"]] * 2 + [None]
    assert len({original["secret"], first.json()["secret"], again["secret"]}) == 3


def test_null_is_the_default_of_every_option(send, revise):
    others = {"vividness": "1.3", "format": "png", "mark": "true", "palette": "#2e5d34", "alternatives": "2"}
    original = send(**others, hints='[{"x": 0.5, "y": 0.2, "color": "#7a1f2b"}]', artifacts="sidecar")
    plain = send()["options"]
    assert revise(original, **dict.fromkeys(plain)).json()["options"] == plain


def test_a_webhook_is_not_handed_down(tight, work, gray_photo):
    api = tight(webhook_hosts="hooks.example", webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    options = {"webhook": "https://hooks.example/a-token", "quality": "50"}
    original = api.post(ALL, files={"photo": gray_photo()}, data=options).json()
    body = {"revise": original["id"], "secret": original["secret"]}
    url = f"{ALL}/{new_id()}"
    assert api.put(url, json=body).status_code == 202
    work(), work()
    again = api.put(url, json=body)
    assert again.status_code == 200, "the same request, although the original's address is forgotten by now"
    assert again.json()["options"]["quality"] == 50


def test_only_who_proves_the_original_may(api, send, revise, client, work, check_problem):
    original = send()
    work()
    revised = {"revise": original["id"]}
    check_problem(api.post(ALL, json=revised), "secret_missing")
    check_problem(api.post(ALL, json={**revised, "secret": "job_" + "A" * 43}), "secret_wrong")
    no_text = json.dumps({**revised, "secret": "\ud800"})
    check_problem(
        api.post(ALL, content=no_text, headers={"Content-Type": "application/json"}), "secret_wrong"
    )
    other = send()
    check_problem(api.post(ALL, json={**revised, "secret": other["secret"]}), "secret_wrong")
    owner, stranger = key(client), key(client)
    check_problem(api.post(ALL, json=revised, headers=stranger), "secret_wrong")
    own = send(owner)
    assert api.post(ALL, json={"revise": own["id"]}, headers=owner).status_code == 202
    check_problem(api.post(ALL, json={"revise": own["id"]}, headers=stranger), "secret_wrong")
    check_problem(api.post(ALL, json={"revise": own["id"]}), "secret_missing")
    assert revise(original, stranger).status_code == 202, "who was told the secret may, with a key or without"


def test_a_revision_is_its_makers_alone(api, send, revise, client, check_problem):
    original, maker = send(), key(client)
    revision = revise(original, maker).json()
    check_problem(api.delete(f"{ALL}/{revision['id']}", headers=bearer(original["secret"])), "secret_wrong")
    assert api.delete(f"{ALL}/{revision['id']}", headers=maker).status_code == 204
    assert api.get(f"{ALL}/{original['id']}").json()["status"] == "queued"


def test_an_original_that_waits_runs_or_has_failed_is_colored_anew_and_an_erased_one_is_not(
    api, send, revise, jobs, client, check_problem
):
    original = send()
    assert revise(original).status_code == 202
    claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, empty=True)
    assert claim.id == original["id"]
    assert revise(original).status_code == 202
    jobs.fail(claim, "photo_in_color", "It is in color.")
    assert revise(original, if_color="colorize").status_code == 202
    erase(api, original)
    check_problem(revise(original), "canceled")
    expired = send()
    client.hset(f"{{autochrome}}:job:{expired['id']}", "expires", 1)
    check_problem(revise(expired), "expired")
    check_problem(revise({"id": new_id(), "secret": "x"}), "not_found")
    check_problem(revise({"id": "../" + 29 * "a", "secret": "x"}), "not_found")


def test_a_body_that_says_something_else_is_refused(api, send, revise, store, check_problem):
    original = send()
    check_problem(api.post(ALL, json={"revise": 5, "secret": "a"}), "json_invalid")
    check_problem(api.post(ALL, json={"revise": original["id"], "secret": None}), "json_invalid")
    check_problem(revise(original, url="https://photos.example/a.jpg"), "option_unknown")
    assert "`size`" in check_problem(revise(original, size=10), "option_invalid")["detail"]
    store.erase(original["id"])
    check_problem(revise(original), "photo_lost")


def test_erasing_the_original_erases_its_revisions_also_one_that_runs(
    api, send, revise, work, jobs, folder, check_problem
):
    original, other = send(), send()
    done, running, waiting = (revise(original).json() for _ in range(3))
    for _ in range(3):
        work()
    claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, empty=True)
    assert (claim.id, claim.photo_of) == (running["id"], original["id"])
    erase(api, original)
    for one in (original, done, running, waiting):
        check_problem(api.get(f"{ALL}/{one['id']}/result"), "canceled")
    assert {path.name for path in folder.iterdir()} == {other["id"]}
    with pytest.raises(LeaseLost):
        jobs.renew(claim)
    assert jobs.claim("w1", Net("lite", "ab" * 32), 10**9, empty=True) is None


def test_a_revision_of_a_revision_is_one_of_the_same_original(api, send, revise, work, check_problem):
    original = send()
    between = revise(original).json()
    last = revise(between, vividness=0.5).json()
    for _ in range(3):
        work()
    erase(api, between)
    assert api.get(f"{ALL}/{last['id']}").json()["status"] == "succeeded"
    assert revise(last).status_code == 202, "its photo is the original's"
    erase(api, original)
    check_problem(api.get(f"{ALL}/{last['id']}/result"), "canceled")


def test_a_revision_never_outlives_its_original(send, revise, client, jobs, check_problem, api):
    original = send(keep_for="300")
    revision = revise(original, keep_for=3000).json()
    assert revision["expires_at"] == original["expires_at"]
    assert revise(original, keep_for=10).json()["expires_at"] < original["expires_at"]
    known = f"{{autochrome}}:revisions:{original['id']}"
    assert client.ttl(known) == -1, "a clock that jumps by weeks does not make Redis forget which they are"
    client.hset(f"{{autochrome}}:job:{original['id']}", "expires", 1)
    client.zadd("{autochrome}:due", {original["id"]: 1})
    jobs.expire()
    check_problem(api.get(f"{ALL}/{revision['id']}"), "expired")
    assert client.pttl(f"{{autochrome}}:job:{revision['id']}") > 0
    assert not client.exists(known)


def test_the_same_request_again_makes_one_revision(api, send, revise, check_problem):
    original = send()
    body = {"revise": original["id"], "secret": original["secret"], "vividness": 0.5}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = (api.post(ALL, json=body, headers=headers).json() for _ in range(2))
    assert (first["id"], first["secret"]) == (again["id"], again["secret"])
    check_problem(api.post(ALL, json={**body, "vividness": 2}, headers=headers), "idempotency_mismatch")
    url, own = f"{ALL}/{new_id()}", bearer(secrets.token_urlsafe(32))
    assert {api.put(url, json=body, headers=own).json()["id"] for _ in range(2)} == {url.rpartition("/")[2]}
    check_problem(api.put(url, json={**body, "vividness": 2}, headers=own), "id_conflict")
    check_problem(api.put(url, json=body, headers=bearer(secrets.token_urlsafe(32))), "secret_wrong")


def test_a_revision_costs_its_pixels_but_no_room_for_a_photo(tight, client, gray_photo, jobs, check_problem):
    api = tight(quota_megapixels_per_minute=12, caller_bytes=5 * 10**6)
    photo = gray_photo(size=(2400, 1600))
    original = api.post(ALL, files={"photo": photo})
    assert "r=8" in original.headers["ratelimit"]
    body = {"revise": original.json()["id"], "secret": original.json()["secret"]}
    held = jobs.depth().store
    preview = api.post(ALL, json={**body, "size": 512})
    assert "r=7" in preview.headers["ratelimit"], "a quarter of four megapixels"
    assert jobs.depth().store - held < len(photo)
    assert "r=3" in api.post(ALL, json=body).headers["ratelimit"]
    check_problem(api.post(ALL, json=body), "rate_limited")
    client.sadd(f"{{autochrome}}:revisions:{body['revise']}", *(new_id() for _ in range(1000)))
    detail = check_problem(api.post(ALL, json={**body, "size": 512}), "storage_limited")["detail"]
    assert "colored anew as often" in detail


# by a real worker


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


class Studio:
    """A store, a record and workers, and jobs that are colored at once."""

    def __init__(self, client: redis.Redis, store, settings, colorizer: Colorizer) -> None:
        self.jobs = Jobs(client, Lease(60, 0))
        self.store = store
        self._settings = settings
        self._colorizer = colorizer
        self.worker = self.hire()

    def hire(self) -> Worker:
        app = celery_app.make_app(self._settings.celery_broker_url)
        return Worker("w1", self._colorizer, self.jobs, self.store, app, self._settings)

    def color(
        self, photo: bytes = b"", revises: str = "", by: Worker | None = None, **options: object
    ) -> tuple[Job, bytes]:
        id = new_id()
        if photo:
            self.store.put(photo_key(id, "a1"), photo)
        order = Order(Options.model_validate(options), 320 * 240, 60, upload="a1", revises=revises)
        assert self.jobs.create(id, "secret", order, Bounds(1000, 10**9))
        (by or self.worker).run(id)
        job = self.jobs.get(id)
        assert job is not None
        return job, self.store.get(job.result.key) if job.result else b""


@pytest.fixture
def studio(client, store, settings, colorizer) -> Iterator[Studio]:
    return Studio(client, store, settings, colorizer)


HINTS = [{"x": 0.3, "y": 0.4, "color": "#8a2f2b", "radius": 0.05}, {"x": 0.8, "y": 0.5, "color": "#808080"}]


@pytest.mark.parametrize(
    "options",
    [{"size": 512}, {"size": 512, "hints": HINTS}, {"hints": HINTS}, {"size": 1200}, {"vividness": 0.5}],
)
def test_what_is_kept_gives_the_very_bytes_that_a_new_upload_does(studio, gray_photo, options):
    photo = gray_photo(size=(1300, 900))
    original, _ = studio.color(photo)
    kept, warm = studio.color(revises=original.id, **options)
    assert "infer" not in kept.timings, "the net is not asked again"
    by_another, cold = studio.color(revises=original.id, by=studio.hire(), **options)
    assert "infer" in by_another.timings
    _, new = studio.color(photo, **options)
    assert warm == cold == new
    longest = options.get("size", 1300)
    assert max(Image.open(io.BytesIO(new)).size) == longest
    assert (kept.result.width, kept.result.height) == (longest, round(900 * longest / 1300))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_preview_is_the_picture_but_smaller(studio, gray_photo, mode):
    pixels = np.asarray(Image.open(io.BytesIO(gray_photo(size=(1300, 900)))))
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(pixels)
    if mode in ("RGB", "RGBA"):
        image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(200)
    file = io.BytesIO()
    image.save(file, "PNG", dpi=(300, 300))
    original, whole = studio.color(file.getvalue())
    _, small = studio.color(revises=original.id, size=325)
    large, preview = Image.open(io.BytesIO(whole)), Image.open(io.BytesIO(small))
    assert preview.size == (325, 225)
    assert preview.info["dpi"][0] == pytest.approx(75, abs=0.5), "as large on paper"
    expected = np.asarray(large.convert("RGB").reduce(4)).astype(int)
    assert np.abs(np.asarray(preview.convert("RGB")).astype(int) - expected).mean() < 2
    assert preview.mode == large.mode


def test_a_photo_that_is_no_larger_stays_as_it_is(studio, gray_photo):
    _, whole = studio.color(gray_photo())
    _, sized = studio.color(gray_photo(), size=4000)
    assert whole == sized


def test_a_photo_in_color_is_kept_at_the_size_that_is_asked_for(studio):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    job, small = studio.color(file.getvalue(), if_color="keep", size=160)
    assert [notice.code for notice in job.notices] == ["kept_in_color"]
    assert Image.open(io.BytesIO(small)).size == (job.result.width, job.result.height) == (160, 120)


def test_what_is_kept_serves_no_other_photo_and_no_other_view_of_it(studio, gray_photo):
    original, _ = studio.color(gray_photo())
    for options in ({"rotate": 90}, {"negative": True}, {"crop_border": True}):
        assert "infer" in studio.color(revises=original.id, size=128, **options)[0].timings
    other, _ = studio.color(gray_photo(size=(400, 200)))
    _, picture = studio.color(revises=other.id, size=128)
    assert Image.open(io.BytesIO(picture)).size == (128, 64)
    assert "infer" in studio.color(gray_photo(), size=128)[0].timings, "a new upload of the same bytes"


def test_photos_of_batches_are_not_kept(studio, gray_photo):
    studio.color(gray_photo(), priority="batch")
    assert studio.worker.kept.size == 0


def test_a_worker_forgets_what_is_erased(studio, gray_photo):
    one, other = (studio.color(gray_photo(size=(300, 200 + 50 * number)))[0] for number in range(2))
    assert studio.worker.kept.ids() == {one.id, other.id}
    studio.jobs.cancel(one.id)
    studio.worker.forget(studio.jobs)
    assert studio.worker.kept.ids() == {other.id}


def test_a_revision_whose_original_goes_while_it_is_colored_leaves_nothing(studio, gray_photo, folder):
    original, _ = studio.color(gray_photo())
    order = Order(Options(size=128), 1, 60, upload="a1", revises=original.id)
    studio.jobs.create("ab" * 16, "secret", order, Bounds(10, 10**9))
    claim = studio.jobs.claim("w1", studio.worker.net, 10**9, empty=True)
    assert isinstance(claim, Claim)
    studio.jobs.cancel(original.id)
    studio.worker._attempt(claim)
    assert studio.jobs.get(claim.id).status == "canceled"
    assert not (folder / claim.id).exists()


def test_erasing_a_photo_with_many_revisions_takes_few_steps_and_leaves_no_file(
    jobs, store, client, monkeypatch
):
    bounds, original = Bounds(1000, 10**9), new_id()
    jobs.create(original, "secret", Order(Options(), 100, 600, upload="a1"), bounds)
    ids = [original, *(new_id() for _ in range(40))]
    for id in ids[1:]:
        jobs.create(id, "secret", Order(Options(), 100, 600, upload="a1", revises=original), bounds)
    for id in ids:
        store.put(result_key(id, 1, ".jpg"), b"a picture")
    steps = []
    for kind, verb in ((Store, "erase"), (Scripts, "run")):
        real = getattr(kind, verb)
        monkeypatch.setattr(kind, verb, lambda *of, real=real, verb=verb: steps.append(verb) or real(*of))
    erase_job(jobs, store, original)
    assert Counter(steps) == {"erase": 32, "run": 2}
    assert {jobs.get(id).status for id in ids} == {"canceled"}
    assert original not in store.prefixes(), "the photo itself is the first to go"
    Eraser(jobs, store, 60).tick()
    assert store.prefixes() == []


def test_a_preview_is_answered_with_the_picture(service, gray_photo):
    with httpx.Client(base_url=service.url, timeout=60) as api:
        photo, now = gray_photo(size=(1600, 1200)), {"Prefer": "wait=60", "Accept": "image/*"}
        first = api.post(ALL, files={"photo": photo}, headers=now)
        assert first.status_code == 200, first.text
        id = first.headers["location"].rpartition("/")[2]
        body = {"revise": id, "secret": first.headers["autochrome-secret"], "size": 512, "hints": HINTS}
        preview = api.post(ALL, json=body, headers=now)
        assert (preview.status_code, preview.headers["content-type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(preview.content)).size == (512, 384)
        job = api.get(preview.headers["location"]).json()
        assert (job["revises"], job["result"]["width"]) == (id, 512)
        erase(api, {"id": id, "secret": first.headers["autochrome-secret"]})
        assert api.get(preview.headers["location"] + "/result").json()["code"] == "canceled"
