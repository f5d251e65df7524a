"""Train a method by a configuration; pause a run, and let it go on."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from model.commands.interruption import interruptible
from model.commands.options import CACHE, Device, Exclude, Photos
from model.errors import InputError

app = Typer()
_HOLD_OUT, _SAVE_EVERY_S = 1, 180.0
training = Typer(help="pause a run in the background, and let it go on")
app.add_typer(training, name="training")

Method = Literal["colorize", "regress", "context", "simclr", "supervised", "adapt"]
Run = Annotated[Path, Argument(metavar="RUN")]


@app.command(short_help="learn from folders of color photographs")
def train(
    method: Annotated[Method, Argument(metavar="METHOD")],
    photos: Photos,
    exclude: Exclude = [],
    net: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="lite, the product's, or eccv16, the paper's; or a backbone: alexnet, resnet18, resnet50, or alexnet-small and "
            "resnet18-small, which see small photos finer (default: lite to colorize, else alexnet)",
        ),
    ] = None,
    hold_out: Annotated[
        int,
        Option(metavar="N", help="hold out N tenths of all, by a hash of the name, for validation"),
    ] = _HOLD_OUT,
    apart_from: Annotated[
        list[Path], Option(metavar="[DIR]...", help="leave out copies of these photos too")
    ] = [],
    run_folder: Annotated[
        Path | None,
        Option(
            "--run",
            metavar="DIR",
            help="the run's folder, continued where it has a checkpoint (default: runs/ and the method's name)",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="for the product's net lite, the default, realism, its last stage, from-imagenet or finetune, for few photographs of "
            "your own; for a backbone small, the default; a paper's: doersch2015, zhang2016, chen2020; tiny, to see that it runs",
        ),
    ] = None,
    settings: Annotated[
        list[str],
        Option(
            "--set",
            metavar="[NAME=VALUE]...",
            help="other values than the recipe's, such as lr=5e-4 sides=128,160 start=runs/first",
        ),
    ] = [],
    steps: Annotated[int | None, Option(help="other than the recipe's")] = None,
    seconds: Annotated[
        float | None,
        Option(help="as many steps, with their validations, as fit into this time on this machine"),
    ] = None,
    extend: Annotated[bool, Option("--extend", help="go on with a finished run, up to --steps")] = False,
    seed: Annotated[int | None, Option(help="other than the recipe's")] = None,
    workers: Annotated[
        int | None,
        Option(metavar="N", help="processes that decode photos into the cache (default: one a core)"),
    ] = None,
    save_every: Annotated[float, Option(metavar="S", help="seconds between checkpoints")] = _SAVE_EVERY_S,
    cache: Annotated[Path, Option(metavar="DIR", help="for the photos, decoded once")] = CACHE,
    device: Device = "auto",
) -> int:
    """Train a method by a configuration, continuing the run's checkpoint where there is one."""
    run = run_folder or Path("runs") / method
    if method == "adapt":
        from model.commands.adapt import adapt

        of_training = (hold_out, save_every, cache) != (_HOLD_OUT, _SAVE_EVERY_S, CACHE)
        if (
            settings
            or apart_from
            or extend
            or of_training
            or {recipe, steps, seconds, seed, workers} != {None}
        ):
            raise InputError(
                "adapt takes no steps, it measures batch norm's statistics anew by --photos, --exclude, --net and --device, into --run"
            )
        return adapt(photos, exclude, net or "lite", device, run)

    from model.training import data, distributed, runs, session
    from model.training.trainer import StoppedError

    if extend:
        config = session.extended(run, steps)
        if method != config.method:
            raise InputError(f"{run} trains {config.method}, not {method}")
        if settings or recipe or net or {seconds, seed} != {None}:
            raise InputError("a run is extended as it was begun: --extend takes --steps alone")
    else:
        if steps is not None and seconds is not None:
            raise InputError("--steps and --seconds both say how long: give one of them")
        config = session.configured(method, net, recipe, settings, steps, seed)
    with distributed.joined(device) as place:
        begun = time.monotonic()
        is_first = distributed.place()[0] == 0
        if not extend:  # what is extended was built before
            session.check(config, run)
        sources, held, left_out = session.photographs(
            config,
            photos,
            exclude=exclude,
            hold_out=hold_out,
            apart_from=apart_from,
            folder=cache,
            workers=workers,
        )
        if is_first:
            print(
                f"{sum(map(len, sources))} photographs to learn from, {sum(map(len, held))} held out; "
                f"left out: {data.counted(left_out)}"
            )
            # A run that goes on has the same photographs, or is refused.
            if not (run / runs.CHECKPOINT).exists():
                data.write_names(left_out, run)
        try:
            if seconds is not None and (run / runs.CHECKPOINT).exists():
                config = session.as_begun(config, run)
                if is_first:
                    print(
                        f"the run goes on to the {config.steps} steps that it was begun with, however long they take"
                    )
            elif seconds is not None:
                left = seconds - (time.monotonic() - begun)
                config = session.fitting(config, sources, held, place, left)
                if is_first:
                    print(f"{config.steps} steps of {config.batch} photographs fit into {left:.0f} seconds")
            stop = threading.Event()
            with interruptible(stop) as interrupted:
                trained = session.learn(config, sources, run, place, held, save_every, stop.is_set)
        except StoppedError as stopped:
            if is_first:
                print(f"{stopped}; the same command goes on from there, in {run}")
            return 128 + (interrupted[0] if interrupted else signal.SIGTERM)
        if is_first:
            for sentence in session.conclude(trained, config, held, run, place):
                print(sentence)
    return 0


@training.command(short_help="stop where it stands, and keep it in memory")
def pause(run_folder: Run = Path("runs/colorize")) -> int:
    """Stop the run's process where it stands. It keeps its memory and takes no time of the machine; nothing is lost.

    A run of several processes, by torchrun, is not paused: the others would wait for the first, and give up.
    """
    process, together = _processes(run_folder)
    if together > 1:
        raise InputError(
            f"{together} processes train in {run_folder}, which wait for each other and give up when one is paused: "
            "Ctrl-C ends them at a checkpoint, and the command that began the run continues it"
        )
    os.kill(process, signal.SIGSTOP)
    print(f"{run_folder} is paused")
    return 0


@training.command(short_help="let it go on")
def resume(run_folder: Run = Path("runs/colorize")) -> int:
    """Let a paused run go on. One that has ended or was killed goes on by the command that began it."""
    os.kill(_processes(run_folder)[0], signal.SIGCONT)
    print(f"{run_folder} goes on")
    return 0


def _processes(run: Path) -> tuple[int, int]:
    """(pid, how many train with it) of the process that trains there."""
    from model.training import runs

    found = runs.training_processes(run)
    if found is None:
        raise InputError(f"nothing trains in {run} now; the command that began a run continues it")
    return found
