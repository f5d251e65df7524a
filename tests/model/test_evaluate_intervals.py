"""Intervals by bootstrap: they cover what they should, and pairs are paired."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluate.intervals import RESAMPLES, Bootstrap, interval


def test_the_interval_of_a_mean_is_the_one_that_statistics_know() -> None:
    values = np.random.default_rng(3).normal(50, 10, 400)
    found = interval(Bootstrap(400).means(values))
    assert found
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.12)
    assert found.high == pytest.approx(values.mean() + half, abs=0.12)


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    chance = np.random.default_rng(5)
    draws = Bootstrap(60)
    covered = 0
    for _ in range(300):
        found = interval(draws.means(chance.normal(0, 1, 60)))
        assert found
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_what_always_differs_by_the_same_has_a_difference_without_width() -> None:
    values = np.random.default_rng(0).normal(0, 30, 50)
    draws = Bootstrap(50)
    found = interval(draws.means(values + 2) - draws.means(values))
    assert found
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2))


def test_every_draw_has_as_many_photos_as_there_are() -> None:
    times = Bootstrap(37).times
    assert times.shape == (1 + RESAMPLES, 37)
    assert (times.sum(1) == 37).all()
    assert (times[0] == 1).all()
    np.testing.assert_array_equal(times, Bootstrap(37).times)


def test_draws_that_say_nothing_are_left_out_and_nothing_is_said_where_the_photos_say_nothing() -> None:
    samples = np.full(1 + RESAMPLES, 4.0)
    samples[1::2] = np.nan
    found = interval(samples)
    assert found
    assert (found.low, found.high) == (4, 4)
    samples[0] = np.nan
    assert interval(samples) is None
