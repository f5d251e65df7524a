"""XMP packets (ISO 16684-1): checked, and edited where they stand. Needs no torch.

A packet comes from strangers. One that declares a document type, on which all attacks by entities rest, is no XMP and is refused, as is one
that is too large or nested too deeply. `edited` cuts properties out of the text and adds a description of ours before its end, so that
all that it does not touch stays byte for byte, in the writer's own prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

NAMESPACES: Final = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML_LANG: Final = "http://www.w3.org/XML/1998/namespace"
MOST_BYTES: Final = 4 * 2**20
_DEEPEST: Final = 64
_MOST_ELEMENTS: Final = 2**18
"""Photoshop's longest histories have some ten thousand."""
_BEGIN: Final = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_TAG: Final = re.compile(rb"<(?>[^<>\"']|\"[^\"]*\"|'[^']*')*+>")
_ATTRIBUTE: Final = re.compile(rb"\s+([^\s=/>\"']+)\s*=\s*(?>\"[^\"]*\"|'[^']*')")
_PADDING: Final = re.compile(rb"\s+(?=<\?xpacket end)")
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Name = tuple[str, str]
"""Namespace and local name."""


class _BrokenError(ValueError):
    """No packet that we would touch."""


@dataclass(frozen=True, slots=True)
class Text:
    """A property's value. `kind`: "" for one text, or "Alt" (in one language), "Bag" or "Seq" for RDF's containers."""

    values: tuple[str, ...]
    kind: str = ""


@dataclass(slots=True)
class _Found:
    """What one pass over a packet finds. Positions are bytes."""

    properties: dict[Name, str] = field(default_factory=dict)
    """The first text of each property of the photo itself."""
    cuts: list[tuple[int, int]] = field(default_factory=list)
    end: int | None = None
    """Where the end tag of rdf:RDF begins."""
    about: str = ""


def checked(packet: bytes) -> bytes:
    """The packet in UTF-8; empty where it is none."""
    if len(packet) > MOST_BYTES:
        return b""
    try:
        packet = _as_utf8(packet)
        _scanned(packet, lambda _: False)
    except _BrokenError:
        return b""
    return packet


def edited(
    packet: bytes,
    is_dropped: Callable[[Name], bool],
    replaced: Mapping[str, Text],
    added: Mapping[str, Text],
    always: Mapping[str, Text],
) -> bytes:
    """The packet without properties, at any depth, that `is_dropped` says so of, and with others in our own description.

    Of properties such as "dc:title": `replaced` are written where the packet has them, `added` where it has not, and `always` whatever it
    has. An empty packet is made new. Empty where there is nothing to write, or where the packet cannot be read.
    """
    wanted = {_name(key): (key, text) for key, text in (*added.items(), *always.items())}
    if not packet:
        return _new(dict(wanted.values()))
    instead = {_name(key): (key, text) for key, text in (*replaced.items(), *always.items())}
    try:
        found = _scanned(packet, lambda name: name in instead or is_dropped(name))
    except _BrokenError:
        return _new(dict(wanted.values()))
    mine = {_name(key): (key, text) for key, text in always.items()}
    mine |= {name: instead[name] for name in instead if name in found.properties}
    mine |= {_name(key): (key, text) for key, text in added.items() if _name(key) not in found.properties}
    parts, position = [], 0
    assert found.end is not None
    for start, end in found.cuts:
        parts.append(packet[position:start])
        position = max(end, position)
    kept_end = max(found.end, position)
    parts.append(packet[position:kept_end])
    if mine:
        parts.append(_description(dict(mine.values()), found.about).encode())
    parts.append(packet[kept_end:])
    return b"".join(parts)


def without_padding(packet: bytes) -> bytes:
    """A packet carries kilobytes of blanks for whoever edits it in place."""
    return _PADDING.sub(b"\n", packet, count=1)


