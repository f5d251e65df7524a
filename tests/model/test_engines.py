"""The net on a CPU: threads beside each other, shapes of all kinds; devices; and what a process that colors does not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import cards, engines
from model.engines import CpuEngine
from model.errors import InputError
from model.runtimes import graphs

CHANCE = np.random.default_rng(0)
BATCHES = [
    CHANCE.uniform(0, 100, (count, 1, *sides)).astype(np.float32)
    for count, sides in ((1, (64, 96)), (3, (64, 96)), (1, (96, 64)), (2, (32, 32)), (1, (128, 64)))
]


@pytest.fixture(scope="module")
def graph() -> object:
    return graphs.load(cards.locate("lite"))[0]


def test_batches_of_many_shapes_by_turns_answer_as_each_photo_alone(graph: object) -> None:
    engine = CpuEngine(graph, 1)
    alone = [np.concatenate([engine.run(one[None]) for one in batch]) for batch in BATCHES]
    for _ in range(2):
        for batch, expected in zip(BATCHES, alone, strict=True):
            np.testing.assert_allclose(engine.run(batch), expected, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_at_once_answer_as_one_after_the_other(graph: object, threads: int) -> None:
    engine = CpuEngine(graph, threads)
    expected = [engine.run(batch) for batch in BATCHES]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(engine.run, BATCHES * 6)]
    for answer, one in zip(found, expected * 6, strict=True):
        np.testing.assert_allclose(answer, one, atol=1e-3)  # sums in another order


def test_an_answer_is_the_callers_own(graph: object) -> None:
    engine = CpuEngine(graph, 1)
    first = engine.run(BATCHES[0])
    kept = first.copy()
    engine.run(BATCHES[0][..., ::-1])
    assert np.array_equal(first, kept)


def test_an_input_that_is_no_contiguous_array_is_read_rightly(graph: object) -> None:
    engine = CpuEngine(graph, 1)
    flipped = BATCHES[0][..., ::-1]
    assert np.array_equal(engine.run(flipped), engine.run(flipped.copy()))


def test_python_goes_on_while_the_net_runs(graph: object) -> None:
    """The interpreter's lock is free: another thread counts meanwhile."""
    engine = CpuEngine(graph, 1)
    large = np.repeat(BATCHES[0], 8, 0).repeat(3, 2).repeat(3, 3)
    engine.run(large)
    counts: list[float] = []
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.001):
            counts.append(time.perf_counter())

    thread = threading.Thread(target=count)
    thread.start()
    begun = time.perf_counter()
    engine.run(large)
    ended = time.perf_counter()
    done.set()
    thread.join()
    inside = [at for at in counts if begun < at < ended]
    assert len(inside) > 5, f"{len(inside)} in {ended - begun:.3f} s"


def test_a_side_that_the_net_cannot_take_is_an_error_and_the_engine_goes_on(graph: object) -> None:
    engine = CpuEngine(graph, 1)
    for shape in ((1, 1, 40, 40), (2, 1, 64, 40), (1, 3, 64, 64)):
        with pytest.raises(ValueError, match=" × ".join(map(str, shape))):
            engine.run(np.zeros(shape, np.float32))
    assert engine.run(BATCHES[0]).shape == (1, 313, 16, 24)


def test_what_runs_one_photo_a_core_is_made_when_two_have_met(graph: object) -> None:
    engine = CpuEngine(graph, 2)
    engine.run(BATCHES[0])
    assert engine._narrow is None
    both = threading.Barrier(2)

    def run(_: int) -> None:
        both.wait(10)
        for _ in range(5):
            engine.run(BATCHES[4])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert engine._narrow is not None


# Devices


def test_auto_is_the_cpu_where_nothing_speaks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_GPU_SIGNS", ("/nowhere",))
    monkeypatch.setitem(sys.modules, "torch", None)  # whoever imports it now fails
    assert engines.choose_device("auto") == "cpu"
    assert engines.choose_device("cpu") == "cpu"


def test_where_something_speaks_for_a_gpu_pytorch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_GPU_SIGNS", ("/",))
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert engines.choose_device("auto") == expected
    monkeypatch.setitem(sys.modules, "torch", None)
    assert engines.choose_device("auto") == "cpu"
    with pytest.raises(InputError, match="needs PyTorch"):
        engines.choose_device("cuda")


# A process that colors on a CPU

PROGRAM = """
import json, sys
sockets, processes = [], []
def watch(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.")):
        sockets.append(event)
    if event in ("subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"):
        processes.append(event)
sys.addaudithook(watch)
from pathlib import Path
from model import image_io
from model.colorizer import Colorizer
colorizer = Colorizer.load("lite")
[colored] = colorizer.colorize([image_io.open(Path(sys.argv[1]).read_bytes())])
print(json.dumps({
    "sockets": sockets,
    "processes": processes,
    "modules": sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}),
    "device": colorizer.device,
    "chroma": float((colored.pixels.max(2) - colored.pixels.min(2)).mean()),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a fresh process with an empty home folder says of itself after it has colored a photo."""
    home = tmp_path_factory.mktemp("home")
    photo = home / "gray.png"
    Image.fromarray(data.astronaut()[::2, ::2]).convert("L").save(photo)
    variables = {**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # where OpenVINO would keep its telemetry to itself
        variables.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(photo)],
        capture_output=True,
        text=True,
        env=variables,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    return json.loads(done.stdout) | {"files": left, "said": done.stderr}


def test_a_photo_is_colored_without_torch(told: dict[str, object]) -> None:
    if told["device"] != "cpu":
        pytest.skip("there is a GPU here")
    assert "torch" not in told["modules"]
    assert told["chroma"] > 10


def test_nothing_is_sent_anywhere_and_nobody_is_identified(told: dict[str, object]) -> None:
    """OpenVINO's Python package reports its import to Google Analytics, and keeps an identifier in the home folder."""
    assert told["sockets"] == []
    assert told["processes"] == []
    assert not {"openvino_telemetry", "requests", "urllib3"} & {*told["modules"]}
    assert told["files"] == {"gray.png"}
    assert told["said"] == ""
