"""The one training loop. It knows no method: it asks for a batch by its step number, for the method's loss, and steps the optimizer.

A run is a folder: `checkpoint.pt` (replaced whole, every few minutes and at the end), `log.csv`, TensorBoard's events. Nothing random is
carried from step to step: batches and augmentations are drawn from (seed, step), so that a run that was killed and continued ends in
the same weights, bit for bit on a CPU, as one that was not. (On a GPU, cuDNN's backward kernels do not round the same way twice.)
"""

from __future__ import annotations

import csv
import fcntl
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard.writer import SummaryWriter

from model import optim


class Method(Protocol):
    """What the loop asks of a way of learning."""

    net: nn.Module

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Schedule:
    """How long, and what the loop does beside stepping."""

    steps: int
    warmup: int
    ema: float  # decay of the averaged weights, which are those to use
    seed: int
    save_every_s: float
    workers: int = 1  # processes that make batches
    log_every: int = 20


@dataclass
class Progressed:
    """How far a run is: what a checkpoint holds, the tensors apart."""

    step: int = 0
    photos: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0  # of the loop's own process, all its threads; what makes batches is not in it


class BusyError(ValueError):
    """Another process trains in this run folder."""


class RunMismatchError(ValueError):
    """The run folder holds a checkpoint of another recipe: continue it with its own, or choose another folder."""


class DivergedError(ArithmeticError):
    """The loss is no number any more. The run's checkpoint is from before; a lower rate may get past this step."""


def train(
    method: Method,
    optimizer: Optimizer,
    batches: Dataset[Tensor],
    schedule: Schedule,
    run: Path,
    facts: dict[str, Any],
    device: torch.device,
) -> nn.Module:
    """Train to the schedule's end, from the run's checkpoint where there is one; returns the averaged net, in eval mode.

    `facts` go into the checkpoint as JSON-like values. A checkpoint that is continued must have the same ones (but for "code", which
    says what made it), or RunMismatchError is raised; DivergedError if the loss is not finite. The optimizer's groups keep the rates
    they came with, times the cosine. BusyError if another process trains in this folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    method.net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = _averaged(method.net, schedule.ema)
    rates = [group["lr"] for group in optimizer.param_groups]
    parts: dict[str, Any] = {"net": method.net, "averaged": averaged, "optimizer": optimizer}
    with _alone(run), _Report(run, schedule, progressed := _resume(run, parts, facts)) as report:
        saved_at = stepped_at = time.monotonic()
        worked = time.process_time()
        for batch in _load(batches, progressed.step, schedule, pinned=device.type == "cuda"):
            factor = optim.cosine(progressed.step, schedule.steps, schedule.warmup)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + progressed.step)
            loss = method.loss(batch.to(device, non_blocking=True), generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            averaged.update_parameters(method.net)
            progressed.step += 1
            progressed.photos += len(batch)
            now = time.monotonic()
            progressed.elapsed_s += now - stepped_at
            progressed.cpu_s += time.process_time() - worked
            stepped_at, worked = now, time.process_time()
            report.step(progressed, loss, factor)
            if now - saved_at > schedule.save_every_s:
                _save(run, parts, progressed, facts, loss.detach())
                saved_at = now
        if progressed.step > report.start:
            _save(run, parts, progressed, facts, loss.detach())
    return averaged.module.eval()


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
    """The averaged net's state of a run's newest checkpoint, how far it is, and its facts. Raises FileNotFoundError where there is none."""
    if not (run / "checkpoint.pt").exists():
        raise FileNotFoundError(f"{run} holds no training run")
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    prefix = "module."
    state = {
        key.removeprefix(prefix): value for key, value in saved["averaged"].items() if key.startswith(prefix)
    }
    return state, Progressed(**saved["progressed"]), saved["facts"]


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
        prefetch_factor=4,
        pin_memory=pinned,
    )
    return iter(loader)


def _save(
    run: Path, parts: dict[str, Any], progressed: Progressed, facts: dict[str, Any], loss: Tensor
) -> None:
    _check_finite(float(loss), progressed.step)
    states = {name: part.state_dict() for name, part in parts.items()}
    half_written = run / "checkpoint.pt.new"
    torch.save(states | {"progressed": asdict(progressed), "facts": facts}, half_written)
    half_written.replace(run / "checkpoint.pt")


def _resume(run: Path, parts: dict[str, Any], facts: dict[str, Any]) -> Progressed:
    if not (run / "checkpoint.pt").exists():
        return Progressed()
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    keys = (facts | saved["facts"]).keys() - {"code"}
    differing = sorted(key for key in keys if facts.get(key) != saved["facts"].get(key))
    if differing:
        raise RunMismatchError(
            f"{run} was begun with another {' and '.join(differing)}; continue it as it was, or name a new folder"
        )
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return Progressed(**saved["progressed"])


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss is {loss} at step {step}: try a lower rate; the last checkpoint is kept"
        )


class _Report:
    """What a person sees of a run: a progress bar, `log.csv` and TensorBoard, each with loss, rate and photos a second."""

    _FIELDS = ("step", "photos", "elapsed_s", "loss", "rate_factor", "photos_per_s")

    def __init__(self, run: Path, schedule: Schedule, progressed: Progressed) -> None:
        self.schedule, self.run, self.start = schedule, run, progressed.step
        self.losses: list[Tensor] = []
        self.since, self.photos = time.monotonic(), progressed.photos
        console = Console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.plain = None if console.is_terminal else console

    def __enter__(self) -> _Report:
        self.writer = SummaryWriter(str(self.run), purge_step=self.start + 1)
        self.csv: TextIO = _reopen(self.run / "log.csv", self._FIELDS, self.start)
        self.bar.start()
        self.task = self.bar.add_task("training", total=self.schedule.steps, completed=self.start)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self.csv.close()
        self.writer.close()

    def step(self, progressed: Progressed, loss: Tensor, factor: float) -> None:
        self.losses.append(loss.detach())
        self.bar.advance(self.task)
        if progressed.step % self.schedule.log_every and progressed.step != self.schedule.steps:
            return
        now = time.monotonic()
        mean = float(torch.stack(self.losses).mean())
        _check_finite(mean, progressed.step)
        speed = (progressed.photos - self.photos) / (now - self.since)
        row = (
            progressed.step,
            progressed.photos,
            round(progressed.elapsed_s, 1),
            round(mean, 4),
            round(factor, 5),
            round(speed, 1),
        )
        csv.writer(self.csv).writerow(row)
        self.csv.flush()
        self.writer.add_scalar("loss", mean, progressed.step)
        self.writer.add_scalar("photos_per_s", speed, progressed.step)
        words = f"loss {mean:.3f} · {speed:.0f} photos/s"
        self.bar.update(self.task, description=words)
        if self.plain:
            self.plain.print(f"step {progressed.step}/{self.schedule.steps} · {words}")
        self.losses.clear()
        self.since, self.photos = now, progressed.photos


def _reopen(path: Path, fields: tuple[str, ...], step: int) -> TextIO:
    """Open the log to append to, without the rows past `step`: they were written after the checkpoint that is continued."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as old:
            rows = [row for row in list(csv.reader(old))[1:] if int(row[0]) <= step]
    log = path.open("w", newline="")
    csv.writer(log).writerows([list(fields), *rows])
    return log
