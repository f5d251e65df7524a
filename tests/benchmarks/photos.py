"""The photographs that load is made of: scikit-image's four in gray, as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from skimage import data

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def write(folder: Path, side: int) -> Sequence[Path]:
    """Each with `side` pixels on its longer side, quality 92."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, name, side) for name in NAMES]


def _write(folder: Path, name: str, side: int) -> Path:
    picture = Image.fromarray(getattr(data, name)()).convert("L")
    scale = side / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    path = folder / f"{name}-{side}.jpg"
    picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=92)
    return path
