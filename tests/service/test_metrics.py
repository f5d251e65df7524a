"""What Prometheus reads: numbers that follow what jobs and requests did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.auth import Keys, Scope
from service.database import connect
from service.jobs import Jobs
from service.models import Bounds, Lease, Net, Order, Result
from service.schemas import Options

NET = Net("lite", "ab" * 32)
RESULT = Result("x/1/result.jpg", 320, 240, "image/jpeg", "cd" * 32, 1234)


def numbers(answer: httpx.Response) -> Mapping[str, float]:
    """Sample → value, as `name{label=value}` with the labels in order."""
    assert answer.status_code == 200, answer.text
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def enter(jobs: Jobs, id: str, pixels: int) -> None:
    order = Order(options=Options(), pixels=pixels, keep_for=60.0)
    jobs.create(id, "secret", order, Bounds(jobs=10, pixels=10**9))


def test_the_record_is_told_as_it_stands(serve, settings, jobs):
    jobs.beat("w1", NET, "cpu", 0)
    jobs.beat("w2", NET, "cpu", 0)
    for number in range(3):
        enter(jobs, f"{number:032x}", 2_000_000)
    claim = jobs.claim("w1", NET, 10**9, True)
    jobs.advance(claim, {"open": 0.02}, "preprocess")
    jobs.advance(claim, {"preprocess": 0.3}, "infer")
    jobs.fail(claim, "photo_damaged", "It is damaged.")
    jobs.complete(jobs.claim("w1", NET, 10**9, True), {}, RESULT, batch=3)
    enter(jobs, "a" * 32, 2_000_000)
    jobs.claim("w1", NET, 10**9, True)
    metrics = numbers(serve(settings).get("/metrics"))
    assert {
        "autochrome_redis_up": 1,
        "autochrome_jobs_waiting": 1,
        "autochrome_megapixels_waiting": 2,
        "autochrome_jobs_in_flight": 1,
        "autochrome_megapixels_in_flight": 2,
        "autochrome_workers{device=cpu,net=lite}": 2,
        "autochrome_jobs_ended_total{code=photo_damaged,status=failed}": 1,
        "autochrome_stage_seconds_count{stage=open}": 1,
        "autochrome_stage_seconds_sum{stage=preprocess}": 0.3,
        "autochrome_stage_seconds_count{stage=save}": 0,
        "autochrome_batch_size_count": 1,
        "autochrome_batch_size_sum": 3,
    }.items() <= metrics.items()
    assert 0 <= metrics["autochrome_oldest_waiting_seconds"] < 10
    assert metrics["process_resident_memory_bytes"] > 1e6


def test_what_a_real_worker_does_is_counted(service, gray_photo):
    with httpx.Client(base_url=service.url, timeout=60) as api:
        before = numbers(api.get("/metrics"))
        for photo in (gray_photo(), gray_photo(size=(400, 300))):
            answer = api.post("/v1/colorizations", files={"photo": photo}, headers={"Prefer": "wait=30"})
            assert answer.status_code == 200
        after = numbers(api.get("/metrics"))
    own = numbers(httpx.get(f"{service.worker_url}/metrics"))
    assert own["autochrome_worker_stage_seconds_bucket{le=+Inf,stage=infer}"] >= 2
    assert own["autochrome_worker_stage_seconds_count{stage=save}"] >= 2
    assert own["autochrome_worker_batch_size_sum"] >= 2

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("autochrome_jobs_ended_total{code=,status=succeeded}") == 2
    for stage in ("open", "preprocess", "infer", "postprocess", "save"):
        assert grown(f"autochrome_stage_seconds_count{{stage={stage}}}") == 2
        assert grown(f"autochrome_stage_seconds_sum{{stage={stage}}}") > 0
    assert grown("autochrome_batch_size_sum") == 2
    assert after["autochrome_workers{device=cpu,net=lite}"] == 1
    assert after["autochrome_megapixels_per_second"] > 0
    assert after["autochrome_jobs_in_flight"] == after["autochrome_jobs_waiting"] == 0


def test_every_number_that_the_alerts_and_the_documents_name_is_there(service):
    answers = [httpx.get(f"{url}/metrics").text for url in (service.url, service.worker_url)]
    families = {name for text in answers for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    root = Path(__file__).parents[2]
    groups = yaml.safe_load((root / "docker/prometheus/alerts.yml").read_text())["groups"]
    words = " ".join(rule["expr"] for group in groups for rule in group["rules"])
    assert "autochrome_workers" in words
    table = "\n".join(
        re.findall(r"^\| `autochrome.*", (root / "docs/operating.md").read_text(), re.MULTILINE)
    )
    named = set(re.findall(r"\b(?:autochrome|process)_[a-z_]+\b", words + table))
    assert {name for name in named if not name.endswith("_")} <= families
    ours = {name for name in families if name.startswith("autochrome_") and not name.endswith("_created")}
    assert ours <= set(re.findall(r"`(autochrome_[a-z_]+)", table)), "each is explained to operators"


def test_a_redis_tells_how_full_it_is_and_whether_its_log_can_be_written(serve, settings, client):
    api = serve(settings)
    client.config_set("maxmemory", str(10**9))
    try:
        metrics = numbers(api.get("/metrics"))
    finally:
        client.config_set("maxmemory", "0")
    assert metrics["autochrome_redis_memory_limit_bytes"] == 10**9
    assert 10**5 < metrics["autochrome_redis_memory_bytes"] < 10**8
    assert metrics["autochrome_redis_log_failing"] == 0


def test_a_worker_that_falls_silent_is_counted_and_our_own_faults_are_there_from_the_beginning(
    serve, settings, client, until
):
    jobs, api = Jobs(client, Lease(0.01, 0)), serve(settings)
    lost, died = (
        "autochrome_leases_expired_total",
        "autochrome_jobs_ended_total{code=worker_died,status=failed}",
    )
    before = numbers(api.get("/metrics"))
    assert (before[lost], before[died]) == (0, 0)
    enter(jobs, "1" * 32, 1_000_000)
    jobs.claim("w1", NET, 10**9, True)
    until(lambda: list(jobs.reap()) == ["1" * 32], 5, "its lease has run out")
    assert numbers(api.get("/metrics"))[lost] == 1


def test_requests_are_counted_by_the_template_of_their_address(serve, settings, client, gray_photo):
    api = serve(settings)
    for number in range(3):
        api.get(f"/v1/colorizations/{number:032x}/result?secret=x")
    made = api.post("/v1/colorizations", files={"photo": gray_photo()})
    api.get(made.headers["location"])
    api.get("/static/home.js")
    api.get("/wp-login.php")
    answer = api.get("/metrics")
    metrics = numbers(answer)
    requests = "autochrome_http_requests_total"
    assert metrics[f"{requests}{{method=GET,route=/v1/colorizations/{{id}}/result,status=404}}"] == 3
    assert metrics[f"{requests}{{method=POST,route=/v1/colorizations,status=202}}"] == 1
    assert metrics[f"{requests}{{method=GET,route=/v1/colorizations/{{id}},status=200}}"] == 1
    assert metrics["autochrome_http_seconds_count{method=POST,route=/v1/colorizations}"] == 1
    assert made.json()["id"] not in answer.text
    assert "wp-login" not in answer.text
    assert "home.js" not in answer.text


def test_numbers_are_for_this_machine_or_for_a_key_with_the_scope(serve, settings, client):
    keys = Keys(client)
    open_api, closed_api = serve(settings), serve(settings.model_copy(update={"anonymous": False}))
    assert open_api.get("/metrics").status_code == 200
    through_a_proxy = open_api.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"})
    assert (through_a_proxy.status_code, through_a_proxy.json()["code"]) == (401, "key_missing")
    assert closed_api.get("/metrics").json()["code"] == "key_missing"
    for scope, status in ((Scope.COLORIZE, 403), (Scope.METRICS, 200)):
        key = {"Authorization": f"Bearer {keys.create('k', [scope])}"}
        assert closed_api.get("/metrics", headers=key).status_code == status
        assert open_api.get("/metrics", headers=key).status_code == status


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto"])
def test_numbers_are_not_for_who_comes_through_a_proxy(api, name):
    assert api.get("/metrics", headers={name: "203.0.113.7"}).json()["code"] == "key_missing"


@pytest.mark.parametrize(
    "sign", [{"public_url": "https://x.example"}, {"root_path": "/x"}, {"trusted_proxies": ("127.0.0.2",)}]
)
def test_where_there_is_a_proxy_even_one_that_says_nothing_numbers_need_a_key(serve, settings, client, sign):
    api = serve(settings.model_copy(update=sign))
    assert api.get("/metrics").json()["code"] == "key_missing"
    key = {"Authorization": f"Bearer {Keys(client).create('k', [Scope.METRICS])}"}
    assert api.get("/metrics", headers=key).status_code == 200


def test_without_redis_it_says_so_and_the_rest_of_what_it_knows(serve, settings, tmp_path):
    api = serve(settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nothing.sock"}))
    assert api.get("/readyz").status_code == 503
    metrics = numbers(api.get("/metrics"))
    assert metrics["autochrome_redis_up"] == 0
    assert metrics["autochrome_http_requests_total{method=GET,route=/readyz,status=503}"] == 1
    assert "autochrome_jobs_waiting" not in metrics


def test_a_worker_that_takes_nothing_is_told_of(serve, settings, jobs, until):
    api = serve(settings.model_copy(update={"stall": 0.1}))
    jobs.beat("w1", NET, "cpu", 0)
    enter(jobs, "1" * 32, 1_000_000)
    until(lambda: numbers(api.get("/metrics"))["autochrome_workers_stalled"] == 1, 5, "it is stalled")


def test_counts_survive_and_are_the_same_from_everywhere(serve, settings, jobs, redis_url):
    enter(jobs, "1" * 32, 1_000_000)
    jobs.fail(jobs.claim("w1", NET, 10**9, True), "internal_error", "")
    with connect(redis_url) as another:
        assert Jobs(another, Lease(1, 1)).counters()["outcome:failed:internal_error"] == 1
    ended = "autochrome_jobs_ended_total{code=internal_error,status=failed}"
    assert [numbers(serve(settings).get("/metrics"))[ended] for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_it_speaks_the_dialect_that_is_asked_for(serve, settings, client, accept):
    answer = serve(settings).get("/metrics", headers={"Accept": accept})
    kind = "application/openmetrics-text" if accept else "text/plain"
    assert answer.headers["content-type"].startswith(kind)
    assert answer.text.endswith("# EOF\n") == bool(accept)
