"""Whether a JPEG's restart marks are all there: they count from 0 to 7 over and over (T.81, B.2.1 and E.1.4).

A decoder that finds one missing goes on without a word, with pixels at other places than theirs. Where a file has restart marks, as those
of many cameras and scanners have, they tell of damage in the middle; where it has none, nothing does.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from model.errors import PhotoError
from model.formats.raster_headers import NEXT_MARK

_RESTART: Final = re.compile(rb"\xff([\xd0-\xd7])")
_COSINE_FRAMES: Final = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
"""Whose units are blocks of 8 × 8."""
_MOST_MARKS: Final = 10_000


def check(data: bytes) -> None:
    """Raises PhotoError where restart marks are missing or out of order. `data` is a whole JPEG whose header has been judged."""
    interval, frame, position = 0, b"", 2
    for _ in range(_MOST_MARKS):
        if position + 4 > len(data) or data[position] != 0xFF:
            return  # what comes is no segment: decoders know how to go on, and so the check ends
        kind = data[position + 1]
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : min(end, position + 4 + 1024)]
        if kind == 0xD9:
            return
        if kind == 0xDD and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif kind in _COSINE_FRAMES:
            frame = body
        elif kind == 0xDA:
            if not interval:
                return
            behind = NEXT_MARK.search(data, end)
            stop = behind.start() if behind else len(data)
            if frame:
                _check_scan(data, end, stop, math.ceil(_units(frame, body) / interval) - 1)
            end = stop
        position = end


def _check_scan(data: bytes, start: int, stop: int, expected: int) -> None:
    marks = [found[1][0] - 0xD0 for found in _RESTART.finditer(data, start, stop)]
    if len(marks) == expected and all(mark == at % 8 for at, mark in enumerate(marks)):
        return
    raise PhotoError(
        "photo_damaged",
        f"The JPEG is damaged in its middle: {len(marks)} of {expected} restart marks are there, or they are out of order.",
        "Look for another copy of the file, or ask for what is there of it (partial).",
    )


def _units(frame: bytes, scan: bytes) -> int:
    """How many units a scan codes (T.81, A.2): blocks of 8 × 8 where it holds one component, else groups of them."""
    height, width, count = (int(value) for value in struct.unpack_from(">HHB", frame, 1))
    sampling = {frame[6 + 3 * at]: divmod(frame[7 + 3 * at], 16) for at in range(count)}
    across, down = (int(max(factors)) for factors in zip(*sampling.values(), strict=True))
    if scan[0] > 1:
        return math.ceil(width / (8 * across)) * math.ceil(height / (8 * down))
    wide, high = sampling[scan[1]]
    return math.ceil(math.ceil(width * wide / across) / 8) * math.ceil(math.ceil(height * high / down) / 8)
