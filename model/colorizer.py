"""The SERVE flow: preprocess → infer → postprocess, over batches. `image_io.open` and `image_io.save` stand before and after it.

    colorizer = Colorizer.load("lite")
    [colored] = colorizer.colorize([image_io.open(data)])

Where large photos may be looked at twice (`model.detail`) it is looks → infer → merge → postprocess. All of it is numpy, and on a CPU no
torch is imported. N photos, Q = 313 bins, H×W a photo's own size, h×w the net's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import (
    alternatives,
    annealing,
    cards,
    detail,
    distribution,
    engines,
    hints,
    likeness,
    palette,
    reference,
    upsample,
)
from model.alternatives import Alternative
from model.cards import Card, OnnxCard
from model.detail import Detail
from model.engines import CpuEngine, Engine
from model.errors import InputError
from model.hints import Hint, Suggestion
from model.image_io import Photo
from model.likeness import Scene
from model.runtimes import graphs, onnx_nets

if TYPE_CHECKING:
    from torch import nn

_STRIDE = 32  # both sides that our own nets see are multiples of it
_LONGEST = 3  # the net's longer side over its shorter one, at most: a photo that is longer is squeezed


@dataclass(frozen=True, slots=True)
class ColorOptions:
    """How to decode: `temperature` 0…1 (None: the card's own), from the likeliest color to the mean of all; `vividness` 0…2 scales chroma.

    `hints`: colors that a person knows, which vividness leaves as they are. `boldness` −1…1: from the safest colors to rare ones, by the
    share of the rebalancing taken back and, where it is None, the temperature that the card has for it. `palette`: up to 16 colors that
    the photo is known to have somewhere, as #rrggbb (`model.reference`). `chosen`: (2, 3) takes the second of three alternatives in place
    of the first answer, those of the default boldness and vividness. Other values raise InputError.
    """

    temperature: float | None = None
    vividness: float = 1.0
    hints: tuple[Hint, ...] = ()
    boldness: float = 0.0
    palette: tuple[str, ...] = ()
    chosen: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 1:
            raise InputError(f"temperature is {self.temperature}, and must lie in 0…1")
        if not 0 <= self.vividness <= 2:
            raise InputError(f"vividness is {self.vividness}, and must lie in 0…2")
        if not -1 <= self.boldness <= 1:
            raise InputError(f"boldness is {self.boldness}, and must lie in −1…1")
        if self.chosen is not None and not 1 <= self.chosen[0] <= self.chosen[1]:
            raise InputError("alternative {} of {} is chosen, and must be one of them".format(*self.chosen))
        reference.check(self.palette)


class Colorizer:
    """A net with its card, on a device. Threads may share one."""

    def __init__(self, net: Engine | nn.Module, card: Card | OnnxCard, device: str = "auto") -> None:
        """`net`: an engine; or a torch module, such as one in training, with the device that it is to be on (`engines.choose_device`)."""
        self.card = card
        self._engine = net if isinstance(net, Engine) else _torch_engine(net, device)

    @classmethod
    def load(
        cls,
        net: str = "lite",
        device: str = "auto",
        taken_back: float | None = None,
        threads: int | None = None,
    ) -> Colorizer:
        """A net by its name, a weights file (.safetensors) or an ONNX file with a card (.onnx) by its path.

        `taken_back`: see `checkpoint.load`. `threads`: how many of a CPU's cores it may use in all; None: `machine.cores`.
        Raises `cards.CheckpointError`, and InputError for a device that this machine does not have.
        """
        path = cards.locate(net)
        if path.suffix == ".onnx":
            if taken_back is not None:
                raise InputError(f"{net} comes from an ONNX file: there is no rebalancing to take back")
            return cls(*onnx_nets.load(path, device, threads))
        chosen = engines.choose_device(device)
        if chosen == "cpu":
            with ThreadPoolExecutor(1) as beside:
                # What numba has compiled takes a third of a second to load: meanwhile OpenVINO compiles, without the interpreter's lock.
                beside.submit(upsample.lightness, np.zeros((1, 1), np.uint8))
                graph, card = graphs.load(path, taken_back)
                engine = CpuEngine(graph, threads)
            return cls(engine, card)
        from model import checkpoint  # imports torch, which only other devices need

        module, card = checkpoint.load(path, taken_back=taken_back)
        return cls(_torch_engine(module, chosen, folded=True), card)

    @property
    def net(self) -> nn.Module:
        """The torch module. TypeError where torch does not run the net."""
        from model.runtimes.torch_engine import TorchEngine

        if not isinstance(self._engine, TorchEngine):
            raise TypeError(f"{self.name} does not run by torch; checkpoint.load has it as a module")
        return self._engine.net

    @property
    def device(self) -> str:
        """By PyTorch's name: cpu, cuda, cuda:1 …"""
        return self._engine.device

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        """Of the weights file."""
        return self.card.sha256

    def preprocess(self, photo: Photo, size: int | None = None) -> NDArray[np.float32]:
        """A photo's lightness at the net's size: (1, h, w) in 0…100, the shape kept. Only of `photo.frame`, where it has one.

        `size` is the shorter side, a multiple of 32; by default the card's, at which the net does best. A net whose input is fixed sees its
        own size, whatever `size` is.
        """
        pixels = _seen(photo)
        if pixels.dtype == np.uint16:
            # Pillow reduces no such RGB, and gray only as float32; a mean of many steps of 8 bits is as good.
            pixels = np.right_shift(pixels, 8, out=np.empty(pixels.shape, np.uint8), casting="unsafe")
        to = _net_size(pixels.shape[1], pixels.shape[0], size or self.card.size, self.card)
        small = Image.fromarray(pixels).resize(to, Image.Resampling.BICUBIC, reducing_gap=3.0)
        return upsample.lightness(np.asarray(small))[None]

    def looks(self, photo: Photo, wanted: Detail = "off") -> list[NDArray[np.float32]]:
        """What the net is to be asked of a photo: the look of `preprocess`, then the tiles of a closer one, if it is wanted and shows more.

        (1, h, w) lightness each, as `infer` takes it, in one call or in several; of its answers `merge` makes one.
        """
        first, closer = self.preprocess(photo), self._closer(photo)
        if wanted == "off" or closer is None:
            return [first]
        return [first, *detail.tiles(self.preprocess(photo, closer), min(first.shape[1:]))]

    def merge(
        self, photo: Photo, answers: Sequence[NDArray[np.float32]], wanted: Detail = "off"
    ) -> NDArray[np.float32]:
        """The answers to `looks`, (Q, h, w) each → one of the first one's shape, for all that takes logits. `wanted`: as for `looks`."""
        first, *tiles = answers
        closer = self._closer(photo)
        if not tiles or closer is None:
            return first
        height, width = _seen(photo).shape[:2]
        side = min(_net_size(width, height, self.card.size, self.card))
        across, down = _net_size(width, height, closer, self.card)
        second = detail.joined(tiles, (down, across), side, (first.shape[1], first.shape[2]))
        return detail.merge(first, second, wanted)

    def _closer(self, photo: Photo) -> int | None:
        """The shorter side of a closer look; None where it would show no more, or the net's input is fixed."""
        if isinstance(self.card, OnnxCard) and self.card.square:
            return None
        return detail.size(self.card.size, min(_seen(photo).shape[:2]))

    def infer(
        self, lightness: Sequence[NDArray[np.float32]], threads: int | None = None
    ) -> list[NDArray[np.float32]]:
        """(1, h, w) lightness each → (313, h/4, w/4) logits each, in the same order.

        Photos of one shape go through the net together. A net trained by regression gives (2, h/4, w/4) ab instead; a net from an ONNX
        file has bins and sides of its own. `threads`: see `Engine.run`.
        """
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, single in enumerate(lightness):
            by_shape[single.shape].append(index)
        logits: dict[int, NDArray[np.float32]] = {}
        for indices in by_shape.values():
            answers = self._engine.run(np.stack([lightness[index] for index in indices]), threads)
            logits |= dict(zip(indices, answers, strict=True))
        return [logits[index] for index in range(len(lightness))]

    def toward(self, logits_Qhw: NDArray[np.float32], colors: Sequence[str]) -> NDArray[np.float32]:
        """The net's answer as it is where the photo is known to have these colors, #rrggbb; without any, as it was.

        `decode`, `postprocess` and `alternatives` do so with `options.palette`. InputError for a net that answers with no distribution.
        """
        if not colors:
            return logits_Qhw
        if len(logits_Qhw) == 2:
            raise InputError(f"{self.name} answers one color a place: a palette needs a distribution")
        shift = reference.shift(colors, self._centers(), self._usual(logits_Qhw))
        return logits_Qhw + shift[:, None, None]

    def _usual(self, logits_Qhw: NDArray[np.float32]) -> NDArray[np.float64]:
        """(Q,): what the net's colors are on average, by its card; where that does not say it, by this answer."""
        if isinstance(self.card, Card) and (weights := self.card.class_weights) is not None:
            usual = np.array(self.card.prior) * weights.astype(np.float64) ** (1 - self.card.share)
        else:
            odds = np.exp(logits_Qhw - logits_Qhw.max(0))
            usual = (odds / odds.sum(0)).mean((1, 2), np.float64)
        return np.asarray(usual / usual.sum())

    def _centers(self) -> NDArray[np.float32]:
        """(Q, 2) ab of the net's bins."""
        own = self.card.centers if isinstance(self.card, OnnxCard) else None
        return palette.centers() if own is None else own

    def decode(
        self, logits_Qhw: NDArray[np.float32], options: ColorOptions = ColorOptions()
    ) -> NDArray[np.float32]:
        """Logits → (2, h, w) ab. Raises FloatingPointError for an answer that is no number, as of a net that overflows.

        Two channels are ab already: the answer of a net trained by regression, to which a temperature means nothing. InputError for a
        boldness that the net's card knows nothing of, and as `toward` for a palette.
        """
        return self._decoded(self.toward(logits_Qhw, options.palette), options)

    def _decoded(self, logits_Qhw: NDArray[np.float32], options: ColorOptions) -> NDArray[np.float32]:
        """`options.palette` is in the logits already."""
        if not np.isfinite(logits_Qhw.sum()):  # it would become black, or at temperature 0 any color
            raise FloatingPointError(f"the answer of {self.name} is no number")
        if len(logits_Qhw) == 2:
            ab = logits_Qhw
        else:
            if options.boldness:
                logits_Qhw = self._moved(logits_Qhw, options.boldness)
            ab = annealing.annealed_mean(logits_Qhw, self.temperature(options), self._centers())
        return ab * np.float32(options.vividness)

    def temperature(self, options: ColorOptions) -> float:
        """The temperature by which `decode` goes. InputError as there."""
        if options.temperature is not None:
            return options.temperature
        if options.boldness and isinstance(self.card, Card):
            return self.card.decoding(options.boldness)[1]
        return self.card.temperature

    def _moved(self, logits_Qhw: NDArray[np.float32], boldness: float) -> NDArray[np.float32]:
        """The logits with another share of the rebalancing taken back."""
        if not isinstance(self.card, Card):
            raise InputError(f"{self.name} was not trained with a rebalancing: there is no boldness to vary")
        moved: NDArray[np.float32] = (
            logits_Qhw + self.card.shift_to(self.card.decoding(boldness)[0])[:, None, None]
        )
        return moved

    def postprocess(
        self,
        photo: Photo,
        logits_Qhw: NDArray[np.float32],
        options: ColorOptions = ColorOptions(),
        threads: int | None = None,
    ) -> Photo:
        """Logits → colors → the photo in color, at its own size and depth and with its own lightness. Gray outside of `photo.frame`.

        `threads`: see `upsample.render`. InputError where the net has fewer alternatives than the number of the chosen one.
        """
        logits_Qhw = self.toward(logits_Qhw, options.palette)
        ab = self._decoded(logits_Qhw, options)
        if options.chosen:
            ab = ab + np.float32(options.vividness) * self._chosen(photo, logits_Qhw, *options.chosen)
        if options.hints:
            wished = hints.wishes(options.hints, photo.size, photo.frame)
            ab = hints.follow(self.scene(photo, logits_Qhw), ab, wished)
        return self.render(photo, ab, threads)

    def alternatives(
        self,
        photo: Photo,
        logits_Qhw: NDArray[np.float32],
        count: int = 3,
        options: ColorOptions = ColorOptions(),
        threads: int | None = None,
    ) -> list[tuple[Photo, float]]:
        """What else the photo could have been, beside what `postprocess` makes of it: at most `count` pictures and their probabilities.

        Likeliest first; fewer where the net is sure, the same ones each time. `options.hints` do not count. InputError for a net that
        answers with no distribution, and for another count than 1…8.
        """
        found = self.others(photo, logits_Qhw, count, options)
        return [(self.render(photo, other.ab_2hw, threads), other.probability) for other in found]

    def others(
        self,
        photo: Photo,
        logits_Qhw: NDArray[np.float32],
        count: int = 3,
        options: ColorOptions = ColorOptions(),
    ) -> list[Alternative]:
        """The colors of `alternatives`, for who renders one after another: the pictures take memory."""
        if not 1 <= count <= alternatives.MOST:
            raise InputError(f"{count} alternatives are asked for, and must be 1…{alternatives.MOST}")
        logits_Qhw = self.toward(logits_Qhw, options.palette)
        return alternatives.find(self.scene(photo, logits_Qhw), self._decoded(logits_Qhw, options), count)

    def _chosen(
        self, photo: Photo, logits_Qhw: NDArray[np.float32], rank: int, count: int
    ) -> NDArray[np.float32]:
        """(2, h, w): what the alternative of this rank, of so many, adds to the first answer."""
        found = self.others(photo, logits_Qhw, count)
        if len(found) < rank:
            raise InputError(f"this photo has {len(found)} alternatives, and no number {rank}")
        moved: NDArray[np.float32] = found[rank - 1].ab_2hw - self._decoded(logits_Qhw, ColorOptions())
        return moved

    def suggest(self, photo: Photo, logits_Qhw: NDArray[np.float32], x: float, y: float) -> list[Suggestion]:
        """The five likeliest distinct colors at a place of the photo, 0…1 across and down. InputError as for a hint there."""
        [wish] = hints.wishes([Hint(x, y, "#808080")], photo.size, photo.frame)
        return hints.suggest(self.scene(photo, logits_Qhw), wish.x, wish.y)

    def suggestions(
        self, photo: Photo, logits_Qhw: NDArray[np.float32], places: int = 784
    ) -> list[list[list[Suggestion]]]:
        """The five likeliest distinct colors of about so many equal cells, in the photo's shape: a list a row, with a list a cell.

        784 of a square are 28×28. The cells fill `photo.frame`, where there is one, else the photo. Each has the mean of what the net says
        within it, so that `suggest`, at a place of it, may differ a little. InputError for a net that answers with no distribution.
        """
        scale = math.sqrt(places / math.prod(logits_Qhw.shape[1:]))
        rows, columns = (max(1, round(scale * side)) for side in logits_Qhw.shape[1:])
        return hints.suggestions(self.scene(photo, distribution.reduced(logits_Qhw, rows, columns)))

    def scene(self, photo: Photo, logits_Qhw: NDArray[np.float32]) -> Scene:
        """What hints and alternatives go by, whatever they are. InputError for a net that answers with no distribution."""
        return likeness.scene(self.preprocess(photo), logits_Qhw, self._centers())

    def render(self, photo: Photo, ab_2hw: NDArray[np.float32], threads: int | None = None) -> Photo:
        """(2, h, w) ab → the photo in these colors, as `postprocess` has it."""
        return replace(photo, pixels=upsample.render(photo.pixels, ab_2hw, photo.frame, threads))

    def colorize(
        self, photos: Sequence[Photo], options: ColorOptions = ColorOptions(), wanted: Detail = "off"
    ) -> list[Photo]:
        """The whole flow for a batch that fits into memory. `wanted`: as for `looks`."""
        looks = [self.looks(photo, wanted) for photo in photos]
        answers = iter(self.infer([look for those in looks for look in those]))
        merged = [
            self.merge(photo, [next(answers) for _ in those], wanted)
            for photo, those in zip(photos, looks, strict=True)
        ]
        return [
            self.postprocess(photo, single, options) for photo, single in zip(photos, merged, strict=True)
        ]


def _seen(photo: Photo) -> NDArray[Any]:
    """The pixels that the net sees."""
    if photo.frame is None:
        return photo.pixels
    top, left, bottom, right = photo.frame
    return photo.pixels[top:bottom, left:right]


def _torch_engine(net: nn.Module, device: str, folded: bool = False) -> Engine:
    from model.runtimes.torch_engine import TorchEngine

    return TorchEngine(net, device, folded)


def _net_size(width: int, height: int, short: int, card: Card | OnnxCard) -> tuple[int, int]:
    """(width, height) for the net: the shorter side `short`, the shape kept to the next multiple of the stride."""
    stride = _STRIDE
    if isinstance(card, OnnxCard):
        if card.square:
            return card.size, card.size
        stride = card.multiple
        short = max(1, short // stride) * stride
    scale = short / min(width, height)

    def side(length: int) -> int:
        return min(_LONGEST * short, max(short, round(length * scale / stride) * stride))

    return side(width), side(height)
