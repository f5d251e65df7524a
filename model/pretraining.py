"""Recipes that teach a trunk, by labels or without: which method, which net, for how long; and what is built from them.

`doersch2015`, `zhang2016` and `chen2020` are the papers' constants; `small` is for photos of 160 pixels and hours, not weeks. What any of
them does not do as its paper does is listed in its method's file. Here, for all: the rate falls along a cosine (Doersch keeps it, Zhang
lowers it in steps); the weights to use are averaged over the last steps; photos are squares, cut out of their middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from model import bins, views
from model.journal import Schedule
from model.lars import LARS
from model.methods import context, contrast
from model.methods.classify import Classify
from model.methods.colorize import Colorize, TrunkColorizer
from model.methods.context import Context
from model.methods.contrast import Contrast
from model.nets.alexnet import AlexNet
from model.nets.resnet import ResNet
from model.nets.trunk import Trunk
from model.trainer import Method

TRUNKS: dict[str, Callable[[int], Trunk]] = {
    "alexnet": lambda channels: AlexNet(channels),
    "alexnet-small": lambda channels: AlexNet(channels, stride=2),
    "resnet18": lambda channels: ResNet(18, channels),
    "resnet18-small": lambda channels: ResNet(18, channels, stem="small"),
    "resnet50": lambda channels: ResNet(50, channels),
}
"""By the number of input channels. The small ones see small pictures finer."""
METHODS = ("context", "colorize", "contrast", "supervised")

Options = context.Options | contrast.Options | views.Strengths


@dataclass(frozen=True)
class Recipe:
    """All that decides how a trunk is taught, its photos apart."""

    method: str
    net: str
    options: Options  # of the method: its own, or for colorize and supervised the crops that it is shown
    side: int  # of the photos' squares, in pixels
    steps: int
    batch: int  # photos, on all processes
    rate: float
    warmup: int  # steps
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    momentum: float = 0.9  # AdamW's first
    decay: float = 0.05
    lam: float = 0.5  # colorize: how evenly colors are weighed
    neighbors: int = 5  # colorize: bins that share a color
    ema: float = 0.99
    seed: int = 0

    def schedule(self, save_every_s: float, workers: int) -> Schedule:
        return Schedule(self.steps, self.warmup, self.ema, self.seed, save_every_s, workers)

    def changed(self, assignments: Sequence[str]) -> Recipe:
        """With fields set as in ["rate=5e-4"]. Raises ValueError for a field or a value that does not fit."""
        values: dict[str, Any] = {}
        settable = [name for name in self.__dataclass_fields__ if name not in ("method", "net", "options")]
        for assignment in assignments:
            name, _, text = assignment.partition("=")
            if name not in settable:
                raise ValueError(f"a recipe has no {name!r} to set: {', '.join(settable)}")
            try:
                values[name] = type(getattr(self, name))(text)
            except ValueError as error:
                raise ValueError(f"{assignment}: {error}") from error
        return replace(self, **values)


def doersch2015(method: str, net: str) -> Recipe:
    """ImageNet, 1.7 million steps of 512 patches. The code's rate is 1e-5 for a sum over about 1,400 pairs, and its momentum 0."""
    _only(method, "context", "doersch2015")
    return Recipe(
        method,
        net,
        context.doersch2015(),
        side=448,
        steps=1_700_000,
        batch=16,
        rate=1.4e-2,
        warmup=1,
        optimizer="sgd",
        momentum=0.0,
        decay=0.0,
        ema=0.9999,
    )


def zhang2016(method: str, net: str) -> Recipe:
    """ImageNet at 256, crops of 176, 450,000 steps of 40. The rate falls by a cosine, where the paper has three steps of it."""
    _only(method, "colorize", "zhang2016")
    # As good as never smaller: the paper crops without resizing.
    crops = views.Strengths(side=176, area=(0.47, 0.48), ratio=(0.999, 1.001))
    return Recipe(
        method,
        net,
        crops,
        side=256,
        steps=450_000,
        batch=40,
        rate=3e-5,
        warmup=1,
        decay=1e-3,
        neighbors=10,
        ema=0.9999,
    )


def chen2020(method: str, net: str) -> Recipe:
    """ImageNet, batch 4096 over all processes, 100 epochs, of which 10 warm up; the rate is .3 · batch / 256."""
    _only(method, "contrast", "chen2020")
    return Recipe(
        method,
        net,
        contrast.chen2020(),
        side=256,
        steps=31_250,
        batch=4096,
        rate=4.8,
        warmup=3125,
        optimizer="lars",
        decay=1e-6,
        ema=0.999,
    )


