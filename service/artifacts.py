"""What is made beside a result: alternatives, a comparison to look at, what the net says of its own answer, and a sidecar for those who
want to know how the colors came about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import cards, confidence, distribution, hints, image_io, image_metadata
from model.alternatives import Alternative
from model.cards import Card, OnnxCard
from model.colorizer import Colorizer, ColorOptions
from model.errors import Notice
from model.formats.raster import to_eight_bits
from service.errors import Problem
from service.jobs import bounded
from service.models import ArtifactKind, Result
from service.schemas import Options

COMPARISON_SIDE = 2048
"""Longest side of each half of a comparison, which is for looking at."""
THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 384, 80
"""Longest side of a thumbnail, which is for lists, and its quality as a JPEG."""
OPTIONS_TOLD = {
    *("temperature", "vividness", "boldness", "detail", "palette", "hints", "alternatives", "chosen"),
    *("format", "size", "bits", "quality"),
    *("if_color", "negative", "rotate", "crop_border", "page", "partial"),
    *("keep_metadata", "keep_location", "embed_disclosure", "mark"),
}
"""The options that a sidecar repeats: those that pictures and files depend on. Others, such as a webhook's address, are private."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file beside the result. `rank`, `probability`: of an alternative."""

    kind: ArtifactKind
    file: str
    media_type: str
    data: bytes
    rank: int | None = None
    probability: float | None = None

    @property
    def name(self) -> str:
        """By which it is asked for."""
        return self.file.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Colored:
    """A photo before and after, and how it was colored."""

    before: image_io.Photo
    after: image_io.Photo
    logits: NDArray[np.float32]
    """(Q, h, w)"""
    others: Sequence[Alternative]
    colorizer: Colorizer
    options: Options
    color: ColorOptions
    """What the options say of colors."""
    saving: image_io.SaveOptions
    """And of files."""
    threads: int | None
    """As `Colorizer.render` takes it."""
    source_sha256: str | None
    """Of the file as it was sent, where that was read."""


def refuse_unless_able(card: Card | OnnxCard, options: Options) -> None:
    """Raises `option_unavailable` for what a net of this card cannot be asked for."""
    of_colors = [name for name in ("hints", "palette", "alternatives", "boldness") if getattr(options, name)]
    if lacking := cards.lacking(card, (*of_colors, *options.artifacts)):
        names = [f"`{name}`" if name in of_colors else f"`artifacts={name}`" for name in lacking]
        raise Problem("option_unavailable", what=f"The net {card.name} has no {' and no '.join(names)}.")


def others_notice(options: Options, others: Sequence[Alternative]) -> tuple[Notice, ...]:
    """Why there are fewer alternatives than were asked for, where there are."""
    if len(others) >= options.beside:
        return ()
    few = f"{len(others)} of {options.beside} alternatives: the net is sure of the rest."
    return (Notice("alternatives", few),)


def artifacts(colored: Colored, result: Result) -> Iterator[Made]:
    """Each file that the options ask for, made when it is asked for."""
    asked = colored.options.artifacts
    for rank, other in enumerate(colored.others, 1):
        yield _alternative(colored, rank, other)
    if "comparison" in asked:
        pixels = comparison(colored.before.pixels, colored.after.pixels, colored.after.alpha)
        options = image_io.SaveOptions(
            "JPEG", colored.options.quality, disclosure=colored.options.embed_disclosure
        )
        picture = image_io.save(image_io.Photo(pixels, None, "JPEG"), options)
        yield Made("comparison", "comparison.jpg", "image/jpeg", picture)
    if "thumbnail" in asked:
        yield thumbnail(colored.after, colored.options.embed_disclosure)
    if "color_layer" in asked:
        both = image_io.save_separate(colored.before, colored.after, colored.saving)
        ending, media_type = image_io.extension("TIFF"), image_io.media_type("TIFF")
        yield Made("gray", f"gray{ending}", media_type, both.gray)
        yield Made("color_layer", f"color_layer{ending}", media_type, both.color)
    if "confidence" in asked:
        yield from _confidence(colored)
    if "distribution" in asked:
        answer = distribution.write(colored.logits, colored.colorizer.card, colored.before)
        yield Made("distribution", "distribution.bin", "application/octet-stream", answer)
    if "suggestions" in asked:
        yield Made("suggestions", "suggestions.json", "application/json", _suggestions(colored))
    if "sidecar" in asked:
        yield Made("sidecar", "sidecar.json", "application/json", sidecar(colored, result))


