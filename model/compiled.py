"""Loops that numba compiles, which hold no interpreter lock; and where what it made of them is kept.

numba compiles for seconds, once a machine: what it made lies beside the loops' file in `__pycache__`, in the user's cache where that cannot
be written, or in the folder that AUTOCHROME_CACHE_DIR or NUMBA_CACHE_DIR names. Where nothing can be written, each process compiles anew.

numba looks for scipy's linear algebra, which none of our loops uses and whose import takes a quarter of a second. It does without where
that is not to be had, so it is kept from being found while numba looks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

_LINEAR_ALGEBRA: Final = "scipy.linalg"

if _LINEAR_ALGEBRA in sys.modules:
    import numba
else:
    sys.modules[_LINEAR_ALGEBRA] = None  # type: ignore[assignment]  # so Python marks a module that is not to be had
    try:
        import numba
        import numba.np.arraymath  # where it looks
    finally:
        del sys.modules[_LINEAR_ALGEBRA]

from numba import types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

_T = TypeVar("_T", bound=Callable[..., Any])
_FREEDOMS: Final = frozenset({"contract", "nsz", "arcp"})


def compiled(function: _T, freedoms: Sequence[str] = ()) -> _T:
    """`function` by numba, kept on disk where there is a place for it.

    `freedoms`: what its arithmetic may do beside fused, signless and reciprocal operations; by LLVM's names, such as "reassoc".
    """
    if named := os.environ.get("AUTOCHROME_CACHE_DIR"):
        settings: Any = numba.config
        settings.CACHE_DIR = settings.CACHE_DIR or str(Path(named) / "compiled")
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {*_FREEDOMS, *freedoms},
    }
    try:
        return cast(_T, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that numba knows can be written
        return cast(_T, numba.njit(**options)(function))


def _intrinsic(function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """numba's `intrinsic`, whose types are those of the function that it is given and not of what it makes."""
    return cast(Callable[[Any], Any], intrinsic(function))


@_intrinsic
def bits_of(typing: Any, number: Any) -> Any:
    """The bits of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, signature, values: builder.bitcast(
        values[0], context.get_value_type(types.int32)
    )


@_intrinsic
def with_bits(typing: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.int32), lambda context, builder, signature, values: builder.bitcast(
        values[0], context.get_value_type(types.float32)
    )
