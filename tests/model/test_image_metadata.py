"""The record of a photo, field by field, from each format into each: read by exifread, by ExifTool where it is, and in the bytes."""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import struct
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import exifread
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model import image_io, image_metadata
from model.errors import Notice
from model.image_io import Photo, SaveOptions
from model.image_metadata import GUESSED, SOURCE_TYPE, Changes, Metadata
from model.metadata import exif, iptc, tiff, xmp

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")
GRAY = np.add.outer(np.arange(48) * 3, np.arange(64)).astype(np.uint8)
TEXTS = {
    270: b"Grandma, 1931",
    271: b"Epson",
    272: b"V600",
    305: b"Scan 1",
    306: b"2001:02:03 04:05:06",
    315: b"Ada Example",
}
TEXTS |= {33432: b"(c) Ada Example"}
LATITUDE, LONGITUDE = (52, 1, 31, 1, 1279, 100), (13, 1, 24, 1, 3141, 100)
NAMES = {
    "Image ImageDescription": "Grandma, 1931",
    "Image Make": "Epson",
    "Image Model": "V600",
    "Image Software": "Scan 1",
    "Image DateTime": "2001:02:03 04:05:06",
    "Image Artist": "Ada Example",
    "Image Copyright": "(c) Ada Example",
    "EXIF DateTimeOriginal": "1931:05:06 07:08:09",
    "EXIF ISOSpeedRatings": "400",
    "EXIF FNumber": "28/5",
}
"""What a file says by exifread's names."""
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:grandma" xmlns:d="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:own="http://example.org/own/"
    xmlns:geo="http://www.w3.org/2003/01/geo/wgs84_pos#" geo:lat="31.2132"
    xmlns:drone="http://www.dji.com/drone-dji/1.0/" drone:LRFTargetLon="24.5235"
    tiff:Orientation="6" exif:GPSLatitude='52,31.2132N' own:note="a > b" xmp:Rating="4">
   <d:title><rdf:Alt><rdf:li xml:lang="x-default">Die Großmutter</rdf:li></rdf:Alt></d:title>
   <exif:GPSLongitude>13,24.5235E</exif:GPSLongitude>
   <ext:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm</ext:DigitalSourceType>
   <ext:LocationCreated><rdf:Bag><rdf:li rdf:parseType="Resource"><exif:GPSAltitude>34/1</exif:GPSAltitude>
     <ext:City>Berlin</ext:City></rdf:li></rdf:Bag></ext:LocationCreated>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>family|grandma</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()


def dataset(number: int, value: bytes, record: int = 2) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


IPTC = dataset(90, b"\x1b%G", 1) + dataset(120, "Caption: Großmutter".encode()) + dataset(80, b"Ada Example")
IPTC += dataset(25, b"family") + dataset(25, b"album") + dataset(55, b"19310506") + dataset(116, b"(c) Ada")


