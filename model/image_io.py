"""Bytes ↔ `Photo`: files become pixels, and pixels become files. Needs no torch.

`image_headers.probe` says what is taken, by the file's header; `open` begins with it.

| what comes in | what is done |
|---|---|
| the formats of `image_headers.FORMATS` | opened, whatever the name; anything else is refused (docs/formats.md) |
| EXIF orientation 1…8 | applied: pixels are upright, nothing is left to rotate |
| an ICC profile, gray ones too; a PNG's cICP, gAMA, cHRM | converted to sRGB; a broken or unfitting profile is ignored |
| 9 to 64 bits a channel, gray or in color | scaled to uint16, never clipped; white-is-zero files inverted |
| floating point values | from 0 to 1 opened as uint16, with a notice; others refused: their range is not defined |
| CMYK, YCCK, Adobe's inverted CMYK, CIELAB | converted to sRGB |
| three channels that are equal everywhere | gray |
| alpha, transparent palettes and colors | kept aside as 8 bits, put back on saving; dropped if all opaque |
| 1 bit, palette, gray with alpha | expanded |
| several pages | the photograph of full size; where several are, the first, with a notice |
| animations | refused, but for `page=1` |
| a JPEG with further pictures inside (MPO, depth, gain map) | the first, which is the photograph |
| an end mark that is missing, a checksum of no picture that is wrong | opened, with a notice |
| cut off | refused with the share that is there; `partial` opens it |
| metadata | kept as `Photo.metadata`; what saving makes of it: docs/metadata.md |
| empty, too large, too small, too narrow | refused with a code |
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from model import image_metadata
from model.errors import InputError, Notice, PhotoError
from model.formats import decoders, encoders, mark, profiles, raster
from model.formats.encoders import Encoding
from model.formats.raster import Raster
from model.image_headers import ENDINGS, Limits, damaged, probe
from model.image_metadata import Changes, Metadata
from model.metadata import exif, tiff

if TYPE_CHECKING:
    from numpy.typing import NDArray

WRITABLE: Final = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
_DEFAULTS: Final = (
    {name: name for name in ("JPEG", "PNG", "WEBP", "TIFF")}
    | dict.fromkeys(("AVIF", "HEIF", "HEIC", "JXL"), "JPEG")
    | dict.fromkeys(("JPEG2000", "JP2"), "TIFF")
)
_MEDIA_TYPES: Final = {"JPEG2000": "image/jp2", "PPM": "image/x-portable-anymap", "TGA": "image/x-tga"}
_JPEG_MAX_SIDE: Final = 65_500  # libjpeg's
_WEBP_MAX_SIDE: Final = 16_383  # RFC 9649: fourteen bits
_AVIF_MAX_SIDE: Final = 32_768  # what libavif's readers take
_AVIF_MAX_PIXELS: Final = 2**28
_BYTES: Final = (1, 2, 7)  # BYTE, ASCII and UNDEFINED, which Pillow leaves as they are

# Pillow warns of pictures that are read all the same.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# `probe` refuses by the header what is too large, and by the limits that it is given.
Image.MAX_IMAGE_PIXELS = None

_TURNS: Final[Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""What makes pixels upright, by EXIF's orientation."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An upright photograph in sRGB.

    `pixels` is (H, W) gray or (H, W, 3), uint8 or uint16; `alpha` is (H, W) uint8, or None if all is opaque; `format` is what the file
    came as, one of `image_headers.FORMATS`; `dpi` is (horizontal, vertical). `frame` is (top, left, bottom, right), in pixels, of the
    photograph on its page: what lies outside, such as a mount or a caption, stays gray. None: all of it.
    """

    pixels: NDArray[Any]
    alpha: NDArray[np.uint8] | None
    format: str
    dpi: tuple[float, float] | None = None
    metadata: Metadata = Metadata()
    notices: tuple[Notice, ...] = ()
    frame: tuple[int, int, int, int] | None = None

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


def open(  # noqa: A001  (image_io.open, as Image.open)
    data: bytes,
    limits: Limits = Limits(),
    at_least: int = 0,
    *,
    page: int | None = None,
    partial: bool = False,
) -> Photo:
    """Decode a file's bytes. Raises `PhotoError`, whatever the bytes are.

    `at_least`: both sides of a JPEG may come smaller than they are stored, but not smaller than that, and are then decoded in a fraction
    of the time. 0 decodes all. `page`: which of a TIFF's pages, from 1 on; None is the photograph; 1 is the first frame of an animation,
    too, which None refuses. `partial`: a JPEG, PNG, TIFF, PNM, BMP or TGA that was cut off is opened, gray where nothing is, and `frame` is
    what is there.
    """
    header = probe(data, limits, page)
    limits.check_memory(header, len(data))
    try:
        photo = _finished(decoders.decode(data, header, at_least, partial), header.format)
        return replace(photo, metadata=image_metadata.read(data, header.format, header.page - 1))
    except PhotoError:
        raise
    except MemoryError as error:
        raise limits.too_many_pixels() from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise damaged() from error


