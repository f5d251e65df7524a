"""What a person's hints do: how much nearer the truth true colors at a few places lead, and what one spills beyond its object.

Protocol: the 256×256 crops of `evaluate.color`. Gain: hints at seeded places, a sixteenth of the side from the edges, each with the ground
truth's mean color over 9×9 pixels; ab-PSNR is 10·log10(255² / mean squared error over a and b), of 8-bit pictures. Spill: in each object of
1 to 35% of the crop, at the place farthest from its edge, a color 40 ab units off the answer, in a seeded direction; how far colors move
then, on average: within the object; around it, 5 to 24 pixels away, where the nearest edge changes lightness by 15 or more (means over 9×9
pixels on both sides), and where it changes less; and farther away. Intervals: `evaluate.intervals`; objects are drawn with their photos.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from model import hints, upsample
from model.colorizer import Colorizer
from model.evaluate.color import SIDE, Picture, center_crop
from model.evaluate.intervals import Bootstrap, Metrics, as_plain, as_text
from model.evaluate.report import table
from model.hints import Wish
from model.image_io import Photo
from model.likeness import Scene
from model.training import data

COUNTS = (1, 5)
OFF = 40.0
_EDGE = 15.0
_PARTS = {
    "inside": "within the object",
    "strong": "around it, across strong edges",
    "weak": "around it, across weak edges",
    "far": "farther away",
}


@dataclass(frozen=True)
class Opened:
    """A photo, and what the net answered, decoded."""

    truth: NDArray[np.uint8]
    scene: Scene
    ab_2hw: NDArray[np.float32]

    def colored(self, ab_2hw: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(2, h, w) ab → the photo in these colors, (H, W, 3)."""
        found: NDArray[np.uint8] = upsample.render(self.truth, ab_2hw)
        return found


def opened(colorizer: Colorizer, path: Path) -> Opened:
    """Raises OSError for a photo that cannot be read, InputError for a net that answers with no distribution."""
    photo = Photo(center_crop(data.read(path)), None, "PNG")
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    return Opened(photo.pixels, colorizer.scene(photo, logits), colorizer.decode(logits))


def ab_psnr(truth: Picture, prediction: Picture) -> float:
    """dB over a and b alone, of a range of 255: at most 108, which is exact."""
    return 10 * math.log10(255**2 / max(float(((truth.ab - prediction.ab) ** 2).mean()), 1e-6))


def true_hints(truth: Picture, seed: int, count: int) -> list[Wish]:
    """At seeded places: the first of them are the same for any count."""
    places = np.random.default_rng(seed).uniform(1 / 16, 15 / 16, (count, 2))
    found = []
    for x, y in places:
        left, top = int(x * SIDE) - 4, int(y * SIDE) - 4
        color = truth.ab[:, top : top + 9, left : left + 9].mean((1, 2)).numpy()
        found.append(Wish(float(x), float(y), color))
    return found


def with_hints(shown: Opened, path: Path, seed: int) -> dict[int, NDArray[np.uint8]]:
    """The photo as it is colored with so many hints; 0 is without."""
    truth = Picture(shown.truth)
    places = zlib.crc32(f"{seed}/{path.name}".encode())
    return {
        count: shown.colored(hints.follow(shown.scene, shown.ab_2hw, true_hints(truth, places, count)))
        for count in (0, *COUNTS)
    }


def gains(colorizer: Colorizer, photos: Iterable[Path], seed: int) -> list[list[float]]:
    """ab-PSNR of each photo, without hints and with each of COUNTS."""
    found = []
    for path in photos:
        shown = opened(colorizer, path)
        by_count = with_hints(shown, path, seed)
        found.append([ab_psnr(Picture(shown.truth), Picture(pixels)) for pixels in by_count.values()])
    return found


def seconds(colorizer: Colorizer, path: Path, seed: int) -> float:
    """From a changed hint, the last of five, to the photo in color, at its own size: the net's answer and the scene are kept."""
    photo = Photo(data.read(path), None, "PNG")
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    scene, ab = colorizer.scene(photo, logits), colorizer.decode(logits)
    wished = true_hints(Picture(center_crop(photo.pixels)), seed, max(COUNTS))
    before = time.perf_counter()
    upsample.render(photo.pixels, hints.follow(scene, ab, wished))
    return time.perf_counter() - before