def block(
    order: str = ">",
    thumbnail: bytes = b"",
    orientation: int = 6,
    with_picture: bool = False,
    gps_in_exif: bool = False,
) -> bytes:
    """An EXIF block as cameras write them, with a MakerNote that points into it, and a thumbnail behind all.

    With a picture it is a TIFF file. `gps_in_exif`: the Exif directory points to the coordinates, and not the first one.
    """

    def pack(code: str, *values: int) -> bytes:
        return struct.pack(order + code, *values)

    data = bytearray((b"II" if order == "<" else b"MM") + pack("HI", 42, 8))

    def table(entries: dict[int, tuple[int, int, bytes]], following: bool = False) -> dict[int, int]:
        """Append a directory; where each value lies. Its last four bytes are to point to the next directory."""
        size = 2 + 12 * len(entries) + 4
        rows, values, places = b"", b"", {}
        for tag, (kind, count, value) in sorted(entries.items()):
            field = value.ljust(4, b"\0")
            if len(value) > 4:
                places[tag] = len(data) + size + len(values)
                field = pack("I", places[tag])
                values += value + b"\0" * (len(value) % 2)
            else:
                places[tag] = len(data) + 2 + len(rows) + 8
            rows += pack("HHI", tag, kind, count) + field
        places[0] = len(data) + size - 4
        data.extend(pack("H", len(entries)) + rows + pack("I", 0) + values)
        return places

    def short(value: int) -> tuple[int, int, bytes]:
        return 3, 1, pack("H", value)

    first = {tag: (2, len(text) + 1, text + b"\0") for tag, text in TEXTS.items()}
    first |= {256: (4, 1, pack("I", 64)), 257: (4, 1, pack("I", 48)), 274: short(orientation), 296: short(2)}
    first |= {282: (5, 1, pack("II", 300, 1)), 283: (5, 1, pack("II", 600, 1))}
    pointer = {34853: (4, 1, pack("I", 0))}
    first |= {34665: (4, 1, pack("I", 0))} | ({} if gps_in_exif else pointer)
    if with_picture:
        first |= {258: short(8), 259: short(1), 262: short(1), 277: short(1), 278: short(48)}
        first |= {273: (4, 1, pack("I", 0)), 279: (4, 1, pack("I", GRAY.size))}
        first |= {700: (1, len(XMP), XMP), 33723: (7, len(IPTC), IPTC)}
    places = table(first)
    if with_picture:
        data[places[273] : places[273] + 4] = pack("I", len(data))
        data += GRAY.tobytes()
    data[places[34665] : places[34665] + 4] = pack("I", len(data))
    inner = {33437: (5, 1, pack("II", 56, 10)), 34855: short(400), 36867: (2, 20, b"1931:05:06 07:08:09\0")}
    inner |= {37500: (7, 40, b"MAKER" + bytes(35)), 40961: short(2), 40962: short(64), 40963: short(48)}
    inner |= {40965: (4, 1, pack("I", 0))} | (pointer if gps_in_exif else {})
    inside = table(inner)
    data[inside[40965] : inside[40965] + 4] = pack("I", len(data))
    table({1: (2, 4, b"R03\0")})
    note = inside[37500]
    data[note + 8 : note + 16] = pack("I", note + 20) + b"\x11\x22\x33\x44"
    to_gps = (inside if gps_in_exif else places)[34853]
    data[to_gps : to_gps + 4] = pack("I", len(data))
    table(
        {
            1: (2, 2, b"N\0"),
            2: (5, 3, pack("6I", *LATITUDE)),
            3: (2, 2, b"E\0"),
            4: (5, 3, pack("6I", *LONGITUDE)),
        }
    )
    if thumbnail:
        data[places[0] : places[0] + 4] = pack("I", len(data))
        small = table({259: short(6), 513: (4, 1, pack("I", 0)), 514: (4, 1, pack("I", len(thumbnail)))})
        data[small[513] : small[513] + 4] = pack("I", len(data))
        data += thumbnail
    return bytes(data)


def small_jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(GRAY[:12, :16]).save(file, "JPEG")
    return file.getvalue()


THUMBNAIL = small_jpeg()


@functools.cache
def source(format: str, order: str = ">") -> bytes:
    """A gray file with a whole record, written without the code under test."""
    exif = block(order, THUMBNAIL)
    file = io.BytesIO()
    if format == "TIFF":
        return block(order, with_picture=True)
    options: dict[str, Any] = {"dpi": (300, 600)} if format in ("JPEG", "PNG") else {}
    if format == "AVIF":
        options["exif"] = block(order, THUMBNAIL, orientation=1)  # AVIF says it in another way
        options["xmp"] = XMP.replace(b'Orientation="6"', b'Orientation="1"')
    elif format != "JPEG":
        options["exif"] = exif
    if format == "WEBP":
        options["xmp"] = XMP
    Image.fromarray(GRAY).save(file, format, **options)
    data = file.getvalue()
    if format == "JPEG":
        wrapped = b"8BIM\x04\x25\0\0\0\0\0\x01!\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
        bodies = {
            b"\xff\xe1": [b"Exif\0\0" + exif, b"http://ns.adobe.com/xap/1.0/\0" + XMP],
            b"\xff\xed": [b"Photoshop 3.0\0" + wrapped],
            b"\xff\xfe": [b"scanned by Ada"],
        }
        made = b"".join(
            mark + struct.pack(">H", len(body) + 2) + body for mark in bodies for body in bodies[mark]
        )
        return data[:20] + made + data[20:]
    if format == "PNG":
        return data[:33] + b"".join(chunk(*one) for one in png_chunks()) + data[33:]
    return data


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks() -> list[tuple[bytes, bytes]]:
    digits = (b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC).hex()
    return [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        (
            b"zTXt",
            b"Raw profile type iptc\0\0"
            + zlib.compress(f"\niptc\n{len(digits) // 2:8}\n{digits}\n".encode()),
        ),
        (b"tEXt", b"Title\0Gro\xdfmutter"),
        (b"iTXt", b"Box\0\x01\0de\0Schachtel\0" + zlib.compress("Nº 7, łódź".encode())),
        (b"tEXt", b"Comment\0scanned by Ada"),
    ]


