"""The memory that photos of several kinds take in a real worker, beside what is reckoned from their headers before they are opened.

One photo at a time, by HTTP through a whole service; then six of 49.9 megapixels with transparency at once, which are to stay within what
the worker may take for photos.
"""

from __future__ import annotations

import io
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.image_headers import Limits, memory_needed, probe
from tests.benchmarks.report import Check, Log, Report, machine, machine_line, table
from tests.benchmarks.servers import Service

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Config:
    """`megapixels` of each photo, and of each of `at_once`; `worker_memory`: bytes that photos may take."""

    megapixels: float = 24.0
    at_once: int = 6
    large: float = 49.9
    worker_memory: int = 2 * 2**30


Pixels = NDArray[Any]


def _saved(format: str, **options: Any) -> Callable[[Pixels], bytes]:
    def save(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format, **options)
        return file.getvalue()

    return save


def _rgb(gray: Pixels) -> Pixels:
    """Sepia, so that it is not read as gray."""
    return np.stack([gray, (gray * 0.9).astype(gray.dtype), (gray * 0.75).astype(gray.dtype)], axis=2)


def _rgba(gray: Pixels) -> Pixels:
    return np.dstack([_rgb(gray), np.roll(gray, 1, axis=0)])


def _sixteen(pixels: Pixels) -> Pixels:
    return pixels.astype(np.uint16) * 257


def _tiff(pixels: Pixels) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file, pixels, compression="zlib", photometric="rgb" if pixels.ndim == 3 else "minisblack"
    )
    return file.getvalue()


def _png_16(pixels: Pixels) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(pixels, level=1))


def _interlaced(pixels: Pixels) -> bytes:
    """A PNG in Adam7's seven passes (W3C PNG, 8.1), which Pillow does not write."""
    rows = bytearray()
    for top, left, down, across in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        part = pixels[top::down, left::across].reshape(len(pixels[top::down]), -1)
        rows += np.pad(part, ((0, 0), (1, 0))).tobytes()  # filter 0
    color = {2: 0, 3: 2, 4: 6}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, color, 0, 0, 1)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


JPEG, PNG = _saved("JPEG", quality=90), _saved("PNG", compress_level=1)
KINDS: dict[str, tuple[Callable[[Pixels], bytes], dict[str, Any]]] = {
    "JPEG, gray": (JPEG, {}),
    "JPEG, gray, with a comparison": (JPEG, {"artifacts": "comparison"}),
    "JPEG, gray, to AVIF": (JPEG, {"format": "avif"}),
    "JPEG, gray, to WebP": (JPEG, {"format": "webp"}),
    "JPEG, gray, to PNG": (JPEG, {"format": "png"}),
    "JPEG, gray, marked": (JPEG, {"mark": "true"}),
    "JPEG, gray, on its side": (JPEG, {"rotate": "90", "negative": "true"}),
    "JPEG, RGB": (lambda gray: JPEG(_rgb(gray)), {}),
    "JPEG, RGB, progressive": (lambda gray: _saved("JPEG", progressive=True)(_rgb(gray)), {}),
    "PNG, RGB": (lambda gray: PNG(_rgb(gray)), {}),
    "PNG, RGBA": (lambda gray: PNG(_rgba(gray)), {}),
    "PNG, RGBA, with a comparison": (lambda gray: PNG(_rgba(gray)), {"artifacts": "comparison"}),
    "PNG, RGBA, interlaced": (lambda gray: _interlaced(_rgba(gray)), {}),
    "PNG, gray, 16 bits": (lambda gray: _png_16(_sixteen(gray)), {}),
    "PNG, RGBA, 16 bits": (lambda gray: _png_16(_sixteen(_rgba(gray))), {}),
    "TIFF, gray, 16 bits": (lambda gray: _tiff(_sixteen(gray)), {}),
    "TIFF, RGB, 16 bits": (lambda gray: _tiff(_sixteen(_rgb(gray))), {}),
    "TIFF, RGB, 16 bits, with a comparison": (
        lambda gray: _tiff(_sixteen(_rgb(gray))),
        {"artifacts": "comparison"},
    ),
    "WebP, RGB": (lambda gray: _saved("WEBP", quality=80, method=0)(_rgb(gray)[:16000, :16000]), {}),
    "AVIF, RGB": (lambda gray: _saved("AVIF", quality=70, speed=10)(_rgb(gray)), {}),
}
"""How a gray picture becomes the photo, and with which options it is sent."""


