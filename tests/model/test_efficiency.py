"""Utility against sums by hand, a slow reader of curves, and the paper's own arithmetic; the verdict case by case."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from model.evaluate import efficiency
from model.evaluate.efficiency import Curve, Reading, Utility, utility, verdict, worth
from model.evaluate.finetuning import Options, classify
from model.evaluate.probes import Labeled, Split, subset
from model.nets.backbone import Backbone

LINEAR, LOG = Reading(), Reading("log")
# Newell & Deng's counts, and a curve of their kind
COUNTS = (100, 250, 1000, 4000, 20000, 50000, 100000, 200000)
SCRATCH = (0.30, 0.38, 0.52, 0.66, 0.81, 0.87, 0.90, 0.91)


def curve(labels: tuple[int, ...], *seeds: tuple[float, ...]) -> Curve:
    return Curve(labels, np.array(seeds, np.float64))


def one(pretrained: float, at: int, scratch: Curve, reading: Reading = LINEAR) -> Utility:
    (found,) = utility(curve((at,), (pretrained,)), scratch, reading)
    return found


# By hand


def test_half_of_the_labels_spared_is_a_utility_of_one() -> None:
    scratch = curve((100, 200, 400), (0.2, 0.4, 0.6))
    assert one(0.4, 100, scratch).at_least == 1  # at a count
    assert one(0.5, 100, scratch).at_least == pytest.approx(2)  # n̂ = 300, midway
    assert one(0.5, 300, scratch).at_least == pytest.approx(0)
    assert one(0.3, 300, scratch).at_least == pytest.approx(-0.5)  # n̂ = 150: it harms
    assert all(one(a, 100, scratch).measured for a in (0.2, 0.3, 0.4, 0.5, 0.6))


def test_midway_in_log_n_is_the_geometric_mean() -> None:
    scratch = curve((100, 400), (0.2, 0.6))
    assert one(0.4, 100, scratch).at_least == pytest.approx(1.5)  # 250
    assert one(0.4, 100, scratch, LOG).at_least == pytest.approx(1)  # 200
    assert one(0.6, 100, scratch, LOG).at_least == 3
    assert one(0.2, 100, scratch, LOG).at_least == 0


def test_what_scratch_never_reaches_has_a_lower_bound_only() -> None:
    scratch = curve((100, 10000), (0.2, 0.8))
    better = one(0.81, 1000, scratch)
    assert (better.at_least, better.at_most) == (9, math.inf)
    assert not better.measured
    assert str(better) == "≥ 9.00"
    assert one(0.81, 10000, scratch).at_least == 0
    assert one(0.8, 1000, scratch).measured  # as good as scratch at its best is measured


def test_what_is_worse_than_scratch_at_its_smallest_has_an_upper_bound_only() -> None:
    scratch = curve((100, 10000), (0.2, 0.8))
    worse = one(0.19, 400, scratch)
    assert (worse.at_least, worse.at_most) == (-1, -0.75)
    assert str(worse) == "≤ -0.75"
    assert one(0.2, 400, scratch).measured  # just as good
    assert one(0.2, 400, scratch).at_least == -0.75


def test_one_seed_above_all_of_scratch_makes_the_mean_a_bound() -> None:
    """The notes' case: seeds of 75 and 82% at 1000 labels, scratch at most 80%. The paper's code says 2.87; 6.75 and −1.001."""
    scratch = curve((1000, 5500, 10000), (0.5, 0.7, 0.8))
    (found,) = utility(curve((1000,), (0.75,), (0.82,)), scratch)
    assert found.at_least == pytest.approx((6.75 + 9) / 2)
    assert found.at_most == math.inf


def test_seeds_beyond_both_ends_leave_a_bound_that_holds() -> None:
    scratch = curve((100, 200), (0.4, 0.6))
    (found,) = utility(curve((100,), (0.3,), (0.7,)), scratch)
    assert (found.at_least, found.at_most) == (0, math.inf)  # of −1 and 1
    (found,) = utility(curve((100,), (0.3,), (0.5,)), scratch)
    assert (found.at_least, found.at_most) == (pytest.approx(-0.25), pytest.approx(0.25))


def test_a_mean_of_seeds_is_as_good_as_itself_in_spite_of_rounding() -> None:
    """0.1, 0.2 and 0.6 have a mean of 0.3, but not to the last bit."""
    scratch = curve((100, 200), (0.1, 0.8), (0.2, 0.7), (0.6, 0.9))
    for labels, value in ((100, 0.9 / 3), (200, 2.4 / 3)):
        for nudged in (value, np.nextafter(value, 0), np.nextafter(value, 1)):
            found = one(float(nudged), 50, scratch)
            assert found.measured
            assert found.at_least == pytest.approx(labels / 50 - 1)
    level = curve((100, 200, 400), (0.5, 0.5 + 2e-10, 0.9))
    assert one(0.5 + 1.1e-9, 100, level).at_least <= 1


def test_n_hat_is_read_where_a_curve_that_goes_up_and_down_first_gets_there() -> None:
    scratch = curve((100, 200, 300, 400), (0.2, 0.6, 0.4, 0.8))
    assert one(0.5, 100, scratch).at_least == pytest.approx(0.75)  # 175
    assert one(0.7, 100, scratch).at_least == pytest.approx(2.75)  # 375, on the last line
    level = curve((100, 200, 300), (0.2, 0.6, 0.6))
    assert one(0.6, 100, level).at_least == 1  # where the level begins


def test_isotonic_levels_what_goes_down() -> None:
    scratch = curve((100, 200, 300, 400), (0.2, 0.6, 0.4, 0.8))  # 0.2, 0.5, 0.5, 0.8
    leveled = Reading(isotonic=True)
    assert one(0.5, 100, scratch, leveled).at_least == pytest.approx(1)
    assert one(0.35, 100, scratch, leveled).at_least == pytest.approx(0.5)
    assert one(0.65, 100, scratch, leveled).at_least == pytest.approx(2.5)
    falling = curve((100, 200), (0.8, 0.6))  # 0.7, 0.7
    assert one(0.75, 100, falling).at_most == 0  # worse than at the smallest
    assert one(0.75, 100, falling, leveled).at_least == 1  # better than either


def test_a_scratch_curve_of_one_count_still_bounds() -> None:
    scratch = curve((100,), (0.5,))
    assert [str(one(a, 50, scratch)) for a in (0.4, 0.5, 0.6)] == ["≤ 1.00", "1.00", "≥ 1.00"]


# Against slower versions


def walk(labels: tuple[int, ...], means: list[float], wanted: float, log: bool) -> float | None:
    """n̂ by walking along the curve in small steps; None where it does not begin below and come to what is wanted."""
    if means[0] > wanted:
        return None
    for (n0, a0), (n1, a1) in zip(
        zip(labels, means, strict=True), list(zip(labels, means, strict=True))[1:], strict=False
    ):
        for step in range(1001):
            share = step / 1000
            if a0 + (a1 - a0) * share >= wanted:
                return n0 * (n1 / n0) ** share if log else n0 + (n1 - n0) * share
    return None


@pytest.mark.parametrize("log", [False, True])
def test_random_curves_beside_one_who_walks_along_them(log: bool) -> None:
    chance = np.random.default_rng(0)
    compared = 0
    for _ in range(40):
        scratch = np.linspace(0.3, 0.7, 5) + chance.uniform(-0.2, 0.2, (3, 5))
        pretrained = chance.uniform(0.2, 0.8, (2, 5))
        labels = (10, 40, 90, 500, 700)
        read = utility(Curve(labels, pretrained), Curve(labels, scratch), LOG if log else LINEAR)
        means = [float(seeds.mean()) for seeds in scratch.T]
        for place, found in enumerate(read):
            walked = [walk(labels, means, float(seed[place]), log) for seed in pretrained]
            assert found.measured == all(n is not None for n in walked)
            if found.measured:
                slow = np.mean([n / labels[place] - 1 for n in walked if n is not None])
                assert found.at_least == pytest.approx(slow, abs=1.0 / labels[place])
                compared += 1
    assert compared > 30


def test_the_papers_arithmetic_where_it_holds() -> None:
    """As its code has it: the first count whose mean is greater, and a straight line from the one before, for each seed."""
    chance = np.random.default_rng(1)
    scratch = np.sort(np.array(SCRATCH) + chance.uniform(-0.01, 0.01, (4, 8)), 1)
    pretrained = np.clip(np.array(SCRATCH)[:6] + chance.uniform(0.005, 0.04, (3, 6)), 0, 0.9)
    base = scratch.mean(0)
    published = []
    for n, seeds in zip(COUNTS[:6], pretrained.T, strict=True):
        ratios = []
        for y in seeds:
            k = next(k for k in range(8) if base[k] > y)
            assert k
            x = COUNTS[k - 1] + (COUNTS[k] - COUNTS[k - 1]) * (y - base[k - 1]) / (base[k] - base[k - 1])
            ratios.append(x / n - 1)
        published.append(float(np.mean(ratios)))
    found = utility(Curve(COUNTS[:6], pretrained), Curve(COUNTS, scratch))
    assert [u.at_least for u in found] == pytest.approx(published, rel=1e-9)
    assert all(u.measured for u in found)


# Intervals


def test_intervals_hold_the_seeds_of_both_curves() -> None:
    """n̂ is 100·(1 + pretrained − scratch's shift)…: both spread it, and apart from one another."""
    spread = np.linspace(-0.05, 0.05, 5)
    still, moved = np.zeros(5), spread
    widths = {}
    for name, (of_pretrained, of_scratch) in {
        "neither": (still, still),
        "pretrained": (moved, still),
        "scratch": (still, moved),
        "both": (moved, moved),
    }.items():
        scratch = Curve((100, 300), np.array([[0.2, 0.8]]) + of_scratch[:, None])
        (found,) = utility(Curve((100,), 0.5 + of_pretrained[:, None]), scratch)
        assert found.low is not None
        assert found.high is not None
        assert found.low - 1e-9 <= found.at_least <= found.high + 1e-9
        widths[name] = found.high - found.low
    assert widths["neither"] == pytest.approx(0)
    # The standard error of a mean of five, times 2 · 1.96, times 1/0.3 of U a point
    expected = spread.std() / math.sqrt(5) * 2 * 1.96 / 0.3
    assert widths["pretrained"] == pytest.approx(expected, rel=0.15)
    assert widths["scratch"] == pytest.approx(expected, rel=0.15)
    assert widths["both"] == pytest.approx(expected * math.sqrt(2), rel=0.15)


def test_an_interval_that_leaves_the_curve_has_no_end() -> None:
    scratch = curve((100, 1000), (0.2, 0.75), (0.2, 0.85))
    (found,) = utility(curve((100,), (0.78,), (0.79,)), scratch)
    assert found.measured
    assert found.high == math.inf
    assert found.low is not None
    assert found.low < 9
    assert str(found).endswith("…∞)")
    (found,) = utility(curve((100,), (0.9,), (0.95,)), scratch)
    assert (found.at_least, found.low, found.high) == (9, 9, math.inf)


def test_a_lone_seed_has_no_interval() -> None:
    pair, lone = curve((10, 20), (0.2, 0.5), (0.3, 0.6)), curve((10, 20), (0.3, 0.5))
    for pretrained, scratch in ((lone, pair), (pair, lone)):
        assert all(u.low is None and u.high is None for u in utility(pretrained, scratch))
    assert all(u.low is not None for u in utility(pair, pair))


# The verdict


@pytest.mark.parametrize(
    ("outcome", "gains", "scratch", "until", "plateau"),
    [
        ("a", (0.2, 0.2, 0.1, 0.05, 0.05), (0.3, 0.5, 0.7, 0.8, 0.805), 800, 400),
        ("b", (0.2, 0.2, 0.1, 0.0, 0.0), (0.3, 0.5, 0.7, 0.8, 0.805), 200, 400),
        ("b", (0.2, 0.2, 0.1, 0.05, 0.0), (0.3, 0.5, 0.7, 0.8, 0.805), 400, 400),
        ("c", (0.2, 0.1, 0.0, 0.0, 0.0), (0.3, 0.5, 0.7, 0.8, 0.805), 100, 400),
        ("c", (0.2, 0.2, 0.1, 0.05, 0.0), (0.3, 0.5, 0.7, 0.8, 0.9), 400, None),  # no plateau, no gain either
        ("c", (0.2, 0.0, -0.1, -0.1, -0.1), (0.3, 0.5, 0.7, 0.8, 0.9), 50, None),
        ("none", (0.0, 0.01, 0.0, -0.05, 0.0), (0.3, 0.5, 0.7, 0.8, 0.805), None, 400),
        ("open", (0.2, 0.2, 0.1, 0.05, 0.05), (0.3, 0.5, 0.7, 0.8, 0.9), 800, None),
        ("open", (0.2, 0.0, 0.1, 0.05, 0.05), (0.3, 0.5, 0.7, 0.8, 0.805), 800, 400),
        ("c", (0.2, 0.0, 0.1, 0.0, 0.0), (0.3, 0.5, 0.7, 0.8, 0.9), 200, None),  # gaps do not end a gain
    ],
)
def test_the_outcomes(
    outcome: str, gains: tuple[float, ...], scratch: tuple[float, ...], until: int | None, plateau: int | None
) -> None:
    labels = (50, 100, 200, 400, 800)
    base = np.array([scratch])
    found = verdict(Curve(labels, np.minimum(base + np.array([gains]), 1)), Curve(labels, base))
    assert (found.outcome, found.gain_until, found.plateau_from) == (outcome, until, plateau)


def test_a_gain_within_its_interval_is_none() -> None:
    labels = (100, 200, 400)
    scratch = curve(labels, (0.2, 0.5, 0.5), (0.4, 0.5, 0.5), (0.3, 0.5, 0.5))
    noisy = curve(labels, (0.3, 0.6, 0.5), (0.45, 0.6, 0.5), (0.2, 0.6, 0.5))
    assert verdict(noisy, scratch).gain_until == 200
    assert (
        verdict(curve(labels, (0.316, 0.5, 0.5)), scratch).gain_until == 100
    )  # a lone seed is taken at its word
    noise = curve(labels, (0.3, 0.5, 0.5), (0.45, 0.5, 0.5), (0.2, 0.5, 0.5))
    assert verdict(noise, scratch).outcome == "none"


def test_a_last_step_alone_is_no_plateau() -> None:
    scratch = (0.3, 0.6, 0.8)
    for labels, plateau in (((100, 200, 399), None), ((100, 200, 400), 200)):
        level = curve(labels, (*scratch[:2], 0.605))
        assert verdict(level, level).plateau_from == plateau
        assert verdict(curve(labels, scratch), curve(labels, scratch)).plateau_from is None


def test_a_margin_is_the_margin() -> None:
    labels = (100, 200)
    scratch = curve(labels, (0.5, 0.5))
    found = [
        verdict(curve(labels, (0.5 + gain,) * 2), scratch, 0.02).outcome for gain in (0.019, 0.02, 0.021)
    ]
    assert found == ["saturated", "saturated", "a"], "level from the first count on: alike, or not"


def test_where_both_curves_are_on_one_plateau_utility_is_saturated_and_no_number() -> None:
    """The study's toys of one color: all right from 250 labels on, where U used to be read as 0, −0.75 and −0.94."""
    labels = (50, 250, 1000, 4000)
    scratch = curve(labels, (0.986, 1.0, 1.0, 1.0), (0.986, 0.999, 1.0, 1.0))
    pretrained = curve(labels, (0.99, 1.0, 0.999, 0.999), (0.99, 1.0, 1.0, 0.998))
    found = utility(pretrained, scratch)
    assert [one.saturated for one in found] == [False, True, True, True]
    assert [str(one) for one in found][1:] == ["saturated"] * 3
    assert found[0].measured
    for one in found[1:]:
        assert not one.measured
        assert math.isnan(one.at_least)
        assert math.isnan(one.at_most)
        assert one.low is one.high is None
    said = verdict(pretrained, scratch)
    assert (said.outcome, said.saturated_from) == ("none", 250)
    assert said.why.endswith("both are saturated from 250 labels on, where a utility is not defined")


def test_a_plateau_of_one_curve_alone_saturates_nothing() -> None:
    labels = (50, 100, 200, 400, 800)
    rising, early, late = (0.3, 0.5, 0.7, 0.8, 0.9), (0.6, 0.9, 0.9, 0.9, 0.9), (0.3, 0.5, 0.9, 0.9, 0.9)
    for pretrained, scratch, since in (
        (early, rising, None),  # scratch still learns
        (rising, late, None),  # pretrained does
        (early, late, 200),  # both are level from the later of the two on
        (late, early, 200),
    ):
        found = utility(curve(labels, pretrained), curve(labels, scratch))
        assert [one.saturated for one in found] == [since is not None and n >= since for n in labels]
        assert verdict(curve(labels, pretrained), curve(labels, scratch)).saturated_from == since
    assert verdict(curve(labels, early), curve(labels, late)).outcome == "b"
    assert "saturated from 200 labels on" in verdict(curve(labels, early), curve(labels, late)).why


def test_plateaus_of_two_heights_are_an_outcome_and_not_saturated() -> None:
    labels = (50, 100, 200, 400, 800)
    scratch = curve(labels, (0.3, 0.5, 0.8, 0.8, 0.8))
    better = curve(labels, (0.6, 0.9, 0.9, 0.9, 0.9))
    assert not any(one.saturated for one in utility(better, scratch))
    assert str(utility(better, scratch)[-2]) == "≥ 1.00"
    assert verdict(better, scratch).outcome == "a"


def test_curves_that_are_level_and_alike_from_the_first_count_on_are_saturated() -> None:
    labels = (100, 200, 400)
    scratch = curve(labels, (0.9, 0.901, 0.9))
    said = verdict(curve(labels, (0.905, 0.9, 0.905)), scratch)
    assert (said.outcome, said.saturated_from, said.gain_until) == ("saturated", 100, None)
    assert said.why == "both are level, and alike, from 100 labels on"


def test_a_saturated_utility_goes_into_json_without_numbers() -> None:
    of = {"labels": [100, 200, 400], "accuracy": [[0.5, 0.9, 0.9], [0.5, 0.9, 0.9]]}
    found, said = worth(of, of)
    assert [one["text"] for one in found] == ["0.00 (0.00…0.00)", "saturated", "saturated"]
    assert [one["saturated"] for one in found] == [False, True, True]
    assert [one["at_least"] for one in found] == [0, None, None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "saturated from 200 labels on" in said["why"]


def test_the_verdict_is_about_counts_that_both_have() -> None:
    scratch = curve((100, 200, 400, 800), (0.3, 0.5, 0.8, 0.8))
    assert verdict(curve((100, 400), (0.5, 0.9)), scratch).outcome == "a"
    assert (
        verdict(curve((100, 150, 200), (0.5, 0.1, 0.6)), scratch).outcome == "open"
    )  # the plateau is farther up
    with pytest.raises(ValueError, match="share no label count"):
        verdict(curve((50,), (0.5,)), scratch)


# What a curve is


def test_curves_that_are_none_are_refused() -> None:
    for labels, rows in (
        ((100, 100), [[0.1, 0.2]]),
        ((200, 100), [[0.1, 0.2]]),
        ((0, 100), [[0.1, 0.2]]),
        ((100, 200), [[0.1]]),
        ((100, 200), [[0.1, 56.0]]),
        ((100, 200), [[0.1, math.nan]]),
        ((), [[]]),
    ):
        with pytest.raises(ValueError, match=r"curve|counts|share"):
            Curve(labels, np.array(rows))
    with pytest.raises(ValueError, match="same seeds"):
        Curve.of({100: [0.1, 0.2], 200: [0.3]})
    found = Curve.of({200: [0.3, 0.4], 100: [0.1, 0.2]})
    assert found.labels == (100, 200)
    assert found.accuracy.tolist() == [[0.1, 0.3], [0.2, 0.4]]


# Fine-tuning by few labels and many

SHORT = Options(steps=4, batch=12, lr=1e-2, side=16)


class StoppedError(Exception):
    pass


def test_a_curve_that_was_interrupted_goes_on_and_ends_as_it_would_have(
    tiny: Callable[..., Backbone], tinted: Callable[..., Labeled]
) -> None:
    seen = Split(tinted(40), tinted(30, 1), ("a", "b", "c"))
    made: list[int] = []

    def make(seed: int) -> Backbone:
        made.append(seed)
        return tiny(seed)

    kept: list[dict[str, float]] = []

    def keep(points: Mapping[str, float]) -> None:
        kept.append(dict(points))
        if len(kept) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        efficiency.curve(make, seen, (20, 5), (0, 1), SHORT, keep=keep)
    assert [list(points) for points in kept] == [["5 0"], ["5 0", "20 0"], ["5 0", "20 0", "5 1"]]
    resumed = efficiency.curve(make, seen, (20, 5), (0, 1), SHORT, kept[-1], keep)
    assert {key: value for key, value in kept[-1].items() if key in kept[2]} == kept[2]
    assert made == [0, 0, 1, 1]
    whole = efficiency.curve(make, seen, (5, 20), (0, 1), SHORT)
    assert resumed == whole
    assert whole["labels"] == [5, 20]
    for seed in (0, 1):
        alone = classify(tiny(seed), subset(seen.train, 5, seed), seen.test, SHORT, seed).right.mean()
        assert whole["accuracy"][seed][0] == alone


def test_a_curve_of_more_labels_than_there_are_is_refused_before_anything_is_done(
    tinted: Callable[..., Labeled],
) -> None:
    with pytest.raises(ValueError, match="50 labels of 40"):
        efficiency.curve(
            lambda seed: pytest.fail("made"), Split(tinted(40), tinted(9), ()), (5, 50), (0,), SHORT
        )