def colored(data: bytes) -> Photo:
    photo = image_io.open(data)
    gray = photo.pixels if photo.pixels.ndim == 2 else photo.pixels[..., 0]
    return replace(photo, pixels=np.stack([gray, gray // 2 + 40, 255 - gray], axis=2))


def fields(data: bytes) -> dict[str, str]:
    """By exifread. It knows no AVIF, and skips six bytes of a WebP's block, which RFC 9649 does not have: it gets those blocks alone."""
    if data[8:12] in (b"WEBP", b"avif"):
        with Image.open(io.BytesIO(data)) as image:
            data = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    tags = exifread.process_file(io.BytesIO(data), details=False, truncate_tags=False)
    return {name: str(value) for name, value in tags.items() if not isinstance(value, bytes)}


def saved(photo: Photo, format: str, **options: Any) -> bytes:
    return image_io.save(photo, SaveOptions(format, **options))


def packet(data: bytes) -> str:
    """The XMP in a file, whatever the format: none of ours compresses it."""
    found = re.findall(rb"<\?xpacket begin.*?<\?xpacket end=.w.\?>", data, re.DOTALL)
    assert len(found) <= 1
    return found[0].decode() if found else ""


@pytest.mark.parametrize("into", FORMATS)
@pytest.mark.parametrize("out_of", FORMATS)
def test_exif_is_kept_field_by_field(out_of: str, into: str) -> None:
    for order in ("<", ">"):
        photo = colored(source(out_of, order))
        assert photo.size == ((64, 48) if out_of == "AVIF" else (48, 64))
        read = fields(saved(photo, into))
        assert {name: read.get(name) for name in NAMES} == NAMES
        assert read["GPS GPSLatitude"].replace(" ", "") == "[52,31,1279/100]"
        assert read["GPS GPSLongitude"].replace(" ", "") == "[13,24,3141/100]"
        assert "Horizontal" in read.get("Image Orientation", "Horizontal")
        assert (read["EXIF ColorSpace"], read["Interoperability InteroperabilityIndex"]) == ("sRGB", "R98")
        assert (read["EXIF ExifImageWidth"], read["EXIF ExifImageLength"]) == tuple(map(str, photo.size))
        if out_of != "AVIF":  # which turns by 90°: what was across is down
            assert [read[f"Image {name}Resolution"] for name in "XY"] == ["600", "300"]
        assert not [name for name in read if name.startswith("Thumbnail")]


@pytest.mark.parametrize("into", FORMATS)
@pytest.mark.parametrize("out_of", FORMATS)
def test_xmp_is_kept_and_says_that_the_colors_are_guessed(out_of: str, into: str) -> None:
    text = packet(saved(colored(source(out_of)), into))
    for kept in (
        '<rdf:li xml:lang="x-default">Die Großmutter</rdf:li>',
        "family|grandma",
        'own:note="a > b"',
        "52,31.2132N",
    ):
        assert kept in text
    assert 'rdf:about="uuid:grandma"' in text
    assert f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>" in text
    assert "negativeFilm" not in text
    assert "<photoshop:Instructions>The colors are guesses." in text
    assert "<xmp:CreatorTool>Autochrome<" in text
    assert 'Orientation="6"' not in text
    assert "<tiff:Orientation>1</tiff:Orientation>" in text
    if into in ("WEBP", "AVIF") and out_of in ("JPEG", "PNG", "TIFF"):  # they have no place for IPTC-IIM
        assert "Caption: Großmutter" in text
        assert "<rdf:Bag><rdf:li>family</rdf:li><rdf:li>album</rdf:li></rdf:Bag>" in text
        assert "1931-05-06" in text
        assert text.count("title>") == 2, "what XMP says already is not said again"


@pytest.mark.parametrize("into", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("out_of", ["JPEG", "PNG", "TIFF"])
def test_iptc_is_kept_byte_for_byte(out_of: str, into: str) -> None:
    data = saved(colored(source(out_of)), into)
    assert image_metadata.read(data, into).iptc == IPTC
    if into == "JPEG":
        assert IPTC in data
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["photoshop"][0x0404] == IPTC
    elif into == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as opened:
            assert opened.pages[0].tags[33723].value == IPTC
    else:
        with Image.open(io.BytesIO(data)) as image:
            digits = image.info["Raw profile type iptc"].split("\n", 3)[3]
            assert bytes.fromhex(digits.replace("\n", ""))[12:].startswith(IPTC)


def test_comments_and_texts_come_along_or_move() -> None:
    from_jpeg, from_png = colored(source("JPEG")), colored(source("PNG"))
    assert from_png.metadata.text == (
        ("Title", "Großmutter"),
        ("Box", "Nº 7, łódź"),
        ("Comment", "scanned by Ada"),
    )
    with Image.open(io.BytesIO(saved(from_jpeg, "JPEG"))) as image:
        assert image.info["comment"] == b"scanned by Ada"
    with Image.open(io.BytesIO(saved(from_jpeg, "PNG"))) as image:
        assert (image.text["Comment"], image.text["Disclaimer"]) == ("scanned by Ada", GUESSED)
    with Image.open(io.BytesIO(saved(from_png, "PNG"))) as image:
        assert [image.text[key] for key in ("Title", "Box", "Comment")] == [
            "Großmutter",
            "Nº 7, łódź",
            "scanned by Ada",
        ]
    with Image.open(io.BytesIO(saved(from_png, "JPEG"))) as image:
        assert image.info["comment"].decode() == "Box: Nº 7, łódź\nscanned by Ada"
    for format in ("TIFF", "WEBP", "AVIF"):
        assert "scanned by Ada" in packet(saved(from_jpeg, format))
        assert "Box: Nº 7, łódź" in packet(saved(from_png, format))
    bare = replace(from_png, metadata=Metadata(text=from_png.metadata.text))
    assert (
        '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Großmutter</rdf:li></rdf:Alt></dc:title>'
        in packet(saved(bare, "JPEG"))
    )


@pytest.mark.parametrize("into", FORMATS)
def test_without_location_no_coordinate_is_in_the_file(into: str) -> None:
    for out_of in FORMATS:
        photo = colored(source(out_of))
        photo = replace(photo, metadata=replace(photo.metadata, text=(("exif:GPSLatitude", "52,31.2132N"),)))
        data = saved(photo, into, location=False)
        numbers = [struct.pack(order + "2I", *LATITUDE[4:]) for order in "<>"]
        assert not any(secret in data for secret in (*numbers, b"31.2132", b"24.5235", b"34/1", b"GPS"))
        assert not [name for name in fields(data) if name.startswith("GPS")]
        assert fields(data)["Image Artist"] == "Ada Example"
        assert "Berlin" in packet(data), "a place that somebody wrote is a caption"


@pytest.mark.parametrize("order", ["<", ">"])
def test_coordinates_that_the_exif_directory_points_to_are_dropped_too(order: str) -> None:
    record = Metadata(exif=block(order, gps_in_exif=True))
    photo = Photo(GRAY, None, "JPEG", metadata=record)
    secrets = [struct.pack(order + "6I", *place) for place in (LATITUDE, LONGITUDE)]
    assert all(secret in saved(photo, "JPEG") for secret in secrets)
    data = saved(photo, "JPEG", location=False)
    assert not any(secret in data for secret in secrets)
    assert struct.pack(order + "HHI", 34853, 4, 1) not in data, "nor what pointed to them"
    assert fields(data)["EXIF DateTimeOriginal"] == "1931:05:06 07:08:09"


@pytest.mark.parametrize("into", FORMATS)
def test_stripped_files_hold_nothing_of_the_record(into: str) -> None:
    for out_of in FORMATS:
        data = saved(colored(source(out_of)), into, metadata=False, disclosure=False)
        for secret in (b"Ada", b"Epson", b"Exif", b"xpacket", b"grandma", b"1931"):
            assert secret not in data
    data = saved(colored(source("JPEG")), into, metadata=False)
    assert SOURCE_TYPE in packet(data), "the disclosure is a matter of its own"
    assert "Ada" not in packet(data)
    kept = saved(colored(source("JPEG")), into, disclosure=False)
    assert "negativeFilm" in packet(kept)
    assert GUESSED[:30] not in kept.decode("latin-1")


def test_what_is_not_false_stays_at_its_place_byte_for_byte() -> None:
    """A MakerNote points into its block; so nothing moves."""
    for order in ("<", ">"):
        before = block(order, THUMBNAIL)
        after = exif.corrected(before, exif.Corrections(48, 64, (600, 300)))
        note = before.index(b"MAKER")
        assert after.index(b"MAKER") == note
        assert after[note : note + 40] == before[note : note + 40]
        changed = {at for at, (one, two) in enumerate(zip(before, after, strict=False)) if one != two}
        assert len(changed) < 40
        assert THUMBNAIL[100:200] not in after
        assert len(after) < len(before) - len(THUMBNAIL)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_maker_note_stands_where_it_stood(format: str) -> None:
    photo = colored(source("JPEG"))
    after = image_metadata.read(saved(photo, format), format).exif
    note = photo.metadata.exif.index(b"MAKER")
    assert after[note : note + 40] == photo.metadata.exif[note : note + 40]


def test_instructions_of_others_are_left_to_them() -> None:
    asked = IPTC + dataset(40, b"Ask Ada first")
    photo = Photo(np.stack([GRAY] * 3, 2), None, "JPEG", metadata=Metadata(iptc=asked))
    assert "photoshop:Instructions" not in packet(saved(photo, "JPEG"))
    assert "<photoshop:Instructions>Ask Ada first<" in packet(saved(photo, "WEBP"))


def test_a_block_that_jpeg_cannot_hold_loses_the_maker_note_and_no_more() -> None:
    tree = tiff.header(">") + tiff.serialized(
        {270: (2, 8, b"Grandma\0"), 34665: {36867: (2, 20, b"1931:05:06 07:08:09\0"), 37500: (7, 70_000, bytes(70_000))}},
        8, tiff.Layout(">"),
    )  # fmt: skip
    photo = Photo(np.stack([GRAY] * 3, 2), None, "JPEG", metadata=Metadata(exif=tree))
    read = fields(saved(photo, "JPEG"))
    assert (read["Image ImageDescription"], read["EXIF DateTimeOriginal"]) == (
        "Grandma",
        "1931:05:06 07:08:09",
    )
    assert bytes(70_000) in saved(photo, "WEBP")


def test_a_packet_that_jpeg_cannot_hold_gives_way_to_the_disclosure() -> None:
    padded = XMP.replace(b"\n<?xpacket end", b"\n" + b" " * 70_000 + b"\n<?xpacket end")
    photo = Photo(np.stack([GRAY] * 3, 2), None, "JPEG", metadata=Metadata(xmp=padded))
    assert "Die Großmutter" in packet(saved(photo, "JPEG"))
    large = XMP.replace(b"family|grandma", b"x" * 70_000)
    photo = replace(photo, metadata=Metadata(xmp=large))
    assert SOURCE_TYPE in packet(saved(photo, "JPEG"))
    assert b"x" * 70_000 in saved(photo, "PNG")


def test_a_photo_colored_twice_says_it_once() -> None:
    once = saved(colored(source("PNG")), "PNG")
    twice = saved(colored(once), "PNG")
    assert packet(twice).count(SOURCE_TYPE) == 1
    assert twice.count(GUESSED.encode()) == 2, "in XMP and in a text"
    third = saved(colored(twice), "JPEG")
    assert packet(third).count("DigitalSourceType>") == 2


HOSTILE = {
    "entities": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + XMP,
    "a file from outside": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    + XMP.replace(b"family", b"&a;"),
    "a document type": b"<!DOCTYPE x>" + XMP,
    "no end": XMP[:-200],
    "nested deeply": XMP.replace(b"family|grandma", b"<a>" * 10_000 + b"</a>" * 10_000),
    "too large": XMP.replace(b"family", b"x" * 5_000_000),
    "no RDF": b"<a>b</a>",
    "empty RDF": b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    "no XML": b"\xff\xd8\xff\xe0 hello",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_xmp_is_dropped(kind: str) -> None:
    assert xmp.checked(HOSTILE[kind]) == b""
    file = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + HOSTILE[kind])
    Image.fromarray(GRAY).save(opened := io.BytesIO(), "PNG")
    data = opened.getvalue()[:33] + file + opened.getvalue()[33:]
    photo = image_io.open(data)
    assert photo.metadata.xmp == b""
    assert SOURCE_TYPE in packet(saved(photo, "PNG"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-32"])
def test_xmp_in_any_unicode_becomes_utf_8(encoding: str) -> None:
    text = XMP.decode().replace("\ufeff", "")
    assert "Die Großmutter" in xmp.checked(text.encode(encoding)).decode()


def test_empty_elements_are_cut_whole() -> None:
    before = XMP.replace(
        b"<exif:GPSLongitude>13,24.5235E</exif:GPSLongitude>", b'<exif:GPSLongitude exif:a=">"/>'
    )
    after = xmp.edited(before, lambda name: name[1].startswith("GPS"), {}, {}, {})
    assert b"GPS" not in after
    assert xmp.checked(after) == after
    assert len(before) - len(after) < 150


def test_a_text_that_unpacks_to_too_much_is_dropped_in_little_memory() -> None:
    bomb = zlib.compress(bytes(60 * 2**20), 9)
    data = source("PNG")
    data = (
        data[:33]
        + chunk(b"zTXt", b"Bomb\0\0" + bomb)
        + chunk(b"iTXt", b"Bomb\0\x01\0\0\0" + bomb)
        + data[33:]
    )
    tracemalloc.start()
    read = image_metadata.read(data, "PNG")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "Bomb" not in dict(read.text)
    cut = data[:33] + chunk(b"zTXt", b"Cut\0\0" + zlib.compress(b"some words")[:-6]) + data[33:]
    assert "Cut" not in dict(image_metadata.read(cut, "PNG").text)
    assert read.iptc == IPTC
    assert most < 24 * 2**20


def test_directories_that_go_in_circles_or_claim_too_much_end_soon() -> None:
    circle = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 34665, 4, 1, 8) + struct.pack("<I", 8)
    many = b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + bytes(12 * 65_535)
    large = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 270, 2, 2**32 - 1, 8) + bytes(4)
    start = time.process_time()
    for data in (circle, many, large, b"", b"II*\0", b"II+\0" + bytes(20)):
        for order in (b"II", b"MM"):
            hostile = order + data[2:]
            block = exif.checked(hostile)
            exif.corrected(block, exif.Corrections(10, 10, (1, 2), location=False))
            exif.of_tiff(hostile, page=999_999)
            exif.without_maker_note(block)
    assert time.process_time() - start < 1


EDIT = st.tuples(
    st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "insert"]), st.binary(max_size=4)
)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FORMATS), st.lists(EDIT, min_size=1, max_size=5), st.booleans())
def test_whatever_the_bytes_a_record_is_read_and_written(
    format: str, edits: list[tuple[float, str, bytes]], location: bool
) -> None:
    data = source(format)
    for where, what, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + (0 if what == "insert" else len(new) if what == "set" else 40) :]
    read = image_metadata.read(data, format)
    for into in image_io.WRITABLE:
        made = image_metadata.for_file(read, Changes(into, 48, 64, (300, 600), location))
        assert SOURCE_TYPE.encode() in made.xmp
        assert xmp.checked(made.xmp) == made.xmp
    photo = Photo(GRAY[:16, :16], None, "PNG", metadata=read)
    for into in ("TIFF", "WEBP"):
        assert image_io.open(saved(photo, into)).size == photo.size


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=6), st.booleans())
def test_whatever_the_block_no_coordinate_gets_through(
    edits: list[tuple[float, str, bytes]], big: bool
) -> None:
    """Of blocks whose directories still say where the coordinates are."""
    data = block(">" if big else "<", THUMBNAIL)
    for where, _, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + len(new) :]
    after = exif.corrected(data, exif.Corrections(48, 64, (600, 300), location=False))
    try:
        read = fields(after) if after else {}
    except IndexError:  # exifread's own, at a directory that is none
        return
    assert not [name for name in read if name.startswith("GPS")]


