"""A photo's record: what its file says beside the picture, read, and made ready for the colored one. Needs no torch.

`read` takes the blocks out of a file as they stand in it. `for_file` gives those that a new file holds: kept as they were but for what would
be false of it, with words that the format has no place for moved to XMP, and with the disclosure that the colors are guesses.
Files come from strangers: time and memory are bounded, a block that is broken or too large is dropped, and nothing here raises.
docs/metadata.md lists what is kept and what is not.
"""

from __future__ import annotations

import binascii
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from model import image_exif, image_iptc, image_xmp
from model.errors import Notice
from model.image_exif import Corrections
from model.image_xmp import Text

GUESSED: Final = (
    "The colors are guesses. They were added by a neural network to a photograph that does not hold its true "
    "colors; only the lightness is the photograph's own."
)
SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC NewsCodes, Digital Source Type: a photograph, and what a trained model added to it."""
SOFTWARE: Final = "Autochrome"

_MOST_SEGMENTS: Final = 10_000
_MOST_BLOCK: Final = 4 * 2**20
"""Of one block, compressed or not."""
_MOST_TEXTS: Final = 256
_MOST_TEXT: Final = 2**20
"""Of all texts of a PNG together."""
_IN_JPEG: Final = 65_533
"""Bytes in a JPEG's segment."""
_XAP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_UUIDS: Final = {
    "exif": bytes.fromhex("4a706754696666457869662d3e4a5032"),
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
}
"""Of JPEG 2000's boxes, by the writers of EXIF, XMP (ISO 16684-3) and IPTC into it."""
_PNG_WORDS: Final = {
    "Title": ("dc:title", "Alt"),
    "Author": ("dc:creator", "Seq"),
    "Description": ("dc:description", "Alt"),
    "Copyright": ("dc:rights", "Alt"),
    "Comment": ("exif:UserComment", "Alt"),
}
"""PNG's keywords (W3C PNG, 11.3.3) as XMP properties."""
_UNTRUE: Final = frozenset(
    {
        (image_xmp.NAMESPACES["tiff"], name)
        for name in ("BitsPerSample", "Compression", "PhotometricInterpretation")
    }
    | {
        (image_xmp.NAMESPACES["tiff"], name)
        for name in ("SamplesPerPixel", "PlanarConfiguration", "YCbCrSubSampling")
    }
    | {(image_xmp.NAMESPACES["tiff"], name) for name in ("YCbCrPositioning", "NativeDigest")}
    | {(image_xmp.NAMESPACES["exif"], "NativeDigest"), (image_xmp.NAMESPACES["xmp"], "Thumbnails")}
    | {(image_xmp.NAMESPACES["photoshop"], "ICCProfile"), (image_xmp.NAMESPACES["xmpNote"], "HasExtendedXMP")}
)
"""XMP properties that describe the old file's pixels, its thumbnail, or a part that is not kept."""
_PLACES: Final = re.compile(r"gps|(?:latitude|longitude|altitude)$", re.IGNORECASE)


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
    readers: dict[str, Callable[[bytes], Metadata]] = {
        "JPEG": _of_jpeg,
        "MPO": _of_jpeg,
        "PNG": _of_png,
        "WEBP": _of_webp,
        "TIFF": lambda data: Metadata(*image_exif.of_tiff(data, page)),
        "AVIF": _of_avif,
        "HEIF": _of_heif,
        "HEIC": _of_heif,
        "JPEG2000": _of_boxes,
        "JP2": _of_boxes,
        "JXL": _of_boxes,
    }
    if format.upper() not in readers:
        return Metadata()
    try:
        found = readers[format.upper()](data)
    except Exception:  # a picture is worth opening whatever stands beside it
        return Metadata()
    return Metadata(
        exif=image_exif.checked(found.exif) if len(found.exif) <= _MOST_BLOCK else b"",
        xmp=image_xmp.checked(found.xmp),
        iptc=image_iptc.checked(
            image_iptc.unwrapped(found.iptc) if found.iptc.startswith(b"8BIM") else found.iptc
        ),
        comment=found.comment[:_IN_JPEG],
        text=found.text,
    )


