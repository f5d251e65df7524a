"""Folders of photographs as training and evaluation data.

A source is a folder (searched through, tars in it too), a tar, a single photo, a list in VOC's layout, such as
`voc2007/ImageSets/Main/trainval.txt`, whose lines name photos of its `JPEGImages`, or the name `scikit-image`, for the color
photographs that this package carries. `survey` looks at every photo once and says which to leave out: gray and toned ones teach
nothing about color, and copies of held-out photos would make an evaluation lie. What is damaged, tiny or gone stops nothing: it is counted
and named.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from model import bins, lab, photo, shards

SCIKIT_IMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
)  # NASA; S. van der Walt; R. Michetti; SpaceX: all free
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
_GRAY = 5.0  # a photo whose chroma stays under this, in ab units, is gray: the released code's threshold
_TONED = (
    1.2  # one whose colors follow from its lightness to within this, in ab units, is sepia or another tone
)

_LOG = logging.getLogger(__name__)
_TINY = 32  # pixels of the shorter side: less is less than what a photo is looked at
_IN_A_ROW = 100  # photos gone one after the other: then it is the disk that is gone

_SAME_BITS = 2  # of 64 in which the prints of two copies of one photo may differ


Fault: TypeAlias = Literal["unreadable", "tiny", "missing"]
LeftOut: TypeAlias = Mapping[str, Sequence[Path]]
"""Why → which photos."""
_REASONS = ("gray", "toned", "copies", "unreadable", "tiny", "missing")

LEFT_OUT = "left_out.txt"
"""Of a run's folder: a line for each photo that was left out, why, a tab and its path."""


@dataclass(frozen=True)
class Survey:
    """The photos worth training on; and those left out, by why."""

    photos: tuple[Path, ...]
    gray: tuple[Path, ...] = ()
    toned: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()
    """Damaged, animated, no photo at all, or not ours to read."""
    tiny: tuple[Path, ...] = ()
    """Shorter than 32 pixels."""
    missing: tuple[Path, ...] = ()
    """In a list, but not there; or gone since it was listed."""

    def left_out(self) -> LeftOut:
        """For `counted` and `write_names`."""
        return {reason: getattr(self, reason) for reason in _REASONS}


def find(sources: Iterable[Path], exclude: Sequence[str] = ()) -> list[Path]:
    """All photos of the sources, sorted, each once; without those whose file name matches a pattern of `exclude`.

    Raises FileNotFoundError for a source that does not exist or holds no photo.
    """
    found: set[Path] = set()
    for source in sources:
        photos = [photo for photo in _listed(source) if not any(photo.match(pattern) for pattern in exclude)]
        if not photos:
            raise FileNotFoundError(f"{source} holds no photographs ({', '.join(sorted(_SUFFIXES))})")
        found.update(photos)
    return sorted(found)


def _listed(source: Path) -> list[Path]:
    if str(source) == "scikit-image":
        return [Path(skimage.data.__file__).parent / name for name in SCIKIT_IMAGE]
    if source.parent.parts[-2:] == ("ImageSets", "Main"):
        folder = source.parent.parent.parent / "JPEGImages"
        return [folder / f"{line.split()[0]}.jpg" for line in source.read_text().splitlines() if line.strip()]
    if source.suffix == shards.SUFFIX:
        return [path for path in shards.members(source) if path.suffix.lower() in _SUFFIXES]
    if source.is_file():
        return [source]
    found = [path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES]
    return found + [photo for shard in source.rglob(f"*{shards.SUFFIX}") for photo in _listed(shard)]


def split(photos: Sequence[Path], tenths: int) -> tuple[list[Path], list[Path]]:
    """Part photos into (kept, held out), `tenths` in ten of them out, by a hash of folder and file name: a photo never changes sides."""
    held = {path for path in photos if _digest(f"{path.parent.name}/{path.name}".encode())[0] % 10 < tenths}
    return [path for path in photos if path not in held], sorted(held)


def survey(photos: Sequence[Path], apart_from: Sequence[Path] = (), workers: int = 2) -> Survey:
    """Leave out what is missing, unreadable, tiny, gray, toned, seen before, or a copy of one of `apart_from`.

    Copies are what looks the same at 9×8.
    """
    with ProcessPoolExecutor(workers) as pool:
        held_out = [look for look in pool.map(_look, apart_from, chunksize=64) if isinstance(look, _Look)]
        looks = list(pool.map(_look, photos, chunksize=64))
    colorful: list[tuple[Path, _Look]] = []
    out: dict[str, list[Path]] = {reason: [] for reason in _REASONS}
    for path, look in zip(photos, looks, strict=True):
        if isinstance(look, str):
            out[look].append(path)
        elif look.chroma < _GRAY:
            out["gray"].append(path)
        elif look.stray < _TONED:
            out["toned"].append(path)
        else:
            colorful.append((path, look))
    repeats = _repeats([look.print for look in held_out] + [look.print for _, look in colorful])[
        len(held_out) :
    ]
    kept: list[Path] = []
    for (path, _), repeat in zip(colorful, repeats, strict=True):
        (out["copies"] if repeat else kept).append(path)
    return Survey(tuple(kept), **{reason: tuple(paths) for reason, paths in out.items()})


