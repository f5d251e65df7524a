"""Measures, judge, failures and biases of many nets over many photos, each number with its interval; as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError
from model.evaluate import biases, failures
from model.evaluate.color import Answers, Picture, Tally, aged
from model.evaluate.intervals import Bootstrap, Interval, Samples, interval
from model.evaluate.judge import Judge
from model.training.validation import auc, rebalanced_auc

IMAGENET = "imagenet"
OWN_ANSWER = "truth's own answer"

Numbers = dict[str, Samples]
"""By measure. What each is, is said in `_COLUMNS`."""

_COLUMNS = {  # heading, decimals
    "raw_auc": ("raw AuC %", 1),
    "rebalanced_auc": ("rebalanced AuC %", 1),
    "psnr": ("PSNR dB", 1),
    "ssim": ("SSIM", 3),
    "colorfulness": ("colorfulness", 1),
    "colorfulness_off": ("off the truth's, mean over photos", 1),
    "colorfulness_mean_off": ("off the truth's, of the means", 1),
    "top1": ("top-1 %", 1),
    "top1_won_back": ("of gray's loss won back %", 0),
}
_GAINS = (
    "raw_auc",
    "rebalanced_auc",
    "psnr",
    "ssim",
    "top1",
    "top1_won_back",
)  # the others say nothing beside gray
_EXACT = 58.92  # dB: the PSNR of what is the same


@dataclass
class Kept:
    """What one row showed, photo by photo."""

    tally: Tally = field(default_factory=Tally)
    hits: list[bool] = field(default_factory=list)  # whether the judge knew it again; empty without a judge
    failures: list[list[bool]] = field(default_factory=list)  # in the order of failures.KINDS
    biases: list[NDArray[np.float64]] = field(default_factory=list)  # in the order of biases.COLUMNS


def look(answered: Iterable[Answers], judge: Judge | None, labels: Sequence[int] | None) -> dict[str, Kept]:
    """Measure what `color.answered` gives, by row. `labels` are ImageNet's, one a photo, or None where they are not known.

    Raises ValueError where there is no photo.
    """
    kept: dict[str, Kept] = {}
    for number, (pixels, answers) in enumerate(answered):
        truth = Picture(pixels)
        pictures = {name: Picture(answer) for name, answer in answers.items()}
        for name, answer in pictures.items():
            row = kept.setdefault(name, Kept())
            row.tally.add(truth, answer)
            row.failures.append(list(failures.found(truth, answer).values()))
            row.biases.append(biases.of(answer))
        if judge:
            said = dict(zip(answers, judge.answers(list(answers.values())), strict=True))
            wanted = labels[number] if labels else said["truth"]
            for name, thing in said.items():
                kept[name].hits.append(thing == wanted)
    if not kept:
        raise InputError("there is no photograph to evaluate on")
    return kept


@dataclass(frozen=True)
class Report:
    """All tables, by row: numbers, gains over gray, failures and biases in percent of the photos and pixels."""

    photos: int
    labels: (
        str | None
    )  # what the judge's answers were held against: IMAGENET, OWN_ANSWER, or None without a judge
    scores: dict[str, Numbers]
    gains: dict[str, Numbers]  # differences to gray, paired; of the nets alone
    failures: dict[str, Numbers]
    biases: dict[str, Numbers]


def report(
    kept: Mapping[str, Kept], labels: Sequence[int] | None, nets: Sequence[str], ages: Sequence[str] = ()
) -> Report:
    """Numbers with their bootstrap; of each net that saw several kinds of age also their mean, as the last of its rows."""
    draws = Bootstrap(len(kept["truth"].tally.psnr))
    true_colorfulness = np.array(kept["truth"].tally.colorfulness)
    scores = {name: _numbers(row, draws, true_colorfulness) for name, row in kept.items()}
    failed = {
        name: dict(zip(failures.KINDS, 100 * draws.means(row.failures).T, strict=True))
        for name, row in kept.items()
    }
    preferred = {
        name: dict(zip(biases.COLUMNS, draws.means(row.biases).T, strict=True)) for name, row in kept.items()
    }
    scores, failed, preferred = (_with_means(table, nets, ages) for table in (scores, failed, preferred))
    gains = {
        name: gains_over_gray(row, scores) for name, row in scores.items() if name not in ("gray", "truth")
    }
    judged = (IMAGENET if labels else OWN_ANSWER) if kept["truth"].hits else None
    return Report(draws.times.shape[1], judged, scores, gains, failed, preferred)


def _numbers(row: Kept, draws: Bootstrap, true_colorfulness: NDArray[np.float64]) -> Numbers:
    tally = row.tally
    pixels, areas = draws.sums(tally.pixels), draws.sums(tally.areas)
    off = np.array(tally.colorfulness) - true_colorfulness
    numbers = {
        "raw_auc": auc(pixels, areas),
        "rebalanced_auc": rebalanced_auc(pixels, areas),
        "psnr": draws.means(tally.psnr),
        "ssim": draws.means(tally.ssim),
        "colorfulness": draws.means(tally.colorfulness),
        "colorfulness_off": draws.means(np.abs(off)),
        "colorfulness_mean_off": draws.means(off),
    }
    if row.hits:
        numbers["top1"] = 100 * draws.means(row.hits)
    return numbers


def _with_means(table: Mapping[str, Numbers], nets: Sequence[str], ages: Sequence[str]) -> dict[str, Numbers]:
    """Each net's mean over the kinds of age, behind them."""
    rows: dict[str, Numbers] = {}
    for name, numbers in table.items():
        rows[name] = numbers
        for net in nets:
            if len(ages) > 1 and name == aged(net, ages[-1]):
                kinds = [table[aged(net, kind)] for kind in ages]
                rows[aged(net, "all kinds mean")] = {
                    key: np.mean([kind[key] for kind in kinds], 0) for key in numbers
                }
    return rows


