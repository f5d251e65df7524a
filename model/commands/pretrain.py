"""Teach a trunk by one of four methods; a run's trunk, read again. Wants the extra `train`: TensorBoard."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from model import bins, cache, datasets, pretraining, ranks, trainer
from model.cache import Cache
from model.commands.commit import commit
from model.nets.trunk import Trunk
from model.pretraining import Recipe


@dataclass(frozen=True)
class Learned:
    """The averaged net of a run's newest checkpoint, in eval mode, its trunk, and what the run knows of itself."""

    trunk: Trunk
    net: nn.Module
    facts: dict[str, Any]
    step: int
    photos: int
    cpu_s: float


class Shown(Dataset[Any]):
    """The cache's batches as a method wants them: photos alone, or with their labels."""

    def __init__(self, batches: cache.Batches, labels: Tensor | None) -> None:
        self.batches, self.labels = batches, labels

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Tensor | tuple[Tensor, Tensor]:
        squares, numbers = self.batches[step]
        return squares if self.labels is None else (squares, self.labels[numbers])


def pretrain(arguments: argparse.Namespace) -> int:
    """Teach a trunk by the method and recipe asked for, continuing the run's checkpoint where there is one."""
    recipe = _recipe(arguments)
    photos = datasets.find(arguments.photos, arguments.exclude)
    kept, _ = datasets.split(photos, arguments.hold_out)
    run = arguments.run_folder or Path("runs") / arguments.method
    with ranks.joined(arguments.device) as device:
        squares = cache.build(kept, recipe.side, arguments.cache)
        speaks = ranks.place()[0] == 0
        if speaks:
            print(
                f"{len(squares.photos)} photographs to learn from; left out: {datasets.counted(squares.left_out())}, "
                f"{len(photos) - len(kept)} held out"
            )
            datasets.write_names(squares.left_out(), run)
        try:
            teach(recipe, squares, run, device, arguments.save_every)
        except KeyboardInterrupt:
            print(f"stopped; the same command goes on from the last checkpoint in {run}")
            return 130
    if speaks:
        print(
            f"{recipe.steps} steps done; `python -m model evaluate probes --runs {run} …` asks what it knows"
        )
    return 0


def teach(recipe: Recipe, photos: Cache, run: Path, device: torch.device, save_every_s: float = 180) -> None:
    """Train to the recipe's end in the folder `run`, or from its checkpoint on."""
    labels, names = photos.labels()
    prior = datasets.prior(photos.photos) if recipe.method == "colorize" else torch.ones(bins.COUNT)
    method, optimizer = pretraining.build(recipe, len(names), prior)
    rank, world = ranks.place()
    batches = cache.Batches(photos, recipe.batch, recipe.steps, recipe.seed, rank, world)
    facts = {
        "method": recipe.method,
        "recipe": asdict(recipe),
        "data": {
            "photos": len(photos.photos),
            "fingerprint": datasets.fingerprint(photos.photos),
            "classes": list(names),
        },
        "code": {"commit": commit(), "torch": str(torch.__version__)},
    }
    # The squares lie in memory: a process that hands them over would only be in the way.
    schedule = recipe.schedule(save_every_s, workers=0)
    shown = Shown(batches, labels if recipe.method == "supervised" else None)
    trainer.train(method, optimizer, shown, schedule, run, facts, device)


def learned(folder: Path) -> Learned:
    """What a run has taught its trunk. FileNotFoundError where there is no run, ValueError for a run that taught no trunk."""
    state, progressed, facts = trainer.averaged_weights(folder)
    if "method" not in facts:
        raise ValueError(
            f"{folder} trained the net that colors; what is asked for is a run of `train --net alexnet`, or another trunk"
        )
    recipe = pretraining.read(facts["recipe"])
    net = pretraining.begun(recipe, len(facts["data"]["classes"]), torch.ones(bins.COUNT)).net
    trainer.fill(net, state, folder)
    trunk = net.get_submodule("trunk")
    assert isinstance(trunk, Trunk)
    return Learned(trunk.eval(), net.eval(), facts, progressed.step, progressed.photos, progressed.cpu_s)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    name = arguments.recipe or "small"
    if name not in pretraining.RECIPES:
        raise ValueError(f"no recipe is called {name!r}: choose one of {', '.join(pretraining.RECIPES)}")
    recipe = pretraining.RECIPES[name](arguments.method, arguments.net or "alexnet").changed(arguments.set)
    chosen = {key: value for key in ("steps", "seed") if (value := getattr(arguments, key)) is not None}
    return replace(recipe, **chosen)
