"""How sure the net is: at each place the probability that the hue which the picture shows there is of the right family.

Nine families: nearly gray (chroma below 10 ab units), and eight of 45° of hue. The net's answer, with all of the rebalancing taken back, is
a distribution over 313 bins; the share of each bin's square that lies in a family makes it one over families. What it says of the family
shown is then calibrated by two numbers of the card (Platt 1999: a line through the log-odds), fitted on photographs that no training saw:
`python -m model evaluate calibration`. Of places said to be 70% sure, about 70% are right. Needs no torch.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import annealing, palette, upsample
from model.cards import Calibration, Card, OnnxCard
from model.errors import InputError, Notice
from model.image_io import Photo

FAMILIES: Final = ("pink", "orange", "yellow", "green", "teal", "cyan", "blue", "violet", "nearly gray")
"""Around 0°, 45°, 90° … of hue in ab."""
_GRAY: Final = 8
_GRAY_CHROMA: Final = 10.0
UNSURE: Final = 1 / 2
"""Below it a hue is likelier wrong than right."""
GUESS: Final = 0.3
"""Below it a hue is more than twice as likely wrong as right; how many photographs are so in most places: docs/evaluation.md."""
_SIDE: Final = 1600
"""The longest side of an overlay."""
_EVERY: Final = 2
"""For a notice every second place of every second row is enough."""


def family(ab_2hw: NDArray[np.floating]) -> NDArray[np.intp]:
    """(2, …) ab → (…) indices of `FAMILIES`."""
    a, b = ab_2hw
    sector = (np.degrees(np.arctan2(b, a)) + 22.5) % 360 // 45
    return np.where(np.hypot(a, b) < _GRAY_CHROMA, _GRAY, sector.astype(np.intp))


def said(logits_Qhw: NDArray[np.float32], shown_hw: NDArray[np.intp], card: Card) -> NDArray[np.float32]:
    """(h, w) log-odds, by the net's answer, of the families `shown_hw`: not calibrated yet.

    Raises InputError for a card without a prior.
    """
    logits = logits_Qhw + card.shift_to(1)[:, None, None]
    logits -= logits.max(0)
    weight_Qhw = np.exp(logits, out=logits)
    in_family_hw9 = np.einsum("qhw,qf->hwf", weight_Qhw, _shares(), optimize=True)
    total = in_family_hw9.sum(-1)
    right = np.take_along_axis(in_family_hw9, shown_hw[..., None], -1)[..., 0] / total
    right = np.clip(right, 1e-6, 1 - 1e-6)
    odds: NDArray[np.float32] = np.log(right / (1 - right)).astype(np.float32)
    return odds


def calibrated(said_hw: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """Log-odds → probabilities of being right."""
    sure: NDArray[np.float32] = 1 / (1 + np.exp(-(calibration.slope * said_hw + calibration.intercept)))
    return sure


def of(
    logits_Qhw: NDArray[np.float32], ab_2hw: NDArray[np.float32], card: Card | OnnxCard
) -> NDArray[np.float32]:
    """(h, w) in 0…1: how sure it is that the hue family of `ab_2hw`, which the picture shows, is right.

    Raises InputError for a net whose card has no calibration.
    """
    if not isinstance(card, Card) or card.calibration is None:
        raise InputError(f"the card of {card.name} has no calibration: how sure the net is cannot be told")
    return calibrated(said(logits_Qhw, family(ab_2hw), card), card.calibration)


def notice(logits_Qhw: NDArray[np.float32], card: Card | OnnxCard) -> Notice | None:
    """`mostly_guessed`, where most of the picture is a guess. None for a net without a calibration."""
    if not isinstance(card, Card) or card.calibration is None:
        return None
    few = np.ascontiguousarray(logits_Qhw[:, ::_EVERY, ::_EVERY])
    sure = of(few, annealing.annealed_mean(few, card.temperature), card)
    if np.median(sure) >= GUESS:
        return None
    return Notice(
        "mostly_guessed",
        "In most of this picture the network is unsure which color belongs: it could as well be quite another.",
    )


def overlay(photo: Photo, sure_hw: NDArray[np.float32]) -> bytes:
    """A PNG of the photo's lightness, 1600 pixels at most, hatched where the net is unsure and crosshatched where it guesses.

    Lines are dark beside light, so that they are seen on any ground, and no color is needed to read them.
    """
    top, left, bottom, right = photo.frame or (0, 0, photo.height, photo.width)
    gray = Image.fromarray(_gray(photo))
    scale = min(1.0, _SIDE / max(gray.size))
    width, height = (max(1, round(side * scale)) for side in gray.size)
    gray = gray.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    box = (round(left * scale), round(top * scale), round(right * scale), round(bottom * scale))
    inside = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
    sure = np.ones((height, width), np.float32)
    scaled = np.asarray(Image.fromarray(sure_hw.astype(np.float32)).resize(inside, Image.Resampling.BILINEAR))
    part = sure[box[1] : box[1] + inside[1], box[0] : box[0] + inside[0]]
    part[:] = scaled[: part.shape[0], : part.shape[1]]
    y, x = np.arange(height, dtype=np.int16)[:, None], np.arange(width, dtype=np.int16)
    period = max(8, min(height, width) // 48)
    line = max(1, period // 8)
    pixels = np.array(gray)
    for along, below in (((x + y) % period, UNSURE), ((x - y) % period, GUESS)):
        pixels[(sure < below) & (along < line)] = 0
        pixels[(sure < below) & (along >= line) & (along < 2 * line)] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _gray(photo: Photo) -> NDArray[np.uint8]:
    """(H, W) uint8 of lightness."""
    step = max(1, max(photo.size) // (2 * _SIDE))
    small = np.ascontiguousarray(photo.pixels[::step, ::step])
    found: NDArray[np.uint8] = np.rint(upsample.lightness(small, None) * np.float32(2.55)).astype(np.uint8)
    return found


@cache
def _shares() -> NDArray[np.float32]:
    """(313, 9): how much of each bin's square of 10 × 10 ab units lies in each family."""
    steps = np.arange(-4.5, 5)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij")).reshape(2, 1, -1)
    found = family(palette.centers().T[..., None] + offsets)
    shares: NDArray[np.float32] = (found[..., None] == np.arange(len(FAMILIES))).mean(1).astype(np.float32)
    return shares
