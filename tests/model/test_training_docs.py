"""The example commands of the pages about training can be typed as they stand: they parse, and their recipes and settings exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.core import TyperGroup

from model.__main__ import command_group, repeated
from model.training import session
from model.training.config import Config

ROOT = Path(__file__).parent.parent.parent
PAGES = ("training.md", "self_supervised.md")


def commands(page: str) -> Iterator[list[str]]:
    """Each command of a page's indented blocks as words, comments left out, a line that ends in a backslash joined with the next."""
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE):
        yield shlex.split(line.replace("…", "X").replace("...", ""), comments=True)


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The values of a command's parameters, by name. Raises typer.TyperException for a wrong command line."""
    command: Any = command_group()
    words = repeated(words, command)
    while isinstance(command, TyperGroup):
        _, command, words = command.resolve_command(Context(command), words)
    return command.make_context(command.name, words).params


def of_model(page: str) -> list[list[str]]:
    return [words[words.index("model") + 1 :] for words in commands(page) if "model" in words]


@pytest.mark.parametrize("words", [pytest.param(w, id=" ".join(w)) for page in PAGES for w in of_model(page)])
def test_a_command_parses_and_what_it_trains_can_be_configured(words: list[str]) -> None:
    given = parsed(words)
    if words[0] == "train" and given["method"] != "adapt" and not given["extend"]:
        of_config = ("method", "net", "recipe", "settings", "steps", "seed")
        assert isinstance(session.configured(*(given[name] for name in of_config)), Config)


def test_what_is_made_are_targets_of_the_makefile() -> None:
    made = {words[1] for page in PAGES for words in commands(page) if words[0] == "make"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"train-gpu", "lecture"} <= made <= targets
