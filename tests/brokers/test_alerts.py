"""The rules for Prometheus: checked and tested by promtool, and evaluated by a real Prometheus over a real API and worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.benchmarks.servers import free_port

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed"),
]
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker/prometheus"


def test_promtool_finds_no_fault_in_the_rules_and_the_example_and_their_tests_pass():
    for command in (
        ["check", "rules", "--lint-fatal", "alerts.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire_by_a_test_and_explained_to_whoever_is_woken():
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test.get("alert_rule_test", ())]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == alerts
    page = (ROOT / "docs/operations/incidents.md").read_text()
    assert not [alert for alert in alerts if f"`{alert}`" not in page]


@contextmanager
def prometheus(folder: Path, **targets: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """A Prometheus with the example's config, but for its targets and pace; yields what answers a query."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    for scrape in config["scrape_configs"]:
        scrape["static_configs"] = [{"targets": [targets[scrape["job_name"].removeprefix("autochrome-")]]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    with subprocess.Popen(
        [*command, f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:

        def ask(query: str) -> list[dict[str, Any]]:
            try:
                answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query})
            except httpx.ConnectError:
                return []
            found = answer.json() if answer.status_code == 200 else {"data": {"result": []}}
            return list(found["data"]["result"])

        try:
            yield ask
        finally:
            process.terminate()


def test_a_prometheus_sees_the_service_well_and_then_its_worker_gone(launch, tmp_path, until, gray_photo):
    port = free_port()
    service = launch("-m", "service", state_dir=tmp_path, port=0, metrics_port=port, anonymous=False)
    url = service.line(r"service_ready url=(http://\S+)", 60)[1]
    socket = f"unix://{tmp_path}/valkey/valkey.sock"
    for scope in ("metrics", "colorize"):
        words = [sys.executable, "-m", "service", "keys", "create", scope, "--scope", scope]
        made = subprocess.run(
            words, cwd=ROOT, env={"AUTOCHROME_REDIS_URL": socket}, capture_output=True, text=True, check=True
        )
        (tmp_path / ("key" if scope == "metrics" else scope)).write_text(made.stdout.strip())
    key = {"Authorization": f"Bearer {(tmp_path / 'colorize').read_text()}"}
    with prometheus(tmp_path, api=url.removeprefix("http://"), worker=f"127.0.0.1:{port}") as ask:
        until(lambda: len(ask("up == 1")) == 2, 15, "both are scraped, the API with the key")
        sent = {"files": {"photo": gray_photo()}, "headers": {**key, "Prefer": "wait=30"}}
        assert httpx.post(f"{url}/v1/colorizations", timeout=40, **sent).status_code == 200
        until(lambda: ask("autochrome:backlog_megapixels"), 10, "what to scale by is known")
        assert not ask("ALERTS")
        worker = next(p for p in service.family() if "worker" in p.cmdline())
        worker.suspend()  # it beats no more, and is not started again
        gone = 'ALERTS{alertname="AutochromeNoWorkers",alertstate="pending"}'
        until(lambda: ask(gone), 20, "the alert is on its way")
        worker.kill()
