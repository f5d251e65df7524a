"""Which code made something, and where: every run and every table says so."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch


def commit() -> str:
    """The checkout's, or "" where the package is installed without one."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def origin(command: str) -> dict[str, str]:
    """Which command makes something, of which code, where and when."""
    return {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": str(torch.__version__),
        "command": command,
    }
