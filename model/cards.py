"""What a file of weights is: its card, as JSON beside it. And where the files are that have a name. No torch is needed.

`name.safetensors` has a `Card`, for weights of our own nets; `name.onnx` an `OnnxCard`, which says what a net that somebody brings takes
and gives. The fields of the latter are explained in docs/nets.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import numpy as np
import pydantic
from numpy.typing import NDArray

from model import palette
from model.errors import AutochromeError, InputError

NETS: Final = ("lite", "eccv16", "lite-l2")
_SHIPPED: Final = {"lite"}
_KNOWN: Final = ("lite", "eccv16")  # weights that have a name of their own
_FILES: Final = (".safetensors", ".onnx")
_TOLD: Final = 8  # of the tensors that are wrong
_OF_A_DISTRIBUTION: Final = {"hints", "palette", "alternatives", "distribution", "suggestions"}

_T = TypeVar("_T")
_FORBIDDEN: Final = pydantic.ConfigDict(extra="forbid")
_Share: TypeAlias = Annotated[float, pydantic.Field(ge=0, le=1)]
_Temperature: TypeAlias = Annotated[float, pydantic.Field(gt=0, le=1)]
"""Of the annealed mean."""
_Side: TypeAlias = Annotated[int, pydantic.Field(gt=0, le=4096)]


class CheckpointError(AutochromeError):
    """Weights that cannot be used.

    `code` is net_unknown, weights_missing, weights_damaged, weights_mismatch, weights_not_finite, card_invalid, net_unsupported or
    download_failed.
    """


@dataclass(frozen=True, slots=True)
class Calibration:
    """From what a net says of a hue to how often it is right, by `python -m model evaluate calibration`; see `model.confidence`."""

    slope: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
    intercept: pydantic.FiniteFloat
    fitted: str  # on which photographs


@dataclass(frozen=True, slots=True)
class Card:
    """What a file of weights is, as JSON beside it."""

    name: str
    net: str  # one of NETS
    temperature: _Temperature  # for logits as they come out; a net that answers ab has no use for it
    size: Annotated[int, pydantic.Field(gt=0, multiple_of=32)]  # shorter side of the photos that it expects
    terms: str  # the license of the weights, and of what they were made from
    data: str  # what they were trained on
    recipe: Mapping[str, Any]
    commit: str  # of the code that made them
    numbers: Mapping[str, Any]  # as measured by `python -m model evaluate`
    created: str  # ISO 8601
    notes: str = ""
    sha256: str = ""  # of the safetensors file; `save` fills it in
    prior: tuple[float, ...] = ()  # (313,) color distribution of the training photographs; empty: unknown
    lam: _Share = 1.0  # of the class weights: see `palette.class_weights`
    taken_back: _Share = 0.0  # of the rebalancing, which `load` takes back
    calibration: Calibration | None = None
    boldness: tuple[tuple[float, float, float], ...] = ()
    """(boldness, share taken back, temperature): how to decode at boldness −1…1; 0, which is the card's own decoding, is not among them.
    A share below 0 rebalances beyond what training did."""

    def __post_init__(self) -> None:
        """Raises InputError for a prior that is no distribution over the bins, and for a share without a prior."""
        if self.prior and not (
            len(self.prior) == palette.COUNT
            and all(math.isfinite(value) and value >= 0 for value in self.prior)
            and sum(self.prior) > 0
        ):
            raise InputError(
                f"the prior must be {palette.COUNT} finite numbers of at least 0 with a positive sum"
            )
        if self.prior and not self.lam and not min(self.prior):
            raise InputError("with lam 0, a color that the prior does not have would weigh infinitely much")
        if self.taken_back and not self.prior:
            raise InputError(
                "a share is to be taken back of a rebalancing whose prior the card does not hold"
            )

    @property
    def class_weights(self) -> NDArray[np.float32] | None:
        """(313,): those that the net was trained with; None for a card without a prior."""
        return palette.class_weights(np.array(self.prior), self.lam) if self.prior else None

    @property
    def share(self) -> float:
        """The share of the rebalancing that is taken back in the net as `load` gives it, 0…1.

        Cards without a prior are of files that have it in their bias; their recipe says how much.
        """
        return self.taken_back if self.prior else float(self.recipe.get("taken_back", 0.0))

    def shift_to(self, share: float) -> NDArray[np.float32]:
        """(313,) to add to the logits of the net as `load` gives it, so that this share is taken back instead.

        A share below 0 rebalances beyond training. Raises InputError for a card without a prior.
        """
        weights = self.class_weights
        if weights is None:
            raise InputError(f"the card of {self.name} holds no prior: its share taken back cannot vary")
        shift: NDArray[np.float32] = np.float32(self.share - share) * np.log(weights)
        return shift

    @property
    def decodings(self) -> list[tuple[float, float, float]]:
        """(boldness, share taken back, temperature), by boldness, the card's own at 0 among them; alone where the card has no prior."""
        measured = self.boldness if self.prior else ()
        return sorted([*measured, (0.0, self.share, self.temperature)])

    @property
    def has_distribution(self) -> bool:
        """Whether the net says how likely each color is; else it answers with one color a place."""
        return self.net != "lite-l2"

    @property
    def has_boldness(self) -> bool:
        """Whether it is known what bolder and safer mean for the net."""
        return len(self.decodings) > 1

    @property
    def has_confidence(self) -> bool:
        """Whether what the net says of its own sureness is calibrated."""
        return self.calibration is not None and bool(self.prior)

    def decoding(self, boldness: float) -> tuple[float, float]:
        """(share taken back, temperature) at boldness −1…1. Raises InputError for another than 0 where none was measured."""
        if boldness and not self.has_boldness:
            raise InputError(f"the card of {self.name} does not say what bolder and safer mean for it")
        at, shares, temperatures = zip(*self.decodings, strict=True)
        return float(np.interp(boldness, at, shares)), float(np.interp(boldness, at, temperatures))

    def to_json(self) -> str:
        values = dataclasses.asdict(self)
        prior = json.dumps(values.pop("prior"))  # in one line: its 313 numbers would bury the rest
        text = json.dumps(values, indent=2, ensure_ascii=False)
        return text.removesuffix("\n}") + f',\n  "prior": {prior}\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """Raises `CheckpointError` (card_invalid), naming each field that is missing or wrong."""
        card = _validated(cls, text, "weights")
        if card.net not in NETS:
            raise unknown(card.net, NETS)
        return card


