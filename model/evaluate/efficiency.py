"""Label efficiency: what is pretraining worth, in labels?

Newell & Deng, "How Useful is Self-Supervised Pretraining for Visual Tasks?", CVPR 2020 (https://arxiv.org/abs/2003.14323). A curve is
accuracy by the number of labels, with as many steps of fine-tuning for few as for many. Labels are drawn evenly over classes, whatever the
classes' shares, and what is drawn for fewer is part of what is drawn for more. Newell & Deng fine-tune for 4,000 steps and more, until
nothing improves; fewer flatter any start: AlexNet from scratch is right of 35% after 50 steps with 900 labels, of 49% after 200. A curve
says what a start is worth to those who have as little time as it had; for theirs set `steps` higher. Of five counts and three seeds it
takes AlexNet six minutes of one core, with 200 steps of 32 photos of 96 pixels.

Fine-tuned on n labels, a pretrained net is as good as one from scratch on n̂: its utility is
U(n) = n̂/n − 1. 0 is useless, 1 spares half of the labels, less than 0 harms. n̂ is read off the mean of the scratch curve's seeds, from the
left, between two counts on a straight line: in n, as the paper's code (princeton-vl/selfstudy, util/vis.py) has it, or in log n. U is the
mean over the pretrained seeds.

Other than that code, which on its valid range is matched:
- Better than scratch ever gets: of n̂ only is known that it is not less than the largest count, so U ≥ largest/n − 1; the code says −1 − 1/n
  of one such seed, and where the mean is such cuts the curve and forgets the − 1. As good as scratch at its best: n̂ is where that was.
- Worse than scratch at its smallest count: −1 ≤ U ≤ smallest/n − 1; the code says −1.
- Where both curves are on one plateau, n̂ is any count on it: a point up or down makes it the first or the last, or infinite. There the
  code reads a number off noise, about plateau/n − 1; here U is *saturated*, and no number.
- A scratch curve that goes down and up can be made monotone first (isotonic regression).
- Intervals: the seeds of both curves are drawn anew, each for itself, and U worked out again. Of three seeds there are ten draws: such an
  interval is too narrow, and of one there is none.

Which of the paper's three outcomes is it? (`verdict`.) All of the rule:
- The net is *above* scratch at a count where its mean is higher by more than a margin (a point), and the interval of the difference,
  where there is one, lies above 0.
- Scratch's *plateau* begins at the first count from which on all its means lie within the margin of its last, if the counts double at
  least once from there: a last step alone is no plateau.
- A count is *saturated* from which on both curves are on a plateau, pretrained's by the same rule, if these are of one height, the means
  at the last counts within the margin. A net that is level above scratch is not: (a) is such a one. No net is above at a saturated count.
- (a) above at every count that both have, the last of them on the plateau; (b) above up to the plateau, at the end no more; (c) no more
  above at a count before the plateau, nor at any later one, also if the counts end before a plateau comes; "saturated" where every count
  that both have is; "none" else never above; "open" the rest: above at the end without a plateau, or with gaps before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from model.errors import InputError
from model.evaluate.finetuning import Options, classify
from model.evaluate.intervals import RESAMPLES, SEED
from model.evaluate.probes import Split, subset
from model.nets.backbone import Backbone

Floats = NDArray[np.float64]
_SAME = 1e-9  # accuracies that differ by less differ by rounding


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy, (S, N) of 0…1: a row each seed, by the number of labels, ascending. Raises InputError for what is no such thing."""

    labels: tuple[int, ...]
    accuracy: Floats

    def __post_init__(self) -> None:
        shape = self.accuracy.shape
        if len(shape) != 2 or not shape[0] or shape[1] != len(self.labels) or not self.labels:
            raise InputError(f"{len(self.labels)} label counts and {shape} accuracies are no curve")
        if self.labels[0] < 1 or list(self.labels) != sorted(set(self.labels)):
            raise InputError(f"label counts ascend from 1 at least, not {self.labels}")
        if not ((self.accuracy >= 0) & (self.accuracy <= 1)).all():  # NaN among them
            raise InputError("an accuracy is a share, from 0 to 1")

    @classmethod
    def of(cls, runs: Mapping[int, Sequence[float]]) -> Curve:
        """From the accuracies of all seeds, in one order, by the number of labels."""
        labels = tuple(sorted(runs))
        if len({len(seeds) for seeds in runs.values()}) > 1:
            raise InputError("every label count wants the same seeds")
        return cls(labels, np.array([runs[count] for count in labels], np.float64).T)


@dataclass(frozen=True)
class Reading:
    """How n̂ is read off the scratch curve."""

    interpolation: Literal["linear", "log"] = "linear"
    isotonic: bool = False


