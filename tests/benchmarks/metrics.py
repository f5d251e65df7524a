"""What the service says of itself at /metrics, read as an operator's Prometheus would."""

from __future__ import annotations

from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families


def read(url: str) -> dict[str, float]:
    """Each sample by its name and its labels: `autochrome_jobs_ended_total{code="",status="succeeded"}`."""
    with urlopen(url + "/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        _name(sample.name, sample.labels): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ended(found: dict[str, float]) -> int:
    """Jobs that ended, however they did."""
    return int(sum(value for name, value in found.items() if name.startswith("autochrome_jobs_ended_total{")))


def batches(found: dict[str, float]) -> tuple[float, float]:
    """How often the net ran, and over how many photos."""
    return found.get("autochrome_batch_size_count", 0.0), found.get("autochrome_batch_size_sum", 0.0)


def _name(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
