"""A training session: its configuration, its photographs, training until the end, and what came of it.

Needs the extra `train`: TensorBoard, and ImageNet's backbone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import bins, machine
from model.errors import InputError
from model.methods import Method
from model.methods.colorize import Colorize
from model.training import building, cache, data, distributed, runs, trainer, validation
from model.training import config as configs
from model.training.batches import Batches, classes_of
from model.training.cache import Cache
from model.training.commit import commit
from model.training.config import Config
from model.training.trainer import Schedule
from model.training.validation import Validate

_NETS = {"colorize": "lite", "regress": "lite-l2"}  # where none is named; else a backbone
_TIMED = 20  # steps
_ENOUGH = 100  # held-out photographs, to choose by them how weights are decoded; with fewer they are decoded as the start's


def configured(
    method: str,
    net: str | None = None,
    recipe: str | None = None,
    settings: Sequence[str] = (),
    steps: int | None = None,
    seed: int | None = None,
) -> Config:
    """The recipe's configuration with other values where they are given. `settings` are NAME=VALUE.

    Raises InputError for a recipe or a setting that does not exist, and for a value that cannot be.
    """
    net = net or _NETS.get(method, "alexnet")
    default = "from-imagenet" if method == "regress" else "lite" if net.startswith("lite") else "small"
    name = recipe or default
    if name not in configs.CONFIGS:
        raise InputError(f"no recipe is called {name!r}: choose one of {', '.join(configs.CONFIGS)}")
    config = configs.CONFIGS[name](method, net).changed(settings)
    given: dict[str, Any] = {"steps": steps, "seed": seed}
    return replace(config, **{key: value for key, value in given.items() if value is not None})


def extended(run: Path, steps: int | None) -> Config:
    """The run's own configuration with a further stage, up to so many steps in all. Raises InputError where that is not said."""
    before = building.config_of(runs.metadata(run), run)
    end = runs.end(run)
    if steps is None:
        raise InputError(f"{run} has {end} steps: say to how many it is to be extended, --steps N")
    if before.steps == steps and (before.earlier or end == steps):  # extended already, and stopped on its way
        return before
    return replace(before, steps=steps, earlier=(*before.earlier, end))


def check(config: Config, run: Path) -> None:
    """Raise for what `learn` would refuse, as far as it can be known before photographs are decoded, which may take long.

    InputError for nets, starts and options that do not exist or do not go together, BusyError for a run that is under way.
    """
    if distributed.place()[0] == 0:  # which is the one that will hold the run's lock
        runs.check_idle(run)
    building.build(config, 1, torch.ones(bins.COUNT))


def photographs(
    config: Config,
    sources: Sequence[Path],
    *,
    exclude: Sequence[str],
    hold_out: int,
    apart_from: Sequence[Path],
    folder: Path,
    workers: int | None,
) -> tuple[list[Cache], list[Cache], data.LeftOut]:
    """Of each source what is learned from and what is held out, from the cache in `folder`; and what is left out, by why.

    For nets that color these are color photographs, each once, and none that looks like one that is held out, or one of `apart_from`,
    which InputError refuses for other methods. `hold_out` is in tenths of all, 0…9, or InputError.
    """
    if not 0 <= hold_out <= 9:
        raise InputError(f"--hold-out is {hold_out}, and counts tenths of the photographs: 0…9")
    build = partial(cache.build, side=config.shape, folder=folder, workers=workers)
    coloring = config.method in ("colorize", "regress")
    if apart_from and not coloring:
        raise InputError(f"--apart-from is for colorize and regress: {config.method} looks for no copies")
    # What does not color weighs no source against another: all are one, and a photo that is in two is seen once.
    groups = [[source] for source in sources] if coloring else [[*sources]]
    whole = [build(data.find(group, exclude)) for group in groups]
    parts = [cache.held_out(source, hold_out) for source in whole]
    kept, held = [inside for inside, _ in parts], [outside for _, outside in parts]
    left_out = [source.left_out for source in whole]
    if coloring:
        apart = [build(data.find([source])) for source in apart_from]
        held, of_held = cache.colorful(held)
        kept, of_kept = cache.colorful(kept, [*held, *apart])
        left_out += [of_held, of_kept]
    reasons = dict.fromkeys(reason for each in left_out for reason in each)
    named = {reason: tuple(path for each in left_out for path in each.get(reason, ())) for reason in reasons}
    return kept, held, named