def for_file(metadata: Metadata, changes: Changes) -> Metadata:
    """The blocks that a new, upright sRGB file of `changes.format` holds; empty where it has no place for one."""
    format = changes.format
    exif = _exif(metadata.exif, changes)
    text = [(key, value) for key, value in metadata.text if changes.location or not _PLACES.search(key)]
    words = image_iptc.words(metadata.iptc) if format in ("WEBP", "AVIF") else {}
    comment = metadata.comment
    if format == "PNG":
        if comment and "Comment" not in dict(text):
            text.append(("Comment", image_iptc.decoded(comment)))
        comment = b""
    else:
        words = _words_of_text(text, comment, format) | words
        if format == "JPEG" and not comment:
            comment = "\n".join(_rest(text)).encode()[:_IN_JPEG]
        elif format != "JPEG":
            comment = b""
        text = []
    xmp = _xmp(metadata, words, changes)
    if format == "PNG" and changes.disclosure:
        text = [(key, value) for key, value in text if (key, value) != ("Disclaimer", GUESSED)]
        text.append(("Disclaimer", GUESSED))
    iptc = metadata.iptc if format in ("JPEG", "PNG", "TIFF") else b""
    if format == "JPEG" and len(iptc) > _IN_JPEG - 64:
        iptc = b""
    return Metadata(exif, xmp, iptc, comment, tuple(text))


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


def _of_jpeg(data: bytes) -> Metadata:
    exif = xmp = iptc = comment = b""
    for kind, body in _segments(data):
        if kind == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = exif or body
        elif kind == 0xE1 and body.startswith(_XAP):
            xmp = xmp or body[len(_XAP) :]
        elif kind == 0xED and body.startswith(_PHOTOSHOP) and len(iptc) < _MOST_BLOCK:
            iptc += body[len(_PHOTOSHOP) :]
        elif kind == 0xFE:
            comment = comment or body
    return Metadata(exif, xmp, image_iptc.unwrapped(iptc), comment)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of a JPEG's segments before its first scan."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data):
            return
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1
            continue
        kind = data[at + 1]
        if kind == 0xDA:
            return
        if kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD9:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in (0xE1, 0xED, 0xFE):
            yield kind, data[at + 4 : at + 2 + length]
        at += 2 + length


def _of_png(data: bytes) -> Metadata:
    exif = xmp = iptc = b""
    texts: list[tuple[str, str]] = []
    left = _MOST_TEXT
    for kind, body in _chunks(data):
        if kind == b"eXIf":
            exif = exif or body
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and len(texts) < _MOST_TEXTS:
            try:
                key, value = _png_text(kind, body)
            except (ValueError, IndexError, zlib.error):
                continue
            if key == "XML:com.adobe.xmp":
                xmp = xmp or value.encode()
            elif key.startswith("Raw profile type "):
                exif, xmp, iptc = _profile(key[17:].lower(), value, exif, xmp, iptc)
            elif len(key) + len(value) <= left:
                left -= len(key) + len(value)
                texts.append((key, value))
    return Metadata(exif, xmp, iptc, b"", tuple(texts))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    for _ in range(_MOST_SEGMENTS):
        if at + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") and length <= 2 * _MOST_BLOCK:
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _png_text(kind: bytes, body: bytes) -> tuple[str, str]:
    """Keyword and text. Raises ValueError, IndexError or zlib.error."""
    key, rest = body.split(b"\0", 1)
    if not 1 <= len(key) <= 79:
        raise ValueError("a keyword of no or many letters")
    if kind == b"tEXt":
        return key.decode("latin-1"), rest[:_MOST_BLOCK].decode("latin-1")
    if kind == b"zTXt":
        return key.decode("latin-1"), _inflated(rest[1:]).decode("latin-1")
    is_compressed, rest = rest[0], rest[2:]
    _language, _translated, value = rest.split(b"\0", 2)
    return key.decode("latin-1"), (_inflated(value) if is_compressed else value[:_MOST_BLOCK]).decode("utf-8")


def _inflated(data: bytes) -> bytes:
    """Raises zlib.error for what is broken, and ValueError for what is too much."""
    machine = zlib.decompressobj()
    value = machine.decompress(data, _MOST_BLOCK)
    if not machine.eof:
        raise ValueError("cut off, or too much")
    return value