@dataclass(frozen=True)
class Utility:
    """U(n): a number where both bounds are one; else what is known of it. `low` and `high`, of 95%, are None for a lone seed.

    Where both curves are saturated it is not defined: bounds are NaN, `low` and `high` None.
    """

    labels: int
    at_least: float  # −1 at the lowest
    at_most: float  # infinite where scratch never catches up with some seed
    low: float | None
    high: float | None
    saturated: bool = False

    @property
    def measured(self) -> bool:
        return self.at_least == self.at_most

    def __str__(self) -> str:
        if self.saturated:
            return "saturated"
        bound = f"≥ {self.at_least:.2f}" if np.isinf(self.at_most) else f"≤ {self.at_most:.2f}"
        said = f"{self.at_least:.2f}" if self.measured else bound
        if self.low is None or self.high is None:
            return said
        return f"{said} ({self.low:.2f}…{'∞' if np.isinf(self.high) else f'{self.high:.2f}'})"


@dataclass(frozen=True)
class Verdict:
    """Which of the three outcomes, by the rule at the head of this file; and why."""

    outcome: Literal["a", "b", "c", "saturated", "none", "open"]
    gain_until: int | None  # the last count at which the net is above
    plateau_from: int | None  # scratch's
    saturated_from: int | None  # the first count, of those that both have, at which both are on one plateau
    why: str


def curve(
    make_backbone: Callable[[int], Backbone],
    seen: Split,
    counts: Sequence[int],
    seeds: Sequence[int],
    options: Options,
    done: Mapping[str, float] | None = None,
    keep: Callable[[Mapping[str, float]], None] = lambda done: None,
) -> dict[str, Any]:
    """Accuracy of fine-tuning by how many labels are given, a row each seed: it draws the labels, and orders them, and goes to
    `make_backbone`, which of a pretrained net gives always the same.

    What `done` has by "count seed" is not computed again; `keep` gets all that is, at once. Seed by seed, so that whoever stops has whole
    curves. InputError where counts are more than there are photos.
    """
    if max(counts) > len(seen.train.labels):
        raise InputError(f"{max(counts)} labels of {len(seen.train.labels)} photos")
    known = dict(done or {})
    for seed, count in itertools.product(seeds, sorted(counts)):
        if f"{count} {seed}" not in known:
            few = subset(seen.train, count, seed)
            right = classify(make_backbone(seed), few, seen.test, options, seed).right
            known[f"{count} {seed}"] = float(right.mean())
            keep(known)
    found = Curve.of({count: [known[f"{count} {seed}"] for seed in seeds] for count in counts})
    return {"labels": list(found.labels), "accuracy": found.accuracy.tolist()}


