"""A photograph's own lightness and a net's low-resolution ab → the photograph in color, one pass a pixel.

The loops are compiled by numba and hold no interpreter lock. A picture is cut into bands of rows, and each band is one call: threads that
take bands from one queue wait for each other only at the end, so that a busy neighbor costs no more than the core that it takes.

H×W pixels of a photo, h×w of ab. f is CIE 15's curve, Y (of X, Y, Z) in units of the white.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.compiled import bits_of, compiled, with_bits
from model.machine import cores

Frame = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels; the last two are beyond."""

_BAND: Final = 1 << 19  # pixels of one band: some milliseconds of work
_CHUNK: Final = 512  # pixels that a thread works on at once: few enough for its core's nearest cache
_HALVINGS: Final = 14  # of the interval that holds the largest chroma: to 0.006 of 100
_FADE: Final = 4  # pixels inside a frame's edge over which color sets in

_f = np.float32
XYZ_FROM_RGB: Final = np.array(  # IEC 61966-2-1, at scikit-image's precision
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
# The white is what the matrix makes of R = G = B = 1, which is D65 to 0.01%: so gray comes out as gray to the last of 16 bits.
RGB_FROM_XYZ: Final = np.linalg.inv(XYZ_FROM_RGB / XYZ_FROM_RGB.sum(1)[:, None])
_RX, _GX, _BX = (_f(value) for value in RGB_FROM_XYZ[:, 0])
_RZ, _GZ, _BZ = (_f(value) for value in RGB_FROM_XYZ[:, 2])
_WR, _WG, _WB = (_f(value) for value in XYZ_FROM_RGB[1])
_EPSILON = _f(0.008856)  # where f's cube root gives way to a line
_BEND = _f(0.008856 ** (1 / 3))
_KAPPA = _f(7.787)
_PER_KAPPA = _f(1 / 7.787)
_OFFSET = _f(16 / 116)
_TOE = _f(0.0031308)  # of sRGB's curve, in linear light
_THIRD = _f(1 / 3)
_ONE = _f(1)
_TWO = _f(2)
_HALF = _f(0.5)
_ZERO = _f(0)
_SLACK = _f(1e-6)  # of linear light: beyond 0…1 by no more counts as inside, and is clipped


def render(
    pixels: NDArray[Any], ab_2hw: NDArray[np.float32], frame: Frame | None = None, threads: int | None = None
) -> NDArray[Any]:
    """(H, W) gray or (H, W, 3) sRGB, uint8 or uint16, and (2, h, w) ab → (H, W, 3) sRGB of the same type.

    The lightness is that of `pixels`, to rounding: 0.002 L* at 16 bits. ab is upsampled bilinearly, as by
    `interpolate(…, mode="bilinear", align_corners=False)`. A color outside sRGB moves straight toward gray, at constant L* and hue angle,
    no farther than it must.

    `frame` is the part of the picture that ab covers; outside, the photo stays gray, and inside its edges color sets in over four pixels,
    but not at the picture's own edges. `threads`: None is as many as there are cores; with 1, the calling thread alone works.
    ValueError for arrays of other shapes or types, or a frame that does not lie in the picture.
    """
    deep = _with_channels(pixels)
    if ab_2hw.ndim != 3 or ab_2hw.shape[0] != 2 or 0 in ab_2hw.shape:
        raise ValueError(f"ab is {ab_2hw.shape}, and must be (2, h, w)")
    height, width = deep.shape[:2]
    top, left, bottom, right = frame = frame or (0, 0, height, width)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(f"the frame {frame} does not lie within {height} × {width} pixels")
    rows_2hW = _across(np.ascontiguousarray(ab_2hw, np.float32), width, left, right)
    fade = _fade(top, bottom, height)
    to_linear = _linear_from_code(deep.dtype.name)
    colored: NDArray[Any] = np.empty((height, width, 3), deep.dtype)

    def work(first: int, last: int) -> None:
        source = _read_only(deep[first:last])
        _render(source, to_linear, rows_2hW, fade[first:last], first - top, bottom - top, colored[first:last])

    _in_bands(work, height, width, threads)
    return colored


def lightness(pixels: NDArray[Any], threads: int | None = 1) -> NDArray[np.float32]:
    """(H, W) gray or (H, W, 3) sRGB, uint8 or uint16 → (H, W) float32 L*, 0…100. `threads` as for `render`."""
    deep = _with_channels(pixels)
    to_linear = _linear_from_code(deep.dtype.name)
    found: NDArray[np.float32] = np.empty(deep.shape[:2], np.float32)

    def work(first: int, last: int) -> None:
        _lightness(_read_only(deep[first:last]), to_linear, found[first:last])

    height, width = found.shape
    _in_bands(work, height, width, threads)
    return found


def _with_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) → (H, W, 1), (H, W, 3) as it is; ValueError for others."""
    deep = pixels[..., None] if pixels.ndim == 2 else pixels
    if deep.ndim != 3 or deep.shape[2] not in (1, 3) or deep.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are {pixels.shape} {pixels.dtype}: not gray or RGB of 8 or 16 bits")
    return deep


def _read_only(pixels: NDArray[Any]) -> NDArray[Any]:
    """The same without gaps and not to be written: numba compiles once for each kind of array, and this keeps them few."""
    view = np.ascontiguousarray(pixels).view()
    view.flags.writeable = False
    return view


def _in_bands(work: Callable[[int, int], None], height: int, width: int, threads: int | None) -> None:
    """Do `work` on (first row, row beyond the last) of every band."""
    rows = max(1, _BAND // max(1, width))
    bands = [(first, min(first + rows, height)) for first in range(0, height, rows)]
    workers = min(len(bands), threads or cores())
    if workers <= 1:
        for band in bands:
            work(*band)
        return
    with ThreadPoolExecutor(workers, "upsample") as pool:
        for done in [pool.submit(work, *band) for band in bands]:
            done.result()


def _across(ab_2hw: NDArray[np.float32], width: int, left: int, right: int) -> NDArray[np.float32]:
    """(2, h, w) → (2, h, W): upsampled across, in units of f (a/500 and b/200), and 0 outside the frame.

    This has few rows, and spares every pixel of the photo half of its interpolation.
    """
    low = ab_2hw.shape[2]
    x = np.clip((np.arange(right - left) + 0.5) * low / (right - left) - 0.5, 0, low - 1)
    before = x.astype(np.intp)
    after = np.minimum(before + 1, low - 1)
    share = (x - before).astype(np.float32)
    inside = _fade(left, right, width)[left:right]
    rows_2hW = np.zeros((*ab_2hw.shape[:2], width), np.float32)
    for plane, ab, unit in zip(rows_2hW, ab_2hw, (_f(1 / 500), _f(1 / 200)), strict=True):
        for row, values in zip(plane, ab, strict=True):
            here = values[before]
            row[left:right] = (here + (values[after] - here) * share) * (inside * unit)
    return rows_2hW


def _fade(first: int, last: int, length: int) -> NDArray[np.float32]:
    """(length,) share of the color along one side: 0 outside first…last, 1 inside, and ramps at ends that are not the picture's own."""
    place = np.arange(length)
    inside = np.ones(length, np.float32)
    if first > 0:
        inside = np.minimum(inside, np.clip((place - first + 0.5) / _FADE, 0, 1))
    if last < length:
        inside = np.minimum(inside, np.clip((last - place - 0.5) / _FADE, 0, 1))
    return inside.astype(np.float32)


