"""What this machine has for a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model import machine
from model.machine import cores, memory_available, memory_resident, memory_total


def test_cores_are_those_that_openmp_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    has = len(os.sched_getaffinity(0))
    assert cores() == has
    for said, expected in (("1", 1), ("1,2", 1), ("9999", has), ("0", has), ("many", has)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert cores() == expected


def test_the_memory_that_is_there_is_some_and_less_than_a_petabyte() -> None:
    there, all_of_it = memory_available(), memory_total()
    assert there is not None
    assert all_of_it is not None
    assert 2**20 < there < all_of_it < 2**50
    assert 2**20 < memory_resident() < all_of_it


def test_a_control_groups_limit_counts(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000000"),
        ("memory.current", "700000"),
        ("memory.stat", "anon 1\ninactive_file 200000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert machine._group_memory(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max")
    assert machine._group_memory(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_large_blocks_that_are_kept_are_not_zeroed_anew_by_the_system() -> None:
    def faults(keep: bool) -> int:
        """Pages that the system had to find for ten times 64 MiB, after the heap has grown to what it needs."""
        program = f"""
import resource, torch
from model import machine
if {keep}:
    machine.keep_large_blocks()
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
        return int(
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
        )

    assert faults(keep=True) < faults(keep=False) / 10
