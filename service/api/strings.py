"""Languages of the pages: which one a request asks for, and their sentences, by gettext's files in `web/strings`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polib
from starlette.requests import HTTPConnection

WEB = Path(__file__).parent.parent / "web"
ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "de": "Deutsch"}
"""Code → the language's name for itself. Each has a file `web/strings/CODE.po`; that of English has but what stands under PEOPLE."""
SERVER = "server"
"""The msgctxt of sentences that the API says: titles and advice of errors, notices of the model."""
PEOPLE = "people"
"""The msgctxt of those that speak to programs, of options and headers: what pages say in their place, in English too."""
PARAMETER = COOKIE = "lang"
_LITERAL = r'"((?:[^"\\\n]|\\.)*)"'
_SAID = re.compile(rf"""\bt\(\s*{_LITERAL}|\bplural\([^",]+,\s*{_LITERAL},\s*{_LITERAL}""")
_IMPORTED = re.compile(r'\bfrom "\./(\w+)\.js"')
_LOADED = re.compile(r'\b(?:from |import\()"\./(\w+)\.js"')
_TELLS = re.compile(r"\bimport \{[^}]*\btold\b")
_HOLE = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Strings:
    """The sentences of one language. What it has no translation of stays English."""

    language: str
    page: Mapping[str, str] = field(default_factory=dict)
    plurals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By the English singular: of one, and of another number. Both languages have just these two forms."""
    server: Mapping[str, str] = field(default_factory=dict)
    """What the API says in English → what pages say; both with the same `{holes}`, or some of them left out."""
    contract: Mapping[str, str] = field(default_factory=dict)
    """The same for those who write programs: translated word by word."""

    def gettext(self, sentence: str) -> str:
        return self.page.get(sentence, sentence)

    def ngettext(self, one: str, many: str, count: int) -> str:
        return self.plurals.get(one, (one, many))[count != 1]

    def translated(self, sentence: str) -> str:
        """What the API says in English, without holes, for those who write programs."""
        return self.contract.get(sentence, sentence)

    def told(self, text: str) -> str:
        """The same for people: one known sentence or several; between them may be others, which stay as they are."""
        said, rest = [], text
        while rest:
            for pattern, translation in self._patterns():
                if found := pattern.match(rest):
                    said.append(translation.format_map(found.groupdict()))
                    break
            else:
                found = re.match(r".*?[.!?](?=\s|$)|.*", rest, re.DOTALL)
                assert found, "the last choice matches anything"
                said.append(found[0])
            rest = rest[found.end() :].lstrip()
        return " ".join(said)

    def of_scripts(self, names: Iterable[str]) -> dict[str, object]:
        """What these scripts and those that they load look up in `static/strings.js`; {} where all stays English."""
        texts = [script(name) for name in _closure(names, _LOADED)]
        said = {sentence for text in texts for sentence in sentences(text)}
        catalog: dict[str, object] = {
            one: self.page.get(one) or self.plurals.get(one)
            for one in sorted(said)
            if one in self.page or one in self.plurals
        }
        if self.server and any(_TELLS.search(text) for text in texts):
            return {"page": catalog, "server": dict(self.server)}
        return {"page": catalog} if catalog else {}

    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return _compiled(self.language)


@cache
def strings(language: str) -> Strings:
    """The sentences of one of LANGUAGES."""
    entries = [entry for entry in polib.pofile(str(WEB / "strings" / f"{language}.po")) if entry.translated()]
    own = [entry for entry in entries if entry.msgctxt is None]
    contract, people = (
        {entry.msgid: entry.msgstr for entry in entries if entry.msgctxt == context}
        for context in (SERVER, PEOPLE)
    )
    return Strings(
        language,
        {entry.msgid: entry.msgstr for entry in own if not entry.msgid_plural},
        {
            entry.msgid: (entry.msgstr_plural[0], entry.msgstr_plural[1])
            for entry in own
            if entry.msgid_plural
        },
        contract | people,
        contract,
    )


@cache
def _compiled(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Longer sentences first: one may begin like another."""
    server = strings(language).server
    return [
        (
            re.compile(_HOLE.sub(r"(?P<\1>(?:(?![.!?]\\s).)+?)", re.escape(english)) + r"(?=\s|$)"),
            server[english],
        )
        for english in sorted(server, key=len, reverse=True)
    ]


def language_of(request: HTTPConnection) -> str:
    """By `?lang=`, else by the cookie that it left, else by what the browser says that its owner reads."""
    for wished in (request.query_params.get(PARAMETER, ""), request.cookies.get(COOKIE, "")):
        if wished in LANGUAGES:
            return wished
    ranked = sorted(_accepted(request.headers.get("accept-language", "")), key=lambda one: -one[1])
    return next((tag for tag, weight in ranked if tag in LANGUAGES and weight > 0), ENGLISH)


def _accepted(header: str) -> Iterator[tuple[str, float]]:
    """Primary tags with their weights (RFC 9110, 12.5.4)."""
    for part in header.split(","):
        tag, _, weight = part.partition(";")
        number = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight)
        yield tag.strip().lower().partition("-")[0], float(number[1]) if number else 1.0


def sentences(text: str) -> Iterator[str]:
    """What a script says by `t("…")` and `plural(count, "…", "…")`: of these the singular."""
    for found in _SAID.finditer(text):
        yield re.sub(r"\\(.)", r"\1", found[1] if found[1] is not None else found[2])


@cache
def script(name: str) -> str:
    """The text of `static/NAME.js`."""
    return (WEB / "static" / f"{name}.js").read_text(encoding="utf-8")


def imported(names: Iterable[str]) -> list[str]:
    """The modules that these scripts need before they begin, without themselves: a browser may be told of all at once."""
    begun = list(names)
    return [name for name in _closure(begun, _IMPORTED) if name not in begun]


def _closure(names: Iterable[str], pattern: re.Pattern[str]) -> list[str]:
    found: dict[str, None] = {}
    left = list(names)
    while left:
        name = left.pop(0)
        if name not in found:
            found[name] = None
            left.extend(pattern.findall(script(name)))
    return list(found)