def _profile(kind: str, value: str, exif: bytes, xmp: bytes, iptc: bytes) -> tuple[bytes, bytes, bytes]:
    """The blocks with what ImageMagick and ExifTool write into a text: name, length, and hexadecimal digits."""
    parts = value.split(None, 2)
    try:
        body = binascii.unhexlify("".join(parts[2].split()))[: int(parts[1])]
    except (IndexError, ValueError):
        return exif, xmp, iptc
    if kind in ("exif", "app1") and body.startswith(b"Exif\0\0"):
        return exif or body, xmp, iptc
    if kind in ("xmp", "app1"):
        return exif, xmp or body.removeprefix(_XAP), iptc
    if kind in ("iptc", "8bim"):
        return exif, xmp, iptc or body.removeprefix(_PHOTOSHOP)
    return exif, xmp, iptc


def _of_webp(data: bytes) -> Metadata:
    exif = xmp = b""
    at = 12
    for _ in range(_MOST_SEGMENTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF" and length <= _MOST_BLOCK:
            exif = exif or data[at + 8 : at + 8 + length]
        elif kind == b"XMP " and length <= _MOST_BLOCK:
            xmp = xmp or data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    return Metadata(exif, xmp)


def _of_avif(data: bytes) -> Metadata:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("AVIF",)) as image:
        return Metadata(image.info.get("exif") or b"", image.info.get("xmp") or b"")


def _of_heif(data: bytes) -> Metadata:
    import pi_heif

    info = pi_heif.open_heif(data).info
    return Metadata(info.get("exif") or b"", info.get("xmp") or b"")


def _of_boxes(data: bytes) -> Metadata:
    """JPEG 2000 and JPEG XL: boxes (ISO 14496-12) at the top of the file. Codestreams without boxes have no record."""
    found = {"exif": b"", "xmp": b"", "iptc": b""}
    at = 0
    for _ in range(_MOST_SEGMENTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if length == 1 and body + 8 <= len(data):
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        end = len(data) if length == 0 else at + length
        if end < body:
            break
        block = data[body:end] if end - body <= _MOST_BLOCK else b""
        if kind == b"Exif":
            found["exif"] = found["exif"] or block[4 + int.from_bytes(block[:4], "big") :]
        elif kind == b"xml " and b"adobe:ns:meta" in block:
            found["xmp"] = found["xmp"] or block
        elif kind == b"uuid":
            for name, uuid in _UUIDS.items():
                if block.startswith(uuid):
                    found[name] = found[name] or block[16:]
        at = end
    return Metadata(found["exif"], found["xmp"], found["iptc"])


def _words_of_text(text: Iterable[tuple[str, str]], comment: bytes, format: str) -> dict[str, Text]:
    """XMP properties for a PNG's texts, and for a comment in a format that has no place for one."""
    words = {
        _PNG_WORDS[key][0]: Text((value,), _PNG_WORDS[key][1]) for key, value in text if key in _PNG_WORDS
    }
    rest = [] if format == "JPEG" else [image_iptc.decoded(comment)] if comment else _rest(text)
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
    block = image_exif.corrected(block, truth)
    if changes.format == "JPEG" and len(block) > _IN_JPEG - 6:
        block = image_exif.without_maker_note(block)
        block = block if len(block) <= _IN_JPEG - 6 else b""
    if changes.format in ("WEBP", "AVIF") and changes.dpi is not None:
        block = image_exif.with_resolution(block, changes.dpi)
    return block


def _xmp(metadata: Metadata, words: Mapping[str, Text], changes: Changes) -> bytes:
    added, always = dict(words), {}
    if changes.disclosure:
        always["Iptc4xmpExt:DigitalSourceType"] = Text((SOURCE_TYPE,))
        added["xmp:CreatorTool"] = Text((SOFTWARE,))
        if not any(number == (2, 40) for number, _, _ in image_iptc.datasets(metadata.iptc)):
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

    def is_dropped(name: image_xmp.Name) -> bool:
        return name in _UNTRUE or (not changes.location and bool(_PLACES.search(name[1])))

    packet = image_xmp.edited(metadata.xmp, is_dropped, replaced, added, always)
    if changes.format == "JPEG" and len(packet) > _IN_JPEG - len(_XAP):
        packet = image_xmp.without_padding(packet)
        if len(packet) > _IN_JPEG - len(_XAP):
            packet = image_xmp.edited(b"", is_dropped, {}, added if changes.disclosure else {}, always)
            packet = packet if len(packet) <= _IN_JPEG - len(_XAP) else b""
    return packet
