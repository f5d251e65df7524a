"""Photographs decoded once, as bytes in one file that lies in memory, and the batches that are cut out of them.

A set in the cache is no work for a training loop: what crops and colors a method wants to see it makes of these bytes on its device.
24,000 photographs with a shorter side of 160 pixels and a longer one of up to 1.6 times that are 2.3 GB.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from model import bins, color
from model.errors import InputError
from model.training import data

_SHORTEST = 32  # pixels of the shorter side: a photo of less is left out
_REASONS = ("unreadable", "tiny", "missing", "gray", "toned", "copies")


@dataclass(frozen=True)
class Shape:
    """What becomes of a photo in the cache.

    `aspect`: its longer side is at most so many times the shorter one; the rest is cut off at both ends. `enlarge`: a photo whose shorter
    side has less than `side` pixels is enlarged, up to twice, and left out beyond that, as it would teach how enlarging looks; otherwise
    it stays as small as it is, down to 32 pixels.
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
    looks: tuple[data.Look, ...]
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
        """(N, 3, S, S) uint8. ValueError where photos are not square, or not of one size."""
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
        looks = tuple(self.looks[number] for number in numbers)
        return replace(
            self,
            starts=self.starts[chosen],
            sizes=self.sizes[chosen],
            photos=photos,
            looks=looks,
            left_out={},
        )


def build(photos: Sequence[Path], side: int | Shape, folder: Path, workers: int | None = None) -> Cache:
    """The cache of these photographs as they are now: the file in `folder`, written if it is not there.

    `side`: a `Shape`, or the side of squares. `workers` decode; by default as many as there are cores. Raises ValueError if no photograph
    can be used.
    """
    shape = side if isinstance(side, Shape) else Shape(side)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_key(photos, shape)}-{shape.side}.u8"
    index = file.with_suffix(".npz")
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one decodes, and the others wait for it
        if not index.exists():
            _write(photos, shape, file, workers or os.cpu_count() or 1)
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
    looks = tuple(map(data.Look, found["chroma"].tolist(), found["stray"].tolist(), found["hashes"].tolist()))
    pixels = np.memmap(
        file, np.uint8, "c"
    )  # as PyTorch wants what it reads to be writable; the file stays as it is
    return Cache(pixels, np.cumsum(lengths) - lengths, sizes, used, looks, left_out)


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
    looks: list[data.Look] = []
    # One thread a process: at operations as small as a photo's, threads only wait for one another.
    with (
        ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
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
            looks.append(seen)
    half_written.replace(file)
    with half_written.open("wb") as index:
        np.savez(
            index,
            kinds=np.array(kinds),
            sizes=np.array(sizes, np.int64).reshape(-1, 2),
            chroma=[seen.chroma for seen in looks],
            stray=[seen.stray for seen in looks],
            hashes=np.array([seen.hash for seen in looks], np.uint64),
        )
    half_written.replace(file.with_suffix(".npz"))


def _decoded(path: Path, shape: Shape) -> tuple[NDArray[np.uint8], data.Look] | data.Fault:
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
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)), data.look(pixels)


def colorful(caches: Sequence[Cache], apart_from: Sequence[Cache] = ()) -> tuple[list[Cache], data.LeftOut]:
    """The color photographs of each cache, each photograph once; and all that is left out of them, by why.

    Gray and toned photos teach nothing about color. A copy of an earlier color photo, or of any of `apart_from`, is left out: copies of
    held-out photographs would make an evaluation lie.
    """
    out: dict[str, list[Path]] = {reason: [] for reason in _REASONS}
    seen = [look.hash for cache in apart_from for look in cache.looks]
    colors = [look.hash for cache in caches for look in cache.looks if not look.fault]
    repeats = iter(data.copies(seen + colors)[len(seen) :])  # one for each photo that has colors
    kept: list[Cache] = []
    for cache in caches:
        for reason, paths in cache.left_out.items():
            out[reason] += paths
        numbers = []
        for number, (path, look) in enumerate(zip(cache.photos, cache.looks, strict=True)):
            reason = look.fault or ("copies" if next(repeats) else "")
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


# Batches


