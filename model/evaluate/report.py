"""Tables over many nets, each number with its interval, as JSON and as Markdown: of one set of photographs, or of several sources.

Of one set (`summarize`): the metrics of `evaluate.color`, the judge's top-1, failures and hues; gains over gray; means over kinds of age.

Of several sources (`by_source`): by source, as the mean over sources, and pooled; and the gap to photographs trained on.

- By source: AuC, PSNR and colorfulness, the share of photos with spill and blotches, and the judge's top-1. The rebalanced AuC is weighted
  by the source's own colors.
- Mean over sources: of these numbers, each source counting alike. What is won back is computed from the mean top-1s.
- Pooled: all photos as one set; the rebalanced AuC is weighted by the colors of all.
- Gap: the gain over gray in rebalanced AuC on a source's training photos minus that on its held-out ones; and the mean over sources.

Intervals are of the bootstrap (`evaluate.intervals`), stratified by source: each source's photos are drawn independently. Within a source
all rows share the draws, so gains over gray and differences between nets are paired; the gap's two sides are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import InputError
from model.evaluate import failures
from model.evaluate.color import Colorized, Picture, Tally, aged, heading
from model.evaluate.intervals import SEED, Bootstrap, Metrics, as_plain, as_text
from model.evaluate.judge import Judge
from model.training.validation import auc, rebalanced_auc

IMAGENET = "imagenet"
OWN_PREDICTION = "truth's own answer"
TRAIN, HELD = "train", "held"

_COLUMNS = {  # by key: heading; decimals over one set, and by source
    "raw_auc": ("raw AuC %", 1, 2),
    "rebalanced_auc": ("rebalanced AuC %", 1, 2),
    "psnr": ("PSNR dB", 1, 2),
    "ssim": ("SSIM", 3, 3),
    "colorfulness": ("colorfulness", 1, 1),
    "colorfulness_off": ("off the ground truth's, mean over photos", 1, 1),
    "colorfulness_mean_off": ("off the ground truth's, of the means", 1, 1),
    "spill": ("spill %", 1, 1),
    "blotches": ("blotches %", 1, 1),
    "top1": ("top-1 %", 1, 1),
    "top1_won_back": ("of gray's loss won back %", 0, 0),
}
_GAINS = ("raw_auc", "rebalanced_auc", "psnr", "ssim", "top1", "top1_won_back")  # gray's others mean nothing
_SUMMED = (
    "pixels",
    "areas",
    "psnr",
    "ssim",
    "colorfulness",
    "colorfulness_off",
    "colorfulness_mean_off",
    "top1",
)
_SUMMED_BY_SOURCE = ("pixels", "areas", "psnr", "colorfulness", "spill", "blotches", "top1")
_GAP = "rebalanced_auc"


@dataclass
class PhotoMetrics:
    """What one row shows, photo by photo."""

    tally: Tally = field(default_factory=Tally)
    hits: list[bool] = field(default_factory=list)  # is the judge's top-1 right? empty without a judge
    failures: list[list[bool]] = field(default_factory=list)  # in the order of failures.KINDS
    hues: list[NDArray[np.float64]] = field(default_factory=list)  # in the order of failures.HUE_COLUMNS

    def columns(self) -> dict[str, ArrayLike]:
        """(photos, …) values by key; failures and top-1 as 0 or 100."""
        failed = 100 * np.array(self.failures).T
        return {
            "pixels": self.tally.pixels,
            "areas": self.tally.areas,
            "psnr": self.tally.psnr,
            "ssim": self.tally.ssim,
            "colorfulness": self.tally.colorfulness,
            **dict(zip(failures.KINDS, failed, strict=True)),
            **({"top1": 100 * np.array(self.hits)} if self.hits else {}),
        }


def measure(
    colorized: Iterable[Colorized], judge: Judge | None, labels: Sequence[int] | None
) -> dict[str, PhotoMetrics]:
    """Measure what `color.colorized` yields, by row. `labels` are ImageNet's, one a photo, or None where they are not known.

    Raises InputError where there is no photo.
    """
    rows: dict[str, PhotoMetrics] = {}
    for number, (pixels, by_row) in enumerate(colorized):
        truth = Picture(pixels)
        pictures = {name: Picture(colored) for name, colored in by_row.items()}
        for name, picture in pictures.items():
            row = rows.setdefault(name, PhotoMetrics())
            row.tally.add(truth, picture)
            row.failures.append(list(failures.detect(truth, picture).values()))
            row.hues.append(failures.hue_shares(picture))
        if judge:
            predictions = dict(zip(by_row, judge.predict(list(by_row.values())), strict=True))
            label = labels[number] if labels else predictions["truth"]
            for name, predicted in predictions.items():
                rows[name].hits.append(predicted == label)
    if not rows:
        raise InputError("there is no photograph to evaluate on")
    return rows


@dataclass(frozen=True)
class Totals:
    """Sums over the photos drawn, (1 + RESAMPLES, …) by key. Those of several sources add up to those of all."""

    photos: int
    sums: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, columns: Mapping[str, ArrayLike], keys: Sequence[str], draws: Bootstrap) -> Totals:
        """Of those of the keys that there are."""
        return cls(draws.times.shape[1], {key: draws.sums(columns[key]) for key in keys if key in columns})

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.photos + other.photos, {key: sums + other.sums[key] for key, sums in self.sums.items()}
        )

    def metrics(self) -> Metrics:
        """AuC, and the means over photos of all else."""
        pixels, areas = self.sums["pixels"], self.sums["areas"]
        means = {key: sums / self.photos for key, sums in self.sums.items() if key not in ("pixels", "areas")}
        return {"raw_auc": auc(pixels, areas), "rebalanced_auc": rebalanced_auc(pixels, areas)} | means


def gains_over_gray(row: Metrics, scores: Mapping[str, Metrics]) -> Metrics:
    """A row's differences to gray, and the share of what gray loses in top-1 that is won back; `scores` has the rows gray and truth."""
    gray, truth = scores["gray"], scores["truth"]
    gains = {key: samples - gray[key] for key, samples in row.items()}
    if "top1" in row:
        lost = truth["top1"] - gray["top1"]
        # where gray lost nothing, nothing can be won back
        gains["top1_won_back"] = 100 * gains["top1"] / np.where(lost > 0, lost, np.nan)
    return gains


