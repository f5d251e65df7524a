"""What the evaluations read from a backbone, as plain values that go into JSON and tables: of one backbone, and of several side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.errors import InputError
from model.evaluate import neighbors, probes, transfer, utility
from model.evaluate.features import Labeled, pooled
from model.evaluate.probes import Protocol
from model.evaluate.utility import Curve
from model.nets.backbone import Backbone
from model.training.cache import Cache

Values = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Material:
    """Photos to teach by, photos to judge by, and the classes' names."""

    taught: Labeled
    judged: Labeled
    names: tuple[str, ...]

    def some(self, taught: int, judged: int) -> Material:
        """At most so many of each, evenly over the classes."""
        few, fewer = (
            transfer.subset(of, min(count, len(of.labels)), seed=0)
            for of, count in ((self.taught, taught), (self.judged, judged))
        )
        return Material(few, fewer, self.names)


def material(taught: Cache, judged: Cache) -> Material:
    """ValueError where the two do not have the same classes."""
    labels, names = taught.labels()
    truth, others = judged.labels()
    if names != others:
        raise InputError(
            f"photos to learn from and to judge by have other classes: {', '.join(sorted(set(names) ^ set(others)))}"
        )
    return Material(Labeled(taught.squares, labels), Labeled(judged.squares, truth), names)


def of_layers(backbone: Backbone, seen: Material, seeds: Sequence[int], protocol: Protocol) -> Values:
    """Linear probes, from bottom to top: of each layer, and pool if the protocol has them, the accuracy of each seed's."""
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for layer, probe in probes.probe(backbone, seen.taught, seen.judged, protocol, seed).items():
            found.setdefault(layer, []).append(float(probe.right.mean()))
    return found


def of_neighbors(backbone: Backbone, seen: Material) -> Values:
    """kNN of 20 on the last layer's mean, with its 95% interval over photos."""
    voting = neighbors.plain()
    known, asked = pooled(backbone, seen.taught.squares), pooled(backbone, seen.judged.squares)
    accuracy = neighbors.judge(asked, seen.judged.labels, known, seen.taught.labels, voting).accuracy
    return {
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "count": voting.count,
    }


def of_labels(
    make_backbone: Callable[[int], Backbone],
    seen: Material,
    counts: Sequence[int],
    seeds: Sequence[int],
    options: transfer.Options,
    done: Mapping[str, float] | None = None,
    keep: Callable[[Mapping[str, float]], None] = lambda done: None,
) -> Values:
    """Fine-tuning by so many labels. `done`, by "count seed", is not worked out again; `keep` gets all that is, at once."""
    known = dict(done or {})

    def add(count: int, seed: int, accuracy: float) -> None:
        known[f"{count} {seed}"] = accuracy
        keep(known)

    points = {
        (int(count), int(seed)): value
        for (count, seed), value in ((key.split(), value) for key, value in known.items())
    }
    curve = transfer.efficiency(make_backbone, seen.taught, seen.judged, counts, seeds, options, points, add)
    return {"labels": list(curve.labels), "accuracy": curve.accuracy.tolist()}


def worth(pretrained: Values, scratch: Values) -> tuple[list[Values], Values]:
    """Newell & Deng's utility at each count, and the verdict, of two results of `of_labels`.

    Where both curves are saturated a utility is "saturated", and its numbers are None.
    """
    taught, untaught = (Curve(tuple(of["labels"]), np.array(of["accuracy"])) for of in (pretrained, scratch))
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
        for one in utility.utility(taught, untaught)
    ]
    verdict = utility.verdict(taught, untaught)
    return found, {"outcome": verdict.outcome, "why": verdict.why}


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None
