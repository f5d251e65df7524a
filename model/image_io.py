"""Bytes ↔ `Photo`: files become pixels, and pixels become files. Needs no torch.

`image_headers.probe` says what is taken, by the file's header; `open` begins with it.

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
| metadata | kept as `Photo.metadata`; what saving makes of it: docs/metadata.md |
| empty, cut off, too large, too small, too narrow | refused with a code |
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from model import image_encoders, image_exif, image_mark, image_metadata
from model.errors import InputError, Notice, PhotoError
from model.image_encoders import Encoding
from model.image_headers import FORMATS, Limits, damaged, probe
from model.image_metadata import Changes, Metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

WRITABLE: Final = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
_DEFAULTS: Final = (
    {name: name for name in ("JPEG", "PNG", "WEBP", "TIFF")}
    | dict.fromkeys(("AVIF", "HEIF", "HEIC", "JXL"), "JPEG")
    | dict.fromkeys(("JPEG2000", "JP2"), "TIFF")
)
_EXTENSIONS: Final = {"JPEG": ".jpg", "TIFF": ".tif"}
_JPEG_MAX_SIDE: Final = 65_500  # libjpeg's
_WEBP_MAX_SIDE: Final = 16_383  # RFC 9649: fourteen bits
_AVIF_MAX_SIDE: Final = 32_768  # what libavif's readers take
_AVIF_MAX_PIXELS: Final = 2**28
_BYTES: Final = (1, 2, 7)  # BYTE, ASCII and UNDEFINED, which Pillow leaves as they are
_MOST_RATIONALS: Final = 4096
_MOST_NUMBERS: Final = 2**20
"""In one TIFF or EXIF tag. A photo of 50 megapixels in tiles of 16 × 16 pixels has 200,000 offsets; no tag has 100 rationals."""

_EXIF: Final = b"Exif\0\0"
_MOST_EXIF: Final = 16
"""Segments of a JPEG's EXIF block, of 64 KiB each: cameras write one."""

_Profile = ImageCms.ImageCmsProfile
_TRANSPOSE: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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


def open(data: bytes, limits: Limits = Limits(), at_least: int = 0) -> Photo:  # noqa: A001  (image_io.open, as Image.open)
    """Decode a file's bytes. Raises `PhotoError`, whatever the bytes are.

    `at_least`: both sides of a JPEG may come smaller than they are stored, but not smaller than that, and are then decoded in a fraction
    of the time. 0 decodes all.
    """
    probe(data, limits)
    try:
        with Image.open(io.BytesIO(_bound_exif(data)), formats=FORMATS) as image:
            _check_decoder(image, limits)
            _check_sums(image, data)
            if at_least and image.format in ("JPEG", "MPO"):
                image.draft(None, (at_least, at_least))
            photo = _decode(image)
            return replace(photo, metadata=image_metadata.read(data, photo.format))
    except PhotoError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise limits.too_many_pixels() from error
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise damaged() from error


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
        pixels, alpha = image_mark.marked(pixels, alpha)
    encoding = _encoding(photo, container, options)
    match container:
        case "PNG":
            return image_encoders.png(pixels, alpha, encoding)
        case "TIFF":
            return image_encoders.tiff(pixels, alpha, encoding)
        case "JPEG":
            return image_encoders.jpeg(image_encoders.narrowed(pixels), encoding)
        case "WEBP":
            return image_encoders.webp(image_encoders.narrowed(pixels), alpha, encoding)
        case _:
            return image_encoders.avif(image_encoders.narrowed(pixels), alpha, encoding)


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
        image_encoders.tiff(gray.pixels, gray.alpha, plain), image_encoders.color_layer(colored.pixels, layer)
    )


