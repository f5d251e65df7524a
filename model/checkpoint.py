"""Weights on disk: `name.safetensors`, and beside it `name.json`, a card that says where they come from.

Loading is strict: the hash is the card's, every tensor has its place, every place its tensor, all are finite.
Otherwise it raises `CheckpointError`: a net that is loaded wrongly would color badly instead of failing.

A file holds the weights as they were trained. The share of the class rebalancing that is taken back when the net colors is a number in
the card, and `load` adds it to the bias of the last layer (`bins.taken_back`). In the first `lite` file it is in the bias already.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast

import pydantic
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from model import bins, download
from model.errors import AutochromeError, InputError
from model.nets.eccv16 import AB_SCALE, Eccv16
from model.nets.lite import Lite, LiteL2

NETS: Final[Mapping[str, type[Lite] | type[Eccv16]]] = {
    "lite": Lite,
    "eccv16": Eccv16,
    "lite-l2": LiteL2,
}
_SHIPPED: Final = {"lite"}
_KNOWN: Final = ("lite", "eccv16")  # weights that have a name of their own

RELEASE_URLS: Final = ("https://colorizers.s3.us-east-2.amazonaws.com/colorization_release_v2-9b330a0b.pth",)
RELEASE_SHA256: Final = "9b330a0b"  # all that is published of it; the card keeps the whole, once it is known


class CheckpointError(AutochromeError):
    """Weights that cannot be used.

    `code` is net_unknown, weights_missing, weights_damaged, weights_mismatch, weights_not_finite, card_invalid or download_failed.
    """


@dataclass(frozen=True, slots=True)
class Card:
    """What a file of weights is, as JSON beside it."""

    name: str
    net: str  # a key of NETS
    temperature: Annotated[
        float, pydantic.Field(gt=0, le=1)
    ]  # of the annealed mean, for logits as they come out; a net that answers ab has no use for it
    size: Annotated[int, pydantic.Field(gt=0, multiple_of=32)]  # shorter side of the photos that it expects
    terms: str  # the licence of the weights, and of what they were made from
    data: str  # what they were trained on
    recipe: Mapping[str, Any]
    commit: str  # of the code that made them
    numbers: Mapping[str, Any]  # as measured by `python -m model evaluate`
    created: str  # ISO 8601
    notes: str = ""
    sha256: str = ""  # of the safetensors file; `save` fills it in
    prior: tuple[
        float, ...
    ] = ()  # (313,) color distribution of the training photographs; empty where it is not known
    lam: Annotated[float, pydantic.Field(ge=0, le=1)] = 1.0  # of the class weights: see `bins.class_weights`
    taken_back: Annotated[float, pydantic.Field(ge=0, le=1)] = (
        0.0  # share of the rebalancing that `load` takes back
    )

    def __post_init__(self) -> None:
        """Raises InputError for a prior that is no distribution over the bins, and for a share without a prior."""
        if self.prior and not (
            len(self.prior) == bins.COUNT
            and all(math.isfinite(value) and value >= 0 for value in self.prior)
            and sum(self.prior) > 0
        ):
            raise InputError(
                f"the prior must be {bins.COUNT} finite numbers of at least 0 with a positive sum"
            )
        if self.prior and not self.lam and not min(self.prior):
            raise InputError("with lam 0, a color that the prior does not have would weigh infinitely much")
        if self.taken_back and not self.prior:
            raise InputError(
                "a share is to be taken back of a rebalancing whose prior the card does not hold"
            )

    @property
    def class_weights(self) -> Tensor | None:
        """(313,) float32: those that the net was trained with; None for a card without a prior."""
        return bins.class_weights(torch.tensor(self.prior), self.lam) if self.prior else None

    @property
    def share(self) -> float:
        """The share of the rebalancing that is taken back in the net as `load` gives it, 0…1.

        Cards without a prior are of files that have it in their bias; their recipe says how much.
        """
        return self.taken_back if self.prior else float(self.recipe.get("taken_back", 0.0))

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        prior = json.dumps(values.pop("prior"))
        text = json.dumps(values, indent=2, ensure_ascii=False)
        return (
            text.removesuffix("\n}") + f',\n  "prior": {prior}\n}}\n'
        )  # in one line, as the rest is to be read

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Raises `CheckpointError` (card_invalid), naming each field that is missing or wrong."""
        try:
            card = pydantic.TypeAdapter(cls).validate_json(text)
        except pydantic.ValidationError as error:
            wrong = "; ".join(_said(fault) for fault in error.errors())
            raise CheckpointError(
                "card_invalid", f"The card of the weights is not valid: {wrong}."
            ) from error
        if card.net not in NETS:
            raise _unknown(card.net, NETS)
        return card


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
    card, data = _read(path)
    if taken_back is not None:
        card = _with_share(card, taken_back, path)
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
    weights = card.class_weights
    if weights is None or not card.taken_back:
        return
    bias = cast(Tensor, cast(nn.Conv2d, net.head).bias)
    if len(bias) != bins.COUNT:
        raise CheckpointError(
            "card_invalid",
            f"The card of {card.name} takes a share of the rebalancing back, but a {card.net} answers ab itself and has none.",
        )
    with torch.no_grad():
        bias.add_(bins.taken_back(weights, card.taken_back).to(bias.device))


