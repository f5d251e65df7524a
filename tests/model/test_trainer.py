"""The training loop: stepping, validation and stages of toy nets; and runs of the command line, which kill -9 costs nothing but time."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import Dataset

from model.__main__ import main
from model.methods import Method
from model.training import distributed, logging, optim, runs, trainer
from model.training.logging import DivergedError
from model.training.trainer import Schedule, StoppedError
from model.training.validation import Validate

CPU = torch.device("cpu")


# Toys


@dataclass
class Rows:
    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def parts(self, count: int) -> Iterator[Rows]:
        for part in self.x.tensor_split(count):
            yield Rows(part)


class KilledError(Exception):
    """As when the power fails: nothing is saved on the way out."""


@dataclass
class Shown(Dataset[Rows]):
    """Batches of five rows, until the power fails."""

    killed_at: int = -1
    steps: list[int] = field(default_factory=list)

    def __getitem__(self, step: int) -> Rows:
        if step == self.killed_at:
            raise KilledError
        self.steps.append(step)
        return Rows(torch.randn(5, 3, generator=torch.Generator().manual_seed(step), dtype=torch.float64))


class Toy(Method):
    """Without batch norm."""

    def __init__(self, scale: float = 1.0) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.scale = scale
        self.rates: list[float] = []

    def loss(self, batch: Rows, generator: torch.Generator) -> Tensor:
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        target = batch.x.sum(1, keepdim=True).sin()
        return self.scale * (self.net(batch.x) - target).square().mean()

    def trained(
        self,
        run: Path,
        schedule: Schedule,
        shown: Shown | None = None,
        validate: Validate | None = None,
        metadata: dict[str, Any] | None = None,
        lr: float = 0.5,
        stop_at: int = -1,
    ) -> dict[str, Any]:
        """The run's checkpoint."""
        parts = [self.net] if self.adversary is None else [self.net, self.adversary]
        learning = [parameter for part in parts for parameter in part.parameters()]
        self.optimizer = torch.optim.SGD(learning, lr, momentum=0.9)
        trainer.train(
            self,
            self.optimizer,
            shown or Shown(),
            schedule,
            run,
            metadata or {},
            CPU,
            validate,
            is_asked_to_stop=lambda: len(self.rates) == stop_at,
        )
        saved: dict[str, Any] = torch.load(run / runs.CHECKPOINT, weights_only=True)
        return saved


class Steep(Toy):
    """Its loss is finite, and its gradient, of a root at 0, is not."""

    def loss(self, batch: Rows, generator: torch.Generator) -> Tensor:
        return super().loss(batch, generator) + (0 * self.net[0].weight).sum().sqrt()


class Opposed(Toy):
    """With a part that learns beside the net, and whose gradient is not finite where it is steep."""

    def __init__(self, steep: bool) -> None:
        super().__init__()
        self.adversary, self.steep = nn.Linear(3, 1).double(), steep

    def loss(self, batch: Rows, generator: torch.Generator) -> Tensor:
        assert self.adversary is not None
        loss = super().loss(batch, generator)
        return loss + (0 * self.adversary.weight).sum().sqrt() if self.steep else loss


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        torch.equal(value, other[part][name])
        for part in ("net", "averaged")
        for name, value in one[part].items()
    )


def scored(*scores: float) -> Validate:
    """What measures these scores, one after the other."""
    coming = iter(scores)
    return lambda net, step: {"loss": 1.0, "score": next(coming)}


def begun() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in Toy().net.state_dict().items()}


