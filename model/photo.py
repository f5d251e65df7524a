"""Bytes ↔ `Photo`: the one place where files people send become pixels, and pixels become files again.

| what comes in | what is done |
|---|---|
| JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF | opened; anything else is refused, whatever its name |
| EXIF orientation 1…8 | applied: pixels are upright, nothing is left to rotate |
| an ICC profile, gray ones too | converted to sRGB; a broken or unfitting profile is ignored |
| 16 bit gray, 12 and 32 bit too | scaled to uint16, never clipped; white-is-zero files inverted |
| floating point TIFF | refused: its range is not defined |
| CMYK, YCCK, Adobe's inverted CMYK, CIELAB | converted to sRGB |
| alpha, transparent palettes and colors | kept aside as 8 bits, put back on saving; dropped if all opaque |
| 1 bit, palette, gray with alpha | expanded |
| animations, TIFFs of several pages | refused |
| a JPEG with further pictures inside (MPO, depth, gain map) | the first, which is the photograph |
| metadata | dropped, position and camera included; the resolution in dpi is kept |
| empty, cut off, too large, too small, too narrow | refused with a code |
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from model import icc

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

READABLE: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
WRITABLE: Final = ("JPEG", "PNG", "WEBP", "TIFF")
_MEDIA_TYPES: Final = {name: f"image/{name.lower()}" for name in READABLE}
_EXTENSIONS: Final = {"JPEG": ".jpg", "TIFF": ".tif"}
_WEBP_MAX_SIDE: Final = 16_383  # RFC 9649: fourteen bits

_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PhotoError(ValueError):
    """A file that cannot be taken as a photograph.

    `code` is stable: photo_empty, photo_unsupported, photo_damaged, photo_animated, photo_too_large or
    photo_too_small. `detail` is for the person who sent the file: what is wrong and what to do.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What `open` takes. The pixels and sides are read from the header, before anything is decoded."""

    max_bytes: int = 25 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    min_side: int = 8
    max_aspect: float = 50  # longer side over shorter


@dataclass(frozen=True, slots=True)
class Photo:
    """An upright photograph in sRGB.

    `pixels` is (H, W) uint8 or uint16 gray, or (H, W, 3) uint8; `alpha` is (H, W) uint8, or None if all is
    opaque; `format` is what the file came as, one of `READABLE`; `dpi` is (horizontal, vertical).
    """

    pixels: NDArray[Any]
    alpha: NDArray[np.uint8] | None
    format: str
    dpi: tuple[float, float] | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), in the order that people say it."""
        return self.width, self.height


