"""Which code made something, and where: every run and every table says so."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch


def commit() -> str:
    """The checkout's that this file belongs to; "" where there is none, as for an installed package, or no git."""
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name, within=here.parent):
        return _git("rev-parse", "--short", "HEAD", within=here.parent)
    return ""


def _git(*words: str, within: Path) -> str:
    """What git prints; "" where it fails, or is not installed. A hook's variables say which checkout that is of, and not ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *words], cwd=within, capture_output=True, text=True, check=False, env=environment
        )
    except OSError:
        return ""
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
