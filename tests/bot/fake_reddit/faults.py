"""What goes wrong, when it is told to: which calls, how often, and whether the call had its effect."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Literal

Kind = int | str
"""A status of HTTP; "timeout", "reset", "truncated" or "duplicate"; or an error of Reddit's forms like "RATELIMIT"."""
When = Literal["before", "after"]
ODDITIES = {"timeout", "reset", "truncated", "duplicate"}


@dataclass
class Fault:
    path: str
    """As in a shell, without a slash at the end: "/api/comment", "/message/*"."""
    kind: Kind
    method: str = "*"
    times: int | None = 1
    """None: for ever."""
    skip: int = 0
    """So many calls pass first."""
    when: When = "before"
    """The effect: "after" means that it has taken place, although the answer is lost."""
    seconds: float = 60.0
    """How long a timeout holds the answer back, or what `retry-after` says."""
    words: str | None = None
    hits: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what would never happen, or would happen as something else."""
        kind = self.kind
        if not (400 <= kind <= 599 if isinstance(kind, int) else kind in ODDITIES or kind.isupper()):
            raise ValueError(
                f"{self.kind!r} is no status from 400 to 599, none of {sorted(ODDITIES)}, and no CODE"
            )
        if self.path != "/" and self.path.endswith("/"):
            raise ValueError(f"{self.path} ends in a slash, but the paths of calls are told without")
        if self.when not in {"before", "after"}:
            raise ValueError(f'{self.when!r} is neither "before" nor "after"')

    def applies_to(self, method: str, path: str) -> bool:
        """Count a call; whether it is to fail."""
        if not fnmatch.fnmatchcase(path, self.path) or not fnmatch.fnmatchcase(method, self.method.upper()):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True
