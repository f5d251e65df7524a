"""The lecture in one table: what each method on each net came to, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.evaluate.report import table
from model.evaluate.story import METHODS, NETS

LABELS = (20, 90, 900)
TASKS = {"voc2007": "VOC2007 mAP", "caltech101": "Caltech-101", "camvid": "CamVid mean IU"}


def overview(subjects: Sequence[Mapping[str, Any]]) -> str:
    """Of the lecture's `subjects`, all in percent; what was not asked stays empty.

    kNN with its interval over photos, the best layer's probe, fine-tuning by few labels as mean ± deviation over seeds, and other photos.
    """
    heads = ["net", "taught by", "photos seen", "kNN", "best probe", *map(_labels, LABELS), *TASKS.values()]
    return table(heads, [_row(one) for one in subjects])


def _row(one: Mapping[str, Any]) -> list[str]:
    near, probes, transfer = one.get("neighbors"), one.get("probes"), one.get("transfer", {})
    cells = [
        NETS[one["net"]],
        METHODS[one["method"]].name,
        f"{one['photos']:,}" if "photos" in one else "none",
    ]
    cells.append(
        f"{near['accuracy'] * 100:.1f} ({near['low'] * 100:.1f}…{near['high'] * 100:.1f})" if near else ""
    )
    best = max(probes, key=lambda layer: np.mean(probes[layer])) if probes else ""
    cells.append(f"{np.mean(probes[best]) * 100:.1f} ({best})" if probes else "")
    cells += [_tuned(one.get("efficiency"), count) for count in LABELS]
    return cells + [f"{transfer[task] * 100:.1f}" if task in transfer else "" for task in TASKS]


def _tuned(efficiency: Mapping[str, Any] | None, count: int) -> str:
    if not efficiency or count not in efficiency["labels"]:
        return ""
    right = np.array(efficiency["accuracy"])[:, efficiency["labels"].index(count)] * 100
    return f"{right.mean():.1f} ± {right.std():.1f}"


def _labels(count: int) -> str:
    return f"{count} labels"
