"""The SERVE flow: preprocess → infer → postprocess, over batches. `image_io.open` and `image_io.save` stand before and after it.

    colorizer = Colorizer.load("lite")
    [colored] = colorizer.colorize([image_io.open(data)])

N photos, Q = 313 bins, H×W a photo's own size, h×w the net's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from model import bins, checkpoint, upsample
from model.checkpoint import Card
from model.engines import Engine
from model.errors import InputError
from model.image_io import Photo

_STRIDE = 32  # both sides the net sees are multiples of it
_LONGEST = 3  # the net's longer side over its shorter one, at most: a photo that is longer is squeezed


@dataclass(frozen=True, slots=True)
class ColorOptions:
    """How to decode: `temperature` 0…1 (None: the card's own), from the likeliest color to the mean of all; `vividness` 0…2 scales chroma.

    Other values raise InputError.
    """

    temperature: float | None = None
    vividness: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 1:
            raise InputError(f"temperature is {self.temperature}, and must lie in 0…1")
        if not 0 <= self.vividness <= 2:
            raise InputError(f"vividness is {self.vividness}, and must lie in 0…2")


class Colorizer:
    """A net with its card, on a device."""

    def __init__(self, net: nn.Module, card: Card, device: str = "auto", frozen: bool = False) -> None:
        """`device` and `frozen`: see `engines.Engine`."""
        self.card = card
        self._engine = Engine(net, device, frozen)

    @classmethod
    def load(cls, net: str = "lite", device: str = "auto", taken_back: float | None = None) -> Colorizer:
        """A net by its name, or a weights file by its path. `taken_back`: see `checkpoint.load`.

        Raises `checkpoint.CheckpointError`, and InputError for a device that this machine does not have.
        """
        loaded, card = checkpoint.load(checkpoint.locate(net), taken_back=taken_back)
        return cls(loaded, card, device, frozen=True)

    @property
    def net(self) -> nn.Module:
        return self._engine.net

    @property
    def device(self) -> torch.device:
        return self._engine.device

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        return self.card.sha256

    def preprocess(self, photo: Photo, size: int | None = None) -> Tensor:
        """A photo's lightness at the net's size: (1, h, w) in 0…100, the shape kept.

        `size` is the shorter side, a multiple of 32; by default the card's, at which the net does best.
        """
        top, left, bottom, right = photo.frame or (0, 0, photo.height, photo.width)
        width, height = _net_size(right - left, bottom - top, size or self.card.size)
        pixels = photo.pixels[top:bottom, left:right]
        if pixels.dtype == np.uint16:  # Pillow reduces these only as float32
            pixels = pixels.astype(np.float32)
        small = np.asarray(
            Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        )
        if small.dtype == np.float32:
            small = np.rint(small.clip(0, 65_535)).astype(np.uint16)  # the bicubic of floats overshoots
        return torch.from_numpy(upsample.lightness(small))[None]

    @torch.inference_mode()
    def infer(self, lightness: Sequence[Tensor]) -> list[Tensor]:
        """(1, h, w) lightness each → (313, h/4, w/4) logits each, on the net's device, in the same order.

        Photos of one shape go through the net together. A net trained by regression gives (2, h/4, w/4) ab instead.
        """
        by_shape: dict[torch.Size, list[int]] = defaultdict(list)
        for index, single in enumerate(lightness):
            by_shape[single.shape].append(index)
        logits: dict[int, Tensor] = {}
        for indices in by_shape.values():
            answers = self._engine.run(torch.stack([lightness[index] for index in indices]))
            logits |= dict(zip(indices, answers, strict=True))
        return [logits[index] for index in range(len(lightness))]

    @torch.inference_mode()
    def decode(self, logits_Qhw: Tensor, options: ColorOptions = ColorOptions()) -> Tensor:
        """Logits → (2, h, w) ab, on the net's device.

        Two channels are ab already: the answer of a net trained by regression, to which a temperature means nothing.
        """
        temperature = self.card.temperature if options.temperature is None else options.temperature
        ab = logits_Qhw if len(logits_Qhw) == 2 else bins.annealed_mean(logits_Qhw[None], temperature)[0]
        return ab * options.vividness

    @torch.inference_mode()
    def postprocess(self, photo: Photo, logits_Qhw: Tensor, options: ColorOptions = ColorOptions()) -> Photo:
        """Logits → colors → the photo in color, at its own size and with its own lightness."""
        ab = self.decode(logits_Qhw, options).cpu().numpy()
        return replace(photo, pixels=upsample.render(photo.pixels, ab, photo.frame))

    def colorize(self, photos: Sequence[Photo], options: ColorOptions = ColorOptions()) -> list[Photo]:
        """The whole flow for a batch that fits into memory."""
        logits = self.infer([self.preprocess(photo) for photo in photos])
        return [
            self.postprocess(photo, single, options) for photo, single in zip(photos, logits, strict=True)
        ]


def _net_size(width: int, height: int, short: int) -> tuple[int, int]:
    """(width, height) for the net: the shorter side `short`, the shape kept to the next multiple of the stride."""
    scale = short / min(width, height)

    def side(length: int) -> int:
        return min(_LONGEST * short, max(short, round(length * scale / _STRIDE) * _STRIDE))

    return side(width), side(height)
