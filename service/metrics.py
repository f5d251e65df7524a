"""Histograms of one worker process, for Prometheus: they begin anew with the process.

What must outlive processes, and be the same from whichever it is asked, the job record counts (see `lua/prelude.lua`).
"""

from __future__ import annotations

from prometheus_client import Histogram, start_http_server

from service.errors import SettingsError

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets for times, from 5 ms to a minute."""
PHOTOS = (1, 2, 4, 8, 16, 32, 64)
"""Upper bounds of the buckets for batch sizes."""

STAGE_SECONDS = Histogram(
    "autochrome_worker_stage_seconds",
    "Seconds that each stage took in this worker",
    ("stage",),
    buckets=SECONDS,
)
BATCH_SIZE = Histogram(
    "autochrome_worker_batch_size", "Photos that the net of this worker was given at once", buckets=PHOTOS
)


def serve(host: str, port: int) -> None:
    """Answer `GET /metrics` from a thread, with these and what prometheus-client says of a process. Raises SettingsError."""
    try:
        start_http_server(port, host)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Set AUTOCHROME_METRICS_PORT to a free port."
        ) from error
