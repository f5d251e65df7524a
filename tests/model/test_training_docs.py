"""The example commands of the pages about training can be typed as they stand: they parse, and their recipes and settings exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.__main__ import _parser
from model.commands import train
from model.training.config import Config

ROOT = Path(__file__).parent.parent.parent
PAGES = ("training.md", "self_supervised.md")


def commands(page: str) -> Iterator[list[str]]:
    """Each command of a page's indented blocks as words, comments left out, a line that ends in a backslash joined with the next."""
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE):
        yield shlex.split(line.replace("…", "X").replace("...", ""), comments=True)


def of_model(page: str) -> list[list[str]]:
    return [words[words.index("model") + 1 :] for words in commands(page) if "model" in words]


@pytest.mark.parametrize("words", [pytest.param(w, id=" ".join(w)) for page in PAGES for w in of_model(page)])
def test_a_command_parses_and_what_it_trains_can_be_configured(words: list[str]) -> None:
    arguments = _parser().parse_args(words)
    if words[0] == "train" and arguments.method != "adapt" and not arguments.extend:
        assert isinstance(train._config(arguments), Config)


def test_what_is_made_are_targets_of_the_makefile() -> None:
    made = {words[1] for page in PAGES for words in commands(page) if words[0] == "make"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"train-gpu", "lecture"} <= made <= targets
