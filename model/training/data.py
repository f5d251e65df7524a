"""Where photographs come from: folders, tars and lists; how they are read; which of them are worth training on.

A source is a folder (searched through, tars in it too), a tar, a single photo, a list in VOC's layout, such as
`voc2007/ImageSets/Main/trainval.txt`, whose lines name photos of its `JPEGImages`, or the name `scikit-image`, for the color
photographs that this package carries. A photo in a tar has the path of the tar with its name below it, `shard-0007.tar/n01440764/x.jpg`,
and is used like any other: nothing is unpacked, and any photo can be read at any time.

A photo that is damaged, tiny or gone stops nothing: it is counted and named.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from model import color, image_io
from model.errors import PhotoError
from model.formats.raster import to_eight_bits

SCIKIT_IMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
)  # NASA; S. van der Walt; R. Michetti; SpaceX: all free
TAR = ".tar"
LEFT_OUT = "left_out.txt"
"""Of a run's folder: a line for each photo that was left out, why, a tab and its path."""

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
_GRAY = 5.0  # a photo whose chroma stays under this, in ab units, is gray: the released code's threshold
_TONED = 1.2  # one whose colors follow from its lightness to within this, in ab units, is sepia or toned
_SAME_BITS = 2  # of 64 in which the hashes of two copies of one photo may differ

Fault: TypeAlias = Literal["unreadable", "tiny", "missing"]
LeftOut: TypeAlias = Mapping[str, Sequence[Path]]
"""Why → which photos."""


# Finding


def find(sources: Iterable[Path], exclude: Sequence[str] = ()) -> list[Path]:
    """All photos of the sources, sorted, each once; without those whose file name matches a pattern of `exclude`.

    Raises FileNotFoundError for a source that does not exist or holds no photo.
    """
    found: set[Path] = set()
    for source in sources:
        photos = [path for path in _listed(source) if not any(path.match(pattern) for pattern in exclude)]
        if not photos:
            raise FileNotFoundError(f"{source} holds no photographs ({', '.join(sorted(_SUFFIXES))})")
        found.update(photos)
    return sorted(found)


def packaged(name: str) -> Path:
    """A photograph of scikit-image's. Raises FileNotFoundError for one that its version does not bring."""
    path = Path(skimage.data.__file__).parent / name
    if not path.exists():
        raise FileNotFoundError(
            f"the installed scikit-image does not bring {name}: install the version that requirements.lock names"
        )
    return path


def _listed(source: Path) -> list[Path]:
    if str(source) == "scikit-image":
        return [packaged(name) for name in SCIKIT_IMAGE]
    if source.parent.parts[-2:] == ("ImageSets", "Main"):
        folder = source.parent.parent.parent / "JPEGImages"
        return [folder / f"{line.split()[0]}.jpg" for line in source.read_text().splitlines() if line.strip()]
    if source.suffix == TAR:
        return [path for path in members(source) if path.suffix.lower() in _SUFFIXES]
    if source.is_file():
        return [source]
    found = [path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES]
    return found + [photo for tar in source.rglob(f"*{TAR}") for photo in _listed(tar)]


def split(photos: Sequence[Path], tenths: int) -> tuple[list[Path], list[Path]]:
    """Part photos into (kept, held out), `tenths` in ten of them out, by a hash of folder and file name: a photo never changes sides."""
    held = {path for path in photos if _digest(f"{path.parent.name}/{path.name}".encode())[0] % 10 < tenths}
    return [path for path in photos if path not in held], sorted(held)


def fingerprint(photos: Sequence[Path]) -> str:
    """A hash of the photos' folder and file names and sizes (in a tar, its size): other photos, or another order, have another one."""
    lines = (f"{path.parent.name}/{path.name} {_size(on_disk(path))}" for path in photos)
    return _digest("\n".join(lines).encode()).hex()


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


# Reading


