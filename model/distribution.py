"""The net's whole answer as a file of at most 1.5 MB: with it colors are decoded anew, at any temperature, without the net.

docs/distribution.md specifies the format. `Distribution` reads it; service/web/static/distribution.js is the same in JavaScript. Q colors,
h×w positions. Needs numpy alone.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from model import palette
from model.cards import Card, OnnxCard
from model.errors import InputError

if TYPE_CHECKING:
    from model.image_io import Photo

MOST_BYTES: Final = 1_500_000
_FLOOR: Final = 10.0
_POWER: Final = 4.0
"""Code c of 0…255 stands for the log-probability −floor·(c/255)^power beside the likeliest color's: steps are finest where the likely
colors are, of which a temperature of 0.05 makes twenty times as much."""
_STORED: Final = 1.001
"""Bytes of what deflate cannot make smaller, a byte, at most."""


def write(logits_Qhw: NDArray[np.float32], card: Card | OnnxCard, photo: Photo) -> bytes:
    """A net's answer for a photo as a file. At fewer positions where it would be larger than `MOST_BYTES`: of wide photos.

    Raises InputError for a net that answers ab itself, or whose answer is no number.
    """
    if len(logits_Qhw) == 2:
        raise InputError(f"{card.name} answers one color a place: there is no distribution to be saved")
    if not np.isfinite(logits_Qhw).all():
        raise InputError(f"the answer of {card.name} is no number")
    data = _encoded(logits_Qhw, card, photo)
    if len(data) > MOST_BYTES:
        header = 12 + int.from_bytes(data[8:12], "little")
        positions, height, width = (
            (MOST_BYTES - header - 1000) / _STORED / len(logits_Qhw),
            *logits_Qhw.shape[1:],
        )
        scale = (positions / (height * width)) ** 0.5
        data = _encoded(
            reduced(logits_Qhw, max(1, int(height * scale)), max(1, int(width * scale))), card, photo
        )
    return data


# --8<-- [start:reader]
class Distribution:
    """What a file of docs/distribution.md holds: Q colors and, at h×w places of a photo, the log-probability of each."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for what is no such file, of this version."""
        end = 12 + int.from_bytes(data[8:12], "little")
        if data[:8] != b"ACDIST01" or end > len(data):
            raise ValueError("this is no distribution of version 1")
        self.header = json.loads(data[12:end])
        self.shape: tuple[int, int, int] = (*self.header["shape"],)
        colors, height, width = self.shape
        inflate = zlib.decompressobj(-15)
        codes = inflate.decompress(data[end:], colors * height * width)  # never more than the header says
        if len(codes) != colors * height * width:
            raise ValueError("this distribution is cut off")
        self.codes = np.frombuffer(codes, np.uint8).reshape(colors, height * width)
        self.centers: NDArray[np.float64] = np.array(self.header["centers"])

    def logits(self, boldness: float = 0.0) -> NDArray[np.float64]:
        """(Q, h·w) log-probabilities less the largest of each place; at another boldness, they are those of a rebalanced prior."""
        floor, power = self.header["floor"], self.header["power"]
        found = (-floor * (np.arange(256) / 255) ** power)[self.codes]
        moved = self.header["decoding"]["taken_back"] - self.decoding(boldness)[0]
        if moved:  # never by a table of a single row, beside which there are no weights
            found = found + moved * np.array(self.header["log_weights"])[:, None]
        return np.asarray(found - found.max(0))

    def decoding(self, boldness: float) -> tuple[float, float]:
        """(share of the rebalancing taken back, temperature) at a boldness of −1…1: between the rows of the header's table."""
        at, shares, temperatures = zip(*self.header["boldness"], strict=True)
        return float(np.interp(boldness, at, shares)), float(np.interp(boldness, at, temperatures))

    def annealed(self, temperature: float | None = None, boldness: float = 0.0) -> NDArray[np.float64]:
        """(2, h, w) ab: the mean of the distribution at this temperature, 0 (the likeliest color) to 1; None: that of the boldness."""
        sharp = self.decoding(boldness)[1] if temperature is None else temperature
        logits = self.logits(boldness)
        if sharp < 1e-6:
            return np.reshape(self.centers[logits.argmax(0)].T, (2, *self.shape[1:]))
        weights = np.exp(logits / sharp)
        return np.reshape(self.centers.T @ weights / weights.sum(0), (2, *self.shape[1:]))

    def palette(self, row: int, column: int, count: int = 5) -> list[tuple[float, ...]]:
        """The likely distinct colors of a place, (a, b, probability), likeliest first; fewer where few have a probability of 0.005."""
        left = np.exp(self.logits()[:, row * self.shape[2] + column])
        left /= left.sum()
        found: list[tuple[float, ...]] = []
        for _ in range(count):
            near = left * (np.hypot(*(self.centers - self.centers[left.argmax()]).T) <= 20)
            left = left - near
            a, b = near @ self.centers / max(near.sum(), 1e-9)
            found.append((float(a), float(b), float(near.sum())))
        return sorted((color for color in found if color[2] >= 0.005), key=lambda color: -color[2])


# --8<-- [end:reader]


def _encoded(logits_Qhw: NDArray[np.float32], card: Card | OnnxCard, photo: Photo) -> bytes:
    weights, share, decodings, centers = None, 0.0, [(0.0, 0.0, card.temperature)], None
    if isinstance(card, Card):
        weights, share, decodings = card.class_weights, card.share, card.decodings
    else:
        centers = card.centers
    header: dict[str, Any] = {
        "shape": logits_Qhw.shape,
        "floor": _FLOOR,
        "power": _POWER,
        "photo": {"width": photo.width, "height": photo.height, "frame": photo.frame},
        "net": {"name": card.name, "sha256": card.sha256},
        "decoding": {"taken_back": share, "temperature": card.temperature},
        "boldness": decodings,
        "centers": (palette.centers() if centers is None else centers).tolist(),
        "log_weights": [] if weights is None else [round(float(value), 5) for value in np.log(weights)],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"ACDIST01" + len(text).to_bytes(4, "little") + text + _packed(_codes(logits_Qhw))


def _codes(logits_Qhw: NDArray[np.float32]) -> NDArray[np.uint8]:
    below = np.minimum(logits_Qhw.max(0) - logits_Qhw, np.float32(_FLOOR)) / np.float32(_FLOOR)
    codes: NDArray[np.uint8] = np.rint(below ** np.float32(1 / _POWER) * 255).astype(np.uint8)
    return codes


def _packed(codes_Qhw: NDArray[np.uint8]) -> bytes:
    """Deflated, color by color: neighboring places are alike, so that this is an eighth smaller than place by place."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflate.compress(np.ascontiguousarray(codes_Qhw).tobytes()) + deflate.flush()


def reduced(logits_Qhw: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(Q, height, width): an answer at fewer places, means over areas."""
    down, across = (_areas(*sides) for sides in ((logits_Qhw.shape[1], height), (logits_Qhw.shape[2], width)))
    found: NDArray[np.float32] = (down @ np.ascontiguousarray(logits_Qhw) @ across.T).astype(np.float32)
    return found


def _areas(length: int, fewer: int) -> NDArray[np.float32]:
    """(fewer, length): how much of each old place lies in each new one; rows add up to 1."""
    ends = np.arange(fewer + 1) * length / fewer
    old = np.arange(length)
    overlap = np.minimum(ends[1:, None], old + 1) - np.maximum(ends[:-1, None], old)
    share: NDArray[np.float32] = (np.maximum(overlap, 0) * fewer / length).astype(np.float32)
    return share
