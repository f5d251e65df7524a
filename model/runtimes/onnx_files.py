"""What an ONNX file refers to outside of itself, read before any library opens it: a stranger's file must not name others of this machine.

An ONNX file is a protocol buffer (https://protobuf.dev/programming-guides/encoding, messages by onnx.proto3). Tensors may lie in other
files, by a path relative to the folder; they may be in graphs, nodes' attributes and functions. Nothing but these paths is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from model.cards import CheckpointError

# Message: its fields that hold others in which a tensor may be.
_INSIDE: Final = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_BYTES: Final = 2  # the wire type of what has a length
_FIXED: Final = {1: 8, 5: 4}  # and of numbers of so many bytes


def check_references(data: bytes, path: Path) -> None:
    """Raises `CheckpointError` where the ONNX file `path`, whose content is `data`, is none, or names a file outside its folder."""
    try:
        locations = {*_locations(memoryview(data))}
    except (ValueError, IndexError) as error:
        raise CheckpointError("weights_damaged", f"{path} is no ONNX file: {error}.") from error
    for location in sorted(locations):
        inside = PurePosixPath(location)
        if inside.is_absolute() or ".." in inside.parts or "\\" in location or "\0" in location:
            raise CheckpointError(
                "net_unsupported",
                f"{path} wants to read {location!r}, which lies outside of its folder.",
                "Do not trust it; or save the net anew as one file.",
            )
        found = (path.parent / inside).resolve()
        if not found.is_relative_to(path.parent.resolve()):
            raise CheckpointError(
                "net_unsupported", f"{path.parent / inside}, which {path} names, is a link to another folder."
            )
        if not found.is_file():
            raise CheckpointError(
                "weights_missing", f"There is no {path.parent / inside}, which holds weights of {path}."
            )


def _locations(data: memoryview) -> Iterator[str]:
    """The paths of files that tensors lie in."""
    left = [("model", data)]
    graphs = 0
    while left:
        kind, message = left.pop()
        entry: dict[int, bytes] = {}
        for field, content in _fields(message):
            if kind == "entry":
                entry[field] = bytes(content)
            elif inner := _INSIDE[kind].get(field):
                left.append((inner, content))
        graphs += kind == "graph"
        if entry.get(1) == b"location":
            yield entry.get(2, b"").decode()
    if not graphs:
        raise ValueError("it holds no graph")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of each field that has a length. ValueError or IndexError where the message is none."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _number(message, place)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, place = _number(message, place)
        elif wire in _FIXED:
            place += _FIXED[wire]
        elif wire == _BYTES:
            length, place = _number(message, place)
            yield field, message[place : place + length]
            place += length
        else:
            raise ValueError("its content is no protocol buffer")
    if place != end:
        raise ValueError("it is cut off")


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("its content is no protocol buffer")
