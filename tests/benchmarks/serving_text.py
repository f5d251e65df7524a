"""What `serving` measured, in words and tables, with the targets and by how much they are missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.figures import median, percentile, place_line, table

OVERHEAD_MS = 20.0
PIPELINE_SHARE = 0.85
FROM_CLIENTS = 4
Phases = Sequence[dict[str, Any]]


def text(found: dict[str, Any]) -> str:
    """Markdown, the verdicts first."""
    phases: Phases = found["phases"]
    sides = sorted({phase["side"] for phase in phases}, reverse=True)
    parts = [
        "# The service beside the bare pipeline and LitServe\n",
        place_line(found["place"]),
        f"Median of {found['extent']['rounds']} interleaved rounds, in brackets the least and the most. Latencies in "
        "ms, over all rounds; in open loops from the moment when a request was due. Load comes from a process of "
        "its own on the same cores, whose CPU is told apart. The pipeline's CPU is that of one thread, the least that "
        "it can do with.\n",
        "\n".join(f"- {line}" for line in verdicts(phases)),
    ]
    for side in sides:
        here = [phase for phase in phases if phase["side"] == side]
        parts += [f"\n## {side} px\n", _lone(here), _throughput(here), _cpu(here), _open(here)]
    return "\n".join(parts) + "\n"


def verdicts(phases: Phases) -> list[str]:
    """One line a target and size."""
    lines: list[str] = []
    for side in sorted({phase["side"] for phase in phases}, reverse=True):
        here = [phase for phase in phases if phase["side"] == side]
        overhead = _overhead(here)
        lines.append(
            f"{side} px, lone request: {overhead:.1f} ms over the pipeline at p50 {_met(overhead <= OVERHEAD_MS)}"
        )
        for clients in sorted({phase["clients"] for phase in here if phase["kind"] == "closed"}):
            if clients < FROM_CLIENTS:
                continue
            ratio = _rate(here, "service", clients) / _rate(here, "litserve", clients)
            share = _share(here, clients)
            lines.append(
                f"{side} px, {clients} clients: {ratio:.2f} of LitServe's throughput {_met(ratio >= 1)}"
            )
            lines.append(
                f"{side} px, {clients} clients: {share:.0%} of all CPU-seconds are the pipeline's "
                f"{_met(share >= PIPELINE_SHARE)}"
            )
    return lines


def _met(met: bool) -> str:
    return "(met)" if met else "(**missed**)"


def _overhead(here: Phases) -> float:
    service, pipeline = (_latencies(here, name, "lone") for name in ("service", "pipeline"))
    return percentile(service, 0.5) - percentile(pipeline, 0.5)


def _share(here: Phases, clients: int) -> float:
    """What the bare pipeline needs for a photo, of what all processes of the service need for one."""
    bare = median([sum(phase["cpu"].values()) for phase in _of(here, "pipeline", "lone")])
    return bare / median([sum(phase["cpu"].values()) for phase in _of(here, "service", "closed", clients)])


def _of(here: Phases, subject: str, kind: str, clients: int | None = None) -> Phases:
    return [
        phase
        for phase in here
        if phase["subject"] == subject
        and phase["kind"] == kind
        and (clients is None or phase["clients"] == clients)
    ]


def _latencies(here: Phases, subject: str, kind: str) -> list[float]:
    return [1000 * seconds for phase in _of(here, subject, kind) for seconds in phase["latencies"]]


def _rate(here: Phases, subject: str, clients: int) -> float:
    return median([phase["throughput"] for phase in _of(here, subject, "closed", clients)])


def _lone(here: Phases) -> str:
    base = percentile(_latencies(here, "pipeline", "lone"), 0.5)
    rows: list[Sequence[object]] = []
    for name in ("pipeline", "service", "litserve"):
        found = _latencies(here, name, "lone")
        p50 = percentile(found, 0.5)
        rows.append((name, len(found), p50, percentile(found, 0.99), p50 - base))
    return table(("lone request", "n", "p50", "p99", "over the pipeline"), rows)


def _throughput(here: Phases) -> str:
    rows: list[Sequence[object]] = []
    for phase in _first_round(here, "closed"):
        same = _of(here, phase["subject"], "closed", phase["clients"])
        rates = [each["throughput"] for each in same]
        latencies = [1000 * seconds for each in same for seconds in each["latencies"]]
        rows.append(
            (
                *(phase["subject"], phase["clients"]),
                f"{median(rates):.2f} ({min(rates):.2f}…{max(rates):.2f})",
                median([each["batch"] for each in same]),
                *(percentile(latencies, 0.5), percentile(latencies, 0.99)),
                sum(each["failures"] for each in same),
            )
        )
    head = ("closed loop", "clients", "photos/s", "mean batch", "p50", "p99", "not colored")
    return table(head, rows)


def _cpu(here: Phases) -> str:
    rows: list[Sequence[object]] = []
    for phase in _first_round(here, "lone") + _first_round(here, "closed"):
        same = _of(here, phase["subject"], phase["kind"], phase["clients"])
        total = median([sum(each["cpu"].values()) for each in same])
        bare = median([sum(each["cpu"].values()) for each in _of(here, "pipeline", "lone")])
        by_part = ", ".join(
            f"{part} {1000 * median([each['cpu'].get(part, 0.0) for each in same]):.1f}"
            for part in sorted(phase["cpu"])
        )
        rows.append(
            (
                *(phase["subject"], phase["kind"], phase["clients"], 1000 * total, by_part),
                f"{bare / total:.0%}",
                1000 * median([each["load_cpu"] for each in same]),
            )
        )
    head = (
        "CPU-ms a photo",
        "load",
        "clients",
        "all",
        "by process",
        "pipeline's share",
        "load generator, apart",
    )
    return table(head, rows)


def _open(here: Phases) -> str:
    rows: list[Sequence[object]] = []
    for name in ("service", "litserve"):
        phases = _of(here, name, "open")
        rounds = sorted({phase["round"] for phase in phases})
        each_round = [
            sorted((p for p in phases if p["round"] == r), key=lambda p: float(p["rate"])) for r in rounds
        ]
        for same in zip(*each_round, strict=True):
            latencies = [1000 * seconds for phase in same for seconds in phase["latencies"]]
            rows.append(
                (
                    *(name, median([phase["rate"] for phase in same]), len(latencies)),
                    *(percentile(latencies, share) for share in (0.5, 0.95, 0.99)),
                    median([phase["batch"] for phase in same]),
                    sum(phase["failures"] for phase in same),
                )
            )
    return table(("open loop", "a second", "n", "p50", "p95", "p99", "mean batch", "not colored"), rows)


def _first_round(here: Phases, kind: str) -> list[dict[str, Any]]:
    return [phase for phase in here if phase["kind"] == kind and phase["round"] == 0]
