"""What is said of a run over a folder: of each photo as it comes, and of all in the end; and the exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model.commands.terminal import ProgressLog, shown

if TYPE_CHECKING:
    from model.commands.coloring import Asked
    from model.folder.run import Outcome
    from model.folder.sources import Found

_NAMED: Final = 5
"""Names of one kind, at most; the others are counted."""
_MOST_NOTICES: Final = 20
"""Lines of one notice; further ones are counted."""


class Telling:
    """What is said of outcomes as they come, and in the end."""

    def __init__(self, total: int, asked: Asked) -> None:
        self.log = ProgressLog(total, asked.quiet)
        self._total = total
        self._asked = asked
        self._kinds: Counter[str] = Counter()
        self._noticed: dict[str, list[Path]] = {}
        self._traced = False

    def tell(self, outcome: Outcome) -> None:
        """Say what became of one photo, if a person should know."""
        path = shown(outcome.source.path)
        self._kinds[outcome.kind] += 1
        if outcome.trace and not self._traced:  # the first is enough to find the defect
            self._traced = True
            self.log.say(outcome.trace.rstrip())
        if outcome.kind in ("failed", "refused", "changed"):
            self.log.say(f"{path}: {outcome.detail}")
        for notice in outcome.notices:
            named = self._noticed.setdefault(notice.code, [])
            named.append(outcome.source.path)
            if len(named) <= _MOST_NOTICES and not self._asked.quiet:
                self.log.say(f"{path}: {notice.detail}")
        self.log.advance(outcome.kind == "failed")

    def sum_up(self, found: Found) -> None:
        """Say how many there were of each outcome, and what was left alone."""
        if self._asked.quiet:
            return
        count = self._kinds
        said = [f"{count['colored']} of {self._total} colored into {shown(self._asked.out)}"]
        said += [
            f"{count[kind]} {words}"
            for kind, words in {
                "there": "done already (--overwrite colors anew)",
                "kept": "in color already and kept as they are",
                "refused": "in color already and refused",
                "changed": "changed by somebody since, and left as they are",
                "failed": "failed",
            }.items()
            if count[kind]
        ]
        if left := self._total - count.total():
            said.append(f"{left} not done (the same command goes on)")
        print(", ".join(said))
        for code, paths in sorted(self._noticed.items()):
            print(f"noticed: {code} {len(paths)}: {_few(sorted(paths))}")
        for line in left_alone(found):
            print(f"left alone: {line}")

    def status(self, found: Found) -> int:
        """The exit status: 1 where something failed, was refused or is not done, 3 where something was left alone, else 0."""
        if (
            self._kinds["failed"]
            or self._kinds["refused"]
            or found.closed
            or self._kinds.total() < self._total
        ):
            return 1
        return 3 if self._kinds["changed"] or is_any_left(found) else 0


def left_alone(found: Found) -> list[str]:
    """A line for each kind of thing that was found and is no source."""
    kinds = Counter(path.suffix.lower() or "without an ending" for path in found.others)
    counts = ", ".join(f"{shown(kind)} {count}" for kind, count in sorted(kinds.items()))
    lines = [
        (found.others, "file", f"of other kinds ({counts})"),
        (found.links, "link", "to a folder, not followed"),
        (found.within, "photograph", "in the folder of results, no source"),
    ]
    said = [f"{_count(len(paths), noun)} {words}: {_few(paths)}" for paths, noun, words in lines if paths]
    reasons = [f"{shown(path)} ({reason})" for path, reason in found.closed]
    if reasons:
        said.append(f"{_count(len(reasons), 'folder')} not readable: {', '.join(reasons)}")
    return said


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_any_left(found: Found) -> bool:
    """Whether something was found that is no source, or could not be read."""
    return bool(found.others or found.links or found.within or found.closed)


def _few(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(shown(path) for path in paths[:_NAMED]) + more