def _finished(made: Raster, format: str) -> Photo:
    """Upright, in sRGB."""
    pixels = _to_srgb(made)
    alpha, missing, dpi = made.alpha, made.missing, made.dpi
    turned = _TURNS.get(made.orientation)
    if turned is not None:
        pixels = np.ascontiguousarray(turned(pixels))
        alpha = None if alpha is None else np.ascontiguousarray(turned(alpha))
        missing = None if missing is None else turned(missing)
    if dpi is not None and made.orientation in (5, 6, 7, 8):
        dpi = dpi[1], dpi[0]
    if dpi is not None and not all(1 < value <= 65_535 for value in dpi):  # 1: the file says nothing
        dpi = None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    notices, frame = made.notices, None
    if missing is not None:
        pixels, frame = _fill_gray(pixels, missing)
        share = math.floor((1 - float(missing.mean())) * 100)
        notices = [
            *notices,
            Notice(
                "file_cut_off", f"The file is cut off: {share}% of the picture is there; the rest is gray."
            ),
        ]
    return Photo(pixels, alpha, format, dpi, notices=tuple(dict.fromkeys(notices)), frame=frame)


def _to_srgb(made: Raster) -> NDArray[Any]:
    """(H, W) gray, as which color scans whose channels are equal everywhere come too, or (H, W, 3)."""
    match made.space:
        case "cmyk":
            return raster.as_gray(profiles.cmyk_to_srgb(made.pixels, made.profile))
        case "lab" | "icclab":
            return profiles.lab_to_srgb(made.pixels, from_zero=made.space == "icclab")
    pixels = made.pixels if made.pixels.ndim == 2 else raster.as_gray(made.pixels)
    if pixels.ndim == 2:
        return profiles.gray_to_srgb(pixels, made.profile)
    return profiles.rgb_to_srgb(pixels, made.profile)


