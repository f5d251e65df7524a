"""Does a net go by objects, or by low-level cues: brightness and texture? Its responses to stimuli that separate these.

After Zhang, Isola & Efros (ECCV 2016), who ask whether their network merely exploits low-level cues, with a gray color chart among others.

Stimuli are lightness alone, texture alone, and one object under several contrasts and exposures: synthesized here, or from the photographs
that scikit-image carries. 256×256, 8-bit gray; L* is lightness, 0…100.

Measured is what the net predicts, at its own size and as its card decodes it, before lightness and gamut narrow it: also black has a color
here. Colors are means over the picture's positions, in ab units; of objects, over its middle half, where they are.

- by brightness: how far the responses to plain patches lie from their mean (root mean square), and what share of the responses' variance
  within gradients a line through L* explains.
- by texture: how far the responses to textures of one mean lightness lie from their mean, and how colorful they and scrambled photographs
  are, compared to the photographs themselves.
- by objects: how near the response comes to the true colors, compared to no color at all: of photographs; and of a color chart, whose
  patches can be known only by knowing the chart. And how far an object's color moves from that at contrast 1, as contrast and exposure
  change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from model import bins
from model.colorizer import Colorizer, ColorOptions
from model.evaluate.color import SIDE, Picture, center_crop, from_lightness, lightness
from model.evaluate.figures import Cell, grid
from model.image_io import Photo
from model.training import data

NOTICED = 5.0  # ab units: from here on a difference counts as use of a cue; under it the eye hardly tells two colors apart
_BATCH = 16
MIDDLE, SPREAD = 50.0, 15.0  # L* of textures: mean and standard deviation
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
    colored = {path.stem: center_crop(data.read(path)) for path in data.find([Path("scikit-image")])}
    photographs = {name: _lightness(rgb) for name, rgb in colored.items()}
    found = [*_plain(), *_gradients(), *_textures(np.random.default_rng(seed))]
    for number, (name, values) in enumerate(photographs.items()):
        scrambled = _scrambled(values, np.random.default_rng((seed, number)))
        found.append(Stimulus("scrambled", name, _shown(scrambled)))
    for name, values in photographs.items():
        found.append(Stimulus("photograph", name, _shown(values), truth=colored[name]))
    found.append(_chart())
    for name in OBJECTS:
        found += _developed(name, photographs[name])
    return found


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


def _scrambled(values: Lightness, chance: np.random.Generator) -> Lightness:
    """The same spectrum, before it is clipped, with the phases of noise: all of a photograph's frequencies, none of its objects."""
    noise = np.fft.fft2(chance.standard_normal(values.shape))
    noise[0, 0] = np.abs(noise[0, 0])  # the mean stays
    scrambled: Lightness = np.fft.ifft2(np.abs(np.fft.fft2(values)) * noise / np.abs(noise)).real
    return scrambled


