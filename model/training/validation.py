"""What a net in training reaches on photographs that it does not learn from: losses, the paper's AuC, and how it is best decoded.

AuC (section 3 of Zhang 2016) is the share of pixels whose ab is within t of the ground truth, t = 0…150 in steps of 1, as area under that
curve (trapezoids), in percent; raw, and rebalanced: each pixel weighs 1/p of the ground truth's bin, p from these photos, clipped at 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model import bins
from model.methods import Method
from model.methods.colorize import Colorize, ColorizeOptions, Regress, view
from model.nets.backbone import autocast
from model.training import distributed
from model.training.batches import Batch, Batches, evenly, middles, spread
from model.training.cache import Cache

THRESHOLDS = 150
TEMPERATURE = 0.5  # of the annealed mean while a net is in training
TAKEN_BACK = 0.3  # share of the rebalancing, likewise
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_TEMPERATURES = (0.38, 0.5, 0.65, 0.8, 1.0)
_BATCH = 16
_SEED = 0


Validate = Callable[[nn.Module, int], Mapping[str, float]]
"""Of the averaged net, in eval mode, after so many steps: measures by name, among them "score", of which more is better."""


@dataclass(frozen=True)
class Decoding:
    """How weights are to be used: the shorter side that the net sees, the temperature, the share of the rebalancing taken back."""

    size: int
    temperature: float
    taken_back: float


@dataclass(frozen=True)
class Gains:
    """AuC above gray's, in points of percent."""

    raw: float
    rebalanced: float


def area(error: Tensor) -> Tensor:
    """What a pixel with this error, in ab units, adds to the area under the curve: by trapezoids, rising at the next whole threshold."""
    rise = error.ceil()
    return torch.where(rise == 0, THRESHOLDS, THRESHOLDS + 0.5 - rise) * (rise <= THRESHOLDS)


def auc(pixels: NDArray[np.float64], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 313) pixels by the ground truth's bin, and their areas → (…) AuC in percent."""
    percent: NDArray[np.float64] = 100 * areas.sum(-1) / (THRESHOLDS * pixels.sum(-1))
    return percent


