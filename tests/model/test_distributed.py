"""Several processes that train as one: sums, gathered rows, gradients, whole runs; and by torchrun, from the command line."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from model import bins
from model.methods import Method
from model.methods.colorize import Colorize, ColorizeOptions
from model.methods.distillation import Distillation
from model.methods.realism import Realism, RealismWeights
from model.methods.simclr import nt_xent
from model.nets.lite import Lite
from model.training import batch_norm, distributed, optim, runs, trainer, validation
from model.training.batches import Batch, Batches, Crops
from model.training.cache import Cache

WORLD, PHOTOS = 2, 6  # photos of all ranks
TEMPERATURE = 0.2


def net() -> nn.Module:
    """Smooth, so that what differs beyond rounding is wrong."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def views() -> Tensor:
    """(2, photos, 5): two views of each photo."""
    return torch.randn(2, PHOTOS, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Views(Dataset[Tensor]):
    """A batch a step, (2 · photos, 5): this rank's part of it, both views."""

    def __init__(self, rank: int, world: int) -> None:
        self.part = slice(rank * PHOTOS // world, (rank + 1) * PHOTOS // world)

    def __getitem__(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        drawn = torch.randn(2, PHOTOS, 5, generator=generator, dtype=torch.float64)
        return drawn[:, self.part].flatten(0, 1)


class Contrast(Method):
    def __init__(self) -> None:
        self.net = net()

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return nt_xent(self.net(batch), TEMPERATURE)


class PhotoContrast(Contrast):
    """A photo's views are five pixels of its red, and of its green."""

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return super().loss(
            batch.pixels[:, :2, 4, :40:8].movedim(1, 0).flatten(0, 1).double() / 255, generator
        )


def validated(photos: Cache) -> float:
    method = PhotoContrast()
    with torch.no_grad():
        return validation.of_method(method, [photos], PHOTOS, 0, torch.device("cpu"))(method.net, 1)["loss"]


def train(run: Path, rank: int, world: int, is_asked_to_stop: Callable[[], bool] = lambda: False) -> None:
    method = Contrast()
    optimizer = torch.optim.SGD(method.net.parameters(), lr=0.5, momentum=0.9)
    schedule = trainer.Schedule((8,), warmup=2, ema=0.9, seed=0, save_every_s=1000)
    device = torch.device("cpu")
    trainer.train(
        method, optimizer, Views(rank, world), schedule, run, {}, device, is_asked_to_stop=is_asked_to_stop
    )


# Nets that color, by photos that are cropped, aged and hinted


class Small(nn.Module):
    """As Lite is asked: lightness, and hints maybe; logits at a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(1, 6, 5, 4, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.hints = nn.Conv2d(3, 6, 1)
        self.high = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, bins.COUNT, 1)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        x = self.low(lightness / 50 - 1)
        logits: Tensor = self.head(self.high(x if hints is None else x + self.hints(hints)))
        return logits


class Double(nn.Module):
    """A net in float64, which takes float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.double()

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(*(x.double() for x in inputs))
        return logits


NETS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {
    "small": (Small, 6, 0.3),
    "lite": (Lite, 2, 0.01),
    "small, with an adversary": (Small, 6, 0.1),
    "small, distilled": (Small, 6, 0.1),
}
"""And for how many steps, at which rate."""


def begun(name: str) -> Double:
    torch.manual_seed(0)
    return Double(NETS[name][0]())


def color(name: str, photos: Cache, run: Path, rank: int, world: int) -> None:
    _, steps, lr = NETS[name]
    shown = RealismWeights(smooth=0.1, adversary=0.5) if "adversary" in name else RealismWeights()
    distillation = Distillation(begun(name), torch.zeros(bins.COUNT)) if "distilled" in name else None
    method = Colorize(
        begun(name),
        torch.linspace(0.5, 2, bins.COUNT),
        ColorizeOptions(age=0.5, page=0.3, hinted=0.7, realism=shown, distilled=0.5 if distillation else 0),
        Realism(torch.zeros(bins.COUNT), 0.5, shown, {}) if shown.any else None,
        distillation,
    )
    if distillation:
        batch_norm.fix(method.net)
    crops = Crops(sides=(64,), last=64, small=64)
    batches = Batches([photos], 4, steps, 0, crops, rank, world)
    optimizer = optim.build(method.net, "sgd", lr=lr, adversary=method.adversary, adversary_lr=lr)
    schedule = trainer.Schedule((steps,), ema=0.5, save_every_s=1000)
    trainer.train(method, optimizer, batches, schedule, run, {}, torch.device("cpu"))


# Two ranks


def rank_main(rank: int, folder: str, photos: Cache) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=60))
    learner = DistributedDataParallel(net())
    mine = views()[:, rank * PHOTOS // WORLD : (rank + 1) * PHOTOS // WORLD].flatten(0, 1)
    loss = nt_xent(learner(mine), TEMPERATURE)
    loss.backward()
    rows = torch.full((2, 3), rank + 1.0, requires_grad=True)
    everyone = distributed.gathered(rows)
    (everyone * (torch.arange(12.0).view(4, 3) + 100 * rank)).sum().backward()
    norm = begun_norm()
    normal = norm(unequal()[rank])
    normal.square().mul(unequal()[rank]).sum().backward()
    found = {
        "place": distributed.place(),
        "normal": normal.detach(),
        "norm": {**norm.state_dict(), "owed": norm.weight.grad},
        "loss": loss.detach(),
        "gradients": [p.grad for p in learner.parameters()],
        "gathered": everyone.detach(),
        "owed": rows.grad,
        "validated": validated(photos),
    }
    with contextlib.suppress(trainer.StoppedError):
        train(Path(folder) / "stopped", rank, WORLD, is_asked_to_stop=lambda: rank == 1)
        found["went on"] = True
    torch.save(found, f"{folder}/{rank}.pt")
    train(Path(folder) / "run", rank, WORLD)
    for name in NETS:
        color(name, photos, Path(folder) / name, rank, WORLD)
    dist.destroy_process_group()


def unequal() -> tuple[Tensor, Tensor]:
    """The rows of each rank: two and five."""
    rows = torch.randn(7, 3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 2
    return rows[:2], rows[2:]


def begun_norm() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(3).double()
    batch_norm.share(norm)
    return norm


@pytest.fixture(scope="module")
def photos(cached: Callable[..., Cache]) -> Cache:
    """Large ones and, for steps of their own, small ones."""
    return cached([(112, 144), (144, 112), (120, 120), (128, 160), (72, 96), (64, 64)])


@pytest.fixture(scope="module")
def folder(photos: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left behind."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank_main, (str(folder), photos), nprocs=WORLD)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each found."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_alone() -> None:
    rows = torch.randn(3, 2)
    assert distributed.place() == (0, 1)
    assert distributed.gathered(rows) is rows


def test_each_rank_holds_what_all_hold(found: list[dict[str, Any]]) -> None:
    for rank, its in enumerate(found):
        assert its["place"] == (rank, WORLD)
        assert its["gathered"].tolist() == [[1.0] * 3] * 2 + [[2.0] * 3] * 2


def test_a_rank_is_owed_what_all_ranks_losses_ask_of_its_rows(found: list[dict[str, Any]]) -> None:
    expected = 2 * torch.arange(12.0).view(4, 3) + 100
    assert torch.equal(found[0]["owed"], expected[:2])
    assert torch.equal(found[1]["owed"], expected[2:])


def test_two_ranks_have_the_loss_and_the_gradient_of_one(found: list[dict[str, Any]]) -> None:
    alone = net()
    loss = nt_xent(alone(views().flatten(0, 1)), TEMPERATURE)
    loss.backward()
    mean = sum(its["loss"] for its in found) / WORLD
    torch.testing.assert_close(mean, loss.detach(), rtol=1e-12, atol=0)
    for its in found:
        for gradient, parameter in zip(its["gradients"], alone.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-13)
            assert parameter.grad.abs().max() > 1e-3


def test_batch_norm_is_over_all_rows_where_ranks_have_unequal_numbers_of_them(
    found: list[dict[str, Any]],
) -> None:
    norm = nn.BatchNorm1d(3).double()
    rows = torch.cat(unequal())
    normal = norm(rows)
    normal.square().mul(rows).sum().backward()
    torch.testing.assert_close(torch.cat([its["normal"] for its in found]), normal.detach())
    for its in found:
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(its["norm"][name], norm.state_dict()[name])
    torch.testing.assert_close(sum(its["norm"]["owed"] for its in found), norm.weight.grad)


def test_two_ranks_measure_the_loss_of_one(found: list[dict[str, Any]], photos: Cache) -> None:
    """Each its share of the photos: with all of them, each would tell photos from their copies on the other."""
    assert [its["validated"] for its in found] == pytest.approx([validated(photos)] * WORLD, rel=1e-9)


def test_a_run_of_two_ranks_ends_in_the_weights_of_one(folder: Path, tmp_path: Path) -> None:
    """Through the trainer, as torchrun starts it: loss, gradient, optimizer and average."""
    train(tmp_path, 0, 1)
    alone, two = (torch.load(run / "checkpoint.pt", weights_only=True) for run in (tmp_path, folder / "run"))
    assert two["metadata"]["processes"] == WORLD
    assert (two["progress"]["step"], two["progress"]["photos"]) == (8, 8 * 2 * PHOTOS)
    start = net().state_dict()
    for part in ("net", "averaged"):
        for name, value in alone[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-9, atol=1e-12)
    moved = [(alone["net"][name] - value).abs().max() for name, value in start.items()]
    assert min(moved) > 1e-3, "it learned"


def test_where_one_rank_is_asked_to_stop_all_do_at_one_checkpoint(
    folder: Path, found: list[dict[str, Any]]
) -> None:
    assert not any("went on" in its for its in found)
    assert runs.averaged(folder / "stopped").progress.step == 5


@pytest.mark.parametrize("name", NETS)
def test_a_colorizing_run_of_two_ranks_ends_in_the_weights_and_statistics_of_one(
    name: str, photos: Cache, folder: Path, tmp_path: Path
) -> None:
    """Crops, old prints and hints by photo, whichever rank makes them; batch norm over all photos."""
    color(name, photos, tmp_path, 0, 1)
    alone, two = (torch.load(run / runs.CHECKPOINT, weights_only=True) for run in (tmp_path, folder / name))
    assert (alone["progress"]["step"], two["progress"]["step"]) == (NETS[name][1],) * 2
    assert ("adversary" in alone) == ("adversary" in name)
    for part in {"net", "averaged", "adversary"} & alone.keys():
        for key, value in alone[part].items():
            torch.testing.assert_close(
                two[part][key], value, rtol=1e-6, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}"
            )
    start = begun(name).state_dict()
    moved = {key: float((alone["net"][key] - value).abs().max()) for key, value in start.items()}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    still = {key for key, by in moved.items() if not by}
    assert still == {key for key in moved if "distilled" in name and key.endswith(statistics)}
    assert max(moved.values()) > 1e-3


def test_only_the_first_rank_writes_what_a_run_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits for it: both would write one file, and read it half written."""
    start = {"weight": torch.ones(2, 2)}
    monkeypatch.setattr(distributed, "place", lambda: (1, WORLD))
    monkeypatch.setattr(distributed, "barrier", lambda: torch.save({"start": start}, tmp_path / runs.START))
    assert torch.equal(runs.start(tmp_path, nn.Linear(2, 2))["weight"], start["weight"])


def test_fixed_norms_stay_fixed_on_several_gpus() -> None:
    """`batch_norm.share` converts so on GPUs."""
    norms = nn.Sequential(nn.BatchNorm2d(3))
    batch_norm.fix(norms)
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(norms).train()
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(shared(x), x / (1 + 1e-5) ** 0.5)
    assert not shared.state_dict()["0.running_mean"].any()


def test_torchrun_trains_by_two_processes_of_which_one_speaks_and_writes(tmp_path: Path) -> None:
    words = [
        "train",
        "colorize",
        "--photos",
        "scikit-image",
        "--hold-out",
        "0",
        "--recipe",
        "tiny",
        "--steps",
        "3",
    ]
    words += [
        "--run",
        str(tmp_path / "run"),
        "--cache",
        str(tmp_path / "cache"),
        "--device",
        "cpu",
        "--workers",
        "1",
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORLD)]
    ended = subprocess.run(
        [sys.executable, *torchrun, "-m", "--", "model", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    for once in ("4 photographs to learn from", "step 3/3", "3 steps done"):
        assert ended.stdout.count(once) == 1, ended.stdout
    saved = torch.load(tmp_path / "run" / runs.CHECKPOINT, weights_only=True)
    assert saved["metadata"]["processes"] == WORLD
    assert (saved["progress"]["step"], saved["progress"]["photos"]) == (3, 12)
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 2
