"""A file's bytes, whose header has been judged, become a `Raster`: by the decoder that reads its kind right.

| format | decoder |
|---|---|
| JPEG | imagecodecs (libjpeg-turbo, straight into an array); Pillow for CMYK and for reduced scale |
| PNG | Pillow; imagecodecs (libpng) for 16 bits; both are given the sound chunks alone, by `png_chunks` |
| TIFF | Pillow for plain 8 bits and less, else tifffile (`tiff_decoder`) |
| HEIC | pi-heif (libheif) |
| JPEG 2000 | Pillow for 8 bits, imagecodecs for more (OpenJPEG both) |
| JPEG XL | imagecodecs (libjxl) |
| PNM | numpy |
| WebP, AVIF, GIF, BMP, TGA | Pillow |
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import ExifTags, Image, ImageCms

from model.errors import Notice, PhotoError
from model.formats import jpeg_restarts, png_chunks, pnm_decoder, profiles, raster, tiff_decoder, tiff_headers
from model.formats.box_headers import J2K
from model.formats.header_source import Header, HeaderError, Source
from model.formats.raster import Raster
from model.formats.raster_headers import check_scans, jpeg_frame
from model.metadata import blocks, exif

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

_EXIF: Final = b"Exif\0\0"
_MOST_EXIF: Final = 16
"""Segments of a JPEG's EXIF block, of 64 KiB each: cameras write one."""
_END: Final = b"\xff\xd9"
_TAILS: Final = (b"\0" * 64, b"\x55" * 64, b"\xaa\x33" * 32)
"""Put behind a JPEG that was cut off, each decodes to something else: where all agree, the file's own bytes say what is there."""
_BLOCK: Final = 8
"""Rows that a JPEG holds together."""
_LEAST_LOST: Final = 0.01
"""The share of a JPEG with an end mark: some encoders leave out its last bits."""
_PALETTE_TAG: Final = 320


def decode(data: bytes, header: Header, at_least: int, partial: bool) -> Raster:
    """Raises PhotoError, or whatever a decoder raises for damaged bytes. `at_least` and `partial`: see `image_io.open`."""
    match header.format:
        case "JPEG":
            return _jpeg(data, header, at_least, partial)
        case "PNG":
            return _png(data, partial)
        case "TIFF":
            return _tiff(data, header, partial)
        case "HEIF":
            return _heif(data, header)
        case "JPEG2000":
            return _jpeg_2000(data, header)
        case "JXL":
            return _jpeg_xl(data, header)
        case "PPM":
            return pnm_decoder.decode(data, partial)
        case "BMP" | "TGA":
            return _filled(data, header, partial)
        case "WEBP" if not header.whole:
            announced = 8 + int.from_bytes(data[4:8], "little")
            raise PhotoError(
                "photo_damaged",
                f"The file is cut off: {math.floor(len(data) / announced * 100)}% of it is there.",
                "Use the whole file.",
            )
    with _opened(data, header) as image:
        made = _from_pillow(image)
    if header.colors is not None and made.profile is None:
        made.profile = profiles.code_point_profile(*header.colors)
    return made


def _opened(data: bytes, header: Header) -> ImageFile:
    image = Image.open(io.BytesIO(data), formats=(header.format, "MPO"))
    if header.format == "TIFF" and header.page > 1:
        image.seek(header.page - 1)
    if image.size not in ((header.width, header.height), (header.height, header.width)):
        raise HeaderError("the decoder reads another size")
    return image


def _jpeg(data: bytes, header: Header, at_least: int, partial: bool) -> Raster:
    decodings = 1 if header.whole else len(_TAILS)
    first_scan = jpeg_frame(Source(io.BytesIO(data)))[0]
    check_scans(data, first_scan, header.width * header.height * decodings)
    missing, notices = None, []
    if not header.whole:
        data, missing = _ended(data)
        if missing is None:
            notices.append(Notice("file_end_missing", "The file lacks its end mark; the picture is whole."))
        elif not partial:
            raise _cut_jpeg(data, missing)
    else:
        try:
            jpeg_restarts.check(data)
        except PhotoError as damage:
            if not partial:
                raise
            notices.append(Notice("file_damaged", damage.sentence))
    bounded = _bound_exif(data)
    if header.bits != 8:
        made = _jpeg_deep(bounded, header)
    elif header.channels == 4 or at_least or _is_arithmetic(data):
        made = _jpeg_by_pillow(bounded, header, at_least)
    else:
        made = _jpeg_record(bounded, header)
        made.pixels = _jpeg_array(bounded, header)
        made.space = "gray" if made.pixels.ndim == 2 else "rgb"
        if header.whole and _ends_flat(made.pixels):
            missing = _lost_before_the_end(data[: data.index(_END, first_scan)])
            if missing is not None and not partial:
                raise _cut_jpeg(data, missing)
    if missing is not None and missing.shape == made.pixels.shape[:2]:
        made.missing = missing
    made.notices += notices
    return made


