"""Weights on disk as torch nets: `name.safetensors`, and beside it `name.json`, its card (`model.cards`). For training, and for GPUs.

Loading is strict: the hash is the card's, every tensor has its place, every place its tensor, all are finite.
Otherwise it raises `CheckpointError`: a net that is loaded wrongly would color badly instead of failing.

A file holds the weights as they were trained. The share of the class rebalancing that is taken back when the net colors is a number in
the card, and `load` adds it to the bias of the last layer (`bins.taken_back`). In the first `lite` file it is in the bias already.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
import pickle
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from model import bins, cards, download
from model.cards import Card, CheckpointError, known, locate, read_card
from model.errors import InputError
from model.nets.eccv16 import AB_SCALE, Eccv16
from model.nets.lite import Lite, LiteL2

__all__ = [  # with what every user of weights needs of their cards
    "NETS",
    "RELEASE_SHA256",
    "RELEASE_URLS",
    "Card",
    "CheckpointError",
    "fetch_known",
    "known",
    "load",
    "load_release",
    "locate",
    "mean",
    "read_card",
    "release_card",
    "save",
    "take_back",
]

NETS: Final[Mapping[str, type[Lite] | type[Eccv16]]] = {
    "lite": Lite,
    "eccv16": Eccv16,
    "lite-l2": LiteL2,
}

RELEASE_URLS: Final = ("https://colorizers.s3.us-east-2.amazonaws.com/colorization_release_v2-9b330a0b.pth",)
RELEASE_SHA256: Final = "9b330a0b"  # all that is published of it; the card keeps the whole, once it is known


def save(net: nn.Module, card: Card, path: Path, dtype: torch.dtype = torch.float16) -> Card:
    """Write `path` (.safetensors) and its card; returns the card with the file's hash.

    Only tensors of two dimensions and more become `dtype`: norms and biases stay in float32, for they are
    small and a variance may be beyond float16. Raises `CheckpointError` if a value is then not finite.
    """
    if type(net) is not NETS[card.net]:
        raise ValueError(f"the card is for {card.net}, the network is {type(net).__name__}")
    tensors = {name: _stored(value, dtype) for name, value in net.state_dict().items()}
    _check_finite(tensors)
    data = safetensors.torch.save(tensors)
    card = dataclasses.replace(card, sha256=hashlib.sha256(data).hexdigest())
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, data)
    _write(path.with_suffix(".json"), card.to_json().encode())
    return card


def load(
    path: Path, device: torch.device | str = "cpu", taken_back: float | None = None
) -> tuple[nn.Module, Card]:
    """The network in `path` (.safetensors), float32, ready to infer; and its card.

    `taken_back` is the share of the class rebalancing to take back, 0…1: None is the card's, 0 leaves the weights as they were trained,
    which is what fine-tuning starts from (what an older file has in its bias stays). The card given back says the share that was applied.
    Raises `CheckpointError`, for a share of a card without a prior too (card_invalid), and InputError for a share outside of 0…1.
    """
    card, data = cards.read_weights(path, taken_back)
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError("weights_damaged", f"{path} is no safetensors file: {error}.") from error
    net = NETS[card.net]()
    _fill(net, tensors, path)
    take_back(net, card)
    return net.to(device).eval(), card


def take_back(net: nn.Module, card: Card) -> None:
    """Add to the last layer's bias, in place, what takes the card's share of the class rebalancing back. For weights as trained.

    Raises `CheckpointError` (card_invalid) for a net that answers ab itself, which has no rebalancing.
    """
    bias = cast(Tensor, cast(nn.Conv2d, net.head).bias)
    shift = cards.bias_shift(card, len(bias))
    if shift is not None:
        with torch.no_grad():
            bias.add_(torch.from_numpy(shift).to(bias.device))


def mean(states: Sequence[Mapping[str, Tensor]], parts: Sequence[float]) -> dict[str, Tensor]:
    """The mean of several nets' weights, as many parts of each as is said. Integer counters are the first net's.

    (Wortsman et al., "Model soups", ICML 2022, https://arxiv.org/abs/2203.05482.) It is of use for nets that began as the same one.
    InputError unless there is one finite part above 0 for each net.
    """
    if len(parts) != len(states) or not min(parts) > 0 or not math.isfinite(sum(parts)):
        raise InputError(
            f"{len(states)} nets need {len(states)} parts above 0, not {', '.join(map(str, parts))}"
        )
    shares = torch.tensor(parts, dtype=torch.float64) / sum(parts)
    return {
        name: torch.tensordot(
            shares.to(value.device), torch.stack([state[name].double() for state in states]), 1
        ).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def fetch_known(name: str, mirrors: Sequence[str] = (), progress: download.Progress | None = None) -> Path:
    """Make sure that the weights called `name` are on this machine; `locate` finds them from then on.

    `mirrors` (a file:// is one too) are asked before the published places. Raises `CheckpointError`.
    """
    path = cards.place(name)
    if cards.is_shipped(name) or _is_whole(path):
        return locate(name)
    release = path.with_suffix(".pth")
    try:
        sha256 = download.fetch((*mirrors, *RELEASE_URLS), RELEASE_SHA256, release, progress)
    except (download.DownloadError, OSError) as error:
        raise CheckpointError(
            "download_failed",
            f"The weights {name} could not be downloaded: {getattr(error, 'detail', error)}",
        ) from error
    try:
        save(load_release(release, sha256), release_card(sha256), path, torch.float32)
    finally:
        release.unlink()
    return path


def load_release(path: Path, sha256: str = RELEASE_SHA256) -> Eccv16:
    """The published PyTorch weights (`colorization_release_v2-9b330a0b.pth`) in our network, by strict names.

    Its logits are put in the order of our bins, should it be another. Raises `CheckpointError`.
    """
    data = cards.read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(sha256):
        raise CheckpointError(
            "weights_damaged", f"{path} has the hash {found}, not {sha256}….", "Fetch it again."
        )
    try:
        state = dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise CheckpointError("weights_damaged", f"{path} is no file of PyTorch weights: {error}.") from error
    net = Eccv16()
    for key, value in net.state_dict().items():
        if key.endswith("num_batches_tracked"):  # norms saved by old PyTorch have none
            state.setdefault(key, value)
    _fill(net, state, path)
    _reorder(net, path)
    return net.eval()


def _reorder(net: Eccv16, path: Path) -> None:
    """Sort the logits by the color that `model_out` says each stands for, into the order of our bins."""
    theirs = net.model_out.weight.detach()[:, :, 0, 0].T * AB_SCALE
    distance, order = torch.cdist(bins.centers(), theirs).min(1)
    if distance.max() > 0.1:  # ab units; bins are 10 apart
        raise CheckpointError("weights_mismatch", f"The color bins of {path} are not the 313 of the paper.")
    state = net.state_dict()
    for name in ("model8.6.weight", "model8.6.bias"):
        state[name].copy_(state[name][order])
    state["model_out.weight"].copy_(state["model_out.weight"][:, order])


def release_card(sha256: str = RELEASE_SHA256) -> Card:
    """The card of the published weights of eccv16."""
    return Card(
        name="eccv16",
        net="eccv16",
        temperature=1.0,
        size=256,
        terms="BSD-2-Clause, https://github.com/richzhang/colorization; trained on ImageNet",
        data="ImageNet (ILSVRC 2012), 1.3 million photographs",
        recipe={
            "paper": "https://arxiv.org/abs/1603.08511",
            "release": "colorization_release_v2-9b330a0b.pth",
            "release_sha256": sha256,
        },
        commit="",
        numbers={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes="Temperature 1 is what the release's own forward does: it takes the mean of the softmax as it stands. The Caffe "
        "deployment divides its logits by ln(10)/6 = 0.3838 before. If colors come out too dull, try that.",
    )


def _is_whole(path: Path) -> bool:
    try:
        cards.read_weights(path)
    except CheckpointError:
        return False
    return True


def _fill(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    wanted = net.state_dict()
    begun = {name: value for name, value in wanted.items() if name.startswith(getattr(net, "optional", ()))}
    tensors = begun | dict(tensors)
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is not of this network" for name in tensors if name not in wanted]
    wrong += [
        f"{name} has the shape {tuple(tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        raise cards.misfit(path, type(net).__name__, wrong)
    _check_finite(tensors)
    net.load_state_dict(tensors)


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise cards.not_finite(bad)


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.to(dtype if value.dim() > 1 else torch.float32)
    return value.contiguous()


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, whenever the machine stops."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
