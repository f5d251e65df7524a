"""Many jobs while workers come and go, in short."""

from __future__ import annotations

import pytest

from tests.benchmarks import many_jobs


@pytest.mark.slow
def test_no_job_is_lost_or_doubled_while_workers_come_and_go():
    _, checks = many_jobs.run(many_jobs.Extent(jobs=1000, seed=1), print)
    assert not [check.line for check in checks if not check.held]
