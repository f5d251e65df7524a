"""A photo's record: what its file says beside the picture, read, and made ready for the colored one. Needs no torch.

`read` takes the blocks out of a file as they stand in it. `for_file` gives those that a new file holds: kept as they were but for what
would be false of it, with words that the format has no place for moved to XMP, and with the disclosure that the colors are guesses.
Files come from strangers: time and memory are bounded, a block that is broken or too large is dropped, and nothing here raises.
docs/metadata.md lists what is kept and what is not.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from model.errors import Notice
from model.metadata import blocks, exif, iptc, xmp
from model.metadata.blocks import Blocks
from model.metadata.exif import Corrections
from model.metadata.xmp import Text

GUESSED: Final = (
    "The colors are guesses. They were added by a neural network to a photograph that does not hold its true "
    "colors; only the lightness is the photograph's own."
)
SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC NewsCodes, Digital Source Type: a photograph, and what a trained model added to it."""
SOFTWARE: Final = "Autochrome"

_IN_JPEG: Final = 65_533
"""Bytes in a JPEG's segment."""
_PNG_WORDS: Final = {
    "Title": ("dc:title", "Alt"),
    "Author": ("dc:creator", "Seq"),
    "Description": ("dc:description", "Alt"),
    "Copyright": ("dc:rights", "Alt"),
    "Comment": ("exif:UserComment", "Alt"),
}
"""PNG's keywords (W3C PNG, 11.3.3) as XMP properties."""
_UNTRUE: Final = {
    "exif": ("NativeDigest",),
    "photoshop": ("ICCProfile",),
    "tiff": (
        "BitsPerSample",
        "Compression",
        "NativeDigest",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "SamplesPerPixel",
        "YCbCrPositioning",
        "YCbCrSubSampling",
    ),
    "xmp": ("Thumbnails",),
    "xmpNote": ("HasExtendedXMP",),
}
"""XMP properties that describe the old file's pixels, its thumbnail, or a part that is not kept."""
_UNTRUE_NAMES: Final = {(xmp.NAMESPACES[prefix], name) for prefix, names in _UNTRUE.items() for name in names}
_PLACES: Final = re.compile(
    r"(?i:gps)|(?i:latitude|longitude|altitude)$|(?:^|[a-z])(?:Lat|Lon|Long|Alt)$|^(?:lat|lon|long|alt|lat_long)$"
)
_PLACE_NAMESPACES: Final = ("http://www.w3.org/2003/01/geo/", "http://www.georss.org/")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The blocks of a file, as they stood in it."""

    exif: bytes = b""
    """A TIFF structure, without the `Exif` mark before it."""
    xmp: bytes = b""
    """An XMP packet, UTF-8."""
    iptc: bytes = b""
    """IPTC-IIM datasets."""
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    """Of a PNG: keyword and text."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is true of the new file. `format` is one of `image_io.WRITABLE`, `dpi` (horizontal, vertical).

    `location`: False drops GPS coordinates. `disclosure`: True says that the colors are guesses.
    """

    format: str
    width: int
    height: int
    dpi: tuple[float, float] | None = None
    location: bool = True
    disclosure: bool = True


def read(data: bytes, format: str, page: int = 0) -> Metadata:
    """The blocks of a file, which `format` names as Pillow does; empty ones where it has none, or broken ones.

    `page`: of a TIFF.
    """
    readers: dict[str, Callable[[bytes], Blocks]] = {
        "JPEG": blocks.of_jpeg,
        "PNG": blocks.of_png,
        "WEBP": blocks.of_webp,
        "TIFF": lambda data: Blocks(*exif.of_tiff(data, page)),
        **dict.fromkeys(("AVIF", "HEIF", "HEIC"), blocks.of_heif),
        **dict.fromkeys(("JPEG2000", "JP2", "JXL"), blocks.of_boxes),
    }
    if format.upper() not in readers:
        return Metadata()
    try:
        found = readers[format.upper()](data)
    except (ValueError, KeyError, IndexError, struct.error, zlib.error):
        return Metadata()
    is_wrapped = found.iptc.startswith(b"8BIM")
    return Metadata(
        exif=exif.checked(found.exif) if len(found.exif) <= blocks.MOST_BLOCK else b"",
        xmp=xmp.checked(found.xmp),
        iptc=iptc.checked(iptc.unwrapped(found.iptc) if is_wrapped else found.iptc),
        comment=found.comment[:_IN_JPEG],
        text=found.text,
    )


def for_file(metadata: Metadata, changes: Changes) -> Metadata:
    """The blocks that a new, upright sRGB file of `changes.format` holds; empty where it has no place for one."""
    format = changes.format
    text = [(key, value) for key, value in metadata.text if changes.location or not _PLACES.search(key)]
    words = iptc.words(metadata.iptc) if format in ("WEBP", "AVIF") else {}
    comment = metadata.comment
    if format == "PNG":
        if comment and "Comment" not in dict(text):
            text.append(("Comment", iptc.decoded(comment)))
        comment = b""
    else:
        words = _words_of_text(text, comment, format) | words
        if format == "JPEG" and not comment:
            comment = "\n".join(_rest(text)).encode()[:_IN_JPEG]
        elif format != "JPEG":
            comment = b""
        text = []
    packet = _xmp(metadata, words, changes)
    if format == "PNG" and changes.disclosure:
        text = [(key, value) for key, value in text if (key, value) != ("Disclaimer", GUESSED)]
        text.append(("Disclaimer", GUESSED))
    datasets = metadata.iptc if format in ("JPEG", "PNG", "TIFF") else b""
    if format == "JPEG" and len(datasets) > _IN_JPEG - 64:
        datasets = b""
    return Metadata(_exif(metadata.exif, changes), packet, datasets, comment, tuple(text))


def may_have_location(data: bytes, format: str, metadata: Metadata) -> bool:
    """Whether a file, whose blocks `read` gave, may say where the photo was taken. What is not known to have been read whole counts as
    saying so.

    Only of a JPEG all of the record is read, and only where it holds one EXIF block and one XMP packet, and else what is known to hold no
    place: no extension, manifest or further picture, nothing of an application's own, and nothing behind its end.
    """
    is_read_whole = (
        format == "JPEG"
        and blocks.is_placeless_but_for_its_record(data)
        and data.count(blocks.EXIF) == bool(metadata.exif)
        and data.count(blocks.XAP) == bool(metadata.xmp)
    )
    if not is_read_whole:
        return True
    located = Changes("TIFF", 1, 1, location=True, disclosure=False)
    kept = for_file(metadata, located)
    is_understood = bool(kept.exif) == bool(metadata.exif) and bool(kept.xmp) == bool(metadata.xmp)
    return not is_understood or kept != for_file(metadata, replace(located, location=False))


def sidecar(
    *,
    net: Mapping[str, str],
    options: Mapping[str, Any],
    result: Mapping[str, Any],
    temperature: float | None = None,
    source: Mapping[str, Any] | None = None,
    notices: Sequence[Notice] = (),
) -> bytes:
    """How the colors came about, as JSON in UTF-8, for whoever finds it beside the picture.

    `net`: name and sha256; `options`: those that the picture depends on; `result`: sha256, width, height; `temperature`: as it was used;
    `source`: name and sha256 of the photograph, as far as they are to be said.
    """
    said = {
        "about": GUESSED,
        "digital_source_type": SOURCE_TYPE,
        "software": SOFTWARE,
        "net": dict(net),
        "temperature": temperature,
        "options": dict(options),
        "source": None if source is None else dict(source),
        "result": dict(result),
        "notices": [{"code": notice.code, "detail": notice.detail} for notice in notices],
    }
    return (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()


def _words_of_text(text: Iterable[tuple[str, str]], comment: bytes, format: str) -> dict[str, Text]:
    """XMP properties for a PNG's texts, and for a comment in a format that has no place for one."""
    words = {
        _PNG_WORDS[key][0]: Text((value,), _PNG_WORDS[key][1]) for key, value in text if key in _PNG_WORDS
    }
    rest = [] if format == "JPEG" else [iptc.decoded(comment)] if comment else _rest(text)
    if rest:
        words["exif:UserComment"] = Text(("\n".join(rest),), "Alt")
    return words


