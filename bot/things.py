"""Posts, comments and messages as PRAW 8 gives them, read into plain values."""

from __future__ import annotations

import re
from typing import Any

from praw.models import Comment as PrawComment
from praw.models import Message as PrawMessage
from praw.models import Submission

from bot.models import Comment, Message, Post

_FULLNAME = re.compile(r"t\d_\w+")


def author_of(thing: Any) -> str:
    """The name; "" where the account or the thing is deleted."""
    author = vars(thing).get("author")
    return str(author) if author is not None else ""


def read_thing(it: Any) -> Post | Comment:
    """What PRAW made of a post or a comment. Raises as `read_comment`."""
    return read_comment(it) if isinstance(it, PrawComment) else _read_post(it)


def name_of(it: Any) -> str:
    """The fullname of whatever Reddit lists; "" where it has none. What PRAW does not know stays a dict."""
    data = it.get("data") or {} if isinstance(it, dict) else vars(it)
    name = str(data.get("name") or "")
    return name if _FULLNAME.fullmatch(name) else ""


def read_entry(it: Any) -> Comment | Message:
    """What stands in the inbox. Raises as `read_comment`."""
    if not isinstance(it, PrawMessage):
        return read_comment(it)
    subreddit = vars(it).get("subreddit")
    return Message(
        fullname=it.fullname,
        author=author_of(it) or None,
        subreddit=str(subreddit) if subreddit else "",
        body=_text(it.body),
        created=it.created_utc,
        subject=str(vars(it).get("subject") or ""),
        automated=_is_automated(vars(it)),
    )


def _text(body: object) -> str:
    if not isinstance(body, str):
        raise TypeError("it has no text")
    return body


def read_comment(it: Any) -> Comment:
    """Raises TypeError, LookupError or AttributeError where it has another shape, and what PRAW raises for what it asks for."""
    # In an inbox, comments have no link_id; there PRAW reads the post from the field `context`.
    data = vars(it)
    body = _text(data["body"])
    return Comment(
        fullname=it.fullname,
        subreddit=str(it.subreddit),
        author=author_of(it) or None,
        body=body,
        permalink=str(data.get("permalink") or data.get("context", "")),
        parent=it.parent_id,
        post=data.get("link_id") or f"t3_{it.submission.id}",
        score=data.get("score", 1),
        created=it.created_utc,
        removed=not author_of(it) and body in ("[removed]", "[deleted]"),
        moderator=data.get("distinguished") == "moderator",
        automated=_is_automated(data),
        media={id: str(it.get("status")) for id, it in (data.get("media_metadata") or {}).items()},
    )


def _is_automated(data: dict[str, Any]) -> bool:
    """Whether Reddit itself wrote it, or a moderators' tool that pins what it says."""
    by = data.get("distinguished")
    return by in ("admin", "special") or (by == "moderator" and bool(data.get("stickied")))


def _read_post(it: Any) -> Post:
    data = vars(it)
    parents = data.get("crosspost_parent_list") or ()
    is_lost = bool(data.get("crosspost_parent")) and not parents  # what it was taken from is not to be seen
    removed = data.get("removed_by_category") is not None or not author_of(it) or is_lost
    return Post(
        fullname=it.fullname,
        subreddit=str(it.subreddit),
        author=author_of(it) or None,
        title=it.title,
        url=it.url,
        over_18=it.over_18,
        quarantined=data.get("quarantine", False),
        removed=removed,
        locked=data.get("locked", False),
        archived=data.get("archived", False),
        is_self=it.is_self,
        body=data.get("selftext", ""),
        gallery=_gallery(data),
        crosspost_of=_read_post(Submission(it._reddit, _data=parents[0])) if parents else None,
        preview=_preview(data),
        smaller=_smaller(data),
    )


def _gallery(data: dict[str, Any]) -> tuple[str, ...]:
    """In the order of `gallery_data`, as people see it; `media_metadata` has none."""
    return tuple(_still(item) for item in _gallery_items(data))


def _gallery_items(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What `media_metadata` says of each; {} where it says nothing."""
    shown = data.get("media_metadata") or {}
    items = (data.get("gallery_data") or {}).get("items") or ()
    return [shown.get(item["media_id"]) or {} for item in items]


def _still(item: dict[str, Any]) -> str:
    """Its address; "" where it failed or moves."""
    is_still = item.get("status") == "valid" and item.get("e") == "Image"
    return _unescaped(item["s"].get("u", "")) if is_still else ""


def _preview(data: dict[str, Any]) -> str | None:
    images = (data.get("preview") or {}).get("images") or ()
    return _unescaped(images[0]["source"]["url"]) if images else None


def _smaller(data: dict[str, Any]) -> dict[str, str]:
    """The largest smaller copy of each picture; Reddit lists them by size."""
    found = {_still(item): item["p"][-1]["u"] for item in _gallery_items(data) if item.get("p")}
    images = (data.get("preview") or {}).get("images") or ()
    if images and images[0].get("resolutions") and not data.get("is_self"):
        found[data["url"]] = images[0]["resolutions"][-1]["url"]
    return {url: _unescaped(copy) for url, copy in found.items() if url}


def _unescaped(address: str) -> str:
    return address.replace("&amp;", "&")