def saved_format(photo: Photo, format: str | None = None) -> str:
    """What `save` writes: `format`, by default the photo's own, or the nearest that can hold it.

    By default GIF, BMP and PNM become PNG; AVIF (slow to write), HEIC and JPEG XL, which phones and cameras make, JPEG; JPEG 2000, which
    archives keep as masters, TIFF, which they keep as well, and which loses nothing. More than 8 bits then become TIFF rather than JPEG.
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
    return f"image/{format.lower()}"


def extension(format: str) -> str:
    """`.jpg` for "JPEG", and so on."""
    return _EXTENSIONS.get(format, f".{format.lower()}")


def _encoding(photo: Photo, container: str, options: SaveOptions) -> Encoding:
    kept = photo.metadata if options.metadata else Metadata()
    dpi = photo.dpi if options.metadata else None  # EXIF is no place for them where no record is wanted
    changes = Changes(container, *photo.size, dpi, options.location, options.disclosure)
    record = image_metadata.for_file(kept, changes)
    return Encoding(options.quality, photo.dpi or image_exif.resolution(record.exif), record)


def _bound_exif(data: bytes) -> bytes:
    """A JPEG's bytes without the marks of EXIF segments after the first sixteen; other files as they are.

    Pillow joins the segments one by one, and copies all earlier ones each time: 24 MiB of them took four seconds.
    """
    if not data.startswith(b"\xff\xd8") or data.count(_EXIF) <= _MOST_EXIF:
        return data
    *kept, rest = data.split(_EXIF, _MOST_EXIF)
    return _EXIF.join([*kept, rest.replace(_EXIF, bytes(len(_EXIF)))])


def _check_decoder(image: ImageFile, limits: Limits) -> None:
    """Pillow may read a file that was made to deceive in another way than `probe`. Nothing has been decoded yet."""
    limits.check_size(*image.size)
    if _tile_pixels(image) > max(limits.max_pixels, 4 * image.width * image.height):
        raise limits.too_many_pixels()


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
    profile = _read_profile(image.info.get("icc_profile"))
    if upright.mode == "F":
        raise PhotoError(
            "photo_unsupported",
            "The TIFF holds floating point values.",
            "Save it with 16 or 8 bits a channel.",
        )
    if upright.mode.startswith("I"):
        pixels, alpha = _wide_gray(upright, getattr(image, "tag_v2", {}))
        pixels = _gray_to_srgb(pixels, profile)
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


def _wide_gray(image: Image.Image, tags: Mapping[int, Any]) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
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


def _from_int32(stored: NDArray[np.int32], tags: Mapping[int, Any]) -> NDArray[np.uint16]:
    """32-bit integers, of which many programs use no more than the lower sixteen bits."""
    signed = tags.get(339, (1,)) == (2,)  # SampleFormat
    if signed and stored.min() < 0:
        raise PhotoError(
            "photo_unsupported", "The TIFF holds negative values.", "Save it with 16 or 8 bits, unsigned."
        )
    values = stored.view(np.uint32)
    if values.max() > 65_535:
        return (values >> (15 if signed else 16)).astype(np.uint16)
    return values.astype(np.uint16)


def _narrow(image: Image.Image, profile: _Profile | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Everything of 8 bits and less: (H, W) or (H, W, 3) in sRGB, and alpha or None."""
    gray = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
    if gray:
        return _gray_to_srgb(np.asarray(image.convert("L")), profile), alpha
    if image.mode != "CMYK":
        image = image.convert("RGB")
    return np.asarray(_to_srgb(image, profile) or image.convert("RGB")), alpha


def _read_profile(data: bytes | None) -> _Profile | None:
    """The profile that a file carries; None where there is none, or a broken one, which must not cost the picture."""
    if not data:
        return None
    try:
        return _Profile(io.BytesIO(data))
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def _to_srgb(image: Image.Image, profile: _Profile | None, exact: bool = False) -> Image.Image | None:
    """`image` through `profile` as RGB; None where there is no profile or it is for another kind of picture.

    `exact` is slow: it does without lcms's tables of 33 steps, which are off by 8 levels in the shadows of a linear gray profile.
    """
    if profile is None:
        return None
    flags = ImageCms.Flags.NOOPTIMIZE if exact else ImageCms.Flags.NONE
    try:
        return ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB", flags=flags
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def _gray_to_srgb(pixels: NDArray[Any], profile: _Profile | None) -> NDArray[Any]:
    """(H, W) uint8 or uint16 through a profile for gray or RGB, by the profile's values for 256 grays."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = _to_srgb(ramp, profile, exact=True) or _to_srgb(ramp.convert("RGB"), profile, exact=True)
    if curve is None:
        return pixels
    levels: NDArray[Any] = np.asarray(curve)[0, :, 1]
    if pixels.dtype == np.uint16:
        levels = np.rint(np.interp(np.arange(65_536), np.arange(256) * 257, levels * 257.0)).astype(np.uint16)
    return np.take(levels, pixels)


def _bounded(load: Callable[..., Any], most_bytes: int) -> Callable[..., Any]:
    def loaded(directory: ImageFileDirectory_v2, data: bytes, legacy_api: bool = True) -> Any:
        if len(data) > most_bytes:
            raise ValueError(f"a tag of {len(data)} bytes")
        return load(directory, data, legacy_api)

    return loaded


def _bound_tags() -> None:
    """Let Pillow unpack no more than so many numbers from a TIFF or EXIF tag.

    It makes a Python object of each, and of a rational one that is large and slow to make: 24 MiB of them took 36 s and 2.8 GB. TIFF, JPEG
    and AVIF files have tags that it reads while it opens them, before anybody else could look at these.
    """
    for kind, (size, load) in ImageFileDirectory_v2._load_dispatch.items():
        if kind not in _BYTES:
            most = _MOST_RATIONALS if load.__name__.endswith("rational") else _MOST_NUMBERS
            ImageFileDirectory_v2._load_dispatch[kind] = size, _bounded(load, most * size)


_bound_tags()
