"""Optimizers and learning-rate schedules: which parameters learn how fast.

LARS: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks", 2017, as SimCLR has it.
https://arxiv.org/abs/1708.03888; https://github.com/google-research/simclr, lars_optimizer.py. Each layer's step is made proportional to
the size of its weights, so that layers whose gradients are large for their weights do not diverge at the lr of large batches:
in SimCLR 0.3 · batch / 256, or 0.075 · √batch for smaller ones (appendix B.1), with a warm-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from model.errors import InputError

Name = Literal["adamw", "adam", "sgd", "lars"]
"""AdamW decays weights apart from the gradient; "adam" adds the decay to the gradient (L2), as Caffe's solver does."""


def cosine(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate at a step: a line up to 1 over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def lr_factor(step: int, ends: Sequence[int], warmup: int) -> float:
    """`cosine` of the stage that a step belongs to: a run that was extended has several, each with a warm-up. `ends`: of each stage."""
    begin = 0
    for end in ends:
        if step < end or end == ends[-1]:
            return cosine(step - begin, end - begin, min(warmup, max(1, (end - begin) // 2)))
        begin = end
    raise ValueError("a run has at least one stage")


def build(
    net: nn.Module,
    name: Name,
    *,
    lr: float,
    backbone_lr: float | None = None,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    adversary: nn.Module | None = None,
    adversary_lr: float = 4e-4,
) -> Optimizer:
    """An optimizer over what learns in a net, and beside it. `momentum`: for Adam its first beta; the second is .99 (Zhang 2016's solver).

    The net's `backbone` may have an lr of its own. Norms and biases are not decayed, which would only pull them off
    their scale; "adam" decays them too, as the released training code does. InputError for a backbone's lr, or an adversary, with "lars".
    """
    if name == "lars" and adversary is not None:
        raise InputError("a discriminator learns by adamw, adam or sgd, not by lars")
    if name == "lars" and backbone_lr not in (None, lr):
        raise InputError(
            "lars scales the lr of each layer by itself: leave out backbone_lr, --set backbone_lr=none"
        )
    if name == "lars":  # which treats biases and norms by itself, and scales each layer for itself
        return LARS([p for p in net.parameters() if p.requires_grad], lr, momentum, weight_decay)
    groups: list[dict[str, Any]] = []
    if adversary is not None:
        groups.append({"params": list(adversary.parameters()), "lr": adversary_lr, "weight_decay": 0.0})
    for inside, group_lr in ((True, lr if backbone_lr is None else backbone_lr), (False, lr)):
        named = [
            p for n, p in net.named_parameters() if p.requires_grad and n.startswith("backbone.") == inside
        ]
        for decayed in (True, False):
            parameters = [p for p in named if (p.ndim > 1) == decayed]
            if parameters:
                groups.append(
                    {"params": parameters, "lr": group_lr}
                    | ({} if decayed or name == "adam" else {"weight_decay": 0.0})
                )
    match name:
        case "adamw":
            return AdamW(groups, betas=(momentum, 0.99), weight_decay=weight_decay, fused=True)
        case "adam":
            return Adam(groups, betas=(momentum, 0.99), weight_decay=weight_decay, fused=True)
        case "sgd":
            return SGD(groups, momentum=momentum, weight_decay=weight_decay)


class LARS(Optimizer):
    """With g the gradient plus weight_decay · w:  v ← momentum · v + lr · trust · ‖w‖/‖g‖ · g,  w ← w − v.

    lr lies inside the momentum, so that a falling lr does not scale down what v has gathered. Vectors, which is what biases and norms
    have, are neither decayed nor trusted: g is their gradient and trust · ‖w‖/‖g‖ is 1, as it is for a layer where either is zero.

    Other than in You et al. (algorithm 1) and as in SimCLR, the ratio's denominator is ‖g‖, not ‖∇‖ + weight_decay · ‖w‖.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust: float = 0.001,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient. A closure raises ValueError: nothing here evaluates a loss again."""
        if closure is not None:
            raise ValueError("LARS takes no closure")
        for group in self.param_groups:
            with_gradient = [p for p in group["params"] if p.grad is not None]
            layers = [p for p in with_gradient if p.ndim > 1]
            vectors = [p for p in with_gradient if p.ndim <= 1]
            if layers:
                self._move(layers, _trusted(layers, group["weight_decay"], group["trust"]), group)
            if vectors:
                self._move(vectors, [_gradient(p) for p in vectors], group)

    def _move(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if "velocity" not in self.state[weight]:
                self.state[weight]["velocity"] = torch.zeros_like(weight)
        velocities = [self.state[weight]["velocity"] for weight in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, gradients, alpha=group["lr"])
        torch._foreach_sub_(weights, velocities)


def _trusted(weights: list[Tensor], weight_decay: float, trust: float) -> list[Tensor]:
    gradients = torch._foreach_add([_gradient(weight) for weight in weights], weights, alpha=weight_decay)
    sizes = torch.stack(torch._foreach_norm(weights))
    pulls = torch.stack(torch._foreach_norm(gradients))
    # Not by `if`: a GPU would be waited for.
    ratios = torch.where((sizes > 0) & (pulls > 0), trust * sizes / pulls, 1.0)
    return list(torch._foreach_mul(gradients, list(ratios.unbind())))


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
