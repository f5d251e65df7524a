"""Photographs decoded once, as squares in one file that lies in memory: a small set is then no work for a training loop at all.

Imagenette's 9,469 photographs at 160 pixels are 727 MB. What crops and colors a method wants to see it makes of these on its device.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from model import datasets, shards


@dataclass(frozen=True)
class Cache:
    """The squares of those photographs that can be used, in their order."""

    squares: NDArray[np.uint8]
    """(N, 3, S, S)."""
    photos: tuple[Path, ...]
    unreadable: tuple[Path, ...]
    """Damaged, animated, or no photo at all."""
    tiny: tuple[Path, ...]
    """Shorter than half the square's side: enlarged, they would teach how enlarging looks."""
    missing: tuple[Path, ...] = ()
    """In a list, but not there; or gone since it was listed."""

    def left_out(self) -> datasets.LeftOut:
        """For `datasets.counted` and `datasets.write_names`."""
        return {"unreadable": self.unreadable, "tiny": self.tiny, "missing": self.missing}

    def labels(self) -> tuple[Tensor, tuple[str, ...]]:
        """(N,) each photograph's class, which is its folder; and the classes' names, sorted."""
        names = tuple(sorted({path.parent.name for path in self.photos}))
        return torch.tensor([names.index(path.parent.name) for path in self.photos]), names


def build(photos: Sequence[Path], side: int, folder: Path, workers: int = 2) -> Cache:
    """The cache of these photographs as they are now: the file in `folder`, written if it is not there.

    Raises ValueError if no photograph can be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(photos)}-{side}.u8"
    facts = file.with_suffix(".json")
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one decodes, and the others wait for it
        if not facts.exists():
            _write(photos, side, file, workers)
    kinds = json.loads(facts.read_text())
    used, unreadable, tiny, missing = (
        tuple(path for path, kind in zip(photos, kinds, strict=True) if kind == wanted)
        for wanted in ("used", "unreadable", "tiny", "missing")
    )
    if not used:
        left_out = Cache(np.empty(0, np.uint8), used, unreadable, tiny, missing).left_out()
        raise ValueError(f"none of {len(photos)} photographs can be used: {datasets.counted(left_out)}")
    squares = np.memmap(file, np.uint8, "r", shape=(len(used), 3, side, side))
    return Cache(squares, used, unreadable, tiny, missing)


def _key(photos: Sequence[Path]) -> str:
    """By names, sizes and times: made pictures of other switches, for one, have the same names."""
    digest = hashlib.sha256(datasets.fingerprint(photos).encode())
    for path in photos:
        try:
            digest.update(f"{shards.file(path).stat().st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"missing\n")
    return digest.hexdigest()[:16]


def _write(photos: Sequence[Path], side: int, file: Path, workers: int) -> None:
    """First the squares, then what became of each photo: where the second is, the first is whole."""
    half_written = file.with_suffix(".new")
    kinds: list[str] = []
    with ProcessPoolExecutor(workers) as pool, half_written.open("wb") as squares:
        for made in pool.map(_square, photos, repeat(side), chunksize=32):
            if isinstance(made, str):
                kinds.append(made)
            else:
                squares.write(made.tobytes())
                kinds.append("used")
    half_written.replace(file)
    half_written.write_text(json.dumps(kinds))
    half_written.replace(file.with_suffix(".json"))


def _square(path: Path, side: int) -> NDArray[np.uint8] | datasets.Fault:
    """(3, side, side): the short side to `side`, bicubic, then the middle; or why not."""
    pixels = datasets.read_or_fault(path, side / 2)
    if isinstance(pixels, str):
        return pixels
    height, width = pixels.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Item i is the batch of training step i: (n, 3, S, S) uint8 squares, and (n,) their numbers in the cache.

    All are seen before one is seen again, in an order that hangs on seed and epoch alone, so that a run that is continued sees what it
    would have seen. Of several processes each takes every `of`-th of a batch.
    """

    def __init__(self, cache: Cache, batch: int, steps: int, seed: int, part: int = 0, of: int = 1) -> None:
        if batch % of:
            raise ValueError(f"a batch of {batch} cannot be shared by {of} processes alike")
        self.squares = cache.squares
        self.batch, self.steps, self.seed, self.part, self.of = batch, steps, seed, part, of

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        first = step * self.batch
        numbers = [self._number(place) for place in range(first + self.part, first + self.batch, self.of)]
        return torch.from_numpy(self.squares[numbers]), torch.tensor(numbers)

    def _number(self, place: int) -> int:
        epoch, turn = divmod(place, len(self.squares))
        return int(datasets.shuffled(len(self.squares), self.seed, 0, epoch)[turn])
