"""Languages of the pages: which one is chosen, and that nothing of them is left untranslated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest

from service.api.strings import COOKIE, ENGLISH, LANGUAGES, SERVER, sentences, strings
from service.api.templates import environment
from service.errors import KINDS

ROOT = Path(__file__).parents[2]
WEB = ROOT / "service/web"
OTHERS = [language for language in LANGUAGES if language != ENGLISH]
HOLES = re.compile(r"%\(\w+\)[sd]|\{\w+\}")


def of_templates() -> Iterator[str]:
    """Messages of templates; of those with a plural the singular."""
    for template in (WEB / "templates").glob("*.j2"):
        found = environment(ENGLISH).extract_translations(template.read_text())  # type: ignore[attr-defined]
        for _, _, message in found:
            yield message if isinstance(message, str) else message[0]


def of_scripts() -> Iterator[str]:
    for script in (WEB / "static").glob("*.js"):
        yield from sentences(script.read_text())


def of_errors() -> Iterator[str]:
    for kind in KINDS.values():
        yield from (kind.title, kind.advice)


def of_notices() -> Iterator[str]:
    """What the model says of a photo, where it makes a `Notice("code", "Sentence.")`; what is filled in is a hole of its place's number."""
    for source in (ROOT / "model").rglob("*.py"):
        tree = ast.parse(source.read_text())
        constants = {
            node.target.id: node.value
            for node in tree.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Notice"
                and len(node.args) == 2
                and isinstance(node.args[1], ast.Constant | ast.JoinedStr)
            ):
                yield written(node.args[1], constants)


def written(sentence: ast.expr, constants: dict[str, ast.expr | None]) -> str:
    """A literal as translators see it: `{name}` for what is filled in, a constant's own text for a constant."""
    if isinstance(sentence, ast.Constant):
        return str(sentence.value)
    assert isinstance(sentence, ast.JoinedStr)
    text = ""
    for part in sentence.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        else:
            assert isinstance(part, ast.FormattedValue)
            name = ast.unparse(part.value)
            constant = constants.get(name)
            text += str(constant.value) if isinstance(constant, ast.Constant) else f"{{{name.split('.')[-1]}}}"
    return text


def test_missing() -> None:
    import json
    cat = polib.pofile(str(WEB / "strings/de.po")) if (WEB / "strings/de.po").exists() else []
    have = {(e.msgctxt, e.msgid) for e in cat}
    want = [(None, s) for s in dict.fromkeys([*of_templates(), *of_scripts()])] + [(SERVER, s) for s in dict.fromkeys([*of_errors(), *of_notices()])]
    for w in want:
        if w not in have: print(w[0] or "", "|", w[1])
