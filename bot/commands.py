"""The words of a comment → the command to the bot in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bot.markdown import read

Kind: TypeAlias = Literal["color", "delete", "opt_out", "opt_in", "recolor"]
Which: TypeAlias = "tuple[int, ...] | Literal['all']"

VIVID, MUTED = 1.4, 0.7
MOST = 20
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


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked for."""

    kind: Kind
    vividness: float = 1.0
    """As the service's option: multiplies the color."""
    which: Which = (1,)
    """Which pictures, counted from 1 in the order shown; -1 is the last."""


def parse(body: str, bot_name: str, *, to_bot: bool = False) -> Command | None:
    """The command in a comment, or None where nothing is asked of the bot.

    `bot_name`: its account, without u/. `to_bot`: the comment answers one of the bot's own, so that a line of
    nothing but commands needs no name. Quotes and code do not count.
    """
    name = _name(bot_name)
    asked: Command | None = None
    for line in read(body).lines:
        folded = _TWO_WORDS.sub(r"opt\1", line.casefold())
        called = name.split(folded, maxsplit=1)
        if len(called) == 2:
            return _called(_words(called[0]), _words(name.sub(" ", called[1])))
        if to_bot and asked is None:
            asked = _answered(_words(folded))
    return asked


def _name(bot_name: str) -> re.Pattern[str]:
    """Any of its names as a word of its own: not within another, in a path, or with an ending."""
    names = "|".join(re.escape(name.casefold()) for name in (*_NAMES, bot_name) if name)
    return re.compile(rf"(?<![\w/.@#-])(?:/?u/|!|@)?(?:{names})(?![\w/@]|[-'’.]\w)")


def _words(text: str) -> list[str]:
    """Words without what stands around them; `1,3` is two."""
    return [
        word for word in (part.strip("!.,;:?*_~()[]\"'“”…-/") for part in re.split(r"[\s,+&]+", text)) if word
    ]


def _called(before: list[str], after: list[str]) -> Command | None:
    """The bot was called by name: a picture is wanted, unless something else is clearly said."""
    known = _known(before + after)
    if known is not None:
        return None if not after and _PRAISE.intersection(before) else known
    # The name stands in a longer sentence: only what directly follows it may be meant for us.
    leading: list[str] = []
    for word in after:
        if _known([word]) is None:
            break
        leading.append(word)
    command = _known([word for word in leading if word not in _KINDS or _KINDS[word] not in _ALONE])
    if command is None or (len(leading) < len(after) and command.which != "all"):
        return Command("color", command.vividness if command else 1.0)  # "2 people" is no picture's number
    return command


def _answered(words: list[str]) -> Command | None:
    """The command of a line that does not name the bot but answers it; None: it is talk."""
    meant = any(
        word in _KINDS or word in _VIVIDNESS or word in _ALL or _numbers(word) is not None for word in words
    )
    command = _known(words) if meant else None
    if command is None or command.kind != "color":
        return command
    if command.vividness != 1.0:
        return Command("recolor", command.vividness, command.which)
    return None if command == Command("color") else command


def _known(words: list[str]) -> Command | None:
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
        return [*range(first, last + 1)] if 1 <= first <= last <= MOST else None
    if (found := _NUMBER.fullmatch(word)) and 1 <= int(found[1]) <= MOST:
        return [int(found[1])]
    return None
