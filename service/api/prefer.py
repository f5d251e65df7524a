"""The request header `Prefer` (RFC 7240), of which `wait=N` is understood."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_WAIT = 60


def preferred_wait(headers: Iterable[str]) -> int | None:
    """Seconds that a client would wait, at most a minute; None without the wish.

    The first `wait` counts, and what cannot be read is ignored, both as the RFC has it (section 2).
    """
    for preference in ",".join(headers).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return min(int(seconds), LONGEST_WAIT) if seconds.isascii() and seconds.isdecimal() else None
    return None
