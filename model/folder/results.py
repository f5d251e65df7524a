"""Where results go: a name of its own for each, and files that are put in their places whole.

No file is ever replaced but one that the manifest knows as made by us of the same photo, and that nobody has changed since. So an original
cannot be lost, whether IN and OUT are one folder, are reached by links, or lie on a file system that does not tell letter cases apart.
Needs neither numpy nor Pillow.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from model.folder.manifest import Manifest, Stamp, Written
from model.folder.sources import PHOTO_ENDINGS, Source, folded, identity
from model.image_headers import ENDINGS

_PART: Final = ".autochrome-{}.part"
_LONGEST_NAME: Final = 255
"""Bytes of one name, on nearly every file system."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

Times = tuple[int, int]
"""Of access and of modification, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Name:
    """What the name of a photo's result begins from. `shared`: others there differ from it by their ending alone, or by letter case."""

    path: PurePosixPath
    shared: bool = False

    def saved_as(self, format: str, part: str = "") -> PurePosixPath:
        """With the ending of a format, and ` (part)` before it.

        An ending of that format is kept. Another photo's ending gives way to it, or stays before it where the name is shared, as in
        `scan.bmp.png`. What is no photo's ending, as in `Vilna 12.5.1931`, stays in any case.
        """
        ending = self.path.suffix.lower()
        if ending in ENDINGS[format]:
            stem, ending = self.path.stem, self.path.suffix
        else:
            stem = self.path.stem if ending in PHOTO_ENDINGS and not self.shared else self.path.name
            ending = ENDINGS[format][0]
        return self.path.parent / _fitting(stem, f" ({part}){ending}" if part else ending)


def names(sources: Sequence[Source]) -> dict[str, Name]:
    """For the key of each source the name that its result begins from, unlike all others even where letter case does not count.

    The names do not depend on what the files hold: they are the same in every run with the same photos.
    """
    by_stem: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        has_ending = source.name.suffix.lower() in PHOTO_ENDINGS
        by_stem[folded(str(source.name.with_suffix("") if has_ending else source.name))].append(source)
    chosen: dict[str, Name] = {}
    for group in by_stem.values():
        taken: set[str] = set()
        for source in group:
            path, number = source.name, 1
            while folded(str(path)) in taken:
                number += 1
                path = _with_word(source.name, str(number))
            taken.add(folded(str(path)))
            chosen[source.key] = Name(path, shared=len(group) > 1)
    return chosen


class Places:
    """The names in a folder of results, claimed one by one by the threads of a run."""

    def __init__(
        self, manifest: Manifest, chosen: Mapping[str, Name], originals: frozenset[tuple[int, int]]
    ) -> None:
        """`chosen`: see `names`. What a photo's result begins from is left to it by all others.

        `originals`: the identities of photos whose place no result may take.
        """
        self._manifest = manifest
        self._originals = originals
        self._lock = threading.Lock()
        self._owners = {folded(name): source for name, source in manifest.owners().items()}
        for source, name in chosen.items():
            self._owners.setdefault(folded(str(name.path)), source)

    def inherit(self, source: str, names: Iterable[str]) -> None:
        """These names are those of `source` now: its photo has moved."""
        with self._lock:
            self._owners.update((folded(name), source) for name in names)

    def claim(self, source: str, wanted: PurePosixPath, anew: bool = False) -> tuple[str, bool]:
        """The name for a result of `source`: `wanted`, or the next one that nobody has; and whether there is one of ours to be replaced.

        `anew`: also a result of ours that somebody has changed since may be replaced.
        """
        with self._lock:
            for name in _candidates(wanted):
                owner = self._owners.get(folded(str(name)))
                if owner is not None and owner != source:
                    continue
                target = self._manifest.folder / name
                exists = os.path.lexists(target)
                if exists and not self._manifest.is_ours(source, str(name), anew):
                    continue
                if exists and identity(target) in self._originals:
                    continue
                self._owners[folded(str(name))] = source
                return str(name), exists
        raise FileExistsError(errno.EEXIST, "no name is free for the result", str(wanted))


def beside(name: PurePosixPath, ending: str) -> PurePosixPath:
    """The name of a file that stands beside a result, as in `cat.jpg.json`."""
    return name.parent / _fitting(name.name, ending)


def planned(role: str, name: str, data: bytes) -> Written:
    """What a manifest says of a file that is about to be written: its times are not known yet."""
    return Written(role, name, Stamp(len(data), 0, 0, hashlib.sha256(data).hexdigest()))


def put(target: Path, data: bytes, may_replace: bool, times: Times | None = None) -> Stamp:
    """Write a file whole or not at all, whenever we are stopped; its stamp. OSError where that fails, FileExistsError for one there.

    The name it is written under first is short, since the target's may be as long as a file system allows.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / _PART.format(f"{os.getpid()}-{threading.get_native_id()}")
    try:
        with part.open("wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # held while we live: `sweep` leaves it alone
            file.write(data)
            file.flush()
            if times is not None:
                os.utime(file.fileno(), ns=times)
            os.fsync(file.fileno())  # or else the manifest could outlive a power cut, and the result not
            _rename(part, target, may_replace)
    finally:
        part.unlink(missing_ok=True)
    return Stamp.of(target.stat(), hashlib.sha256(data).hexdigest())


def sweep(folder: Path, below: bool = True) -> int:
    """Remove what killed processes left half written in `folder`, and in folders `below` it; how many files."""
    removed = 0
    pattern = _PART.format("*")
    for part in folder.rglob(pattern) if below else folder.glob(pattern):
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where its process lives
            part.unlink()
            removed += 1
    return removed


def check_writable(folder: Path) -> None:
    """Write into a folder for a try, and remove it again. OSError where that fails: read-only, or full."""
    put_there = folder / _PART.format(f"{os.getpid()}-try")
    try:
        with put_there.open("wb", buffering=0) as file:
            file.write(bytes(1 << 16))
            os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            put_there.unlink(missing_ok=True)


def is_final(error: OSError) -> bool:
    """Whether no other photo can be written either: the disk is full or read-only."""
    return error.errno in _FULL


def _rename(part: Path, target: Path, may_replace: bool) -> None:
    if may_replace:
        part.replace(target)
        return
    try:
        os.link(part, target)  # fails where somebody has put a file there since we looked
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "a file is there already", str(target)) from None
        part.replace(target)


def _candidates(wanted: PurePosixPath) -> Iterator[PurePosixPath]:
    yield wanted
    yield _with_word(wanted, "colored")
    for number in range(2, 10_000):
        yield _with_word(wanted, f"colored {number}")


def _with_word(name: PurePosixPath, word: str) -> PurePosixPath:
    return name.parent / _fitting(name.stem, f" ({word}){name.suffix}")


def _fitting(stem: str, ending: str) -> str:
    """Both together, with the stem cut where a file system could not hold the name. No character is cut in two."""
    while stem and len(os.fsencode(stem + ending)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + ending