def _rest(text: Iterable[tuple[str, str]]) -> list[str]:
    """The comment among a PNG's texts, and those for which XMP has no property."""
    others = [(key, value) for key, value in text if key == "Comment" or key not in _PNG_WORDS]
    return [value if key == "Comment" else f"{key}: {value}" for key, value in others if value != GUESSED]


def _exif(block: bytes, changes: Changes) -> bytes:
    truth = Corrections(
        changes.width,
        changes.height,
        changes.dpi,
        changes.location,
        keep_orientation=changes.format != "AVIF",  # Pillow would write the whole block anew, to take it out
    )
    block = exif.corrected(block, truth)
    if changes.format == "JPEG" and len(block) > _IN_JPEG - 6:
        block = exif.without_maker_note(block)
        block = block if len(block) <= _IN_JPEG - 6 else b""
    if changes.format in ("WEBP", "AVIF") and changes.dpi is not None:
        block = exif.with_resolution(block, changes.dpi)
    return block


def _xmp(metadata: Metadata, words: Mapping[str, Text], changes: Changes) -> bytes:
    added, always = dict(words), {}
    if changes.disclosure:
        always["Iptc4xmpExt:DigitalSourceType"] = Text((SOURCE_TYPE,))
        added["xmp:CreatorTool"] = Text((SOFTWARE,))
        if not any(number == (2, 40) for number, _, _ in iptc.datasets(metadata.iptc)):
            added.setdefault("photoshop:Instructions", Text((GUESSED,)))
    replaced = {
        "tiff:Orientation": Text(("1",)),
        "tiff:ImageWidth": Text((str(changes.width),)),
        "tiff:ImageLength": Text((str(changes.height),)),
        "exif:PixelXDimension": Text((str(changes.width),)),
        "exif:PixelYDimension": Text((str(changes.height),)),
        "exif:ColorSpace": Text(("1",)),
        "photoshop:ColorMode": Text(("3",)),
    }

    def is_dropped(name: xmp.Name) -> bool:
        return name in _UNTRUE_NAMES or (
            not changes.location and (bool(_PLACES.search(name[1])) or name[0].startswith(_PLACE_NAMESPACES))
        )

    packet = xmp.edited(metadata.xmp, is_dropped, replaced, added, always)
    if changes.format == "JPEG" and len(packet) > _IN_JPEG - len(blocks.XAP):
        packet = xmp.without_padding(packet)
        if len(packet) > _IN_JPEG - len(blocks.XAP):
            packet = xmp.edited(b"", is_dropped, {}, added if changes.disclosure else {}, always)
            packet = packet if len(packet) <= _IN_JPEG - len(blocks.XAP) else b""
    return packet