def _jpeg_record(data: bytes, header: Header) -> Raster:
    """What its segments say of the pixels; nothing where one is broken: it must not cost the picture."""
    try:
        with _opened(data, header) as image:
            made = Raster(np.empty(0), orientation=_orientation(image), dpi=_dpi(image))
            made.profile = image.info.get("icc_profile")
            return made
    except Exception:  # Pillow raises nearly anything, a KeyError among them
        return Raster(np.empty(0))


def _jpeg_deep(data: bytes, header: Header) -> Raster:
    """Of other than 8 bits: Pillow reads not even what its segments say."""
    pixels = raster.spread(_jpeg_array(data, header), header.bits)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        raise PhotoError(
            "photo_unsupported",
            "The JPEG holds CMYK of more than 8 bits.",
            "Save it anew as TIFF or RGB.",
        )
    block = exif.checked(blocks.of_jpeg(data).exif)
    return Raster(
        pixels,
        "gray" if pixels.ndim == 2 else "rgb",
        profile=blocks.jpeg_profile(data),
        orientation=exif.orientation(block),
        dpi=exif.resolution(block),
    )


def _jpeg_by_pillow(data: bytes, header: Header, at_least: int) -> Raster:
    with _opened(data, header) as image:
        # libjpeg's arithmetic decoder cannot wait for more bytes, as Pillow lets it do after each 64 KiB.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        if at_least:
            image.draft(None, (at_least, at_least))
        return _from_pillow(image)


def _jpeg_array(data: bytes, header: Header) -> NDArray[Any]:
    """(H, W) or (H, W, C) as libjpeg-turbo decodes it, without another copy."""
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(data)
    if pixels.shape[:2] != (header.height, header.width):
        raise HeaderError("the decoder reads another size")
    return pixels


def _is_arithmetic(data: bytes) -> bool:
    """Whether the frame is one of T.81's arithmetic kinds, which not every libjpeg decodes."""
    return jpeg_frame(Source(io.BytesIO(data)))[1][0] in (0xC9, 0xCA)


def _ended(data: bytes) -> tuple[bytes, NDArray[np.bool_] | None]:
    """A JPEG without an end mark, with one; and the pixels that are missing, None if none is.

    A decoder fills up what is missing without a word. So the file is decoded with several tails: pixels that depend on the tail are none of
    the file's.
    """
    import imagecodecs

    data = data.rstrip(b"\0")  # what a program reserved and never wrote
    if data.endswith(b"\xff"):
        data = data[:-1]
    first = imagecodecs.jpeg8_decode(data + _TAILS[0] + _END)
    differs = np.zeros(first.shape[:2], bool)
    for tail in _TAILS[1:]:
        other = imagecodecs.jpeg8_decode(data + tail + _END)
        differs |= (other != first).any(axis=2) if first.ndim == 3 else other != first
    del first
    if not differs.any():
        return data + _END, None
    rows = differs.any(axis=1)
    differs[int(np.argmax(rows)) :] = True  # later rows may agree by chance
    return data + _END, differs


def _ends_flat(pixels: NDArray[Any]) -> bool:
    """Whether the last rows are of one tone, as a decoder fills those that it finds nothing for. It says nothing."""
    rows = pixels[-_BLOCK:].reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1)
    return bool((rows == rows[0]).all())


def _lost_before_the_end(data: bytes) -> NDArray[np.bool_] | None:
    """The pixels that are missing in a JPEG that was cut off and given an end mark, which is not in `data`; None if hardly any."""
    import imagecodecs

    one, other = (imagecodecs.jpeg8_decode(data + tail + _END) for tail in _TAILS[1:])
    differs: NDArray[np.bool_] = (one != other).any(axis=2) if one.ndim == 3 else one != other
    if differs.any():
        differs[int(np.argmax(differs.any(axis=1))) :] = True
    return differs if differs.mean() > _LEAST_LOST else None


