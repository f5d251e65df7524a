"""What a person sees of a training run: a progress bar, `log.csv` and TensorBoard, each with loss, rate and photos a second."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter


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


class DivergedError(ArithmeticError):
    """The loss is no number any more. The run's checkpoint is from before; a lower rate may get past this step."""


class Journal:
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

    def __enter__(self) -> Journal:
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
        check_finite(mean, progressed.step)
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


def check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss is {loss} at step {step}: try a lower rate; the last checkpoint is kept"
        )


def _reopen(path: Path, fields: tuple[str, ...], step: int) -> TextIO:
    """Open the log to append to, without the rows past `step`: they were written after the checkpoint that is continued."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as old:
            rows = [row for row in list(csv.reader(old))[1:] if int(row[0]) <= step]
    log = path.open("w", newline="")
    csv.writer(log).writerows([list(fields), *rows])
    return log