def _with_share(card: Card, share: float, path: Path) -> Card:
    if not 0 <= share <= 1:
        raise InputError(f"the share taken back is {share}, and must lie in 0…1")
    if share and not card.prior:
        raise CheckpointError(
            "card_invalid",
            f"The card of {path} holds no prior of the training colors, so its share taken back is fixed at {card.share:g}.",
            "Leave it as it is, or export the weights anew from their training run.",
        )
    return dataclasses.replace(card, taken_back=share)


def _said(fault: Mapping[str, Any]) -> str:
    """What pydantic found: the field's name and what is wrong with it."""
    if fault["type"] == "value_error":  # of `Card.__post_init__`, which names the field itself
        return str(fault["ctx"]["error"])
    return f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}"


def read_card(path: Path) -> Card:
    """The card beside `path`. Raises `CheckpointError`."""
    try:
        return Card.from_json(path.with_suffix(".json").read_bytes())
    except OSError as error:
        raise CheckpointError(
            "weights_missing", f"There is no card {path.with_suffix('.json')}: {error.strerror}."
        ) from error


def known() -> tuple[str, ...]:
    """The names that `locate` and `fetch_known` take."""
    return _KNOWN


def locate(name: str) -> Path:
    """Where the weights called `name` are; a name that ends in .safetensors is a path. Raises `CheckpointError` if they are not there."""
    if name.endswith(".safetensors"):
        return Path(name)
    path = _place(name)
    if path.exists():
        return path
    if name in _SHIPPED:
        raise CheckpointError(
            "weights_missing", f"{path}, a part of the package, is not there.", "Install it anew."
        )
    raise CheckpointError(
        "weights_missing", f"There is no {path} yet.", f"Run `python -m model weights fetch {name}`."
    )


def fetch_known(name: str, mirrors: Sequence[str] = (), progress: download.Progress | None = None) -> Path:
    """Make sure that the weights called `name` are on this machine; `locate` finds them from then on.

    `mirrors` (a file:// is one too) are asked before the published places. Raises `CheckpointError`.
    """
    path = _place(name)
    if name in _SHIPPED or _is_whole(path):
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
        save(load_release(release, sha256), _release_card(sha256), path, torch.float32)
    finally:
        release.unlink()
    return path


def load_release(path: Path, sha256: str = RELEASE_SHA256) -> Eccv16:
    """The published PyTorch weights (`colorization_release_v2-9b330a0b.pth`) in our network, by strict names.

    Its logits are put in the order of our bins, should it be another. Raises `CheckpointError`.
    """
    data = _bytes(path)
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


def _release_card(sha256: str) -> Card:
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


def _place(name: str) -> Path:
    if name not in _KNOWN:
        raise _unknown(name, _KNOWN)
    if name in _SHIPPED:
        return Path(__file__).parent / "weights" / f"{name}.safetensors"
    cache = os.environ.get("AUTOCHROME_CACHE_DIR")
    return (Path(cache) if cache else Path.home() / ".cache" / "autochrome") / f"{name}.safetensors"


def _unknown(name: str, known: Iterable[str]) -> CheckpointError:
    return CheckpointError(
        "net_unknown", f"There is no network called {name!r}.", f"Choose one of {', '.join(known)}."
    )


def _is_whole(path: Path) -> bool:
    try:
        _read(path)
    except CheckpointError:
        return False
    return True


def _read(path: Path) -> tuple[Card, bytes]:
    """The card and the bytes of the weights, whose hash is the card's."""
    data, card = _bytes(path), read_card(path)
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise CheckpointError(
            "weights_damaged",
            f"{path} does not have the hash that its card says.",
            "Get both anew, as a pair.",
        )
    return card, data


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError("weights_missing", f"{path} cannot be read: {error.strerror}.") from error


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
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise CheckpointError(
            "weights_mismatch", f"{path} does not fit {type(net).__name__}: {'; '.join(wrong[:8])}{more}."
        )
    _check_finite(tensors)
    net.load_state_dict(tensors)


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    bad = [name for name, value in tensors.items() if not value.isfinite().all()]
    if bad:
        raise CheckpointError(
            "weights_not_finite", f"These weights hold NaN or infinity: {', '.join(bad[:8])}."
        )


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