@dataclass(frozen=True, slots=True)
class NetInput:
    """What an ONNX net sees: a photo's lightness L* in 0…100, or that lightness as three equal channels of sRGB in 0…1.

    Either less `mean` and over `std`, of one number or one a channel.
    """

    __pydantic_config__ = _FORBIDDEN

    kind: Literal["lightness", "gray_rgb"]
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels) or not all(map(math.isfinite, values)):
                most = ", or three, one a channel" if self.channels == 3 else ""
                raise InputError(f"input.{name} must be a list of one number{most}")
        if 0 in self.std:
            raise InputError("input.std is what is divided by, and must not be 0")

    @property
    def channels(self) -> int:
        return 1 if self.kind == "lightness" else 3


@dataclass(frozen=True, slots=True)
class NetOutput:
    """What it answers: ab over `scale`, or logits over the 313 bins of the paper, or over bins of its own with these `centers` in ab."""

    __pydantic_config__ = _FORBIDDEN

    kind: Literal["logits", "ab"]
    scale: Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] = 1.0
    centers: tuple[tuple[pydantic.FiniteFloat, pydantic.FiniteFloat], ...] = ()
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    name: str = ""  # of the output, where the file has several

    def __post_init__(self) -> None:
        if self.kind == "ab" and self.centers:
            raise InputError("output.centers are for logits: ab needs none")
        if self.kind == "logits" and self.scale != 1:
            raise InputError("output.scale is for ab; to sharpen logits, set the temperature")
        if len(self.centers) == 1 or len(self.centers) == 2:
            raise InputError(
                "output.centers must be three colors or more: two channels would be taken for ab"
            )

    @property
    def channels(self) -> int:
        return 2 if self.kind == "ab" else len(self.centers) or palette.COUNT