def picture(megapixels: float) -> Pixels:
    """Gray, 3 by 2, with shapes and grain."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    down, across = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    waves = 120 + 60 * np.sin(across / 170) * np.cos(down / 110)
    grain = np.random.default_rng(0).integers(-4, 5, (1024, 1024))
    tiled = np.tile(grain, (-(-height // 1024), -(-width // 1024)))[:height, :width]
    return np.asarray((waves + tiled).clip(0, 255).astype(np.uint8))


def run(config: Config, log: Log) -> Report:
    place = machine()
    gray, rows = picture(config.megapixels), []
    limits = {
        "max_bytes": 2**30,
        "max_pixels": 10**9,
        "max_side": 10**5,
        "worker_memory": config.worker_memory,
    }
    with (
        tempfile.TemporaryDirectory(prefix="autochrome-memory-") as folder,
        Service(Path(folder), **limits) as service,
    ):
        [worker] = service.parts()["worker"]
        _color(service.url, JPEG(picture(0.1)), {})
        base = _now(worker.pid)
        for name, (make, options) in KINDS.items():
            photo = make(gray)
            reckoned = memory_needed(probe(photo, Limits.none()), len(photo), options.get("format", ""))
            before = _begin(worker.pid)
            _color(service.url, photo, options)
            taken = _peak(worker.pid) - before
            rows.append(
                (name, len(photo) / MIB, taken / gray.size, reckoned / gray.size, _now(worker.pid) / MIB)
            )
            log(f"{name}: {taken / gray.size:.1f} bytes a pixel, {reckoned / gray.size:.1f} reckoned")
        large = PNG(_rgba(picture(config.large)))
        before = _begin(worker.pid)
        with ThreadPoolExecutor(config.at_once) as pool:
            list(pool.map(lambda _: _color(service.url, large, {}), range(config.at_once)))
        peak, after = _peak(worker.pid), _now(worker.pid)
    most = before + config.worker_memory
    named = f"{config.at_once} PNGs of {config.large:g} megapixels with transparency at once"
    checks = [
        Check(
            "a photo takes at most a tenth more than is reckoned",
            all(row[2] <= 1.1 * row[3] for row in rows),
            "See the table.",
        ),
        Check(
            f"{named} stay within what photos may take",
            peak <= most,
            f"{peak / MIB:.0f} MiB, of {most / MIB:.0f}.",
        ),
        Check(
            "it is given back",
            after <= base + 256 * MIB,
            f"{base / MIB:.0f} MiB before all, {after / MIB:.0f} after all.",
        ),
    ]
    results = {
        "machine": place,
        "config": asdict(config),
        "kinds": rows,
        "base": base,
        "peak": peak,
        "after": after,
    }
    head = (f"{config.megapixels:g} megapixels", "file, MiB", "bytes a pixel", "reckoned", "MiB afterwards")
    text = [
        "# Memory of a worker\n",
        machine_line(place),
        "",
        *[check.line for check in checks],
        "",
        table(head, rows),
    ]
    return Report("memory", results, "\n".join(text), checks)


def _color(url: str, photo: bytes, options: dict[str, Any]) -> None:
    answer = httpx.post(
        f"{url}/v1/colorizations",
        files={"photo": photo},
        data=options,
        headers={"Prefer": "wait=60"},
        timeout=120,
    )
    while answer.status_code == 202 or answer.json()["status"] in ("queued", "running"):
        time.sleep(0.2)
        answer = httpx.get(answer.url.join(answer.headers.get("location", "")), timeout=120)
    if answer.json()["status"] != "succeeded":
        raise RuntimeError(answer.text)


def _begin(pid: int) -> int:
    """Let the peak begin anew (proc(5), clear_refs); what the process has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _now(pid)


def _now(pid: int) -> int:
    return _line(pid, "VmRSS:")


def _peak(pid: int) -> int:
    return _line(pid, "VmHWM:")


def _line(pid: int, name: str) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
