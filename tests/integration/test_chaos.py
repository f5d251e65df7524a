"""kill -9 under load, in short."""

from __future__ import annotations

import pytest

from tests.benchmarks import chaos

SHORT = chaos.Extent(seconds=24, seed=1, pause=(1.5, 3), drain=30, fast=True)


@pytest.mark.timeout(180)
def test_nothing_is_lost_doubled_or_left_over_when_parts_are_killed_under_load():
    said: list[str] = []
    found, checks = chaos.run(SHORT, said.append)
    assert not [check.line for check in checks if not check.held], said
    assert found["ended"]["succeeded"] > 50
    assert len(found["killed"]) >= 3
