"""Nets on several sources of photographs: by source, as the mean over sources, and pooled; and the gap to photographs trained on.

- By source: the measures of `evaluate.color`, the share of photos with spill and blotches (`evaluate.failures`), and the judge's top-1.
  The rebalanced AuC is weighed by the source's own colors.
- Mean over sources: of these numbers, each source counting alike. What is won back is worked out from the mean top-1s.
- Pooled: all photos as one set; the rebalanced AuC is weighed by the colors of all.
- Gap: the gain over gray in rebalanced AuC on a source's training photos minus that on its held-out ones; and the mean over sources.

Intervals are of the bootstrap (`evaluate.intervals`), stratified: each source's photos are drawn anew for themselves. Within a source all
rows share the draws, so gains over gray and differences between nets are paired; the gap's two sides are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import InputError
from model.evaluate import failures
from model.evaluate.intervals import SEED, Bootstrap, interval
from model.evaluate.markdown import table as markdown
from model.evaluate.report import Kept, Numbers, cell, gains_over_gray, plain
from model.training.validation import auc, rebalanced_auc

TRAIN, HELD = "train", "held"

COLUMNS: Mapping[str, tuple[str, int]] = {  # heading, decimals
    "raw_auc": ("raw AuC %", 2),
    "rebalanced_auc": ("rebalanced AuC %", 2),
    "psnr": ("PSNR dB", 2),
    "colorfulness": ("colorfulness", 1),
    "spill": ("spill %", 1),
    "blotches": ("blotches %", 1),
    "top1": ("top-1 %", 1),
    "top1_won_back": ("of gray's loss won back %", 0),
}
_FAILURES = {kind: failures.KINDS.index(kind) for kind in ("spill", "blotches")}
_GAP = "rebalanced_auc"


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
class Looked:
    """What `report.look` kept of a source, by row; and what the judge was held against, as in `report.Report.labels`."""

    source: Source
    kept: Mapping[str, Kept]
    labels: str | None


@dataclass(frozen=True)
class Totals:
    """Sums over the photos drawn, (1 + RESAMPLES, …) by measure. Those of several sources add up to those of all."""

    photos: int
    sums: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, row: Kept, draws: Bootstrap) -> Totals:
        tally = row.tally
        failed = np.array(row.failures)
        by_photo: dict[str, ArrayLike] = {
            "pixels": tally.pixels,
            "areas": tally.areas,
            "psnr": tally.psnr,
            "colorfulness": tally.colorfulness,
        }
        by_photo |= {kind: 100 * failed[:, place] for kind, place in _FAILURES.items()}
        if row.hits:
            by_photo["top1"] = 100 * np.array(row.hits)
        return cls(len(failed), {key: draws.sums(values) for key, values in by_photo.items()})

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.photos + other.photos, {key: sums + other.sums[key] for key, sums in self.sums.items()}
        )

    def numbers(self) -> Numbers:
        pixels, areas = self.sums["pixels"], self.sums["areas"]
        means = {key: sums / self.photos for key, sums in self.sums.items() if key not in ("pixels", "areas")}
        return {"raw_auc": auc(pixels, areas), "rebalanced_auc": rebalanced_auc(pixels, areas)} | means


@dataclass(frozen=True)
class Table:
    """The numbers of one source, of the mean over sources, or of all photos, by row: gray, the nets, truth."""

    photos: int
    scores: Mapping[str, Numbers]
    nets: Sequence[str]

    @property
    def gains(self) -> dict[str, Numbers]:
        """Each net's over gray."""
        return {net: gains_over_gray(self.scores[net], self.scores) for net in self.nets}

    @property
    def differences(self) -> dict[str, Numbers]:
        """Of each pair of nets, the later minus the earlier."""
        gains = self.gains  # gray drops out
        return {
            f"{later} − {earlier}": {key: gains[later][key] - gains[earlier][key] for key in gains[later]}
            for earlier, later in combinations(self.nets, 2)
        }


@dataclass(frozen=True)
class BySource:
    """All tables. `gap` is by source, and last their mean, by net; empty where no source has both splits."""

    tables: Mapping[str, Table]
    labels: Mapping[str, str | None]
    mean: Table
    pooled: Table
    gap: Mapping[str, Numbers]


