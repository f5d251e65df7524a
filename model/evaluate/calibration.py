"""How right is `model.confidence`: of the places said to be 70% sure of a hue, are 70% right?

Each photo is shown whole, as it would be colored, at the card's decoding. At each of the net's places the truth is the photo's mean color
there, and right is who shows its hue family. Gray and toned photographs are left out. The two numbers of the calibration are fitted on
some sources, each counting alike, by maximum likelihood, and judged on others.

Expected calibration error: places in ten groups by what was said of them, 0 to 10% and so on; the mean over places of the distance between
what was said and how many were right (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Photos count alike, and intervals are of the
bootstrap over photos (`evaluate.intervals`), in which this error is a little larger than its value, as noise adds to distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize

from model import confidence, inspection
from model.cards import Calibration, Card
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate.color import Picture
from model.evaluate.intervals import Bootstrap, Samples, as_plain, as_text
from model.evaluate.report import table
from model.image_io import Photo
from model.training import data

GROUPS = 10
COLUMNS: Mapping[str, tuple[str, int]] = {
    "right": ("right %", 1),
    "said": ("said %", 1),
    "error": ("calibration error", 1),
    "plain_error": ("before calibration", 1),
    "seventy": ("right of those said to be 65 to 75% sure %", 1),
    "noticed": ("mostly_guessed %", 1),
    "right_where_noticed": ("right where noticed %", 1),
}


@dataclass(frozen=True)
class Places:
    """Of a photo: log-odds said of the hue shown at each place, whether it is right, and whether `mostly_guessed` would be said."""

    said: NDArray[np.float32]
    right: NDArray[np.bool_]
    is_noticed: bool


def measure(colorizer: Colorizer, photos: Iterable[Path]) -> Iterator[Places]:
    """Of each photo in color. InputError for a net whose card has no prior, OSError for a photo that cannot be read."""
    card = colorizer.card
    if not isinstance(card, Card):
        raise InputError(f"{colorizer.name} comes from an ONNX file: only nets of our own are calibrated")
    for path in photos:
        photo = Photo(data.read(path), None, "PNG")
        if not inspection.is_in_color(photo):
            continue
        [logits] = colorizer.infer([colorizer.preprocess(photo)])
        height, width = logits.shape[1:]
        shown = confidence.family(colorizer.decode(logits))
        small = Image.fromarray(photo.pixels).resize((width, height), Image.Resampling.BOX)
        right = confidence.family(Picture(np.asarray(small)).ab.numpy()) == shown
        said = confidence.said(logits, shown, card)
        yield Places(said.ravel(), right.ravel(), confidence.notice(logits, card) is not None)


def fit(sources: Mapping[str, Sequence[Places]]) -> Calibration:
    """The line through the log-odds that makes what happened likeliest. Raises InputError where a source has no photograph in color."""
    if not all(sources.values()):
        raise InputError("there is no photograph in color to calibrate on")
    said = [np.concatenate([photo.said for photo in source]) for source in sources.values()]
    right = [np.concatenate([photo.right for photo in source]) for source in sources.values()]

    def loss(line: NDArray[np.float64]) -> float:
        signed = (
            np.where(was, 1, -1) * (line[0] * odds + line[1]) for odds, was in zip(said, right, strict=True)
        )
        return float(np.mean([np.logaddexp(0, -each).mean() for each in signed]))

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-4}).x
    on = ", ".join(f"{len(photos)} of {name}" for name, photos in sources.items())
    return Calibration(round(float(slope), 3), round(float(intercept), 3), on)


def line(calibration: Calibration) -> str:
    return f"slope {calibration.slope}, intercept {calibration.intercept}, fitted on {calibration.fitted}"


@dataclass(frozen=True)
class Reliability:
    """Of a source: metrics with their draws, and (GROUPS,) places' share, what was said and what was right by group."""

    metrics: Mapping[str, Samples]
    groups: Mapping[str, NDArray[np.float64]]


def reliability(photos: Sequence[Places], calibration: Calibration) -> Reliability:
    """Of one photo at least."""
    draws = Bootstrap(len(photos))
    tallies = draws.sums([_by_group(photo, calibration) for photo in photos])  # (draws, 3, GROUPS)
    plain = draws.sums([_by_group(photo, Calibration(1, 0, "")) for photo in photos])
    seventy = draws.sums([_around_seventy(photo, calibration) for photo in photos])
    noticed = draws.sums([(photo.is_noticed, photo.is_noticed * photo.right.mean()) for photo in photos])
    with np.errstate(invalid="ignore"):
        metrics = {
            "right": 100 * tallies[:, 2].sum(1) / len(photos),
            "said": 100 * tallies[:, 1].sum(1) / len(photos),
            "error": 100 * np.abs(tallies[:, 1] - tallies[:, 2]).sum(1) / len(photos),
            "plain_error": 100 * np.abs(plain[:, 1] - plain[:, 2]).sum(1) / len(photos),
            "seventy": 100 * seventy[:, 1] / seventy[:, 0],
            "noticed": 100 * noticed[:, 0] / len(photos),
            "right_where_noticed": 100 * noticed[:, 1] / noticed[:, 0],
        }
    return Reliability(metrics, dict(zip(("share", "said", "right"), tallies[0] / len(photos), strict=True)))


def _by_group(photo: Places, calibration: Calibration) -> NDArray[np.float64]:
    """(3, GROUPS): the share of places in each group, and what was said and was right of them, over all places."""
    sure = confidence.calibrated(photo.said, calibration)
    group = np.minimum((sure * GROUPS).astype(int), GROUPS - 1)
    return np.array(
        [np.bincount(group, values, GROUPS) for values in (np.ones(len(sure)), sure, photo.right)]
    ) / len(sure)


def _around_seventy(photo: Places, calibration: Calibration) -> tuple[float, float]:
    """The share of places said to be 65 to 75% sure, and of those that are and are right."""
    sure = confidence.calibrated(photo.said, calibration)
    around = (sure >= 0.65) & (sure < 0.75)
    return float(around.mean()), float((around & photo.right).mean())


def as_markdown(found: Mapping[str, Reliability]) -> str:
    rows = [
        [source, *(as_text(key, of.metrics[key], decimals) for key, (_, decimals) in COLUMNS.items())]
        for source, of in found.items()
    ]
    return table(["", *(name for name, _ in COLUMNS.values())], rows, "---")


def as_json(found: Mapping[str, Reliability], calibration: Calibration) -> dict[str, object]:
    """Plain values."""
    plain = as_plain({source: dict(of.metrics) for source, of in found.items()})
    groups = {
        source: {key: values.round(4).tolist() for key, values in of.groups.items()}
        for source, of in found.items()
    }
    return {"calibration": asdict(calibration), "sources": plain, "groups": groups}


def diagram(found: Mapping[str, Reliability], path: Path) -> None:
    """Save the reliability diagram: what was right over what was said, a line a source; below, how many places each group has."""
    # Slow to import, and only of the extra `train`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="gray", lw=1, ls=":")
    for source, of in found.items():
        share, said, right = (of.groups[key] for key in ("share", "said", "right"))
        some = share > 0.002
        axes.plot(said[some] / share[some], right[some] / share[some], "o-", ms=3, label=source)
        below.plot((np.arange(GROUPS) + 0.5) / GROUPS, share, "o-", ms=2)
    axes.set_ylabel("share that is right")
    axes.legend(fontsize=8, frameon=False)
    below.set_ylabel("share of places", fontsize=8)
    below.set_xlabel("said to be right")
    figure.savefig(path, dpi=120)
