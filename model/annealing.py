"""The colors that a net's logits mean: the annealed mean of Zhang, Isola & Efros (ECCV 2016), in one pass over the logits.

`model.bins` has the same in torch, for training. https://arxiv.org/abs/1603.08511, section 2.3. Q bins, h×w positions, P of them in all.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model import palette
from model.compiled import compiled, with_bits

_f = np.float32
_LEAST: Final = _f(-87)  # e to less than it is no normal float32
_LOG2_E: Final = _f(1 / np.log(2))
_LN2_HIGH: Final = _f(0.693359375)  # in so few bits that its multiples are exact
_LN2_LOW: Final = _f(np.log(2) - 0.693359375)
_T6, _T5, _T4, _T3 = _f(1 / 720), _f(1 / 120), _f(1 / 24), _f(1 / 6)
_HALF: Final = _f(0.5)
_ONE: Final = _f(1)
_ZERO: Final = _f(0)


def annealed_mean(
    logits_Qhw: NDArray[np.float32], temperature: float, centers_Q2: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(Q, h, w) logits → (2, h, w) ab: the mean of the distribution sharpened to temperature T (section 2.3, equation 5).

    T = 1 is the mean, T → 0 the mode, 0 the mode itself. The largest logit is subtracted first, so that no T overflows. `centers_Q2` are
    the bins' colors: None is `palette.centers`. Fastest where the logits of a position lie side by side, as a net on a CPU gives them.
    Raises ValueError for a T below 0, or NaN, and for another number of bins.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}, and must not be negative")
    centers = palette.centers() if centers_Q2 is None else centers_Q2
    if len(logits_Qhw) != len(centers):
        raise ValueError(f"{len(logits_Qhw)} logits for {len(centers)} colors")
    logits_PQ = np.ascontiguousarray(np.moveaxis(logits_Qhw, 0, -1), np.float32).reshape(-1, len(centers))
    if temperature < np.finfo(np.float32).tiny:  # 0 as float32 knows it: a division would give NaN
        ab_2P = centers[logits_PQ.argmax(1)].T
    else:
        ab_2P = np.empty((2, len(logits_PQ)), np.float32)
        centers_2Q = np.ascontiguousarray(centers.T, np.float32)
        _mean(logits_PQ, logits_PQ.max(1), _f(1) / _f(temperature), centers_2Q, ab_2P)
    return np.ascontiguousarray(ab_2P).reshape(2, *logits_Qhw.shape[1:])


@compiled
def _exp(x: Any) -> Any:
    """e^x of a float32 that is not positive, to its rounding: 2 to a whole power, and Taylor's series for the rest, which is below 0.35."""
    near = _LEAST if x < _LEAST else x
    power = np.int32(near * _LOG2_E - _HALF)
    r = near - _f(power) * _LN2_HIGH - _f(power) * _LN2_LOW
    series = ((((_T6 * r + _T5) * r + _T4) * r + _T3) * r + _HALF) * r * r + r + _ONE
    found = series * with_bits((power + np.int32(127)) << np.int32(23))
    return _ZERO if x < _LEAST else found


@partial(compiled, freedoms=("reassoc",))
def _mean(logits_PQ: Any, peaks_P: Any, share: Any, centers_2Q: Any, ab_2P: Any) -> None:
    """Fill `ab_2P`. NaN where a logit is. `share` is 1/T."""
    a, b = centers_2Q[0], centers_2Q[1]
    for p in range(len(logits_PQ)):
        row, peak = logits_PQ[p], peaks_P[p]
        total, along_a, along_b = _f(0), _f(0), _f(0)
        for q in range(len(row)):
            weight = _exp((row[q] - peak) * share)
            total += weight
            along_a += weight * a[q]
            along_b += weight * b[q]
        ab_2P[0, p], ab_2P[1, p] = along_a / total, along_b / total