def counted(left_out: LeftOut) -> str:
    """As a person would say it: "3 gray, 1 missing", or "none"."""
    return ", ".join(f"{len(paths)} {reason}" for reason, paths in left_out.items() if paths) or "none"


def write_names(left_out: LeftOut, folder: Path) -> Path:
    """Write `left_out.txt` into the folder, which is made if need be; returns its path. What it held before is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{reason}\t{path}\n" for reason, paths in left_out.items() for path in paths)
    (folder / LEFT_OUT).write_text("".join(lines), errors="surrogateescape")
    return folder / LEFT_OUT


def _repeats(prints: Sequence[int]) -> NDArray[np.bool_]:
    """For each print, whether an earlier one is the same but for a few bits. All pairs are compared: seconds for 30,000 photos."""
    values = np.array(prints, dtype=np.uint64)
    close = (
        bool((np.bitwise_count(values[:index] ^ value) <= _SAME_BITS).any())
        for index, value in enumerate(values)
    )
    return np.fromiter(close, bool, len(values))


def prior(photos: Sequence[Path], sample: int = 4000, seed: int = 0) -> Tensor:
    """(313,) float64, adding up to 1: how often each bin's color occurs in these photos, smoothed; over a sample where they are many.

    What cannot be read any more does not count. Raises OSError if nothing can.
    """
    chosen = [photos[int(i)] for i in np.random.default_rng(seed).permutation(len(photos))[:sample]]
    total = torch.zeros(bins.COUNT, dtype=torch.float64)
    for path in chosen:
        if isinstance(pixels := read_or_fault(path), str):
            continue
        small = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BOX)
        rgb = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 255
        total += bins.histogram(lab.lab_from_rgb(rgb)[:, 1:])
    if not total.any():
        raise OSError(f"none of {len(photos)} photographs can be read any more")
    return total / total.sum()


@dataclass(frozen=True)
class _Look:
    chroma: float  # 99th percentile, ab units
    stray: float  # ab units, rms, from the parabola through L* that fits the colors best
    print: int  # 64 bits: whether gray rises from each pixel to the next, at 9×8


def _look(path: Path) -> _Look | Fault:
    pixels = read_or_fault(path, _TINY)
    if isinstance(pixels, str):
        return pixels
    small = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX)
    rgb = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 255
    colors = lab.lab_from_rgb(rgb)[0].flatten(1).double()
    lightness, ab = colors[:1], colors[1:]
    powers = torch.cat([torch.ones_like(lightness), lightness, lightness**2]).T
    stray = ab.T - powers @ torch.linalg.lstsq(powers, ab.T, driver="gelsd").solution
    tiny = np.asarray(small.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    rises = int.from_bytes(np.packbits(np.diff(tiny, axis=1) > 0).tobytes(), "big")
    return _Look(float(ab.norm(dim=0).quantile(0.99)), float(stray.square().sum(1).mean().sqrt()), rises)


class TooSmallError(OSError):
    """A photo of fewer pixels, or narrower, than `photo.open` takes."""


def read(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 sRGB, upright, as `photo.open` sees it. Raises OSError when the file is no readable photo."""
    try:
        pixels = photo.open(shards.read(path) if shards.holds(path) else path.read_bytes()).pixels
    except photo.PhotoError as error:
        kind = TooSmallError if error.code == "photo_too_small" else OSError
        raise kind(f"{path}: {error.detail}") from error
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1)


def read_or_fault(path: Path, shortest: float = 0) -> NDArray[np.uint8] | Fault:
    """As `read`, or why not; a photo with a side below `shortest` pixels is tiny."""
    try:
        pixels = read(path)
    except FileNotFoundError:
        return "missing"
    except TooSmallError:
        return "tiny"
    except OSError:
        return "unreadable"
    return "tiny" if min(pixels.shape[:2]) < shortest else pixels


def fingerprint(photos: Sequence[Path]) -> str:
    """A hash of the photos' folder and file names and sizes (in a tar, its size): other photos, or another order, have another one."""
    lines = (f"{path.parent.name}/{path.name} {_size(shards.file(path))}" for path in photos)
    return _digest("\n".join(lines).encode()).hex()


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


