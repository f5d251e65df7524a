"""Pictures that part low-level cues from objects: lightness alone, texture alone, and one object under several contrasts and exposures.

After Zhang, Isola & Efros (ECCV 2016), who ask whether their network merely exploits low-level cues, with a gray color chart among others.
All are made here, or from the photographs that scikit-image carries. 256×256, 8-bit gray; L* is lightness, 0…100.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model import color
from model.evaluate.color import SIDE, central
from model.training import data

MIDDLE, SPREAD = 50.0, 15.0  # L* of the made textures: mean and standard deviation
LIGHTNESSES = tuple(range(0, 101, 10))
CONTRASTS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
EXPOSURES = (-20, -10, 10, 20)  # L*
OBJECTS = ("coffee", "chelsea")
_CHART = """
    735244 c29682 627a9d 576c43 8580b1 67bdaa
    d67e2c 505ba6 c15a63 5e3c6c 9dbc40 e0a32e
    383d96 469449 af363c e7c71f bb5695 0885a1
    f3f3f2 c8c8c8 a0a0a0 7a7a79 555555 343434
"""  # the published sRGB values of the ColorChecker's 24 patches

Lightness = NDArray[np.float64]


@dataclass(frozen=True)
class Stimulus:
    """`kind`: plain, gradient, texture, scrambled, photograph, chart, contrast or exposure; `name`: which of them."""

    kind: str
    name: str
    pixels: NDArray[np.uint8]  # (256, 256) sRGB-coded gray
    object: str = ""  # whose colors under contrast and exposure are compared
    truth: NDArray[np.uint8] | None = None  # (256, 256, 3), of what has colors of its own


def stimuli(seed: int = 0) -> list[Stimulus]:
    """All of them, in the order of a report."""
    colored = {path.stem: central(data.read(path)) for path in data.find([Path("scikit-image")])}
    photographs = {name: _lightness(rgb) for name, rgb in colored.items()}
    made = [*_plain(), *_gradients(), *_textures(np.random.default_rng(seed))]
    for number, (name, lightness) in enumerate(photographs.items()):
        scrambled = _scrambled(lightness, np.random.default_rng((seed, number)))
        made.append(Stimulus("scrambled", name, _shown(scrambled)))
    for name, lightness in photographs.items():
        made.append(Stimulus("photograph", name, _shown(lightness), truth=colored[name]))
    made.append(_chart())
    for name in OBJECTS:
        made += _developed(name, photographs[name])
    return made


def _plain() -> Iterator[Stimulus]:
    for value in LIGHTNESSES:
        yield Stimulus("plain", f"L* {value}", _shown(np.full((SIDE, SIDE), float(value))))


def _gradients() -> Iterator[Stimulus]:
    rising = np.broadcast_to(np.linspace(10, 90, SIDE), (SIDE, SIDE))
    for turns, name in enumerate(("to the right", "upward", "to the left", "downward")):
        yield Stimulus("gradient", f"lighter {name}", _shown(np.rot90(rising, turns)))


def _textures(chance: np.random.Generator) -> Iterator[Stimulus]:
    white = chance.standard_normal((SIDE, SIDE))
    y, x = np.meshgrid(*[np.fft.fftfreq(SIDE)] * 2, indexing="ij")
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    yield Stimulus("texture", "1/f noise", _texture(np.fft.ifft2(np.fft.fft2(white) / frequency).real))
    for grain in (1, 4, 16):
        coarse = chance.standard_normal((SIDE // grain, SIDE // grain))
        yield Stimulus("texture", f"noise, {grain} px", _texture(np.kron(coarse, np.ones((grain, grain)))))
    for cycles in (4, 16, 64):
        wave = np.sin(2 * np.pi * cycles * (np.arange(SIDE) + 0.5) / SIDE)
        yield Stimulus("texture", f"{cycles} stripes", _texture(np.broadcast_to(wave, (SIDE, SIDE))))


def _texture(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return _shown(MIDDLE + SPREAD * (values - values.mean()) / values.std())


def _scrambled(lightness: Lightness, chance: np.random.Generator) -> Lightness:
    """The same spectrum, before it is clipped, with the phases of noise: all of a photograph's frequencies, none of its objects."""
    noise = np.fft.fft2(chance.standard_normal(lightness.shape))
    noise[0, 0] = np.abs(noise[0, 0])  # the mean stays
    scrambled: Lightness = np.fft.ifft2(np.abs(np.fft.fft2(lightness)) * noise / np.abs(noise)).real
    return scrambled


def _chart() -> Stimulus:
    patches = np.array([list(bytes.fromhex(patch)) for patch in _CHART.split()], np.uint8).reshape(4, 6, 3)
    rows, columns = (np.arange(SIDE) * count // SIDE for count in (4, 6))
    truth = patches[rows][:, columns]
    return Stimulus("chart", "24 patches", _shown(_lightness(truth)), truth=truth)


def _developed(name: str, lightness: Lightness) -> Iterator[Stimulus]:
    middle = lightness.mean()
    for contrast in CONTRASTS:
        pixels = _shown(middle + contrast * (lightness - middle))
        yield Stimulus("contrast", f"{name}, contrast {contrast:g}", pixels, name)
    for shift in EXPOSURES:
        yield Stimulus("exposure", f"{name}, {shift:+d} L*", _shown(lightness + shift), name)


def _lightness(rgb: NDArray[np.uint8]) -> Lightness:
    values = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None] / 255
    lightness: Lightness = color.lightness_from_rgb(values)[0].double().numpy()
    return lightness


def _shown(lightness: Lightness) -> NDArray[np.uint8]:
    """L*, clipped to 0…100, as 8-bit gray."""
    values = torch.from_numpy(np.clip(lightness, 0, 100)).float()
    gray = color.gamut_map(values, torch.zeros(2, *values.shape))[1]
    return (gray * 255).round().byte().numpy()