def open(data: bytes, limits: Limits = Limits(), at_least: int = 0) -> Photo:  # noqa: A001  (photo.open, as Image.open)
    """Decode a file's bytes. Raises `PhotoError`, whatever the bytes are.

    `at_least`: for who needs a small picture of a large JPEG: both sides need not have more pixels than that, which is decoded in a
    fraction of the time. 0 decodes all.
    """
    _check_bytes(data, limits)
    try:
        with Image.open(io.BytesIO(data), formats=READABLE) as image:
            _check_header(image, limits)
            _check_sums(image, data)
            if at_least and image.format in ("JPEG", "MPO"):
                image.draft(None, (at_least, at_least))
            return _decode(image)
    except PhotoError:
        raise
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise PhotoError("photo_too_large", _too_many_pixels(limits)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise _damaged() from error


def save(photo: Photo, format: str | None = None, quality: int = 92) -> bytes:
    """Encode `photo` with 8 bits a channel in `saved_format(photo, format)`, tagged as sRGB.

    Chroma is what we add to a photograph, so JPEG keeps it at full resolution (4:4:4). WebP cannot: it halves
    it. `quality` (1…100) counts for JPEG and WebP; PNG and TIFF lose nothing. No metadata is written, except
    for the dpi.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be 1…100, not {quality}")
    container = saved_format(photo, format)
    options: dict[str, Any] = {"icc_profile": icc.srgb()}
    if photo.dpi is not None and container != "WEBP":
        options["dpi"] = photo.dpi
    match container:
        case "JPEG":
            options |= {"quality": quality, "subsampling": 0}
        case "WEBP":
            options |= {"quality": quality}
        case "TIFF":
            options |= {"compression": "tiff_adobe_deflate"}
    file = io.BytesIO()
    _compose(photo).save(file, container, **options)
    return file.getvalue()


def saved_format(photo: Photo, format: str | None = None) -> str:
    """What `save` writes: `format`, by default the photo's own, or the nearest that can hold it.

    GIF and BMP become PNG, AVIF (slow to write) becomes JPEG; JPEG holds no alpha and WebP no side beyond
    16,383, so PNG takes their place. Raises ValueError for a format that is not one of `WRITABLE`.
    """
    if format is not None and format.upper() not in WRITABLE:
        raise ValueError(f"cannot save as {format}: choose one of {', '.join(WRITABLE)}")
    wanted = (format or photo.format).upper()
    if wanted == "AVIF":
        wanted = "JPEG"
    holds_it = {"JPEG": photo.alpha is None, "WEBP": max(photo.size) <= _WEBP_MAX_SIDE, "TIFF": True}
    return wanted if holds_it.get(wanted, False) else "PNG"


def media_type(format: str) -> str:
    """`image/jpeg` for "JPEG", and so on."""
    return _MEDIA_TYPES[format]


def extension(format: str) -> str:
    """`.jpg` for "JPEG", and so on."""
    return _EXTENSIONS.get(format, f".{format.lower()}")


def _check_bytes(data: bytes, limits: Limits) -> None:
    if not data:
        raise PhotoError("photo_empty", "The file is empty. Choose it again and send it once more.")
    if len(data) > limits.max_bytes:
        raise PhotoError(
            "photo_too_large",
            f"The file has {len(data) / 2**20:.1f} MiB; {limits.max_bytes / 2**20:g} MiB is the most. "
            "Send a smaller version or save it as JPEG.",
        )


def _check_header(image: ImageFile, limits: Limits) -> None:
    """Refuse by what the header says; nothing has been decoded yet."""
    width, height = image.size
    short, long = sorted(image.size)
    if width * height > limits.max_pixels:
        raise PhotoError("photo_too_large", _too_many_pixels(limits))
    if long > limits.max_side:
        raise PhotoError(
            "photo_too_large",
            f"The photo is {width} by {height} pixels; {limits.max_side} is the longest side. "
            "Send a smaller version.",
        )
    if short < limits.min_side:
        raise PhotoError(
            "photo_too_small",
            f"The photo is {width} by {height} pixels; each side must have at least {limits.min_side}. "
            "Send a larger version.",
        )
    if long > limits.max_aspect * short:
        raise PhotoError(
            "photo_too_small",
            f"The photo is {width} by {height} pixels: one side is over {limits.max_aspect:g} times "
            "the other. Cut it into pieces.",
        )
    if _tile_pixels(image) > max(limits.max_pixels, 4 * width * height):
        raise PhotoError("photo_too_large", _too_many_pixels(limits))
    if image.format == "TIFF" and getattr(image, "is_animated", False):
        raise PhotoError("photo_animated", "The TIFF holds several pages. Send each as a file of its own.")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise PhotoError("photo_animated", "The file is an animation. Send a single frame as JPEG or PNG.")


def _tile_pixels(image: ImageFile) -> int:
    """Pixels of one TIFF tile: a decoder holds a whole tile, however little of it the picture uses."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(322, 0)) * int(tags.get(323, 0))  # TileWidth, TileLength


def _check_sums(image: ImageFile, data: bytes) -> None:
    """Pillow's decoder passes over a PNG's checksums and shows rubbish; its verifier does not."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()


def _decode(image: ImageFile) -> Photo:
    orientation = _orientation(image)
    image.load()
    upright: Image.Image = image
    if image.format != "TIFF" and orientation in _TRANSPOSE:  # Pillow turns a TIFF while it loads it
        upright = image.transpose(_TRANSPOSE[orientation])
    dpi = _dpi(image)
    if dpi is not None and orientation >= 5:
        dpi = dpi[1], dpi[0]
    profile = icc.read(image.info.get("icc_profile"))
    if upright.mode == "F":
        raise PhotoError(
            "photo_unsupported", "The TIFF holds floating point values. Save it with 16 or 8 bits a channel."
        )
    if upright.mode.startswith("I"):
        pixels, alpha = _wide_gray(upright, dict(getattr(image, "tag_v2", {})))
        pixels = icc.gray_to_srgb(pixels, profile)
    else:
        pixels, alpha = _narrow(upright, profile)
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return Photo(pixels, alpha, "JPEG" if image.format == "MPO" else str(image.format), dpi)


def _orientation(image: ImageFile) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a picture is worth opening whatever its EXIF block holds
        return 1


def _dpi(image: ImageFile) -> tuple[float, float] | None:
    try:
        horizontal, vertical = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    sane = all(1 < value <= 65_535 for value in (horizontal, vertical))  # 1: the TIFF says nothing
    return (horizontal, vertical) if sane else None


def _wide_gray(image: Image.Image, tags: dict[int, Any]) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Gray of more than 8 bits as the whole range of uint16, and its alpha.

    Pillow hands over the stored values as they are: 12 bits unscaled, and white as zero if the file says so.
    """
    stored = np.asarray(image)
    alpha: NDArray[np.uint8] | None = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(stored == transparent, 0, 255).astype(np.uint8)
    if image.mode == "I":
        return _from_int32(stored, tags), alpha
    pixels: NDArray[Any] = stored.astype(np.uint16)
    if tags.get(258) == (12,):  # BitsPerSample
        pixels = pixels << 4 | pixels >> 8
    if tags.get(262) == 0:  # PhotometricInterpretation: WhiteIsZero
        pixels = 65_535 - pixels
    return pixels, alpha


def _from_int32(stored: NDArray[np.int32], tags: dict[int, Any]) -> NDArray[np.uint16]:
    """32-bit integers, of which many programs use no more than the lower sixteen bits."""
    signed = tags.get(339, (1,)) == (2,)  # SampleFormat
    if signed and stored.min() < 0:
        raise PhotoError(
            "photo_unsupported", "The TIFF holds negative values. Save it with 16 or 8 bits, unsigned."
        )
    values = stored.view(np.uint32)
    if values.max() > 65_535:
        return (values >> (15 if signed else 16)).astype(np.uint16)
    return values.astype(np.uint16)


def _narrow(image: Image.Image, profile: icc.Profile | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Everything of 8 bits and less: (H, W) or (H, W, 3) in sRGB, and alpha or None."""
    gray = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
    if gray:
        return icc.gray_to_srgb(np.asarray(image.convert("L")), profile), alpha
    if image.mode != "CMYK":
        image = image.convert("RGB")
    return np.asarray(icc.to_srgb(image, profile) or image.convert("RGB")), alpha


def _compose(photo: Photo) -> Image.Image:
    pixels = photo.pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(photo.alpha)))
    return image


def _unidentified(data: bytes) -> PhotoError:
    looks_like = (accept for _, accept in (Image.OPEN[name] for name in READABLE) if accept is not None)
    if any(accept(data[:16]) is True for accept in looks_like):
        return _damaged()
    return PhotoError(
        "photo_unsupported",
        "This is not a photo that can be read. Send a JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF file; "
        "save others, HEIC and raw ones too, as JPEG first.",
    )


def _damaged() -> PhotoError:
    return PhotoError(
        "photo_damaged",
        "The photo is damaged or cut off, or of a rare kind. Send it again, or save it anew as JPEG or PNG.",
    )


def _too_many_pixels(limits: Limits) -> str:
    return f"The photo has more than {limits.max_pixels / 1e6:g} megapixels. Send a smaller version."
