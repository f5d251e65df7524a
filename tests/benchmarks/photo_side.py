"""The parts of `make bench-photo` that need a process of their own.

python -m tests.benchmarks.photo_side product              colors JPEGs, named with their targets by stdin's lines of JSON; prints seconds
python -m tests.benchmarks.photo_side twin                 the same by plain means: scikit-image, eager PyTorch in float32, Pillow
python -m tests.benchmarks.photo_side stages PHOTO...      prints CPU-seconds by stage, of all these photos by the product
python -m tests.benchmarks.photo_side photos FOLDER COUNT  makes the photographs
python -m tests.benchmarks.photo_side compare A B          prints how far apart two colored photos are, in 8-bit steps

`product` and `twin` print the most memory that they had once stdin ends. Both know no more of a photo than its bytes, and keep nothing
between photos but the net.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 92
LARGE = (4000, 3000)
HUGE = (12_000, 10_000)
OF_FOLDER = (2000, 1500)
STAGES = ("open", "preprocess", "infer", "postprocess", "save")

Colorize = Callable[[bytes], bytes]


def product() -> Colorize:
    from model import image_io
    from model.colorizer import Colorizer

    colorizer = Colorizer.load("lite", "cpu")

    def colorize(data: bytes) -> bytes:
        photo = image_io.open(data)
        [logits] = colorizer.infer([colorizer.preprocess(photo)])
        return image_io.save(colorizer.postprocess(photo, logits))

    return colorize


def twin() -> Colorize:
    """What the product does to a photograph, as one would write it down from the paper."""
    import torch
    from skimage.color import lab2rgb, rgb2lab
    from torch.nn import functional as F

    from model import bins, checkpoint

    net, card = checkpoint.load(checkpoint.locate("lite"))
    net.eval()
    centers = bins.centers()

    @torch.inference_mode()
    def colorize(data: bytes) -> bytes:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        lightness = rgb2lab(np.asarray(image))[..., 0]
        short = min(image.size)
        width, height = (round(side * card.size / short / 32) * 32 for side in image.size)
        small = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
        seen = torch.from_numpy(rgb2lab(small)[..., 0]).float()[None, None]
        likely = torch.softmax(net(seen) / card.temperature, 1)
        ab = torch.einsum("nqhw,qc->nchw", likely, centers)
        whole = F.interpolate(ab, lightness.shape, mode="bilinear", align_corners=False)[0].numpy()
        rgb = lab2rgb(np.dstack([lightness, *whole]))
        file = io.BytesIO()
        Image.fromarray((rgb * 255).round().astype(np.uint8)).save(
            file, "JPEG", quality=QUALITY, subsampling=0
        )
        return file.getvalue()

    return colorize


def serve(colorize: Colorize) -> None:
    """Color what stdin asks for until it ends. The first photo is for warming up, and belongs to the caller to leave out."""
    _say({"ready": True})
    for line in sys.stdin:
        task = json.loads(line)
        data = Path(task["photo"]).read_bytes()
        start = time.perf_counter()
        colored = colorize(data)
        seconds = time.perf_counter() - start
        Path(task["target"]).write_bytes(colored)
        _say({"seconds": seconds})
    _say({"peak_mib": _peak_mib()})


def stages(paths: list[str]) -> dict[str, float]:
    """CPU-seconds of all threads, by stage."""
    from model import image_io
    from model.colorizer import Colorizer

    colorizer = Colorizer.load("lite", "cpu")
    used = np.zeros(len(STAGES))
    for number, path in enumerate([paths[0], *paths]):  # the first one twice: once to warm up
        data = Path(path).read_bytes()
        times = [time.process_time()]
        photo = image_io.open(data)
        times.append(time.process_time())
        seen = colorizer.preprocess(photo)
        times.append(time.process_time())
        [logits] = colorizer.infer([seen])
        times.append(time.process_time())
        colored = colorizer.postprocess(photo, logits)
        times.append(time.process_time())
        image_io.save(colored)
        times.append(time.process_time())
        if number:
            used += np.diff(times)
    return dict(zip(STAGES, used.tolist(), strict=True))


def make_photos(folder: Path, count: int) -> None:
    """scikit-image's photographs, enlarged: large-*.jpg of 12 megapixels, huge.jpg of 120, and a folder of `count` smaller ones."""
    from skimage import data

    pictures: dict[str, NDArray[np.uint8]] = {
        name: getattr(data, name)() for name in ("camera", "astronaut", "chelsea", "coffee", "rocket")
    }
    gray = Image.fromarray(pictures.pop("camera"))
    sepia = _sepia(pictures.pop("astronaut"))
    sources = [gray, sepia, *(_gray(picture) for picture in pictures.values())]
    (folder / "many").mkdir(parents=True, exist_ok=True)
    _save(gray, LARGE, folder / "large-gray.jpg")
    _save(sepia, LARGE, folder / "large-sepia.jpg")
    _save(gray, HUGE, folder / "huge.jpg")
    for number in range(count):
        source = sources[number % len(sources)]
        shift = number // len(sources)
        part = source.crop((shift, shift, source.width - shift, source.height - shift))
        _save(part, OF_FOLDER, folder / "many" / f"{number:03}.jpg")


def _gray(rgb: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(rgb).convert("L")


def _sepia(rgb: NDArray[np.uint8]) -> Image.Image:
    """A toned print, which is saved with three channels."""
    gray = np.asarray(_gray(rgb), np.float32)[..., None] / 255
    return Image.fromarray((255 * gray ** np.array([0.85, 1.0, 1.2])).astype(np.uint8))


def _save(image: Image.Image, size: tuple[int, int], path: Path) -> None:
    image.resize(size, Image.Resampling.BICUBIC).save(path, quality=QUALITY)


def compare(one: Path, other: Path) -> float:
    """Mean absolute difference of two pictures of one size; infinite where their sizes differ."""
    first, second = (np.asarray(Image.open(path).convert("RGB"), np.int16) for path in (one, other))
    return float(np.abs(first - second).mean()) if first.shape == second.shape else float("inf")


def _peak_mib() -> float:
    """The most memory this process had. `ru_maxrss` would count the parent's, from before this program was loaded."""
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> None:
    match words:
        case ["product"]:
            serve(product())
        case ["twin"]:
            serve(twin())
        case ["stages", *paths]:
            _say(stages(paths))
        case ["photos", folder, count]:
            make_photos(Path(folder), int(count))
        case ["compare", one, other]:
            _say(compare(Path(one), Path(other)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
