"""What is worked out over hours lies in a folder, a file each: whatever stops a command, the same command goes on there."""

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
class Desk:
    """The folder that all goes into, and what is there already."""

    folder: Path

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Say what all results here are of. ValueError where there are some of something else."""
        told = json.loads(json.dumps(facts))
        before = self.once("facts", lambda: told)
        differing = sorted(key for key in told.keys() | before.keys() if told.get(key) != before.get(key))
        if differing:
            raise InputError(
                f"{self.folder} was begun with another {' and '.join(differing)}; go on as it was, or name another folder"
            )

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives, JSON-like, or gave before."""
        file = self._file(name)
        if not file.exists():
            started = time.monotonic()
            self.write(file, work())
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        return self.result(name)

    def result(self, name: str) -> Any:
        """What is there by this name, or None."""
        file = self._file(name)
        return json.loads(file.read_text()) if file.exists() else None

    def some(self, name: str) -> dict[str, float]:
        """Of what was being worked out when the command was stopped."""
        file = self._file(name, ".part")
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def keep(self, name: str, values: Mapping[str, float]) -> None:
        self.write(self._file(name, ".part"), values)

    def write(self, file: Path, values: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        half_written = file.with_suffix(f".{os.getpid()}")
        half_written.write_text(json.dumps(values, indent=1) + "\n")
        half_written.replace(file)

    def _file(self, name: str, suffix: str = ".json") -> Path:
        return self.folder / "results" / f"{name}{suffix}"
