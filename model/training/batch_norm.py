"""Batch norm in three situations: fixed while few photographs train a net, shared by several processes, adapted to gray photographs."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from model.errors import InputError
from model.training.distributed import place, summed

PRIOR_PHOTOS = 64
"""N: as many new photographs weigh as much as all that the net was trained on."""


def fix(net: nn.Module) -> None:
    """Let batch norms go by their running statistics in training too, in place; scale and shift still learn."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.__class__ = _FixedBatchNorm  # type: ignore[assignment]  # the same parameters and buffers


class _FixedBatchNorm(_NormBase):  # no _BatchNorm: SyncBatchNorm would be made of it
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def share(net: nn.Module) -> None:
    """Let batch norm see the whole batch, over all processes, in place: on CPUs by plain sums, as PyTorch has none."""
    if next(net.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return
    for module in net.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            module.__class__ = _GlobalBatchNorm  # the same parameters, buffers and hooks


class _GlobalBatchNorm(_BatchNorm):
    """Batch norm over the rows of all processes."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  (PyTorch's name)
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        axes = [0, *range(2, x.ndim)]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = wide.numel() // wide.shape[1] * place()[1]
        mean = summed(wide.sum(axes)) / count
        shape = [1, -1] + [1] * (x.ndim - 2)
        centered = wide - mean.view(shape)
        variance = summed(centered.square().sum(axes)) / count
        normal = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = cast(float, self.momentum)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), momentum)
                cast(Tensor, self.num_batches_tracked).add_(1)
        return normal.to(x.dtype)


@torch.no_grad()
def adapt(
    net: nn.Module, lightness: Iterable[Tensor], prior_photos: float = PRIOR_PHOTOS
) -> tuple[nn.Module, int]:
    """A copy of a net, in eval mode, whose norms go by what these photos show them too; and how many photos there were.

    Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016, https://arxiv.org/abs/1603.04779; a share of the old
    statistics is kept, as Schneider et al. do for few photographs ("Improving robustness against common corruptions by covariate shift
    adaptation", NeurIPS 2020, https://arxiv.org/abs/2006.16971): N / (N + n) of n new photographs. No weight is learned.

    `lightness`: batches, (n, 1, H, W) in 0…100, of any sizes. Raises InputError where there is no photo, or the net has no batch norm.
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
