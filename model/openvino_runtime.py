"""OpenVINO's runtime, without its telemetry: `from model.openvino_runtime import ov, op`, never `import openvino`.

`import openvino` imports its converters, and these report the import to Google Analytics, as long as nobody has opted out, and write an
identifier into the home folder. Colors need no converters: they are kept from being imported, which halves the time too.
"""

from __future__ import annotations

import sys

_CONVERTERS = "openvino.tools.ovc"

if _CONVERTERS not in sys.modules:
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]  # so Python marks a module that is not to be had

import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["op", "ov"]
