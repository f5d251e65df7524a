"""What the page "How it works" shows: one sample at each step, failures, and what nets have learned without labels.

The sample is scikit-image's coffee (Rachel Michetti, CC0): its saucer is red, and in gray it could be anything. The net's answer is kept at
fewer places, and every picture of the sample is decoded from that file, so that what the page's scripts make of it agrees with them. Q
colors, h×w places, P = h·w.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model import distribution, upsample
from model.colorizer import Colorizer
from model.distribution import Distribution
from model.evaluate import color
from model.image_io import Photo
from model.training import augment, data

SAMPLE: Final = "coffee"
WIDTH, HEIGHT = 510, 340
ROWS, COLUMNS = 36, 54
"""Of the stored answer: as many as fit into 300 kB."""
PLACE: Final = (0.2, 0.55)
"""Across and down: on the saucer."""
LIKELIEST, MEAN = 0.05, 1.0
"""Temperatures: a page that decodes at 0 would divide by it."""
METHODS: Final = ("supervised", "simclr", "colorize", "random", "context")

_QUALITY: Final = 84
# Of the colors on the plane: all of them are to be told apart, at dark places too.
_LIGHTEST, _DARKEST = 75.0, 45.0
_SMALLEST, _LARGEST = 0.9, 6.5  # radii on it, in ab units
# Of one lightness, so that both are one gray. (a, b) in CIE Lab.
_SHIRT_LIGHTNESS: Final = 47.0
_RED, _GREEN = (58.0, 34.0), (-42.0, 34.0)
_SHIRTS: Final = 10
_CROPS: Final = {"astronaut": (0, 0, 512, 341), "chelsea": (60, 40, 360, 240)}
"""Of what fails: left, top, right, bottom in pixels."""
_PATCH, _GAP = 96, 12


@dataclass(frozen=True)
class Step:
    """How the stored answer is decoded: the share of the rebalancing that is taken back, and the temperature."""

    share: float
    temperature: float


def write(out: Path, colorizer: Colorizer, lecture: Path) -> None:
    """All files of the page into a folder. `lecture`: the lecture.json whose numbers it shows."""
    out.mkdir(parents=True, exist_ok=True)
    photos = {path.stem: data.read(path) for path in data.find([Path("scikit-image")])}
    truth = np.asarray(
        Image.fromarray(photos[SAMPLE]).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.uint8
    )
    gray = color.gray(truth)
    answered = _answer(colorizer, gray)
    (out / "sample.distribution").write_bytes(answered)
    answer = Distribution(answered)
    decoding = answer.header["decoding"]
    own = Step(decoding["taken_back"], decoding["temperature"])
    _save(truth, out / "truth.jpg")
    _save(gray, out / "gray.jpg")
    for name, step in {
        "colored": own,
        "unweighed": Step(1.0, own.temperature),
        "likeliest": Step(own.share, LIKELIEST),
        "mean": Step(own.share, MEAN),
    }.items():
        _save(upsample.render(gray, colors(answer, step)), out / f"{name}.jpg")
    for name, (left, top, right, bottom) in _CROPS.items():
        [colored] = colorizer.colorize([Photo(color.gray(photos[name]), None, "PNG")])
        both = [pixels[top:bottom, left:right] for pixels in (colored.pixels, photos[name])]
        _save(np.hstack([_scaled(pixels, 360, 240) for pixels in both]), out / f"{name}.jpg")
    for name, pixels in _pretexts(photos["chelsea"]).items():
        _save(pixels, out / f"{name}.jpg")
    numbers = _sample(answer, gray) | {"shirts": _shirts(), "lecture": _lecture(lecture)}
    (out / "numbers.json").write_text(json.dumps(numbers, separators=(",", ":")) + "\n")


def colors(answer: Distribution, step: Step) -> NDArray[np.float32]:
    """(2, h, w) ab: the annealed mean of the answer."""
    moved = answer.header["decoding"]["taken_back"] - step.share
    logits_QP = answer.logits() + moved * np.array(answer.header["log_weights"])[:, None]
    weights_QP = np.exp((logits_QP - logits_QP.max(0)) / step.temperature)
    ab_2P = answer.centers.T @ weights_QP / weights_QP.sum(0)
    return np.asarray(ab_2P.reshape(2, *answer.shape[1:]), np.float32)


def _answer(colorizer: Colorizer, gray: NDArray[np.uint8]) -> bytes:
    photo = Photo(gray, None, "PNG")
    [logits_Qhw] = colorizer.infer([colorizer.preprocess(photo)])
    return distribution.write(distribution.reduced(logits_Qhw, ROWS, COLUMNS), colorizer.card, photo)


def _sample(answer: Distribution, gray: NDArray[np.uint8]) -> dict[str, Any]:
    """What the page says and draws of the place that is marked first; without scripts, of no other."""
    row, column = int(PLACE[1] * ROWS), int(PLACE[0] * COLUMNS)
    lightness = float(upsample.lightness(gray)[int(PLACE[1] * HEIGHT), int(PLACE[0] * WIDTH)])
    shown = float(np.clip(lightness, _DARKEST, _LIGHTEST))
    odds_Q = np.exp(answer.logits()[:, row * COLUMNS + column])
    radii = _SMALLEST + (_LARGEST - _SMALLEST) * np.sqrt(odds_Q / odds_Q.max())
    likely = answer.palette(row, column)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "place": PLACE,
        "decoding": answer.header["decoding"],
        "bins": [
            [int(a), int(b), code, round(float(radius), 2)]
            for (a, b), code, radius in zip(answer.centers, _codes(shown, answer.centers), radii, strict=True)
        ],
        "likely": [
            [code, round(100 * probability)]
            for code, (_, _, probability) in zip(
                _codes(lightness, [color[:2] for color in likely]), likely, strict=True
            )
        ],
    }


def _shirts() -> dict[str, Any]:
    """Red and green of one lightness, and the means of ten of them, by how many are red."""
    shares = np.arange(_SHIRTS + 1)[:, None] / _SHIRTS
    means = shares * np.array(_RED) + (1 - shares) * np.array(_GREEN)
    red, green, gray = _codes(_SHIRT_LIGHTNESS, [_RED, _GREEN, (0.0, 0.0)])
    return {"red": red, "green": green, "gray": gray, "means": _codes(_SHIRT_LIGHTNESS, means)}


def _lecture(path: Path) -> list[dict[str, Any]]:
    """Percent right by the 20 nearest neighbors among AlexNet's features, with its interval, by what it was trained on."""
    found = {
        subject["method"]: subject["neighbors"]
        for subject in json.loads(path.read_text())["subjects"]
        if subject["net"] == "alexnet"
    }
    return [
        {"method": method} | {part: round(100 * found[method][part]) for part in ("accuracy", "low", "high")}
        for method in METHODS
    ]


