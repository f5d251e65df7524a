"""What a comment asks of the bot: its Markdown as Reddit shows it, and the command in its words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token

Kind: TypeAlias = Literal["color", "delete", "opt_out", "opt_in", "recolor"]
Which: TypeAlias = "tuple[int, ...] | Literal['all']"

VIVID, MUTED = 1.4, 0.7
MAX_GALLERY = 20
"""Pictures in a gallery of Reddit's."""
_NAMES = ("colorizebot", "colourizebot")
_KINDS: dict[str, Kind] = {
    "recolor": "recolor",
    "recolour": "recolor",
    "recolorize": "recolor",
    "recolourize": "recolor",
    "anyway": "recolor",
    "color": "color",
    "colour": "color",
    "colorize": "color",
    "colourize": "color",
}
_VIVIDNESS = {"vivid": VIVID, "bold": VIVID, "muted": MUTED, "subtle": MUTED}
_ALL = {"all", "both", "every"}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_THANKS = """
    thanks in advance|thanks a lot|thank you so much|thank you very much|thank you|thank u|thanks|thx|ty|cheers
    vielen dank|danke schön|danke|muchas gracias|gracias|merci beaucoup|merci|grazie mille|grazie|muito obrigado|obrigado|obrigada
    dank je wel|dank je|dank u|bedankt|tack så mycket|tack|takk|tak|kiitos|dziękuję|dzięki|děkuji|díky|ďakujem|köszönöm|köszi
    teşekkürler|teşekkür ederim|mulțumesc|спасибо|дякую|благодаря|ευχαριστώ|谢谢|謝謝|ありがとうございます|ありがとう|감사합니다|شكرا|תודה
"""
_PLEASE = """
    please|pls|plz|plis|kindly|pretty please|sir|hi|hello|hey|hiya|good morning|good evening
    bitte schön|bitte|hallo|por favor|porfa|hola|s'il vous plaît|s'il te plaît|s'il vous plait|s'il te plait|svp|stp|bonjour|salut
    per favore|per piacere|ciao|olá|oi|alstublieft|alsjeblieft|hej|hei|snälla|vær så snill|proszę|cześć|prosím|ahoj|kérlek|kérem|szia
    lütfen|merhaba|vă rog|te rog|пожалуйста|привет|будь ласка|моля|παρακαλώ|请|請|お願いします|おねがいします
    부탁해요|부탁합니다|من فضلك|בבקשה
"""
_EMOJI = frozenset("🙏❤♥🧡💛💙💜😊🙂😀😃😄😁😍🥰🥺😇🤗✨🎨📷📸🖼")
"""That mean please or thanks; others, such as a thumb, are talk."""
_WHAT = (
    r"(?:(?:this|that|these|those|it|them|me|us|one|ones|the|my|our|in|of|with)\b ?)*"
    r"(?:(?:photo|photograph|pic|picture|image|version|number|color|colour)s?\b ?)?"
)
_REQUEST = re.compile(
    rf"(?:(?:can|could|would|will) (?:you|u) ?)?(?:(?:please|do|try|give|make) ?)?{_WHAT}(?:and ?)*(?:again ?)?(?:for (?:me|us))?"
)
"""What may stand beside names, options and courtesy: a plain request, and nothing that says more."""
_TAKE_BACK = re.compile(
    r"(?:(?:can|could|would|will) (?:you|u) )?"
    r"(?:(?:delete|remove)(?: (?:this|that|it|them|these|the|your|my)\b"
    r"(?: (?:comment|post|reply|answer|photo|photograph|pic|picture|image)s?\b)?)?"
    r"|take (?:this|that|it|them) down|take down (?:this|that|it))"
    r"(?= ?$|[,;:.!?…()–—-]| (?:because|since|as|from|of|for|now|immediately|asap|right)\b)"
)
"""`delete` at the head of a line. A reason may follow it, and nothing that makes something else of it, such as scratches."""
_OPT = re.compile(r"(?:i (?:want|would like|wish) to )?(opt ?(?:me )?(?:out|in)|unsubscribe)(?: me)?")
_NUMBER = re.compile(r"#?(\d{1,3})(?:st|nd|rd|th)?")
_RANGE = re.compile(r"#?(\d{1,3})[-–](\d{1,3})")
MAX_LENGTH = 40_000
"""Characters of a self post, the longest text that Reddit takes."""
_SPOILER = re.compile(r">!|!<")
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
"""In a line for what is not read: code."""
_LINK = "\N{PARAGRAPH SEPARATOR}"
"""In a line for an address, and on both sides of a link's words."""
_UNSEEN = dict.fromkeys(map(ord, f"{_LINK}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"), " ")
_ADDRESS = re.compile(r"https?://[^\s<>\"\\^`{|}]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked for."""

    kind: Kind
    vividness: float = 1.0
    """As the service's option: multiplies the color."""
    which: Which = ()
    """Which pictures, counted from 1 in the order shown; -1 is the last; (): none is named, so the first that there is."""


def parse_command(body: str, bot_name: str, *, in_reply: bool = False) -> Command | None:
    """The command in a comment, or None where nothing is asked of the bot.

    A line asks where nothing stands in it but the bot's name, options and courtesy: who talks about the bot does not call
    it. `bot_name`: its account, without u/. `in_reply`: the comment answers one of the bot's own, so that a line needs no
    name. Quotes, code and lists do not count.
    """
    name = _name(bot_name)
    for line in read_markdown(body).lines:
        folded = unicodedata.normalize("NFC", line.casefold()).replace("’", "'")
        asked = _without_links(folded, name)
        if name.search(asked):
            command = _command(asked, name, in_reply)
        else:
            command = _in_reply(_command(asked, name, in_reply)) if in_reply else None
        if command is not None:
            return command
    return None


def _name(bot_name: str) -> re.Pattern[str]:
    """Any of its names as a word of its own: not within another, in a path, or with an ending."""
    names = "|".join(re.escape(name.casefold()) for name in (*_NAMES, bot_name) if name)
    return re.compile(rf"(?<![\w/.@#-])(?:/?u/|!|@)?(?:{names})(?![\w/@]|[-'’.]\w)")


def _without_links(line: str, name: re.Pattern[str]) -> str:
    """Without addresses and the words of links, but for one whose words are the bot's name."""
    parts = line.split(_LINK)
    return " ".join(part for index, part in enumerate(parts) if index % 2 == 0 or name.search(part))


def _command(line: str, name: re.Pattern[str], in_reply: bool) -> Command | None:
    """What a line in small letters asks; None where it says anything else."""
    before = name.split(line, maxsplit=1)[0]
    plain, is_polite, is_thankful = _without_courtesy(name.sub(" ", line))
    if _TAKE_BACK.match(re.sub(r"\s+(?=[,;:.!?])", "", plain).lstrip(" ,.:;!")):
        return Command("delete")
    words = _words(plain)
    if opt := _OPT.fullmatch(" ".join(words).replace("-", " ")):
        return Command("opt_in" if opt[1].endswith("in") else "opt_out")
    # Thanks come before a summons only where they are for something else.
    if is_thankful and not is_polite and (in_reply or _words(before)):
        return None
    return _color(words)


def _without_courtesy(line: str) -> tuple[str, bool, bool]:
    """The rest, whether it says please, and whether it says thanks."""
    thankless, thanks = _COURTESY[1].subn(
        " ", "".join(" " if letter in _EMOJI else letter for letter in line)
    )
    plain, pleases = _COURTESY[0].subn(" ", thankless)
    return " ".join(plain.split()), pleases > 0, thanks > 0


def _words(text: str) -> list[str]:
    """Words without what stands around them; `1,3` is two."""
    parts = (
        part.strip("!.,;:?*_~()[]\"'“”…-/^\N{VARIATION SELECTOR-16}") for part in re.split(r"[\s,+&]+", text)
    )
    return [word for word in parts if word]


def _color(words: list[str]) -> Command | None:
    """The picture that is asked for; None where these words are more than a plain request with options."""
    kind: Kind = "color"
    vividness = 1.0
    numbers: list[int] = []
    every = False
    rest: list[str] = []
    for word in words:
        if word in _KINDS:
            kind = _KINDS[word] if kind == "color" else kind
        elif word in _VIVIDNESS:
            vividness = _VIVIDNESS[word]
        elif word in _ALL:
            every = True
        elif (found := _numbers(word)) is not None:
            numbers += found
        else:
            rest.append(word)
    if not _REQUEST.fullmatch(" ".join(rest)):
        return None
    return Command(kind, vividness, "all" if every else tuple(dict.fromkeys(numbers)))


def _in_reply(command: Command | None) -> Command | None:
    """Of a line that answers the bot without its name; None: it is talk."""
    if command is None or command.kind != "color":
        return command
    if command.vividness != 1.0:
        return Command("recolor", command.vividness, command.which)
    return None if command == Command("color") else command


def _phrases(text: str) -> re.Pattern[str]:
    """Any of these as words of their own, the longest first."""
    phrases = sorted(
        (phrase for line in text.split("\n") for phrase in line.strip().split("|") if phrase), key=len
    )
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, reversed(phrases)))})(?![\w'])")


_COURTESY = (_phrases(_PLEASE), _phrases(_THANKS))


def _numbers(word: str) -> list[int] | None:
    """Pictures that a word names; None where it is no such number."""
    if word in _ORDINALS:
        return [_ORDINALS[word]]
    if found := _RANGE.fullmatch(word):
        first, last = int(found[1]), int(found[2])
        return [*range(first, last + 1)] if 1 <= first <= last <= MAX_GALLERY else None
    if (found := _NUMBER.fullmatch(word)) and 1 <= int(found[1]) <= MAX_GALLERY:
        return [int(found[1])]
    return None


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it is read."""

    lines: tuple[str, ...]
    """Without addresses, and without lists, in which things are named and nobody is asked."""
    links: tuple[str, ...]
    """Addresses of links and bare ones, in order, each once."""


def read_markdown(body: str) -> Text:
    """Read a comment or a self post."""
    # A spoiler at the head of a line is no quote, although it begins like one.
    text = _SPOILER.sub("", body[:MAX_LENGTH].replace("&#x200B;", " ").translate(_UNSEEN))
    reader = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    lines: list[str] = []
    links: list[str] = []
    quotes = lists = 0
    for block in reader.parse(text):
        quotes += block.nesting if block.type.startswith("blockquote_") else 0
        lists += (
            block.nesting if block.type.endswith("_list_open") or block.type.endswith("_list_close") else 0
        )
        if block.type == "inline" and not quotes:
            listed: list[str] = []
            _read_inline(block.children or (), listed if lists else lines, links)
    return Text(tuple(line.strip() for line in lines if line.strip()), tuple(dict.fromkeys(links)))


def _read_inline(tokens: Sequence[Token], lines: list[str], links: list[str]) -> None:
    """Add the lines and links of one paragraph or heading."""
    lines.append("")
    struck = linked = 0
    for token in tokens:
        if token.type in ("s_open", "s_close"):
            struck += token.nesting
        elif struck:
            continue
        elif token.type in ("softbreak", "hardbreak"):
            lines.append("")
        elif token.type == "text":
            lines[-1] += _without_addresses(token.content, [] if linked else links)
        elif token.type in ("link_open", "link_close"):
            linked += token.nesting
            lines[-1] += f" {_LINK} "
            links.extend(_web(token.attrGet("href")))
        elif token.type == "image":
            lines[-1] += f" {_LINK} {_LINK} "
            links.extend(_web(token.attrGet("src")))
        elif token.type in ("code_inline", "html_inline"):
            lines[-1] += f" {_MARK} "


def _without_addresses(text: str, links: list[str]) -> str:
    """The text with a mark for each bare address; these are added to the links."""

    def take(found: re.Match[str]) -> str:
        address = found[0].rstrip(".,;:!?'*_")
        while address.endswith(")") and address.count(")") > address.count("("):
            address = address[:-1]
        links.append(address)
        return f" {_LINK} {_LINK} "

    return _ADDRESS.sub(take, text)


def _web(address: object) -> tuple[str, ...]:
    """The address, where it leads to the web."""
    return (str(address),) if _ADDRESS.fullmatch(str(address)) else ()
