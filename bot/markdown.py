"""What a person says in Markdown, as Reddit shows it: lines and links, without quotes, code and what is struck out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

LONGEST = 40_000
"""Characters of a self post, the longest text that Reddit takes."""
_SPOILER = re.compile(r">!|!<")
_ADDRESS = re.compile(r"https?://[^\s<>\"\\^`{|}]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Said:
    """A text as it is read."""

    lines: tuple[str, ...]
    """Without addresses."""
    links: tuple[str, ...]
    """Addresses of links and bare ones, in order, each once."""


def read(body: str) -> Said:
    """Read a comment or a self post."""
    # A spoiler at the head of a line is no quote, although it begins like one.
    text = _SPOILER.sub("", body[:LONGEST])
    reader = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    lines: list[str] = []
    links: list[str] = []
    quotes = 0
    for block in reader.parse(text):
        quotes += block.nesting if block.type.startswith("blockquote_") else 0
        if block.type == "inline" and not quotes:
            _read_inline(block.children or (), lines, links)
    return Said(tuple(line.strip() for line in lines if line.strip()), tuple(dict.fromkeys(links)))


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
