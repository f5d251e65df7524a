"""The net on a CPU, by OpenVINO, without torch. On a GPU, and for nets in training, it is `model.runtimes.torch_engine`.

In float32. bfloat16, which OpenVINO takes by itself where a CPU has it, changes more than half of all pixels by more than one 8-bit step,
and was the slower one on the CPU measured, which has no matrix units for it (LOG.md, 2026-11-29).

Lone or one a core: a photo that is alone gets all cores; photos beside each other get one core each, so that no thread waits for another's
share of a layer. The interpreter's lock is free while a net runs.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError
from model.machine import cores
from model.openvino_runtime import ov

_GPU_SIGNS = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg", "/dev/kfd")
"""Where one of these is, there may be a GPU that PyTorch can use: NVIDIA's, under Windows' Linux too, or AMD's."""


class Engine(ABC):
    """A net on a device, which only infers. `run` may be called by several threads at once."""

    device: str
    """By PyTorch's name: cpu, cuda, cuda:1 …"""

    @abstractmethod
    def run(self, batch_N1hw: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """(N, 1, h, w) lightness in 0…100 → the net's (N, Q, h', w') answer, an array of the caller's own.

        `threads`, on a CPU: 1 for a photo whose neighbors have the other cores, None to use all of them while no other call runs.
        """


class CpuEngine(Engine):
    """A graph of OpenVINO on the CPU, for inputs of any shape that it takes."""

    device = "cpu"

    def __init__(self, model: Any, threads: int | None = None, output: int = 0) -> None:
        """`model`: an `openvino.Model`; where its output has the layout NHWC, `run` answers (N, Q, h', w') all the same.

        `threads`: how many cores it may use in all; None: `cores`. `output`: which of its outputs.

        What runs one photo a core is only compiled once two photos have met, which takes a tenth of a second and as much memory again.
        """
        self._model = model
        self._output = output
        self._is_channels_last = model.outputs[output].get_node().layout == ov.Layout("NHWC")
        self._threads = threads or cores()
        self._fitting: set[tuple[int, ...]] = set()
        self._changed = threading.Lock()
        self._compiling = threading.Lock()
        self._inside = 0
        self._wide = _Compiled(model, 1, self._threads)
        self._narrow: _Compiled | None = None

    def run(self, batch_N1hw: NDArray[Any], threads: int | None = None) -> NDArray[np.float32]:
        """See `Engine.run`; or whatever the graph takes instead of lightness. ValueError for a shape that it cannot take."""
        self._check(batch_N1hw.shape)
        with self._entered() as inside:
            compiled = self._wide if inside == 1 and threads != 1 else self._one_a_core()
            answer = compiled.run(batch_N1hw, self._output)
        return np.moveaxis(answer, -1, 1) if self._is_channels_last else answer

    def _check(self, shape: tuple[int, ...]) -> None:
        """A compiled graph does not: it reads and writes beyond its arrays where sides do not meet."""
        if shape[1:] in self._fitting:
            return
        try:
            self._model.clone().reshape([*shape])
        except RuntimeError as error:
            raise ValueError(f"the net cannot take arrays of {' × '.join(map(str, shape))}") from error
        self._fitting.add(shape[1:])

    @contextmanager
    def _entered(self) -> Iterator[int]:
        """How many calls are inside, this one included."""
        with self._changed:
            self._inside += 1
            inside = self._inside
        try:
            yield inside
        finally:
            with self._changed:
                self._inside -= 1

    def _one_a_core(self) -> _Compiled:
        if self._threads == 1:
            return self._wide
        with self._compiling:
            if self._narrow is None:
                self._narrow = _Compiled(self._model, self._threads, self._threads)
            return self._narrow


class _Compiled:
    """A graph compiled for so many photos at once on so many cores, with the requests that run it: each runs one call at a time."""

    def __init__(self, model: Any, streams: int, threads: int) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # two processes would pin their threads to the same cores
        }
        self._compiled = _core().compile_model(model, "CPU", options)
        self._room = threading.Semaphore(streams)  # more requests would wait inside, and take memory for it
        self._free: list[Any] = []

    def run(self, batch: NDArray[Any], output: int) -> NDArray[np.float32]:
        with self._room:
            try:
                request = self._free.pop()
            except IndexError:
                request = self._compiled.create_infer_request()
            request.infer({0: np.ascontiguousarray(batch)}, share_inputs=True, share_outputs=True)
            answer: NDArray[np.float32] = request.get_output_tensor(output).data.astype(np.float32)  # a copy
            self._free.append(request)  # not after an error, which may have left it in between
        return answer


@cache
def _core() -> Any:
    return ov.Core()


def read_model(path: Path) -> Any:
    """An ONNX file as an `openvino.Model`. RuntimeError, in OpenVINO's words, where it cannot be one."""
    return _core().read_model(path)


def choose_device(name: str) -> str:
    """By PyTorch's name; "auto" is a GPU where there is one, else the CPU. Raises InputError for one that is not here.

    PyTorch, whose import takes a second, is only asked where something speaks for a GPU, or one is named.
    """
    if name in ("cpu", "cpu:0") or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    try:
        import torch
    except ModuleNotFoundError as error:
        if name == "auto":
            return "cpu"
        raise InputError(
            f"the device {name!r} needs PyTorch, which is not installed: `pip install '.[gpu]'` has it"
        ) from error
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.zeros(1, device=name).device)
    except (RuntimeError, AssertionError) as error:  # the latter from a PyTorch that was built without CUDA
        reason = str(error).partition("\n")[0]
        raise InputError(f"the device {name!r} is not to be had here: {reason}") from error


def _may_have_gpu() -> bool:
    return any(Path(sign).exists() for sign in _GPU_SIGNS)