@dataclass(frozen=True, slots=True)
class OnnxCard:
    """What a net in an ONNX file takes and gives, as JSON beside it. docs/nets.md explains each field."""

    __pydantic_config__ = _FORBIDDEN

    name: str
    size: _Side  # shorter side of what it sees; its only side if square
    input: NetInput
    output: NetOutput
    terms: str  # the license of the weights, and of what they were made from
    square: bool = False  # whether it sees size × size only, into which photos are squeezed
    multiple: _Side = 32  # of which both sides are
    temperature: _Temperature = 1.0  # for logits
    sha256: Annotated[str, pydantic.Field(pattern="^([0-9a-f]{64})?$")] = ""  # of the file; "": unchecked
    source: str = ""  # where the file comes from
    data: str = ""  # what it was trained on
    notes: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # whatever else a person wants to keep
    has_boldness: ClassVar = False
    has_confidence: ClassVar = False

    def __post_init__(self) -> None:
        if self.size % self.multiple:
            raise InputError(f"size is {self.size}, and must be a multiple of {self.multiple}")

    @property
    def has_distribution(self) -> bool:
        """Whether the net says how likely each color is; else it answers with one color a place."""
        return self.output.kind == "logits"

    @property
    def centers(self) -> NDArray[np.float32] | None:
        """(Q, 2) ab of the net's own bins; None where they are the paper's."""
        return np.array(self.output.centers, np.float32) if self.output.centers else None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> OnnxCard:
        """Raises `CheckpointError` (card_invalid), naming each field that is missing, wrong or unknown."""
        return _validated(cls, text, "net")


def lacking(card: Card | OnnxCard, asked: Iterable[str]) -> dict[str, str]:
    """What a net of this card cannot do of what is asked beside its first answer, and why not.

    Known of `asked` are hints, palette, alternatives, distribution, suggestions, confidence and boldness: all else every net can do.
    """
    reasons = {}
    for name in asked:
        if name in _OF_A_DISTRIBUTION and not card.has_distribution:
            reasons[name] = "it answers with one color a place"
        elif name == "confidence" and not card.has_confidence:
            reasons[name] = "its card has no calibration"
        elif name == "boldness" and not card.has_boldness:
            reasons[name] = "its card does not say what bolder and safer mean for it"
    return reasons


def read_card(path: Path) -> Card:
    """The card beside `path` (.safetensors). Raises `CheckpointError`."""
    return Card.from_json(card_text(path))


def read_any_card(path: Path) -> Card | OnnxCard:
    """The card beside `path`, whatever its kind. Raises `CheckpointError`."""
    return OnnxCard.from_json(card_text(path)) if path.suffix == ".onnx" else read_card(path)


def read_weights(path: Path, taken_back: float | None = None) -> tuple[Card, bytes]:
    """The card beside `path` (.safetensors) and the bytes of the weights, whose hash is the card's.

    `taken_back`: another share of the rebalancing than the card's, 0…1. Raises `CheckpointError`, for a share of a card without a prior too
    (card_invalid), and InputError for a share outside of 0…1.
    """
    data, card = read_bytes(path), read_card(path)
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise CheckpointError(
            "weights_damaged",
            f"{path} does not have the hash that its card says.",
            "Get both anew, as a pair.",
        )
    return (card if taken_back is None else _with_share(card, taken_back, path)), data