def _as_utf8(packet: bytes) -> bytes:
    encodings = {
        b"\xff\xfe\0\0": "utf-32",
        b"\0\0\xfe\xff": "utf-32",
        b"\xff\xfe": "utf-16",
        b"\xfe\xff": "utf-16",
    }
    encodings |= {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
    encoding = next((name for mark, name in encodings.items() if packet.startswith(mark)), "utf-8")
    try:
        text = packet.decode(encoding)
    except UnicodeDecodeError as error:
        raise _BrokenError("not in Unicode") from error
    text = text.strip("\0")
    if text.startswith(("<?xml ", "\ufeff<?xml ")):
        text = text.partition("?>")[2]  # it may name another encoding
    return text.encode()


def _scanned(packet: bytes, is_cut: Callable[[Name], bool]) -> _Found:
    """One pass by expat. Raises _BrokenError."""
    found = _Found()
    path: list[Name] = []
    cut_from: list[int] = []  # the depths of elements that are being cut: one at a time
    cut_start = elements = 0
    current: Name | None = None
    parser = expat.ParserCreate("utf-8", "\n")
    parser.namespace_prefixes = True
    parser.buffer_text = True
    parser.ordered_attributes = True

    def start(tag: str, attributes: list[str]) -> None:
        nonlocal cut_start, current, elements
        name, _ = _split(tag)
        elements += 1
        if len(path) >= _DEEPEST or elements > _MOST_ELEMENTS:
            raise _BrokenError("nested too deeply, or too many elements")
        in_description = len(path) >= 1 and path[-1] == (_RDF, "Description")
        of_the_photo = in_description and len(path) >= 2 and path[-2] == (_RDF, "RDF")
        path.append(name)
        if of_the_photo:
            found.properties.setdefault(name, "")
            current = name
        if name == (_RDF, "Description") and len(path) >= 2 and path[-2] == (_RDF, "RDF"):
            for key, value in zip(attributes[::2], attributes[1::2], strict=True):
                attribute, _ = _split(key)
                if attribute == (_RDF, "about"):
                    found.about = found.about or value
                elif attribute[0] not in ("", _RDF, _XML_LANG):
                    found.properties.setdefault(attribute, value)
        if cut_from:
            return
        position = parser.CurrentByteIndex
        if name == (_RDF, "RDF") and _tag(packet, position).endswith(b"/>"):
            raise _BrokenError("an empty packet")
        if name[0] != _RDF and is_cut(name):
            if (whole := _tag(packet, position)).endswith(b"/>"):
                found.cuts.append((position, position + len(whole)))
            else:
                cut_from.append(len(path))
                cut_start = position
        else:
            _cut_attributes(packet, position, attributes, is_cut, found)

    def end(tag: str) -> None:
        nonlocal current
        position = parser.CurrentByteIndex
        if cut_from and cut_from[-1] == len(path):
            cut_from.pop()
            found.cuts.append((cut_start, position + len(_tag(packet, position))))
        if path[-1] == (_RDF, "RDF") and not cut_from and found.end is None:
            found.end = position
        path.pop()
        if len(path) >= 1 and path[-1] == (_RDF, "Description"):
            current = None

    def text(data: str) -> None:
        if current is not None and not found.properties[current]:
            found.properties[current] = data.strip()

    def refuse(*_: object) -> None:
        raise _BrokenError("a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise _BrokenError(str(error)) from error
    if found.end is None:
        raise _BrokenError("no rdf:RDF")
    return found


def _cut_attributes(
    packet: bytes, position: int, attributes: list[str], is_cut: Callable[[Name], bool], found: _Found
) -> None:
    gone = set()
    for key in attributes[::2]:
        name, prefix = _split(key)
        if name[0] not in ("", _RDF, _XML_LANG) and is_cut(name):
            gone.add(f"{prefix}:{name[1]}".encode())
    if not gone:
        return
    end = position + len(_tag(packet, position))
    for match in _ATTRIBUTE.finditer(packet, position, end):
        if match[1] in gone:
            found.cuts.append(match.span())


def _tag(packet: bytes, position: int) -> bytes:
    match = _TAG.match(packet, position)
    if match is None:
        raise _BrokenError("a tag without an end")
    return match[0]


def _split(tag: str) -> tuple[Name, str]:
    """Expat's "uri, local name, prefix" as ((uri, local name), prefix)."""
    parts = tag.split("\n")
    if len(parts) == 1:
        return ("", parts[0]), ""
    return (parts[0], parts[1]), parts[2] if len(parts) > 2 else ""


def _name(key: str) -> Name:
    prefix, _, local = key.partition(":")
    return NAMESPACES[prefix], local


def _new(texts: Mapping[str, Text]) -> bytes:
    if not texts:
        return b""
    return (
        f'{_BEGIN}\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'{_description(texts, "")}</rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def _description(texts: Mapping[str, Text], about: str) -> str:
    prefixes = sorted({key.partition(":")[0] for key in texts})
    spaces = "".join(f"\n  xmlns:{prefix}={quoteattr(NAMESPACES[prefix])}" for prefix in prefixes)
    rows = "".join(f"  <{key}>{_rdf(text)}</{key}>\n" for key, text in texts.items())
    return f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(about)}{spaces}>\n{rows}</rdf:Description>\n'


def _rdf(text: Text) -> str:
    values = [escape(_NO_XML.sub("", value)) for value in text.values]
    if not text.kind:
        return values[0]
    language = ' xml:lang="x-default"' if text.kind == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{value}</rdf:li>" for value in values)
    return f"<rdf:{text.kind}>{items}</rdf:{text.kind}>"
