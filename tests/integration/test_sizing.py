"""The arithmetic from photos a day to machines, beside the same by hand."""

from __future__ import annotations

import pytest

from tests.benchmarks import sizing
from tests.benchmarks.sizing import Cost, Record, reckon


def test_a_million_photos_a_day_by_hand():
    cost = Cost(worker=0.06, api=0.012, valkey=0.003, photo=2e6, result=3e6, worker_mb=500)
    need = reckon(cost, Record(waiting=800, ended=600, erased=200), 864_000, keep_days=2)
    assert need.peak == pytest.approx(30)  # ten a second on average, three times that at the peak
    assert (need.worker_cores, need.api_cores, need.valkey_cores) == pytest.approx((3, 0.6, 0.15))
    assert need.redis == pytest.approx(864_000 * (2 * 600 + 7 * 200))
    assert need.store == pytest.approx(864_000 * 2 * 5e6)
    assert need.network == pytest.approx(30 * 3 * 5e6)


@pytest.mark.slow
def test_what_a_photo_costs_is_measured():
    report = sizing.run(sizing.QUICK, print)
    [cost] = report.results["costs"].values()
    assert 0 < cost["api"] < cost["worker"] < 10
    assert 0 < cost["photo"] < 10**6
    assert report.results["record"]["waiting"] > 0
