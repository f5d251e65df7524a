"""What only a GPU can show of serving and training, as `make test-gpu`: numbers go into the report, and what must hold is asserted."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color, data

from model import cards, checkpoint
from model.colorizer import Colorizer
from model.image_io import Photo
from model.runtimes.torch_engine import TorchEngine
from service.batching import is_out_of_memory
from tests.gpu.conftest import REHEARSE, ROOT, Tell

pytestmark = [pytest.mark.gpu]

SIDES = (64, 96) if REHEARSE else (224, 320)
BATCHES = (1, 2) if REHEARSE else (1, 2, 4, 8, 16, 32, 64, 128, 256)
CALLS = 2 if REHEARSE else 20
SECONDS = 1.0 if REHEARSE else 10.0
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "brick", "page")


def seen(batch: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 100, (batch, 1, *SIDES)).astype(np.float32)


def engine(device: str, precision: torch.dtype = torch.bfloat16) -> TorchEngine:
    return TorchEngine(checkpoint.load(cards.locate("lite"))[0], device, folded=True, on_gpu=precision)


def seconds(call: Callable[[], object], calls: int = CALLS) -> list[float]:
    """Of each call, after three that do not count. An answer on the host waits for the GPU."""
    for _ in range(3):
        call()
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def gray(name: str) -> Photo:
    pixels = getattr(data, name)()
    return Photo(pixels if pixels.ndim == 2 else (color.rgb2gray(pixels) * 255).astype(np.uint8), None, "PNG")


def test_auto_is_the_gpu(device: str) -> None:
    assert Colorizer.load("lite").device == device


def test_throughput_and_latency_by_batch(device: str, tell: Tell) -> None:
    net = engine(device)
    rows = []
    for batch in BATCHES:
        photos = seen(batch)
        taken = seconds(lambda photos=photos: net.run(photos))
        median, worst = statistics.median(taken), max(taken)
        rows.append((batch, f"{median * 1e3:.1f}", f"{worst * 1e3:.1f}", f"{batch / median:.0f}"))
    tell(
        f"The net at {SIDES[0]} × {SIDES[1]}, to logits on the host",
        ["batch", "median ms", "worst ms", "photos/s"],
        rows,
    )
    assert float(rows[-1][3]) > float(rows[0][3]) or REHEARSE, "batches are worth it"


def test_colors_are_those_of_float32_on_the_cpu(device: str, tell: Tell) -> None:
    """bfloat16 keeps 8 bits of each number, float16 11."""
    card = cards.read_card(cards.locate("lite"))
    exact = Colorizer.load("lite", "cpu")
    rows, means = [], {}
    for precision in (torch.bfloat16, torch.float16):
        other = Colorizer(engine(device, precision), card)
        for name in PHOTOS:
            photo = gray(name)
            [expected], [found] = exact.colorize([photo]), other.colorize([photo])
            off = np.abs(expected.pixels.astype(int) - found.pixels)
            kind = str(precision).removeprefix("torch.")
            means[kind, name] = off.mean()
            rows.append((kind, name, f"{off.mean():.2f}", off.max(), f"{(off.max(-1) <= 1).mean():.1%}"))
    tell(
        "8-bit steps off float32 on the CPU", ["precision", "photo", "mean", "most", "pixels within 1"], rows
    )
    assert max(means.values()) < 20
    assert statistics.mean(mean for (kind, _), mean in means.items() if kind == "float16") < 2


def test_memory_that_runs_out_is_known_and_a_smaller_batch_goes_on(device: str, tell: Tell) -> None:
    if REHEARSE:
        pytest.skip("a CPU has no memory of its own")
    net = engine(device)
    net.run(seen(1))
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**30) / total)
    try:
        batch, steps = 1024, []
        while True:
            try:
                net.run(seen(batch))
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                steps.append(batch)
            torch.cuda.empty_cache()
            batch //= 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    tell("With 1 GiB for the net", ["too large", "fits"], [(", ".join(map(str, steps)), batch)])
    assert steps
    assert batch >= 8
    np.testing.assert_allclose(net.run(seen(2)), net.run(seen(2)))


WORKER = """
import json, sys, time
import numpy as np
from tests.gpu.test_gpu import SIDES, engine, seen
net, photos = engine(sys.argv[1]), seen(int(sys.argv[2]))
for _ in range(3):
    net.run(photos)
print("ready", flush=True)
sys.stdin.readline()
end, done = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    net.run(photos)
    done += len(photos)