def spills(
    colorizer: Colorizer, photos: Iterable[tuple[Path, Path]], seed: int
) -> Iterator[list[list[float]]]:
    """Of each photo and its mask, the movement of each object, by _PARTS; NaN for a part that an object does not have."""
    for path, mask in photos:
        shown = opened(colorizer, path)
        lightness = upsample.lightness(shown.truth)
        classes = _center(Image.open(mask))
        draw = np.random.default_rng(zlib.crc32(f"{seed}/{path.name}".encode()))
        rows = []
        for inside in objects(classes):
            depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            angle = draw.uniform(0, 2 * np.pi)
            height, width = shown.scene.shape
            answer = shown.ab_2hw[:, int(y) * height // SIDE, int(x) * width // SIDE]
            wish = Wish(
                (int(x) + 0.5) / SIDE,
                (int(y) + 0.5) / SIDE,
                answer + OFF * np.array([np.cos(angle), np.sin(angle)], np.float32),
            )
            after = hints.follow(shown.scene, shown.ab_2hw, [wish])
            # of ab itself: 8 bits have no room for some of these colors
            moved = _upsampled(np.hypot(*(after - shown.ab_2hw)))
            parts = around(inside, lightness)
            rows.append(
                [float(moved[part].mean()) if part.sum() >= 30 else np.nan for part in parts.values()]
            )
        yield rows


def objects(classes: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """Of (H, W) classes: connected parts of one, (H, W) each, that are 1 to 35% of the picture and somewhere 12 pixels wide."""
    for label in np.unique(classes):
        parts, count = ndimage.label(classes == label)
        for number in range(1, count + 1):
            inside = parts == number
            if not 0.01 < inside.mean() < 0.35:
                continue
            if ndimage.distance_transform_edt(np.pad(inside, 1)).max() >= 6:
                yield inside


def around(inside: NDArray[np.bool_], lightness_HW: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """The pixels of each of _PARTS."""

    def means(part: NDArray[np.bool_]) -> NDArray[np.float64]:
        covered = ndimage.uniform_filter(part.astype(np.float64), 9)
        found: NDArray[np.float64] = ndimage.uniform_filter(
            np.where(part, lightness_HW, 0.0), 9
        ) / np.maximum(covered, 1e-6)
        return found

    apart, nearest = ndimage.distance_transform_edt(~inside, return_indices=True)
    contrast = np.abs(means(inside) - means(~inside))[tuple(nearest)]
    ring = (apart >= 5) & (apart <= 24)
    return dict(
        zip(_PARTS, (inside, ring & (contrast >= _EDGE), ring & (contrast < _EDGE), apart > 24), strict=True)
    )


@dataclass(frozen=True)
class Report:
    photos: int
    psnr: dict[str, Metrics]
    objects: int
    spill: dict[str, Metrics]
    seed: int
    seconds: Sequence[float]
    """From a changed hint to the picture, of some photos."""

    def as_json(self) -> dict[str, object]:
        return {
            "photos": self.photos,
            "seed": self.seed,
            "hints": as_plain(self.psnr),
            "objects": self.objects,
            "moved": as_plain(self.spill),
            "seconds": [round(second, 4) for second in self.seconds],
        }

    def as_markdown(self) -> str:
        lines = [
            [row, as_text("ab_psnr", found["ab_psnr"], 2), as_text("gain", found["gain"], 2, signed=True)]
            for row, found in self.psnr.items()
        ]
        text = (
            f"{self.photos} photographs, seed {self.seed}; in brackets 95% intervals, by bootstrap over photographs.\n\n"
            + table(["hints with the true color", "ab-PSNR, dB", "gain, dB"], lines)
        )
        if self.objects:
            moved = [
                [_PARTS[row], as_text("moved", found["moved"], 1), as_text("share", found["share"], 2)]
                for row, found in self.spill.items()
            ]
            text += (
                f"\n{self.objects} objects; a hint {OFF:g} ab units off in the middle of each.\n\n"
                + table(["how far colors move", "ab units", "of the object's own"], moved)
            )
        if self.seconds:
            middle, most = np.median(self.seconds) * 1000, max(self.seconds) * 1000
            text += (
                f"\nFrom a changed hint, one of five, to the picture: {middle:.0f} ms in the middle, {most:.0f} ms at most, "
                f"of {len(self.seconds)} photographs.\n"
            )
        return text


def summarize(
    psnr: Sequence[Sequence[float]],
    spilt: Sequence[Sequence[Sequence[float]]],
    seed: int,
    times: Sequence[float] = (),
) -> Report:
    """Of `gains`, of `spills` and of `seconds`, by photo."""
    draws = Bootstrap(len(psnr), seed)
    means = draws.means(psnr)
    rows: dict[str, Metrics] = {
        str(count): {"ab_psnr": means[:, place], "gain": means[:, place] - means[:, 0]}
        for place, count in enumerate((0, *COUNTS))
    }
    moved: dict[str, Metrics] = {}
    kept = [np.array(photo) for photo in spilt if len(photo)]
    if kept:
        again = Bootstrap(len(kept), seed)
        for place, part in enumerate(_PARTS):
            has = [np.isfinite(photo[:, place]) for photo in kept]
            count = again.sums([known.sum() for known in has])
            here = again.sums([np.nansum(photo[:, place]) for photo in kept]) / count
            inside = (
                again.sums([photo[known, 0].sum() for photo, known in zip(kept, has, strict=True)]) / count
            )
            moved[part] = {"moved": here, "share": here / inside}
    return Report(len(psnr), rows, sum(map(len, kept)), moved, seed, times)


def _center(mask: Image.Image) -> NDArray[np.uint8]:
    """The protocol's crop of a mask."""
    width, height = mask.size
    short = min(width, height)
    size = (max(SIDE, round(width * SIDE / short)), max(SIDE, round(height * SIDE / short)))
    resized = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    top, left = (resized.shape[0] - SIDE) // 2, (resized.shape[1] - SIDE) // 2
    return resized[top : top + SIDE, left : left + SIDE]


def _upsampled(values_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values_hw).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
