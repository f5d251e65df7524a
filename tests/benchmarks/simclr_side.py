"""One side of SimCLR's comparison with lightly, in a process of its own and the environment that `make bench-simclr` makes.

python -m tests.benchmarks.simclr_side {autochrome,lightly} {augment,step} TASK      prints seconds, CPU-seconds and memory, as JSON
python -m tests.benchmarks.simclr_side lightly loss TASK                             prints how far apart the two losses are

TASK is a `Task` as JSON. Net, optimizer and memory layout are the same object on both sides, and both ask for bf16 by autocast. A side
is its way from decoded photos to a batch of normalized views, and its loss. Ours makes views for the whole batch, in the process that
trains. Lightly's makes them photo by photo with Pillow, in a DataLoader with or without workers.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler

from model.methods import simclr
from model.nets.backbone import normalized
from model.nets.resnet import ResNet
from model.training import augment


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides are to do. `threads` are PyTorch's; `workers` are lightly's processes beside."""

    threads: int = 1
    workers: int = 0
    photos: int = 128
    photo_side: int = 160
    side: int = 128
    warm_up: int = 1
    batches: int = 4


Views = Callable[[], Iterator[tuple[Tensor, Tensor]]]
Loss = Callable[[Tensor, Tensor], Tensor]


def options(task: Task) -> simclr.SimCLROptions:
    """The paper's strengths, which are lightly's defaults."""
    small = simclr.small()
    return replace(small, strengths=augment.Strengths(side=task.side))


def photos(task: Task) -> Tensor:
    """(N, 3, S, S) uint8: smooth random pictures with grain, of all colors. What Pillow and PyTorch do takes as long for any."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(task.photos, 3, 10, 10, generator=generator)
    fine = torch.randn(task.photos, 3, task.photo_side, task.photo_side, generator=generator)
    smooth = F.interpolate(coarse, (task.photo_side,) * 2, mode="bicubic")
    return (smooth + 0.03 * fine).clamp(0, 1).mul(255).byte()


def ours(task: Task) -> Views:
    """From a batch of squares, as the trainer's cache gives them."""
    squares = photos(task)
    method = simclr.SimCLR(ResNet(18), options(task))
    generator = torch.Generator().manual_seed(1)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            rgb = squares[torch.randperm(len(squares), generator=generator)]
            first, second = normalized(method.views(rgb, generator)).chunk(2)
            yield first, second

    return batches


def theirs(task: Task) -> Views:
    """From Pillow's pictures of the same squares, already decoded."""
    from lightly.transforms.simclr_transform import SimCLRTransform

    pictures = [Image.fromarray(square.permute(1, 2, 0).numpy()) for square in photos(task)]
    transform = SimCLRTransform(input_size=task.side)

    class Pictures(Dataset[Any]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> Any:
            return transform(pictures[index])

    dataset = Pictures()
    # As one endless epoch: batches made ahead before the clock starts are made up for by those made ahead when it stops.
    many = RandomSampler(dataset, replacement=True, num_samples=len(pictures) * 1000)
    loader = DataLoader(dataset, task.photos, sampler=many, num_workers=task.workers, drop_last=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield from loader

    return batches


def our_loss(first: Tensor, second: Tensor) -> Tensor:
    return simclr.nt_xent(torch.cat([first, second]), options(Task()).temperature)


def their_loss() -> Loss:
    from lightly.loss import NTXentLoss

    loss: Loss = NTXentLoss(temperature=options(Task()).temperature)
    return loss


def training_step(task: Task, loss: Loss) -> Callable[[Tensor, Tensor], None]:
    """One step with two batches of views, as all steps are: the same for both sides but for the loss."""
    torch.manual_seed(0)
    net = simclr.SimCLRNet(ResNet(18), hidden=512, out=128)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)

    def step(first: Tensor, second: Tensor) -> None:
        seen = torch.cat([first, second]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            z: Tensor = net(seen)
        z = z.float()
        optimizer.zero_grad(set_to_none=True)
        loss(*z.chunk(2)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measure(task: Task, sides: Views, step: Callable[[Tensor, Tensor], None] | None) -> dict[str, Any]:
    torch.set_num_threads(task.threads)
    imported = _mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    batches = sides()
    seconds: list[float] = []
    cpu: list[float] = []
    for _ in range(task.warm_up + task.batches):
        start, used = time.perf_counter(), _cpu_seconds()
        first, second = next(batches)
        assert first.shape == second.shape == (task.photos, 3, task.side, task.side)
        if step is not None:
            step(first, second)
        seconds.append(time.perf_counter() - start)
        cpu.append(_cpu_seconds() - used)
    return {
        "seconds": sum(seconds[task.warm_up :]) / task.batches,
        "cpu_seconds": sum(cpu[task.warm_up :]) / task.batches,
        "memory_mib": _mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        + sum(map(_unshared, _children())),
        "imported_mib": imported,
        "torch": torch.__version__,
    }


def _children() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(each) for each in listed.split()]


def _cpu_seconds() -> float:
    """Of this process and, while they live, of its workers."""
    ticks = sum(sum(map(int, _stat(each)[11:13])) for each in _children())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _unshared(process: int) -> float:
    """MiB that a worker does not share with its parent, now."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return _mib(sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")))


def _mib(kib: int) -> float:
    return kib / 1024


def loss_differences() -> dict[str, Any]:
    """How far the two losses, and their gradients, are from each other on the same embeddings, over batches, temperatures and sizes."""
    from lightly.loss import NTXentLoss

    generator = torch.Generator().manual_seed(0)
    worst = {"loss": 0.0, "gradient": 0.0, "largest_gradient": 0.0}
    for count in (2, 16, 128):
        for temperature in (0.1, 0.2, 0.5):
            z = torch.randn(2 * count, 128, generator=generator)
            z[count:] = 0.5 * z[:count] + z[count:]
            mine, other = (z.clone().requires_grad_() for _ in range(2))
            our = simclr.nt_xent(mine, temperature)
            their = NTXentLoss(temperature=temperature)(*other.chunk(2))
            our.backward()  # type: ignore[no-untyped-call]
            their.backward()
            assert mine.grad is not None
            assert other.grad is not None
            worst["loss"] = max(worst["loss"], abs(float(our) - float(their)))
            worst["gradient"] = max(worst["gradient"], float((mine.grad - other.grad).abs().max()))
            worst["largest_gradient"] = max(worst["largest_gradient"], float(other.grad.abs().max()))
    return worst


def main(side: str, what: str, task: Task) -> None:
    if what == "loss":
        numbers = loss_differences()
    else:
        sides, loss = (ours(task), our_loss) if side == "autochrome" else (theirs(task), their_loss())
        numbers = measure(task, sides, training_step(task, loss) if what == "step" else None)
    sys.stdout.write(json.dumps({**numbers, "task": asdict(task)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Task(**json.loads(sys.argv[3])))
