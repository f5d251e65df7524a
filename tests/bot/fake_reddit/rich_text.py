"""Rich text as it comes in with a comment: what it says, in Markdown, and the picture that it shows."""

from __future__ import annotations

import json
from typing import Any

from fake_reddit.refusals import RefusedError

MARKS = {1: "**", 2: "*"}
MONOSPACE = 64


def read_rich_text(document: str) -> tuple[str, str, str]:
    """Its Markdown; id and caption of its picture, "" where there is none. Raises RefusedError for what is no such document."""
    try:
        blocks = json.loads(document)["document"]
        pictures = [block for block in blocks if block["e"] == "img"]
        paragraphs = [_paragraph(block["c"]) for block in blocks if block["e"] == "par"]
        if len(pictures) + len(paragraphs) != len(blocks) or len(pictures) > 1:
            raise ValueError(document)
        picture = pictures[0] if pictures else {}
        return "\n\n".join(paragraphs), picture.get("id", ""), picture.get("c", "")
    except (KeyError, TypeError, ValueError):
        raise RefusedError(400) from None


def _paragraph(elements: list[dict[str, Any]]) -> str:
    parts: list[str] = []
    flags = 0
    for element in elements:
        new = sum(formats[0] for formats in element.get("f", ()))
        parts += [mark for bit, mark in MARKS.items() if (flags ^ new) & bit]
        flags = new & ~MONOSPACE
        words = "  \n" if element["e"] == "br" else element["t"]
        words = f"`{words}`" if new & MONOSPACE else words
        parts.append(f"[{words}]({element['u']})" if element["e"] == "link" else words)
    parts += [mark for bit, mark in MARKS.items() if flags & bit]
    return "".join(parts)