@dataclass(frozen=True)
class Report:
    """All tables over one set, by row: scores, gains over gray, failures and hues in percent of the photos and pixels."""

    photos: int
    labels: str | None
    """What the judge's predictions are compared to: IMAGENET, OWN_PREDICTION, or None without a judge."""
    scores: dict[str, Metrics]
    gains: dict[str, Metrics]  # differences to gray, paired; of the nets alone
    failures: dict[str, Metrics]
    hues: dict[str, Metrics]

    def as_json(self) -> dict[str, object]:
        """Plain values: everywhere {"value", "low", "high"}, or null where a number is undefined."""
        return {
            "photos": self.photos,
            "labels": self.labels,
            "interval": "95%, percentile bootstrap over photos, 1,000 draws; gains over gray are paired",
            "scores": as_plain(self.scores),
            "gains_over_gray": as_plain(self.gains),
            "failures_percent": as_plain(self.failures),
            "biases": as_plain(self.hues),
        }

    def as_markdown(self) -> str:
        """Tables with a row a net, `value (low…high)`."""
        label = {
            IMAGENET: "ImageNet's label",
            OWN_PREDICTION: "the judge's own answer on the ground truth",
            None: None,
        }[self.labels]
        head = f"{self.photos} photographs. In brackets 95% intervals, by bootstrap over photographs."
        judged = f" Top-1: how often EfficientNet-Lite2 answers with {label}." if label else ""
        scores = {key: (name, decimals) for key, (name, decimals, _) in _COLUMNS.items()}
        tables = {
            "": _rows_of_metrics(self.scores, scores),
            "Gains over gray, paired photograph by photograph:": _rows_of_metrics(
                self.gains, {key: scores[key] for key in _GAINS}
            ),
            "Failures, in percent of the photographs:": _rows_of_metrics(
                self.failures, {kind: (kind, 1) for kind in failures.KINDS}
            ),
            "Colors shown, in percent of the pixels, and the mean a and b:": _rows_of_metrics(
                self.hues, {column: (column, 1) for column in failures.HUE_COLUMNS}
            ),
        }
        return (
            "\n\n".join([head + judged, *(text for pair in tables.items() for text in pair if text)]) + "\n"
        )


