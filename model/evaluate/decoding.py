"""What decoding does to the colors: the size that the net sees, the temperature of the annealed mean, the share of rebalancing taken back.

One net, one set of photos. Sizes are tried with the card's temperature and share; at the card's size, every temperature with every share,
as these two interact. The net runs once a photo and size, and all decodings of that size share its logits. They are measured as
`evaluate.color` measures, by its protocol, so that the card's own decoding scores here what it scores there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.cards import Card
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError
from model.evaluate import color, figures
from model.evaluate.intervals import EXACT
from model.evaluate.report import table
from model.image_io import Photo
from model.training import data
from model.training.validation import Decoding

STRIDE = 32  # sizes are multiples of it, as a card's are
METRICS: Mapping[str, str] = {
    "raw_auc": "raw AuC %",
    "rebalanced_auc": "rebalanced AuC %",
    "psnr": "PSNR dB",
    "colorfulness": "colorfulness",
}
Key = TypeVar("Key", bound=Hashable)
_AXES = {"size": "size", "temperature": "temperature", "taken_back": "share taken back"}


@dataclass(frozen=True)
class Axes:
    """The values to try. Raises InputError for sizes that no net takes, and for a share outside of 0…1."""

    sizes: Sequence[int]
    temperatures: Sequence[float]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        wrong = [size for size in self.sizes if size <= 0 or size % STRIDE]
        if wrong:
            raise InputError(f"sizes must be multiples of {STRIDE}, not {', '.join(map(str, wrong))}")
        if outside := [share for share in self.shares if not 0 <= share <= 1]:
            raise InputError(f"the share is {outside[0]:g}, and must lie in 0…1")

    def decodings(self, own: Decoding) -> list[Decoding]:
        """What is tried, in order, each once, `own` among them."""
        temperatures = sorted({*self.temperatures, own.temperature}, reverse=True)
        shares = sorted({*self.shares, own.taken_back})
        sized = [replace(own, size=size) for size in sorted({*self.sizes} - {own.size})]
        return sized + [Decoding(own.size, t, share) for share, t in product(shares, temperatures)]


@dataclass(frozen=True)
class Sweep:
    """Scores by decoding, and those of gray and of the ground truth. `own` is the card's decoding."""

    own: Decoding
    scores: Mapping[Decoding, color.Score]
    gray: color.Score
    truth: color.Score

    def along(self, axis: str) -> list[Decoding]:
        """The decodings that differ from the card's in this field of `Decoding` alone, and the card's, by this field."""
        found = [d for d in self.scores if replace(d, **{axis: getattr(self.own, axis)}) == self.own]
        return sorted(found, key=lambda d: float(getattr(d, axis)))


def own(colorizer: Colorizer) -> Decoding:
    """How a card says that its net is to be decoded. InputError as `card_of`."""
    card = card_of(colorizer)
    return Decoding(card.size, card.temperature, card.share)


def card_of(colorizer: Colorizer) -> Card:
    """The card of a net of our own. InputError for one from an ONNX file, which has no share of a rebalancing to vary."""
    if not isinstance(colorizer.card, Card):
        raise InputError(
            f"{colorizer.name} comes from an ONNX file: decodings are compared for weights of our own"
        )
    return colorizer.card


class Decoder:
    """One net, decoded in many ways."""

    def __init__(self, colorizer: Colorizer, decodings: Sequence[Decoding]) -> None:
        """Raises InputError for a share other than the card's where the card has no prior."""
        card = card_of(colorizer)
        shares = {d.taken_back for d in decodings}
        if not card.prior and shares != {card.share}:
            raise InputError(
                f"the share taken back is fixed at {card.share:g}: it can vary for a net whose card has the prior of its training colors, "
                "or for a training run that was rebalanced, named by --run"
            )
        self.decodings = decodings
        self._colorizer = colorizer
        self._shift = {share: card.shift_to(share)[:, None, None] for share in shares if card.prior}

    def colorize(self, rgb: NDArray[np.uint8]) -> dict[Decoding, NDArray[np.uint8]]:
        """(H, W, 3) uint8 → the photo colored from its lightness, by every decoding, in the same shape."""
        photo = Photo(rgb, None, "PNG")
        net = self._colorizer
        logits = {
            size: net.infer([net.preprocess(photo, size)])[0] for size in {d.size for d in self.decodings}
        }
        done: dict[Decoding, NDArray[np.uint8]] = {}
        for d in self.decodings:
            shifted = logits[d.size] + self._shift.get(d.taken_back, np.float32(0))
            done[d] = net.postprocess(photo, shifted, ColorOptions(d.temperature)).pixels
        return done


