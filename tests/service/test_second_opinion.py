"""What a person says and asks beside a photo, through a real worker: hints, boldness, alternatives, and what the net says of itself."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage import color as skcolor
from skimage import data

from model import confidence, detail, distribution, image_io, inspection, upsample
from model.cards import NetInput, NetOutput, OnnxCard
from model.colorizer import Colorizer, ColorOptions
from model.distribution import Distribution
from model.engines import Engine
from model.hints import Hint
from model.image_headers import Header, Limits, probe
from service import celery_app
from service.api.openapi import EXAMPLES
from service.budgets import memory, work
from service.jobs import Jobs, new_id
from service.models import Artifact, Bounds, Lease, Net, Order, Result
from service.schemas import Options
from service.storage import BYTES_OF_ARTIFACTS, results_bytes
from service.worker import Worker

ROOT = Path(__file__).parents[2]
READER = (ROOT / "service/web/static/distribution.js").read_bytes()
RED, GRAY = "#a03030", "#808080"


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    """The net, shown photos at half of its own size, for the sake of time."""
    loaded = Colorizer.load("lite", "cpu")
    loaded.card = replace(loaded.card, size=128)
    return loaded


@pytest.fixture
def worker(client, store, settings, colorizer) -> Worker:
    app = celery_app.make_app(settings.celery_broker_url)
    return Worker("w1", colorizer, Jobs(client, Lease(60, 0)), store, app, settings)


def as_form(options: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name == "hints" else value for name, value in options.items()}


@pytest.fixture
def send(api) -> Callable[..., dict[str, Any]]:
    """A photo to the API: its job, as it is answered."""

    def send(photo: bytes, **options: Any) -> dict[str, Any]:
        answer = api.post("/v1/colorizations", files={"photo": photo}, data=as_form(options))
        assert answer.status_code == 202, answer.text
        return answer.json()

    return send


@pytest.fixture
def color(api, send, worker) -> Callable[..., dict[str, Any]]:
    """A photo through the API and a worker: its job, when it has ended."""

    def color(photo: bytes, **options: Any) -> dict[str, Any]:
        made = send(photo, **options)
        worker.run(made["id"])
        return api.get(f"/v1/colorizations/{made['id']}").json() | {"secret": made["secret"]}

    return color


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A gray photograph of 300 × 200 pixels: a cup of coffee on a table."""
    return png(Image.fromarray(data.coffee()).convert("L").resize((300, 200)))


@pytest.fixture(scope="module")
def page(photo) -> bytes:
    """The photograph on a page, of which it leaves 50 pixels on each side."""
    paper = Image.new("L", (400, 300), 245)
    paper.paste(Image.open(io.BytesIO(photo)), (50, 50))
    return png(paper)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def get(api: httpx.Client, url: str) -> bytes:
    answer = api.get(url)
    assert answer.status_code == 200, answer.text
    return answer.content