def _alternative(colored: Colored, rank: int, other: Alternative) -> Made:
    """Its picture, which takes as much memory as the result, is gone when the next one is made."""
    before = image_io.deepened(colored.before) if colored.options.bits else colored.before
    picture = colored.colorizer.render(before, other.ab_2hw, colored.threads)
    format = image_io.saved_format(picture, colored.saving.format)
    return Made(
        "alternative",
        f"alternative-{rank}{image_io.extension(format)}",
        image_io.media_type(format),
        image_io.save(picture, colored.saving),
        rank,
        round(other.probability, 4),
    )


def _confidence(colored: Colored) -> Iterator[Made]:
    """The overlay, for people; and for programs how sure the net is, in percent, at each place that it answered for."""
    ab = colored.colorizer.decode(colored.logits, replace(colored.color, vividness=1.0))
    sure_hw = confidence.of(colored.logits, ab, colored.colorizer.card)
    yield Made("confidence", "confidence.png", "image/png", confidence.overlay(colored.before, sure_hw))
    rows, columns = sure_hw.shape
    told = {
        "rows": rows,
        "columns": columns,
        "box": _box(colored.before),
        "percent": np.rint(100 * sure_hw).astype(int).tolist(),
    }
    yield Made("confidence", "confidence-map.json", "application/json", _json(told))


def _suggestions(colored: Colored) -> bytes:
    """The likeliest colors of each cell of a grid, row by row, each as [#rrggbb, a, b, probability]: what `GET …/suggestions` reads."""
    grid = colored.colorizer.suggestions(colored.before, colored.logits)
    rows, columns = len(grid), len(grid[0])
    seen = Image.fromarray(colored.colorizer.preprocess(colored.before)[0])
    lightness_hw = np.asarray(seen.resize((columns, rows), Image.Resampling.BOX))
    counts = [len(cell) for cell in chain(*grid)]
    found = [one for cell in chain(*grid) for one in cell]
    ab_n2 = np.array([one.ab for one in found], np.float64).reshape(-1, 2)
    told = zip(
        hints.codes(ab_n2, np.repeat(lightness_hw, counts)), ab_n2.round(1).tolist(), found, strict=True
    )
    written = ([code, *ab, round(one.probability, 3)] for code, ab, one in told)
    cells = [[*islice(written, count)] for count in counts]
    return _json({"rows": rows, "columns": columns, "box": _box(colored.before), "cells": cells})


def _box(photo: image_io.Photo) -> list[float]:
    """Left, top, right and bottom of what the net has colored, 0…1 across and down the picture."""
    top, left, bottom, right = photo.frame or (0, 0, photo.height, photo.width)
    return [
        round(side, 5)
        for side in (left / photo.width, top / photo.height, right / photo.width, bottom / photo.height)
    ]


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def comparison(
    gray: NDArray[Any], colored: NDArray[Any], alpha: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Gray on the left, color on the right, (h, 2w, 3) uint8, at most COMPARISON_SIDE each; what is transparent becomes white.

    `gray`: (H, W) or (H, W, 3); `colored`: (H, W, 3); both of 8 or 16 bits; `alpha`: how opaque, (H, W), or None.
    """
    left = _small(Image.fromarray(to_eight_bits(gray)).convert("L").convert("RGB"), alpha, COMPARISON_SIDE)
    right = _small(Image.fromarray(to_eight_bits(colored)), alpha, COMPARISON_SIDE)
    return np.concatenate([np.asarray(left), np.asarray(right)], axis=1)


def thumbnail(photo: image_io.Photo, disclosure: bool) -> Made:
    """A photo for lists, as a JPEG."""
    image = Image.fromarray(to_eight_bits(photo.pixels)).convert("RGB")
    small = np.asarray(_small(image, photo.alpha, THUMBNAIL_SIDE))
    options = image_io.SaveOptions("JPEG", THUMBNAIL_QUALITY, disclosure=disclosure)
    return Made(
        "thumbnail",
        "thumbnail.jpg",
        "image/jpeg",
        image_io.save(image_io.Photo(small, None, "JPEG"), options),
    )


def _small(image: Image.Image, alpha: NDArray[np.uint8] | None, longest: int) -> Image.Image:
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def sidecar(colored: Colored, result: Result) -> bytes:
    """How the colors came about, as JSON in UTF-8."""
    return image_metadata.sidecar(
        net={"name": colored.colorizer.name, "sha256": colored.colorizer.sha256},
        options=colored.options.model_dump(mode="json", include=OPTIONS_TOLD),
        result={"sha256": result.sha256, "width": result.width, "height": result.height},
        temperature=colored.colorizer.temperature(colored.color),
        source={"sha256": colored.source_sha256} if colored.source_sha256 else None,
        notices=bounded(colored.before.notices),
    )
