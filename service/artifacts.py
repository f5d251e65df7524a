"""What is made beside the result: a comparison to look at, and a sidecar that says how the colors came about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.schemas import Options

LONGEST_SIDE = 2048
"""Of each half of a comparison, which is for looking at."""
IN_THE_PICTURE = {"temperature", "vividness", "format", "quality"}
"""The options that the picture depends on. Others, a webhook's address say, are nobody's business."""
GUESSED = (
    "The colors are guesses. They were added by a neural network to a photograph that does not hold its true "
    "colors; only the lightness is the photograph's own."
)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
"""IPTC NewsCodes, Digital Source Type."""


@dataclass(frozen=True, slots=True)
class Made:
    """By what a result was made, and which file it is."""

    net: str
    net_sha256: str
    temperature: float
    """As it was used: the option's, or the net's own."""
    result_sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sides:
    """The photo, (H, W) uint8 or uint16 or (H, W, 3) uint8; in color, (H, W, 3); and how opaque, (H, W) or None."""

    gray: NDArray[Any]
    colored: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class File:
    """One of them, not yet in the store."""

    kind: Literal["comparison", "sidecar"]
    name: str
    media_type: str
    data: bytes


def make(
    options: Options, sides: Sides, made: Made, as_jpeg: Callable[[NDArray[np.uint8]], bytes]
) -> Iterator[File]:
    """What the options ask for."""
    if "comparison" in options.artifacts:
        yield File("comparison", "comparison.jpg", "image/jpeg", as_jpeg(comparison(sides)))
    if "sidecar" in options.artifacts:
        yield File("sidecar", "sidecar.json", "application/json", sidecar(options, made))


def comparison(sides: Sides) -> NDArray[np.uint8]:
    """Gray on the left, color on the right, (h, 2w, 3); what is transparent becomes white."""
    gray = sides.gray
    if gray.dtype == np.uint16:
        gray = (gray // 257).astype(np.uint8)
    left = _fitted(Image.fromarray(gray).convert("L").convert("RGB"), sides.alpha)
    right = _fitted(Image.fromarray(sides.colored), sides.alpha)
    return np.concatenate([np.asarray(left), np.asarray(right)], axis=1)


def _fitted(image: Image.Image, alpha: NDArray[np.uint8] | None) -> Image.Image:
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return image


def sidecar(options: Options, made: Made) -> bytes:
    """JSON, UTF-8."""
    said = {
        "about": GUESSED,
        "digital_source_type": SOURCE_TYPE,
        "software": "Autochrome",
        "net": {"name": made.net, "sha256": made.net_sha256},
        "temperature": made.temperature,
        "options": options.model_dump(mode="json", include=IN_THE_PICTURE),
        "result": {"sha256": made.result_sha256, "width": made.width, "height": made.height},
    }
    return (json.dumps(said, indent=2) + "\n").encode()
