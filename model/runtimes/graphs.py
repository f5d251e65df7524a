"""The nets that color as graphs for OpenVINO, built from the tensors of a weights file: a CPU needs no torch to run them.

They are the modules of `model.nets`, layer by layer, with each norm folded into the convolution before it where one is. To build one takes
a tenth of a second: nothing is converted, and nothing need be kept between runs. From (N, 1, H, W) lightness to (N, H/4, W/4, 313) logits
or (N, H/4, W/4, 2) ab, for any N, H and W that the net's stride divides.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from model import cards, palette
from model.cards import Card, CheckpointError
from model.nets import plan
from model.openvino_runtime import op, ov

Tensors = Mapping[str, NDArray[Any]]


def load(path: Path, taken_back: float | None = None) -> tuple[Any, Card]:
    """The net in `path` (.safetensors) as an `openvino.Model`, and its card; as strict as `checkpoint.load`, with the same errors."""
    card, data = cards.read_weights(path, taken_back)
    try:
        tensors = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError("weights_damaged", f"{path} is no safetensors file: {error}.") from error
    return _build(tensors, card, path), card


def _build(tensors: Tensors, card: Card, path: Path) -> Any:
    outputs = 2 if card.net == "lite-l2" else palette.COUNT
    layers = _Layers(tensors, cards.bias_shift(card, outputs))
    lightness = op.parameter([-1, 1, -1, -1], np.float32, name="lightness")
    answer = _eccv16(layers, lightness) if card.net == "eccv16" else _lite(layers, lightness, outputs)
    layers.check(card.net, path)
    channels_last = op.result(answer)
    channels_last.set_layout(ov.Layout("NHWC"))
    return ov.Model([channels_last], [lightness], card.name)


def _lite(layers: _Layers, lightness: Any, outputs: int) -> Any:
    x = op.divide(op.subtract(op.divide(lightness, _f(100)), _f(plan.LITE_MEAN)), _f(plan.LITE_DEVIATION))
    x = layers.normed(x, "backbone.stem.0", 1, plan.LITE_STEM, 3, stride=2, after="relu6")
    channels, index, fine = plan.LITE_STEM, 0, []
    for kernel, stride, expansion, out, repeats in plan.LITE_STAGES:
        for repeat in range(repeats):
            before, step = x, stride if repeat == 0 else 1
            x = _block(layers, x, index, channels, out, kernel, step, expansion)
            if step == 1 and channels == out:
                x = op.add(before, x)
            if index in plan.LITE_SKIPS:
                fine.append(x)
            channels, index = out, index + 1
    for place, dilation in enumerate((1, 2)):
        x = layers.dense(x, f"context.{place}.0", channels, plan.LITE_CONTEXT, dilation)
        channels = plan.LITE_CONTEXT
    skips = [*plan.LITE_SKIPS.values()]
    for (stride, width), skip in zip(plan.LITE_MERGES.items(), (2, 1, 0), strict=True):
        x = layers.merged(x, fine[skip], f"merge{stride}.mix.0", channels, skips[skip], width)
        channels = width
    layers.leave_hints()
    x = layers.last(x, "head", channels, outputs)
    return op.multiply(x, _f(plan.AB_UNIT)) if outputs == 2 else x


def _block(
    layers: _Layers, x: Any, index: int, channels: int, out: int, kernel: int, stride: int, expansion: int
) -> Any:
    """See `nets.lite.Block`: expand, filter each channel by itself, project."""
    name, place, wide = f"backbone.blocks.{index}.layers", 0, channels * expansion
    if expansion > 1:
        x = layers.normed(x, f"{name}.0", channels, wide, 1, after="relu6")
        place = 3
    x = layers.normed(x, f"{name}.{place}", wide, wide, kernel, stride=stride, after="relu6", depthwise=True)
    return layers.normed(x, f"{name}.{place + 3}", wide, out, 1)


def _eccv16(layers: _Layers, lightness: Any) -> Any:
    x = op.divide(op.subtract(lightness, _f(50)), _f(100))
    channels = 1
    for place, (width, convs, last_stride, dilation) in enumerate(plan.ECCV16_BLOCKS, 1):
        for index in range(convs):
            stride = last_stride if index == convs - 1 else 1
            name = f"model{place}.{2 * index}"
            x = op.relu(layers.conv(x, name, channels, width, 3, stride=stride, dilation=dilation))
            channels = width
        x = layers.norm(x, f"model{place}.{2 * convs}", width)
    x = op.relu(layers.upconv(x, "model8.0", channels, plan.ECCV16_WIDTH))
    for index in (2, 4):
        x = op.relu(layers.conv(x, f"model8.{index}", plan.ECCV16_WIDTH, plan.ECCV16_WIDTH, 3))
    layers.take("model_out.weight", (2, palette.COUNT, 1, 1))  # the release's decoding, which is not used
    return layers.last(x, "model8.6", plan.ECCV16_WIDTH, palette.COUNT)


class _Layers:
    """Layers from the tensors of a file by name. What is missing or of another shape is noted, and `check` says it all at once."""

    def __init__(self, tensors: Tensors, shift: NDArray[np.float32] | None) -> None:
        """`shift`: what is added to the last layer's bias."""
        self._tensors = tensors
        self._shift = shift
        self._taken: set[str] = set()
        self._wrong: list[str] = []

    def take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        self._taken.add(name)
        found = self._tensors.get(name)
        if found is None:
            self._wrong.append(f"{name} is missing")
            return np.ones(shape, np.float32)
        if found.shape != shape:
            self._wrong.append(f"{name} has the shape {found.shape}, not {shape}")
            return np.ones(shape, np.float32)
        return found.astype(np.float32)

    def conv(
        self,
        x: Any,
        name: str,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> Any:
        """With a bias."""
        weight = self.take(f"{name}.weight", (out, channels, kernel, kernel))
        bias = self.take(f"{name}.bias", (out,))
        return _convolved(x, weight, bias, stride, dilation)

    def last(self, x: Any, name: str, channels: int, out: int) -> Any:
        """1×1 with a bias, as a product of matrices: its answer has the channels last, as `annealing` reads them fastest."""
        weight = self.take(f"{name}.weight", (out, channels, 1, 1))[:, :, 0, 0]
        bias = self.take(f"{name}.bias", (out,))
        if self._shift is not None:
            bias = bias + self._shift
        x = op.transpose(x, np.array([0, 2, 3, 1]))
        return op.add(op.matmul(x, op.constant(np.ascontiguousarray(weight)), False, True), op.constant(bias))

    def dense(self, x: Any, name: str, channels: int, out: int, dilation: int = 1) -> Any:
        """See `nets.lite._dense`."""
        return self.normed(
            x, name, channels, out, 3, dilation=dilation, epsilon=plan.NORM_EPSILON, after="relu"
        )

    def normed(
        self,
        x: Any,
        name: str,
        channels: int,
        out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        epsilon: float = plan.LITE_NORM_EPSILON,
        after: Literal["relu", "relu6", ""] = "",
        depthwise: bool = False,
    ) -> Any:
        """Without a bias, and with the norm that is the next module of the same sequence."""
        weight = self.take(f"{name}.weight", (out, 1 if depthwise else channels, kernel, kernel))
        sequence, _, place = name.rpartition(".")
        scale, bias = self._norm(f"{sequence}.{int(place) + 1}", out, epsilon)
        x = _convolved(x, weight * scale[:, None, None, None], bias, stride, dilation, depthwise)
        if after == "relu6":
            return op.clamp(x, 0.0, 6.0)
        return op.relu(x) if after == "relu" else x

    def merged(self, coarse: Any, fine: Any, name: str, channels: int, more: int, out: int) -> Any:
        """See `nets.lite.Merge`: `coarse` doubled, `fine` beside it, and a dense layer over both; as a sum of what each gives to it.

        A pixel that is doubled meets two taps of three with the same value: a transposed convolution that has their sums does the same
        with four products a channel instead of nine, and nothing is doubled or joined in memory.
        """
        weight = self.take(f"{name}.weight", (out, channels + more, 3, 3))
        sequence, _, place = name.rpartition(".")
        scale, bias = self._norm(f"{sequence}.{int(place) + 1}", out, plan.NORM_EPSILON)
        of_coarse, of_fine = np.split(weight * scale[:, None, None, None], [channels], axis=1)
        doubled = _transposed(coarse, _doubling(of_coarse))
        return op.relu(op.add(_convolved(fine, of_fine, bias), doubled))

    def norm(self, x: Any, name: str, channels: int) -> Any:
        """One that follows a nonlinearity, and cannot be folded."""
        scale, bias = self._norm(name, channels, plan.NORM_EPSILON)
        return op.add(op.multiply(x, _per_channel(scale)), _per_channel(bias))

    def upconv(self, x: Any, name: str, channels: int, out: int) -> Any:
        """Twofold, by a transposed convolution of 4×4 with a bias."""
        weight = self.take(f"{name}.weight", (channels, out, 4, 4))
        bias = self.take(f"{name}.bias", (out,))
        return op.add(_transposed(x, weight), _per_channel(bias))

    def leave_hints(self) -> None:
        """The net's own path of color hints, weaker than `model.hints` and unused: it must fit where it is there, and changes nothing."""
        widths = (plan.HINTS, *(features for features, _ in plan.HINTED))
        shapes = {f"hints.convs.{n}.weight": (b, a, 3, 3) for n, (a, b) in enumerate(pairwise(widths))}
        shapes |= {f"hints.projections.{n}.weight": (b, a, 1, 1) for n, (a, b) in enumerate(plan.HINTED)}
        for name, shape in shapes.items():
            if name in self._tensors:
                self.take(name, shape)

    def check(self, net: str, path: Path) -> None:
        """Raises `CheckpointError` where something was missing, of another shape, left over, or no number."""
        wrong = self._wrong + [
            f"{name} is not of this network" for name in self._tensors if name not in self._taken
        ]
        if wrong:
            raise cards.misfit(path, net, wrong)
        if bad := [name for name, value in self._tensors.items() if not np.isfinite(value).all()]:
            raise cards.not_finite(bad)

    def _norm(
        self, name: str, channels: int, epsilon: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A batch norm as what it multiplies by and what it adds."""
        weight, bias, mean, variance = (
            self.take(f"{name}.{part}", (channels,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        self._taken.add(f"{name}.num_batches_tracked")  # which only training needs
        scale = weight / np.sqrt(variance + np.float32(epsilon))
        return scale, bias - mean * scale


def _convolved(
    x: Any,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    stride: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
) -> Any:
    pad = dilation * (weight.shape[-1] // 2)
    geometry = ([stride] * 2, [pad] * 2, [pad] * 2, [dilation] * 2)
    convolve = op.group_convolution if depthwise else op.convolution
    y = convolve(x, op.constant(weight[:, None] if depthwise else weight), *geometry)
    return op.add(y, _per_channel(bias))


def _transposed(x: Any, weight: NDArray[np.float32]) -> Any:
    """A transposed convolution of 4×4, which doubles the sides."""
    return op.convolution_backprop_data(
        x, op.constant(weight), strides=[2, 2], pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1]
    )


def _doubling(weight_OI33: NDArray[np.float32]) -> NDArray[np.float32]:
    """(O, I, 3, 3) of a convolution → (I, O, 4, 4) of the transposed one that equals it after nearest, twofold."""
    weight_IO33 = weight_OI33[..., ::-1, ::-1].swapaxes(0, 1)
    sums_IO44 = np.zeros((*weight_IO33.shape[:2], 4, 4), np.float32)
    for down in (0, 1):
        for across in (0, 1):
            sums_IO44[..., down : down + 3, across : across + 3] += weight_IO33
    return sums_IO44


def _per_channel(values: NDArray[np.float32]) -> Any:
    return op.constant(values.reshape(1, -1, 1, 1))


def _f(value: float) -> np.float32:
    return np.float32(value)