def read(path: Path, at_least: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 sRGB, upright, as `image_io.open` sees it. Raises OSError when the file is no readable photo.

    `at_least`: decode large JPEGs at a reduced scale, with both sides at least so long; 0 is full size.
    """
    data = _member(path) if on_disk(path) != path else path.read_bytes()
    try:
        pixels = image_io.open(data, at_least=at_least).pixels
    except PhotoError as error:
        kind = TooSmallError if error.code == "photo_too_small" else OSError
        raise kind(f"{path}: {error.detail}") from error
    pixels = to_eight_bits(pixels)
    return pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1)


class TooSmallError(OSError):
    """A photo of fewer pixels, or narrower, than `image_io.open` takes."""


def read_or_fault(path: Path, shortest: float = 0, at_least: int = 0) -> NDArray[np.uint8] | Fault:
    """As `read`, or why not; a photo with a side below `shortest` pixels is tiny."""
    try:
        pixels = read(path, at_least)
    except FileNotFoundError:
        return "missing"
    except TooSmallError:
        return "tiny"
    except OSError:
        return "unreadable"
    return "tiny" if min(pixels.shape[:2]) < shortest else pixels


def on_disk(path: Path) -> Path:
    """What there is on the disk of this path: the tar that it lies in, else itself."""
    return next((parent for parent in path.parents if parent.suffix == TAR), path)


def members(tar: Path) -> list[Path]:
    """All files in a tar, in order. Raises OSError that names a tar that cannot be read."""
    return [tar / name for name in _index(tar)]


def _member(path: Path) -> bytes:
    """The bytes of a file in a tar. Raises OSError where it is not there, or cut off."""
    tar = on_disk(path)
    found = _index(tar).get(path.relative_to(tar).as_posix())
    if found is None:
        raise FileNotFoundError(f"{tar} holds no {path.relative_to(tar)}")
    offset, size = found
    opened = os.open(tar, os.O_RDONLY)
    try:
        data = os.pread(opened, size, offset)
    finally:
        os.close(opened)
    if len(data) < size:
        raise OSError(f"{path} is cut off")
    return data


@lru_cache(maxsize=4096)
def _index(tar: Path) -> Mapping[str, tuple[int, int]]:
    """Where each file's bytes lie: name → offset, size."""
    try:
        with tarfile.open(tar, "r:") as opened:
            return {
                member.name.removeprefix("./"): (member.offset_data, member.size)
                for member in opened
                if member.isfile()
            }
    except tarfile.TarError as error:
        raise OSError(f"{tar} is no tar that can be read: {error}") from error


# Choosing


@dataclass(frozen=True)
class PhotoStatistics:
    """What decides whether a photo is worth training on."""

    chroma: float  # 99th percentile, ab units
    stray: float  # ab units, rms, from the parabola through L* that fits the colors best
    hash: int  # 64 bits: whether gray rises from each pixel to the next, at 9×8

    @property
    def fault(self) -> str:
        """ "gray", "toned", or "" for a color photograph."""
        return "gray" if self.chroma < _GRAY else "toned" if self.stray < _TONED else ""


def photo_statistics(pixels_HW3: NDArray[np.uint8]) -> PhotoStatistics:
    """Of an (H, W, 3) uint8 photo."""
    small = Image.fromarray(pixels_HW3).resize((32, 32), Image.Resampling.BOX)
    rgb = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 255
    colors = color.lab_from_rgb(rgb)[0].flatten(1).double().numpy()
    lightness, ab = colors[0] / 100, colors[1:].T
    powers = np.stack([np.ones_like(lightness), lightness, lightness**2], 1)
    # By normal equations of three unknowns: a least-squares routine would wake BLAS's threads for every photo.
    stray = ab - powers @ (np.linalg.pinv(powers.T @ powers, hermitian=True) @ (powers.T @ ab))
    tiny = np.asarray(small.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    rises = int.from_bytes(np.packbits(np.diff(tiny, axis=1) > 0).tobytes(), "big")
    chroma = np.quantile(np.hypot(*ab.T), 0.99)
    return PhotoStatistics(float(chroma), float(np.sqrt(np.square(stray).sum(1).mean())), rises)


def copies(hashes: Sequence[int]) -> NDArray[np.bool_]:
    """For each hash, whether an earlier one is the same but for `_SAME_BITS` bits.

    Of three pieces of two such hashes at least one is equal, so only hashes that share a piece are compared: seconds for a million.
    """
    values = np.array(hashes, dtype=np.uint64)
    repeats = np.zeros(len(values), np.bool_)
    for shift, bits in ((0, 22), (22, 21), (43, 21)):
        piece = (values >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        order = np.argsort(piece, kind="stable")
        ends = np.flatnonzero(np.diff(piece[order])) + 1
        for group in np.split(order, ends):
            for place in range(1, len(group)):
                differing = np.bitwise_count(values[group[:place]] ^ values[group[place]])
                repeats[group[place]] |= bool((differing <= _SAME_BITS).any())
    return repeats


def counted(left_out: LeftOut) -> str:
    """As a person would say it: "3 gray, 1 missing", or "none"."""
    one = {"copies": "copy"}
    counts = ((len(paths), reason) for reason, paths in left_out.items() if paths)
    return ", ".join(f"{n} {one.get(reason, reason) if n == 1 else reason}" for n, reason in counts) or "none"


def write_names(left_out: LeftOut, folder: Path) -> Path:
    """Write `left_out.txt` into the folder, which is made if need be; returns its path. What it held before is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"{reason}\t{path}\n" for reason, paths in left_out.items() for path in paths)
    (folder / LEFT_OUT).write_text("".join(lines), errors="surrogateescape")
    return folder / LEFT_OUT


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