def lab(file: bytes) -> np.ndarray:
    return skcolor.rgb2lab(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


def ab_at(file: bytes, x: float, y: float) -> np.ndarray:
    """The mean color of 9 × 9 pixels there."""
    found = lab(file)
    row, column = int(y * found.shape[0]), int(x * found.shape[1])
    return found[row - 4 : row + 5, column - 4 : column + 5, 1:].mean((0, 1))


def artifact(job: dict[str, Any], name: str) -> dict[str, Any]:
    return next(made for made in job["artifacts"] if made["name"] == name)


def test_a_second_look_finds_small_things(api, color) -> None:
    """Four photographs as one picture: what is in them is small. The net's own size is 128 here."""
    parts = [
        Image.fromarray(getattr(data, name)()).resize((160, 120))
        for name in ("astronaut", "coffee", "chelsea", "rocket")
    ]
    whole = Image.new("RGB", (320, 240))
    for place, part in enumerate(parts):
        whole.paste(part, (160 * (place % 2), 120 * (place // 2)))
    file = io.BytesIO()
    whole.convert("L").save(file, "PNG")
    off, on = (color(file.getvalue(), detail=look) for look in ("off", "on"))
    truth = skcolor.rgb2lab(np.asarray(whole))[..., 1:]
    wrong = [
        np.linalg.norm(lab(get(api, job["result"]["url"]))[..., 1:] - truth, axis=-1).mean()
        for job in (off, on)
    ]
    assert wrong[1] < wrong[0] - 1
    assert on["options"]["detail"] == "on"


def test_a_second_look_is_paid_for_where_there_is_one():
    """By `lite`, whose first look has 224 pixels on the shorter side."""
    for side, pixels in ((351, 0), (352, 8_000_000)):
        assert (detail.size(224, side) is not None) == (pixels > 0)
        header = Header("JPEG", 1000, side)
        assert work(header, Options(detail="auto")) - work(header, Options()) == pixels
        assert (memory(header, 0, Options(detail="on")) > memory(header, 0, Options())) == (pixels > 0)
    kept = Options(detail="on"), Options()
    assert work(header, kept[0], is_revision=True) == work(header, kept[1], is_revision=True) + 2_000_000


def test_an_alternative_can_be_the_result(api, color, photo):
    beside = color(photo, alternatives=3, format="png")
    for rank in range(1, len(beside["artifacts"]) + 1):
        chosen = color(photo, alternatives=3, chosen=rank, format="png")
        assert chosen["artifacts"] == [], "it takes the place of the result, and no others are made"
        one, other = (
            lab(get(api, url)) for url in (chosen["result"]["url"], beside["artifacts"][rank - 1]["url"])
        )
        assert np.abs(one - other).mean() < 0.5
    first, stronger = (
        color(photo, alternatives=3, chosen=1),
        color(photo, alternatives=3, chosen=1, vividness=1.5),
    )
    assert np.ptp(lab(get(api, stronger["result"]["url"]))[..., 1:]) > np.ptp(
        lab(get(api, first["result"]["url"]))[..., 1:]
    )


def test_an_alternative_that_is_not_there_cannot_be_chosen(api, color, photo):
    refused = api.post("/v1/colorizations", files={"photo": photo}, data={"chosen": 2, "alternatives": 1})
    assert (refused.status_code, refused.json()["code"]) == (422, "option_invalid")
    assert "`chosen`: Choose the number of one of the `alternatives`." in refused.json()["detail"]
    job = color(png(Image.new("L", (64, 64), 250)), alternatives=4, chosen=4)
    assert job["error"]["code"] == "option_unavailable"
    assert job["error"]["detail"].startswith("This photo has no alternative 4 of 4.")


def test_alternatives_are_ranked_differ_and_are_the_same_twice(api, color, photo):
    job, again = color(photo, alternatives=4), color(photo, alternatives=4)
    made = job["artifacts"]
    assert len(made) >= 2
    assert {one["kind"] for one in made} == {"alternative"}
    assert [one["name"] for one in made] == [f"alternative-{one['rank']}" for one in made]
    assert [one["rank"] for one in made] == [*range(1, len(made) + 1)]
    likely = [one["probability"] for one in made]
    assert likely == sorted(likely, reverse=True)
    assert 0 < likely[-1] <= likely[0] < 1
    files = [get(api, one["url"]) for one in (job["result"], *made)]
    pictures = [lab(file) for file in files]
    for index, one in enumerate(pictures):
        assert np.abs(one[..., 0] - pictures[0][..., 0]).mean() < 0.5, "of one lightness"
        for other in pictures[index + 1 :]:
            assert np.sqrt(((one - other)[..., 1:] ** 2).sum(-1).mean()) > 1.5
    assert [get(api, one["url"]) for one in (again["result"], *again["artifacts"])] == files
    assert color(photo)["artifacts"] == [], "only where they are asked for"


def test_where_the_net_is_sure_there_are_fewer_and_the_notice_says_so(color):
    job = color(png(Image.new("L", (64, 64), 250)), alternatives=4)
    assert job["status"] == "succeeded"
    made = len(job["artifacts"])
    assert made < 4
    told = {notice["code"]: notice["detail"] for notice in job["notices"]}
    assert told["alternatives"] == f"{made} of 4 alternatives: the net is sure of the rest."


def test_a_red_hint_reddens_its_place_and_a_gray_one_takes_its_color_away(api, color, photo):
    place = {"x": 0.85, "y": 0.45}  # on the table, which has a strong color
    plain = get(api, color(photo)["result"]["url"])
    red, gray = (
        get(api, color(photo, hints=[{**place, "color": hinted, "radius": 0.08}])["result"]["url"])
        for hinted in (RED, GRAY)
    )
    wished = Hint(**place, color=RED).ab
    assert math.dist(ab_at(red, **place), wished) < 8 < math.dist(ab_at(plain, **place), wished)
    assert np.hypot(*ab_at(gray, **place)) < 4 < np.hypot(*ab_at(plain, **place))
    assert np.abs(lab(red) - lab(plain))[..., 0].mean() < 0.5, "the lightness is the photo's"


def test_bolder_is_more_colorful(api, color, photo):
    chroma = [
        np.hypot(
            *np.moveaxis(lab(get(api, color(photo, boldness=b)["result"]["url"]))[..., 1:], -1, 0)
        ).mean()
        for b in (-1, 0, 1)
    ]
    assert chroma == sorted(chroma)
    assert chroma[2] > 1.1 * chroma[1]


@pytest.fixture
def answered(colorizer, photo) -> tuple[image_io.Photo, np.ndarray]:
    """The photo as the worker opens it, and the net's answer."""
    opened = inspection.prepare(image_io.open(photo))
    [logits] = colorizer.infer([colorizer.preprocess(opened)])
    return opened, logits


def test_confidence_and_distribution_are_what_the_model_makes(api, color, photo, colorizer, answered):
    job = color(photo, artifacts="confidence,distribution", vividness=2)
    opened, logits = answered
    sure = confidence.of(logits, colorizer.decode(logits), colorizer.card)
    assert get(api, artifact(job, "confidence")["url"]) == confidence.overlay(opened, sure)
    told = json.loads(get(api, artifact(job, "confidence-map")["url"]))
    assert (told["rows"], told["columns"]) == sure.shape
    assert told["box"] == [0, 0, 1, 1]
    assert np.abs(np.array(told["percent"]) / 100 - sure).max() < 0.006
    answer = artifact(job, "distribution")
    assert get(api, answer["url"]) == distribution.write(logits, colorizer.card, opened)
    assert (answer["kind"], answer["media_type"]) == ("distribution", "application/octet-stream")


def test_the_distribution_means_the_colors_of_the_result_to_both_readers(
    api, color, photo, answered, javascript
):
    job = color(photo, artifacts="distribution")
    answer, result = get(api, artifact(job, "distribution")["url"]), get(api, job["result"]["url"])
    read = Distribution(answer)
    sent = f"Uint8Array.from(atob({json.dumps(base64.b64encode(answer).decode())}), (letter) => letter.charCodeAt(0))"
    module = json.dumps(f"data:text/javascript;base64,{base64.b64encode(READER).decode()}")
    theirs = javascript(
        f"const answer = await (await import({module})).read({sent}); return [...answer.annealed(null, 0)];"
    )
    pixels = np.asarray(Image.open(io.BytesIO(result))).astype(int)
    for ab in (read.annealed(), np.reshape(theirs, (2, *read.shape[1:]))):
        rendered = upsample.render(answered[0].pixels, ab.astype(np.float32))
        assert np.abs(rendered - pixels).max() <= 2


def test_suggestions_are_what_the_model_says_of_the_place_and_can_be_sent_back_as_hints(
    api, color, photo, colorizer, answered
):
    job = color(photo, artifacts="suggestions")
    place = {"x": 0.52, "y": 0.48}
    asked = api.get(f"/v1/colorizations/{job['id']}/suggestions", params=place)
    assert asked.status_code == 200
    found = asked.json()
    assert 2 <= len(found) <= 5
    likely = [one["probability"] for one in found]
    assert likely == sorted(likely, reverse=True)
    [nearest] = [
        min(
            math.dist(theirs.ab, (found[0]["a"], found[0]["b"]))
            for theirs in colorizer.suggest(*answered, **place)
        )
    ]
    assert nearest < 8, "the grid's cell is a little beside the place"
    for one in found:
        assert math.dist(Hint(0, 0, one["color"]).ab, (one["a"], one["b"])) < 1.5
    chosen = found[1]
    again = color(photo, hints=[{**place, "color": chosen["color"], "radius": 0.08}])
    assert math.dist(ab_at(get(api, again["result"]["url"]), **place), (chosen["a"], chosen["b"])) < 8
    grid = json.loads(get(api, artifact(job, "suggestions")["url"]))
    assert len(grid["cells"]) == grid["rows"] * grid["columns"] > 500
    corner = api.get(f"/v1/colorizations/{job['id']}/suggestions?x=1&y=1").json()
    assert [[one["color"], one["a"], one["b"], one["probability"]] for one in corner] == grid["cells"][-1]


def test_suggestions_are_refused_in_words(api, color, send, worker, page, photo, check_problem):
    def ask(job: dict[str, Any], **place: Any) -> httpx.Response:
        return api.get(f"/v1/colorizations/{job['id']}/suggestions", params={"x": 0.5, "y": 0.5, **place})

    queued = send(page, artifacts="suggestions")
    check_problem(ask(queued), "not_ready")
    worker.run(queued["id"])
    assert ask(queued).status_code == 200
    assert "page around it" in check_problem(ask(queued, x=0.02), "place_outside")["detail"]
    check_problem(ask(queued, x=2), "option_invalid")
    check_problem(ask(queued, y="nan"), "option_invalid")
    check_problem(api.get(f"/v1/colorizations/{queued['id']}/suggestions?x=0.5"), "option_invalid")
    assert "Ask for it when you send" in check_problem(ask(color(photo)), "not_found")["detail"]
    refused = color(png(Image.fromarray(data.coffee())), if_color="refuse", artifacts="suggestions")
    check_problem(ask(refused), "photo_in_color")
    gone = {"Authorization": f"Bearer {queued['secret']}"}
    assert api.delete(f"/v1/colorizations/{queued['id']}", headers=gone).status_code == 204
    check_problem(ask(queued), "canceled")
    check_problem(ask({"id": "0" * 32}), "not_found")


def test_a_hint_on_the_page_around_the_photograph_fails_in_words(color, page):
    job = color(page, hints=[{"x": 0.5, "y": 0.5, "color": RED}, {"x": 0.02, "y": 0.5, "color": RED}])
    assert job["error"]["code"] == "place_outside"
    assert job["error"]["detail"].startswith("The hint at 0.02, 0.5 lies on the page around the photograph")
    outside = [{"x": 0.02, "y": 0.5, "color": RED}]
    assert color(page, crop_border=True, hints=outside)["status"] == "succeeded"
    paper = Image.new("RGB", (400, 300), (245, 245, 245))
    paper.paste(Image.fromarray(data.coffee()).resize((300, 200)), (50, 50))
    kept = color(png(paper), if_color="keep", hints=outside)
    assert (kept["status"], kept["notices"][0]["code"]) == ("succeeded", "kept_in_color"), "none is needed"


class OneColor(Engine):
    """A net that answers with one color a place."""

    device = "cpu"

    def run(self, batch: np.ndarray, threads: int | None = None) -> np.ndarray:
        return np.full((len(batch), 2, 16, 16), 20, np.float32)


def test_a_net_without_a_distribution_says_what_it_cannot_do_and_leaves_what_is_in_color(
    client, store, settings, send, jobs, photo
):
    card = OnnxCard("flat", 64, NetInput("lightness"), NetOutput("ab"), "none", True, sha256="ab" * 32)
    app = celery_app.make_app(settings.celery_broker_url)
    worker = Worker("w2", Colorizer(OneColor(), card), Jobs(client, Lease(60, 0)), store, app, settings)

    def color(photo: bytes = photo, **options: Any) -> Any:
        made = send(photo, **options)
        worker.run(made["id"])
        return jobs.get(made["id"])

    assert color().status == "succeeded"
    for options, named in (
        ({"alternatives": 2}, "`alternatives`"),
        ({"hints": [{"x": 0.5, "y": 0.5, "color": RED}]}, "`hints`"),
        ({"boldness": 1}, "`boldness`"),
        ({"palette": "#2e7d34"}, "`palette`"),
        ({"artifacts": "confidence,distribution"}, "`artifacts=confidence` and no `artifacts=distribution`"),
        ({"artifacts": "suggestions"}, "`artifacts=suggestions`"),
    ):
        job = color(**options)
        assert (job.status, job.error_code) == ("failed", "option_unavailable"), options
        assert named in job.error_detail
        assert "Leave the option out" in job.error_detail
        assert job.attempt == 1, "it is not tried again"
    kept = color(png(Image.fromarray(data.coffee())), if_color="keep", palette="#2e7d34")
    assert kept.status == "succeeded", "the net is not asked"


def test_where_most_is_a_guess_the_job_says_so(color, photo, colorizer, monkeypatch):
    assert "mostly_guessed" not in [notice["code"] for notice in color(photo)["notices"]]
    told = replace(colorizer.card, calibration=replace(colorizer.card.calibration, intercept=-20.0))
    monkeypatch.setattr(colorizer, "card", told)
    [notice] = color(photo)["notices"]
    assert notice["code"] == "mostly_guessed"
    assert "unsure" in notice["detail"]


def test_the_sidecar_repeats_what_was_asked_for_and_the_temperature_of_a_boldness(
    api, color, photo, colorizer
):
    hint = {"x": 0.5, "y": 0.5, "color": RED, "radius": 0.05}
    job = color(photo, artifacts="sidecar", alternatives=2, chosen=2, boldness=-1, hints=[hint])
    said = json.loads(get(api, artifact(job, "sidecar")["url"]))
    asked = {"alternatives": 2, "chosen": 2, "boldness": -1, "hints": [hint]}
    assert asked.items() <= said["options"].items()
    assert said["source"] == {"sha256": hashlib.sha256(photo).hexdigest()}
    assert (
        said["temperature"] == colorizer.temperature(ColorOptions(boldness=-1)) != colorizer.card.temperature
    )


def test_photos_of_a_batch_are_colored_with_these_options(api, worker, photo, page):
    files = [("photo", ("a.png", photo)), ("photo", ("b.png", page))]
    options = {"alternatives": 1, "artifacts": "suggestions", "boldness": 0.5}
    batch = api.post(
        "/v1/batches",
        data={**options, "hints": json.dumps([{"x": 0.5, "y": 0.5, "color": RED}])},
        files=files,
    ).json()
    [*ids] = (file["job"] for file in api.get(f"/v1/batches/{batch['id']}").json()["files"])
    worker.run(ids[0])
    for id in ids:
        job = api.get(f"/v1/colorizations/{id}").json()
        assert job["status"] == "succeeded"
        assert (job["options"]["boldness"], job["options"]["hints"][0]["color"]) == (0.5, RED)
        assert {"alternative", "suggestions"} == {made["kind"] for made in job["artifacts"]}


def test_a_photo_that_is_kept_in_color_has_none_of_it(color):
    job = color(png(Image.fromarray(data.coffee()).resize((300, 200))), if_color="keep", alternatives=2)
    assert (job["status"], job["artifacts"]) == ("succeeded", [])


def test_room_for_every_picture_is_taken_before_anything_is_colored(
    tight, folder, client, photo, check_problem
):
    one = len(photo) + results_bytes(len(photo), probe(io.BytesIO(photo), Limits()), Options())
    api = tight(store_bytes=2 * one)
    problem = api.post("/v1/colorizations", files={"photo": photo}, data={"alternatives": "3"})
    check_problem(problem, "store_full")
    assert client.keys("{autochrome}:job:*") == []
    assert [*folder.glob("*/**/photo")] == []
    assert api.post("/v1/colorizations", files={"photo": photo}).status_code == 202


def test_what_was_made_counts_in_the_store_until_it_is_erased(api, color, client, folder, photo):
    everything = "comparison,confidence,distribution,sidecar,suggestions"
    job = color(photo, alternatives=2, artifacts=everything)
    assert len(job["artifacts"]) == 8

    def there() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert int(client.hget("{autochrome}:sums", "store")) == there() > 400_000
    assert int(client.hget("{autochrome}:sums", "room")) == 0
    said = api.delete(f"/v1/colorizations/{job['id']}", headers={"Authorization": f"Bearer {job['secret']}"})
    assert said.status_code == 204
    assert there() == int(client.hget("{autochrome}:sums", "store")) == 0
    assert api.get(job["artifacts"][0]["url"]).status_code == 410


def test_alternatives_count_in_the_quota_the_queue_and_the_memory(tight, client, gray_photo):
    api = tight(quota_megapixels_per_minute=20)
    photo = gray_photo(size=(2000, 1000))
    left = [
        api.post("/v1/colorizations", files={"photo": photo}, data=options).headers["ratelimit"]
        for options in ({}, {"alternatives": "4"})
    ]
    assert [said.split(";")[1] for said in left] == ["r=18", "r=10"]
    header = probe(io.BytesIO(photo), Limits())
    assert int(client.hget("{autochrome}:sums", "queued")) == 2_000_000 + work(
        header, Options(alternatives=4)
    )
    assert memory(header, 0, Options(alternatives=1)) > memory(header, 0, Options()) + 3 * 2_000_000


def test_what_is_read_from_the_whole_answer_counts_however_small_the_photo_is(tight, gray_photo):
    api = tight(quota_megapixels_per_minute=30)
    made = api.post(
        "/v1/colorizations", files={"photo": gray_photo()}, data={"artifacts": "suggestions,confidence"}
    )
    assert "r=23" in made.headers["ratelimit"], "2 and 4 beside the photo's own"
    revised = {"revise": made.json()["id"], "secret": made.json()["secret"], "size": 64}
    again = api.post("/v1/colorizations", json=revised)
    assert "r=16" in again.headers["ratelimit"], "a preview makes them anew"
    plain = api.post("/v1/colorizations", json={**revised, "artifacts": None})
    assert "r=15" in plain.headers["ratelimit"]


def test_a_record_with_all_that_can_be_asked_for_stays_small(client, jobs):
    hints = [{"x": 0.12345 + k / 100, "y": 0.98765, "color": RED, "radius": 0.0333} for k in range(32)]
    kinds = ("comparison", "confidence", "distribution", "sidecar", "suggestions")
    options = Options(alternatives=4, boldness=0.55, hints=hints, artifacts=kinds)
    jobs.create(id := new_id(), "secret", Order(options, 100, 60), Bounds(10, 10**9))
    claim = jobs.claim("w1", Net("lite", "ab" * 32), 10**9, empty=True)
    assert claim.options == options
    made = [
        Artifact(
            f"alternative-{k}", "alternative", f"{id}/1/alternative-{k}.jpg", "image/jpeg", 10**7, k, 0.1234
        )
        for k in range(1, 5)
    ] + [Artifact(name, name, f"{id}/1/{name}.json", "application/octet-stream", 10**6) for name in kinds]
    jobs.complete(claim, {}, Result(f"{id}/1/result.jpg", 4000, 3000, "image/jpeg", "ab" * 32, 10**7), made)
    assert jobs.get(id).artifacts == tuple(made)
    record = f"{{autochrome}}:job:{id}"
    assert "null" not in "".join(client.hvals(record))
    assert client.object("encoding", record) == "listpack"
    assert client.memory_usage(record, samples=0) < 6000


def test_what_is_reckoned_for_an_artifact_is_the_most_that_it_has(api, color, photo):
    assert BYTES_OF_ARTIFACTS["distribution"] == distribution.MOST_BYTES
    job = color(
        photo, artifacts="confidence,suggestions,sidecar", hints=32 * [{"x": 0.5, "y": 0.5, "color": RED}]
    )
    sizes = dict.fromkeys(BYTES_OF_ARTIFACTS, 0)
    for made in job["artifacts"]:
        sizes[made["kind"]] += made["bytes"]
    assert all(
        0 < sizes[kind] < BYTES_OF_ARTIFACTS[kind] for kind in ("confidence", "suggestions", "sidecar")
    ), sizes


def test_the_example_of_an_answer_is_one(api):
    [example] = EXAMPLES["read_suggestions", "200"].values()
    for one in example:
        assert math.dist(Hint(0, 0, one["color"]).ab, (one["a"], one["b"])) < 1
