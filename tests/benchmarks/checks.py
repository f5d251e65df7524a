"""What must hold, and whether it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`words` say what was found, with its numbers, whether it held or not."""

    name: str
    held: bool
    words: str

    @property
    def line(self) -> str:
        return f"- {'held' if self.held else '**did not hold**'}: {self.name}. {self.words}"


def all_held(checks: Sequence[Check]) -> bool:
    return all(check.held for check in checks)