@cache
def _linear_from_code(dtype: str) -> NDArray[np.float32]:
    """(256,) or (65536,): the linear light of each 8-bit or 16-bit sRGB value."""
    code = np.linspace(0, 1, np.iinfo(dtype).max + 1)
    linear = np.where(code > 0.04045, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4, code / 12.92)
    return linear.astype(np.float32)


@compiled
def _cube_root(x: Any) -> Any:
    """x^(1/3) of a positive float32, to its rounding.

    A third of a number's bits is a guess to 4%; two steps of Halley's method make it exact. Unlike a library's, it runs on vectors.
    """
    root = with_bits(np.int32(_f(bits_of(x)) * _THIRD) + np.int32(709921077))
    cube = root * root * root
    root = root * (cube + _TWO * x) / (_TWO * cube + x)
    cube = root * root * root
    return root * (cube + _TWO * x) / (_TWO * cube + x)


@compiled
def _curve(y: Any) -> Any:
    """CIE 15's f of Y."""
    root = _cube_root(y if y > _EPSILON else _EPSILON)
    return root if y > _EPSILON else _KAPPA * y + _OFFSET


@compiled
def _cubed(f: Any) -> Any:
    """The inverse of f: a cube, and the line below it."""
    bent = f if f > _BEND else _BEND
    return bent * bent * bent + (f - bent) * _PER_KAPPA


@compiled
def _mix(y: Any, f: Any, a: Any, b: Any) -> Any:
    """Linear R, G, B of a lightness (Y and its f) and a color. Gray gives Y itself, thrice."""
    x = _cubed(f + a) - y
    z = _cubed(f - b) - y
    return y + _RX * x + _RZ * z, y + _GX * x + _GZ * z, y + _BX * x + _BZ * z


@compiled
def _is_inside(red: Any, green: Any, blue: Any) -> Any:
    low = red if red < green else green
    low = low if low < blue else blue
    high = red if red > green else green
    high = high if high > blue else blue
    return (low >= -_SLACK) & (high <= _ONE + _SLACK)


@compiled
def _code(linear: Any, scale: Any) -> Any:
    """Linear light → its sRGB value times `scale`, to the nearest whole number. x^(1/2.4) is c·c^(1/4) with c = x^(1/3)."""
    x = linear if linear > _ZERO else _ZERO
    x = x if x < _ONE else _ONE
    root = _cube_root(x if x > _TOE else _TOE)
    power = _f(1.055) * root * _f(math.sqrt(_f(math.sqrt(root)))) - _f(0.055)
    return np.int32(scale * (power if x > _TOE else _f(12.92) * x) + _HALF)