def sweep(colorizer: Colorizer, photos: Iterable[Path], axes: Axes) -> Sweep:
    """Measure the axes' decodings over these photos.

    Raises OSError for a photo that cannot be read, InputError where there is none, a value lies outside its range, or as `Decoder` does.
    """
    decoder = Decoder(colorizer, axes.decodings(own(colorizer)))
    return Sweep(own(colorizer), *_scores(photos, decoder.colorize))


def _scores(
    photos: Iterable[Path], colored: Callable[[NDArray[np.uint8]], Mapping[Key, NDArray[np.uint8]]]
) -> tuple[dict[Key, color.Score], color.Score, color.Score]:
    """Of each way in which a photo's crop, (H, W, 3) uint8, is `colored`; of gray; of the ground truth. InputError without a photo."""
    tallies: dict[Key, color.Tally] = defaultdict(color.Tally)
    gray, perfect = color.Tally(), color.Tally()
    for path in photos:
        truth = color.Picture(color.center_crop(data.read(path)))
        gray.add(truth, color.Picture(color.gray(truth.pixels)))
        perfect.add(truth, truth)
        for key, pixels in colored(truth.pixels).items():
            tallies[key].add(truth, color.Picture(pixels))
    if not gray.psnr:
        raise InputError("there is no photograph to evaluate on")
    return {key: tally.score() for key, tally in tallies.items()}, gray.score(), perfect.score()


def as_json(swept: Sweep) -> dict[str, object]:
    """Plain values."""
    return {
        "own": vars(swept.own),
        "gray": _rounded(swept.gray),
        "truth": _rounded(swept.truth),
        "decodings": [vars(d) | _rounded(score) for d, score in swept.scores.items()],
    }


def _rounded(score: color.Score) -> dict[str, float]:
    return {name: round(getattr(score, name), 3) for name in METRICS}


def _cells(score: color.Score) -> list[str]:
    return [
        "exact" if metric == "psnr" and score.psnr > EXACT else f"{getattr(score, metric):.2f}"
        for metric in METRICS
    ]


def as_markdown(swept: Sweep) -> str:
    """A table an axis, the other two as the card says, its own row in bold; and temperature by share, where shares vary."""
    parts = []
    for axis, name in _AXES.items():
        rows = [("gray", swept.gray)]
        for d in swept.along(axis):
            value = f"{getattr(d, axis):g}"
            rows.append((f"**{value}**" if d == swept.own else value, swept.scores[d]))
        rows.append((color.heading("truth"), swept.truth))
        lines = [[row, *_cells(score)] for row, score in rows]
        parts.append(table([name, *METRICS.values()], lines, "---"))
    if len(swept.along("taken_back")) > 1:
        parts.append(_temperature_by_share(swept))
    return "\n".join(parts)


def _temperature_by_share(swept: Sweep) -> str:
    """Gains over gray, raw and rebalanced, and colorfulness."""
    shares = [d.taken_back for d in swept.along("taken_back")]
    gray, lines = swept.gray, []
    for at in swept.along("temperature"):
        scores = [swept.scores[replace(at, taken_back=share)] for share in shares]
        gains = [
            f"{s.raw_auc - gray.raw_auc:+.2f}, {s.rebalanced_auc - gray.rebalanced_auc:+.2f}, {s.colorfulness:.1f}"
            for s in scores
        ]
        lines.append([f"{at.temperature:g}", *gains])
    heads = ["temperature", *(f"{share:g} taken back" for share in shares)]
    return "Raw and rebalanced AuC above gray's, colorfulness:\n\n" + table(heads, lines, "---")


