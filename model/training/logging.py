"""What a person sees of a training run: a progress bar, `log.csv`, `validation.csv` and TensorBoard."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from rich import progress as bars
from rich.console import Console
from torch import Tensor

from model.errors import AutochromeError


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds, the tensors apart."""

    step: int = 0
    photos: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0  # of the loop's own process, all its threads
    best_step: int = -1  # of the averaged weights that did best on the validation photographs; -1: none yet
    best_score: float = -math.inf
    since_best: int = 0  # validations since then


class DivergedError(AutochromeError):
    """The loss or the weights are not finite any more. The run's checkpoint is from before."""


class Log:
    """Rows and curves of a run's loss, learning rate, photos a second and validation."""

    _FIELDS = ("step", "photos", "elapsed_s", "loss", "lr_factor", "photos_per_s")

    def __init__(self, run: Path, steps: int, every: int, progress: Progress) -> None:
        self.run, self.steps, self.every, self.start = run, steps, every, progress.step
        self.losses: list[Tensor] = []
        self.since, self.photos = time.monotonic(), progress.photos
        console = Console()
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
        )
        self.bar = bars.Progress(*columns, console=console, disable=not console.is_terminal)
        self.plain = None if console.is_terminal else console

    def __enter__(self) -> Log:
        # Only here: whoever reads a run, exports it or colors needs no TensorBoard, which comes with the extra `train`.
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(self.run), purge_step=self.start + 1)
        self.csv: TextIO = _reopen(self.run / "log.csv", self._FIELDS, self.start)
        self.bar.start()
        self.task = self.bar.add_task("training", total=self.steps, completed=self.start)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self.csv.close()
        self.writer.close()

    def step(self, progress: Progress, loss: Tensor, factor: float, lr: float) -> None:
        """Once a step; a row is written every `every` steps, with the mean loss since the last one. DivergedError where it is no number."""
        self.losses.append(loss.detach())
        self.bar.advance(self.task)
        if progress.step % self.every and progress.step != self.steps:
            return
        now = time.monotonic()
        mean = torch.stack(self.losses).mean()
        check_finite("loss is", [mean], progress.step)
        speed = (progress.photos - self.photos) / (now - self.since)
        row = (
            progress.step,
            progress.photos,
            round(progress.elapsed_s, 1),
            round(float(mean), 4),
            round(factor, 5),
            round(speed, 1),
        )
        csv.writer(self.csv).writerow(row)
        self.csv.flush()
        for name, value in (("loss", mean), ("lr", lr), ("photos_per_s", speed)):
            self.writer.add_scalar(name, value, progress.step)
        words = f"loss {mean:.3f} · {speed:.0f} photos/s"
        self.bar.update(self.task, description=words)
        if self.plain:
            self.plain.print(f"step {progress.step}/{self.steps} · {words}")
        self.losses.clear()
        self.since, self.photos = now, progress.photos

    def validation(self, progress: Progress, metrics: Mapping[str, float], took_s: float) -> None:
        """What the averaged weights reach on the validation photographs. The time that it took is none of the steps'."""
        self.since += took_s
        for name, value in metrics.items():
            self.writer.add_scalar(f"validation/{name}", value, progress.step)
        file = self.run / "validation.csv"
        with _reopen(file, ("step", *metrics), progress.step - 1) as rows:
            csv.writer(rows).writerow((progress.step, *(round(value, 4) for value in metrics.values())))
        words = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        (self.plain or self.bar.console).print(f"step {progress.step}/{self.steps} · validation: {words}")

    def say(self, words: str) -> None:
        (self.plain or self.bar.console).print(words)


def check_finite(what: str, found: Iterable[Tensor], step: int) -> None:
    """Raises DivergedError where any number of what a step left is not finite; `what` is its name and a verb."""
    if not all(tensor.isfinite().all() for tensor in found):
        raise DivergedError(
            "loss_diverged",
            f"The {what} not finite any more at step {step}.",
            "Begin anew in another folder with a lower lr; this one keeps its last checkpoint, if it has one.",
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