def small(method: str, net: str) -> Recipe:
    """For photos of 160 pixels, some thousands of them, and minutes on a processor."""
    crops = views.Strengths(side=96, area=(0.25, 1.0))
    # Of little time SimCLR makes more with many small views than with few large ones.
    views_of_two = replace(contrast.small(), strengths=views.Strengths(side=64, area=(0.15, 1.0), color=0.5))
    options: dict[str, tuple[Options, int, float]] = {
        "context": (replace(context.small(), hidden=512), 64, 1e-3),
        "colorize": (crops, 64, 1e-3),
        "contrast": (views_of_two, 192, 1e-3),
        "supervised": (crops, 64, 1e-3),
    }
    chosen, batch, rate = options[method]
    return Recipe(method, net, chosen, side=160, steps=1000, batch=batch, rate=rate, warmup=50)


def tiny(method: str, net: str) -> Recipe:
    """Seconds long: for tests, and to see that a machine is set up."""
    return replace(small(method, net), side=128, steps=4, batch=8, warmup=1)


RECIPES: dict[str, Callable[[str, str], Recipe]] = {
    "doersch2015": doersch2015,
    "zhang2016": zhang2016,
    "chen2020": chen2020,
    "small": small,
    "tiny": tiny,
}


def build(recipe: Recipe, classes: int, prior: Tensor) -> tuple[Method, Optimizer]:
    """The method and the optimizer of a recipe: for photos of so many classes, whose colors are distributed as `prior` (313)."""
    torch.manual_seed(recipe.seed)
    method = begun(recipe, classes, prior)
    groups = _groups(method.net, recipe.rate)
    match recipe.optimizer:
        case "adamw":
            betas = (recipe.momentum, 0.99)
            return method, AdamW(groups, betas=betas, weight_decay=recipe.decay, fused=True)
        case "sgd":
            return method, SGD(groups, momentum=recipe.momentum, weight_decay=recipe.decay)
        case "lars":  # which tells biases and norms apart itself
            parameters = [p for p in method.net.parameters() if p.requires_grad]
            return method, LARS(parameters, recipe.rate, recipe.momentum, recipe.decay)


def begun(recipe: Recipe, classes: int, prior: Tensor) -> Method:
    """The method with a net that knows nothing. ValueError for names that do not exist."""
    trunk = trunk_of(recipe.net, 1 if recipe.method == "colorize" else 3)
    options = recipe.options
    match recipe.method:
        case "context" if isinstance(options, context.Options):
            return Context(trunk, options)
        case "contrast" if isinstance(options, contrast.Options):
            return Contrast(trunk, options)
        case "colorize" if isinstance(options, views.Strengths):
            weights = bins.class_weights(prior, recipe.lam)
            return Colorize(TrunkColorizer(trunk), weights, recipe.neighbors, crops=options)
        case "supervised" if isinstance(options, views.Strengths):
            return Classify(trunk, classes, options)
    raise ValueError(f"{recipe.method!r} is none of {', '.join(METHODS)}, or its options are another's")


def trunk_of(net: str, channels: int = 3) -> Trunk:
    """A trunk that knows nothing. ValueError for a name that does not exist."""
    if net not in TRUNKS:
        raise ValueError(f"no trunk is called {net!r}: choose one of {', '.join(TRUNKS)}")
    return TRUNKS[net](channels)


def read(values: dict[str, Any]) -> Recipe:
    """A recipe as a run's facts have it: what `asdict` made of it."""
    options = values["options"]
    kind: type[Options] = views.Strengths
    if values["method"] == "context":
        kind = context.Options
    elif values["method"] == "contrast":
        kind = contrast.Options
        options = options | {"strengths": views.Strengths(**options["strengths"])}
    return Recipe(**values | {"options": kind(**options)})


def _groups(net: nn.Module, rate: float) -> list[dict[str, object]]:
    """No decay on norms and biases, which it would only pull off their scale."""
    learning = [p for p in net.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
    return [{"params": matrices, "lr": rate}, {"params": vectors, "lr": rate, "weight_decay": 0.0}]


def _only(method: str, wanted: str, name: str) -> None:
    if method != wanted:
        raise ValueError(f"{name} is a recipe for {wanted}, not for {method}")