def test_nothing_is_read_that_stands_behind_the_picture_or_in_other_formats() -> None:
    data = source("JPEG")
    assert image_metadata.read(data, "GIF") == Metadata()
    scan = data.index(b"\xff\xda")
    assert image_metadata.read(data[:20] + data[scan:] + data[20:scan], "JPEG") == Metadata()


def test_boxes_of_jpeg_2000_and_jpeg_xl_are_read() -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    exif = block("<")
    jxl = box(b"JXL ", b"\r\n\x87\n") + box(b"Exif", bytes(4) + exif) + box(b"xml ", XMP) + box(b"jxlc", b"x")
    assert image_metadata.read(jxl, "JXL") == Metadata(exif, XMP)
    jp2 = box(b"jP  ", b"\r\n\x87\n") + box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP)
    jp2 += box(b"uuid", b"JpgTiffExif->JP2" + exif) + box(
        b"uuid", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38") + IPTC
    )
    assert image_metadata.read(jp2, "JPEG2000") == Metadata(exif, XMP, IPTC)


def test_a_page_of_a_tiff_has_its_own_record() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number in range(3):
            writer.write(
                GRAY,
                photometric="minisblack",
                metadata=None,
                extratags=[(285, 2, None, f"page {number}", True)],
            )
    for number in range(3):
        assert f"page {number}\0".encode() in image_metadata.read(file.getvalue(), "TIFF", number).exif


