"""The one training loop. It knows no method: it takes a batch by its step number, then the method's loss of it, and steps the optimizer.

A run is a folder (model/training/runs.py). Nothing random is carried from step to step: batches and augmentations are drawn from
(seed, step), so that a run that was killed and continued ends in the same weights, bit for bit on a CPU, as one that was not. (On a GPU,
cuDNN's backward kernels do not round the same way twice.)

Under torchrun, one process a device: each takes its share of every batch, batch norm sees the whole of it, the gradients are averaged while
the backward pass still runs, and the first process alone writes. A run is continued with as many processes as it was begun with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import Dataset

from model.methods import Method
from model.training import batch_norm, distributed, optim, runs
from model.training.config import Config
from model.training.logging import Log, Progress
from model.training.validation import Validate

_AHEAD = 2  # batches made while the loop works
_AGREE_EVERY = 5  # steps: several processes then ask each other whether one of them is to stop


class StoppedError(Exception):
    """The run was asked to stop, and stands at a checkpoint of the step that it was at."""


@dataclass(frozen=True)
class Schedule:
    """How long, and what the loop does beside stepping."""

    ends: tuple[int, ...]  # the step at which each stage ends
    warmup: int = 0
    ema: float = 0.999  # decay of the averaged weights, which are those to use
    seed: int = 0
    clip: float = 0.0
    accumulate: int = 1
    save_every_s: float = 180
    validate_every: int = 0
    patience: int = 0
    keep_best: bool = False
    blend: float = (
        1.0  # of the way from the start's weights to the averaged ones lie those that are measured and kept
    )
    log_every: int = 20

    @classmethod
    def of(cls, config: Config, save_every_s: float) -> Schedule:
        return cls(
            ends=config.ends,
            warmup=config.warmup,
            ema=config.ema,
            seed=config.seed,
            clip=config.clip,
            accumulate=config.accumulate,
            save_every_s=save_every_s,
            validate_every=config.validate_every,
            patience=config.patience,
            keep_best=config.keep_best,
            blend=config.blend,
        )

    @property
    def steps(self) -> int:
        return self.ends[-1]


def train(
    method: Method,
    optimizer: Optimizer,
    batches: Dataset[Any],
    schedule: Schedule,
    run: Path,
    metadata: dict[str, Any],
    device: torch.device,
    validate: Validate | None = None,
    *,
    is_asked_to_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train to the schedule's end, from the run's checkpoint where there is one, and leave a checkpoint of it.

    `metadata` go into the checkpoint as JSON-like values. A checkpoint that is continued must have the same ones (see `runs.resume`);
    DivergedError if the loss or the weights are not finite. The optimizer's groups keep the lr they came with, times the cosine.
    BusyError if another process trains in this folder.

    With `keep_best` the weights that did best on the validation photographs are kept beside the checkpoint, those of the start among
    them; after `patience` validations without a better one the run ends.

    `is_asked_to_stop` is asked after each step; where any process is, all raise StoppedError, with a checkpoint written.
    """
    run.mkdir(parents=True, exist_ok=True)
    rank, world = distributed.place()
    metadata = metadata | ({"processes": world} if world > 1 else {})
    method.prepare(device)
    learner = _Learner(method)
    if world > 1:
        batch_norm.share(method.net)
    averaged = _averaged(method.net, schedule.ema)
    lrs = [group["lr"] for group in optimizer.param_groups]
    parts: dict[str, Any] = {"net": method.net, "averaged": averaged, "optimizer": optimizer}
    if method.adversary is not None:
        parts["adversary"] = method.adversary
    loss_of = (
        DistributedDataParallel(learner, [device] if device.type == "cuda" else None)
        if world > 1
        else learner
    )
    with ExitStack() as held:
        if rank == 0:
            held.enter_context(runs.locked(run))
        progress = runs.resume(run, parts, metadata)
        start = progress.step
        log = (
            held.enter_context(Log(run, schedule.steps, schedule.log_every, progress)) if rank == 0 else None
        )
        begun = None
        if schedule.blend < 1 or method.teacher is not None:
            begun = runs.start(run, averaged.module)
        if method.teacher is not None and begun is not None:
            # Built from the start where that is known; an extended run knows it by its own folder alone.
            method.teacher.load_state_dict(begun)
        if schedule.keep_best and validate and start == 0:
            _validate(validate, averaged.module, run, progress, schedule, log)
        clock = _Clock()
        stop = _spent(progress, schedule)
        for batch in _ahead(batches, range(start, start if stop else schedule.steps)):
            factor = optim.lr_factor(progress.step, schedule.ends, schedule.warmup)
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr * factor
            draws = (schedule.seed * 1_000_003 + progress.step) * world + rank
            loss = backward(loss_of, batch, torch.Generator().manual_seed(draws), schedule.accumulate)
            if schedule.clip:
                nn.utils.clip_grad_norm_(method.net.parameters(), schedule.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            averaged.update_parameters(method.net)
            progress.step += 1
            progress.photos += len(batch) * world
            clock.tick(progress)
            if log:
                log.step(progress, loss, factor, lrs[-1] * factor)
            last = progress.step == schedule.steps
            if validate and (
                last or (schedule.validate_every and progress.step % schedule.validate_every == 0)
            ):
                _validate(validate, _between(begun, averaged, schedule.blend), run, progress, schedule, log)
                stop = _anywhere(_spent(progress, schedule), device)
            asked = not last and _is_any_asked(is_asked_to_stop, progress.step, device)
            if log and (last or stop or asked or clock.since_saved() > schedule.save_every_s):
                runs.save(run, parts, progress, metadata, loss.detach())
                clock.saved()
            if stop:
                if log:
                    log.say(
                        f"no better weights in {schedule.patience} validations: the run ends at step {progress.step}"
                    )
                break
            if asked:
                distributed.barrier()  # a process that ended before the first one has written would have it killed
                raise StoppedError(f"asked to stop at step {progress.step}")


class _Learner(nn.Module):
    """A method as a module that answers with its loss: what DistributedDataParallel can watch, whatever the method does inside."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.net, self.adversary = method.net, method.adversary
        self.loss = method.loss

    def forward(self, batch: Any, generator: torch.Generator) -> Tensor:
        return self.loss(batch, generator)


class _Clock:
    """How long a run has taken, pauses included, and its processor time; how long ago it was saved."""

    def __init__(self) -> None:
        self.saved_at = self.stepped_at = time.monotonic()
        self.worked = time.process_time()

    def tick(self, progress: Progress) -> None:
        now, worked = time.monotonic(), time.process_time()
        progress.elapsed_s += now - self.stepped_at
        progress.cpu_s += worked - self.worked
        self.stepped_at, self.worked = now, worked

    def since_saved(self) -> float:
        return time.monotonic() - self.saved_at

    def saved(self) -> None:
        self.saved_at = time.monotonic()


def backward(
    loss_of: Callable[[Any, torch.Generator], Tensor], batch: Any, generator: torch.Generator, parts: int
) -> Tensor:
    """The loss of a batch, and its gradients: all at once, or part by part for less memory."""
    if parts == 1:
        loss = loss_of(batch, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    total = torch.zeros(())
    for part in batch.parts(parts):
        share = len(part) / len(batch)
        loss = loss_of(part, generator) * share
        loss.backward()  # type: ignore[no-untyped-call]
        total = total + loss.detach().cpu()
    return total


def measure(validate: Validate, net: nn.Module, step: int) -> Mapping[str, float]:
    """The net in eval mode, and in training mode again afterward."""
    net.eval()
    with torch.no_grad():
        measures = validate(net, step)
    net.train()
    return measures


def _validate(
    validate: Validate,
    net: nn.Module,
    run: Path,
    progress: Progress,
    schedule: Schedule,
    log: Log | None,
) -> None:
    """On every process, as methods gather what they compare; the first one writes."""
    begun = time.monotonic()
    measures = measure(validate, net, progress.step)
    if log:
        log.validation(progress, measures, time.monotonic() - begun)
    score = measures["score"]
    if score > progress.best_score:
        progress.best_step, progress.best_score, progress.since_best = progress.step, score, 0
        if schedule.keep_best and log:
            runs.save_best(run, net, progress.step, score)
    else:
        progress.since_best += 1


def _between(
    begun: Mapping[str, Tensor] | None, averaged: torch.optim.swa_utils.AveragedModel, share: float
) -> nn.Module:
    """The averaged net; or a copy of it whose weights lie a share of the way from those that it began with."""
    if begun is None or share == 1:
        return averaged.module
    between = deepcopy(averaged.module)
    state = between.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(torch.lerp(begun[name].to(value.device), value, share))
    return between


def _spent(progress: Progress, schedule: Schedule) -> bool:
    """Whether the run has waited long enough for better weights."""
    return bool(schedule.patience) and progress.since_best >= schedule.patience


def _anywhere(mine: bool, device: torch.device) -> bool:
    """Whether any process says so: rounding may let their scores differ."""
    if distributed.place()[1] == 1:
        return mine
    said = distributed.summed(torch.tensor(float(mine), device=device))
    return bool(said > 0)


def _is_any_asked(is_asked: Callable[[], bool], step: int, device: torch.device) -> bool:
    """Of several processes only now and then: the answer waits for all of them, and for the device."""
    if distributed.place()[1] == 1:
        return is_asked()
    return step % _AGREE_EVERY == 0 and _anywhere(is_asked(), device)


def _averaged(net: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    def average(mean: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        """Of one device and type at a time. Counters are copied; early on, a slow average would keep too much of the start."""
        if mean[0].is_floating_point():
            steps = float(count)
            torch._foreach_lerp_(list(mean), list(new), 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(list(mean), list(new))

    return torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=average, use_buffers=True)


def _ahead(batches: Dataset[Any], steps: Sequence[int]) -> Iterator[Any]:
    """The batches of these steps, in order, each made by a thread while the loop works on those before."""
    with ThreadPoolExecutor(1) as thread:
        waiting: list[Future[Any]] = []
        for step in steps:
            waiting.append(thread.submit(batches.__getitem__, step))
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
