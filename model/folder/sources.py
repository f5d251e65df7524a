"""Which photographs a command line names: files, and what lies in folders, each with the name that its result begins from.

What is passed over without a word is what systems put beside photographs (`._IMG_1.jpg`, `@eaDir`, `Thumbs.db`). Everything else that is
no photograph, or cannot be reached, is kept by name, so that a summary can say it. Needs neither numpy nor Pillow.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from model.errors import PhotoError
from model.image_headers import ENDINGS, Limits, probe

PHOTO_ENDINGS: Final = frozenset(ending for endings in ENDINGS.values() for ending in endings)
"""In small letters, with the dot: how files of the formats that are taken are named."""
_JUNK_NAMES: Final = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r", "picasa.ini", ".picasa.ini"}
)
_JUNK_FOLDERS: Final = frozenset(
    {"@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information", "lost+found", "@tmp"}
)
_JUNK_PREFIXES: Final = (
    "._",
    ".autochrome",
    ".trash",
    ".spotlight-",
    ".fseventsd",
    ".documentrevisions-",
    ".temporaryitems",
)
"""`._` begins Apple's doubles of files, `.autochrome` what this program keeps in a folder of results."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be colored. `key` is its absolute path, by which a manifest knows it; `name` is where its result goes, under OUT."""

    path: Path
    key: str
    name: PurePosixPath


@dataclass(slots=True)
class Found:
    """What a command line names. All lists are in the order in which they were found; folders are walked by name."""

    photos: list[Source] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    """Files of other kinds, and what is no file: pipes, devices."""
    links: list[Path] = field(default_factory=list)
    """Links to folders, which are not followed."""
    closed: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that cannot be read, and why."""
    within: list[Path] = field(default_factory=list)
    """Photographs in OUT that are no sources: a result that was named, or what no manifest knows in an OUT inside a folder given."""


def identity(path: Path) -> tuple[int, int] | None:
    """(device, inode) of what is there, behind any link; None where nothing is. However its path is written, a file has one identity."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def absolute(path: Path) -> str:
    """The path by which a file is known: absolute, its folder's links resolved, its own name kept."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118  (`/` would drop a name of `..`)


def folded(name: str) -> str:
    """Two names that a file system may take for one are one when folded: letter case, and composed or decomposed accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def find(given: Sequence[Path], out: Path | None = None, results: frozenset[str] = frozenset()) -> Found:
    """The photographs in the files and folders `given`. A file counts whatever its name; in a folder its ending must be a photo's, or it
    has none and the header of one.

    What lies in one folder keeps its place under OUT; what lies in several, below the name of each. `results` are absolute paths that a
    manifest knows as results: they are no sources. Nothing in OUT is a source where OUT lies inside a folder given.
    """
    found = Found()
    known: set[str] = set()
    folders = [path for path in given if path.is_dir()]
    prefixes = _prefixes(folders)
    place = identity(out) if out is not None else None

    def add(path: Path, name: PurePosixPath) -> None:
        key = absolute(path)
        if key not in known and key not in results:
            known.add(key)
            found.photos.append(Source(path, key, name))

    for path in given:
        if path not in prefixes:
            if absolute(path) in results:
                found.within.append(path)
            else:
                add(path, PurePosixPath(path.name or str(path)))
            continue
        for file, inside_out in _walk(path, place, found):
            if not _is_photo(file):
                if not inside_out and absolute(file) not in results:
                    found.others.append(file)
            elif inside_out:
                if absolute(file) not in results:
                    found.within.append(file)
            else:
                add(file, PurePosixPath(prefixes[path], *file.relative_to(path).parts))
    return found


def _prefixes(folders: Sequence[Path]) -> dict[Path, str]:
    """For each folder, what its photographs' names begin with: nothing where there is one folder, else its name, unlike the others'."""
    distinct = {identity(folder): folder for folder in reversed(folders)}
    if len(distinct) <= 1:
        return dict.fromkeys(folders, "")
    names: dict[Path, str] = {}
    for folder in folders:
        if folder in names:
            continue
        name = Path(os.path.realpath(folder)).name or "root"
        number, free = 1, name
        while folded(free) in {folded(other) for other in names.values()}:
            number += 1
            free = f"{name} ({number})"
        names[folder] = free
    return names


def _walk(top: Path, out: tuple[int, int] | None, found: Found) -> Iterator[tuple[Path, bool]]:
    """Every file below `top`, by name, and whether it lies in OUT, which lies below `top`."""
    waiting = [(top, False)]
    while waiting:
        folder, inside_out = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.closed.append((folder, error.strerror or str(error)))
            continue
        below: list[tuple[Path, bool]] = []
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                if not _is_junk_folder(entry.name):
                    below.append((path, inside_out or (out is not None and identity(path) == out)))
            elif entry.is_symlink() and path.is_dir():
                if not _is_junk_folder(entry.name):
                    found.links.append(path)
            elif not _is_junk(entry.name):
                yield path, inside_out
        waiting += reversed(below)


def _is_photo(path: Path) -> bool:
    """By its ending, also where it cannot be reached; where it has none, by its header.

    A pipe or a device is none, whatever its name: it would be read without an end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
    except OSError:
        return path.suffix.lower() in PHOTO_ENDINGS
    return path.suffix.lower() in PHOTO_ENDINGS or (not path.suffix and _has_photo_header(path))


def _has_photo_header(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            probe(file, Limits.none())
    except (PhotoError, OSError):
        return False
    return True


def _is_junk(name: str) -> bool:
    small = name.lower()
    return small in _JUNK_NAMES or small.startswith(_JUNK_PREFIXES)


def _is_junk_folder(name: str) -> bool:
    small = name.lower()
    return small in _JUNK_FOLDERS or small.startswith(_JUNK_PREFIXES)
