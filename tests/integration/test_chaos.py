"""The benchmarks of a service under load and kill -9, in short: what must hold there holds."""

from __future__ import annotations

import pytest

from tests.benchmarks import chaos, overload


@pytest.mark.timeout(180)
def test_nothing_is_lost_doubled_or_left_over_when_parts_are_killed_under_load():
    lines: list[str] = []
    short = chaos.Config(seconds=24, seed=1, pause=(1.5, 3), drain=30, fast=True)
    report = chaos.chaos(short, lines.append)
    assert not report.failures, lines
    assert report.results["ended"]["succeeded"] > 50
    assert len(report.results["kills"]) >= 3


@pytest.mark.slow
def test_no_job_is_lost_or_doubled_while_workers_come_and_go():
    assert not chaos.many_jobs(chaos.ManyJobsConfig(jobs=1000, seed=1), print).failures


@pytest.mark.slow
def test_what_is_accepted_stays_quick_and_the_rest_is_refused_at_once():
    assert not overload.run(overload.Config(seconds=20, calibration=5, queue_jobs=4), print).failures
