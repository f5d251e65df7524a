"""Photos in tar files, read where they lie. A million small files are slow to list, to copy and to open; some hundred tars are not.

A photo in one has the path of the tar with its name below it, `shard-0007.tar/n01440764/x.jpg`, and is used like any other. Nothing is
unpacked, and any photo can be read at any time, so that a run goes on in the middle of a shard as it does in a folder.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

SUFFIX = ".tar"


def members(shard: Path) -> list[Path]:
    """All files in it, in order. Raises OSError that names a tar that cannot be read."""
    return [shard / name for name in _index(shard)]


def holds(path: Path) -> bool:
    """Whether this is the path of something in a tar."""
    return file(path) != path


def file(path: Path) -> Path:
    """What there is on the disk of this path: the tar that it lies in, else itself."""
    return next((parent for parent in path.parents if parent.suffix == SUFFIX), path)


def read(path: Path) -> bytes:
    """A file's bytes. Raises OSError where it is not there, or cut off."""
    shard = file(path)
    found = _index(shard).get(path.relative_to(shard).as_posix())
    if found is None:
        raise FileNotFoundError(f"{shard} holds no {path.relative_to(shard)}")
    offset, size = found
    opened = os.open(shard, os.O_RDONLY)
    try:
        data = os.pread(opened, size, offset)
    finally:
        os.close(opened)
    if len(data) < size:
        raise OSError(f"{path} is cut off")
    return data


@lru_cache(maxsize=4096)
def _index(shard: Path) -> Mapping[str, tuple[int, int]]:
    """Where each file's bytes lie: name → offset, size."""
    try:
        with tarfile.open(shard, "r:") as tar:
            return {
                member.name.removeprefix("./"): (member.offset_data, member.size)
                for member in tar
                if member.isfile()
            }
    except tarfile.TarError as error:
        raise OSError(f"{shard} is no tar that can be read: {error}") from error
