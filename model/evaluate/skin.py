"""How near are the colors of skin, by group of people? On photographs of faces, such as UTKFace's, that fill the picture.

Protocol: the 256×256 of `evaluate.color`, and of it the center, 30% of the sides, which is nose and cheeks. There, over pixels:

- ΔE: the mean distance from the ground truth in ab units, which is CIE76's, as the lightness is the ground truth's.
- Hue error: the mean absolute angle between the prediction's hue and the ground truth's, 0…180 degrees. Pixels of which either has a chroma
  under 5 ab units have no meaningful hue, and are left out; so is a photo without any other. Gray has no hue error.

Both are means over a group's photos; the mean over groups counts each alike. Worst over best is the ratio between the groups that are
farthest apart in these photos; its interval is of these two groups. Intervals are of the bootstrap, each group drawn independently.
The groups of UTKFace are labels that its authors gave by looks, partly by machine (Zhang, Song & Qi 2017, https://susanqq.github.io/UTKFace/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.errors import InputError
from model.evaluate.color import SIDE, Colorized, Picture
from model.evaluate.intervals import SEED, Bootstrap, Metrics, Samples, as_plain, as_text
from model.evaluate.report import mean_of, table

UTKFACE = ("White", "Black", "Asian", "Indian", "Others")  # by the number in a file's name
COLUMNS: Mapping[str, tuple[str, int]] = {"delta_e": ("ΔE", 1), "hue": ("hue error °", 1)}
_UTKFACE = re.compile(r"\d{1,3}_[01]_([0-4])_\d+")
_CENTER = 2 * round(0.3 * SIDE / 2)  # a side, even so that it lies in the middle
_HAS_HUE = 5.0  # chroma, ab units

GroupOf = Callable[[Path], str | None]


def utkface(photo: Path) -> str | None:
    """By `[age]_[gender]_[race]_[date]…`; None for another name."""
    found = _UTKFACE.match(photo.name)
    return UTKFACE[int(found[1])] if found else None


def labeled(tsv: Path) -> GroupOf:
    """By lines of a photo's name, or of its folder and name (`ab/cdef.webp`), a tab and the group. Raises InputError for other lines."""
    groups: dict[str, str] = {}
    for number, line in enumerate(tsv.read_text().splitlines(), 1):
        if not line.strip():
            continue
        name, tab, group = line.partition("\t")
        if not tab or not name.strip() or not group.strip() or "\t" in group:
            raise InputError(f"{tsv}, line {number}: a file name, a tab and a group are wanted, not {line!r}")
        if groups.setdefault(name.strip(), group.strip()) != group.strip():
            raise InputError(f"{tsv}, line {number}: {name} is in two groups")
    return lambda photo: groups.get(f"{photo.parent.name}/{photo.name}", groups.get(photo.name))


def grouped(photos: Sequence[Path], group_of: GroupOf) -> dict[str, list[Path]]:
    """By group, by name; without those that have none. Raises InputError where none has."""
    found: dict[str, list[Path]] = {}
    for photo in photos:
        if (group := group_of(photo)) is not None:
            found.setdefault(group, []).append(photo)
    if not found:
        raise InputError(f"none of {len(photos)} photographs has a group: {photos[0].name} is one of them")
    return dict(sorted(found.items()))


def errors(truth: Picture, prediction: Picture) -> tuple[float, float]:
    """(ΔE in ab units, hue error in degrees or NaN) of a face's center; both pictures 256×256."""
    true, ours = _center(truth.ab), _center(prediction.ab)
    distance = float(torch.hypot(*(ours - true)).mean())
    have_hue = (torch.hypot(*true) >= _HAS_HUE) & (torch.hypot(*ours) >= _HAS_HUE)
    turned = (torch.atan2(ours[1], ours[0]) - torch.atan2(true[1], true[0])).rad2deg()[have_hue]
    angle = (turned + 180).remainder(360) - 180
    return distance, float(angle.abs().mean())  # the mean of nothing is NaN


def _center(ab: Tensor) -> Tensor:
    start = (SIDE - _CENTER) // 2
    return ab[:, start : start + _CENTER, start : start + _CENTER]


