"""Logs: one line an event, `key=value`, on standard error. Nothing of a picture, and no name of a file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping


def set_up_logging() -> None:
    """Send our own log and the warnings of the libraries to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("autochrome").setLevel(logging.INFO)
    logging.captureWarnings(True)


def pairs(values: Mapping[str, object]) -> str:
    """`a=1 b=2.5`: floats with three digits."""
    return " ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())
