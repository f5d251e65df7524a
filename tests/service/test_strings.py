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
from service.api.strings import ENGLISH, LANGUAGES, PEOPLE, SERVER, sentences, strings
from service.api.templates import environment
from service.errors import KINDS

ROOT = Path(__file__).parents[2]
WEB = ROOT / "service/web"
OTHERS = [language for language in LANGUAGES if language != ENGLISH]
HOLES = re.compile(r"%\(\w+\)[sd]|\{\w+\}")
TO_PROGRAMS = {
    *(
        "request_invalid",
        "header_too_large",
        "header_timeout",
        "unsupported_media_type",
        "form_invalid",
        "json_invalid",
    ),
    *(
        "option_unknown",
        "option_invalid",
        "id_invalid",
        "idempotency_key_invalid",
        "idempotency_mismatch",
        "method_not_allowed",
    ),
    *(
        "url_disabled",
        "url_not_allowed",
        "url_failed",
        "webhook_disabled",
        "presign_disabled",
        "upload_unknown",
    ),
    *("upload_mismatch", "key_invalid", "scope_missing", "not_found", "not_ready", "host_unknown"),
}
"""Codes of what no page does, or for which it has words of its own."""
FOR_PROGRAMS = [ROOT / "service/api/presigned.py", ROOT / "service/api/health.py"]
TALK = re.compile(
    r"`|/openapi|Retry-After|AUTOCHROME_|\b(POST|JSON|UTF-8|HTTP|API|Redis|option|header|batch|worker|job|secret|colorize|partial|page=1)\b"
)
"""Words for those who write programs."""


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
    """What the model says of a photo: `Notice("code", "Sentence.")`, `PhotoError("code", "Sentence.", "Advice.")` and the like."""
    for source in [*(ROOT / "model").glob("*.py"), *(ROOT / "model/formats").glob("*.py")]:
        tree = ast.parse(source.read_text())
        for call in calls(tree, "Notice", "PhotoError", "RefusedError"):
            first = 0 if getattr(call.func, "id", "") == "RefusedError" else 1
            for argument in call.args[first:]:
                yield from said(argument, constants(tree))
    hints = ast.parse((ROOT / "model/hints.py").read_text())
    [wishes] = [node for node in hints.body if getattr(node, "name", "") == "wishes"]
    for call in calls(wishes, "InputError"):  # service/photos.py makes sentences of them
        for sentence in said(call.args[0], constants(hints)):
            yield f"{sentence[0].upper()}{sentence[1:]}."


def of_service() -> Iterator[str]:
    """What the service says in one case, by `Problem("code", "Detail.")`, `Problem("code", what="Sentence.")` and the like."""
    shared = constants(ast.parse((ROOT / "service/errors.py").read_text()))
    for source in {*(ROOT / "service").rglob("*.py")} - {*FOR_PROGRAMS}:
        tree = ast.parse(source.read_text())
        known = shared | constants(tree)
        for function in (
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            names = {
                target.id: node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call in calls(function, "Problem", "StoreUnavailable", "PhotoError", "Notice"):
                if call.args and getattr(call.args[0], "value", "") in TO_PROGRAMS:
                    continue
                details = [one.value for one in call.keywords if one.arg in ("what", "detail")]
                for one in [*call.args[1:], *details]:
                    name = getattr(one, "id", "")
                    yield from said(names.get(name, one), known)


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
            yield node


def constants(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[ast.unparse(target)] = node.value.value
    return found


def said(sentence: ast.expr, known: dict[str, Any]) -> Iterator[str]:
    """Literals that it may be, without what is filled in before or behind them as a sentence of its own."""
    if isinstance(sentence, ast.Name | ast.Attribute):
        name = ast.unparse(sentence).removeprefix("errors.")
        text = str(known.get(name, ""))
    elif isinstance(sentence, ast.IfExp):
        yield from [*said(sentence.body, known), *said(sentence.orelse, known)]
        return
    elif isinstance(sentence, ast.Constant | ast.JoinedStr):
        text = re.sub(r"(?<=[.!?]) \{\w+\}$", "", written(sentence, known))
    else:
        return
    if re.sub(r"\{\w+\}|\W", "", text):
        yield text


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
    server = {(SERVER, sentence) for sentence in [*of_errors(), *of_model(), *of_service()]}
    people = {(PEOPLE, entry.msgid) for entry in polib.pofile(str(WEB / "strings/en.po"))}
    assert len(page) > 100, "sentences are found at all"
    assert len(server) > 100
    translated = {(entry.msgctxt, entry.msgid) for entry in catalog if entry.translated()}
    assert page | server | people == translated
    assert {sentence for _, sentence in people} <= {sentence for _, sentence in server}
    assert len(catalog) == len(translated), "no entry twice, none fuzzy, none obsolete"


def test_translations_have_the_holes_of_their_sentences(catalog: polib.POFile) -> None:
    for entry in catalog:
        if entry.msgid_plural:
            forms = [holes(form) for form in entry.msgstr_plural.values()]
            assert forms == [holes(entry.msgid), holes(entry.msgid_plural)], entry.msgid
        else:
            left_out = holes(entry.msgid) ^ holes(entry.msgstr)
            assert not left_out or (entry.msgctxt in (SERVER, PEOPLE) and left_out <= holes(entry.msgid)), (
                entry.msgid
            )


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_do_not_speak_to_people_as_to_programs(language: str) -> None:
    programs = {text for code in TO_PROGRAMS for text in (KINDS[code].title, KINDS[code].advice)}
    for sentence in {*of_errors(), *of_model(), *of_service()} - programs:
        told = strings(language).told(HOLES.sub("1", sentence))
        assert not TALK.search(told), told
    wish = "Use the whole file, or ask for what is there with the option partial."
    assert strings(ENGLISH).told(wish) == "Send the whole file, or have what is there colored."
    assert strings(ENGLISH).translated(wish) == wish, "the reference keeps the API's words"


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
            "The photo has 30.0 sides. Send a larger photo. Really?",
            "The photo has 30.0 sides. Senden Sie ein größeres Foto. Really?",
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
    english = embedded(api.get("/").text)
    assert (english["page"], "The photo is empty" in english["server"]) == ({}, False)
    assert embedded(api.get("/clap").text) == {}


def embedded(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="strings">(.*?)</script>', html)
    return json.loads(found[1]) if found else {}


@pytest.fixture
def job(api, gray_photo) -> dict:
    return api.post("/v1/colorizations", files={"photo": gray_photo()}).json()
