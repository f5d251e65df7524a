"""Pixels and a record as bytes of each format that is written. Needs no torch.

| format | written by | holds |
|---|---|---|
| JPEG | imagecodecs (libjpeg-turbo) | 8 bits, 4:4:4; EXIF, XMP, IPTC, comment, dpi, profile |
| PNG | imagecodecs (libpng) | 8 or 16 bits, alpha; EXIF, XMP, IPTC as a raw profile, text, dpi, profile |
| TIFF | tifffile | 8 or 16 bits, alpha, deflate; EXIF, XMP, IPTC, dpi, profile |
| WebP | Pillow (libwebp) | 8 bits, 4:2:0, alpha; EXIF, XMP, profile |
| AVIF | Pillow (libavif) | 8 bits, 4:4:4, alpha; EXIF, XMP, profile |

imagecodecs takes arrays as they lie in memory. Pillow makes a copy of four bytes a pixel.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageCms

from model.formats import png_chunks, raster
from model.image_metadata import Metadata
from model.metadata import blocks, exif, iptc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PNG_SPEED: Final = {"level": 1, "strategy": 3, "filter": 16}
"""Run lengths of the differences between neighbors, which is fast, and makes photographs no larger than a higher level does."""
_TIFF_LEVEL: Final = 1
"""With the horizontal predictor, photographs gain nothing by a higher one."""
_AVIF_SPEED: Final = 9
"""0, slow, to 10. Below 9 libavif takes longer, for files as large."""
_HALF_LIGHT: Final = 32_768
"""L* of 50, of 0…65535 for 0…100."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """`quality` 1…100; `dpi` (horizontal, vertical); `record`: the blocks as this file is to hold them."""

    quality: int
    dpi: tuple[float, float] | None = None
    record: Metadata = Metadata()


def jpeg(pixels: NDArray[np.uint8], encoding: Encoding) -> bytes:
    """(H, W) or (H, W, 3), chroma at full resolution: color is what we add to a photograph."""
    import imagecodecs

    encoded = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(pixels), level=encoding.quality, subsampling="444"
    )
    start = bytearray(encoded[:20])  # SOI and JFIF's segment
    if encoding.dpi is not None:
        start[13:18] = struct.pack(">BHH", 1, *(min(round(value), 65_535) for value in encoding.dpi))
    record = encoding.record
    segments = []
    if record.exif:
        segments.append((0xE1, b"Exif\0\0" + record.exif))
    if record.xmp:
        segments.append((0xE1, blocks.XAP + record.xmp))
    if record.iptc:
        segments.append((0xED, blocks.PHOTOSHOP + iptc.wrapped(record.iptc)))
    segments.append((0xE2, b"ICC_PROFILE\0\x01\x01" + profile(pixels.ndim == 2)))
    if record.comment:
        segments.append((0xFE, record.comment))
    packed = (struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)
    return b"".join([start, *packed, memoryview(encoded)[20:]])


def png(pixels: NDArray[Any], alpha: NDArray[np.uint8] | None, encoding: Encoding) -> bytes:
    """(H, W) or (H, W, 3), uint8 or uint16."""
    import imagecodecs

    encoded = imagecodecs.png_encode(_joined(pixels, alpha), **_PNG_SPEED)
    record = encoding.record
    chunks = [(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile(pixels.ndim == 2)))]
    if encoding.dpi is not None:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in encoding.dpi), 1)))
    if record.exif:
        chunks.append((b"eXIf", record.exif))
    if record.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + record.xmp))
    if record.iptc:
        chunks.append((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(_raw_profile(record.iptc))))
    chunks += [_text(key, value) for key, value in record.text]
    packed = (part for kind, body in chunks for part in png_chunks.chunk(kind, body))
    return b"".join([encoded[:33], *packed, memoryview(encoded)[33:]])  # behind IHDR


def tiff(pixels: NDArray[Any], alpha: NDArray[np.uint8] | None, encoding: Encoding) -> bytes:
    """(H, W) or (H, W, 3), uint8 or uint16; deflate with the horizontal predictor."""
    is_gray = pixels.ndim == 2
    return tiff_page(
        _joined(pixels, alpha),
        encoding,
        photometric="minisblack" if is_gray else "rgb",
        planarconfig="contig" if alpha is not None or not is_gray else None,
        extrasamples=() if alpha is None else ("unassalpha",),
        predictor=True,
        iccprofile=profile(is_gray),
    )


def tiff_page(samples: NDArray[Any], encoding: Encoding, **options: Any) -> bytes:
    """(H, W) or (H, W, channels) as a TIFF by tifffile's options."""
    import tifffile

    across, down = encoding.dpi or (1, 1)
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        samples,
        byteorder=exif.byte_order(encoding.record.exif),
        bigtiff=samples.nbytes > 2**32 - 2**25,
        compression="zlib",
        compressionargs={"level": _TIFF_LEVEL},
        resolution=(exif.ratio(across), exif.ratio(down)),
        resolutionunit="NONE" if encoding.dpi is None else "INCH",
        metadata=None,
        software=False,
        maxworkers=1,
        **options,
    )
    data = bytearray(file.getbuffer())
    exif.into_tiff(data, encoding.record.exif, encoding.record.xmp, encoding.record.iptc)
    return bytes(data)


