"""Color photographs into a folder: what is done already is left, what is bad is named, and an interrupted run goes on another time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model.commands.coloring import PIPE, Asked, loading
from model.commands.interruption import interruptible
from model.commands.summary import Telling, is_any_left, left_alone
from model.commands.terminal import shown
from model.errors import InputError, PhotoError

if TYPE_CHECKING:
    from model.folder.manifest import Manifest
    from model.folder.sources import Found

_MOST_JOBS: Final = 16
"""By default: beyond, the interpreter's lock is what they wait for."""


def into_folder(asked: Asked) -> int:
    """Color all photographs that are found. Returns the exit status, as `Telling.status`; raises InputError where there are none."""
    from model.folder import manifest, sources

    if PIPE in asked.photos:
        raise InputError("a photo from standard input has no name: give -o a file or -")
    found = sources.find(asked.photos, asked.out, manifest.read(asked.out).results())
    if not found.photos:
        said = "; ".join(left_alone(found))
        where = ", ".join(map(shown, asked.photos))
        raise InputError(f"there are no photographs in {where}{f' ({said})' if said else ''}")
    if asked.dry_run:
        return _plan(asked, found)
    with _writable(asked.out) as record:
        return _color_all(asked, found, record)


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[Manifest]:
    """The manifest of OUT. What nothing can be written to is said before any work is done."""
    from model.folder import manifest, results

    with contextlib.ExitStack() as stack:
        try:
            record = stack.enter_context(manifest.opened(out))
            results.sweep(out)
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror}") from error
        yield record


def _color_all(asked: Asked, found: Found, record: Manifest) -> int:
    from model.folder import pipeline
    from model.folder.run import Run
    from model.machine import cores

    jobs = min(asked.jobs or min(cores(), _MOST_JOBS), len(found.photos))
    room = pipeline.Room(pipeline.memory_at_once(jobs))
    telling = Telling(len(found.photos), asked)
    with loading(asked) as net:
        run = Run(record, found.photos, asked.recipe, net.result, room, asked.overwrite, alone=jobs == 1)
        with interruptible(run.stop) as interrupted, telling.log:
            outcomes = pipeline.run(run.sources, run.color, jobs, run.stop)
            try:
                net.result()
            except BaseException:
                run.stop.set()
                raise
            for outcome in outcomes:
                telling.tell(outcome)
    if run.stopped_by is not None:
        print(
            f"{shown(asked.out)}: {run.stopped_by.strerror}: stopped; the same command goes on",
            file=sys.stderr,
        )
    telling.sum_up(found)
    if interrupted:
        return 128 + interrupted[0]
    return telling.status(found)


def _plan(asked: Asked, found: Found) -> int:
    """What a run would do. The formats are those that the files' headers promise."""
    from model.folder import manifest, pipeline, recipe
    from model.folder.run import Run

    record = manifest.read(asked.out)
    failed = bool(found.closed)
    with loading(asked) as net:
        net.result()
        run = Run(record, found.photos, asked.recipe, net.result, pipeline.Room(1), asked.overwrite)
        for source in found.photos:
            if done := run.done(source):
                print(f"{shown(source.path)}: {done.detail or 'done already'}")
                continue
            try:
                with source.path.open("rb") as file:
                    format = recipe.likely_format(file, asked.recipe)
            except (PhotoError, OSError) as error:
                failed = True
                said = error.detail if isinstance(error, PhotoError) else error.strerror
                print(f"{shown(source.path)}: {said}")
                continue
            print(f"{shown(source.path)} -> {shown(asked.out / run.planned(source, format))}")
    for line in left_alone(found):
        print(f"left alone: {line}")
    return 1 if failed else 3 if is_any_left(found) else 0