def strips(colorizer: Colorizer, photos: Sequence[Path], temperatures: Sequence[float]) -> Image.Image:
    """A row a photo: gray, its colors from the highest temperature to the lowest, the ground truth. Size and share are the card's."""
    decodings = [
        replace(own(colorizer), temperature=temperature)
        for temperature in sorted({*temperatures}, reverse=True)
    ]
    decoder = Decoder(colorizer, decodings)
    rows = []
    for path in photos:
        truth = color.center_crop(data.read(path))
        pictures = [color.gray(truth), *decoder.colorize(truth).values(), truth]
        rows.append(figures.Strip(path.name, pictures))
    return figures.sheet(
        ["gray", *(f"T = {d.temperature:g}" for d in decodings), color.heading("truth")], rows
    )


def curves(swept: Sweep, path: Path) -> None:
    """Save one panel a metric over the temperature, at the card's size and share: the net's curve, gray's line; the card's dotted."""
    decodings = swept.along("temperature")
    panels = []
    for metric, title in METRICS.items():
        levels = {"gray": (getattr(swept.gray, metric), "gray")}
        # The ground truth's other metrics are perfect, and would press the curve flat.
        if metric == "colorfulness":
            levels["ground truth"] = (swept.truth.colorfulness, "black")
        panels.append(figures.Panel(title, [getattr(swept.scores[d], metric) for d in decodings], levels))
    temperatures = [d.temperature for d in decodings]
    figures.curves(panels, temperatures, "temperature", swept.own.temperature, path)


@dataclass(frozen=True)
class Line:
    """Scores by boldness, (share taken back, temperature) of each, and those of gray and of the ground truth."""

    scores: Mapping[float, color.Score]
    decodings: Mapping[float, tuple[float, float]]
    gray: color.Score
    truth: color.Score


def line(colorizer: Colorizer, photos: Iterable[Path], boldness: Sequence[float]) -> Line:
    """Measure each boldness over these photos. Raises OSError, and InputError, as `sweep` does, and where the card knows of no boldness."""
    card = card_of(colorizer)
    values = sorted({0.0, *boldness})
    decodings = {value: card.decoding(value) for value in values}

    def colored(rgb: NDArray[np.uint8]) -> dict[float, NDArray[np.uint8]]:
        photo = Photo(rgb, None, "PNG")
        [logits] = colorizer.infer([colorizer.preprocess(photo)])
        return {
            value: colorizer.postprocess(photo, logits, ColorOptions(boldness=value)).pixels
            for value in values
        }

    scores, gray, perfect = _scores(photos, colored)
    return Line(scores, decodings, gray, perfect)


def line_as_json(found: Line) -> dict[str, object]:
    """Plain values."""
    rows = [
        {"boldness": value, "taken_back": share, "temperature": temperature} | _rounded(found.scores[value])
        for value, (share, temperature) in found.decodings.items()
    ]
    return {"gray": _rounded(found.gray), "truth": _rounded(found.truth), "line": rows}


def line_as_markdown(found: Line) -> str:
    rows = [["gray", "", "", *_cells(found.gray)]]
    rows += [
        [
            f"{value:+g}" if value else "**0**",
            f"{share:.2f}",
            f"{temperature:.2f}",
            *_cells(found.scores[value]),
        ]
        for value, (share, temperature) in found.decodings.items()
    ]
    rows.append([color.heading("truth"), "", "", *_cells(found.truth)])
    return table(["boldness", "share taken back", "temperature", *METRICS.values()], rows, "---")


def draw_line(found: Line, path: Path) -> None:
    """Save rebalanced over raw AuC, a mark a boldness."""
    # Slow to import, and only of the extra `train`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*zip(*((s.raw_auc, s.rebalanced_auc) for s in found.scores.values()), strict=True), "o-", ms=4)
    for value, score in found.scores.items():
        axes.annotate(
            f"{value:+g}", (score.raw_auc, score.rebalanced_auc), (4, 4), textcoords="offset points"
        )
    axes.axvline(found.gray.raw_auc, color="gray", lw=1, ls=":", label="gray's raw AuC")
    axes.set_xlabel(METRICS["raw_auc"])
    axes.set_ylabel(METRICS["rebalanced_auc"])
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
