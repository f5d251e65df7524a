"""The annealed mean by the compiled loop, against torch's and by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model import annealing, bins

LOGITS = (np.random.default_rng(0).standard_normal((313, 9, 7)) * 4).astype(np.float32)


def side_by_side(logits_Qhw: NDArray[np.float32]) -> NDArray[np.float32]:
    """As a net on a CPU gives them: those of a position lie together."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(logits_Qhw, 0, -1)), -1, 0)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.38, 0.01, 1e-6, 1e-30, 1e-45, 0.0])
def test_the_annealed_mean_is_torchs(temperature: float) -> None:
    expected = bins.annealed_mean(torch.from_numpy(LOGITS)[None], temperature)[0].numpy()
    np.testing.assert_allclose(annealing.annealed_mean(LOGITS, temperature), expected, atol=2e-4)


def test_how_logits_lie_in_memory_changes_nothing() -> None:
    assert np.array_equal(
        annealing.annealed_mean(side_by_side(LOGITS), 0.38), annealing.annealed_mean(LOGITS, 0.38)
    )


def test_a_logit_that_is_no_number_makes_no_color_there_and_changes_no_other() -> None:
    broken = LOGITS.copy()
    broken[200, 3, 2] = np.nan
    expected = annealing.annealed_mean(LOGITS, 0.38)
    expected[:, 3, 2] = np.nan
    np.testing.assert_array_equal(annealing.annealed_mean(broken, 0.38), expected)


def test_the_annealed_mean_by_hand() -> None:
    """Three bins, one position: e^0, e^(2/½), e^(−1/½) as weights."""
    centers = np.array([[10, 0], [0, 20], [-30, 30]], np.float32)
    weights = np.exp([0.0, 4.0, -2.0])
    expected = (weights[:, None] * centers).sum(0) / weights.sum()
    logits = np.array([0, 2, -1], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(annealing.annealed_mean(logits, 0.5, centers)[:, 0, 0], expected, rtol=1e-5)


def test_logits_that_would_overflow_do_not() -> None:
    found = annealing.annealed_mean(LOGITS * 1000, 0.1)
    assert np.isfinite(found).all()
    assert np.array_equal(found, annealing.annealed_mean(LOGITS, 0))


@pytest.mark.parametrize("wrong", [-0.1, float("nan")])
def test_temperatures_below_0_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        annealing.annealed_mean(LOGITS, wrong)


def test_logits_of_another_palette_are_refused() -> None:
    with pytest.raises(ValueError, match="312 logits for 313 colors"):
        annealing.annealed_mean(LOGITS[:312], 0.5)


def test_an_answer_of_the_nets_size_takes_milliseconds_of_one_core() -> None:
    logits = side_by_side((np.random.default_rng(0).standard_normal((313, 56, 80)) * 4).astype(np.float32))
    annealing.annealed_mean(logits, 0.5)
    before = time.process_time()
    for _ in range(5):
        annealing.annealed_mean(logits, 0.5)
    assert (time.process_time() - before) / 5 < 0.015, "1.3 ms on a quiet core"