def _chart() -> Stimulus:
    patches = np.array([list(bytes.fromhex(patch)) for patch in _CHART.split()], np.uint8).reshape(4, 6, 3)
    rows, columns = (np.arange(SIDE) * count // SIDE for count in (4, 6))
    truth = patches[rows][:, columns]
    return Stimulus("chart", "24 patches", _shown(_lightness(truth)), truth=truth)


def _developed(name: str, values: Lightness) -> Iterator[Stimulus]:
    middle = values.mean()
    for contrast in CONTRASTS:
        pixels = _shown(middle + contrast * (values - middle))
        yield Stimulus("contrast", f"{name}, contrast {contrast:g}", pixels, name)
    for shift in EXPOSURES:
        yield Stimulus("exposure", f"{name}, {shift:+d} L*", _shown(values + shift), name)


def _lightness(rgb: NDArray[np.uint8]) -> Lightness:
    found: Lightness = lightness(rgb).double().numpy()
    return found


def _shown(values: Lightness) -> NDArray[np.uint8]:
    """L*, clipped to 0…100, as 8-bit gray."""
    return from_lightness(torch.from_numpy(np.clip(values, 0, 100)).float())[..., 1].copy()


@dataclass(frozen=True)
class Response:
    """A net's prediction for one stimulus. `entropy` in nats (5.75, ln 313, is a uniform one), None for a net that predicts ab."""

    kind: str
    name: str
    object: str
    a: float
    b: float
    chroma: float
    entropy: float | None
    error: float | None  # mean distance from the true colors, where there are any
    gray_error: float | None  # that of no color at all
    explained: float  # share of the prediction's variance over the picture that a line through L* explains; 0 where nothing varies
    pixels: NDArray[np.uint8]  # (256, 256, 3): the picture in color

    @property
    def ab(self) -> NDArray[np.float64]:
        return np.array([self.a, self.b])


@dataclass(frozen=True)
class Findings:
    """See the head of this file. ab units, but `gradients_explained`, a share."""

    plain_spread: float
    gradients_explained: float
    gradient_chroma: float
    texture_spread: float
    texture_chroma: float
    scrambled_chroma: float
    photograph_chroma: float
    photograph_error: float
    photograph_gray_error: float
    chart_error: float
    chart_gray_error: float
    contrast_shift: Mapping[str, float]
    exposure_shift: Mapping[str, float]

    @property
    def uses_brightness(self) -> bool:
        return self.plain_spread >= NOTICED

    @property
    def uses_texture(self) -> bool:
        return self.texture_spread >= NOTICED


def respond(colorizer: Colorizer, shown: Sequence[Stimulus]) -> list[Response]:
    """The net's response to each stimulus, in order."""
    photos = [Photo(stimulus.pixels, None, "PNG") for stimulus in shown]
    responses: list[Response] = []
    for start in range(0, len(shown), _BATCH):
        some = photos[start : start + _BATCH]
        inputs = [colorizer.preprocess(photo) for photo in some]
        outputs = colorizer.infer(inputs)
        for stimulus, photo, seen, output in zip(shown[start:], some, inputs, outputs, strict=False):
            responses.append(_response(colorizer, stimulus, photo, torch.from_numpy(seen), output))
    return responses


def _response(
    colorizer: Colorizer, stimulus: Stimulus, photo: Photo, seen_1HW: Tensor, output: NDArray[np.float32]
) -> Response:
    ab = torch.from_numpy(colorizer.decode(output))
    seen = adaptive_avg_pool2d(seen_1HW, (ab.shape[1], ab.shape[2]))[0]
    height, width = seen.shape
    where = (slice(height // 4, -height // 4), slice(width // 4, -width // 4)) if stimulus.object else ()
    part = ab[(slice(None), *where)]
    mean = part.flatten(1).mean(1)
    entropy = None
    if len(output) == bins.COUNT:
        log_p = torch.log_softmax(torch.from_numpy(output), 0)
        entropy = float(-(log_p.exp() * log_p).sum(0).mean())
    error = gray_error = None
    if stimulus.truth is not None:
        true = adaptive_avg_pool2d(Picture(stimulus.truth).ab[None], (height, width))[0]
        error, gray_error = (float((true - each).norm(dim=0).mean()) for each in (ab, torch.zeros_like(ab)))
    return Response(
        stimulus.kind,
        stimulus.name,
        stimulus.object,
        float(mean[0]),
        float(mean[1]),
        float(part.norm(dim=0).mean()),
        entropy,
        error,
        gray_error,
        _explained(seen.flatten().double().numpy(), ab.flatten(1).double().numpy()),
        colorizer.postprocess(photo, output, ColorOptions()).pixels,
    )


def _explained(seen: NDArray[np.float64], ab: NDArray[np.float64]) -> float:
    """(P,), (2, P) → the share of ab's variance, both channels together, that a line through lightness explains."""
    centered = ab - ab.mean(1, keepdims=True)
    varied = seen - seen.mean()
    total, swing = float((centered**2).sum()), float((varied**2).sum())
    if total < 1e-6 * ab.size or swing < 1e-6 * seen.size:  # rounding, where nothing varies
        return 0.0
    return float(((centered @ varied) ** 2).sum() / swing / total)


def summarize(responses: Sequence[Response]) -> Findings:
    """Of the responses to all of `stimuli()`."""
    kinds = {
        kind: [each for each in responses if each.kind == kind]
        for kind in dict.fromkeys(each.kind for each in responses)
    }

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    def chroma(kind: str) -> float:
        return mean([each.chroma for each in kinds[kind]])

    def errors(kind: str) -> tuple[float, float]:
        known = [
            (each.error, each.gray_error)
            for each in kinds[kind]
            if each.error is not None and each.gray_error is not None
        ]
        return mean([error for error, _ in known]), mean([gray for _, gray in known])

    def shift(kind: str, name: str) -> float:
        ordinary = next(each for each in responses if each.name == f"{name}, contrast 1")
        others = [each for each in kinds[kind] if each.object == name and each is not ordinary]
        return mean([float(np.linalg.norm(each.ab - ordinary.ab)) for each in others])

    photograph, chart = errors("photograph"), errors("chart")
    return Findings(
        plain_spread=_spread(kinds["plain"]),
        gradients_explained=mean([each.explained for each in kinds["gradient"]]),
        gradient_chroma=chroma("gradient"),
        texture_spread=_spread(kinds["texture"]),
        texture_chroma=chroma("texture"),
        scrambled_chroma=chroma("scrambled"),
        photograph_chroma=chroma("photograph"),
        photograph_error=photograph[0],
        photograph_gray_error=photograph[1],
        chart_error=chart[0],
        chart_gray_error=chart[1],
        contrast_shift={name: shift("contrast", name) for name in OBJECTS},
        exposure_shift={name: shift("exposure", name) for name in OBJECTS},
    )


def _spread(responses: Sequence[Response]) -> float:
    """Root mean square distance of the responses from their mean, in ab units."""
    ab = np.array([response.ab for response in responses])
    return float(np.sqrt(((ab - ab.mean(0)) ** 2).sum(1).mean()))


def as_json(responses: Sequence[Response], findings: Findings) -> dict[str, object]:
    """Plain values."""
    rows = []
    for response in responses:
        numbers = {
            key: getattr(response, key)
            for key in ("a", "b", "chroma", "entropy", "error", "gray_error", "explained")
        }
        rows.append(
            {"kind": response.kind, "name": response.name}
            | {key: None if value is None else round(value, 3) for key, value in numbers.items()}
        )
    verdicts = {"uses_brightness": findings.uses_brightness, "uses_texture": findings.uses_texture}
    return {"findings": asdict(findings) | verdicts, "stimuli": rows}


def as_markdown(responses: Sequence[Response], findings: Findings) -> str:
    """The findings as sentences, then a table of every stimulus."""
    f = findings
    scrambled = f.scrambled_chroma / f.photograph_chroma if f.photograph_chroma else 0.0
    sentences = [
        f"Brightness is {'' if f.uses_brightness else 'hardly '}used: plain patches of eleven lightnesses lie {f.plain_spread:.1f} "
        f"ab units from their mean; in gradients a line through L* explains {f.gradients_explained:.0%} of what varies.",
        f"Texture is {'' if f.uses_texture else 'hardly '}used: textures of one mean lightness lie {f.texture_spread:.1f} "
        f"from their mean, at chroma {f.texture_chroma:.1f}.",
        f"Photographs without their objects (same spectrum, phases of noise) get chroma {f.scrambled_chroma:.1f}, with them "
        f"{f.photograph_chroma:.1f}: {scrambled:.0%}.",
        f"Answers to photographs lie {f.photograph_error:.1f} from their true colors, where gray is {f.photograph_gray_error:.1f} away; "
        f"to a color chart {f.chart_error:.1f}, where gray is {f.chart_gray_error:.1f} away.",
        *(
            f"The color of {name} moves by {f.contrast_shift[name]:.1f} over contrasts and by {f.exposure_shift[name]:.1f} over exposures."
            for name in f.contrast_shift
        ),
    ]
    lines = ["| | | mean a | mean b | chroma | entropy, nats |", "|---|---|---|---|---|---|"]
    for each in responses:
        entropy = "" if each.entropy is None else f"{each.entropy:.2f}"
        lines.append(
            f"| {each.kind} | {each.name} | {each.a:.1f} | {each.b:.1f} | {each.chroma:.1f} | {entropy} |"
        )
    return "\n".join(f"- {sentence}" for sentence in sentences) + "\n\n" + "\n".join(lines)


def figure(
    shown: Sequence[Stimulus], responses: Sequence[Response], height: int = 84, across: int = 11
) -> Image.Image:
    """Every stimulus above its response, its name above both; kinds that fit share a row."""
    rows: list[list[Cell]] = [[]]
    for _, group in groupby(zip(shown, responses, strict=True), lambda pair: pair[0].object or pair[0].kind):
        cells = [
            (_short(stimulus), np.vstack([np.stack([stimulus.pixels] * 3, -1), response.pixels]))
            for stimulus, response in group
        ]
        if len(rows[-1]) + len(cells) > across:
            rows.append([])
        rows[-1] += cells
    return grid(rows, 2 * height)


def _short(stimulus: Stimulus) -> str:
    return stimulus.name.removeprefix("lighter ").removeprefix(f"{stimulus.object}, ")
