from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from model.training import distributed, trainer
from model.training.logging import Schedule
from model.methods.contrast import nt_xent

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


class Contrast:
    def __init__(self) -> None:
        self.net = net()

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return nt_xent(self.net(batch), TEMPERATURE)


def train(run: Path, rank: int, world: int) -> None:
    method = Contrast()
    optimizer = torch.optim.SGD(method.net.parameters(), lr=0.5, momentum=0.9)
    schedule = Schedule(steps=8, warmup=2, ema=0.9, seed=0, save_every_s=1000, workers=0)
    trainer.train(method, optimizer, Views(rank, world), schedule, run, {}, torch.device("cpu"))


def rank_main(rank: int, folder: str) -> None:
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
    found = {
        "place": distributed.place(),
        "loss": loss.detach(),
        "gradients": [p.grad for p in learner.parameters()],
        "gathered": everyone.detach(),
        "owed": rows.grad,
    }
    torch.save(found, f"{folder}/{rank}.pt")
    train(Path(folder) / "run", rank, WORLD)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left behind."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank_main, (str(folder),), nprocs=WORLD)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, object]]:
    """What each found."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_alone() -> None:
    rows = torch.randn(3, 2)
    assert distributed.place() == (0, 1)
    assert distributed.gathered(rows) is rows


def test_each_rank_holds_what_all_hold(found) -> None:
    for rank, its in enumerate(found):
        assert its["place"] == (rank, WORLD)
        assert its["gathered"].tolist() == [[1.0] * 3] * 2 + [[2.0] * 3] * 2


def test_a_rank_is_owed_what_all_ranks_losses_ask_of_its_rows(found) -> None:
    asked = 2 * torch.arange(12.0).view(4, 3) + 100
    assert torch.equal(found[0]["owed"], asked[:2])
    assert torch.equal(found[1]["owed"], asked[2:])


def test_two_ranks_have_the_loss_and_the_gradient_of_one(found) -> None:
    alone = net()
    loss = nt_xent(alone(views().flatten(0, 1)), TEMPERATURE)
    loss.backward()
    mean = sum(its["loss"] for its in found) / WORLD
    torch.testing.assert_close(mean, loss.detach(), rtol=1e-12, atol=0)
    for its in found:
        for gradient, parameter in zip(its["gradients"], alone.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-13)
            assert parameter.grad.abs().max() > 1e-3


def test_a_run_of_two_ranks_ends_in_the_weights_of_one(folder: Path, tmp_path: Path) -> None:
    """Through the trainer, as torchrun starts it: loss, gradient, optimizer and average."""
    train(tmp_path, 0, 1)
    alone, two = (torch.load(run / "checkpoint.pt", weights_only=True) for run in (tmp_path, folder / "run"))
    assert two["facts"]["processes"] == WORLD
    assert (two["progressed"]["step"], two["progressed"]["photos"]) == (8, 8 * 2 * PHOTOS)
    start = net().state_dict()
    for part in ("net", "averaged"):
        for name, value in alone[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-9, atol=1e-12)
    moved = [(alone["net"][name] - value).abs().max() for name, value in start.items()]
    assert min(moved) > 1e-3, "it learned"