@dataclass
class Faces:
    """One row's errors in one group, photo by photo."""

    delta_e: list[float] = field(default_factory=list)
    hue: list[float] = field(default_factory=list)  # NaN where there is none

    def metrics(self, draws: Bootstrap) -> Metrics:
        hue = np.array(self.hue)
        known = np.isfinite(hue)
        times = draws.sums(known)
        sums = draws.sums(np.where(known, hue, 0))
        return {
            "delta_e": draws.means(self.delta_e),
            "hue": np.divide(sums, times, out=np.full_like(sums, np.nan), where=times > 0),
        }


def measure(colorized: Iterable[Colorized]) -> dict[str, Faces]:
    """One group's faces, by row; the ground truth is none."""
    rows: dict[str, Faces] = {}
    for pixels, by_row in colorized:
        truth = Picture(pixels)
        for name, colored in by_row.items():
            if name != "truth":
                faces = rows.setdefault(name, Faces())
                distance, angle = errors(truth, Picture(colored))
                faces.delta_e.append(distance)
                faces.hue.append(angle)
    return rows


@dataclass(frozen=True)
class Ratio:
    """Of the groups with the largest and the smallest error."""

    worst: str
    best: str
    samples: Samples


@dataclass(frozen=True)
class Report:
    """By row: gray, and the nets."""

    photos: Mapping[str, int]  # by group
    groups: Mapping[str, Mapping[str, Metrics]]  # by group, then by row
    mean: Mapping[str, Metrics]  # over groups
    ratios: Mapping[str, Mapping[str, Ratio]]  # by metric; left out where there is one group, or no number

    def as_json(self) -> dict[str, object]:
        """Plain values: everywhere {"value", "low", "high"}, or null where there is no number."""
        return {
            "interval": "95%, percentile bootstrap over each group's photos, 1,000 draws",
            "groups": {
                group: {"photos": self.photos[group], "scores": as_plain(rows)}
                for group, rows in self.groups.items()
            },
            "mean_over_groups": as_plain(self.mean),
            "worst_over_best": {
                row: {
                    key: {"worst": ratio.worst, "best": ratio.best}
                    | (as_plain({row: {key: ratio.samples}})[row][key] or {})
                    for key, ratio in ratios.items()
                }
                for row, ratios in self.ratios.items()
            },
        }

    def as_markdown(self) -> str:
        """One table: a row a group and net, then the mean over groups, and worst over best."""
        total = sum(self.photos.values())
        lines = [
            [group, f"{self.photos.get(group, total):,}", row]
            + [as_text(key, metrics[key], decimals) for key, (_, decimals) in COLUMNS.items()]
            for group, rows in {**self.groups, "mean over groups": self.mean}.items()
            for row, metrics in rows.items()
        ]
        for row, ratios in self.ratios.items():
            cells = [_ratio_text(ratios.get(key)) for key in COLUMNS]
            lines.append(["worst / best", f"{total:,}", row, *cells])
        return (
            "The center of faces: mean distance from the ground truth in ab (CIE76 ΔE), and mean absolute hue error. In brackets 95% "
            "intervals, by bootstrap over each group's photographs.\n\n"
            + table(["group", "photos", "", *(heading for heading, _ in COLUMNS.values())], lines)
        )


def summarize(measured: Mapping[str, Mapping[str, Faces]]) -> Report:
    """Of `measure`'s rows by group."""
    photos = {group: len(next(iter(rows.values())).delta_e) for group, rows in measured.items()}
    groups = {}
    for place, (group, rows) in enumerate(measured.items()):
        draws = Bootstrap(photos[group], SEED + place)
        groups[group] = {row: faces.metrics(draws) for row, faces in rows.items()}
    names = list(next(iter(groups.values())))
    mean = {row: mean_of([rows[row] for rows in groups.values()]) for row in names}
    return Report(photos, groups, mean, {row: _ratios(row, groups) for row in names})


def _ratios(row: str, groups: Mapping[str, Mapping[str, Metrics]]) -> dict[str, Ratio]:
    found = {}
    for key in COLUMNS:
        values = {group: float(rows[row][key][0]) for group, rows in groups.items()}
        worst, best = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
        if len(values) > 1 and np.isfinite([*values.values()]).all() and values[best] > 0:
            above, below = groups[worst][row][key], groups[best][row][key]
            ratio = np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)
            found[key] = Ratio(worst, best, ratio)
    return found


def _ratio_text(ratio: Ratio | None) -> str:
    return "–" if ratio is None else f"{as_text('', ratio.samples, 2)} {ratio.worst} / {ratio.best}"
