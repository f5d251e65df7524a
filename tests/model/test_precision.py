"""Average precision and mean IU against sums by hand and slow versions; what does not count; draws of photos."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from model.evaluate.intervals import Bootstrap
from model.evaluate.precision import (
    ABSENT,
    DIFFICULT,
    PRESENT,
    VOID,
    average_precision,
    confusion,
    mean_average_precision,
    mean_iu,
)


def ap(scores: list[float], truth: list[int]) -> float:
    (found,) = average_precision(np.array(scores), np.array(truth))
    return float(found)


def slow_ap(scores: list[float], truth: list[int]) -> float:
    """The definition, photo by photo, in fractions."""
    counted = [place for place, said in enumerate(truth) if said != DIFFICULT]
    present = sum(truth[place] == PRESENT for place in counted)
    curve: list[tuple[Fraction, Fraction]] = []
    right = 0
    for rank, place in enumerate(sorted(counted, key=lambda place: -scores[place]), 1):
        right += truth[place] == PRESENT
        curve.append((Fraction(right, present), Fraction(right, rank)))
    best = [
        max([precision for recall, precision in curve if recall >= Fraction(tenths, 10)], default=Fraction(0))
        for tenths in range(11)
    ]
    return float(sum(best) / 11)


# Average precision


def test_by_hand() -> None:
    """Two of two, then one absent, then the third: precisions of 1, 1, 2/3, 3/4; recalls to 0.6 have 1, those above 3/4."""
    assert ap([9, 8, 7, 6], [1, 1, -1, 1]) == pytest.approx((7 * 1 + 4 * 0.75) / 11)
    assert ap([9, 8, 7, 6], [1, 1, 1, -1]) == 1
    assert ap([9, 8], [-1, 1]) == 0.5
    assert ap([1, 2, 3], [1, -1, -1]) == pytest.approx(1 / 3)  # in no order but that of scores


def test_a_recall_of_three_in_ten_is_three_tenths() -> None:
    """In floats 3 · 0.1 is more. Three of ten come first, so that four recalls have 1; the others last, so that seven have 10/100."""
    truth = [1] * 3 + [-1] * 90 + [1] * 7
    assert ap([float(-place) for place in range(100)], truth) == pytest.approx((4 * 1 + 7 * 0.1) / 11)


def test_random_scores_beside_the_definition() -> None:
    chance = np.random.default_rng(0)
    for photos in (3, 10, 30, 77):
        for _ in range(20):
            scores = chance.integers(0, photos, photos).astype(np.float64)  # some alike
            truth = chance.choice([PRESENT, DIFFICULT, ABSENT], photos, p=[0.3, 0.2, 0.5])
            truth[0] = PRESENT
            assert ap(scores.tolist(), truth.tolist()) == pytest.approx(
                slow_ap(scores.tolist(), truth.tolist())
            )


def test_the_difficult_do_not_count() -> None:
    hard = [(9.5, 0), (9.0, 1), (8.5, 0), (8.0, -1), (7.0, 1), (6.0, 0)]
    easy = [pair for pair in hard if pair[1]]
    assert ap(*map(list, zip(*hard, strict=True))) == ap(*map(list, zip(*easy, strict=True)))  # type: ignore[arg-type]


def test_a_class_that_is_not_there_has_no_precision() -> None:
    assert np.isnan(ap([1, 2], [-1, -1]))
    assert np.isnan(ap([1, 2], [0, -1]))
    assert np.isnan(ap([1, 2], [0, 0]))


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no order"):
        ap([1, float("nan")], [1, -1])


def test_a_photo_drawn_twice_counts_twice() -> None:
    chance = np.random.default_rng(1)
    scores, truth = chance.normal(size=12), chance.choice([1, 0, -1], 12)
    times = chance.multinomial(12, [1 / 12] * 12, 25).astype(np.float64)
    found = average_precision(scores, truth, times)
    for drawn, value in zip(times.astype(int), found, strict=True):
        some = np.repeat(np.arange(12), drawn)
        # Alike are side by side in either order, but a photo and its copy are the same
        assert value == pytest.approx(ap(scores[some].tolist(), truth[some].tolist()), nan_ok=True)


def test_the_mean_over_classes_and_its_draws() -> None:
    chance = np.random.default_rng(2)
    scores = chance.normal(size=(40, 3))
    truth = np.where(scores + chance.normal(size=(40, 3)) > 0.8, PRESENT, ABSENT)
    truth[:, 2] = ABSENT
    truth[0, 2] = PRESENT  # a third of the draws lack it
    found = mean_average_precision(scores, truth)
    times = Bootstrap(40).times
    for row in (0, 1, 2, 3, 500):
        some = np.repeat(np.arange(40), times[row].astype(int))
        values = [ap(scores[some, c].tolist(), truth[some, c].tolist()) for c in range(3)]
        assert found[row] == pytest.approx(np.nanmean(values))
    assert np.isfinite(found).all()


# Mean IU


def slow_iu(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> float:
    shares = []
    for c in range(classes):
        both = either = 0
        for true, claimed in zip(truth.flat, said.flat, strict=True):
            if true != VOID:
                both += bool(true == c and claimed == c)
                either += bool(true == c or claimed == c)
        if either:
            shares.append(both / either)
    return float(np.mean(shares))


def test_iu_by_hand() -> None:
    truth, said = np.array([[0, 0, 1], [1, 2, VOID]]), np.array([[0, 1, 1], [1, 0, 2]])
    counts = confusion(truth, said, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert mean_iu(counts) == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)  # the fourth neither is nor was said


def test_random_pictures_beside_a_loop_over_pixels() -> None:
    chance = np.random.default_rng(3)
    for classes in (2, 5, 11):
        truth, said = chance.integers(0, classes, (2, 3, 9, 8))
        truth[chance.random(truth.shape) < 0.2] = VOID
        assert mean_iu(confusion(truth, said, classes)) == pytest.approx(slow_iu(truth, said, classes))


def test_what_is_said_of_void_does_not_count() -> None:
    truth = np.array([0, 1, VOID], np.uint8)
    assert mean_iu(confusion(truth, np.array([0, 1, 200]), 2)) == 1
    assert np.isnan(mean_iu(confusion(truth[2:], np.array([1]), 2)))
    assert mean_iu(confusion(np.array([0, 1, 2]), np.array([0, 1, 1]), 2, void=2)) == 1


def test_classes_that_are_none_are_refused() -> None:
    for truth, said in (([0, 2], [0, 1]), ([0, 1], [0, 2]), ([-1, 1], [0, 1]), ([0, 1], [-1, 1])):
        with pytest.raises(ValueError, match="classes are"):
            confusion(np.array(truth), np.array(said), 2)


def test_bytes_do_not_overflow() -> None:
    truth = np.full(10, 200, np.uint8)
    counts = confusion(truth, truth, 201)
    assert counts[200, 200] == 10
    assert counts.sum() == 10


def test_photos_confusions_are_drawn_as_photos() -> None:
    chance = np.random.default_rng(4)
    truth, said = chance.integers(0, 3, (2, 6, 20))
    by_photo = np.stack([confusion(t, s, 3) for t, s in zip(truth, said, strict=True)])
    draws = Bootstrap(6)
    found = mean_iu(draws.sums(by_photo))
    assert found.shape == (1001,)
    for row in (0, 1, 77):
        some = np.repeat(np.arange(6), draws.times[row].astype(int))
        assert found[row] == pytest.approx(slow_iu(truth[some], said[some], 3))


def test_mean_iu_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, said = np.random.default_rng(5).integers(0, 7, (2, 500))
    published = metrics.jaccard_score(truth, said, average="macro")
    assert mean_iu(confusion(truth, said, 7)) == pytest.approx(published)
