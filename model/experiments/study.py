"""Newell & Deng's study in small: what is a start without labels worth, in labels, as synthetic pictures become harder in one way or
another?

https://arxiv.org/abs/2003.14323, sections 4 and 5. For each combination of the four switches a backbone is trained by one method on
pictures of it, then fine-tuned to their classes by few labels and many, beside one from scratch. Other than there: minutes on a core
instead of hours on GPUs, one training a combination, and up to 4,000 labels, not 100,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from model.errors import InputError
from model.evaluate import efficiency, finetuning, probes
from model.evaluate.probes import untrained
from model.evaluate.report import table
from model.experiments.lecture import Train
from model.experiments.results import Results
from model.experiments.synthetic import STUDIED, Options, Switches, write
from model.methods import colorize, simclr
from model.nets.backbone import Backbone
from model.training import augment, building, cache, data
from model.training import config as configs
from model.training.cache import Shape
from model.training.config import Config


@dataclass(frozen=True)
class Plan:
    """Of one combination: with AlexNet and SimCLR some six minutes of one core."""

    pictures: int = 5000  # of which a sixth is to test on
    side: int = 64
    steps: int = 150  # of learning without labels
    batch: int = 192
    labels: tuple[int, ...] = (50, 250, 1000, 4000)
    seeds: int = 2
    fine_tuning: int = 200  # steps


PLANS = {"hour": Plan(), "seconds": Plan(300, 48, 2, 8, (10, 20), 2, 2)}
"""`seconds` is to see that it runs: its numbers mean nothing."""


def measure(
    plan: Plan, switches: Sequence[str], method: str, net: str, results: Results, train: Train
) -> list[dict[str, Any]]:
    """A row for each combination, by default the paper's twelve: drawn, trained on, evaluated, or what is there already."""
    results.begin({"plan": asdict(plan), "method": method, "net": net})
    combinations = [str(Switches.of(bits)) for bits in switches] or [str(one) for one in STUDIED]
    for bits in combinations:
        _evaluate(results, plan, bits, method, net, train)
    return [_row(results, bits, method) for bits in combinations]


def publish(
    results: Results,
    plan: Plan,
    method: str,
    net: str,
    rows: Sequence[Mapping[str, Any]],
    made: Mapping[str, str],
) -> str:
    """study.json and study.md in the folder; the latter's text."""
    found = {"made": made, "method": method, "net": net, "plan": asdict(plan), "rows": rows}
    results.write(results.folder / "study.json", found)
    report = _report(found)
    (results.folder / "study.md").write_text(report)
    return report


def recipe(plan: Plan, method: str, net: str) -> Config:
    """The small one, for smaller pictures."""
    small = configs.small(method, net)
    if isinstance(small.options, augment.Strengths):
        options: Any = replace(small.options, side=plan.side)
    elif isinstance(small.options, colorize.ColorizeOptions):
        assert small.options.crops is not None
        options = replace(small.options, crops=replace(small.options.crops, side=plan.side))
    elif isinstance(small.options, simclr.SimCLROptions):
        strengths = replace(small.options.strengths, side=plan.side * 3 // 4)
        options = replace(small.options, strengths=strengths)
    else:
        raise InputError("patches do not fit into pictures so small: simclr, colorize or supervised")
    warmup = min(small.warmup, plan.steps // 5)
    return replace(
        small,
        options=options,
        shape=Shape(plan.side),
        steps=plan.steps,
        batch=plan.batch,
        warmup=max(1, warmup),
    )


def _evaluate(results: Results, plan: Plan, bits: str, method: str, net: str, train: Train) -> None:
    pictures, run = results.folder / "pictures" / bits, results.folder / "runs" / f"{bits}-{method}"
    options = Options(Switches.of(bits), plan.side)
    results.once(f"{bits}-drawn", lambda: write(pictures, options, plan.pictures))
    known, tested = (
        cache.build(data.find([pictures / "class" / split]), plan.side, results.folder / "cache", workers=1)
        for split in ("train", "val")
    )
    seen = probes.split(known, tested)
    wanted = recipe(plan, method, net)
    if not (run / "checkpoint.pt").exists() or building.load(run).step < wanted.steps:
        train(wanted, [known], run, torch.device("cpu"))
    backbone = building.load(run).backbone
    tuning = finetuning.Options(steps=plan.fine_tuning, side=plan.side)

    def curve(name: str, make: Callable[[int], Backbone]) -> None:
        of_seeds = partial(efficiency.curve, make, seen, plan.labels, range(plan.seeds), tuning)
        results.once(name, lambda: of_seeds(results.unfinished(name), partial(results.keep, name)))

    curve(f"{bits}-scratch", lambda seed: untrained(net, seed, backbone.channels))
    curve(f"{bits}-{method}", lambda seed: backbone)


def _row(results: Results, bits: str, method: str) -> dict[str, Any]:
    scratch, pretrained = results.get(f"{bits}-scratch"), results.get(f"{bits}-{method}")
    utility, verdict = efficiency.worth(pretrained, scratch)
    return {
        "switches": bits,
        "scratch": scratch,
        "pretrained": pretrained,
        "utility": utility,
        "verdict": verdict,
    }


def _report(found: Mapping[str, Any]) -> str:
    """Markdown: accuracy from scratch → after learning without labels, what that is worth in labels, and the paper's outcome."""
    plan, labels = found["plan"], found["plan"]["labels"]
    heads = ["texture, color, viewpoint, lighting", *(f"{count} labels" for count in labels), "outcome"]
    rows = []
    for row in found["rows"]:
        before, after = (np.mean(row[start]["accuracy"], 0) for start in ("scratch", "pretrained"))
        cells = [
            f"{was:.1%} → {now:.1%}, U {worth['text']}"
            for was, now, worth in zip(before, after, row["utility"], strict=True)
        ]
        verdict = row["verdict"]
        rows.append([row["switches"], *cells, f"{verdict['outcome']}: {verdict['why']}"])
    made = found["made"]
    return (
        f"{found['net']}, {found['method']}: {plan['steps']} steps of {plan['batch']} pictures of {plan['side']} pixels, then "
        f"{plan['fine_tuning']} steps of fine-tuning, from scratch → after learning without labels, means of {plan['seeds']} seeds, "
        f"{plan['pictures'] // 6} pictures judged. `{made['command']}`, {made['machine']}, torch {made['torch']}, "
        f"{made['date']}, {made['commit']}.\n\n{table(heads, rows)}"
    )
