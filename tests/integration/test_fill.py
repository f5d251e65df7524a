"""The benchmark of a service that is full, in short: what must hold there holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import fill
from tests.benchmarks.servers import write_fast_net

pytestmark = pytest.mark.slow  # `tests/service/test_full.py` has the same of single requests


def test_a_small_disk_is_filled_and_to_its_last_byte_and_nobody_has_to_act(tmp_path: Path) -> None:
    net, lines = write_fast_net(tmp_path), []
    with fill.small_disk(tmp_path / "disk", fill.FAST.disk_mb, lines.append) as (disk, settings):
        sent, checks = fill.fill_disk(fill.FAST, tmp_path, disk, {**settings, "net": net}, lines.append)
    assert not [check.line for check in checks if not check.passed], (lines, sent.rows)
    assert sent.codes["store_full"] > 0


def test_a_small_redis_is_filled_and_all_that_was_accepted_goes_on(tmp_path: Path) -> None:
    net = write_fast_net(tmp_path)
    _, checks = fill.fill_redis(fill.FAST, tmp_path, {"net": net}, print)
    assert not [check.line for check in checks if not check.passed]
