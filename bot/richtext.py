"""A reply as Reddit's rich text, which can hold a picture where Markdown cannot.

The names are those of Reddit's own Devvit (`richtext/types.ts`): `e` the element, `t` its text, `c` its content, `f` formats
as [flags, start, length], `u` an address, `id` an uploaded picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token

BOLD, ITALIC, MONOSPACE = 1, 2, 64
MAX_CAPTION = 180
"""Characters; what galleries of Reddit's take."""
_FORMATS = {"strong": BOLD, "em": ITALIC}
Element: TypeAlias = dict[str, Any]


def document(text: str, media: str, caption: str) -> str:
    """A JSON document: the picture, and below it the text. `media`: its id; `caption`: what it shows, for who cannot see it.

    Reddit has no field for an alternative text: it takes the caption for that, and shows it below the picture.
    Raises ValueError where the text has more than paragraphs, links, emphasis and code.
    """
    picture: Element = {"e": "img", "id": media, "c": caption[:MAX_CAPTION]}
    blocks = MarkdownIt("commonmark", {"html": False}).parse(text)
    if unknown := {it.type for it in blocks} - {"paragraph_open", "inline", "paragraph_close"}:
        raise ValueError(f"no rich text for {sorted(unknown)}")
    paragraphs = [{"e": "par", "c": _inline(it.children or ())} for it in blocks if it.type == "inline"]
    return json.dumps({"document": [picture, *paragraphs]}, ensure_ascii=False)


def _inline(tokens: Sequence[Token]) -> list[Element]:
    """The elements of one paragraph, each with one format throughout."""
    elements: list[Element] = []
    address = ""
    flags = 0
    for token in tokens:
        name, _, edge = token.type.rpartition("_")
        if name in _FORMATS:
            flags += _FORMATS[name] if edge == "open" else -_FORMATS[name]
        elif name == "link":
            address = str(token.attrGet("href")) if edge == "open" else ""
        elif token.type in ("softbreak", "hardbreak"):
            elements.append({"e": "br"})
        elif token.type in ("text", "code_inline"):
            if token.content:
                own = flags | (MONOSPACE if token.type == "code_inline" else 0)
                elements.append(_text(token.content, own, address))
        else:
            raise ValueError(f"no rich text for {token.type}")
    return elements


def _text(words: str, flags: int, address: str) -> Element:
    formats = {"f": [[flags, 0, len(words)]]} if flags else {}
    return (
        {"e": "link", "u": address, "t": words, **formats}
        if address
        else {"e": "text", "t": words, **formats}
    )


def without_picture(body: str, media: str) -> str:
    """A comment's Markdown as Reddit shows it, without the paragraph in which its picture is, or is still worked on."""
    return re.sub(rf"(?m)^.*{re.escape(media)}.*\n*", "", body).strip()
