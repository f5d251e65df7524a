"""The one training loop. It knows no method: it asks for a batch by its step number, for the method's loss, and steps the optimizer.

A run is a folder: `checkpoint.pt` (replaced whole, every few minutes and at the end), `log.csv`, TensorBoard's events. Nothing random is
carried from step to step: batches and augmentations are drawn from (seed, step), so that a run that was killed and continued ends in
the same weights, bit for bit on a CPU, as one that was not. (On a GPU, cuDNN's backward kernels do not round the same way twice.)

Under torchrun, one process a device: each takes its share of every batch, the gradients are averaged while the backward pass still runs,
and the first process alone writes. A run is continued with as many processes as it was begun with.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from model import optim, ranks
from model.journal import Journal, Progressed, Schedule, check_finite

Batch: TypeAlias = "Tensor | tuple[Tensor, ...]"
"""Photos, (N, 3, H, W); or photos and what belongs to each, such as labels."""


class Method(Protocol):
    """What the loop asks of a way of learning."""

    @property
    def net(self) -> nn.Module:
        """What is trained, averaged and saved."""

    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """A mean over the batch, so that averages over processes are averages over photos."""


class BusyError(ValueError):
    """Another process trains in this run folder."""


class RunError(ValueError):
    """A run whose checkpoint cannot be used.

    `code` is stable: run_damaged, run_mismatch (of another recipe or data) or weights_mismatch (of another net than is to have them).
    `detail` says what is wrong and what to do.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def train(
    method: Method,
    optimizer: Optimizer,
    batches: Dataset[Any],
    schedule: Schedule,
    run: Path,
    facts: dict[str, Any],
    device: torch.device,
) -> nn.Module:
    """Train to the schedule's end, from the run's checkpoint where there is one; returns the averaged net, in eval mode.

    `facts` go into the checkpoint as JSON-like values. A checkpoint that is continued must have the same ones (but for "code", which
    says what made it), or RunError is raised; DivergedError if the loss is not finite. The optimizer's groups keep the rates they
    came with, times the cosine. BusyError if another process trains in this folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    rank, world = ranks.place()
    facts = facts | ({"processes": world} if world > 1 else {})
    method.net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = _averaged(method.net, schedule.ema)
    rates = [group["lr"] for group in optimizer.param_groups]
    parts: dict[str, Any] = {"net": method.net, "averaged": averaged, "optimizer": optimizer}
    loss_of = _across(method, device) if world > 1 else method.loss
    with ExitStack() as held:
        if rank == 0:
            held.enter_context(_alone(run))
        progressed = _resume(run, parts, facts)
        start = progressed.step
        journal = held.enter_context(Journal(run, schedule, progressed)) if rank == 0 else None
        saved_at = stepped_at = time.monotonic()
        worked = time.process_time()
        for batch in _load(batches, start, schedule, pinned=device.type == "cuda"):
            factor = optim.cosine(progressed.step, schedule.steps, schedule.warmup)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            draws = (schedule.seed * 1_000_003 + progressed.step) * world + rank
            loss = loss_of(_moved(batch, device), torch.Generator().manual_seed(draws))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            averaged.update_parameters(method.net)
            progressed.step += 1
            progressed.photos += len(batch if isinstance(batch, Tensor) else batch[0]) * world
            now = time.monotonic()
            progressed.elapsed_s += now - stepped_at
            progressed.cpu_s += time.process_time() - worked
            stepped_at, worked = now, time.process_time()
            if journal is None:
                continue
            journal.step(progressed, loss, factor)
            if now - saved_at > schedule.save_every_s:
                _save(run, parts, progressed, facts, loss.detach())
                saved_at = now
        if rank == 0 and progressed.step > start:
            _save(run, parts, progressed, facts, loss.detach())
    return averaged.module.eval()


class _Learner(nn.Module):
    """A method as a module that answers with its loss: what DistributedDataParallel can watch, whatever the method does inside."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.net = method.net
        self.loss = method.loss

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.loss(batch, generator)


