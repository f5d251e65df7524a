"""What stands in Reddit's JSON and error texts, where PRAW leaves it as it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

LONG_PAUSE = 60.0
"""Seconds, where Reddit asks for patience and does not say how much."""


def patience(message: str) -> float:
    """Seconds in “try again in 7 minutes”."""
    units = {"hour": 3600.0, "minute": 60.0, "millisecond": 0.001, "second": 1.0}
    words = message.lower().split()
    for number, unit in pairwise(words):
        size = next((size for name, size in units.items() if unit.startswith(name)), None)
        if size is not None and number.isdecimal():
            return int(number) * size + 1
    return LONG_PAUSE


def gallery(data: dict[str, Any]) -> tuple[str, ...]:
    """In the order of `gallery_data`; `media_metadata` has none."""
    shown = data.get("media_metadata") or {}
    items = (data.get("gallery_data") or {}).get("items") or ()
    largest = (shown.get(item["media_id"], {}).get("s", {}) for item in items)
    return tuple(picture["u"].replace("&amp;", "&") for picture in largest if "u" in picture)


def preview(data: dict[str, Any]) -> str | None:
    images = (data.get("preview") or {}).get("images") or ()
    return images[0]["source"]["url"].replace("&amp;", "&") if images else None