def test_a_sidecar_says_how_the_colors_came_about() -> None:
    made = image_metadata.sidecar(
        net={"name": "lite", "sha256": "ab"},
        options={"vividness": 1.5},
        result={"sha256": "cd", "width": 3, "height": 4},
        temperature=0.4,
        source={"name": "Großmutter.jpg", "sha256": "ef"},
        notices=[Notice("photo_rotated", "It was turned.")],
    )
    said = json.loads(made)
    assert (said["about"], said["digital_source_type"]) == (GUESSED, SOURCE_TYPE)
    assert said["source"] == {"name": "Großmutter.jpg", "sha256": "ef"}
    assert said["notices"] == [{"code": "photo_rotated", "detail": "It was turned."}]
    assert made == image_metadata.sidecar(
        net=said["net"], options=said["options"], result=said["result"], temperature=0.4, source=said["source"],
        notices=[Notice("photo_rotated", "It was turned.")],
    )  # fmt: skip
    assert SOURCE_TYPE.endswith("/compositeWithTrainedAlgorithmicMedia")


exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
WRITTEN = {
    "EXIF:ImageDescription": "Grandma, 1931",
    "EXIF:Artist": "Ada Example",
    "EXIF:Copyright": "(c) Ada Example",
    "EXIF:ModifyDate": "2001:02:03 04:05:06",
    "EXIF:DateTimeOriginal": "1931:05:06 07:08:09",
    "EXIF:UserComment": "hello",
    "EXIF:GPSLatitude": 52.5,
    "XMP:Title": "Die Großmutter",
    "XMP:Creator": ["Ada", "Bea"],
    "XMP:Rating": 4,
    "XMP:GPSLatitude": 52.5,
    "XMP:DateCreated": "1931:05:06",
}
IN_IPTC = {"IPTC:Caption-Abstract": "Großmutter", "IPTC:Keywords": ["family", "album"], "IPTC:By-line": "Ada"}


