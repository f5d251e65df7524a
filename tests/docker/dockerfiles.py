"""What the tests of the images and of Compose read of the Dockerfiles."""

from __future__ import annotations

import json
import os
import re
import shutil
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docker").glob("*.Dockerfile"))


@dataclass
class Dockerfile:
    """What our checks need of a Dockerfile: its instructions, and those of the last stage by name."""

    instructions: list[tuple[str, str]]
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str) -> Dockerfile:
        text = re.sub(r"^#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE)
        lines = re.sub(r"\\\n\s*", "", text).splitlines()
        instructions = [
            (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line)
        ]
        pairs = " ".join(rest for name, rest in instructions if name == "ENV").split()
        return cls(instructions, dict(pair.split("=", 1) for pair in pairs))

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    @property
    def command(self) -> list[str]:
        return list(json.loads(self.last("CMD")))

    @property
    def health_check(self) -> list[str]:
        return list(json.loads(self.last("HEALTHCHECK").partition("CMD ")[2]))

    @property
    def copied(self) -> list[str]:
        """What is copied from the build context."""
        sources = [rest.split()[:-1] for rest in self.all("COPY") if not rest.startswith("--from=")]
        defaults = dict(argument.split("=", 1) for argument in self.all("ARG"))
        return [
            re.sub(r"\$\{(\w+)\}", lambda name: defaults[name[1]], each) for one in sources for each in one
        ]


def tool(name: str) -> str:
    """A command line tool of the development environment."""
    found = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert found, f"{name} is missing: run `make setup`"
    return found
