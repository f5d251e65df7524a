"""What an operator's Prometheus reads of the bot."""

from __future__ import annotations

import socket

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def metrics(port):
    """Ask for them: (name, label's value or "") → value."""

    def read() -> dict[tuple[str, str], float]:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        families = text_string_to_metric_families(answer.text)
        samples = [sample for family in families for sample in family.samples]
        return {(it.name, "".join(it.labels.values())): it.value for it in samples}

    return read


def test_it_counts_mentions_rounds_failures_and_requests(
    server, shown, here, quick_service, port, metrics, unused_url
):
    bot = here(bot_service_url=unused_url, bot_metrics_port=port)
    server.person("ben").comment(shown(), "u/colorizebot")
    server.person("cleo").comment(shown(url="https://example.com/a.jpg"), "u/colorizebot")
    bot.loop.round()
    counted = metrics()
    assert counted["autochrome_bot_mentions", "seen"] == 1, "it waits for the service"
    assert counted["autochrome_bot_mentions", "refused"] == 1
    assert counted["autochrome_bot_rounds_total", ""] == 1

    for kind, times in ((503, 2), (429, 1), ("truncated", 1)):
        server.fail("/message/unread", kind, times=times)
    for _ in range(4):
        bot.ahead += 60
        bot.loop.round()
    counted = metrics()
    assert counted["autochrome_bot_failed_rounds_total", "NoAnswerError"] == 3
    assert counted["autochrome_bot_failed_rounds_total", "ThrottledError"] == 1
    assert counted["autochrome_bot_rounds_total", ""] == 1, "whole ones alone"

    server.person("ben").delete(server.world.comments["c1"])
    bot.ahead += 60
    bot.loop.round()
    counted = metrics()
    assert counted["autochrome_bot_mentions", "seen"] == 0
    assert counted["autochrome_bot_mentions", "given_up"] == 1
    assert counted["autochrome_bot_rounds_total", ""] == 2
    requests = [call for call in server.calls if not call.path.startswith("/i/")]
    assert counted["autochrome_bot_reddit_requests_total", ""] == len(requests) > 8


def test_they_are_served_on_this_machine_alone_and_end_with_the_bot(here, quick_service, port, metrics):
    bot = here(bot_service_url=quick_service.url, bot_metrics_port=port)
    metrics()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{port}/metrics")
    bot.close()
    with pytest.raises(httpx.ConnectError):
        metrics()


def test_they_are_served_to_other_machines_where_that_is_set(here, quick_service, port):
    here(bot_service_url=quick_service.url, bot_metrics_port=port, bot_metrics_host="0.0.0.0")
    assert httpx.get(f"http://127.0.0.2:{port}/metrics").status_code == 200


def test_without_a_port_nothing_is_served(here, quick_service, monkeypatch):
    served = []
    monkeypatch.setattr("bot.__main__.start_http_server", lambda *where, **how: served.append(where))
    here(bot_service_url=quick_service.url).loop.round()
    assert served == []