def _cut_jpeg(data: bytes, missing: NDArray[np.bool_]) -> PhotoError:
    if data.count(b"\xff\xda") > 2 and b"\xff\xc2" in data:  # a progressive one, behind its first scan
        return PhotoError(
            "photo_damaged",
            "The file is cut off: all of the picture is there, but coarser than it was.",
            "Use the whole file, or ask for what is there with the option partial.",
        )
    return raster.cut_off(1 - float(missing.mean()))


def _bound_exif(data: bytes) -> bytes:
    """A JPEG's bytes without the marks of EXIF segments after the first sixteen; other files as they are.

    Pillow joins the segments one by one, and copies all earlier ones each time.
    """
    if data.count(_EXIF) <= _MOST_EXIF:
        return data
    *kept, rest = data.split(_EXIF, _MOST_EXIF)
    return _EXIF.join([*kept, rest.replace(_EXIF, bytes(len(_EXIF)))])


def _png(data: bytes, partial: bool) -> Raster:
    chunks = png_chunks.read(data)
    missing, stream = None, None
    made = None if chunks.is_cut else _png_raster(chunks, None)
    if made is None or chunks.is_cut:
        rows, expected = chunks.rows()
        if len(rows) == expected:
            chunks.notices.append(
                Notice("file_end_missing", "The file lacks its end mark; the picture is whole.")
            )
        elif not partial:
            raise raster.cut_off(len(rows) / expected)
        else:
            missing = _png_missing(chunks, rows, expected)
        stream = zlib.compress(rows.ljust(expected, b"\0"), 1)
        made = _png_raster(chunks, stream)
    made.profile = chunks.profile()
    made.notices = chunks.notices
    made.missing = missing
    return made


def _png_missing(chunks: png_chunks.Chunks, rows: bytes, expected: int) -> NDArray[np.bool_]:
    """Where the picture depends on what the rows that are missing are filled with. Filter 0 is kept, and each row's own."""
    shown = []
    for fill in (b"\0", b"\1", b"\2"):  # as filters: none, left, up; as pixels: three values
        made = _png_raster(chunks, zlib.compress(rows.ljust(expected, fill), 1))
        colors = made.pixels if made.pixels.ndim == 3 else made.pixels[..., None]
        shown.append(colors)
    differs: NDArray[np.bool_] = ((shown[0] != shown[1]) | (shown[0] != shown[2])).any(axis=2)
    return differs


def _png_raster(chunks: png_chunks.Chunks, stream: bytes | None) -> Raster:
    bits = chunks.layout[2]
    if bits == 16:
        return _png_deep(chunks, stream)
    with Image.open(io.BytesIO(chunks.file(stream)), formats=("PNG",)) as image:
        made = _from_pillow(image)
        if stream is None and _ends_in_zeros(image):
            rows, expected = chunks.rows()
            chunks.is_cut = len(rows) < expected
        return made


def _ends_in_zeros(image: Image.Image) -> bool:
    """Whether one of the last two rows is all zeros, as rows are that Pillow found no pixels for, or none that can be. It says nothing."""
    width, height = image.size
    return any(
        image.crop((0, row, width, row + 1)).getbbox(alpha_only=False) is None
        for row in range(max(0, height - 2), height)
    )


def _png_deep(chunks: png_chunks.Chunks, stream: bytes | None) -> Raster:
    import imagecodecs

    with Image.open(io.BytesIO(chunks.file(stream)), formats=("PNG",)) as image:
        orientation, dpi = _orientation(image), _dpi(image)
    values: NDArray[Any] = imagecodecs.png_decode(chunks.file(stream, keyed=False))
    width, height, *_ = chunks.layout
    values = values.reshape(height, width, -1)
    channels = values.shape[2]
    colors = values[..., 0] if channels < 3 else values[..., :3]
    alpha = raster.to_eight_bits(values[..., -1]) if channels in (2, 4) else None
    key = np.frombuffer(chunks.kept.get(b"tRNS", b""), ">u2")
    if alpha is None and len(key) == channels:
        alpha = np.where((values == key).all(axis=2), 0, 255).astype(np.uint8)
    space = "gray" if channels < 3 else "rgb"
    return Raster(np.ascontiguousarray(colors), space, alpha, orientation=orientation, dpi=dpi)


