"""The API does what its OpenAPI says: all checks of schemathesis but two, operations alone and in sequence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOT_OURS = ("--exclude-checks", "use_after_free,ignored_auth")
"""The one demands 404 of what was erased. By the contract a record stays: the job is known, as canceled, until its time. The other takes
the secret that links pass on to an erasure for one that it made up itself."""


def schemathesis(folder: Path, url: str, *arguments: str, seconds: float) -> str:
    """What it says, run in `folder`; fails where it found something."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
            *(
                "--no-color",
                "run",
                f"{url}/openapi.json",
                "--checks",
                "all",
                *NOT_OURS,
                "--request-timeout",
                "30",
            ),
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(HERE), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    return done.stdout


def operations_in(said: str) -> int:
    """How many operations it has tried."""
    found = re.search(r"Tested: (\d+)", said)
    assert found, said
    return int(found[1])


@pytest.mark.timeout(120)
def test_the_api_keeps_to_its_schema(fast_service, tmp_path):
    few = ("--max-examples", "3", "--generation-deterministic")
    assert operations_in(schemathesis(tmp_path, fast_service.url, *few, seconds=100)) >= 8


@pytest.mark.slow
def test_the_api_keeps_to_its_schema_at_length(fast_service, tmp_path):
    many = ("--max-examples", "200", "--generation-database", "none")
    assert operations_in(schemathesis(tmp_path, fast_service.url, *many, seconds=1500)) >= 8
