"""Batch norm's statistics, measured anew on photographs of another kind: gray ones, of which there is no color to learn.

Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016, https://arxiv.org/abs/1603.04779; a share of the old
statistics is kept, as Schneider et al. do for few photographs ("Improving robustness against common corruptions by covariate shift
adaptation", NeurIPS 2020, https://arxiv.org/abs/2006.16971): N / (N + n) of n new photographs. No weight is learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model.errors import InputError

PRIOR_PHOTOS = 64
"""N: as many new photographs weigh as much as all that the net was trained on."""


@torch.no_grad()
def adapt(
    net: nn.Module, lightness: Iterable[Tensor], prior_photos: float = PRIOR_PHOTOS
) -> tuple[nn.Module, int]:
    """A copy of a net, in eval mode, whose norms go by what these photos show them too; and how many photos there were.

    `lightness`: batches, (n, 1, H, W) in 0…100, of any sizes. Raises ValueError where there is no photo, or the net has no batch norm.
    """
    copy = deepcopy(net).eval()
    norms = [module for module in copy.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise InputError("this net has no batch norms to adapt")
    photos = 0
    sums: dict[_BatchNorm, tuple[Tensor, Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        axes = [0, *range(2, x.ndim)]
        mean, square = x.mean(axes) * len(x), x.square().mean(axes) * len(x)
        before = sums.get(cast(_BatchNorm, norm), (torch.zeros_like(mean), torch.zeros_like(square)))
        sums[cast(_BatchNorm, norm)] = before[0] + mean, before[1] + square

    # In eval mode: each layer is measured behind layers that still go by the old statistics, in one pass and whatever the batches are.
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    for batch in lightness:
        copy(batch.contiguous(memory_format=torch.channels_last))
        photos += len(batch)
    for hook in hooks:
        hook.remove()
    if not photos:
        raise InputError("there is no photograph to adapt to")
    share = photos / (photos + prior_photos)
    for norm, (mean_sum, square_sum) in sums.items():
        mean = mean_sum / photos
        variance = square_sum / photos - mean.square()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.lerp_(mean.float(), share)
        norm.running_var.lerp_(variance.float(), share)
    return copy, photos