def summarize(
    rows: Mapping[str, PhotoMetrics],
    labels: Sequence[int] | None,
    nets: Sequence[str],
    ages: Sequence[str] = (),
) -> Report:
    """One set's metrics with their bootstrap; of each net that saw several kinds of age also their mean, as the last of its rows."""
    draws = Bootstrap(len(rows["truth"].failures))
    true_colorfulness = np.array(rows["truth"].tally.colorfulness)
    scores: dict[str, Metrics] = {}
    failed: dict[str, Metrics] = {}
    hues: dict[str, Metrics] = {}
    for name, row in rows.items():
        columns = row.columns()
        off = np.array(row.tally.colorfulness) - true_colorfulness
        columns |= {"colorfulness_off": np.abs(off), "colorfulness_mean_off": off}
        scores[name] = Totals.of(columns, _SUMMED, draws).metrics()
        failed[name] = {kind: draws.means(columns[kind]) for kind in failures.KINDS}
        hues[name] = dict(zip(failures.HUE_COLUMNS, draws.means(row.hues).T, strict=True))
    scores, failed, hues = (_with_means(table, nets, ages) for table in (scores, failed, hues))
    gains = {
        name: gains_over_gray(row, scores) for name, row in scores.items() if name not in ("gray", "truth")
    }
    judged = (IMAGENET if labels else OWN_PREDICTION) if rows["truth"].hits else None
    return Report(draws.times.shape[1], judged, scores, gains, failed, hues)


def _with_means(table: Mapping[str, Metrics], nets: Sequence[str], ages: Sequence[str]) -> dict[str, Metrics]:
    """Each net's mean over the kinds of age, behind them."""
    rows: dict[str, Metrics] = {}
    for name, metrics in table.items():
        rows[name] = metrics
        for net in nets:
            if len(ages) > 1 and name == aged(net, ages[-1]):
                kinds = [table[aged(net, kind)] for kind in ages]
                rows[aged(net, "all kinds mean")] = mean_of(kinds)
    return rows


def mean_of(tables: Sequence[Metrics]) -> Metrics:
    """Each metric's mean, draw by draw."""
    return {key: np.mean([metrics[key] for metrics in tables], 0) for key in tables[0]}


@dataclass(frozen=True)
class Source:
    """Photographs of one kind. `split` is "train" for photos that were trained on, "held" for those held out of them, or empty."""

    name: str
    photos: list[Path]
    split: str = ""

    @property
    def label(self) -> str:
        return f"{self.name}, {self.split}" if self.split else self.name


@dataclass(frozen=True)
class SourceMetrics:
    """What `measure` gave for a source, by row; and what the judge is compared to, as in `Report.labels`."""

    source: Source
    rows: Mapping[str, PhotoMetrics]
    labels: str | None


@dataclass(frozen=True)
class SourceTable:
    """The metrics of one source, of the mean over sources, or of all photos, by row: gray, the nets, truth."""

    photos: int
    scores: Mapping[str, Metrics]
    nets: Sequence[str]

    @property
    def gains(self) -> dict[str, Metrics]:
        """Each net's over gray."""
        return {net: gains_over_gray(self.scores[net], self.scores) for net in self.nets}

    @property
    def differences(self) -> dict[str, Metrics]:
        """Of each pair of nets, the later minus the earlier."""
        gains = self.gains  # gray cancels
        return {
            f"{later} − {earlier}": {key: gains[later][key] - gains[earlier][key] for key in gains[later]}
            for earlier, later in combinations(self.nets, 2)
        }

    def as_json(self) -> dict[str, object]:
        return {
            "photos": self.photos,
            "scores": as_plain(self.scores),
            "gains_over_gray": as_plain(self.gains),
            "differences": as_plain(self.differences),
        }

    def lines(self) -> list[tuple[str, Metrics, bool]]:
        """(heading, metrics, whether they are differences)"""
        scores = [(heading(row), metrics, False) for row, metrics in self.scores.items()]
        gains = [(f"{net} − gray", metrics, True) for net, metrics in self.gains.items()]
        return scores + gains + [(pair, metrics, True) for pair, metrics in self.differences.items()]


@dataclass(frozen=True)
class BySource:
    """All tables by source. `gap` is by source, and last their mean, by net; empty where no source has both splits."""

    tables: Mapping[str, SourceTable]
    labels: Mapping[str, str | None]
    mean: SourceTable
    pooled: SourceTable
    gap: Mapping[str, Metrics]

    def as_json(self) -> dict[str, object]:
        """Plain values: everywhere {"value", "low", "high"}, or null where a number is undefined."""
        return {
            "interval": "95%, percentile bootstrap over each source's photos, 1,000 draws; gains over gray and differences are paired",
            "sources": {
                label: {"labels": self.labels[label]} | table.as_json()
                for label, table in self.tables.items()
            },
            "mean_over_sources": self.mean.as_json(),
            "pooled": self.pooled.as_json(),
            "gap_rebalanced_auc_gain": as_plain(self.gap),
        }

    def as_markdown(self) -> str:
        """One table, rows by source; and below it the gap, where there is one."""
        nets = self.mean.nets
        known = self.mean.scores["truth"] | self.mean.gains[nets[0]]
        shown = {key: (name, decimals) for key, (name, _, decimals) in _COLUMNS.items() if key in known}
        lines = [
            [label, f"{each.photos:,}", row]
            + [
                as_text(key, metrics[key], decimals, signed) if key in metrics else ""
                for key, (_, decimals) in shown.items()
            ]
            for label, each in [
                *self.tables.items(),
                ("mean over sources", self.mean),
                ("pooled", self.pooled),
            ]
            for row, metrics, signed in each.lines()
        ]
        text = (
            "In brackets 95% intervals, by bootstrap over each source's photographs; gains over gray and differences between nets are "
            f"paired. Photographs of the split “{TRAIN}” count neither for the mean nor for what is pooled.\n\n"
            + table(["source", "photos", "", *(name for name, _ in shown.values())], lines)
        )
        if not self.gap:
            return text
        gaps = [
            [name, *(as_text(_GAP, samples[net], 2, signed=True) for net in nets)]
            for name, samples in self.gap.items()
        ]
        return (
            f"{text}\nGain over gray in rebalanced AuC, on what was trained on minus on what was held out (unpaired):\n\n"
            + table(["source", *nets], gaps)
        )


