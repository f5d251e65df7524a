"""Photographs decoded once, as bytes in one file that lies in memory, and which of them are used.

A set in the cache is no work for a training loop: what crops and colors a method wants to see it makes of these bytes on its device.
24,000 photographs with a shorter side of 160 pixels and a longer one of up to 1.6 times that are 2.3 GB.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model import machine
from model.errors import InputError
from model.training import data

_SHORTEST = 32  # pixels of the shorter side: a photo of less is left out
_REASONS = ("unreadable", "tiny", "missing", "gray", "toned", "copies")


@dataclass(frozen=True)
class Shape:
    """What becomes of a photo in the cache.

    `aspect`: its longer side is at most so many times the shorter one; the rest is cut off at both ends. `enlarge`: a photo whose shorter
    side has less than `side` pixels is enlarged, up to twice, and left out beyond that, since the net would learn how enlarging looks;
    otherwise it stays as small as it is, down to 32 pixels.
    """

    side: int
    aspect: float = 1.0
    enlarge: bool = True

    def __post_init__(self) -> None:
        if self.side < 1 or not self.aspect >= 1:
            raise InputError(
                f"photos are cached with a shorter side of 1 pixel or more and an aspect of 1 or more, "
                f"not {self.side} and {self.aspect}"
            )


@dataclass(frozen=True)
class Cache:
    """The photographs that can be used, in their order, and which could not be."""

    pixels: NDArray[np.uint8]
    """All bytes; photo i is a (3, height, width) array from `starts[i]` on."""
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    """(N, 2): height and width of each."""
    photos: tuple[Path, ...]
    statistics: tuple[data.PhotoStatistics, ...]
    left_out: data.LeftOut

    def __len__(self) -> int:
        return len(self.photos)

    def photo(self, number: int) -> NDArray[np.uint8]:
        """(3, H, W) uint8."""
        height, width = map(int, self.sizes[number])
        start = int(self.starts[number])
        return self.pixels[start : start + 3 * height * width].reshape(3, height, width)

    @property
    def squares(self) -> NDArray[np.uint8]:
        """(N, 3, S, S) uint8. InputError where photos are not square, or not of one size."""
        side = int(self.sizes[0, 0])
        if (self.sizes != side).any():
            raise InputError("these photos have several shapes: cache them as squares")
        in_order = np.arange(len(self)) * 3 * side**2
        if 3 * side**2 * len(self) == len(self.pixels) and np.array_equal(self.starts, in_order):
            return self.pixels.reshape(len(self), 3, side, side)
        return np.stack([self.photo(number) for number in range(len(self))])

    def labels(self) -> tuple[Tensor, tuple[str, ...]]:
        """(N,) each photograph's class, which is its folder; and the classes' names, sorted."""
        names = tuple(sorted({path.parent.name for path in self.photos}))
        places = {name: place for place, name in enumerate(names)}
        return torch.tensor([places[path.parent.name] for path in self.photos]), names

    def only(self, numbers: Sequence[int]) -> Cache:
        """Of these photos alone; what was left out is not said again."""
        chosen = np.asarray(numbers, np.int64)
        photos = tuple(self.photos[number] for number in numbers)
        statistics = tuple(self.statistics[number] for number in numbers)
        return replace(
            self,
            starts=self.starts[chosen],
            sizes=self.sizes[chosen],
            photos=photos,
            statistics=statistics,
            left_out={},
        )


def build(photos: Sequence[Path], side: int | Shape, folder: Path, workers: int | None = None) -> Cache:
    """The cache of these photographs as they are now: the file in `folder`, written if it is not there.

    `side`: a `Shape`, or the side of squares. `workers` decode; by default as many as this process may use cores. Raises InputError if no
    photograph can be used.
    """
    shape = side if isinstance(side, Shape) else Shape(side)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(photos, shape)}-{shape.side}.u8"
    index = file.with_suffix(".npz")
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one decodes, and the others wait for it
        if not index.exists():
            # By default not `machine.cores`: torchrun sets OMP_NUM_THREADS=1.
            _write(photos, shape, file, workers or machine.cores_allowed())
    found = np.load(index)
    kinds = found["kinds"]
    used = tuple(path for path, kind in zip(photos, kinds, strict=True) if kind == "used")
    left_out = {
        reason: tuple(path for path, kind in zip(photos, kinds, strict=True) if kind == reason)
        for reason in ("unreadable", "tiny", "missing")
    }
    if not used:
        raise InputError(f"none of {len(photos)} photographs can be used: {data.counted(left_out)}")
    sizes = found["sizes"]
    lengths = 3 * sizes.prod(1)
    statistics = tuple(
        map(data.PhotoStatistics, found["chroma"].tolist(), found["stray"].tolist(), found["hashes"].tolist())
    )
    pixels = np.memmap(
        file, np.uint8, "c"
    )  # as PyTorch wants what it reads to be writable; the file stays as it is
    return Cache(pixels, np.cumsum(lengths) - lengths, sizes, used, statistics, left_out)


def _key(photos: Sequence[Path], shape: Shape) -> str:
    """By names, sizes and times: synthetic pictures of other switches, for one, have the same names."""
    digest = hashlib.sha256(f"{data.fingerprint(photos)} {shape}".encode())
    for path in photos:
        try:
            digest.update(f"{data.on_disk(path).stat().st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"missing\n")
    return digest.hexdigest()[:16]


def _write(photos: Sequence[Path], shape: Shape, file: Path, workers: int) -> None:
    """First the pixels, then what became of each photo: where the second is, the first is whole."""
    half_written = file.with_suffix(".new")
    kinds: list[str] = []
    sizes: list[tuple[int, int]] = []
    statistics: list[data.PhotoStatistics] = []
    with (
        ProcessPoolExecutor(
            workers, _processes(), initializer=_begin_worker, initargs=(os.getpid(),)
        ) as pool,
        half_written.open("wb") as pixels,
    ):
        for made in pool.map(_decoded, photos, repeat(shape), chunksize=32):
            if isinstance(made, str):
                kinds.append(made)
                continue
            picture, seen = made
            pixels.write(picture.tobytes())
            kinds.append("used")
            sizes.append(picture.shape[1:])
            statistics.append(seen)
    half_written.replace(file)
    with half_written.open("wb") as index:
        np.savez(
            index,
            kinds=np.array(kinds),
            sizes=np.array(sizes, np.int64).reshape(-1, 2),
            chroma=[seen.chroma for seen in statistics],
            stray=[seen.stray for seen in statistics],
            hashes=np.array([seen.hash for seen in statistics], np.uint64),
        )
    half_written.replace(file.with_suffix(".npz"))


def _processes() -> BaseContext:
    """On Linux forked from this one, which a worker ends with; a server that forks them, Python 3.14's default, would go on."""
    return get_context("fork" if sys.platform == "linux" else None)