def _fill_gray(
    pixels: NDArray[Any], missing: NDArray[np.bool_]
) -> tuple[NDArray[Any], tuple[int, int, int, int] | None]:
    """A middle gray where nothing is; and the rectangle that holds all that is there, None if that is nothing."""
    pixels = pixels.copy()
    pixels[missing] = np.iinfo(pixels.dtype).max // 2 + 1
    rows, columns = (np.flatnonzero(~missing.all(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return pixels, None
    return pixels, (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def reduced(photo: Photo, longest: int) -> Photo:
    """The photo with its longer side at most `longest` pixels, as large on paper as before. One that is no larger is itself."""
    if max(photo.size) <= longest:
        return photo
    scale = longest / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)

    def resized(plane: NDArray[Any]) -> NDArray[Any]:
        gap = 1.0 if plane.dtype == np.uint8 else None  # Pillow reduces no 16 bits, and has no RGB of them
        image = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=gap))

    if photo.pixels.dtype == np.uint16 and photo.pixels.ndim == 3:
        pixels = np.stack([resized(plane) for plane in np.moveaxis(photo.pixels, -1, 0)], axis=-1)
    else:
        pixels = resized(photo.pixels)
    return replace(
        photo,
        pixels=pixels,
        alpha=None if photo.alpha is None else resized(photo.alpha),
        dpi=photo.dpi and (photo.dpi[0] * scale, photo.dpi[1] * scale),
        frame=photo.frame and _scaled(photo.frame, (width / photo.width, height / photo.height)),
    )


def deepened(photo: Photo) -> Photo:
    """The photo with 16 bits a channel: values of 8 bits times 257, so that black and white stay so."""
    if photo.pixels.dtype == np.uint16:
        return photo
    return replace(photo, pixels=photo.pixels.astype(np.uint16) * np.uint16(257))


def _scaled(frame: tuple[int, int, int, int], by: tuple[float, float]) -> tuple[int, int, int, int]:
    """A frame in a picture reduced by (across, down); at least one pixel of it is left."""
    left, right = (round(frame[side] * by[0]) for side in (1, 3))
    top, bottom = (round(frame[side] * by[1]) for side in (0, 2))
    left, top = min(left, right - 1), min(top, bottom - 1)
    return max(0, top), max(0, left), max(1, bottom), max(1, right)


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to encode. `format`: None is the photo's own. `quality`: 1…100, InputError for another.

    `metadata` keeps the photo's record, with `location` its GPS coordinates too. `disclosure` writes into the file that its colors are
    guesses; `mark` writes it into a corner of the picture. docs/metadata.md says how.
    """

    format: str | None = None
    quality: int = 92
    metadata: bool = True
    location: bool = True
    disclosure: bool = True
    mark: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality must be 1…100, not {self.quality}")


@dataclass(frozen=True, slots=True)
class Separate:
    """Two TIFF files of one size that belong together: the gray photograph, and the color to be laid over it."""

    gray: bytes
    color: bytes


def save(photo: Photo, options: SaveOptions = SaveOptions()) -> bytes:
    """Encode `photo` in `saved_format(photo, options.format)`, tagged as sRGB, with what it has for a record.

    16 bits a channel stay so in PNG and TIFF; the others hold 8. `quality` (1…100) counts for JPEG, WebP and AVIF; PNG and TIFF lose
    nothing. The dpi are kept with or without the record.
    """
    container = saved_format(photo, options.format)
    pixels, alpha = photo.pixels, photo.alpha
    if options.mark:
        pixels, alpha = mark.marked(pixels, alpha)
    encoding = _encoding(photo, container, options)
    match container:
        case "PNG":
            return encoders.png(pixels, alpha, encoding)
        case "TIFF":
            return encoders.tiff(pixels, alpha, encoding)
        case "JPEG":
            return encoders.jpeg(raster.to_eight_bits(pixels), encoding)
        case "WEBP":
            return encoders.webp(raster.to_eight_bits(pixels), alpha, encoding)
        case _:
            return encoders.avif(raster.to_eight_bits(pixels), alpha, encoding)


def save_separate(gray: Photo, colored: Photo, options: SaveOptions = SaveOptions()) -> Separate:
    """The gray photograph as it came, and the color of `colored` as a layer over it; both upright, of one size, as TIFF.

    The layer is CIELAB of 16 bits (D65, TIFF 6.0, 23) whose L* is 50 all over: its a* and b* beside the L* of the gray one are the colored
    picture, to one 8-bit step. docs/metadata.md says how to put them together. `format`, `quality` and `mark` have no meaning here.
    Raises ValueError where the two differ in size.
    """
    if gray.size != colored.size:
        raise ValueError(f"the gray photo is {gray.size}, the colored one {colored.size}")
    plain = _encoding(gray, "TIFF", replace(options, disclosure=False))
    layer = _encoding(gray, "TIFF", options)
    return Separate(
        encoders.tiff(gray.pixels, gray.alpha, plain), encoders.color_layer(colored.pixels, layer)
    )


def saved_format(photo: Photo, format: str | None = None) -> str:
    """What `save` writes: `format`, by default the photo's own, or the nearest that can hold it.

    By default GIF, BMP, PNM and TGA become PNG; AVIF (slow to write), HEIC and JPEG XL, which phones and cameras make, JPEG; JPEG 2000,
    which archives keep as masters, TIFF, which they keep as well, and which loses nothing. More than 8 bits then become TIFF rather than
    JPEG.
    Whatever is asked for: JPEG holds no alpha, and no format holds every size, so PNG takes their place. Raises InputError for a format
    that is not one of `WRITABLE`.
    """
    if format is not None and format.upper() not in WRITABLE:
        raise InputError(f"cannot save as {format}: choose one of {', '.join(WRITABLE)}")
    if format is not None:
        wanted = format.upper()
    else:
        wanted = _DEFAULTS.get(photo.format.upper(), "PNG")
        if photo.pixels.dtype == np.uint16 and wanted in ("JPEG", "WEBP"):
            wanted = "TIFF"
    long, pixels = max(photo.size), photo.width * photo.height
    holds_it = {
        "JPEG": photo.alpha is None and long <= _JPEG_MAX_SIDE,
        "WEBP": long <= _WEBP_MAX_SIDE,
        "AVIF": long <= _AVIF_MAX_SIDE and pixels <= _AVIF_MAX_PIXELS,
        "TIFF": True,
    }
    return wanted if holds_it.get(wanted, False) else "PNG"


def media_type(format: str) -> str:
    """`image/jpeg` for "JPEG", and so on."""
    return _MEDIA_TYPES.get(format, f"image/{format.lower()}")


def extension(format: str) -> str:
    """`.jpg` for "JPEG", and so on: the usual one of a format that can be read."""
    return ENDINGS[format][0]


def _encoding(photo: Photo, container: str, options: SaveOptions) -> Encoding:
    kept = photo.metadata if options.metadata else Metadata()
    dpi = photo.dpi if options.metadata else None  # EXIF is no place for them where no record is wanted
    changes = Changes(container, *photo.size, dpi, options.location, options.disclosure)
    record = image_metadata.for_file(kept, changes)
    return Encoding(options.quality, photo.dpi or exif.resolution(record.exif), record)


def _bounded(load: Callable[..., Any], most_bytes: int) -> Callable[..., Any]:
    def loaded(directory: ImageFileDirectory_v2, data: bytes, legacy_api: bool = True) -> Any:
        if len(data) > most_bytes:
            raise ValueError(f"a tag of {len(data)} bytes")
        return load(directory, data, legacy_api)

    return loaded


def _bound_tags() -> None:
    """Let Pillow unpack no more than so many numbers from a TIFF or EXIF tag.

    It makes a Python object of each, and of a rational one that is large and slow to make. TIFF, JPEG and AVIF files have tags that it
    reads while it opens them, before anybody else could look at these.
    """
    for kind, (size, load) in ImageFileDirectory_v2._load_dispatch.items():
        if kind not in _BYTES:
            most = tiff.MOST_RATIONALS if load.__name__.endswith("rational") else tiff.MOST_NUMBERS
            ImageFileDirectory_v2._load_dispatch[kind] = size, _bounded(load, most * size)


_bound_tags()