def told(path: Path) -> dict[str, Any]:
    """By ExifTool: group and name, and value."""
    done = subprocess.run(
        ["exiftool", "-json", "-G0", "-n", "-a", path], capture_output=True, text=True, check=False
    )
    [said] = json.loads(done.stdout)
    return {name: value for name, value in said.items() if isinstance(name, str)}


@exiftool
def test_exiftool_reads_the_same_record_as_before(tmp_path: Path) -> None:
    """All pairs of formats, in two runs of ExifTool."""
    arguments = [
        f"-{name}={one}"
        for name, value in (WRITTEN | IN_IPTC).items()
        for one in (value if isinstance(value, list) else [value])
    ]
    arguments += ["-IPTC:CodedCharacterSet=UTF8", "-EXIF:GPSLatitudeRef=N"]
    for format in FORMATS:
        Image.fromarray(GRAY).save(tmp_path / f"in.{format.lower()}", format)
    files = [str(tmp_path / f"in.{format.lower()}") for format in FORMATS]
    subprocess.run(
        ["exiftool", "-q", "-q", "-n", "-overwrite_original", *arguments, *files],
        capture_output=True,
        check=False,
    )
    outs = []
    for format, file in zip(FORMATS, files, strict=True):
        photo = colored(Path(file).read_bytes())
        for into in FORMATS:
            out = tmp_path / f"{format}-{into}{image_io.extension(into)}"
            out.write_bytes(saved(photo, into))
            outs.append(str(out))
    done = subprocess.run(
        ["exiftool", "-json", "-G0", "-n", "-a", "-warning", "-all", *outs],
        capture_output=True,
        text=True,
        check=False,
    )
    for said in json.loads(done.stdout):
        out_of, into = Path(said["SourceFile"]).stem.split("-")
        expected = WRITTEN | (IN_IPTC if {out_of, into} <= {"JPEG", "PNG", "TIFF"} else {})
        assert {name: said.get(name) for name in expected} == expected, said["SourceFile"]
        assert said["XMP:DigitalSourceType"] == SOURCE_TYPE
        assert "ExifTool:Warning" not in said, said["ExifTool:Warning"]


