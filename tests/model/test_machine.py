"""What this machine has for a process."""

from __future__ import annotations

import os
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