def _tiff(data: bytes, header: Header, partial: bool) -> Raster:
    pages = tiff_headers.pages(Source(io.BytesIO(data)))
    page = pages[header.page - 1]
    if not tiff_decoder.is_for_pillow(page):
        made = tiff_decoder.decode(data, page, header.page, partial)
    else:
        made = _plain_tiff(data, header, page, partial)
    if header.rivals > 1:
        made.notices.append(
            Notice(
                "several_pages",
                f"The file has {header.rivals} pages with photographs; page {header.page} was taken. Another can be chosen by its number.",
            )
        )
    return made


def _plain_tiff(data: bytes, header: Header, page: tiff_headers.Page, partial: bool) -> Raster:
    """What both read: uncompressed pixels by tifffile, which copies them once, others by Pillow; and what was cut off by tifffile."""
    both = page.photometric in (0, 1, 2) and page.compression not in (2, 3, 4, 6)
    if both and page.compression == 1 and page.bits[0] == 8:
        try:
            return tiff_decoder.decode(data, page, header.page, partial)
        except (ValueError, IndexError, KeyError, struct.error):  # an odd layout, which libtiff may know
            pass
    try:
        with _opened(data, header) as image:
            _check_tile(image)
            offsets, counts = _segments(image)
            tiff_decoder.check_segments(data, page, offsets, counts)
            return _from_pillow(image)
    except (OSError, KeyError) as error:  # KeyError: a tag of the record is broken, and Pillow sees no TIFF
        if not both:
            raise
        made = tiff_decoder.decode(data, page, header.page, partial)
        if made.missing is None and not isinstance(error, KeyError):
            raise
        return made


def _segments(image: ImageFile) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where a TIFF's strips or tiles are, and their bytes."""
    tags = getattr(image, "tag_v2", {})
    offsets, counts = (tags.get(tag) or tags.get(other) or () for tag, other in ((324, 273), (325, 279)))
    return tuple(offsets), tuple(counts)


def _check_tile(image: ImageFile) -> None:
    """A decoder holds a whole tile, however little of it the picture uses."""
    tags = getattr(image, "tag_v2", {})
    pixels = int(tags.get(322, 0)) * int(tags.get(323, 0))  # TileWidth, TileLength
    if pixels > max(50_000_000, 4 * image.width * image.height):
        raise PhotoError(
            "photo_too_large",
            f"A tile of the TIFF has {pixels / 1e6:.0f} megapixels.",
            "Save it without tiles.",
        )


def _heif(data: bytes, header: Header) -> Raster:
    import pi_heif

    opened = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    image = opened[opened.primary_index]
    if image.size[0] * image.size[1] > header.width * header.height:
        raise HeaderError("the decoder reads another size")
    values = np.array(image)  # a copy, as the memory is that of `opened`
    bits = int(image.info.get("bit_depth") or 8) if values.dtype == np.uint16 else 8
    values = raster.spread(values.reshape(image.size[1], image.size[0], -1), bits)
    channels = values.shape[2]
    made = Raster(np.ascontiguousarray(values[..., 0] if channels < 3 else values[..., :3]))
    made.space = "gray" if channels < 3 else "rgb"
    if channels in (2, 4):
        alpha = values[..., -1]
        if getattr(image, "premultiplied_alpha", False):
            made.pixels = raster.without_alpha(made.pixels, alpha)
        made.alpha = raster.to_eight_bits(alpha)
    made.profile = image.info.get("icc_profile")
    points = image.info.get("nclx_profile")
    if made.profile is None and points:
        made.profile = profiles.code_point_profile(
            int(points["color_primaries"]), int(points["transfer_characteristics"])
        )
    return made


def _jpeg_2000(data: bytes, header: Header) -> Raster:
    if header.bits <= 8:
        with _opened(data, header) as image:
            made = _from_pillow(image)
        made.profile = made.profile or _jp2_profile(data)
        return made
    import imagecodecs

    # Without its boxes, by whose colors imagecodecs converts some files and not others.
    head, codestream = data[: data.index(J2K)], data[data.index(J2K) :]
    at = head.find(b"colr\1")
    space = int.from_bytes(head[at + 7 : at + 11], "big") if at > 0 else 17
    is_plain = b"pclr" not in head and space in (16, 17)  # sRGB, gray (T.800, table I.10)
    if header.channels not in (1, 3) or not is_plain:
        raise PhotoError(
            "photo_unsupported",
            "The JPEG 2000 is of a rare kind.",
            "Save it as TIFF with 16 bits, gray or RGB.",
        )
    values: NDArray[Any] = imagecodecs.jpeg2k_decode(codestream)
    if values.shape[:2] != (header.height, header.width):
        raise HeaderError("the decoder reads another size")
    made = Raster(raster.spread(values, header.bits), "gray" if values.ndim == 2 else "rgb")
    made.profile = _jp2_profile(data)
    return made


