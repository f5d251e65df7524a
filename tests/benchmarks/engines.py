"""The net on a CPU by several runtimes, by turns: OpenVINO in each precision, frozen TorchScript, ONNX Runtime where it is installed.

And how far the colors of each are from those of float32, in 8-bit steps, over scikit-image's photographs. With `busy`, so many processes
that do nothing but count run beside it.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import color, data

from model import cards, checkpoint
from model.colorizer import Colorizer
from model.engines import CpuEngine
from model.image_io import Photo
from model.openvino_runtime import ov
from model.runtimes import graphs
from model.runtimes.torch_engine import fold
from tests.benchmarks.report import Log, Report, machine, machine_line, median, neighbors, table

Net = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "brick", "page")


@dataclass(frozen=True, slots=True)
class Config:
    """`rounds` of one call each, after three that do not count."""

    rounds: int = 40
    threads: int = 1
    busy: int = 0
    height: int = 224
    width: int = 320


def run(config: Config, log: Log) -> Report:
    place = machine()
    torch.set_num_threads(config.threads)
    graph, card = graphs.load(cards.locate("lite"))
    nets = _nets(graph, config)
    lightness = (
        np.random.default_rng(0).uniform(0, 100, (1, 1, config.height, config.width)).astype(np.float32)
    )
    wall: dict[str, list[float]] = {name: [] for name in nets}
    cpu: dict[str, list[float]] = {name: [] for name in nets}
    with neighbors(config.busy):
        for round_ in range(-3, config.rounds):
            for name, net in nets.items():
                before, begun = time.process_time(), time.perf_counter()
                net(lightness)
                if round_ >= 0:
                    wall[name].append(1e3 * (time.perf_counter() - begun))
                    cpu[name].append(1e3 * (time.process_time() - before))
    log("timed")
    colorizer = Colorizer(CpuEngine(graph, config.threads), card)
    off = {name: _off(colorizer, net) for name, net in nets.items()}
    rows = [
        (
            name,
            f"{median(wall[name]):.1f}",
            f"{median(cpu[name]):.1f}",
            f"{off[name][0]:.2f}",
            f"{off[name][1]:.1%}",
        )
        for name in nets
    ]
    results = {"machine": place, "config": asdict(config), "wall_ms": wall, "cpu_ms": cpu, "off": off}
    text = (
        f"# Runtimes on a CPU\n\n{machine_line(place)}\n\n{config.height} × {config.width}, {config.threads} threads, {config.busy} busy "
        f"processes beside; medians of {config.rounds} calls by turns. Colors beside OpenVINO's in float32.\n\n"
        + table(["runtime", "ms", "ms of CPU", "mean 8-bit steps off", "pixels within 1"], rows)
    )
    return Report(f"engines-{config.threads}-{config.busy}", results, text)


def _nets(graph: Any, config: Config) -> dict[str, Net]:
    nets = {kind: _openvino(graph, kind, config.threads) for kind in ("f32", "bf16", "f16")}
    named: dict[str, Net] = {f"OpenVINO, {kind}": net for kind, net in nets.items()}
    module = checkpoint.load(cards.locate("lite"))[0]
    fold(module)
    named["TorchScript, frozen"] = _torchscript(module)
    if (onnx := _onnx_runtime(module, config.threads)) is not None:
        named["ONNX Runtime"] = onnx
    return named


def _openvino(graph: Any, precision: str, threads: int) -> Net:
    options = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    request = (
        ov.Core().compile_model(graph, "CPU", options | {"ENABLE_CPU_PINNING": False}).create_infer_request()
    )

    def infer(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
        request.infer({0: lightness}, share_inputs=True, share_outputs=True)
        answer: NDArray[np.float32] = request.get_output_tensor(0).data.astype(np.float32)
        return np.moveaxis(answer, -1, 1)

    return infer


def _torchscript(module: torch.nn.Module) -> Net:
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that it is deprecated
        frozen = torch.jit.freeze(torch.jit.trace(module, torch.zeros(1, 1, 32, 32)))  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def infer(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = frozen(torch.from_numpy(lightness)).numpy()
        return answer

    return infer


def _onnx_runtime(module: torch.nn.Module, threads: int) -> Net | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.onnx"
        axes = {"input": {0: "n", 2: "h", 3: "w"}}
        example = (torch.zeros(1, 1, 64, 64),)
        torch.onnx.export(module, example, path, dynamo=False, input_names=["input"], dynamic_axes=axes)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def infer(lightness: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = session.run(None, {"input": lightness})[0]
        return answer

    return infer


def _off(colorizer: Colorizer, net: Net) -> tuple[float, float]:
    """The mean difference in 8-bit steps from the colorizer's own colors, and the share of pixels off by no more than one."""
    steps, within = [], []
    for name in _PHOTOS:
        pixels = getattr(data, name)()
        gray = pixels if pixels.ndim == 2 else (color.rgb2gray(pixels) * 255).astype(np.uint8)
        photo = Photo(gray, None, "PNG")
        lightness = colorizer.preprocess(photo)
        expected = colorizer.postprocess(photo, colorizer.infer([lightness])[0]).pixels.astype(int)
        found = np.abs(colorizer.postprocess(photo, net(lightness[None])[0]).pixels - expected)
        steps.append(float(found.mean()))
        within.append(float((found.max(-1) <= 1).mean()))
    return float(np.mean(steps)), float(np.mean(within))