def worth(
    pretrained: Mapping[str, Any], scratch: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Newell & Deng's utility at each count, and the verdict, of two results of `curve`.

    Where both curves are saturated a utility is "saturated", and its numbers are None.
    """
    trained, untrained = (
        Curve(tuple(of["labels"]), np.array(of["accuracy"])) for of in (pretrained, scratch)
    )
    found = [
        {
            "labels": one.labels,
            "text": str(one),
            "saturated": one.saturated,
            "at_least": _finite(one.at_least),
            "at_most": _finite(one.at_most),
            "low": one.low,
            "high": None if one.high is None else _finite(one.high),
        }
        for one in utility(trained, untrained)
    ]
    outcome = verdict(trained, untrained)
    return found, {"outcome": outcome.outcome, "why": outcome.why}


def utility(
    pretrained: Curve, scratch: Curve, reading: Reading = Reading(), margin: float = 0.01
) -> list[Utility]:
    """U at each of the pretrained curve's counts. `margin`, in accuracy, is a plateau's."""
    of_pretrained, of_scratch = _draws(pretrained, scratch)
    means_BK = of_scratch @ scratch.accuracy
    if reading.isotonic:
        means_BK = np.array([isotonic_regression(means).x for means in means_BK])
    fewest_BSN, most_BSN = _needed(scratch.labels, means_BK, pretrained.accuracy, reading.interpolation)
    counts_N = np.array(pretrained.labels, np.float64)
    at_least_BN = _means(of_pretrained, fewest_BSN / counts_N - 1)
    at_most_BN = _means(of_pretrained, most_BSN / counts_N - 1)
    saturated = _saturated_from(pretrained, scratch, margin)
    found = []
    for place, count in enumerate(pretrained.labels):
        if saturated is not None and count >= saturated:
            found.append(Utility(count, np.nan, np.nan, None, None, saturated=True))
            continue
        least, most = at_least_BN[:, place], at_most_BN[:, place]
        low, high = _ends(pretrained, scratch, least, most)
        found.append(Utility(count, float(least[0]), float(most[0]), low, high))
    return found


def verdict(pretrained: Curve, scratch: Curve, margin: float = 0.01) -> Verdict:
    """The outcome, at the counts that both curves have. InputError if there is none."""
    shared = [count for count in pretrained.labels if count in scratch.labels]
    if not shared:
        raise InputError(f"the curves share no label count: {pretrained.labels} and {scratch.labels}")
    of_pretrained, of_scratch = _draws(pretrained, scratch)
    means_BN, scratch_BK = of_pretrained @ pretrained.accuracy, of_scratch @ scratch.accuracy
    level_from = _saturated_from(pretrained, scratch, margin)
    saturated = [count for count in shared if level_from is not None and count >= level_from]
    above = []
    for count in shared[: len(shared) - len(saturated)]:
        gain = means_BN[:, pretrained.labels.index(count)] - scratch_BK[:, scratch.labels.index(count)]
        low, _ = _ends(pretrained, scratch, gain, gain)
        if gain[0] > margin + _SAME and (low is None or low > 0):
            above.append(count)
    plateau = _plateau(scratch.labels, scratch_BK[0], margin)
    since = saturated[0] if saturated else None
    said = f"; both are saturated from {since} labels on, where a utility is not defined" if saturated else ""
    if saturated == shared:
        return Verdict(
            "saturated", None, plateau, since, f"both are level, and alike, from {since} labels on"
        )
    if not above:
        return Verdict("none", None, plateau, since, f"nowhere more than {margin:.1%} above scratch{said}")
    until, end = above[-1], shared[-1]
    level = "scratch has not leveled off" if plateau is None else f"scratch is level from {plateau} labels on"
    if until == end:
        if plateau is None or plateau > end:
            why = f"above scratch at {end} labels, where {level}"
            return Verdict("open", until, plateau, since, why)
        if above != shared:
            why = f"above scratch at {end} labels, but not at all fewer"
            return Verdict("open", until, plateau, since, why)
        return Verdict("a", until, plateau, since, f"above scratch at every count, and {level}")
    gone = shared[shared.index(until) + 1]
    why = f"above scratch up to {until} labels, at {gone} no more; {level}{said}"
    return Verdict("b" if plateau is not None and plateau <= gone else "c", until, plateau, since, why)


def _draws(*curves: Curve) -> list[Floats]:
    """(1 + RESAMPLES, seeds) shares of each curve's seeds: first as they are, then drawn anew."""
    chance = np.random.default_rng(SEED)
    shares = []
    for seeds in (len(curve.accuracy) for curve in curves):
        drawn = chance.multinomial(seeds, [1 / seeds] * seeds, RESAMPLES)
        shares.append(np.vstack([np.ones(seeds), drawn]) / seeds)
    return shares


def _needed(
    labels: Sequence[int], means_BK: Floats, wanted_SN: Floats, interpolation: str
) -> tuple[Floats, Floats]:
    """(B, S, N) the fewest and the most labels from which scratch may be as good as wanted: the same where that can be read."""
    counts_K = np.array(labels, np.float64)
    scale_K = np.log(counts_K) if interpolation == "log" else counts_K
    means = means_BK[:, None, None, :]
    reached = means >= wanted_SN[..., None] - _SAME
    right = reached.argmax(-1)
    left = np.maximum(right - 1, 0)
    means = np.broadcast_to(means, reached.shape)
    y0, y1 = (np.take_along_axis(means, place[..., None], -1)[..., 0] for place in (left, right))
    share = np.divide(wanted_SN - y0, y1 - y0, out=np.ones_like(y0), where=right > 0).clip(0, 1)
    read = scale_K[left] + (scale_K[right] - scale_K[left]) * share
    # Where n is known, not exp(log n): 1000 stays 1000.
    read = np.where(share == 1, counts_K[right], np.exp(read) if interpolation == "log" else read)
    never, worse = ~reached.any(-1), means[..., 0] > wanted_SN + _SAME
    fewest = np.select([never, worse], [counts_K[-1], np.float64(0)], read)
    most = np.select([never, worse], [np.float64(np.inf), counts_K[0]], read)
    return fewest, most


def _means(shares_BS: Floats, values_BSN: Floats) -> Floats:
    """(B, N) means over the seeds drawn. Seeds that were not drawn do not count, however infinite."""
    shares = shares_BS[..., None]
    means: Floats = (shares * np.where(shares > 0, values_BSN, 0)).sum(1)
    return means


def _ends(first: Curve, second: Curve, least_B: Floats, most_B: Floats) -> tuple[float | None, float | None]:
    if min(len(first.accuracy), len(second.accuracy)) < 2:
        return None, None
    # Outward to the next draw: no straight line leads from a number to infinity.
    high = np.percentile(most_B[1:], 97.5, method="higher")
    return float(np.percentile(least_B[1:], 2.5)), float(high)


def _saturated_from(pretrained: Curve, scratch: Curve, margin: float) -> int | None:
    """The count from which on both curves' means are on one plateau; None where they come to none, or to two."""
    means = [curve.accuracy.mean(0) for curve in (pretrained, scratch)]
    if abs(means[0][-1] - means[1][-1]) > margin + _SAME:
        return None
    first = _plateau(pretrained.labels, means[0], margin)
    second = _plateau(scratch.labels, means[1], margin)
    return None if first is None or second is None else max(first, second)


def _plateau(labels: Sequence[int], means_K: Floats, margin: float) -> int | None:
    far = np.flatnonzero(np.abs(means_K - means_K[-1]) > margin + _SAME)
    first = labels[far[-1] + 1 if len(far) else 0]
    return first if labels[-1] >= 2 * first else None


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None