@dataclass(frozen=True)
class Batch:
    """One process's share of a step's photographs."""

    pixels: Tensor
    """(n, 3, H, W) uint8, on the device: whole squares, or the pixels of each photo's box, zeros beyond it."""
    labels: Tensor
    """(n,) int64: classes, by folder."""
    seeds: Tensor
    """(n,) int64 on the CPU, one a photo: all chance of its augmentation, whichever process makes it."""
    boxes: Tensor | None = None
    """(n, 4) int64 (top, left, height, width) on the CPU; None for squares, which a method cuts itself."""
    mirrored: Tensor | None = None
    """(n,) bool on the CPU."""
    side: int = 0
    """To which boxes are to be resized."""

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in so many parts, or as many as it has photos, for the accumulation of gradients."""
        for rows in np.array_split(np.arange(len(self)), min(count, len(self))):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            boxes = None if self.boxes is None else self.boxes[part]
            mirrored = None if self.mirrored is None else self.mirrored[part]
            yield Batch(self.pixels[part], self.labels[part], self.seeds[part], boxes, mirrored, self.side)


@dataclass(frozen=True)
class Crops:
    """How boxes are cut out of photographs, and to which sizes they are brought.

    A net sees small things at the size that it will be used at: the last steps take `last` pixels. Photos whose shorter side is below
    `small_below` pixels come in steps of their own, at `small` pixels: enlarged as much as the others they would teach how enlarging looks.
    """

    sides: tuple[int, ...] = (128,)  # pixels, in turn
    last: int = 192
    last_share: float = 0.12  # of all steps
    small: int = 96
    small_below: int = 112
    area: float = 0.35  # the least share of the square of a photo's shorter side that a box takes
    stretch: float = 0.15  # of a box's sides, either way, as a logarithm
    enlarged: float = 2.0  # a box has at least a crop's side over this, where the photo is as large
    weights: tuple[float, ...] = ()  # how often each source is seen beside the others; (): by `balance`
    balance: float = 0.0  # between the sources: 0 photos as they come, 1 as many of each

    def __post_init__(self) -> None:
        if not self.sides or min(*self.sides, self.last, self.small) < 32:
            raise InputError(
                f"crops must have 32 pixels or more, not {self.sides}, {self.last}, {self.small}"
            )
        if not 0 < self.area <= 1 or not 0 <= self.last_share <= 1 or not 0 <= self.balance <= 1:
            raise InputError("area, last_share and balance are shares: 0…1")
        if any(weight < 0 for weight in self.weights) or (self.weights and not any(self.weights)):
            raise InputError(f"weights say how often each source is seen: {self.weights} do not")


@dataclass(frozen=True)
class _Group:
    """Photos that come in steps of their own: (photos, 2) the source and the number of each; how often each source is drawn an epoch."""

    members: tuple[NDArray[np.int64], ...]  # numbers within the cache, by source
    drawn: tuple[int, ...]

    def photo(self, number: int, seed: int) -> tuple[int, int]:
        """(source, number) of what is seen as number so-and-so. Of one source all are seen before one is seen again."""
        epoch, place = divmod(number, sum(self.drawn))
        source, turn = map(int, _order(self.drawn, seed, epoch)[place])
        count = len(self.members[source])
        seen_before, index = divmod(epoch * self.drawn[source] + turn, count)
        return source, int(self.members[source][_shuffled(count, seed, source, seen_before)[index]])


class Batches(Dataset[Batch]):
    """Item i is the batch of training step i, whoever asks, and when: a run that goes on sees what it would have seen.

    Of several processes each takes every `of`-th photo of a batch; with its seed, which does not depend on how many there are.
    """

    def __init__(
        self,
        sources: Sequence[Cache],
        batch: int,
        steps: int,
        seed: int,
        crops: Crops | None = None,
        part: int = 0,
        of: int = 1,
        device: torch.device | None = None,
    ) -> None:
        """`crops`: None for whole squares. On a GPU the pixels move there as a whole where half of its free memory holds them."""
        if batch % of:
            raise InputError(f"a batch of {batch} cannot be shared by {of} processes alike")
        if not any(len(source) for source in sources):
            raise InputError("nothing is left to learn from: color photographs are needed")
        self.sources, self.batch, self.steps, self.seed = sources, batch, steps, seed
        self.crops, self.part, self.of = crops, part, of
        self.device = device or torch.device("cpu")
        self.labels = _labels(sources)
        self.groups, self.small_share = _groups(sources, crops)
        self._resident: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        group, turn, side = self._turn(step)
        mine = slice(self.part, None, self.of)
        photos = [group.photo(turn * self.batch + n, self.seed) for n in range(self.batch)][mine]
        chance = np.random.default_rng((self.seed, step))
        seeds = torch.from_numpy(chance.integers(2**62, size=self.batch))[mine]
        labels = torch.tensor([self.labels[source][number] for source, number in photos])
        sizes = np.array([self.sources[source].sizes[number] for source, number in photos])
        if self.crops is None:
            pixels = self._gather(photos, np.pad(sizes, ((0, 0), (2, 0))))
            return Batch(pixels, labels, seeds)
        draws = chance.random((self.batch, 5))[mine]
        boxes = boxes_of(sizes, side, self.crops, draws)
        mirrored = torch.from_numpy(draws[:, 4] < 0.5)
        within = boxes.copy()
        within[:, :2] = 0
        return Batch(self._gather(photos, boxes), labels, seeds, torch.from_numpy(within), mirrored, side)

    def drawn(self) -> list[list[int]]:
        """Photos of each source in an epoch, by group."""
        return [list(group.drawn) for group in self.groups]

    def prior(self, sample: int = 4000) -> Tensor:
        """(313,) float64, adding up to 1: how often each bin's color occurs in what is drawn, smoothed, over a sample of it."""
        total = torch.zeros(bins.COUNT, dtype=torch.float64)
        shares = [1 - self.small_share, self.small_share][: len(self.groups)]
        for group, share in zip(self.groups, shares, strict=True):
            wanted = min(round(sample * share), sum(group.drawn))
            for number in range(wanted):
                source, place = group.photo(number, self.seed)
                rgb = torch.from_numpy(self.sources[source].photo(place))[None].float() / 255
                small = F.adaptive_avg_pool2d(rgb, 64)
                total += bins.histogram(color.lab_from_rgb(small)[:, 1:]) * (share * sample / max(wanted, 1))
        return total / total.sum()

    def _turn(self, step: int) -> tuple[_Group, int, int]:
        """Whose turn a step is, how many steps of this group came before it, and the side of its crops."""
        if self.crops is None:
            return self.groups[0], step, 0
        turn = round(self.steps * (1 - self.crops.last_share))
        small_before = int(min(step, turn) * self.small_share)
        if step < turn and int((step + 1) * self.small_share) > small_before:
            return self.groups[1], small_before, self.crops.small
        large_before = step - small_before
        sides = self.crops.sides
        return (
            self.groups[0],
            large_before,
            sides[large_before % len(sides)] if step < turn else self.crops.last,
        )

    def _gather(self, photos: Sequence[tuple[int, int]], boxes: NDArray[np.int64]) -> Tensor:
        """(n, 3, H, W) uint8 on the device: the pixels in each photo's box, in the top left corner."""
        height, width = map(int, boxes[:, 2:].max(0))
        if self.device.type == "cpu":
            # By NumPy: a thread that makes batches would otherwise begin OpenMP threads of its own, and with more of them than there are
            # cores the net's, too, sleep instead of spinning (LOG.md, 2026-11-23).
            gathered = np.zeros((len(photos), 3, height, width), np.uint8)
            for place, (source, number), (top, left, h, w) in zip(
                gathered, photos, boxes.tolist(), strict=True
            ):
                place[:, :h, :w] = self.sources[source].photo(number)[:, top : top + h, left : left + w]
            return torch.from_numpy(gathered)
        pixels = torch.zeros((len(photos), 3, height, width), dtype=torch.uint8, device=self.device)
        for corner, (source, number), (top, left, h, w) in zip(pixels, photos, boxes.tolist(), strict=True):
            corner[:, :h, :w] = self._photo(source, number)[:, top : top + h, left : left + w]
        return pixels

    def _photo(self, source: int, number: int) -> Tensor:
        """(3, H, W) uint8 on a GPU."""
        cache = self.sources[source]
        if source not in self._resident and _fits(cache, self.device):
            self._resident[source] = torch.from_numpy(np.asarray(cache.pixels)).to(self.device)
        if source not in self._resident:
            return torch.from_numpy(cache.photo(number).copy()).to(self.device, non_blocking=True)
        height, width = map(int, cache.sizes[number])
        start = int(cache.starts[number])
        return self._resident[source][start : start + 3 * height * width].view(3, height, width)