def rebalanced_auc(pixels: NDArray[np.float64], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with each bin's pixels weighted by its rarity among these."""
    rarity = 1 / np.maximum(pixels / pixels.sum(-1, keepdims=True), 1e-6)
    return auc(pixels * rarity, areas * rarity)


def of_method(
    method: Method,
    photos: Sequence[Cache],
    count: int,
    side: int,
    device: torch.device,
    classes: Sequence[str] = (),
    start_weights: Tensor | None = None,
) -> Validate:
    """What measures a net on at most `count` photos, evenly chosen: AuC above gray for nets that color, the loss alone for others.

    `side`: to which photos are brought for a net that colors. `classes`: as `Batches` takes them. `start_weights`: (313,) class weights
    by which the start, at step 0, is decoded, where they are others than those that the method learns by.
    """
    if isinstance(method, Colorize | Regress) and method.options.crops is None:
        batches = _middles(photos, count, side, device)
        own = method.weights if isinstance(method, Colorize) else None
        begun = own if start_weights is None else start_weights
        return lambda net, step: _coloring(method, net, batches, own if step else begun)
    chosen = spread(photos, count)
    together, (rank, world) = sum(map(len, chosen)), distributed.place()
    # Batches are equal: up to one photo a step and process is left out.
    steps = max(1, -(-together // 32))
    batch = max(1, together // steps // world) * world
    whole = Batches(chosen, batch, steps, _SEED, part=rank, of=world, device=device, classes=classes)
    squares = [whole[step] for step in range(len(whole))]
    return lambda net, step: _loss(method, net, squares)


def _middles(photos: Sequence[Cache], count: int, side: int, device: torch.device) -> list[Batch]:
    chosen = evenly(photos, count)
    return [middles(chosen[begin : begin + _BATCH], side, device) for begin in range(0, len(chosen), _BATCH)]


def _loss(method: Method, net: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """The method's loss by another net than its own, over the batches of all processes: of each its share, as in training."""
    measured: Any = copy(method)
    measured.net = net
    losses = [measured.loss(batch, torch.Generator().manual_seed(_SEED)) for batch in batches]
    mean = float(distributed.summed(torch.stack(losses).mean())) / distributed.place()[1]
    return {"loss": mean, "score": -mean}


def _coloring(
    method: Colorize | Regress, net: nn.Module, batches: Sequence[Batch], weights: Tensor | None
) -> dict[str, float]:
    losses, tally, gray = [], _Tally(), _Tally()
    for answer, ab in _answers(net, batches, method.options):
        losses.append(float(method.loss_of(answer, ab)))
        tally.add(
            ab, answer.float() if weights is None else _decoded(answer, weights, TAKEN_BACK, TEMPERATURE)
        )
        gray.add(ab, torch.zeros_like(ab))
    gains = tally.above(gray)
    return {
        "loss": float(np.mean(losses)),
        "raw_gain": gains.raw,
        "rebalanced_gain": gains.rebalanced,
        "score": gains.raw + gains.rebalanced,
    }


def choose_decoding(
    net: nn.Module, weights: Tensor, photos: Sequence[Cache], count: int, size: int, device: torch.device
) -> tuple[Decoding, Gains]:
    """How a net is best decoded at this size, on at most `count` photos; and what it reaches so.

    Of the shares taken back whose raw AuC is not below gray's, the one with the best rebalanced AuC; where there is none, the one with the
    best raw AuC. Then, at that share, the temperature with the best sum of both.
    """
    batches = _middles(photos, count, size, device)
    shares, temperatures = ({value: _Tally() for value in values} for values in (_SHARES, _TEMPERATURES))
    gray = _Tally()
    with torch.no_grad():
        for answer, ab in _answers(net, batches, ColorizeOptions()):
            gray.add(ab, torch.zeros_like(ab))
            for share, tally in shares.items():
                tally.add(ab, _decoded(answer, weights, share, TEMPERATURE))
        gains = {share: tally.above(gray) for share, tally in shares.items()}
        calm = [share for share, gain in gains.items() if gain.raw >= 0]
        best = (
            max(calm, key=lambda share: gains[share].rebalanced)
            if calm
            else max(gains, key=lambda share: gains[share].raw)
        )
        for answer, ab in _answers(net, batches, ColorizeOptions()):
            for temperature, tally in temperatures.items():
                tally.add(ab, _decoded(answer, weights, best, temperature))
    sums = {
        value: (gain.raw + gain.rebalanced, gain)
        for value, tally in temperatures.items()
        for gain in [tally.above(gray)]
    }
    temperature = max(sums, key=lambda value: sums[value][0])
    return Decoding(size, temperature, best), sums[temperature][1]


def _answers(
    net: nn.Module, batches: Sequence[Batch], options: ColorizeOptions
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each batch the net's answer, and the ground truth: photos as they are."""
    plain = ColorizeOptions(options.lam, options.neighbors, exposure=False)
    for batch in batches:
        lightness, ab = view(batch, plain, torch.Generator())
        with autocast(lightness.device):
            answer = net(lightness.contiguous(memory_format=torch.channels_last))
        yield answer, ab


def _decoded(logits: Tensor, weights: Tensor, share: float, temperature: float) -> Tensor:
    shift = bins.taken_back(weights, share).to(logits.device)[:, None, None]
    return bins.annealed_mean(logits.float() + shift, temperature)


class _Tally:
    """Pixels by the ground truth's bin, and their areas."""

    def __init__(self) -> None:
        self.pixels, self.areas = np.zeros(bins.COUNT), np.zeros(bins.COUNT)

    def add(self, truth_N2hw: Tensor, answer_N2hw: Tensor) -> None:
        place = bins.nearest(truth_N2hw).flatten()
        error = torch.hypot(*(answer_N2hw - truth_N2hw).unbind(1)).flatten()
        self.pixels += torch.bincount(place, minlength=bins.COUNT).double().cpu().numpy()
        self.areas += torch.bincount(place, area(error).double(), minlength=bins.COUNT).cpu().numpy()

    def above(self, gray: _Tally) -> Gains:
        return Gains(
            float(auc(self.pixels, self.areas) - auc(gray.pixels, gray.areas)),
            float(rebalanced_auc(self.pixels, self.areas) - rebalanced_auc(gray.pixels, gray.areas)),
        )
