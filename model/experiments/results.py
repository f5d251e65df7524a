"""Results of long experiments as files of a folder, one each: whatever stops a command, the same command resumes there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import InputError


@dataclass(frozen=True)
class Results:
    """The folder, and what is there already."""

    folder: Path

    def begin(self, metadata: Mapping[str, Any]) -> None:
        """Write what all results here are of. InputError where there are some of something else."""
        wanted = json.loads(json.dumps(metadata))
        before = self.once("metadata", lambda: wanted)
        differing = sorted(key for key in wanted.keys() | before.keys() if wanted.get(key) != before.get(key))
        if differing:
            raise InputError(
                f"{self.folder} was begun with another {' and '.join(differing)}; go on as it was, or name another folder"
            )

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, JSON-like, or gave before."""
        file = self._file(name)
        if not file.exists():
            started = time.monotonic()
            self.write(file, compute())
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        return self.get(name)

    def get(self, name: str) -> Any:
        """The result of this name, or None."""
        file = self._file(name)
        return json.loads(file.read_text()) if file.exists() else None

    def unfinished(self, name: str) -> dict[str, float]:
        """The part of a result that was there when the command was stopped."""
        file = self._file(name, ".part")
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def keep(self, name: str, values: Mapping[str, float]) -> None:
        """A part of a result, for `unfinished`."""
        self.write(self._file(name, ".part"), values)

    def write(self, file: Path, values: Any) -> None:
        """As JSON: whole, or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        half_written = file.with_suffix(f".{os.getpid()}")
        half_written.write_text(json.dumps(values, indent=1) + "\n")
        half_written.replace(file)

    def _file(self, name: str, suffix: str = ".json") -> Path:
        return self.folder / "results" / f"{name}{suffix}"