def by_source(measured: Iterable[SourceMetrics], nets: Sequence[str]) -> BySource:
    """Training photos have tables, and count for the gap alone. Raises InputError where there are no others."""
    tables: dict[str, SourceTable] = {}
    labels: dict[str, str | None] = {}
    evaluated: list[SourceTable] = []
    splits: dict[str, dict[str, SourceTable]] = {}
    pooled: dict[str, Totals] = {}
    for number, each in enumerate(measured):
        source, draws = each.source, Bootstrap(len(each.source.photos), SEED + number)
        totals = {name: Totals.of(row.columns(), _SUMMED_BY_SOURCE, draws) for name, row in each.rows.items()}
        found = SourceTable(
            len(source.photos), {name: total.metrics() for name, total in totals.items()}, nets
        )
        tables[source.label], labels[source.label] = found, each.labels
        splits.setdefault(source.name, {})[source.split] = found
        if source.split != TRAIN:
            evaluated.append(found)
            pooled = {name: pooled[name] + total if pooled else total for name, total in totals.items()}
    if not evaluated:
        raise InputError("all sources were trained on: name one to evaluate on")
    photos = sum(found.photos for found in evaluated)
    mean = {name: mean_of([found.scores[name] for found in evaluated]) for name in pooled}
    return BySource(
        tables,
        labels,
        SourceTable(photos, mean, nets),
        SourceTable(photos, {name: total.metrics() for name, total in pooled.items()}, nets),
        _gap(splits, nets),
    )


def _gap(splits: Mapping[str, Mapping[str, SourceTable]], nets: Sequence[str]) -> dict[str, Metrics]:
    gap = {
        name: {net: tables[TRAIN].gains[net][_GAP] - tables[HELD].gains[net][_GAP] for net in nets}
        for name, tables in splits.items()
        if TRAIN in tables and HELD in tables
    }
    return gap | {"mean over sources": mean_of([*gap.values()])} if gap else {}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], rule: str = " --- ") -> str:
    """In Markdown: a line for the heads, one of rules below it, and one a row; each ends."""
    lines = [f"| {' | '.join(cells)} |\n" for cells in (heads, *rows)]
    return "".join([lines[0], f"|{'|'.join([rule] * len(heads))}|\n", *lines[1:]])


def _rows_of_metrics(rows: Mapping[str, Metrics], columns: Mapping[str, tuple[str, int]]) -> str:
    """A table with those of the columns, (heading, decimals) by key, that the rows have."""
    first = next(iter(rows.values()), {})
    shown = {key: column for key, column in columns.items() if key in first}
    lines = [
        [heading(row), *(as_text(key, metrics[key], decimals) for key, (_, decimals) in shown.items())]
        for row, metrics in rows.items()
    ]
    return table(["", *(name for name, _ in shown.values())], lines, "---").removesuffix("\n")


def for_card(written: Mapping[str, Any]) -> dict[str, Any]:
    """What a card of weights keeps of `Report.as_json`: each number in one line, as people read it."""

    def line(number: Mapping[str, float] | None) -> str | None:
        return f"{number['value']:.4g} ({number['low']:.4g}…{number['high']:.4g})" if number else None

    kept = {key: written[key] for key in ("photos", "labels", "interval", "nets") if key in written}
    tables = {key: written[key] for key in ("scores", "gains_over_gray") if key in written}
    for key, rows in tables.items():
        kept[key] = {
            name: {metric: line(number) for metric, number in row.items()} for name, row in rows.items()
        }
    return kept
