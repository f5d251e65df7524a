"""Does a net go by objects, or by low-level cues: brightness and texture? It is shown pictures that part these; see `stimuli`.

Measured is what the net answers, at its own size and as its card decodes it, before lightness and gamut narrow it: also black has a color
here. Colors are means over the picture's positions, in ab units; of objects, over its middle half, where they stand.

- by brightness: how far the answers to plain patches lie from their mean (root mean square), and what share of the answers' variance
  within gradients a line through L* explains.
- by texture: how far the answers to textures of one mean lightness lie from their mean, and how colorful they and scrambled photographs
  are, against the photographs themselves.
- by objects: how near the answer comes to the true colors, against no color at all: of photographs; and of a color chart, whose patches
  only someone can know who knows the chart. And how far an object's color moves from that at contrast 1, as contrast and exposure change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from model import bins, color
from model.colorizer import Colorizer, ColorOptions
from model.evaluate.grid import Cell, grid
from model.evaluate.stimuli import OBJECTS, Stimulus
from model.image_io import Photo

NOTICED = 5.0  # ab units: from here on a difference counts as use of a cue; under it the eye hardly tells two colors apart
_BATCH = 16


@dataclass(frozen=True)
class Answer:
    """What a net says of one stimulus. `entropy` in nats (5.75, ln 313, is knowing nothing), None for a net that answers ab itself."""

    kind: str
    name: str
    object: str
    a: float
    b: float
    chroma: float
    entropy: float | None
    error: float | None  # mean distance from the true colors, where there are any
    gray_error: float | None  # that of no color at all
    explained: float  # share of the answer's variance over the picture that a line through L* explains; 0 where nothing varies
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


def ask(colorizer: Colorizer, shown: Sequence[Stimulus]) -> list[Answer]:
    """The net's answer to each stimulus, in order."""
    photos = [Photo(stimulus.pixels, None, "PNG") for stimulus in shown]
    answers: list[Answer] = []
    for start in range(0, len(shown), _BATCH):
        some = photos[start : start + _BATCH]
        lightness = [colorizer.preprocess(photo) for photo in some]
        logits = colorizer.infer(lightness)
        for stimulus, photo, seen, answer in zip(shown[start:], some, lightness, logits, strict=False):
            answers.append(_answer(colorizer, stimulus, photo, seen, answer))
    return answers


def _answer(
    colorizer: Colorizer, stimulus: Stimulus, photo: Photo, seen_1HW: Tensor, answered: Tensor
) -> Answer:
    ab = colorizer.decode(answered).cpu()
    seen = adaptive_avg_pool2d(seen_1HW, (ab.shape[1], ab.shape[2]))[0]
    height, width = seen.shape
    where = (slice(height // 4, -height // 4), slice(width // 4, -width // 4)) if stimulus.object else ()
    part = ab[(slice(None), *where)]
    mean = part.flatten(1).mean(1)
    entropy = None
    if len(answered) == bins.COUNT:
        log_p = torch.log_softmax(answered, 0)
        entropy = float(-(log_p.exp() * log_p).sum(0).mean())
    error = gray_error = None
    if stimulus.truth is not None:
        rgb = torch.from_numpy(np.array(stimulus.truth)).permute(2, 0, 1)[None] / 255
        true = adaptive_avg_pool2d(color.lab_from_rgb(rgb)[:, 1:], (height, width))[0]
        error, gray_error = (float((true - said).norm(dim=0).mean()) for said in (ab, torch.zeros_like(ab)))
    return Answer(
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
        colorizer.postprocess(photo, answered, ColorOptions()).pixels,
    )


def _explained(lightness: NDArray[np.float64], ab: NDArray[np.float64]) -> float:
    """(P,), (2, P) → the share of ab's variance, both channels together, that a line through lightness explains."""
    centered = ab - ab.mean(1, keepdims=True)
    varied = lightness - lightness.mean()
    total, swing = float((centered**2).sum()), float((varied**2).sum())
    if total < 1e-6 * ab.size or swing < 1e-6 * lightness.size:  # rounding, where nothing varies
        return 0.0
    return float(((centered @ varied) ** 2).sum() / swing / total)


def find(answers: Sequence[Answer]) -> Findings:
    """What the answers to all of `stimuli.stimuli()` come to."""
    kinds = {kind: [a for a in answers if a.kind == kind] for kind in dict.fromkeys(a.kind for a in answers)}

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    def chroma(kind: str) -> float:
        return mean([answer.chroma for answer in kinds[kind]])

    def errors(kind: str) -> tuple[float, float]:
        known = [
            (a.error, a.gray_error) for a in kinds[kind] if a.error is not None and a.gray_error is not None
        ]
        return mean([error for error, _ in known]), mean([gray for _, gray in known])

    def shift(kind: str, name: str) -> float:
        ordinary = next(a for a in answers if a.name == f"{name}, contrast 1")
        others = [a for a in kinds[kind] if a.object == name and a is not ordinary]
        return mean([float(np.linalg.norm(a.ab - ordinary.ab)) for a in others])

    photograph, chart = errors("photograph"), errors("chart")
    return Findings(
        plain_spread=_spread(kinds["plain"]),
        gradients_explained=mean([answer.explained for answer in kinds["gradient"]]),
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


def _spread(answers: Sequence[Answer]) -> float:
    """Root mean square distance of the answers from their mean, in ab units."""
    ab = np.array([answer.ab for answer in answers])
    return float(np.sqrt(((ab - ab.mean(0)) ** 2).sum(1).mean()))


def as_json(answers: Sequence[Answer], findings: Findings) -> dict[str, object]:
    """Plain values."""
    rows = []
    for answer in answers:
        numbers = {
            key: getattr(answer, key)
            for key in ("a", "b", "chroma", "entropy", "error", "gray_error", "explained")
        }
        rows.append(
            {"kind": answer.kind, "name": answer.name}
            | {key: None if value is None else round(value, 3) for key, value in numbers.items()}
        )
    verdicts = {"uses_brightness": findings.uses_brightness, "uses_texture": findings.uses_texture}
    return {"findings": asdict(findings) | verdicts, "stimuli": rows}


def table(answers: Sequence[Answer], findings: Findings) -> str:
    """In Markdown: the findings as sentences, then every stimulus."""
    f = findings
    scrambled = f.scrambled_chroma / f.photograph_chroma if f.photograph_chroma else 0.0
    said = [
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
    for answer in answers:
        entropy = "" if answer.entropy is None else f"{answer.entropy:.2f}"
        lines.append(
            f"| {answer.kind} | {answer.name} | {answer.a:.1f} | {answer.b:.1f} | {answer.chroma:.1f} | {entropy} |"
        )
    return "\n".join(f"- {sentence}" for sentence in said) + "\n\n" + "\n".join(lines)


def figure(
    shown: Sequence[Stimulus], answers: Sequence[Answer], height: int = 84, across: int = 11
) -> Image.Image:
    """Every stimulus above its answer, its name above both; kinds that fit share a row."""
    rows: list[list[Cell]] = [[]]
    for _, group in groupby(zip(shown, answers, strict=True), lambda pair: pair[0].object or pair[0].kind):
        cells = [
            (_short(stimulus), np.vstack([np.stack([stimulus.pixels] * 3, -1), answer.pixels]))
            for stimulus, answer in group
        ]
        if len(rows[-1]) + len(cells) > across:
            rows.append([])
        rows[-1] += cells
    return grid(rows, 2 * height)


def _short(stimulus: Stimulus) -> str:
    return stimulus.name.removeprefix("lighter ").removeprefix(f"{stimulus.object}, ")