def as_begun(config: Config, run: Path) -> Config:
    """With the number of steps that the run in this folder was begun with."""
    begun_with = building.config_of(runs.metadata(run), run)
    return replace(config, steps=begun_with.steps, warmup=begun_with.warmup)


def fitting(
    config: Config, sources: Sequence[Cache], held: Sequence[Cache], device: torch.device, seconds: float
) -> Config:
    """As many steps, and validations on `held`, as fit into so many seconds, less a tenth for what comes after. A step's time grows with
    its crops' pixels.

    InputError where none fits, as after photographs have been decoded for long.
    Of several processes each times its own share of the batches, and the first one's number is everyone's.
    """
    rank, world = distributed.place()
    begun = time.monotonic()
    classes = classes_of([*sources, *held])
    method, optimizer = building.build(config, len(classes), torch.ones(bins.COUNT))
    method.prepare(device)
    batches = Batches(
        sources, config.batch, config.steps, config.seed, config.crops, rank, world, device, classes
    )
    for step in range(2 * _TIMED):
        if step == _TIMED:
            timed = time.monotonic()
        trainer.backward(method.loss, batches[step], torch.Generator().manual_seed(step), config.accumulate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
    stepped = now = time.monotonic()
    larger = batches.area(range(config.steps)) / batches.area(range(_TIMED, 2 * _TIMED))
    a_step, validations = (stepped - timed) / _TIMED * larger, 0.0
    if validate := _validator(config, method, held, device, classes):
        trainer.measure(validate, method.net, 1)
        now = time.monotonic()
        validations = (1 + config.keep_best) * (now - stepped)  # at the end; of the start
        if config.validate_every:
            a_step += (now - stepped) / config.validate_every
    mine = int((0.9 * max(0.0, seconds - (now - begun)) - validations) / a_step)
    steps = int(distributed.summed(torch.tensor(mine if rank == 0 else 0, device=device)))
    if steps < 1:
        raise InputError(
            "no step fits into the time that is left after the photographs were decoded and steps were timed: the same command again "
            "finds them decoded, or give it more --seconds"
        )
    return replace(config, steps=steps, warmup=min(config.warmup, steps // 10))


def learn(
    config: Config,
    sources: Sequence[Cache],
    run: Path,
    device: torch.device,
    held: Sequence[Cache] = (),
    save_every_s: float = 180,
    is_asked_to_stop: Callable[[], bool] = lambda: False,
) -> Method:
    """Train to the configuration's end in the folder `run`, or from its checkpoint on. `held`: for validation.

    Raises StoppedError, with a checkpoint written, where it is asked to stop before; InputError where the best weights are to be kept and
    nothing is held out to find them by.
    """
    if config.keep_best and not any(map(len, held)):
        raise InputError(
            "the weights that do best on held-out photographs are to be kept, and none is held out: give more photographs, hold out more "
            "of them, --hold-out 3, or take those of the last step as they are, --set blend=1 keep_best=false"
        )
    if device.type == "cpu":
        machine.keep_large_blocks()
    rank, world = distributed.place()
    classes = classes_of([*sources, *held])  # of a class all photographs may be held out
    batches = Batches(
        sources, config.batch, config.steps, config.seed, config.crops, rank, world, device, classes
    )
    before = runs.metadata(run) if (run / runs.CHECKPOINT).exists() else None
    # An extended run knows what it began from, not where that lies; its weights and its prior are its own by now.
    extended = (
        before is not None and bool(config.start) and config.start == before.get("config", {}).get("start")
    )
    start = config.start if extended else building.identity(config.start)
    begun: dict[str, Any] = building.decoding_of("" if extended else config.start)
    if extended and before is not None:
        begun = before.get("start", {})
        config = replace(config, start="")
        prior = torch.tensor(before["data"]["prior"], dtype=torch.float64)
    elif config.method in ("colorize", "regress"):
        prior = _prior(config, batches)
    else:
        prior = torch.ones(bins.COUNT)
    prior = torch.tensor([float(f"{p:.6g}") for p in prior.tolist()], dtype=prior.dtype)  # as it is kept
    method, optimizer = building.build(config, len(classes), prior, begun)
    photos = [path for source in sources for path in source.photos]
    metadata = {
        "method": config.method,
        "config": asdict(config) | {"start": start},
        "data": {
            "photos": len(photos),
            "drawn": batches.drawn(),
            "fingerprint": data.fingerprint(photos),
            "classes": classes if config.method == "supervised" else [],
            "prior": prior.tolist(),
        },
        "start": begun,
        "code": {"commit": commit(), "torch": str(torch.__version__)},
    }
    start_weights = building.start_weights(begun) if begun and isinstance(method, Colorize) else None
    validate = _validator(config, method, held, device, classes, start_weights)
    schedule = Schedule.of(config, save_every_s)
    trainer.train(
        method,
        optimizer,
        batches,
        schedule,
        run,
        metadata,
        device,
        validate,
        is_asked_to_stop=is_asked_to_stop,
    )
    return method


def _validator(
    config: Config,
    method: Method,
    held: Sequence[Cache],
    device: torch.device,
    classes: Sequence[str],
    start_weights: Tensor | None = None,
) -> Validate | None:
    """What measures a net in training; None where nothing is held out."""
    if not any(map(len, held)):
        return None
    side = config.crops.last_side(held) if config.crops else config.shape.side
    return validation.of_method(method, held, config.validated, side, device, classes, start_weights)


def _prior(config: Config, batches: Batches) -> Tensor:
    """Of these photographs, blended with that of the start where the configuration says so and the start knows its own."""
    own = batches.prior()
    before = building.prior_of(config.start) if config.prior_share < 1 else None
    if before is None:
        return own
    return config.prior_share * own + (1 - config.prior_share) * before / before.sum()


def conclude(
    method: Method, config: Config, held: Sequence[Cache], run: Path, device: torch.device
) -> Iterator[str]:
    """Sentences that say what came of it; and into the run's folder how the weights are best decoded."""
    trained = building.load(run)
    count = min(sum(map(len, held)), config.validated)
    if config.keep_best and trained.best_step == 0:
        yield f"no step did better than the start on the {count} held-out photographs: the start is kept"
    elif config.keep_best and trained.best_step > 0:
        yield f"the weights of step {trained.best_step} did best on the held-out photographs, and are kept"
    if isinstance(method, Colorize) and not trained.keeps_start and count >= _ENOUGH and config.crops:
        net = trained.net.to(device)
        decoding, gains = validation.choose_decoding(
            net, method.weights, held, config.validated, config.crops.last_side(held), device
        )
        chosen: dict[str, Any] = asdict(decoding) | {"gains": asdict(gains)}
        (run / building.EXPORT).write_text(json.dumps(chosen, indent=1) + "\n")
        yield (
            f"on held-out photographs, above gray: raw AuC {gains.raw:+.2f}, rebalanced {gains.rebalanced:+.2f} at size "
            f"{decoding.size}, temperature {decoding.temperature:g}, {decoding.taken_back:g} taken back"
        )
    else:
        (run / building.EXPORT).unlink(missing_ok=True)  # of weights that were here before
    yield f"{trained.step} steps done in {run}"
