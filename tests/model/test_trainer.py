"""The training loop: what a run leaves behind, and that kill -9 costs it nothing but time."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

from model.training import optim, trainer

STEPS = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((160, 120)).save(folder / f"{name}.jpg")
    return folder


def start(
    photos: Path, run: Path, save_every: float, seed: int = 0, steps: int = STEPS
) -> subprocess.Popen[str]:
    words = [
        "train",
        "colorize",
        "--photos",
        str(photos),
        "--run",
        str(run),
        "--recipe",
        "tiny",
        "--device",
        "cpu",
    ]
    words += ["--steps", str(steps), "--seed", str(seed), "--save-every", str(save_every)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "model", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def unbroken(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken")
    finish(start(photos, run, save_every=1000))
    return run


def test_a_run_leaves_weights_a_log_and_tensorboard_events(unbroken: Path) -> None:
    state, progressed, facts = trainer.averaged_weights(unbroken)
    assert (progressed.step, progressed.photos) == (STEPS, STEPS * 4)
    assert progressed.elapsed_s > 0
    assert facts["recipe"]["steps"] == STEPS
    assert all(torch.isfinite(value).all() for value in state.values())
    last = torch.load(unbroken / "checkpoint.pt", weights_only=True)["net"]
    assert not torch.equal(state["head.weight"], last["head.weight"]), "what is used is the average"
    with (unbroken / "log.csv").open() as log:
        rows = list(csv.DictReader(log))
    assert [int(row["step"]) for row in rows] == [20, 24]
    assert all(float(row["loss"]) > 0 and float(row["photos_per_s"]) > 0 for row in rows)
    assert list(unbroken.glob("events.out.tfevents.*"))


def test_kill_9_and_resume_ends_in_the_same_weights_bit_for_bit(
    photos: Path, unbroken: Path, tmp_path: Path
) -> None:
    killed = start(photos, tmp_path, save_every=0)
    checkpoint = tmp_path / "checkpoint.pt"
    deadline = time.monotonic() + 90
    while not (checkpoint.exists() and trainer.averaged_weights(tmp_path)[1].step >= 1):
        assert time.monotonic() < deadline, "no checkpoint came"
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    saved = torch.load(checkpoint, weights_only=True)
    assert 1 <= saved["progressed"]["step"] < STEPS, "it was killed on the way"
    saved["progressed"]["elapsed_s"] += 10_000
    torch.save(saved, checkpoint)
    finish(start(photos, tmp_path, save_every=1000))
    assert trainer.averaged_weights(tmp_path)[1].elapsed_s > 10_000, "it went on, and did not begin anew"
    whole, resumed = (torch.load(run / "checkpoint.pt", weights_only=True) for run in (unbroken, tmp_path))
    for part in ("net", "averaged"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), f"{part} {name}"
    with (tmp_path / "log.csv").open() as log:
        assert [int(row["step"]) for row in csv.DictReader(log)] == [20, 24]


def test_another_seed_ends_in_other_weights(photos: Path, unbroken: Path, tmp_path: Path) -> None:
    """The bit-for-bit test above would be empty if training changed nothing."""
    finish(start(photos, tmp_path, save_every=1000, seed=1))
    ours, theirs = (trainer.averaged_weights(run)[0] for run in (unbroken, tmp_path))
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def test_a_run_is_not_continued_with_another_recipe(photos: Path, unbroken: Path) -> None:
    process = start(photos, unbroken, save_every=1000, seed=7)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "begun with another recipe" in output


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [optim.cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_run_can_be_paused_and_goes_on_and_nobody_else_trains_in_its_folder(
    photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(photos, run, 1000, steps=60)
    try:
        steps = wait_for_steps(run, 20)
        assert model("training", "pause", str(run)).returncode == 0
        assert state_of(process.pid) == "T"
        time.sleep(1)
        assert steps_logged(run) - steps <= 20  # at most what was under way
        other = start(photos, run, 1000, steps=60)
        assert "another process trains" in other.communicate(timeout=100)[0]
        assert other.returncode == 1
        assert model("training", "resume", str(run)).returncode == 0
        finish(process)
    finally:
        process.kill()
    assert steps_logged(run) == 60
    ended = model("training", "pause", str(run))
    assert ended.returncode == 1
    assert "nothing trains" in ended.stderr


def model(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "model", *words], capture_output=True, text=True, timeout=60)


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


def steps_logged(run: Path) -> int:
    rows = (run / "log.csv").read_text().splitlines()
    return int(rows[-1].partition(",")[0]) if len(rows) > 1 else 0


def wait_for_steps(run: Path, steps: int) -> int:
    for _ in range(600):
        if (run / "log.csv").exists() and steps_logged(run) >= steps:
            return steps_logged(run)
        time.sleep(0.1)
    raise AssertionError("it never got so far")
