"""Languages of the pages: which one is chosen, and that nothing of them is left untranslated."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib
import pytest

from model.image_headers import IN_WORDS
from service.api.strings import ENGLISH, LANGUAGES, SERVER, sentences, strings
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
    yield IN_WORDS
    for kind in KINDS.values():
        yield from (kind.title, kind.advice)


def of_model() -> Iterator[str]:
    """What the model says of a photo by `Notice("code", "Sentence.")` and `PhotoError("code", "Sentence.", "Advice.")`."""
    for source in [*(ROOT / "model").glob("*.py"), *(ROOT / "model/formats").glob("*.py")]:
        tree = ast.parse(source.read_text())
        constants = {
            node.target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Notice", "PhotoError"):
                for argument in node.args[1:]:
                    if isinstance(argument, ast.Constant | ast.JoinedStr):
                        yield written(argument, constants)


def written(sentence: ast.Constant | ast.JoinedStr, constants: dict[str, Any]) -> str:
    """A literal as translators see it: `{a}`, `{b}` … for what is filled in, a constant's own text for a constant."""
    if isinstance(sentence, ast.Constant):
        return str(sentence.value)
    text, names = "", iter(string.ascii_lowercase)
    for part in sentence.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        else:
            assert isinstance(part, ast.FormattedValue)
            text += str(constants.get(ast.unparse(part.value)) or f"{{{next(names)}}}")
    return text


def holes(text: str) -> set[str]:
    return set(HOLES.findall(text))


@pytest.fixture(params=OTHERS)
def catalog(request: pytest.FixtureRequest) -> polib.POFile:
    return polib.pofile(str(WEB / "strings" / f"{request.param}.po"))


def test_every_sentence_is_translated_and_nothing_else(catalog: polib.POFile) -> None:
    page = {(None, sentence) for sentence in [*of_templates(), *of_scripts()]}
    server = {(SERVER, sentence) for sentence in [*of_errors(), *of_model()]}
    assert len(page) > 100, "sentences are found at all"
    assert len(server) > 100
    translated = {(entry.msgctxt, entry.msgid) for entry in catalog if entry.translated()}
    assert page | server == translated
    assert len(catalog) == len(translated), "no entry twice, none fuzzy, none obsolete"


def test_translations_have_the_holes_of_their_sentences(catalog: polib.POFile) -> None:
    for entry in catalog:
        if entry.msgid_plural:
            forms = [holes(form) for form in entry.msgstr_plural.values()]
            assert forms == [holes(entry.msgid), holes(entry.msgid_plural)], entry.msgid
        else:
            left_out = holes(entry.msgid) ^ holes(entry.msgstr)
            assert not left_out or (entry.msgctxt == SERVER and left_out < holes(entry.msgid)), entry.msgid


def test_scripts_translate_nothing_but_literals() -> None:
    """Else the sentence would not be found, and would stay English."""
    for script in (WEB / "static").glob("*.js"):
        text = re.sub(r"//.*", "", script.read_text())
        calls = len(re.findall(r"(?<!function )\b(?:t|plural)\(", text))
        assert calls == len(list(sentences(text))), script.name


@pytest.mark.parametrize(
    ("text", "german"),
    [
        ("The photo is empty", "Das Foto ist leer"),
        (
            "This looks like a photograph in color. It was left as it is.",
            "Das sieht nach einem Farbfoto aus. Es blieb, wie es ist.",
        ),
        (
            "The file is cut off: 43% of the picture is there; the rest is gray.",
            "Die Datei ist abgeschnitten: 43 % des Bildes sind da; der Rest ist grau.",
        ),
        (
            "The photo has 30.0 MiB; 25 MiB is the most. Send a larger photo. Really?",
            "The photo has 30.0 MiB; 25 MiB is the most. Senden Sie ein größeres Foto. Really?",
        ),
        ("Quite unknown", "Quite unknown"),
        ("", ""),
    ],
)
def test_what_the_api_says_is_known_by_its_sentences(text: str, german: str) -> None:
    assert strings("de").told(text) == german
    assert strings(ENGLISH).told(text) == text


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("fr,de;q=0.5,en;q=0.4", "de"),
        ("DE", "de"),
        ("de;q=0, en;q=0.1", "en"),
        ("de;q=nonsense", "de"),
        ("tlh, *", "en"),
        (";;,,=", "en"),
    ],
)
def test_a_page_is_in_the_language_that_its_reader_reads(api, accepted: str, language: str) -> None:
    answer = api.get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in answer.text
    assert {"Accept-Language", "Cookie"} <= set(answer.headers["vary"].split(", "))
    assert "set-cookie" not in answer.headers
    assert ("Ein Schwarz‑Weiß‑Foto kolorieren" in answer.text) == (language == "de")


def test_a_chosen_language_is_kept_by_a_cookie_and_goes_before_the_browsers(api) -> None:
    chosen = api.get("/?lang=de", headers={"Accept-Language": "en"})
    assert '<html lang="de">' in chosen.text
    cookie = chosen.headers["set-cookie"]
    assert re.match(r"lang=de; HttpOnly; Max-Age=31536000; Path=/; SameSite=lax$", cookie), cookie
    kept = api.get("/photos/none", headers={"Accept-Language": "en"})
    assert '<html lang="de">' in kept.text
    assert "Hier ist kein Foto" in kept.text
    unknown = api.get("/?lang=<b>", headers={"Accept-Language": "en"})
    assert '<html lang="de">' in unknown.text
    assert "set-cookie" not in unknown.headers


def test_only_what_a_page_looks_up_is_embedded(api, job, work) -> None:
    german = {"Accept-Language": "de"}
    home = embedded(api.get("/", headers=german).text)
    assert home["page"]["Sending the photograph"] == "Das Foto wird gesendet"
    assert home["server"]["The photo is empty"] == "Das Foto ist leer"
    work(artifacts={"comparison": b"gray | color"})
    photo = embedded(api.get(f"/photos/{job['id']}", headers=german).text)
    assert photo["page"]["{before}% before, {after}% after"] == "{before} % vorher, {after} % nachher"
    assert "Sending the photograph" not in photo["page"], "of the stages, once they are over"
    assert embedded(api.get("/").text) == {}


def embedded(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="strings">(.*?)</script>', html)
    return json.loads(found[1]) if found else {}


@pytest.fixture
def job(api, gray_photo) -> dict:
    return api.post("/v1/colorizations", files={"photo": gray_photo()}).json()
