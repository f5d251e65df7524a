"""Nets that somebody brings: an ONNX file with a card beside it (`cards.OnnxCard`, docs/nets.md).

On a CPU OpenVINO runs them, on a GPU ONNX Runtime, where `onnxruntime-gpu` is installed (`pip install '.[gpu]'`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model import cards
from model.cards import CheckpointError, OnnxCard
from model.engines import CpuEngine, Engine, choose_device, read_model
from model.errors import InputError
from model.runtimes import onnx_files

_HOW_TO_INSTALL = "`pip install '.[gpu]'` has it"

log = logging.getLogger("autochrome.nets")


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or output of a net. Sides are None where any will do."""

    name: str
    shape: tuple[int | None, ...] | None  # None where even the number of sides is open
    type: str  # "float32", "float16", or another, which we do not serve


class _Runs(Protocol):
    def __call__(self, batch: NDArray[np.float32], threads: int | None, /) -> NDArray[np.float32]: ...


class OnnxEngine(Engine):
    """The net behind its card: lightness in, logits over bins or ab in their own unit out, channels first."""

    def __init__(self, card: OnnxCard, device: str, ports: tuple[_Port, _Port], run: _Runs) -> None:
        self.device = device
        self._card = card
        self._run = run
        self._type = np.dtype(ports[0].type)
        shape = ports[0].shape
        self._is_single = shape is not None and shape[0] == 1

    def run(self, batch_N1hw: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """See `Engine.run`. Raises `CheckpointError` (net_unsupported) where sides or answer are not as the card says."""
        seen: NDArray[Any] = net_input(batch_N1hw, self._card).astype(self._type)
        parts = np.split(seen, len(seen)) if self._is_single else [seen]
        try:
            said = [self._run(part, threads) for part in parts]
        except ValueError as error:
            raise _unfit(self._card, f"does not run: {error}") from error
        return net_answer(np.concatenate(said), self._card)


def load(path: Path, device: str = "auto", threads: int | None = None) -> tuple[OnnxEngine, OnnxCard]:
    """The net in `path` (.onnx) by its card, which is given back with the file's hash.

    Raises `CheckpointError`: for a file or card that is missing or damaged, another hash than the card's, a net whose input and output are
    not what the card says, and external data outside the folder. InputError for a device that is not here or cannot run it.
    """
    card = OnnxCard.from_json(cards.card_text(path))
    data = cards.read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if card.sha256 not in ("", found):
        raise CheckpointError(
            "weights_damaged", f"{path} does not have the hash that its card says.", "Get both anew."
        )
    onnx_files.check_references(data, path)
    del data
    card = replace(card, sha256=found)
    chosen = _device(device, card)
    engine = _on_cpu(path, card, threads) if chosen == "cpu" else _on_gpu(path, card, chosen)
    return engine, card


def net_input(batch_N1hw: NDArray[np.float32], card: OnnxCard) -> NDArray[np.float32]:
    """(N, 1, h, w) lightness → what the net sees."""
    channels = batch_N1hw
    if card.input.kind == "gray_rgb":
        channels = np.repeat(_gray(batch_N1hw), 3, 1)
    mean, std = (np.array(of, np.float32)[:, None, None] for of in (card.input.mean, card.input.std))
    seen: NDArray[np.float32] = (channels - mean) / std
    return np.moveaxis(seen, 1, -1) if card.input.layout == "NHWC" else seen


def net_answer(raw: NDArray[np.float32], card: OnnxCard) -> NDArray[np.float32]:
    """What the net said → (N, Q, h, w) logits, or (N, 2, h, w) ab."""
    if raw.ndim != 4:
        raise _unfit(card, f"answers in {raw.ndim} dimensions, not 4")
    answer = np.moveaxis(raw, -1, 1) if card.output.layout == "NHWC" else raw
    if answer.shape[1] != card.output.channels:
        raise _unfit(card, f"answers {answer.shape[1]} channels; its card says {card.output.channels}")
    return np.ascontiguousarray(answer * np.float32(card.output.scale))


def _gray(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
    """L* → the sRGB value of that gray, 0…1 (IEC 61966-2-1, CIE 15)."""
    f = (lightness + 16) / 116
    luminance = np.where(lightness > 8, f**3, lightness / np.float32(903.3))
    gray = np.where(
        luminance > 0.0031308,
        1.055 * np.maximum(luminance, 0.0031308) ** (1 / 2.4) - 0.055,
        luminance * 12.92,
    )
    return gray.astype(np.float32)


def _on_cpu(path: Path, card: OnnxCard, threads: int | None) -> OnnxEngine:
    try:
        model = read_model(path)
    except RuntimeError as error:
        raise CheckpointError(
            "net_unsupported", f"OpenVINO cannot read {path}: {_last_line(error)}."
        ) from error
    ins, outs = ([_of_openvino(port) for port in ports] for ports in (model.inputs, model.outputs))
    ports, output = _checked(ins, outs, card)
    try:
        engine = CpuEngine(model, threads, output)
    except RuntimeError as error:
        raise CheckpointError(
            "net_unsupported", f"OpenVINO cannot run {path}: {_last_line(error)}."
        ) from error
    return OnnxEngine(card, "cpu", ports, engine.run)


def _on_gpu(path: Path, card: OnnxCard, device: str) -> OnnxEngine:
    index = int(device.partition(":")[2] or 0)
    return with_onnxruntime(path, card, device, [("CUDAExecutionProvider", {"device_id": index})])


def with_onnxruntime(path: Path, card: OnnxCard, device: str, providers: Sequence[Any]) -> OnnxEngine:
    """Run by ONNX Runtime, on the first of `providers`. Raises `CheckpointError` (net_unsupported)."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # its errors have no common class
        raise CheckpointError(
            "net_unsupported", f"ONNX Runtime cannot run {path}: {_last_line(error)}."
        ) from error
    ins, outs = (
        [_of_onnxruntime(port) for port in ports] for ports in (session.get_inputs(), session.get_outputs())
    )
    ports, _ = _checked(ins, outs, card)

    def run(batch: NDArray[np.float32], _threads: int | None) -> NDArray[np.float32]:
        [answer] = session.run([ports[1].name], {ports[0].name: np.ascontiguousarray(batch)})
        found: NDArray[np.float32] = answer.astype(np.float32)
        return found

    return OnnxEngine(card, device, ports, run)


def _device(name: str, card: OnnxCard) -> str:
    """Where to run it. Without ONNX Runtime for CUDA, "auto" is the CPU, and says so; a GPU that is named is refused."""
    chosen = choose_device(name)
    if chosen == "cpu" or _has_cuda():
        return chosen
    missing = (
        f"{card.name} comes from an ONNX file, and needs onnxruntime-gpu to run on a GPU; {_HOW_TO_INSTALL}"
    )
    if name == "auto":
        log.warning("%s. It runs on the CPU", missing)
        return "cpu"
    raise InputError(f"{missing}, or choose the device cpu")


def _has_cuda() -> bool:
    try:
        import onnxruntime
    except ImportError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _of_openvino(port: Any) -> _Port:
    shape = port.get_partial_shape()
    sides = None
    if shape.rank.is_static:
        sides = tuple(side.get_length() if side.is_static else None for side in shape)
    kind = port.get_element_type()
    return _Port(
        next(iter(port.get_names()), ""), sides, "dynamic" if kind.is_dynamic() else kind.to_dtype().name
    )


def _of_onnxruntime(port: Any) -> _Port:
    sides = tuple(side if isinstance(side, int) else None for side in port.shape)
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    return _Port(port.name, sides or None, kinds.get(port.type, port.type))


def _checked(ins: list[_Port], outs: list[_Port], card: OnnxCard) -> tuple[tuple[_Port, _Port], int]:
    """The input and the output that the card means, and which output it is. Raises `CheckpointError` where they do not fit the card."""
    if len(ins) != 1:
        raise _unfit(card, f"has {len(ins)} inputs, {_names(ins)}, and must have one")
    named = [index for index, port in enumerate(outs) if card.output.name in ("", port.name)]
    if len(named) != 1:
        wanted = f'name one as output.name in its card, which says "{card.output.name}"'
        raise _unfit(card, f"has the outputs {_names(outs)}; {wanted}")
    seen, said = ins[0], outs[named[0]]
    if seen.type not in ("float32", "float16"):
        raise _unfit(card, f"takes {seen.type}, and must take float32 or float16")
    sides = _sides(seen, card.input.layout, card.input.channels, "takes", card)
    if any(side not in (None, card.size) for side in sides) or (any(sides) and not card.square):
        given = " × ".join(str(side or "any") for side in sides)
        raise _unfit(card, f'takes {given} pixels: its card must say that as "size", and "square": true')
    _sides(said, card.output.layout, card.output.channels, "answers", card)
    return (seen, said), named[0]


def _sides(
    port: _Port, layout: str, channels: int, does: str, card: OnnxCard
) -> tuple[int | None, int | None]:
    """(height, width) of what the net takes or answers, whose channels are the card's."""
    if port.shape is None:
        return None, None
    if len(port.shape) != 4:
        raise _unfit(card, f"{does} {len(port.shape)} dimensions, not 4")
    _, *rest = port.shape
    found = rest.pop(0 if layout == "NCHW" else 2)
    if found not in (None, channels):
        raise _unfit(card, f"{does} {found} channels; its card says {channels} in the layout {layout}")
    return rest[0], rest[1]


def _unfit(card: OnnxCard, sentence: str) -> CheckpointError:
    return CheckpointError(
        "net_unsupported", f"The net {card.name} {sentence}.", "docs/nets.md says what a card is to say."
    )


def _names(ports: list[_Port]) -> str:
    return ", ".join(f'"{port.name}"' for port in ports) or "none"


def _last_line(error: Exception) -> str:
    """Of a library's message, whose first lines say where in its sources it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
