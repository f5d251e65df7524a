"""How the bot does: a file that every whole round touches, and metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Health:
    """What others may look at."""

    def __init__(self, path: Path | None, port: int) -> None:
        """`path`: of the file; None: there is none. `port`: on 127.0.0.1; 0: no metrics are served."""
        self._path = path
        self._registry = CollectorRegistry()
        self._mentions = Gauge(
            "colorizebot_mentions", "Mentions by state", ["state"], registry=self._registry
        )
        self._rounds = Counter("colorizebot_rounds", "Whole rounds", registry=self._registry)
        self._failures = Counter(
            "colorizebot_failed_rounds", "Rounds that failed, by reason", ["reason"], registry=self._registry
        )
        self._requests = Gauge(
            "colorizebot_requests", "Requests to Reddit since the start", registry=self._registry
        )
        self._counts: dict[str, int] = {}
        self._served = start_http_server(port, "127.0.0.1", self._registry) if port else None

    def close(self) -> None:
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()

    def round_done(self, counts: dict[str, int], requests: int) -> None:
        """A whole round went well."""
        self._rounds.inc()
        self._counts = dict.fromkeys(self._counts, 0) | counts  # a state that all have left, too, is told
        for state, count in self._counts.items():
            self._mentions.labels(state).set(count)
        self._requests.set(requests)
        if self._path is not None:
            self._path.touch()

    def round_failed(self, reason: str) -> None:
        self._failures.labels(reason).inc()
