"""What can be done: comments, edits, deletions, messages, marks of what was read, blocks."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fake_reddit.asking import Ask, Handler
from fake_reddit.documents import Document, comment_document, message_document, post_document
from fake_reddit.refusals import FormError, RefusedError
from fake_reddit.rich_text import read_rich_text
from fake_reddit.things import Comment, Message, Notice, Post

MOST_MARKED = 25


def _thing(ask: Ask, field: str) -> Post | Comment | Message:
    try:
        return ask.site.world.thing(ask.form.get(field, ""))
    except KeyError:
        raise FormError("NO_THING_ID") from None


def things(*documents: Document) -> Document:
    return {"json": {"errors": [], "data": {"things": list(documents)}}}


def comment(ask: Ask) -> Document:
    """Also the answer to a message. Where there is rich text, that counts and not `text`."""
    world, text = ask.site.world, ask.form.get("text", "")
    media = caption = ""
    if rich_text := ask.form.get("richtext_json"):
        text, media, caption = read_rich_text(rich_text)
    parent = _thing(ask, "thing_id")
    if isinstance(parent, Message):
        message = world.add_message(ask.user, parent.author, f"re: {parent.subject}", text)
        return things(message_document(world, message, new=False))
    made = world.add_comment(ask.user, parent, text, media, caption)
    return things(comment_document(world, made, viewer=ask.user))


def edit(ask: Ask) -> Document:
    world, thing = ask.site.world, _thing(ask, "thing_id")
    if isinstance(thing, Message):
        raise FormError("NOT_AUTHOR")
    world.edit(ask.user, thing, ask.form.get("text", ""))
    return things(
        post_document(world, thing)
        if isinstance(thing, Post)
        else comment_document(world, thing, viewer=ask.user)
    )


def delete(ask: Ask) -> Document:
    """What is gone, or another's, is passed over in silence."""
    with suppress(FormError):
        thing = _thing(ask, "id")
        if not isinstance(thing, Message):
            ask.site.world.delete(ask.user, thing)
    return {}


def mark(new: bool) -> Handler:
    def handler(ask: Ask) -> Document:
        names = [name.strip() for name in ask.form.get("id", "").split(",")]
        if len(names) > MOST_MARKED:
            raise RefusedError(400, "TOO_MANY_THING_IDS")
        for notice in ask.site.world.user(ask.user).inbox:
            if notice.thing.fullname in names:
                notice.new = new
        return {}

    return handler


def mark_all(ask: Ask) -> Document:
    for notice in ask.site.world.user(ask.user).inbox:
        notice.new = False
    return {}


def compose(ask: Ask) -> Document:
    form = ask.form
    ask.site.world.add_message(ask.user, form.get("to", ""), form.get("subject", ""), form.get("text", ""))
    return {"json": {"errors": []}}


def block_author(ask: Ask) -> Document:
    """Of something in the inbox."""
    notices: list[Notice] = ask.site.world.user(ask.user).inbox
    for notice in notices:
        if notice.thing.fullname == ask.form.get("id"):
            ask.site.world.user(ask.user).blocked.add(notice.thing.author.lower())
    return {}


def block_user(ask: Ask) -> Document:
    name: Any = ask.query.get("name") or ask.form.get("name")
    if not name or name.lower() not in ask.site.world.users:
        raise RefusedError(400, "USER_DOESNT_EXIST")
    ask.site.world.user(ask.user).blocked.add(name.lower())
    return {}


HANDLERS: dict[str, Handler] = {
    "/api/comment": comment,
    "/api/editusertext": edit,
    "/api/del": delete,
    "/api/read_message": mark(new=False),
    "/api/unread_message": mark(new=True),
    "/api/read_all_messages": mark_all,
    "/api/compose": compose,
    "/api/block": block_author,
    "/api/block_user": block_user,
}