@compiled
def _luminance(part: Any, to_linear: Any, y: Any) -> None:
    """Fill `y` with Y of the pixels of (n, 1 or 3) `part`."""
    if part.shape[1] == 1:
        for i in range(len(part)):
            y[i] = to_linear[part[i, 0]]
    else:
        for i in range(len(part)):
            y[i] = _WR * to_linear[part[i, 0]] + _WG * to_linear[part[i, 1]] + _WB * to_linear[part[i, 2]]


@compiled
def _lightness(pixels: Any, to_linear: Any, found: Any) -> None:
    """Fill (rows, W) `found` with L*."""
    for down in range(len(found)):
        _luminance(pixels[down], to_linear, found[down])
        for i in range(found.shape[1]):
            light = _f(116) * _curve(found[down, i]) - _f(16)
            found[down, i] = min(max(light, _ZERO), _f(100))  # rounding leads 6e-8 below 0


@compiled
def _linear_light(y: Any, ab: Any, linear: Any) -> None:
    """Fill (3, n) `linear`: R, G, B of Y and of (2, n) ab in units of f."""
    a, b = ab[0], ab[1]
    for i in range(len(y)):
        linear[0, i], linear[1, i], linear[2, i] = _mix(y[i], _curve(y[i]), a[i], b[i])


@compiled
def _reduce_chroma(y: Any, ab: Any, linear: Any, is_outside: Any, places: Any, packed: Any) -> None:
    """Give each color outside sRGB in `linear` the largest share of its ab that sRGB can show, by bisection. Share 0 is gray.

    `is_outside`, `places` and (5, n) `packed` are scratch. The few pixels are packed first, so that the search runs on vectors.
    """
    for i in range(len(y)):
        is_outside[i] = not _is_inside(linear[0, i], linear[1, i], linear[2, i])
    count = 0
    for i in range(len(y)):
        places[count] = i
        count += is_outside[i]
    py, pf, pa, pb, share = packed[0], packed[1], packed[2], packed[3], packed[4]
    for j in range(count):
        i = places[j]
        py[j], pf[j], pa[j], pb[j], share[j] = y[i], _curve(y[i]), ab[0, i], ab[1, i], _ZERO
    step = _HALF
    for _ in range(_HALVINGS):
        for j in range(count):
            tried = share[j] + step
            red, green, blue = _mix(py[j], pf[j], tried * pa[j], tried * pb[j])
            share[j] = tried if _is_inside(red, green, blue) else share[j]
        step *= _HALF
    for j in range(count):
        i = places[j]
        linear[0, i], linear[1, i], linear[2, i] = _mix(py[j], pf[j], share[j] * pa[j], share[j] * pb[j])


@compiled
def _encode(linear: Any, scale: Any, codes: Any, part: Any) -> None:
    """Fill (n, 3) `part` with the sRGB of `linear`. `codes` is scratch: a loop that interleaves does not run on vectors if it computes."""
    for plane in range(3):
        source, target = linear[plane], codes[plane]
        for i in range(len(part)):
            target[i] = _code(source[i], scale)
    for i in range(len(part)):
        part[i, 0], part[i, 1], part[i, 2] = codes[0, i], codes[1, i], codes[2, i]


@compiled
def _render(
    pixels: Any, to_linear: Any, rows_2hW: Any, fade: Any, first_row: int, frame_height: int, colored: Any
) -> None:
    """Color a band. `first_row` is the band's first, counted from the frame's top; `fade` is one share of the color a row.

    Each step is a loop of its own over a chunk of a row, with few arrays: so simple that the compiler makes vectors of all of them.
    """
    height, width = pixels.shape[:2]
    low = rows_2hW.shape[1]
    scale = _f(len(to_linear) - 1)
    luminances = np.empty(_CHUNK, np.float32)
    ab = np.empty((2, _CHUNK), np.float32)
    linear = np.empty((3, _CHUNK), np.float32)
    is_outside = np.empty(_CHUNK, np.uint8)
    places = np.empty(_CHUNK, np.int32)
    packed = np.empty((5, _CHUNK), np.float32)
    codes = np.empty((3, _CHUNK), np.int32)
    for down in range(height):
        place = (first_row + down + 0.5) * low / frame_height - 0.5
        place = min(max(place, 0.0), low - 1.0)
        above = int(place)
        below = min(above + 1, low - 1)
        share = _f(place - above)
        for first in range(0, width, _CHUNK):
            beyond = min(first + _CHUNK, width)
            y = luminances[: beyond - first]
            _luminance(pixels[down, first:beyond], to_linear, y)
            for plane in range(2):
                over, under = rows_2hW[plane, above, first:beyond], rows_2hW[plane, below, first:beyond]
                mixed = ab[plane]
                for i in range(len(y)):
                    mixed[i] = (over[i] + (under[i] - over[i]) * share) * fade[down]
            _linear_light(y, ab, linear)
            _reduce_chroma(y, ab, linear, is_outside, places, packed)
            _encode(linear, scale, codes, colored[down, first:beyond])