def color_layer(pixels: NDArray[Any], encoding: Encoding) -> bytes:
    """The a* and b* of (H, W, 3) sRGB, uint8 or uint16, at a constant L* of 50: a TIFF of CIELAB with 16 bits and D65 (TIFF 6.0, 23)."""
    from skimage.color import rgb2lab

    layer = np.empty(pixels.shape, np.uint16)
    layer[..., 0] = _HALF_LIGHT
    for rows in raster.strips(pixels):
        ab = rgb2lab(pixels[rows] / np.iinfo(pixels.dtype).max)[..., 1:]
        layer[rows, :, 1:] = np.rint(ab * 256).astype(np.int16).view(np.uint16)
    white = (318, 5, 2, (31_273, 100_000, 32_902, 100_000), True)  # WhitePoint, as x and y
    return tiff_page(
        layer, encoding, photometric="cielab", planarconfig="contig", extratags=[white], predictor=True
    )


def webp(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, encoding: Encoding) -> bytes:
    """(H, W) or (H, W, 3). WebP halves the chroma's resolution."""
    return _by_pillow(pixels, alpha, "WEBP", encoding)


def avif(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, encoding: Encoding) -> bytes:
    """(H, W) or (H, W, 3), chroma at full resolution."""
    chroma = "4:0:0" if pixels.ndim == 2 else "4:4:4"
    return _by_pillow(pixels, alpha, "AVIF", encoding, subsampling=chroma, speed=_AVIF_SPEED, max_threads=2)


@functools.cache
def profile(is_gray: bool = False) -> bytes:
    """The sRGB profile, half a kilobyte, with which a viewer on a wide-gamut screen need not guess; or one for gray with sRGB's curve.

    lcms writes the present time into it. Ours is fixed, since the same photo must give the same bytes.
    """
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = made[:24] + np.array([2000, 1, 1, 0, 0, 0], dtype=">u2").tobytes() + made[36:]
    return _gray_profile(made) if is_gray else made


def _gray_profile(srgb: bytes) -> bytes:
    """sRGB's profile with one curve in place of three, and without colorants (ICC.1, 8.3)."""
    (count,) = struct.unpack_from(">I", srgb, 128)
    entries = [struct.unpack_from(">4sII", srgb, 132 + 12 * index) for index in range(count)]
    tags = {name: srgb[at : at + size] for name, at, size in entries}
    tags = {name: tags[name] for name in (b"desc", b"cprt", b"wtpt")} | {b"kTRC": tags[b"rTRC"]}
    table, values = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(values), len(value))
        values += value + b"\0" * (-len(value) % 4)
    body = srgb[4:16] + b"GRAY" + srgb[20:128] + table + values
    return struct.pack(">I", len(body) + 4) + body


def _joined(pixels: NDArray[Any], alpha: NDArray[np.uint8] | None) -> NDArray[Any]:
    """Pixels with alpha as their last channel, both of the pixels' depth."""
    if alpha is None:
        return np.ascontiguousarray(pixels)
    channels = 1 if pixels.ndim == 2 else 3
    joined = np.empty((*alpha.shape, channels + 1), pixels.dtype)
    joined[..., :channels] = pixels.reshape(*alpha.shape, channels)
    np.multiply(alpha, 257 if pixels.dtype == np.uint16 else 1, out=joined[..., channels], dtype=pixels.dtype)
    return joined


def _by_pillow(
    pixels: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None,
    format: str,
    encoding: Encoding,
    **options: Any,
) -> bytes:
    samples = _joined(pixels, alpha)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[1 if samples.ndim == 2 else samples.shape[2]]
    size = pixels.shape[1], pixels.shape[0]
    options |= {"quality": encoding.quality, "icc_profile": profile(mode[0] == "L" and format == "AVIF")}
    kept = {"exif": encoding.record.exif, "xmp": encoding.record.xmp}
    file = io.BytesIO()
    Image.frombuffer(mode, size, samples, "raw", mode, 0, 1).save(
        file, format, **options, **{name: block for name, block in kept.items() if block}
    )
    return file.getvalue()


def _raw_profile(datasets: bytes) -> bytes:
    """As ImageMagick writes it and ExifTool reads it: PNG has no place of its own for IPTC."""
    body = iptc.wrapped(datasets)
    digits = body.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\niptc\n{len(body):8}\n{lines}\n".encode()


def _text(key: str, value: str) -> tuple[bytes, bytes]:
    """A text chunk: tEXt where Latin-1 holds it, or else iTXt."""
    keyword = key.encode("latin-1", "replace")[:79]
    value = value.replace("\0", "")
    try:
        return b"tEXt", keyword + b"\0" + value.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", keyword + b"\0\0\0\0\0" + value.encode("utf-8", "replace")