def boxes_of(
    sizes_N2: NDArray[np.int64], side: int, crops: Crops, draws_N5: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(N, 4) (top, left, height, width): of each photo a part of `crops.area`…1 of its largest square, a little off square, somewhere."""
    heights, widths = sizes_N2.T
    short = sizes_N2.min(1)
    shortest = np.minimum(short, np.maximum(16, side / crops.enlarged))
    least = np.clip((shortest / short) ** 2, crops.area, 1)
    length = short * np.sqrt(least + (1 - least) * draws_N5[:, 0])
    stretch = np.exp(crops.stretch * (2 * draws_N5[:, 1] - 1))
    # Neither a side below the shortest nor one that the photo's border would cut off.
    low = np.maximum(shortest / length, length / heights)
    high = np.minimum(length / shortest, widths / length)
    stretch = np.clip(stretch, low, high)
    w = np.minimum(widths, np.ceil(length * stretch)).astype(np.int64)
    h = np.minimum(heights, np.ceil(length / stretch)).astype(np.int64)
    top, left = (
        (draws_N5[:, 2 + axis] * (of - box + 1)).astype(np.int64)
        for axis, (of, box) in enumerate(((heights, h), (widths, w)))
    )
    return np.stack([top, left, h, w], 1)


def evenly(caches: Sequence[Cache], count: int) -> list[NDArray[np.uint8]]:
    """At most `count` photos, (3, H, W) each, evenly chosen: as many of each cache, where it has them."""
    filled = [cache for cache in caches if len(cache)]
    chosen: list[NDArray[np.uint8]] = []
    for place, cache in enumerate(sorted(filled, key=len)):
        wanted = min(len(cache), (count - len(chosen)) // (len(filled) - place))
        chosen += [cache.photo(index * len(cache) // wanted) for index in range(wanted)]
    return chosen


def middles(photos: Sequence[NDArray[np.uint8]], side: int, device: torch.device) -> Batch:
    """For validation: of each photo the largest square in its middle, to be resized to `side`."""
    sizes = np.array([photo.shape[1:] for photo in photos])
    short = sizes.min(1)
    corners = (sizes - short[:, None]) // 2
    pixels = torch.zeros(len(photos), 3, int(short.max()), int(short.max()), dtype=torch.uint8)
    for place, photo, length, (top, left) in zip(
        pixels, photos, short.tolist(), corners.tolist(), strict=True
    ):
        place[:, :length, :length] = torch.from_numpy(
            photo[:, top : top + length, left : left + length].copy()
        )
    boxes = torch.from_numpy(np.stack([0 * short, 0 * short, short, short], 1))
    zeros = torch.zeros(len(photos), dtype=torch.int64)
    return Batch(pixels.to(device), zeros, zeros, boxes, zeros.bool(), side)


def _labels(sources: Sequence[Cache]) -> list[Tensor]:
    names = sorted({path.parent.name for source in sources for path in source.photos})
    places = {name: place for place, name in enumerate(names)}
    return [torch.tensor([places[path.parent.name] for path in source.photos]) for source in sources]


def _groups(sources: Sequence[Cache], crops: Crops | None) -> tuple[list[_Group], float]:
    """The large photos and, where there are both, the small ones; and the share of steps that are the small ones'."""
    everything = tuple(np.arange(len(source)) for source in sources)
    if crops is None:
        return [_group(everything, [float(len(part)) for part in everything])[0]], 0.0
    if crops.weights and len(crops.weights) != len(sources):
        raise InputError(f"{len(crops.weights)} weights were given for {len(sources)} sources of photographs")
    counts = np.array([len(source) for source in sources], float)
    weights = (
        np.array(crops.weights)
        if crops.weights
        else np.where(counts > 0, np.maximum(counts, 1) ** (1 - crops.balance), 0)
    )
    weights = np.where(counts > 0, weights, 0)
    short = [source.sizes.min(1) for source in sources]
    parts = [
        tuple(part[sides >= crops.small_below] for part, sides in zip(everything, short, strict=True)),
        tuple(part[sides < crops.small_below] for part, sides in zip(everything, short, strict=True)),
    ]
    groups, totals = [], []
    for members in parts:
        each = [w * len(m) / max(1, n) for w, m, n in zip(weights, members, counts, strict=True)]
        if sum(each) > 0:
            group, total = _group(members, each)
            groups.append(group)
            totals.append(total)
    return groups, totals[1] / sum(totals) if len(groups) > 1 else 0.0


def _group(members: tuple[NDArray[np.int64], ...], weights: Sequence[float]) -> tuple[_Group, float]:
    """An epoch is as long as there are photos that are seen at all; each source has its share of it."""
    total = sum(weights)
    photos = sum(len(part) for part, weight in zip(members, weights, strict=True) if weight)
    drawn = tuple(max(1, round(photos * weight / total)) if weight else 0 for weight in weights)
    return _Group(members, drawn), total


@lru_cache(maxsize=4)
def _order(drawn: tuple[int, ...], seed: int, epoch: int) -> NDArray[np.int64]:
    """(Σ drawn, 2): which source is next in this epoch, and for the how-manieth time."""
    sources = np.repeat(np.arange(len(drawn)), drawn)
    sources = np.random.default_rng((seed, epoch, len(sources))).permutation(sources)
    turns = np.empty_like(sources)
    for source, n in enumerate(drawn):
        turns[sources == source] = np.arange(n)
    return np.stack([sources, turns], 1)


@lru_cache(maxsize=128)
def _shuffled(count: int, seed: int, source: int, time: int) -> NDArray[np.int64]:
    """(count,): the order in which a source's photos are seen for the `time`-th time."""
    return np.random.default_rng((seed, source, time, count)).permutation(count)


def _fits(cache: Cache, device: torch.device) -> bool:
    free: int = torch.cuda.mem_get_info(device)[0]
    return bool(cache.pixels.nbytes < free / 2)