def read_bytes(path: Path) -> bytes:
    """Raises `CheckpointError` (weights_missing)."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError("weights_missing", f"{path} cannot be read: {error.strerror}.") from error


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


def bias_shift(card: Card, outputs: int) -> NDArray[np.float32] | None:
    """(313,) to add to the last layer's bias, which takes the card's share of the class rebalancing back; None where nothing is to be.

    Raises `CheckpointError` (card_invalid) for a net that answers ab itself, which has no rebalancing.
    """
    weights = card.class_weights
    if weights is None or not card.taken_back:
        return None
    if outputs != palette.COUNT:
        raise CheckpointError(
            "card_invalid",
            f"The card of {card.name} takes a share of the rebalancing back, but a {card.net} answers ab itself and has none.",
        )
    return palette.taken_back(weights, card.taken_back)


def misfit(path: Path, net: str, wrong: Sequence[str]) -> CheckpointError:
    """The tensors in `path` are not those of `net`; `wrong` says it of each, and the first eight are told."""
    more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
    return CheckpointError(
        "weights_mismatch", f"{path} does not fit {net}: {'; '.join(wrong[:_TOLD])}{more}."
    )


def not_finite(names: Sequence[str]) -> CheckpointError:
    """The tensors of these names hold no numbers; the first eight are told."""
    return CheckpointError(
        "weights_not_finite", f"These weights hold NaN or infinity: {', '.join(names[:_TOLD])}."
    )


def known() -> tuple[str, ...]:
    """The names that `locate` and `checkpoint.fetch_known` take."""
    return _KNOWN


def locate(name: str) -> Path:
    """Where the weights called `name` are; a name that ends in .safetensors or .onnx is a path.

    Raises `CheckpointError` if they are not there.
    """
    if name.endswith(_FILES):
        return Path(name)
    path = place(name)
    if path.exists():
        return path
    if is_shipped(name):
        raise CheckpointError(
            "weights_missing", f"{path}, a part of the package, is not there.", "Install it anew."
        )
    raise CheckpointError(
        "weights_missing", f"There is no {path} yet.", f"Run `python -m model weights fetch {name}`."
    )


def is_shipped(name: str) -> bool:
    """Whether the weights of this name come with the package."""
    return name in _SHIPPED


def place(name: str) -> Path:
    """Where the weights called `name` are or will be. Raises `CheckpointError` (net_unknown)."""
    if name not in _KNOWN:
        raise unknown(name, _KNOWN, f", or name a file that ends in {' or '.join(_FILES)}")
    if name in _SHIPPED:
        return Path(__file__).parent / "weights" / f"{name}.safetensors"
    cache = os.environ.get("AUTOCHROME_CACHE_DIR")
    return (Path(cache) if cache else Path.home() / ".cache" / "autochrome") / f"{name}.safetensors"


def unknown(name: str, known: Iterable[str], more: str = "") -> CheckpointError:
    """The error for a name that is none of `known`. `more` goes on with what else may be named."""
    return CheckpointError(
        "net_unknown",
        f"There is no network called {name!r}.",
        f"Choose one of {', '.join(known)}{more}.",
    )


def card_text(path: Path) -> bytes:
    """What the card beside `path` says. Raises `CheckpointError` (weights_missing)."""
    try:
        return path.with_suffix(".json").read_bytes()
    except OSError as error:
        raise CheckpointError(
            "weights_missing", f"There is no card {path.with_suffix('.json')}: {error.strerror}."
        ) from error


def _validated(kind: type[_T], text: str | bytes, of: str) -> _T:
    try:
        return pydantic.TypeAdapter(kind).validate_json(text)
    except pydantic.ValidationError as error:
        wrong = "; ".join(_said(fault) for fault in error.errors())
        raise CheckpointError("card_invalid", f"The card of the {of} is not valid: {wrong}.") from error


def _said(fault: Mapping[str, Any]) -> str:
    """What pydantic found: the field's name and what is wrong with it."""
    if fault["type"] == "value_error":  # of `Card.__post_init__`, which names the field itself
        return str(fault["ctx"]["error"])
    return f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}"
