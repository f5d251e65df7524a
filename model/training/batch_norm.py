"""Batch norm in three situations: fixed while few photographs train a net, shared by several processes, adapted to gray photographs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from model.errors import InputError
from model.training.distributed import summed

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

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        axes = [0, *range(2, x.ndim)]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # Processes may have more and fewer rows: context prediction deals whole photographs.
        count = summed(wide.new_tensor(wide.numel() // wide.shape[1]))
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
def adapt(net: nn.Module, lightness: Sequence[Tensor], prior_photos: float = PRIOR_PHOTOS) -> nn.Module:
    """A copy of a net, in eval mode, whose norms go by what these photos show them too.

    Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016, https://arxiv.org/abs/1603.04779; a share of the old
    statistics is kept, as Schneider et al. do for few photographs ("Improving robustness against common corruptions by covariate shift
    adaptation", NeurIPS 2020, https://arxiv.org/abs/2006.16971): N / (N + n) of n new photographs. No weight is learned.

    `lightness`: batches, (n, 1, H, W) in 0…100, of any sizes. The net sees all of them once for each norm, as far as to that norm: each is
    measured behind those that are adapted already, since what one changes is not to be made up for again by all that follow. Raises
    InputError where there is no photo, or the net has no batch norm.
    """
    copy = deepcopy(net).eval()
    photos = sum(map(len, lightness))
    if not photos:
        raise InputError("there is no photograph to adapt to")
    norms = _in_order(copy, lightness[0])
    if not norms:
        raise InputError("this net has no batch norms to adapt")
    share = photos / (photos + prior_photos)
    for norm in norms:
        moments = torch.stack([len(batch) * _moments(_input_of(norm, copy, batch)) for batch in lightness])
        mean, square = moments.sum(0) / photos
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.lerp_(mean.float(), share)
        norm.running_var.lerp_((square - mean.square()).float(), share)
    return copy


def _moments(x: Tensor) -> Tensor:
    """(2, C): the means of each channel and of its square."""
    wide = x.double().movedim(1, 0).flatten(1)
    return torch.stack([wide.mean(1), wide.square().mean(1)])


class _ReachedError(Exception):
    """The net has run as far as to what is asked for."""


def _in_order(net: nn.Module, batch: Tensor) -> list[_BatchNorm]:
    """A net's norms as they come when it runs."""
    reached: list[_BatchNorm] = []
    hooks = [
        module.register_forward_pre_hook(lambda norm, _: reached.append(cast(_BatchNorm, norm)))
        for module in net.modules()
        if isinstance(module, _BatchNorm)
    ]
    net(batch.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    return reached


def _input_of(norm: nn.Module, net: nn.Module, batch: Tensor) -> Tensor:
    found: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])
        raise _ReachedError

    hook = norm.register_forward_pre_hook(stop)
    with suppress(_ReachedError):
        net(batch.contiguous(memory_format=torch.channels_last))
    hook.remove()
    return found[0]