def rows() -> dict[str, list[str]]:
    """The table of docs/metadata.md by its first column."""
    page = (Path(__file__).parent.parent.parent / "docs/metadata.md").read_text()
    table = page.partition("| | JPEG | PNG | TIFF | WebP | AVIF |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: kept for name, *kept in cells}


def _has_exif(data: bytes) -> bool:
    return fields(data).get("Image Artist") == "Ada Example"


def _has_xmp(data: bytes) -> bool:
    return "Die Großmutter" in packet(data)


def _has_iptc(data: bytes) -> bool:
    found = image_metadata.read(data, str(Image.open(io.BytesIO(data)).format)).iptc
    return dict.fromkeys(number for number, _, _ in iptc.datasets(found)).keys() >= {(2, 120), (2, 80)}


def _has_comment(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return image.info.get("comment") == b"scanned by Ada" or image.info.get("Comment") == "scanned by Ada"


def _has_dpi(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return [round(float(value)) for value in image.info.get("dpi", ())] == [600, 300]


def _has_profile(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return b"sRGB" in image.info["icc_profile"].replace(b"\0", b"")


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "EXIF": _has_exif,
    "XMP": _has_xmp,
    "IPTC-IIM": _has_iptc,
    "comment": _has_comment,
    "dpi of the file itself": _has_dpi,
    "sRGB profile": _has_profile,
    "disclosure": lambda data: SOURCE_TYPE in packet(data),
}


@pytest.mark.parametrize("row", CHECKS)
def test_each_row_of_the_documented_table_is_true(row: str) -> None:
    for format, cell in zip(FORMATS, rows()[row], strict=True):
        assert CHECKS[row](saved(colored(source("JPEG")), format)) == cell.startswith("yes"), format
    assert set(CHECKS) == set(rows())
