"""Which code made something: every run and every table says so."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The checkout's, or "" where the package is installed without one."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()
