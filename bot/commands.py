"""What a comment asks of the bot: its Markdown as Reddit shows it, and the command in its words."""

from __future__ import annotations

import re
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
    "delete": "delete",
    "remove": "delete",
    "optout": "opt_out",
    "unsubscribe": "opt_out",
    "optin": "opt_in",
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
_FILLERS = """
    a an and bot can color colors colour colours comment could do for go good hello here hey hi i image images in it kindly
    make me more my number of ok okay one ones out photo photos pic pics picture pictures please pls plz post reply
    sir thank thanks that the them this thx u version want with would you your
"""
_POLITE = frozenset(_FILLERS.split())
_PRAISE = {"good", "thank", "thanks", "thx"}
_ALONE = {"delete", "opt_out", "opt_in"}
"""Commands that are obeyed only where nothing else is said: they take something away, or change who is served."""
_NUMBER = re.compile(r"#?(\d{1,3})(?:st|nd|rd|th)?")
_RANGE = re.compile(r"#?(\d{1,3})[-–](\d{1,3})")
_TWO_WORDS = re.compile(r"\bopt[\s-]+(out|in)\b")
MAX_LENGTH = 40_000
"""Characters of a self post, the longest text that Reddit takes."""
_SPOILER = re.compile(r">!|!<")
_ADDRESS = re.compile(r"https?://[^\s<>\"\\^`{|}]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked for."""

    kind: Kind
    vividness: float = 1.0
    """As the service's option: multiplies the color."""
    which: Which = (1,)
    """Which pictures, counted from 1 in the order shown; -1 is the last."""


def parse_command(body: str, bot_name: str, *, in_reply: bool = False) -> Command | None:
    """The command in a comment, or None where nothing is asked of the bot.

    `bot_name`: its account, without u/. `in_reply`: the comment answers one of the bot's own, so that a line of
    nothing but commands needs no name. Quotes and code do not count.
    """
    name = _name(bot_name)
    command: Command | None = None
    for line in read_markdown(body).lines:
        folded = _TWO_WORDS.sub(r"opt\1", line.casefold())
        parts = name.split(folded, maxsplit=1)
        if len(parts) == 2:
            return _addressed(_words(parts[0]), _words(name.sub(" ", parts[1])))
        if in_reply and command is None:
            command = _in_reply(_words(folded))
    return command


def _name(bot_name: str) -> re.Pattern[str]:
    """Any of its names as a word of its own: not within another, in a path, or with an ending."""
    names = "|".join(re.escape(name.casefold()) for name in (*_NAMES, bot_name) if name)
    return re.compile(rf"(?<![\w/.@#-])(?:/?u/|!|@)?(?:{names})(?![\w/@]|[-'’.]\w)")


def _words(text: str) -> list[str]:
    """Words without what stands around them; `1,3` is two."""
    return [
        word for word in (part.strip("!.,;:?*_~()[]\"'“”…-/") for part in re.split(r"[\s,+&]+", text)) if word
    ]


def _addressed(before: list[str], after: list[str]) -> Command | None:
    """A line that names the bot: a picture is wanted, unless something else is clearly said."""
    command = _command_of(before + after)
    if command is not None:
        return None if not after and _PRAISE.intersection(before) else command
    # The name stands in a longer sentence: only what directly follows it may be meant for it.
    leading: list[str] = []
    for word in after:
        if _command_of([word]) is None:
            break
        leading.append(word)
    command = _command_of([word for word in leading if word not in _KINDS or _KINDS[word] not in _ALONE])
    if command is None or (len(leading) < len(after) and command.which != "all"):
        return Command("color", command.vividness if command else 1.0)  # "2 people" is no picture's number
    return command


def _in_reply(words: list[str]) -> Command | None:
    """A line that answers the bot without its name; None: it is talk."""
    meant = any(
        word in _KINDS or word in _VIVIDNESS or word in _ALL or _numbers(word) is not None for word in words
    )
    command = _command_of(words) if meant else None
    if command is None or command.kind != "color":
        return command
    if command.vividness != 1.0:
        return Command("recolor", command.vividness, command.which)
    return None if command == Command("color") else command


def _command_of(words: list[str]) -> Command | None:
    """The command in these words; None where one of them is neither a command nor a polite filler."""
    kind: Kind | None = None
    vividness = 1.0
    numbers: list[int] = []
    every = False
    for word in words:
        if word in _KINDS:
            kind = kind if kind in _ALONE else _KINDS[word]
        elif word in _VIVIDNESS:
            vividness = _VIVIDNESS[word]
        elif word in _ALL:
            every = True
        elif (found := _numbers(word)) is not None:
            numbers += found
        elif word not in _POLITE:
            return None
    which: Which = "all" if every else tuple(dict.fromkeys(numbers)) or (1,)
    return Command(kind or "color", vividness, which)


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
    """Without addresses."""
    links: tuple[str, ...]
    """Addresses of links and bare ones, in order, each once."""


def read_markdown(body: str) -> Text:
    """Read a comment or a self post."""
    # A spoiler at the head of a line is no quote, although it begins like one.
    text = _SPOILER.sub("", body[:MAX_LENGTH])
    reader = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    lines: list[str] = []
    links: list[str] = []
    quotes = 0
    for block in reader.parse(text):
        quotes += block.nesting if block.type.startswith("blockquote_") else 0
        if block.type == "inline" and not quotes:
            _read_inline(block.children or (), lines, links)
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
            links.extend(_web(token.attrGet("href")))
        elif token.type == "image":
            links.extend(_web(token.attrGet("src")))
        else:  # code, or what nobody reads: it parts words
            lines[-1] += " \N{OBJECT REPLACEMENT CHARACTER} "


def _without_addresses(text: str, links: list[str]) -> str:
    """The text with a mark for each bare address; these are added to the links."""

    def take(found: re.Match[str]) -> str:
        address = found[0].rstrip(".,;:!?'*_")
        while address.endswith(")") and address.count(")") > address.count("("):
            address = address[:-1]
        links.append(address)
        return " \N{OBJECT REPLACEMENT CHARACTER} "

    return _ADDRESS.sub(take, text)


def _web(address: object) -> tuple[str, ...]:
    """The address, where it leads to the web."""
    return (str(address),) if _ADDRESS.fullmatch(str(address)) else ()