def by_source(looked: Iterable[Looked], nets: Sequence[str]) -> BySource:
    """Training photos have tables, and count for the gap alone. Raises ValueError where there are no others."""
    tables: dict[str, Table] = {}
    labels: dict[str, str | None] = {}
    judged: list[Table] = []
    splits: dict[str, dict[str, Table]] = {}
    pooled: dict[str, Totals] = {}
    for number, look in enumerate(looked):
        draws = Bootstrap(len(look.source.photos), SEED + number)
        totals = {row: Totals.of(kept, draws) for row, kept in look.kept.items()}
        scores = {row: each.numbers() for row, each in totals.items()}
        table = Table(len(look.source.photos), scores, nets)
        tables[look.source.label], labels[look.source.label] = table, look.labels
        splits.setdefault(look.source.name, {})[look.source.split] = table
        if look.source.split != TRAIN:
            judged.append(table)
            pooled = {row: pooled[row] + each if pooled else each for row, each in totals.items()}
    if not judged:
        raise InputError("all sources were trained on: name one to evaluate on")
    photos = sum(table.photos for table in judged)
    mean = {
        row: {key: np.mean([table.scores[row][key] for table in judged], 0) for key in numbers}
        for row, numbers in judged[0].scores.items()
    }
    return BySource(
        tables,
        labels,
        Table(photos, mean, nets),
        Table(photos, {row: each.numbers() for row, each in pooled.items()}, nets),
        _gap(splits, nets),
    )


def _gap(splits: Mapping[str, Mapping[str, Table]], nets: Sequence[str]) -> dict[str, Numbers]:
    gap = {
        name: {net: tables[TRAIN].gains[net][_GAP] - tables[HELD].gains[net][_GAP] for net in nets}
        for name, tables in splits.items()
        if TRAIN in tables and HELD in tables
    }
    if not gap:
        return {}
    return gap | {
        "mean over sources": {net: np.mean([each[net] for each in gap.values()], 0) for net in nets}
    }


def as_json(found: BySource) -> dict[str, object]:
    """Plain values: everywhere {"value", "low", "high"}, or null where the photos say nothing."""

    def of(table: Table) -> dict[str, object]:
        return {
            "photos": table.photos,
            "scores": plain(table.scores),
            "gains_over_gray": plain(table.gains),
            "differences": plain(table.differences),
        }

    return {
        "interval": "95%, percentile bootstrap over each source's photos, 1,000 draws; gains over gray and differences are paired",
        "sources": {
            label: {"labels": found.labels[label]} | of(table) for label, table in found.tables.items()
        },
        "mean_over_sources": of(found.mean),
        "pooled": of(found.pooled),
        "gap_rebalanced_auc_gain": plain(found.gap),
    }


def as_markdown(found: BySource) -> str:
    """One table, rows by source; and below it the gap, where there is one."""
    tables = [*found.tables.items(), ("mean over sources", found.mean), ("pooled", found.pooled)]
    shown = [key for key in COLUMNS if key in found.mean.scores["truth"] or key in _first(found.mean.gains)]
    lines = [
        [label, f"{table.photos:,}", row, *_cells(numbers, shown, signed)]
        for label, table in tables
        for row, numbers, signed in _rows(table)
    ]
    text = (
        "In brackets 95% intervals, by bootstrap over each source's photographs; gains over gray and differences between nets are paired. "
        f"Photographs of the split “{TRAIN}” count neither for the mean nor for what is pooled.\n\n"
        + markdown(["source", "photos", "", *(COLUMNS[key][0] for key in shown)], lines)
    )
    if not found.gap:
        return text
    nets = found.mean.nets
    gaps = [
        [name, *(cell(_GAP, interval(samples[net]), 2, signed=True) for net in nets)]
        for name, samples in found.gap.items()
    ]
    return (
        f"{text}\nGain over gray in rebalanced AuC, on what was trained on minus on what was held out (unpaired):\n\n"
        + markdown(["source", *nets], gaps)
    )


def _rows(table: Table) -> list[tuple[str, Numbers, bool]]:
    """(heading, numbers, whether they are differences)"""
    scores = [(row, numbers, False) for row, numbers in table.scores.items()]
    gains = [(f"{net} − gray", numbers, True) for net, numbers in table.gains.items()]
    return scores + gains + [(pair, numbers, True) for pair, numbers in table.differences.items()]


def _cells(numbers: Numbers, shown: Sequence[str], signed: bool) -> list[str]:
    return [
        cell(key, interval(numbers[key]), COLUMNS[key][1], signed) if key in numbers else "" for key in shown
    ]


def _first(rows: Mapping[str, Numbers]) -> Numbers:
    return next(iter(rows.values()))
