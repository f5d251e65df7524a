"""Newell & Deng's study in small: what is a start without labels worth, in labels, as made pictures become harder in one way or another?

https://arxiv.org/abs/2003.14323, sections 4 and 5. For each combination of the four switches a backbone is taught by one method from
pictures of it, then fine-tuned to their classes by few labels and many, beside one from scratch. Other than there: lessons of minutes on
a core instead of hours on GPUs, one training a combination, and up to 4,000 labels, not 100,000.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from model.commands import backbones
from model.commands.commit import origin
from model.commands.desk import Desk
from model.commands.synthetic import draw
from model.commands.train import learn
from model.errors import InputError
from model.evaluate import readings, transfer
from model.evaluate.readings import Values
from model.evaluate.report import table
from model.methods import colorize, simclr
from model.nets.backbone import Backbone
from model.synthetic import STUDIED, Options, Switches
from model.training import augment, building, cache, data
from model.training import config as configs
from model.training.cache import Shape
from model.training.config import Config


@dataclass(frozen=True)
class Plan:
    """Of one combination: with AlexNet and SimCLR some six minutes of one core."""

    pictures: int = 5000  # of which a sixth is judged
    side: int = 64
    steps: int = 150  # of learning without labels
    batch: int = 192
    labels: tuple[int, ...] = (50, 250, 1000, 4000)
    seeds: int = 2
    lesson: int = 200  # steps of fine-tuning


PLANS = {"hour": Plan(), "seconds": Plan(300, 48, 2, 8, (10, 20), 2, 2)}
"""`seconds` is to see that it runs: it says nothing about anything."""


def study(arguments: argparse.Namespace) -> int:
    """Draw, teach, ask, and write study.json and study.md; go on where it was stopped."""
    torch.set_num_threads(arguments.threads)
    plan, desk = PLANS[arguments.plan], Desk(arguments.out)
    desk.begin({"plan": asdict(plan), "method": arguments.method, "net": arguments.net})
    combinations = [str(Switches.of(bits)) for bits in arguments.switches] or [str(one) for one in STUDIED]
    for bits in combinations:
        _ask(desk, plan, bits, arguments.method, arguments.net)
    rows = [_row(desk, bits, arguments.method) for bits in combinations]
    facts = {
        "made": origin("python -m model study"),
        "method": arguments.method,
        "net": arguments.net,
        "plan": asdict(plan),
        "rows": rows,
    }
    desk.write(desk.folder / "study.json", facts)
    report = _report(facts)
    (desk.folder / "study.md").write_text(report)
    print(report)
    return 0


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


def _ask(desk: Desk, plan: Plan, bits: str, method: str, net: str) -> None:
    pictures, run = desk.folder / "made" / bits, desk.folder / "runs" / f"{bits}-{method}"
    options = Options(Switches.of(bits), plan.side)
    desk.once(f"{bits}-drawn", lambda: draw(pictures, options, plan.pictures))
    taught, judged = (
        cache.build(data.find([pictures / "class" / split]), plan.side, desk.folder / "cache", workers=1)
        for split in ("train", "val")
    )
    seen = readings.material(taught, judged)
    wanted = recipe(plan, method, net)
    if not (run / "checkpoint.pt").exists() or building.load(run).step < wanted.steps:
        learn(wanted, [taught], run, torch.device("cpu"))
    backbone = building.load(run).backbone
    lesson = transfer.Options(steps=plan.lesson, side=plan.side)

    def ask(name: str, maker: Any) -> None:
        curve = partial(readings.of_labels, maker, seen, plan.labels, range(plan.seeds), lesson)
        desk.once(name, lambda: curve(desk.some(name), partial(desk.keep, name)))

    def scratch(seed: int) -> Backbone:
        return backbones.untaught(net, seed)

    ask(f"{bits}-scratch", scratch)
    ask(f"{bits}-{method}", lambda seed: backbone)


def _row(desk: Desk, bits: str, method: str) -> Values:
    scratch, taught = desk.result(f"{bits}-scratch"), desk.result(f"{bits}-{method}")
    utility, verdict = readings.worth(taught, scratch)
    return {"switches": bits, "scratch": scratch, "taught": taught, "utility": utility, "verdict": verdict}


def _report(facts: Values) -> str:
    """Markdown: accuracy from scratch → after learning without labels, what that is worth in labels, and the paper's outcome."""
    plan, labels = facts["plan"], facts["plan"]["labels"]
    heads = ["texture, color, viewpoint, lighting", *(f"{count} labels" for count in labels), "outcome"]
    rows = []
    for row in facts["rows"]:
        before, after = (np.mean(row[who]["accuracy"], 0) for who in ("scratch", "taught"))
        cells = [
            f"{was:.1%} → {now:.1%}, U {worth['text']}"
            for was, now, worth in zip(before, after, row["utility"], strict=True)
        ]
        verdict = row["verdict"]
        rows.append([row["switches"], *cells, f"{verdict['outcome']}: {verdict['why']}"])
    made = facts["made"]
    return (
        f"{facts['net']}, {facts['method']}: {plan['steps']} steps of {plan['batch']} pictures of {plan['side']} pixels, then "
        f"{plan['lesson']} steps of fine-tuning, from scratch → after learning without labels, means of {plan['seeds']} seeds, "
        f"{plan['pictures'] // 6} pictures judged. `{made['command']}`, {made['machine']}, torch {made['torch']}, "
        f"{made['date']}, {made['commit']}.\n\n{table(heads, rows)}"
    )
