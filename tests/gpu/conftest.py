"""The device that these tests are about, and the report that they write to out/gpu/report.md."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
REHEARSE = bool(os.environ.get("AUTOCHROME_REHEARSE"))
"""Run on a CPU, with tiny numbers."""

Tell = Callable[[str, Sequence[str], Sequence[Sequence[object]]], None]


@pytest.fixture(scope="session")
def device() -> str:
    if REHEARSE:
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    return "cuda"


@pytest.fixture(scope="session")
def tell(device: str) -> Iterator[Tell]:
    """Add a table to the report: title, heads, rows."""
    tables: list[str] = []

    def add(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        lines = [heads, ["---"] * len(heads), *rows]
        tables.append(
            "\n".join([f"## {title}", "", *("| " + " | ".join(map(str, line)) + " |" for line in lines)])
        )

    yield add
    folder = ROOT / "out" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text("\n\n".join([_heading(device), *tables]) + "\n")


def _heading(device: str) -> str:
    name = (
        torch.cuda.get_device_name() if device == "cuda" else "a rehearsal on a CPU: the numbers mean nothing"
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date()
    versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"# What a GPU shows\n\n{name}; {versions}; {today}, commit {commit}. `make test-gpu`"
