"""A training run's folder, read for its net."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from model import bins, checkpoint
from model.nets.eccv16 import Eccv16
from model.nets.lite import Lite, LiteL2


@dataclass(frozen=True)
class Run:
    """The averaged net of a run's newest checkpoint, and what the run knows of itself."""

    net: Lite | Eccv16
    weights: Tensor | None  # (313,) class weights that it learnt with; None for a net that answers ab itself
    trained: dict[str, Any]  # how far: step, photos, elapsed_s
    facts: dict[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.facts["recipe"])

    def take_back(self, share: float) -> None:
        """Fold a share of the rebalancing, taken back, into the last bias. Raises ValueError where there is nothing to take back."""
        if not share:
            return
        if self.weights is None:
            raise ValueError("this net answers ab itself: there is no rebalancing to take back")
        with torch.no_grad():
            cast(Tensor, self.net.head.bias).add_(bins.taken_back(self.weights, share))


def read(folder: Path) -> Run:
    """FileNotFoundError for a folder without a run, ValueError for a run that taught a trunk, RunError for one that is damaged."""
    from model import trainer  # TensorBoard comes with training alone

    state, progressed, facts = trainer.averaged_weights(folder)
    if "method" in facts:
        raise ValueError(
            f"{folder} taught a trunk by {facts['method']}; what is asked for is a run that trained the net that colors"
        )
    net = checkpoint.NETS[facts["recipe"]["net"]]()
    trainer.fill(net, state, folder)
    weights = None
    if not isinstance(net, LiteL2):
        weights = bins.class_weights(torch.tensor(facts["data"]["prior"]), facts["recipe"]["lam"])
    return Run(net.eval(), weights, vars(progressed), facts)