def gains_over_gray(row: Numbers, scores: Mapping[str, Numbers]) -> Numbers:
    """A row's differences to gray, and the share of what gray loses in top-1 that is won back; `scores` has the rows gray and truth."""
    gray, truth = scores["gray"], scores["truth"]
    gains = {key: samples - gray[key] for key, samples in row.items()}
    if "top1" in row:
        lost = truth["top1"] - gray["top1"]
        # where gray lost nothing, nothing can be won back
        gains["top1_won_back"] = 100 * gains["top1"] / np.where(lost > 0, lost, np.nan)
    return gains


def as_json(report: Report) -> dict[str, object]:
    """Plain values: everywhere {"value", "low", "high"}, or null where the photos say nothing."""
    return {
        "photos": report.photos,
        "labels": report.labels,
        "interval": "95%, percentile bootstrap over photos, 1,000 draws; gains over gray are paired",
        "scores": plain(report.scores),
        "gains_over_gray": plain(report.gains),
        "failures_percent": plain(report.failures),
        "biases": plain(report.biases),
    }


def plain(table: Mapping[str, Numbers]) -> dict[str, dict[str, dict[str, float] | None]]:
    """Numbers as JSON has them: {"value", "low", "high"} each, or None where the photos say nothing."""

    def rounded(samples: Samples) -> dict[str, float] | None:
        found = interval(samples)
        return {key: round(value, 4) for key, value in asdict(found).items()} if found else None

    return {name: {key: rounded(samples) for key, samples in row.items()} for name, row in table.items()}


def for_card(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a card of weights keeps of `as_json`: each number in one line, as people read it."""

    def line(number: Mapping[str, float] | None) -> str | None:
        return f"{number['value']:.4g} ({number['low']:.4g}…{number['high']:.4g})" if number else None

    kept = {key: facts[key] for key in ("photos", "labels", "interval", "nets") if key in facts}
    tables = {key: facts[key] for key in ("scores", "gains_over_gray") if key in facts}
    for key, table in tables.items():
        kept[key] = {
            name: {measure: line(number) for measure, number in row.items()} for name, row in table.items()
        }
    return kept


def as_markdown(report: Report) -> str:
    """Tables with a row a net, `value (low…high)`."""
    told = {IMAGENET: "ImageNet's label", OWN_ANSWER: "the judge's own answer on the truth", None: None}[
        report.labels
    ]
    head = f"{report.photos} photographs. In brackets 95% intervals, by bootstrap over photographs."
    judged = f" Top-1: how often EfficientNet-Lite2 answers with {told}." if told else ""
    kinds = {kind: (kind, 1) for kind in failures.KINDS}
    colors = {column: (column, 1) for column in biases.COLUMNS}
    tables = {
        "": _table(report.scores, _COLUMNS),
        "Gains over gray, paired photograph by photograph:": _table(
            report.gains, {key: _COLUMNS[key] for key in _GAINS}
        ),
        "Failures, in percent of the photographs:": _table(report.failures, kinds),
        "Colors shown, in percent of the pixels, and the mean a and b:": _table(report.biases, colors),
    }
    return "\n\n".join([head + judged, *(text for pair in tables.items() for text in pair if text)]) + "\n"


def _table(table: Mapping[str, Numbers], columns: Mapping[str, tuple[str, int]]) -> str:
    first = next(iter(table.values()), {})
    shown = {key: column for key, column in columns.items() if key in first}
    lines = [
        "| " + " | ".join(["", *(heading for heading, _ in shown.values())]) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for name, row in table.items():
        cells = [cell(key, interval(row[key]), decimals) for key, (_, decimals) in shown.items()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def cell(key: str, number: Interval | None, decimals: int, signed: bool = False) -> str:
    """`value (low…high)`, or what stands for it; `key` is the measure's."""
    if number is None:
        return "–"
    if key == "psnr" and number.value > _EXACT:
        return "exact"
    sign = "+" if signed else ""
    value, low, high = (f"{part:{sign}z.{decimals}f}" for part in (number.value, number.low, number.high))
    return value if low == value == high else f"{value} ({low}…{high})"
