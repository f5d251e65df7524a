"""More than the service can do, in short."""

from __future__ import annotations

import pytest

from tests.benchmarks import overload


@pytest.mark.slow
def test_what_is_accepted_stays_quick_and_the_rest_is_refused_at_once():
    _, checks = overload.run(overload.Extent(seconds=20, calibration=5, queue_jobs=4), print)
    assert not [check.line for check in checks if not check.held]
