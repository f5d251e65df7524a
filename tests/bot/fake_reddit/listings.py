"""Lists, the newest first, cut into pages by `limit`, `after` and `before`; and the tree of a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fake_reddit.documents import Document, comment_document, more_document, post_document
from fake_reddit.things import Comment, Message, Post, Thing
from fake_reddit.world import World

USUAL_PAGE = 25
LONGEST_PAGE = 100


def listing(children: Sequence[Document], after: str | None = None, before: str | None = None) -> Document:
    data = {
        "children": list(children),
        "after": after,
        "before": before,
        "dist": len(children),
        "modhash": None,
    }
    return {"kind": "Listing", "data": data}


def page(
    world: World, things: Sequence[Thing], query: Mapping[str, str], show: Callable[[Any], Document]
) -> Document:
    """One page of what is in any order. As at Reddit, an anchor that is not there any more gives an empty page."""
    ordered = sorted(things, key=lambda thing: thing.number, reverse=True)
    limit = min(int(query.get("limit") or USUAL_PAGE), LONGEST_PAGE)
    if anchor := query.get("before"):
        if (place := _place(world, anchor)) is None:
            return listing([])
        newer = [thing for thing in ordered if thing.number > place]
        shown, more = newer[-limit:] if limit else [], True
    elif anchor := query.get("after"):
        if (place := _place(world, anchor)) is None:
            return listing([])
        older = [thing for thing in ordered if thing.number < place]
        shown, more = older[:limit], len(older) > limit
    else:
        shown, more = ordered[:limit], len(ordered) > limit
    names = [f"{thing.fullname}" for thing in shown if isinstance(thing, Post | Comment | Message)]
    return listing([show(thing) for thing in shown], names[-1] if names and more else None)


def _place(world: World, fullname: str) -> int | None:
    try:
        thing = world.thing(fullname)
    except KeyError:
        return None
    gone = (isinstance(thing, Comment) and thing.deleted) or (
        isinstance(thing, Post) and thing.removed_by == "deleted"
    )
    return None if gone else thing.number


def thread(world: World, post: Post, viewer: str | None) -> list[Document]:
    """The post, and all its comments as a tree."""
    return [listing([post_document(world, post)]), _branches(world, post, viewer)]


def chain(world: World, comment: Comment, context: int, viewer: str | None) -> list[Document]:
    """The post, and one comment with its replies, under at most `context` of its forebears."""
    below = _branches(world, comment, viewer) if world.replies(comment) else ""
    document = comment_document(world, comment, below, viewer)
    parent = comment.parent
    while context and isinstance(parent, Comment):
        document = comment_document(world, parent, listing([document]), viewer)
        parent, context = parent.parent, context - 1
    return [listing([post_document(world, comment.post)]), listing([document])]


def _branches(world: World, parent: Post | Comment, viewer: str | None) -> Document:
    """A deleted comment is shown only where something hangs on it; of many replies the oldest, and that there are more."""
    shown, hidden = [], []
    for reply in world.replies(parent):
        below = world.replies(reply)
        if len(shown) == world.most_replies:
            hidden.append(reply)
        elif below or not reply.deleted:
            branches = _branches(world, reply, viewer) if below else ""
            shown.append(comment_document(world, reply, branches, viewer))
    return listing([*shown, more_document(parent, hidden)] if hidden else shown)
