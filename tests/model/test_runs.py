"""A run that ends in the middle goes on as if it had not, whatever the method; what is no run, or another's, is refused in words."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from model import bins
from model.training import cache, building, config as configs, trainer
from model.__main__ import main
from model.commands.pretrain import teach
from model.training.logging import Schedule
from model.nets.trunk import Trunk

STEPS = 3


def recipe(method: str, steps: int = STEPS, seed: int = 0) -> pretraining.Recipe:
    options = pretraining.tiny(method, "narrow")
    return options.changed([f"steps={steps}", f"seed={seed}", "batch=4", "side=120"])


class Narrow(Trunk):
    layers = ("low", "high")
    width = 8

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.low = nn.Sequential(nn.Conv2d(channels, 4, 3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(4, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    pretraining.TRUNKS["narrow"] = Narrow
    yield
    del pretraining.TRUNKS["narrow"]


class KilledError(Exception):
    """As when the power fails: nothing is saved on the way out."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> cache.Cache:
    chance = np.random.default_rng(0)
    squares = chance.integers(0, 256, (8, 3, 15, 15), np.uint8).repeat(8, 2).repeat(8, 3)
    return cache.Cache(squares, tuple(Path(f"/{'ab'[n % 2]}/{n}.png") for n in range(8)), (), ())


def run(
    method: str, photos: cache.Cache, folder: Path, killed_at: int = -1, chance: int = 0
) -> dict[str, Any]:
    """The checkpoint of a run that was killed at its third step, or of a whole one."""
    options = recipe(method)
    learner, optimizer = pretraining.build(options, 2, torch.full((bins.COUNT,), 1 / bins.COUNT))
    torch.manual_seed(chance)  # where a run goes on, the process's own chance is another

    class Shown(torch.utils.data.Dataset[torch.Tensor]):
        def __getitem__(self, step: int) -> torch.Tensor:
            if step == killed_at:
                raise KilledError
            return cache.Batches(photos, options.batch, STEPS, options.seed)[step][0]

    facts = {"method": method, "recipe": asdict(options)}
    schedule = Schedule(STEPS, 1, 0.9, 0, save_every_s=-1, workers=0)
    try:
        trainer.train(learner, optimizer, Shown(), schedule, folder, facts, torch.device("cpu"))
    except KilledError:
        assert trainer.averaged_weights(folder)[1].step == killed_at
    saved: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return saved


@pytest.mark.parametrize("method", ["context", "contrast", "colorize"])
def test_a_run_that_was_killed_ends_in_the_same_weights_bit_for_bit(
    method: str, photos: cache.Cache, tmp_path: Path
) -> None:
    whole = run(method, photos, tmp_path / "whole")
    killed = run(method, photos, tmp_path / "killed", killed_at=2)
    resumed = run(method, photos, tmp_path / "killed", chance=9)
    assert [of["progressed"]["step"] for of in (whole, killed, resumed)] == [3, 2, 3]
    for part in ("net", "averaged"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items()), part
    assert not all(torch.equal(value, whole["net"][name]) for name, value in killed["net"].items())
    momenta = (of["optimizer"]["state"][0]["exp_avg"] for of in (whole, resumed))
    assert torch.equal(*momenta)


# What is refused


@pytest.fixture(scope="module")
def context(photos: cache.Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder."""
    teach(recipe("context", 1), photos, folder := tmp_path_factory.mktemp("context"), torch.device("cpu"))
    return folder


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


class Code:
    """What a pickle could run when it is opened."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, ("raise SystemExit('it was run')",)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": cut_off,
    "empty": lambda path: path.write_bytes(b""),
    "a letter": lambda path: path.write_text("Dear Sir or Madam"),
    "code": lambda path: path.write_bytes(pickle.dumps(Code())),
    "a pickle": lambda path: path.write_bytes(pickle.dumps([1, 2])),
    "code, by torch": lambda path: torch.save({"net": Code()}, path),
    "weights alone": lambda path: torch.save({"conv1.weight": torch.zeros(3)}, path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_none_is_refused_and_not_run(
    damage: str, context: Path, photos: cache.Cache, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes((context / "checkpoint.pt").read_bytes())
    DAMAGES[damage](checkpoint)
    before = checkpoint.read_bytes()
    for use in (
        lambda: trainer.averaged_weights(tmp_path),
        lambda: teach(recipe("context", 1), photos, tmp_path, torch.device("cpu")),
    ):
        with pytest.raises(
            trainer.RunError, match=r"checkpoint\.pt is cut off, or no .* delete it"
        ) as refused:
            use()
        assert refused.value.code == "run_damaged"
    assert checkpoint.read_bytes() == before, "whatever it is, it is somebody's"


def test_a_run_is_not_continued_by_another_method_net_or_seed(context: Path, photos: cache.Cache) -> None:
    for other in (recipe("contrast", 1), recipe("context", 1, seed=1), recipe("context", 2)):
        with pytest.raises(
            trainer.RunError, match=r"was begun with another .*; continue it as it was"
        ) as refused:
            teach(other, photos, context, torch.device("cpu"))
        assert refused.value.code == "run_mismatch"


def test_weights_of_another_net_are_refused(context: Path) -> None:
    state = trainer.averaged_weights(context)[0]
    wide, narrow = nn.Linear(3, 2), nn.Linear(3, 1)
    for net, its in ((wide, state), (wide, narrow.state_dict())):
        with pytest.raises(trainer.RunError, match="holds another Linear than this code makes") as refused:
            trainer.fill(net, its, context)
        assert refused.value.code == "weights_mismatch"
    momenta = SGD(wide.parameters(), 1).state_dict()
    trainer.fill(SGD(wide.parameters(), 2), momenta, context)
    with pytest.raises(trainer.RunError, match="another SGD"):
        trainer.fill(SGD([*wide.parameters()][:1], 1), momenta, context)


def test_the_command_line_says_it_in_a_line(
    context: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((context / "checkpoint.pt").read_bytes()[:5000])
    words = [
        "weights",
        "export",
        str(tmp_path),
        "--terms",
        "t",
        "--data",
        "d",
        "-o",
        str(tmp_path / "a.safetensors"),
    ]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"python -m model: run_damaged: {tmp_path}/checkpoint.pt is cut off")
    assert said.count("\n") == 1
