"""How often `model.inspection` is right: photographs in color, and the same made gray, toned and stained; the same on made pages.

The photographs are taken to be in color and without a border. Some are neither, and count against it: sets of photographs hold gray and
framed ones. All that is made is drawn from the photo's place in the order and `SEED`: the same photos give the same numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model import inspection
from model.borders import Box
from model.image_io import Photo
from model.training import data

SEED: Final = 7
_TONES: Final = {
    "sepia": ((40, 22, 8), (250, 238, 210), (0.85, 1, 1.25)),
    "strong sepia": ((55, 20, 0), (255, 232, 175), (0.7, 1, 1.5)),
    "selenium": ((25, 15, 28), (245, 240, 240), (1.05, 1, 0.95)),
    "cyanotype": ((5, 25, 70), (240, 246, 248), (1.6, 1, 0.75)),
    "faded": ((70, 30, 10), (235, 200, 150), (0.75, 1, 1.2)),
    "yellow paper": ((15, 12, 10), (252, 244, 216), (1, 1, 1)),
}
"""The color of black, that of paper, and the densities of red, green and blue."""
_PAGES: Final = (255, 250, 245, 225, 200, 150, 90, 40, 20, 0)
_CAPTION: Final = "With grandmother in the garden, June 1931"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rates:
    """`in_color`: (called in color, all) by what was shown; `framed`: photos without a border that were given one; `overlaps` of pages."""

    in_color: Mapping[str, tuple[int, int]]
    framed: tuple[int, int]
    overlaps: Sequence[float]

    def as_json(self) -> dict[str, object]:
        return {"in_color": dict(self.in_color), "framed": self.framed, "overlaps": list(self.overlaps)}

    def as_markdown(self) -> str:
        overlaps = np.array(self.overlaps)
        counted = {
            "found": overlaps > 0,
            "found, intersection over union 0.9 and more": overlaps >= 0.9,
            "found, intersection over union 0.8 and more": overlaps >= 0.8,
            "found elsewhere, below 0.8": (overlaps > 0) & (overlaps < 0.8),
        }
        rows = [(f"{name}: called in color", *counts) for name, counts in self.in_color.items()]
        rows.append(("no page made: a border is found", *self.framed))
        rows += [(f"on a made page: {name}", int(hits.sum()), len(hits)) for name, hits in counted.items()]
        lines = [f"| {name} | {hits} of {total} | {hits / total:.1%} |" for name, hits, total in rows]
        return "\n".join(["| | | |", "|---|---|---|", *lines])


def measure(photos: Sequence[Path]) -> Iterator[tuple[Mapping[str, bool], bool, float]]:
    """For each photo: whether each of its versions is called in color, whether it is given a border, its overlap on a made page."""
    for place, path in enumerate(photos):
        rng = np.random.default_rng((SEED, place))
        rgb = data.read(path)
        called = {name: inspection.is_in_color(_photo(shown)) for name, shown in _versions(rgb, rng).items()}
        framed = inspection.prepare(_photo(_gray(rgb))).frame is not None
        laid = lay(_scaled(Image.fromarray(_gray(rgb)), rng), rng)
        found = inspection.prepare(_photo(laid.pixels)).frame
        yield called, framed, 0.0 if found is None else _overlap(found, laid.box)


def summarize(measured: Sequence[tuple[Mapping[str, bool], bool, float]]) -> Rates:
    """Of what `measure` found, of one photo at least: how many were called so."""
    names = measured[0][0]
    total = len(measured)
    return Rates(
        {name: (sum(called[name] for called, _, _ in measured), total) for name in names},
        (sum(framed for _, framed, _ in measured), total),
        [overlap for _, _, overlap in measured],
    )


def _gray(rgb: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _photo(pixels: NDArray[Any]) -> Photo:
    return Photo(pixels, None, "JPEG")


def _versions(rgb: Pixels, rng: np.random.Generator) -> dict[str, Pixels]:
    gray = _gray(rgb).astype(np.float32)[..., None]
    three = np.repeat(gray, 3, -1)
    versions = {
        "in color": rgb,
        "in color, half the saturation": _jpeg((rgb + gray) / 2, 90),
        "gray, saved as RGB by JPEG at quality 40": _jpeg(three, 40),
        "gray, noise of its own in each channel": _jpeg(three + rng.normal(0, 12, rgb.shape), 75),
    }
    for name, tone in _TONES.items():
        quality = int(rng.integers(40, 93))
        versions[name] = _jpeg(_toned(three, tone, rng) + rng.normal(0, 4, rgb.shape), quality)
    name = ("sepia", "yellow paper", "selenium")[int(rng.integers(3))]
    versions["toned, stained unevenly"] = _jpeg(_stained(_toned(three, _TONES[name], rng), rng), 80)
    return versions


def _toned(three: NDArray[np.float32], tone: tuple[Any, Any, Any], rng: np.random.Generator) -> NDArray[Any]:
    """By Beer and Lambert's law, in linear light, at half the tone's strength and more."""
    strength = rng.uniform(0.5, 1.1)
    black, paper, density = (np.array(part, float) for part in tone)
    black, paper = ((end / 255) ** 2.2 for end in (black * strength, 255 - (255 - paper) * strength))
    light = black + (paper - black) * (three / 255) ** (2.2 * (1 + (density - 1) * strength))
    return 255 * np.clip(light, 0, 1) ** (1 / 2.2)


def _stained(toned: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    places = Image.fromarray(rng.normal(size=(4, 4)).astype(np.float32))
    wide = places.resize((toned.shape[1], toned.shape[0]), Image.Resampling.BICUBIC)
    share = np.clip(0.5 + 0.5 * np.asarray(wide), 0, 1)[..., None] * rng.uniform(0.3, 0.8)
    stained: NDArray[Any] = toned * (1 - share + share * np.array([0.97, 0.88, 0.68]))
    return stained


def _jpeg(pixels: NDArray[Any], quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _scaled(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = float(rng.choice([1, 1.5, 2, 3]))
    return photo.resize((int(photo.width * scale), int(photo.height * scale)), Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Page:
    """A gray photo on its page: (H, W) uint8; `photo` is how much of each pixel the photo covers, 0…255; `box` is the photo upright."""

    pixels: Pixels
    photo: Pixels
    box: Box


def lay(photo: Image.Image, rng: np.random.Generator) -> Page:
    """Lay a photo of mode L on a page: perhaps with a border of its own, aslant, a caption, and paper that has a texture."""
    width, height = photo.size
    short = min(photo.size)
    border = int(short * rng.choice([0, 0, 0.03, 0.06]))
    above, left, below, right = (border + int(part * short) for part in rng.uniform(0.02, 0.3, 4))
    size = (left + width + right, above + height + below)
    box = (above, left, above + height, left + width)
    tone = int(rng.choice(_PAGES))
    texture = rng.normal(tone, rng.choice([0.01, 1, 3]), size[::-1])
    page = Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8))
    prints, where, covered = (Image.new("L", size) for _ in range(3))
    prints.paste(
        int(rng.choice([255, 240, 225])),
        (left - border, above - border, left + width + border, above + height + border),
    )
    prints.paste(photo, (left, above))
    covered.paste(255, (left, above, left + width, above + height))
    where.paste(255, (left - border, above - border, left + width + border, above + height + border))
    angle, center = float(rng.choice([0, 0, 0.5, -1, 2, -2])), (left + width / 2, above + height / 2)
    prints, where, covered = (
        each.rotate(angle, Image.Resampling.BICUBIC, center=center) for each in (prints, where, covered)
    )
    page.paste(prints, mask=where)
    if rng.random() < 0.35 and below - border > short * 0.12:
        ink = 30 if tone > 120 else 230
        font = ImageFont.load_default(max(8, short * 0.05))
        ImageDraw.Draw(page).text((left, size[1] - short * 0.08), _CAPTION, ink, font)
    pixels = _jpeg(np.asarray(page).astype(np.float32), int(rng.integers(50, 95)))
    return Page(pixels, np.asarray(covered), box)


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    height = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return height * width / (areas - height * width)
