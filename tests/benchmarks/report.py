"""What a benchmark reports: checks, percentiles, tables, and the machine, date and commit that the numbers come from.

And `neighbors`, beside which some of them are taken.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
"""Of the repository."""
Log = Callable[[str], None]
"""Is given a line about the progress."""


@dataclass(frozen=True, slots=True)
class Check:
    """A condition that must hold. `detail` gives the numbers, whether it holds or not."""

    name: str
    passed: bool
    detail: str

    @property
    def line(self) -> str:
        return f"- {'passed' if self.passed else '**failed**'}: {self.name}. {self.detail}"


@dataclass(frozen=True, slots=True)
class Report:
    """`results` for JSON, the same as Markdown, and what must hold. A target that is missed is no failed check."""

    name: str
    results: dict[str, Any]
    text: str
    checks: Sequence[Check] = ()

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> list[str]:
        return [check.line for check in self.checks if not check.passed]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(self.results, indent=1) + "\n")
        (folder / f"{self.name}.md").write_text(self.text)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: a measured value, at or above `share` (0…1) of all. NaN where there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    """NaN where there is no value."""
    return statistics.median(values) if values else math.nan


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g}…{max(values):.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; floats with three significant figures."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


@contextmanager
def neighbors(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def machine() -> dict[str, Any]:
    """Machine, date and commit; `changed` where the code differs from the commit."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "load_before": round(os.getloadavg()[0], 2),
    }


def machine_line(machine: dict[str, Any]) -> str:
    changed = " with changes" if machine["changed"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; {machine['date']}; "
        f"commit {machine['commit']}{changed}; load average before: {machine['load_before']}."
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