def _across(method: Method, device: torch.device) -> Callable[[Batch, torch.Generator], Tensor]:
    """The loss, whose gradients are averaged over all processes. On GPUs batch norm, too, sees the whole batch."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method.net)  # type: ignore[no-untyped-call]  # in place
    devices = [device] if device.type == "cuda" else None
    wrapped: Callable[[Batch, torch.Generator], Tensor] = DistributedDataParallel(_Learner(method), devices)
    return wrapped


def _moved(batch: Batch, device: torch.device) -> Batch:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return tuple(part.to(device, non_blocking=True) for part in batch)


def trainer_of(run: Path) -> int | None:
    """The process that trains in this folder now, running or paused, or None."""
    try:
        with (run / "trainer").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((run / "trainer").read_text())
    return None


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with the process however it ends; the file says which process that is."""
    with (run / "trainer").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another process trains in {run} already; let it, or name another folder"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def averaged_weights(run: Path) -> tuple[dict[str, Tensor], Progressed, dict[str, Any]]:
    """The averaged net's state of a run's newest checkpoint, how far it is, and its facts.

    Raises FileNotFoundError where there is none, RunError for one that cannot be used.
    """
    if not (run / "checkpoint.pt").exists():
        raise FileNotFoundError(f"{run} holds no training run")
    saved = _saved(run, {"averaged"})
    prefix = "module."
    state = {
        key.removeprefix(prefix): value for key, value in saved["averaged"].items() if key.startswith(prefix)
    }
    return state, Progressed(**saved["progressed"]), saved["facts"]


def fill(part: nn.Module | Optimizer, state: dict[str, Any], run: Path) -> None:
    """Give a net, or an optimizer, what a run's checkpoint holds of it. Raises RunError (weights_mismatch) for another's."""
    try:
        part.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            "weights_mismatch",
            f"{run} holds another {type(part).__name__} than this code makes of its recipe; "
            "go back to the code that its facts name, or train anew in another folder",
        ) from error


def _saved(run: Path, parts: set[str]) -> dict[str, Any]:
    """The checkpoint with these parts, and maybe more. No code of it is run, whoever made it."""
    path = run / "checkpoint.pt"
    with path.open("rb") as file:
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises nearly anything on bytes that it did not write
            raise _damaged(path) from error
    if not isinstance(saved, dict) or not parts | {"progressed", "facts"} <= saved.keys():
        raise _damaged(path)
    return saved


def _damaged(path: Path) -> RunError:
    return RunError(
        "run_damaged",
        f"{path} is cut off, or no checkpoint of a run; put back a copy of it, or delete it, and the run begins anew",
    )


def _averaged(net: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    def average(mean: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        """Of one device and type at a time. Counters are copied; early on, a long memory would remember the start."""
        if mean[0].is_floating_point():
            steps = float(count)
            torch._foreach_lerp_(list(mean), list(new), 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(list(mean), list(new))

    return torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=average, use_buffers=True)


def _load(batches: Dataset[Tensor], start: int, schedule: Schedule, pinned: bool) -> Iterator[Tensor]:
    """Batches start…steps−1 in order, made by processes ahead of the loop."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, schedule.steps),
        num_workers=schedule.workers,
        prefetch_factor=4 if schedule.workers else None,
        pin_memory=pinned,
    )
    return iter(loader)


def _save(
    run: Path, parts: dict[str, Any], progressed: Progressed, facts: dict[str, Any], loss: Tensor
) -> None:
    check_finite(float(loss), progressed.step)
    states = {name: part.state_dict() for name, part in parts.items()}
    half_written = run / "checkpoint.pt.new"
    torch.save(states | {"progressed": asdict(progressed), "facts": facts}, half_written)
    half_written.replace(run / "checkpoint.pt")


def _resume(run: Path, parts: dict[str, Any], facts: dict[str, Any]) -> Progressed:
    if not (run / "checkpoint.pt").exists():
        return Progressed()
    saved = _saved(run, set(parts))
    keys = (facts | saved["facts"]).keys() - {"code"}
    differing = sorted(key for key in keys if facts.get(key) != saved["facts"].get(key))
    if differing:
        raise RunError(
            "run_mismatch",
            f"{run} was begun with another {' and '.join(differing)}; continue it as it was, or name a new folder",
        )
    for name, part in parts.items():
        fill(part, saved[name], run)
    return Progressed(**saved["progressed"])