print(done)
"""


@pytest.mark.parametrize("batch", [1, 16])
def test_two_processes_share_the_gpu(device: str, tell: Tell, batch: int) -> None:
    rates = {}
    for count in (1, 2):
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, device, str(batch), str(SECONDS)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        said = []
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            said.append(int(worker.communicate(timeout=SECONDS + 60)[0]))
            assert worker.returncode == 0
        rates[count] = sum(said) / SECONDS
    rows = [(count, f"{rate:.0f}") for count, rate in rates.items()]
    tell(f"Processes on one GPU, batches of {batch}", ["processes", "photos/s in all"], rows)
    assert rates[2] > 0.7 * rates[1] or REHEARSE, "two are not much slower than one"


def test_threads_of_one_process_share_the_gpu(device: str, tell: Tell) -> None:
    from concurrent.futures import ThreadPoolExecutor

    net, photos = engine(device), seen(1)
    expected = net.run(photos)
    rows = []
    for count in (1, 4):
        with ThreadPoolExecutor(count) as pool:
            begun = time.perf_counter()
            answers = [*pool.map(lambda _: net.run(photos), range(CALLS * 4))]
            rows.append((count, f"{len(answers) / (time.perf_counter() - begun):.0f}"))
        for answer in answers:
            np.testing.assert_allclose(answer, expected, atol=0.5)
    tell("Threads of one process, a photo a call", ["threads", "photos/s"], rows)


def test_copies_through_pinned_memory_are_faster(device: str, tell: Tell) -> None:
    if REHEARSE:
        pytest.skip("there is nothing to copy to")
    logits = torch.rand(16, 313, SIDES[0] // 4, SIDES[1] // 4, device=device)
    host = torch.empty(logits.shape, pin_memory=True)
    pinned = statistics.median(seconds(lambda: host.copy_(logits)))
    plain = statistics.median(seconds(logits.cpu))
    size = logits.nbytes / 2**30
    rows = [("pinned", f"{size / pinned:.1f}"), ("pageable", f"{size / plain:.1f}")]
    tell("Logits of 16 photos to the host", ["memory", "GiB/s"], rows)
    assert pinned < plain


def test_the_whole_flow_from_file_to_file(device: str, tell: Tell) -> None:
    """On one thread of the host, which is what a GPU waits for."""
    colorizer = Colorizer(engine(device), cards.read_card(cards.locate("lite")))
    rows = []
    for side in (512, 1024):
        pixels = np.asarray(Image.fromarray(data.astronaut()).convert("L").resize((side, side)))
        photo = Photo(pixels, None, "PNG")
        steps: dict[str, float] = {}
        lightness = colorizer.preprocess(photo)
        [logits] = colorizer.infer([lightness])
        steps["preprocess"] = statistics.median(seconds(lambda photo=photo: colorizer.preprocess(photo)))
        steps["infer"] = statistics.median(seconds(lambda lightness=lightness: colorizer.infer([lightness])))
        steps["decode"] = statistics.median(seconds(lambda logits=logits: colorizer.decode(logits)))
        steps["postprocess"] = statistics.median(
            seconds(lambda photo=photo, logits=logits: colorizer.postprocess(photo, logits, threads=1))
        )
        rows.append((side, *(f"{value * 1e3:.1f}" for value in steps.values())))
    tell("Milliseconds of each stage; postprocess holds decode", ["side", *steps], rows)


@pytest.mark.parametrize("recipe", ["lite", "realism", "finetune"])
def test_training_takes_steps_and_learns(recipe: str, device: str, tell: Tell, tmp_path: Path) -> None:
    """By the command line, on pieces of scikit-image's photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    chance = np.random.default_rng(0)
    wholes = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for number in range(8 if REHEARSE else 64):
        whole = wholes[number % 4]
        top, left = chance.integers(0, [whole.shape[0] - 160, whole.shape[1] - 160])
        Image.fromarray(whole[top : top + 160, left : left + 160]).save(folder / f"{number}.png")
    run = tmp_path / "run"
    batch, steps = (4, 2) if REHEARSE else (128, 60)
    command = [sys.executable, "-m", "model", "train", "colorize", "--recipe", recipe, "--device", device]
    command += ["--photos", str(folder), "--run", str(run), "--steps", str(steps)]
    command += ["--set", f"batch={batch}", "warmup=2", "validate_every=0", "start=lite"]
    command += ["blend=1", "keep_best=false"]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    log = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    first, last = log[0], log[-1]
    span = float(last["elapsed_s"]) - float(first["elapsed_s"])
    rate = f"{(int(last['photos']) - int(first['photos'])) / span:.0f}" if span else "–"
    tell(
        f"Training by {recipe}: {steps} steps of {batch} crops",
        [
            "crops/s between the first row of the log and the last",
            "loss at first",
            "at last",
            "seconds in all",
        ],
        [(rate, first["loss"], last["loss"], f"{time.monotonic() - begun:.0f}")],
    )
    assert np.isfinite(float(last["loss"]))
    if recipe != "realism":
        assert float(last["loss"]) < float(first["loss"]) or REHEARSE
        return
    # Where a discriminator learns beside, the loss need not fall.
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    assert saved["adversary"]
    before = checkpoint.load(checkpoint.locate("lite"), taken_back=0)[0].state_dict()
    moved = {key for key, value in before.items() if not torch.equal(saved["net"][key], value)}
    assert any(key.startswith("head") for key in moved)
    assert not [key for key in moved if key.startswith("backbone")], "the decoder alone learns"


def test_a_brought_net_answers_alike_on_both(device: str, tell: Tell, tmp_path: Path) -> None:
    """By ONNX Runtime on the GPU, where it is installed."""
    runtime = pytest.importorskip("onnxruntime")
    if not REHEARSE and "CUDAExecutionProvider" not in runtime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    import onnx
    from onnx import helper, numpy_helper

    weights = {"weight": np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)}
    node = helper.make_node("Conv", ["input", "weight"], ["output"], pads=[1, 1, 1, 1])
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, c, 512, 512])
        for name, c in (("input", 3), ("output", 2))
    ]
    graph = helper.make_graph(
        [node], "made", ports[:1], ports[1:], [numpy_helper.from_array(v, k) for k, v in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "made.onnx"
    path.write_bytes(model.SerializeToString())
    card = {
        "name": "made",
        "terms": "",
        "size": 512,
        "square": True,
        "input": {"kind": "gray_rgb"},
        "output": {"kind": "ab"},
    }
    path.with_suffix(".json").write_text(json.dumps(card))
    there, here = Colorizer.load(str(path), device), Colorizer.load(str(path), "cpu")
    lightness = here.preprocess(gray("coffee"))
    [ours], [theirs] = here.infer([lightness]), there.infer([lightness])
    tell(
        "A net from ONNX",
        ["device", "largest difference from the CPU"],
        [(there.device, f"{np.abs(ours - theirs).max():.1e}")],
    )
    np.testing.assert_allclose(ours, theirs, atol=0.05)
