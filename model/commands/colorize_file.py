"""Color one photograph into a file or through a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from model.commands.coloring import PIPE, Asked, loading
from model.commands.terminal import shown
from model.errors import InputError, PhotoError

if TYPE_CHECKING:
    from model.folder.recipe import Output, Recipe


def is_one_file(photos: Sequence[Path], out: Path) -> bool:
    """Whether OUT is meant as a file: one photo goes in, and OUT is a pipe or has a photo's ending and is no folder."""
    from model.folder.sources import PHOTO_ENDINGS

    if out != PIPE and (out.is_dir() or out.suffix.lower() not in PHOTO_ENDINGS):
        return False
    if len(photos) == 1 and not photos[0].is_dir():
        return True
    if out == PIPE:
        raise InputError("only one photo goes through a pipe; name a folder for several")
    raise InputError(f"{out} is the name of one photo, and several are to be colored; name a folder")


def into_file(asked: Asked) -> int:
    """Color the one photo. Returns the exit status, 0 or 1; raises InputError for a target that cannot be written or is not to be."""
    from model.folder import recipe as recipes

    [photo] = asked.photos
    recipe = asked.recipe if asked.out == PIPE else _saved_as(asked)
    _check_target(asked)
    if asked.dry_run:
        print(f"{shown(photo)} -> {shown(asked.out)}")
        return 0
    try:
        with loading(asked) as net:
            data, times = _read(photo)
            made = recipes.make(data, recipe, net.result, lambda: None, photo.name)
    except PhotoError as error:
        print(f"{shown(photo)}: {error.detail}", file=sys.stderr)
        return 1
    for notice in made.notices:
        if not asked.quiet:
            print(f"{shown(photo)}: {notice.detail}", file=sys.stderr)
    _write(asked, recipe, made.outputs, times if recipe.keeps_time else None)
    return 0


def _saved_as(asked: Asked) -> Recipe:
    """The recipe with the format that the ending of OUT says. InputError where that cannot be written, or --format says another."""
    from model.image_headers import ENDINGS
    from model.image_io import WRITABLE

    ending = asked.out.suffix.lower()
    by_ending = [format for format in WRITABLE if ending in ENDINGS[format]]
    if not by_ending:
        raise InputError(
            f"{asked.out}: {ending} files cannot be written; choose one of {', '.join(WRITABLE)}"
        )
    wanted = asked.recipe.save.format
    if wanted not in (None, by_ending[0]):
        raise InputError(f"{asked.out} is no name for {wanted}; leave --format out, or change the ending")
    return replace(asked.recipe, save=replace(asked.recipe.save, format=by_ending[0]))


def _check_target(asked: Asked) -> None:
    """That the result may be written, before any work is done."""
    from model.folder import manifest, results, sources

    [photo] = asked.photos
    if asked.recipe.page == "all":
        raise InputError("all pages do not fit into one file; name a folder")
    if asked.recipe.separate and asked.out != PIPE:
        raise InputError("--separate writes three pictures, which do not fit into one file; name a folder")
    if asked.recipe.alternatives:
        raise InputError(
            "alternatives are pictures of their own, which do not fit into one file; name a folder"
        )
    if asked.out == PIPE:
        recipe = asked.recipe
        if recipe.sidecar or recipe.separate or recipe.confidence or recipe.distribution:
            raise InputError(
                "only one file goes through a pipe: --sidecar, --separate, --confidence and --distribution need a name for OUT"
            )
        if sys.stdout.isatty() and not asked.dry_run:
            raise InputError("standard output is a terminal: lead it into a file, or name one by -o")
        return
    if photo != PIPE and sources.identity(photo) == sources.identity(asked.out) is not None:
        raise InputError(f"{asked.out} is the photo itself, which is never written over; choose another name")
    originals = {entry.source for entry in manifest.read(asked.out.parent).entries()}
    if sources.absolute(asked.out) in originals:
        raise InputError(f"{asked.out} is a photo that was colored before, an original; choose another name")
    if os.path.lexists(asked.out) and not asked.overwrite:
        raise InputError(f"{asked.out} is there already; --overwrite replaces it")
    if asked.dry_run:
        return
    try:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        results.sweep(asked.out.parent, below=False)
    except OSError as error:
        raise InputError(f"{asked.out.parent} cannot be written: {error.strerror}") from error


def _read(photo: Path) -> tuple[bytes, tuple[int, int] | None]:
    """The bytes of a file and its times, or what comes from standard input. Raises PhotoError where it cannot be read."""
    if photo == PIPE:
        return sys.stdin.buffer.read(), None
    try:
        with photo.open("rb") as file:
            status = os.fstat(file.fileno())
            return file.read(), (status.st_atime_ns, status.st_mtime_ns)
    except OSError as error:
        raise PhotoError("photo_unreadable", error.strerror or str(error)) from error


def _write(asked: Asked, recipe: Recipe, outputs: Sequence[Output], times: tuple[int, int] | None) -> None:
    from model.folder import results

    names: dict[str, Path] = {}
    for output in outputs:
        if asked.out == PIPE:
            sys.stdout.buffer.write(output.data)
            sys.stdout.buffer.flush()
            return
        if output.beside:
            beside = results.beside(PurePosixPath(names[output.beside].name), output.ending)
            target = asked.out.parent / beside
        else:
            target = asked.out
            if output.format != recipe.save.format:
                raise InputError(
                    f"the photo cannot be saved as {recipe.save.format}, which does not hold its transparent parts or its size; "
                    f"as {output.format} it can: change the ending"
                )
        names[output.role] = target
        results.put(target, output.data, asked.overwrite, times)
    if not asked.quiet:
        print(f"1 of 1 colored into {shown(asked.out)}")