def _pretexts(photo: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """The three tasks on one photograph, each a square of three patches and two gaps."""
    side = 3 * _PATCH + 2 * _GAP
    left = (photo.shape[1] - photo.shape[0]) // 2
    square = _scaled(photo[:, left : left + photo.shape[0]], side, side)
    places = np.full_like(square, 58)
    for row in range(3):
        for column in range(3):
            top, start = (at * (_PATCH + _GAP) for at in (row, column))
            part = slice(top, top + _PATCH), slice(start, start + _PATCH)
            places[part] = square[part] if (row, column) in ((1, 1), (0, 2)) else 84
    halves = color.gray(square)
    halves[:, side // 2 :] = square[:, side // 2 :]
    return {"task-context": places, "task-colorize": halves, "task-simclr": _views(photo, side)}


def _views(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Two of SimCLR's views, as its training draws them, corner to corner."""
    size = (side + _GAP) // 2 + _PATCH // 3
    rgb_N3HW = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].expand(2, -1, -1, -1)
    strengths = augment.Strengths(side=size)
    drawn = augment.augmented(rgb_N3HW, ("crop", "color"), strengths, torch.Generator().manual_seed(3))
    one, other = (drawn.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    found = np.full((side, side, 3), 58, np.uint8)
    found[:size, :size] = one
    found[-size:, -size:] = other
    return found


def _codes(lightness: float, ab: Sequence[Sequence[float]] | NDArray[Any]) -> list[str]:
    """#rrggbb of colors of this lightness: where sRGB has no such color, of the same hue with less chroma."""
    ab_2N = np.ascontiguousarray(np.asarray(ab, np.float32).T)
    luminance = ((lightness + 16) / 116) ** 3
    gray = round(255 * (1.055 * luminance ** (1 / 2.4) - 0.055))
    pixels = np.full((1, ab_2N.shape[1]), gray, np.uint8)
    rgb_N3 = upsample.render(pixels, ab_2N[:, None], threads=1)[0]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb_N3]


def _scaled(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS), np.uint8)


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(pixels).save(path, quality=_QUALITY, optimize=True, progressive=True)