def _jp2_profile(data: bytes) -> bytes | None:
    """The ICC profile of a `colr` box (T.800, I.5.3.3)."""
    at = data.find(b"colr\2", 0, 4096)
    return data[at + 7 : at - 4 + int.from_bytes(data[at - 4 : at], "big")] if at > 0 else None


def _jpeg_xl(data: bytes, header: Header) -> Raster:
    import imagecodecs

    values: NDArray[Any] = imagecodecs.jpegxl_decode(data, index=0)
    if values.dtype.kind != "u" or values.shape[:2] not in (
        (header.height, header.width),
        (header.width, header.height),
    ):
        raise HeaderError("the decoder reads another size")
    values = values.reshape(*values.shape[:2], -1)
    if header.bits not in (8, 16):
        values = raster.spread(values, header.bits)
    channels = values.shape[2]
    if channels > 4:
        raise PhotoError(
            "photo_unsupported", "The JPEG XL has more than four channels.", "Save it as TIFF or PNG."
        )
    made = Raster(np.ascontiguousarray(values[..., 0] if channels < 3 else values[..., :3]))
    made.space = "gray" if channels < 3 else "rgb"
    made.alpha = raster.to_eight_bits(values[..., -1]) if channels in (2, 4) else None
    made.profile = profiles.code_point_profile(*header.colors) if header.colors else None
    return made


def _filled(data: bytes, header: Header, partial: bool) -> Raster:
    """A BMP or TGA. Of one that is cut off, where the picture depends on what is put behind it, it is missing."""
    try:
        with _opened(data, header) as image:
            return _from_pillow(image)
    except OSError:
        shown = []
        for fill in (b"\0", b"\xff"):
            with _opened(data + fill * (header.width * header.height * 4 + 2**16), header) as image:
                shown.append(_from_pillow(image))
    one, other = shown
    differs = one.pixels != other.pixels
    missing = differs.any(axis=2) if differs.ndim == 3 else differs
    if not partial:
        raise raster.cut_off(1 - float(missing.mean()))
    one.missing = missing
    return one


def _from_pillow(image: ImageFile) -> Raster:
    """What Pillow has opened, decoded: everything of 8 bits and less, and what it holds as 16."""
    made = Raster(np.empty(0), orientation=_orientation(image), dpi=_dpi(image))
    image.load()
    if image.format == "TIFF":  # which Pillow turns while it loads it
        if made.dpi is not None and made.orientation >= 5:
            made.dpi = made.dpi[::-1]
        made.orientation = 1
    made.profile = image.info.get("icc_profile")
    shown: Image.Image = image
    if image.format == "TIFF" and image.mode in ("P", "PA"):
        _brighten_palette(image)
    gray = shown.mode in ("1", "L", "LA", "La")
    if shown.mode.startswith("I;16"):
        made.pixels = np.asarray(shown).astype(np.uint16)
        return made
    if shown.mode.startswith(("I", "F")):
        raise HeaderError(f"pixels of a rare kind ({shown.mode})")
    if shown.has_transparency_data:
        shown = shown.convert("LA" if gray else "RGBA")
        made.alpha = np.asarray(shown.getchannel("A"))
    if gray:
        made.pixels = np.asarray(shown.convert("L") if shown.mode != "L" else shown)
        return made
    if shown.mode == "LAB":
        made.pixels, made.space = np.asarray(_lab(shown, made.profile)), "rgb"
        made.profile = None
        return made
    made.space = "cmyk" if shown.mode == "CMYK" else "rgb"
    made.pixels = np.asarray(shown if shown.mode in ("RGB", "CMYK") else shown.convert("RGB"))
    return made


def _lab(image: Image.Image, data: bytes | None) -> Image.Image:
    profile = profiles.read(data)
    if profile is None or profile.profile.xcolor_space.strip() != "Lab":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # a new picture, as inPlace is not set
    return converted


def _brighten_palette(image: ImageFile) -> None:
    """A TIFF's palette has 16 bits; programs that wrote 8 into them made it black (libtiff looks for them too)."""
    entries = getattr(image, "tag_v2", {}).get(_PALETTE_TAG, ())
    if entries and max(entries) < 256:
        channels = np.array(entries, np.uint8).reshape(3, -1)
        image.putpalette(channels.T.tobytes())


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
    return horizontal, vertical