class Crops(Dataset[Tensor]):
    """Random crops as batches by step number: item i is the (N, 3, crop, crop) uint8 batch of training step i, whoever asks, and when.

    A training run that continues at step i therefore sees just what it would have seen, and carries no state of a loader.
    For a photo that is gone or damaged by then, the next one is seen once more: it is named in `run`'s `left_out.txt`, and in the log.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Path]],
        batch: int,
        crops: Sequence[int],
        seed: int,
        smallest: float = 0.35,
        balance: float = 0.0,
        run: Path | None = None,
    ) -> None:
        """`crops[i]` is the side at step i; `smallest` the least share of a photo's area that a crop takes; `balance`: see `shares`."""
        self.sources = [list(source) for source in sources if source]
        self.batch, self.crops, self.seed, self.smallest = batch, crops, seed, smallest
        self.sizes = tuple(len(source) for source in self.sources)
        self.drawn = _drawn(self.sizes, balance)
        self.run = run
        self.gone: set[Path] = set()

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, step: int) -> Tensor:
        chance = np.random.default_rng((self.seed, step))
        side = self.crops[step]
        crops = [
            random_crop(self._pixels(step * self.batch + n), side, self.smallest, chance)
            for n in range(self.batch)
        ]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        """Of this photo, or of the first after it that can be read. Raises OSError if a hundred cannot."""
        for place in range(number, number + _IN_A_ROW):
            pixels = read_or_fault(path := self.photo(place))
            if not isinstance(pixels, str):
                return pixels
            self._name(pixels, path)
        raise OSError(f"{path} and {_IN_A_ROW - 1} before it cannot be read any more: is their disk there?")

    def _name(self, fault: Fault, path: Path) -> None:
        """Once in the file, whichever of the loader's processes, and in whichever epoch, comes upon it."""
        if path in self.gone:
            return
        self.gone.add(path)
        known = 0
        if self.run is not None:
            line = f"{fault}\t{path}\n"
            with (self.run / LEFT_OUT).open("a+", errors="surrogateescape") as names:
                names.seek(0)
                lines = names.readlines()
                known = len(lines)
                if line in lines:
                    return
                names.write(line)
        _LOG.warning("%s is %s now: the next is seen instead (%d left out so far)", path, fault, known + 1)

    def photo(self, number: int) -> Path:
        """The photo that is seen as number so-and-so since the run began. Of one source all are seen before one is seen again."""
        epoch, place = divmod(number, sum(self.drawn))
        source, turn = map(int, _order(self.drawn, self.seed, epoch)[place])
        seen_before, index = divmod(epoch * self.drawn[source] + turn, self.sizes[source])
        return self.sources[source][int(shuffled(self.sizes[source], self.seed, source, seen_before)[index])]


def _drawn(sizes: Sequence[int], balance: float) -> tuple[int, ...]:
    """How many photos of each source make up an epoch, which is as long as there are photos: shares ∝ size^(1 − balance).

    0 takes photos as they are, 1 takes as many of each source, however small.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance is {balance}, and must lie in 0…1")
    weight = np.array(sizes, float) ** (1 - balance)
    return tuple(int(n) for n in np.maximum(1, np.rint(sum(sizes) * weight / weight.sum())))


@lru_cache(maxsize=2)
def _order(drawn: tuple[int, ...], seed: int, epoch: int) -> NDArray[np.int64]:
    """(Σ drawn, 2): which source is next in this epoch, and for the how-manieth time."""
    turns = np.concatenate(
        [np.stack([np.full(n, source), np.arange(n)], 1) for source, n in enumerate(drawn)]
    )
    return np.random.default_rng((seed, epoch, len(turns))).permutation(turns)


@lru_cache(maxsize=64)
def shuffled(count: int, seed: int, source: int, time: int) -> NDArray[np.int64]:
    """(count,): the order in which a source's photos are seen for the `time`-th time."""
    return np.random.default_rng((seed, source, time, count)).permutation(count)


def random_crop(
    rgb: NDArray[np.uint8], side: int, smallest: float, chance: np.random.Generator
) -> NDArray[np.uint8]:
    """A square-ish part of `smallest`…1 of the area, somewhere, resized to (side, side), mirrored every other time."""
    height, width = rgb.shape[:2]
    longest = min(height, width)
    share = chance.uniform(smallest, 1)
    stretch = np.exp(chance.uniform(-0.15, 0.15))  # a little off square: up to 16%
    w = min(width, max(16, round(longest * share**0.5 * stretch)))
    h = min(height, max(16, round(longest * share**0.5 / stretch)))
    x, y = chance.integers(0, width - w + 1), chance.integers(0, height - h + 1)
    box = (x, y, x + w, y + h)
    crop = np.asarray(
        Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    )
    return crop[:, ::-1] if chance.random() < 0.5 else crop


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
