"""Percentiles, tables, and where, when and of which code a number was taken."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import ROOT


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: a value that was measured, at or above `share` (0…1) of all. NaN where there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """The mean of the two middle ones where there is no single one."""
    if not values:
        return math.nan
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def place() -> dict[str, Any]:
    """Machine, date and commit; `changed` where the code is not the commit's."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "load_before": round(os.getloadavg()[0], 2),
    }


def place_line(place: dict[str, Any]) -> str:
    changed = " with changes" if place["changed"] else ""
    return (
        f"{place['processor']}, {place['cores']} cores, Python {place['python']}; {place['date']}; "
        f"commit {place['commit']}{changed}; load average before: {place['load_before']}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; floats with three figures that count."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def write(folder: Path, name: str, found: dict[str, Any], text: str) -> None:
    """The same as JSON and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
