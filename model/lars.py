"""LARS: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks", 2017, as SimCLR has it.

https://arxiv.org/abs/1708.03888; https://github.com/google-research/simclr, lars_optimizer.py. Each layer's step is made proportional to
the size of its weights, so that layers whose gradients are large for their weights do not blow up at the rates that large batches want:
in SimCLR 0.3 · batch / 256, or 0.075 · √batch for smaller ones (appendix B.1), with a warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class LARS(Optimizer):
    """With g the gradient plus decay · w:  v ← momentum · v + rate · trust · ‖w‖/‖g‖ · g,  w ← w − v.

    The rate lies inside the momentum, so that a falling rate does not take back what v gathered. Vectors, which is what biases and norms
    have, are neither decayed nor trusted: g is their gradient and trust · ‖w‖/‖g‖ is 1, as it is for a layer where either is zero.

    Other than in You et al. (algorithm 1) and as in SimCLR, the ratio's denominator is ‖∇ + decay · w‖, not ‖∇‖ + decay · ‖w‖.
    """

    def __init__(
        self, params: ParamsT, lr: float, momentum: float = 0.9, decay: float = 1e-6, trust: float = 0.001
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay, "trust": trust})

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
                self._move(layers, _trusted(layers, group["decay"], group["trust"]), group)
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


def _trusted(weights: list[Tensor], decay: float, trust: float) -> list[Tensor]:
    gradients = torch._foreach_add([_gradient(weight) for weight in weights], weights, alpha=decay)
    sizes = torch.stack(torch._foreach_norm(weights))
    pulls = torch.stack(torch._foreach_norm(gradients))
    # Not by `if`: a GPU would be waited for.
    ratios = torch.where((sizes > 0) & (pulls > 0), trust * sizes / pulls, 1.0)
    return list(torch._foreach_mul(gradients, list(ratios.unbind())))


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad
