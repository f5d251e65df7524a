"""Several processes that train as one: torch.distributed, as torchrun starts it.

Everything here works alone too, where there is one process and nothing to gather.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import InputError


@contextmanager
def joined(device: str = "auto") -> Iterator[torch.device]:
    """Under torchrun: one of its processes, on a GPU of its own where there are any. Alone: just the device, "auto" or one by name.

    InputError for a GPU that is named where there is none.
    """
    cuda = torch.cuda.is_available() and device != "cpu"
    if device.startswith("cuda") and not cuda:
        raise InputError("there is no GPU here that torch can use: --device cpu")
    if "LOCAL_RANK" not in os.environ:
        yield torch.device(device if device != "auto" else "cuda" if cuda else "cpu")
        return
    chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def place() -> tuple[int, int]:
    """This process's rank, and how many there are: (0, 1) where torch.distributed was not begun."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def barrier() -> None:
    """Wait for all processes. Alone: nothing."""
    if place()[1] > 1:
        dist.barrier()


def summed(x: Tensor) -> Tensor:
    """The sum over all processes, on each of them; its gradient is the sum of all their gradients."""
    return x if place()[1] == 1 else cast(Tensor, _Sum.apply(x))  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def gathered(rows_NX: Tensor) -> Tensor:
    """(n, …) of each process, as many on one as on another → (processes · n, …) of all, in the order of ranks, on each. Alone: as it came.

    All processes must call it, forward and backward, in the same order. The gradient of a process's rows is the sum of those of all
    processes' losses by them: if each process's loss is a mean over its own rows, and DistributedDataParallel averages the parameters'
    gradients over processes, these are the gradients of the mean over all rows, no more and no less.
    """
    if place()[1] == 1:
        return rows_NX
    return cast(Tensor, _Gather.apply(rows_NX))  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_NX: Tensor) -> Tensor:
        ctx.rows = len(rows_NX)
        everyone = rows_NX.new_empty(place()[1] * len(rows_NX), *rows_NX.shape[1:])
        dist.all_gather_single(everyone, rows_NX.contiguous())
        return everyone

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed[place()[0] * ctx.rows :][: ctx.rows]