def test_two_parts_of_a_batch_are_one_batch_to_a_net_without_batch_norm(tmp_path: Path) -> None:
    """Of five rows one part has three and the other two."""
    whole, parts = (
        Toy().trained(tmp_path / str(count), Schedule((6,), accumulate=count, save_every_s=1000))
        for count in (1, 2)
    )
    for name, value in whole["net"].items():
        torch.testing.assert_close(parts["net"][name], value, rtol=1e-12, atol=1e-14)
    assert parts["progress"]["photos"] == 30
    assert (whole["net"]["0.weight"] - begun()["0.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize(("clip", "length"), [(0.1, 0.05), (1e9, None)])
def test_clipping_bounds_the_gradient_and_so_the_step(
    clip: float, length: float | None, tmp_path: Path
) -> None:
    saved = Toy(scale=1000).trained(tmp_path, Schedule((1,), clip=clip))
    moved = torch.cat([(saved["net"][name] - value).flatten() for name, value in begun().items()])
    if length is None:
        assert float(moved.norm()) > 1
    else:
        assert float(moved.norm()) == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize(
    ("begin", "go_on", "said"),
    [
        (Toy, lambda: Toy(scale=math.inf), "The loss is not finite"),
        (Toy, Steep, "weights of net are not finite"),
        (lambda: Opposed(steep=False), lambda: Opposed(steep=True), "weights of adversary are not finite"),
    ],
)
def test_what_is_not_finite_ends_the_run_and_spares_its_checkpoint(
    begin: Callable[[], Toy], go_on: Callable[[], Toy], said: str, tmp_path: Path
) -> None:
    begin().trained(tmp_path, Schedule((2,)))
    metadata = {"config": {"steps": 4, "earlier": (2,)}}
    runs_before = {"config": {"steps": 2, "earlier": ()}}
    saved = torch.load(tmp_path / runs.CHECKPOINT, weights_only=True) | {"metadata": runs_before}
    torch.save(saved, tmp_path / runs.CHECKPOINT)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    with pytest.raises(DivergedError, match=f"{said}(.|\n)*lower lr"):
        go_on().trained(tmp_path, Schedule((2, 4), save_every_s=-1), metadata=metadata)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before


# Validation


def tensorboard(run: Path) -> dict[str, list[tuple[int, float]]]:
    """By the curve's name: what TensorBoard shows, (step, value) each."""
    events = EventAccumulator(str(run))
    events.Reload()
    return {
        name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def test_the_weights_that_did_best_are_kept_and_are_those_to_use(tmp_path: Path) -> None:
    metadata = {"config": {"keep_best": True}}
    schedule = Schedule((8,), ema=0.5, validate_every=2, keep_best=True, save_every_s=1000)
    seen: list[dict[str, Tensor]] = []
    scores = scored(1, 3, 5, 2, 4)

    def validate(net: nn.Module, step: int) -> Any:
        assert not net.training
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return scores(net, step)

    last = Toy().trained(tmp_path, schedule, validate=validate, metadata=metadata)
    best = torch.load(tmp_path / runs.BEST, weights_only=True)
    assert (best["step"], best["score"]) == (4, 5)
    used = runs.averaged(tmp_path)
    assert used.progress.best_step == 4
    assert all(torch.equal(value, seen[2][name]) for name, value in used.state.items())
    assert not torch.equal(used.state["0.weight"], last["averaged"]["module.0.weight"])
    with (tmp_path / "validation.csv").open() as rows:
        found = [(int(row["step"]), float(row["score"])) for row in csv.DictReader(rows)]
    assert found == [(0, 1), (2, 3), (4, 5), (6, 2), (8, 4)]
    assert tensorboard(tmp_path)["validation/score"] == found


def test_best_weights_that_are_newer_than_the_checkpoint_say_of_which_step_they_are(tmp_path: Path) -> None:
    """A run that was killed between the two: by the checkpoint alone they would be taken for the start's."""
    schedule = Schedule((2,), ema=0.5, validate_every=2, keep_best=True)
    toy = Toy()
    toy.trained(tmp_path, schedule, validate=scored(5, 1), metadata={"config": {"keep_best": True}})
    assert runs.averaged(tmp_path).progress.best_step == 0
    runs.save_best(tmp_path, toy.net, 50, 6.5)
    saved = runs.averaged(tmp_path)
    assert (saved.progress.step, saved.progress.best_step, saved.progress.best_score) == (50, 50, 6.5)
    assert torch.equal(saved.state["0.weight"], toy.net.state_dict()["0.weight"])


def test_without_keep_best_the_last_average_is_what_is_used(tmp_path: Path) -> None:
    schedule = Schedule((4,), ema=0.5, validate_every=2)
    last = Toy().trained(tmp_path, schedule, validate=scored(5, 1), metadata={"config": {"keep_best": False}})
    assert not (tmp_path / runs.BEST).exists()
    assert torch.equal(runs.averaged(tmp_path).state["0.weight"], last["averaged"]["module.0.weight"])
    assert (tmp_path / "validation.csv").read_text().count("\n") == 3, "not before the first step"


def test_a_start_that_nothing_betters_is_kept(tmp_path: Path) -> None:
    schedule = Schedule((4,), ema=0.5, validate_every=2, keep_best=True)
    Toy().trained(tmp_path, schedule, validate=scored(5, 1, 4.9), metadata={"config": {"keep_best": True}})
    used = runs.averaged(tmp_path)
    assert used.progress.best_step == 0
    assert all(torch.equal(used.state[name], value) for name, value in begun().items())


def test_blended_weights_lie_between_the_start_and_the_averaged_ones_in_a_killed_run_too(
    tmp_path: Path,
) -> None:
    schedule = Schedule((4,), ema=0.5, validate_every=2, keep_best=True, blend=0.25, save_every_s=-1)
    metadata = {"config": {"keep_best": True}}
    with pytest.raises(KilledError):
        Toy().trained(tmp_path, schedule, Shown(killed_at=3), scored(1, 2), metadata)
    elsewhere = Toy()
    nn.init.zeros_(
        elsewhere.net.get_parameter("0.weight")
    )  # where it goes on, the net is not what it was at the start
    last = elsewhere.trained(tmp_path, schedule, validate=scored(3), metadata=metadata)
    used = runs.averaged(tmp_path)
    assert used.progress.best_step == 4
    for name, value in used.state.items():
        averaged = last["averaged"][f"module.{name}"]
        assert not torch.equal(averaged, begun()[name])
        torch.testing.assert_close(value, 0.75 * begun()[name] + 0.25 * averaged, rtol=1e-12, atol=0)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_where_it_is_told_to(tmp_path: Path) -> None:
    schedule = Schedule((2,), ema=0.5, keep_best=True, blend=0.25, save_every_s=1000)
    killed, metadata = Toy(), {"config": {"keep_best": True}}
    nn.init.zeros_(killed.net.get_parameter("0.weight"))
    with pytest.raises(KilledError):
        killed.trained(tmp_path, schedule, Shown(killed_at=1), scored(1), metadata)
    last = Toy().trained(tmp_path, schedule, validate=scored(1, 2), metadata=metadata)
    for name, value in runs.averaged(tmp_path).state.items():
        between = 0.75 * begun()[name] + 0.25 * last["averaged"][f"module.{name}"]
        torch.testing.assert_close(value, between, rtol=1e-12, atol=0)


def test_early_stopping_ends_a_run_which_then_trains_no_further_but_can_be_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stages(*ends: int) -> tuple[Schedule, dict[str, Any]]:
        config = {"keep_best": True, "steps": ends[-1], "earlier": ends[:-1], "patience": 3}
        return Schedule(ends, validate_every=1, patience=3, keep_best=True, save_every_s=1000), {
            "config": config
        }

    schedule, metadata = stages(20)
    ended = Toy().trained(tmp_path, schedule, validate=scored(1, 2, 3, 1, 3, 2), metadata=metadata)
    assert (ended["progress"]["step"], ended["progress"]["best_step"]) == (5, 2)
    assert "no better weights in 3 validations: the run ends at step 5" in capsys.readouterr().out
    shown = Shown()
    again = Toy().trained(tmp_path, schedule, shown, validate=scored(), metadata=metadata)
    assert shown.steps == []
    assert same(ended, again)
    assert runs.end(tmp_path) == 5
    schedule, metadata = stages(5, 30)
    toy = Toy()
    extended = toy.trained(tmp_path, schedule, validate=scored(2, 2, 2), metadata=metadata)
    assert extended["progress"]["step"] == 8, "it waits anew"
    assert toy.rates == pytest.approx([0.5 * optim.lr_factor(step, (25,), 0) for step in range(3)]), (
        "a stage of its own"
    )
    shown = Shown()
    Toy().trained(tmp_path, schedule, shown, validate=scored(), metadata=metadata)
    assert shown.steps == [], "and not anew each time"


# Stages


def staged(*ends: int) -> tuple[Schedule, dict[str, Any]]:
    schedule = Schedule(ends, warmup=2, ema=0.9, save_every_s=-1)
    return schedule, {"config": {"steps": ends[-1], "earlier": ends[:-1], "seed": 0}}


def test_an_extended_run_warms_up_again_and_a_kill_in_its_second_stage_changes_nothing(
    tmp_path: Path,
) -> None:
    folders = tmp_path / "whole", tmp_path / "killed"
    for run in folders:
        Toy().trained(run, *[staged(6)[0]], metadata=staged(6)[1])
    schedule, metadata = staged(6, 14)
    toy = Toy()
    whole = toy.trained(folders[0], schedule, metadata=metadata)
    factors = [rate / 0.5 for rate in toy.rates]
    assert factors == pytest.approx([optim.lr_factor(step, (6, 14), 2) for step in range(6, 14)])
    assert factors[0] == pytest.approx(0.5)
    assert factors[1] == pytest.approx(1)
    with pytest.raises(KilledError):
        Toy().trained(folders[1], schedule, Shown(killed_at=10), metadata=metadata)
    assert runs.averaged(folders[1]).progress.step in range(7, 11)
    resumed = Toy().trained(folders[1], schedule, metadata=metadata)
    assert same(whole, resumed)
    assert whole["progress"]["step"] == 14
    assert whole["metadata"]["config"] == {"steps": 14, "earlier": (6,), "seed": 0}


@pytest.mark.parametrize(
    "other",
    [
        {"steps": 14, "earlier": (5,), "seed": 0},
        {"steps": 14, "earlier": (), "seed": 0},
        {"steps": 14, "earlier": (6,), "seed": 1},
    ],
    ids=["of another length", "in one stage", "with another seed"],
)
def test_only_the_run_itself_is_extended(other: dict[str, Any], tmp_path: Path) -> None:
    schedule, metadata = staged(6)
    Toy().trained(tmp_path, schedule, metadata=metadata)
    with pytest.raises(runs.RunError, match="begun with another config"):
        Toy().trained(tmp_path, staged(6, 14)[0], metadata={"config": other})


def test_a_killed_run_with_validation_keeps_the_best_as_if_it_had_not_been(tmp_path: Path) -> None:
    schedule = Schedule((8,), ema=0.5, validate_every=1, keep_best=True, save_every_s=-1)
    metadata = {"config": {"keep_best": True}}

    def validate(net: nn.Module, step: int) -> dict[str, float]:
        weight = net.get_parameter("0.weight")
        return {"score": float(torch.sin(1e3 * weight.sum()))}

    whole = Toy().trained(tmp_path / "whole", schedule, validate=validate, metadata=metadata)
    with pytest.raises(KilledError):
        Toy().trained(tmp_path / "killed", schedule, Shown(killed_at=5), validate, metadata)
    resumed = Toy().trained(tmp_path / "killed", schedule, validate=validate, metadata=metadata)
    assert same(whole, resumed)
    kept = [runs.averaged(tmp_path / name) for name in ("whole", "killed")]
    assert all(torch.equal(value, kept[1].state[name]) for name, value in kept[0].state.items())
    for key in ("best_step", "best_score", "since_best"):
        assert getattr(kept[0].progress, key) == getattr(kept[1].progress, key)
    logs = [(tmp_path / name / "validation.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_a_run_that_is_asked_to_stop_stands_at_that_step_and_goes_on_from_there(tmp_path: Path) -> None:
    schedule, (whole, stopped) = Schedule((8,), save_every_s=1000), (tmp_path / "whole", tmp_path / "stopped")
    expected = Toy().trained(whole, schedule)
    with pytest.raises(StoppedError, match="at step 3"):
        Toy().trained(stopped, schedule, stop_at=3)
    assert runs.averaged(stopped).progress.step == 3
    shown = Shown()
    assert same(Toy().trained(stopped, schedule, shown), expected)
    assert shown.steps == [3, 4, 5, 6, 7]
    Toy().trained(tmp_path / "ended", schedule, stop_at=8)  # it has ended: there is nothing to go on with


# Runs of the command line

STEPS = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).resize((160, 120)).save(folder / f"{name}.jpg")
    return folder


def command(photos: Path, run: Path, save_every: float, seed: int = 0, steps: int = STEPS) -> list[str]:
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
    words += ["--steps", str(steps), "--seed", str(seed), "--save-every", str(save_every), "--hold-out", "0"]
    return [*words, "--cache", str(photos.parent / "cache"), "--workers", "1"]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "model", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def unbroken(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken")
    assert main(command(photos, run, save_every=1000)) == 0
    return run


def test_a_run_leaves_weights_a_log_and_tensorboard_events(unbroken: Path) -> None:
    saved = runs.averaged(unbroken)
    state, progress, metadata = saved.state, saved.progress, saved.metadata
    assert (progress.step, progress.photos) == (STEPS, STEPS * 4)
    assert progress.elapsed_s > 0
    assert metadata["config"]["steps"] == STEPS
    assert all(torch.isfinite(value).all() for value in state.values())
    last = torch.load(unbroken / "checkpoint.pt", weights_only=True)["net"]
    assert not torch.equal(state["head.weight"], last["head.weight"]), "what is used is the average"
    with (unbroken / "log.csv").open() as log:
        rows = list(csv.DictReader(log))
    assert [int(row["step"]) for row in rows] == [20, 24]
    assert all(float(row["loss"]) > 0 and float(row["photos_per_s"]) > 0 for row in rows)
    shown = tensorboard(unbroken)
    assert shown.keys() == {"loss", "lr", "photos_per_s"}, "nothing is held out"
    assert [step for step, _ in shown["lr"]] == [20, 24]
    for name in ("loss", "photos_per_s"):
        assert [value for _, value in shown[name]] == pytest.approx([float(row[name]) for row in rows], 0.01)
    assert shown["lr"][1][1] < shown["lr"][0][1]


def test_photos_a_second_are_those_of_the_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(logging.time, "monotonic", lambda: now)
    progress = logging.Progress()
    with logging.Log(tmp_path, 20, 10, progress) as log:
        for _ in range(20):
            progress.step, progress.photos, now = progress.step + 1, progress.photos + 4, now + 0.5
            if progress.step == 15:
                now += 100
                log.validation(progress, {"score": 1.0}, 100)
            log.step(progress, torch.ones(()), 1, 1e-3)
    with (tmp_path / "log.csv").open() as rows:
        assert [float(row["photos_per_s"]) for row in csv.DictReader(rows)] == [8, 8]


def test_kill_9_and_resume_ends_in_the_same_weights_bit_for_bit(
    photos: Path, unbroken: Path, tmp_path: Path
) -> None:
    killed = start(*command(photos, tmp_path, save_every=0))
    checkpoint = tmp_path / "checkpoint.pt"
    deadline = time.monotonic() + 90
    while not checkpoint.exists():
        assert time.monotonic() < deadline, "no checkpoint came"
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    saved = torch.load(checkpoint, weights_only=True)
    assert 1 <= saved["progress"]["step"] < STEPS, "it was killed on the way"
    saved["progress"]["elapsed_s"] += 10_000
    torch.save(saved, checkpoint)
    assert main(command(photos, tmp_path, save_every=1000)) == 0
    assert runs.averaged(tmp_path).progress.elapsed_s > 10_000, "it went on, and did not begin anew"
    whole, resumed = (torch.load(run / "checkpoint.pt", weights_only=True) for run in (unbroken, tmp_path))
    for part in ("net", "averaged"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), f"{part} {name}"
    with (tmp_path / "log.csv").open() as log:
        assert [int(row["step"]) for row in csv.DictReader(log)] == [20, 24]


def test_a_run_that_is_asked_to_end_writes_a_checkpoint_first(photos: Path, tmp_path: Path) -> None:
    process = start(*command(photos, tmp_path, save_every=1000, steps=100_000))
    try:
        seen = wait_for_steps(tmp_path, 20)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    step = runs.averaged(tmp_path).progress.step
    assert step >= seen
    assert f"asked to stop at step {step}; the same command goes on from there, in {tmp_path}" in output


@pytest.mark.slow
def test_another_seed_ends_in_other_weights(photos: Path, unbroken: Path, tmp_path: Path) -> None:
    """The bit-for-bit test above would be empty if training changed nothing."""
    assert main(command(photos, tmp_path, save_every=1000, seed=1)) == 0
    ours, theirs = (runs.averaged(run).state for run in (unbroken, tmp_path))
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def test_a_run_is_not_continued_with_another_configuration(
    photos: Path, unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(photos, unbroken, save_every=1000, seed=7)) == 1
    assert "begun with another config" in capsys.readouterr().err


def test_a_run_can_be_paused_and_goes_on_and_nobody_else_trains_in_its_folder(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    until: Callable[[Callable[[], Any], float, str], Any],
) -> None:
    run = tmp_path / "run"
    words = command(photos, run, 1000, steps=100_000)
    process = start(*words)
    try:
        wait_for_steps(run, 20)
        assert main(["training", "pause", str(run)]) == 0
        until(lambda: state_of(process.pid) == "T", 10, "it is stopped")
        steps = steps_logged(run)
        time.sleep(1)
        assert steps_logged(run) == steps
        assert main(words) == 1
        assert "another process trains" in capsys.readouterr().err
        assert main(["training", "resume", str(run)]) == 0
        wait_for_steps(run, steps + 20)
    finally:
        process.kill()
        process.communicate()
    assert main(["training", "pause", str(run)]) == 1
    assert "nothing trains" in capsys.readouterr().err


def test_a_run_of_several_processes_is_not_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it is this very process"))
    with runs.locked(tmp_path):
        assert runs.training_processes(tmp_path) == (os.getpid(), 1)
        (tmp_path / "trainer").write_text("123")  # as older code did
        assert runs.training_processes(tmp_path) == (123, 1)
    monkeypatch.setattr(distributed, "place", lambda: (0, 4))
    with runs.locked(tmp_path):
        assert main(["training", "pause", str(tmp_path)]) == 1
    assert "4 processes train in" in capsys.readouterr().err


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
