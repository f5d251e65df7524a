"""What is made beside a result: a comparison to look at, and a sidecar for those who want to know how the colors came about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import image_io, image_metadata
from model.formats.raster import to_eight_bits
from service.jobs import bounded
from service.models import Net, Result
from service.schemas import Options

COMPARISON_SIDE = 2048
"""Longest side of each half of a comparison, which is for looking at."""
OPTIONS_TOLD = {
    *("temperature", "vividness", "palette", "format", "quality"),
    *("if_color", "negative", "rotate", "crop_border", "page", "partial"),
    *("keep_metadata", "keep_location", "embed_disclosure", "mark"),
}
"""The options that a sidecar repeats: those that the picture and its file depend on. Others, such as a webhook's address, are private."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file beside the result. `kind` is its name, too."""

    kind: Literal["comparison", "sidecar"]
    file: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Colored:
    """A photo before and after, and how it was colored. `temperature`: as it was used, the option's or the net's own."""

    before: image_io.Photo
    after: image_io.Photo
    net: Net
    temperature: float
    options: Options


def artifacts(colored: Colored, result: Result) -> Iterator[Made]:
    """Each file that the options ask for, made when it is asked for."""
    if "comparison" in colored.options.artifacts:
        pixels = comparison(colored.before.pixels, colored.after.pixels, colored.after.alpha)
        options = image_io.SaveOptions(
            "JPEG", colored.options.quality, disclosure=colored.options.embed_disclosure
        )
        yield Made(
            "comparison",
            "comparison.jpg",
            "image/jpeg",
            image_io.save(image_io.Photo(pixels, None, "JPEG"), options),
        )
    if "sidecar" in colored.options.artifacts:
        yield Made("sidecar", "sidecar.json", "application/json", sidecar(colored, result))


def comparison(
    gray: NDArray[Any], colored: NDArray[Any], alpha: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Gray on the left, color on the right, (h, 2w, 3) uint8, at most COMPARISON_SIDE each; what is transparent becomes white.

    `gray`: (H, W) or (H, W, 3); `colored`: (H, W, 3); both of 8 or 16 bits; `alpha`: how opaque, (H, W), or None.
    """
    left = _thumbnail(Image.fromarray(to_eight_bits(gray)).convert("L").convert("RGB"), alpha)
    right = _thumbnail(Image.fromarray(to_eight_bits(colored)), alpha)
    return np.concatenate([np.asarray(left), np.asarray(right)], axis=1)


def _thumbnail(image: Image.Image, alpha: NDArray[np.uint8] | None) -> Image.Image:
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
    image.thumbnail((COMPARISON_SIDE, COMPARISON_SIDE), Image.Resampling.LANCZOS)
    return image


def sidecar(colored: Colored, result: Result) -> bytes:
    """How the colors came about, as JSON in UTF-8."""
    return image_metadata.sidecar(
        net={"name": colored.net.name, "sha256": colored.net.sha256},
        options=colored.options.model_dump(mode="json", include=OPTIONS_TOLD),
        result={"sha256": result.sha256, "width": result.width, "height": result.height},
        temperature=colored.temperature,
        notices=bounded(colored.before.notices),
    )
