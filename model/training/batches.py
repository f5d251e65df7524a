"""The batch of a training step: which photographs it has, and which boxes of them, gathered on the device.

A step's batch follows from the seed and the step's number alone, so that a run that goes on sees what it would have seen. What a method
makes of the pixels, it makes itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from model import bins, color
from model.errors import InputError
from model.training.cache import Cache


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


def whole(pixels_N3SS: Tensor, labels_N: Tensor | None = None) -> Batch:
    """A batch of whole squares, uint8 or float in 0…1, as they are; of one class where no labels are given."""
    zeros = torch.zeros(len(pixels_N3SS), dtype=torch.int64)
    return Batch(pixels_N3SS, zeros if labels_N is None else labels_N, zeros)


@dataclass(frozen=True)
class Crops:
    """How boxes are cut out of photographs, and to which sizes they are brought.

    A net sees small things at the size that it will be used at: the last steps take `last` pixels. Photos whose shorter side is below
    `small_below` pixels come in steps of their own, at `small` pixels: enlarged as much as the others, they would
    have the net learn how enlarged pictures look.
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
        if not self.enlarged > 0:
            raise InputError(f"enlarged is {self.enlarged}, and must be above 0")
        if any(weight < 0 for weight in self.weights) or (self.weights and not any(self.weights)):
            raise InputError(f"weights say how often each source is seen: {self.weights} do not")

    def are_small(self, photos: Cache) -> NDArray[np.bool_]:
        """(N,) which of these come in steps of their own."""
        small: NDArray[np.bool_] = photos.sizes.min(1) < self.small_below
        return small

    def last_side(self, sources: Sequence[Cache]) -> int:
        """Pixels of the last steps' crops of these photos, by which they are evaluated: `small` where all are small."""
        return self.small if all(self.are_small(photos).all() for photos in sources) else self.last


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
    """Item i is the batch of training step i, whichever process reads it, and when: a run that goes on sees what it would have seen.

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
        classes: Sequence[str] = (),
    ) -> None:
        """`crops`: None for whole squares. `classes`: folders by label, where there are others than those of these photos.

        On a GPU all pixels move there at once where half of its free memory holds them.
        """
        if batch % of:
            raise InputError(f"a batch of {batch} cannot be shared by {of} processes alike")
        if not any(len(source) for source in sources):
            raise InputError(
                "no photograph is left to learn from: give more, or hold out fewer; nets that color learn from color photographs alone"
            )
        self.sources, self.batch, self.steps, self.seed = sources, batch, steps, seed
        self.crops, self.part, self.of = crops, part, of
        self.device = device or torch.device("cpu")
        self.labels = _labels(sources, classes or classes_of(sources))
        self.groups, self.small_share = _groups(sources, crops)
        # Of each source its pixels on a GPU, from the first batch on; empty where they do not fit.
        self._resident: list[Tensor] | None = None

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
        shares = [1 - self.small_share, self.small_share] if len(self.groups) > 1 else [1.0]
        for group, share in zip(self.groups, shares, strict=True):
            wanted = min(round(sample * share), sum(group.drawn))
            for number in range(wanted):
                source, place = group.photo(number, self.seed)
                rgb = torch.from_numpy(self.sources[source].photo(place))[None].float() / 255
                small = F.adaptive_avg_pool2d(rgb, 64)
                total += bins.histogram(color.lab_from_rgb(small)[:, 1:]) * (share * sample / max(wanted, 1))
        return total / total.sum()

    def area(self, steps: Sequence[int]) -> float:
        """Pixels of a crop, in the mean over these steps; 1 for whole squares."""
        if self.crops is None:
            return 1.0
        return float(np.mean([self._turn(step)[2] ** 2 for step in steps]))

    def _turn(self, step: int) -> tuple[_Group, int, int]:
        """Whose turn a step is, how many steps of this group came before it, and the side of its crops."""
        if self.crops is None or self.small_share == 1:
            return self.groups[0], step, self.crops.small if self.crops else 0
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
        if self.device.type == "cpu":
            # By NumPy: a thread that makes batches would otherwise begin OpenMP threads of its own, and with more of them than there are
            # cores the net's, too, sleep instead of spinning (LOG.md, 2026-11-23).
            return torch.from_numpy(self._by_numpy(photos, boxes))
        return self._by_torch(photos, boxes)

    def _by_numpy(self, photos: Sequence[tuple[int, int]], boxes: NDArray[np.int64]) -> NDArray[np.uint8]:
        gathered = np.zeros((len(photos), 3, *map(int, boxes[:, 2:].max(0))), np.uint8)
        for place, (source, number), (top, left, h, w) in zip(gathered, photos, boxes.tolist(), strict=True):
            place[:, :h, :w] = self.sources[source].photo(number)[:, top : top + h, left : left + w]
        return gathered

    def _by_torch(self, photos: Sequence[tuple[int, int]], boxes: NDArray[np.int64]) -> Tensor:
        if self._resident is None:
            whole = [np.asarray(source.pixels) for source in self.sources]
            fit = sum(pixels.nbytes for pixels in whole) < _free(self.device) / 2
            self._resident = [torch.from_numpy(pixels).to(self.device) for pixels in whole] if fit else []
        size = tuple(map(int, boxes[:, 2:].max(0)))
        gathered = torch.zeros((len(photos), 3, *size), dtype=torch.uint8, device=self.device)
        for place, (source, number), (top, left, h, w) in zip(gathered, photos, boxes.tolist(), strict=True):
            place[:, :h, :w] = self._photo(source, number)[:, top : top + h, left : left + w]
        return gathered

    def _photo(self, source: int, number: int) -> Tensor:
        """(3, H, W) uint8 on the device."""
        cache = self.sources[source]
        if not self._resident:
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


def spread(caches: Sequence[Cache], count: int) -> list[Cache]:
    """At most `count` photos, evenly chosen: as many of each cache, where it has them."""
    filled = sorted((cache for cache in caches if len(cache)), key=len)
    chosen: list[Cache] = []
    for place, cache in enumerate(filled):
        wanted = min(len(cache), count // (len(filled) - place))
        count -= wanted
        if wanted:
            chosen.append(cache.only([index * len(cache) // wanted for index in range(wanted)]))
    return chosen


def evenly(caches: Sequence[Cache], count: int) -> list[NDArray[np.uint8]]:
    """The photos of `spread`, (3, H, W) each."""
    return [part.photo(number) for part in spread(caches, count) for number in range(len(part))]


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


def classes_of(sources: Sequence[Cache]) -> list[str]:
    """Names of the folders that photos lie in; a photo's label is its folder's place among them."""
    return sorted({path.parent.name for source in sources for path in source.photos})


def _labels(sources: Sequence[Cache], classes: Sequence[str]) -> list[Tensor]:
    places = {name: place for place, name in enumerate(classes)}
    return [torch.tensor([places[path.parent.name] for path in source.photos]) for source in sources]


def _groups(sources: Sequence[Cache], crops: Crops | None) -> tuple[list[_Group], float]:
    """The large photos and the small ones, where there are any; and the share of steps that are the small ones'."""
    everything = tuple(np.arange(len(source)) for source in sources)
    if crops is None:
        return [_group(everything, [float(len(part)) for part in everything])], 0.0
    if crops.weights and len(crops.weights) != len(sources):
        raise InputError(f"{len(crops.weights)} weights were given for {len(sources)} sources of photographs")
    counts = np.array([len(source) for source in sources], float)
    weights = (
        np.array(crops.weights)
        if crops.weights
        else np.where(counts > 0, np.maximum(counts, 1) ** (1 - crops.balance), 0)
    )
    weights = np.where(counts > 0, weights, 0)
    if crops.weights and not weights.any():
        raise InputError("the sources that are not weighed 0 hold no photographs to learn from")
    small = [crops.are_small(source) for source in sources]
    parts = [
        tuple(part[~of] for part, of in zip(everything, small, strict=True)),
        tuple(part[of] for part, of in zip(everything, small, strict=True)),
    ]
    groups, shares = [], []
    for members in parts:
        each = [w * len(m) / max(1, n) for w, m, n in zip(weights, members, counts, strict=True)]
        if sum(each) > 0:
            groups.append(_group(members, each))
        shares.append(sum(each))
    return groups, shares[1] / sum(shares)


def _group(members: tuple[NDArray[np.int64], ...], weights: Sequence[float]) -> _Group:
    """An epoch is as long as there are photos that are seen at all; each source has its share of it."""
    total = sum(weights)
    photos = sum(len(part) for part, weight in zip(members, weights, strict=True) if weight)
    drawn = tuple(max(1, round(photos * weight / total)) if weight else 0 for weight in weights)
    return _Group(members, drawn)


@lru_cache(maxsize=4)
def _order(drawn: tuple[int, ...], seed: int, epoch: int) -> NDArray[np.int64]:
    """(Σ drawn, 2): which source is next in this epoch, and how often it has been seen before."""
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


def _free(device: torch.device) -> int:
    """Bytes of a GPU's memory that nobody has, nor this process keeps for what comes."""
    torch.cuda.empty_cache()
    free: int = torch.cuda.mem_get_info(device)[0]
    return free