def _begin_worker(parent: int) -> None:
    # Else it would wait for ever for more photos, and hold the cache's lock, which it has inherited.
    machine.end_with(parent)
    # At operations as small as a photo's, threads only wait for one another.
    torch.set_num_threads(1)


def _decoded(path: Path, shape: Shape) -> tuple[NDArray[np.uint8], data.PhotoStatistics] | data.Fault:
    """(3, H, W) of a photo: its shorter side reduced to `side`, bicubic, the middle of its longer side; or why not."""
    shortest = shape.side / 2 if shape.enlarge else _SHORTEST
    pixels = data.read_or_fault(path, shortest, at_least=2 * shape.side)
    if isinstance(pixels, str):
        return pixels
    height, width = pixels.shape[:2]
    short = min(height, width)
    box_height, box_width = (min(length, round(shape.aspect * short)) for length in (height, width))
    left, top = (width - box_width) / 2, (height - box_height) / 2
    side = shape.side if shape.enlarge else min(shape.side, short)
    size = round(box_width * side / short), round(box_height * side / short)
    image = Image.fromarray(pixels).resize(
        size, Image.Resampling.BICUBIC, (left, top, left + box_width, top + box_height), reducing_gap=3.0
    )
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)), data.photo_statistics(pixels)


def colorful(caches: Sequence[Cache], apart_from: Sequence[Cache] = ()) -> tuple[list[Cache], data.LeftOut]:
    """The color photographs of each cache, each photograph once; and all that is left out of them, by why.

    Nothing is learned about color from gray and toned photos. A copy of an earlier color photo, or of any of `apart_from`, is left out:
    with copies of held-out photographs an evaluation would be wrong.
    """
    out: dict[str, list[Path]] = {reason: [] for reason in _REASONS}
    seen = [each.hash for cache in apart_from for each in cache.statistics]
    colors = [each.hash for cache in caches for each in cache.statistics if not each.fault]
    repeats = iter(data.copies(seen + colors)[len(seen) :])  # one for each photo that has colors
    kept: list[Cache] = []
    for cache in caches:
        for reason, paths in cache.left_out.items():
            out[reason] += paths
        numbers = []
        for number, (path, each) in enumerate(zip(cache.photos, cache.statistics, strict=True)):
            reason = each.fault or ("copies" if next(repeats) else "")
            if reason:
                out[reason].append(path)
            else:
                numbers.append(number)
        kept.append(cache.only(numbers))
    return kept, {reason: tuple(paths) for reason, paths in out.items()}


def held_out(cache: Cache, tenths: int) -> tuple[Cache, Cache]:
    """The cache without, and of, the photographs that `data.split` holds out."""
    held = set(data.split(cache.photos, tenths)[1])
    inside = [path in held for path in cache.photos]
    numbers = range(len(cache))
    return (
        cache.only([number for number in numbers if not inside[number]]),
        cache.only([number for number in numbers if inside[number]]),
    )
