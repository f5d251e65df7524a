"""What can be read: inboxes, streams, threads, things by name, users, subreddits and wikis."""

from __future__ import annotations

from typing import Any

from fake_reddit.asking import Ask, Handler
from fake_reddit.documents import (
    Document,
    comment_document,
    message_document,
    notice_document,
    post_document,
    subreddit_document,
    user_document,
)
from fake_reddit.listings import chain, listing, page, thread
from fake_reddit.refusals import MovedError, RefusedError
from fake_reddit.things import Comment, Message, Notice, Post, User

MOST_NAMES = 100


def me(ask: Ask) -> Document:
    data: Document = user_document(ask.site.world.user(ask.user))["data"]
    unread = sum(notice.new for notice in ask.site.world.user(ask.user).inbox)
    return data | {"inbox_count": unread, "has_mail": unread > 0, "over_18": True, "features": {}}


def inbox(*kinds: str, new: bool = False) -> Handler:
    """An inbox's notices of some kinds, or all; only the unread ones."""

    def handler(ask: Ask) -> Document:
        world = ask.site.world
        notices = {
            notice.thing.number: notice
            for notice in world.user(ask.user).inbox
            if (notice.new or not new) and (not kinds or notice.kind in kinds) and not _gone(notice)
        }
        things = [notice.thing for notice in notices.values()]
        shown = page(world, things, ask.query, lambda thing: notice_document(world, notices[thing.number]))
        if new and ask.query.get("mark", "").lower() == "true":
            for notice in notices.values():
                notice.new = False
        return shown

    return handler


def _gone(notice: Notice) -> bool:
    return isinstance(notice.thing, Comment) and (notice.thing.deleted or notice.thing.removed)


def subreddit_comments(ask: Ask) -> Document:
    world = ask.site.world
    names = _names(ask)
    comments = [
        comment
        for comment in world.comments.values()
        if comment.subreddit.lower() in names and not comment.deleted and not comment.removed
    ]
    return page(world, comments, ask.query, lambda comment: comment_document(world, comment))


def subreddit_posts(ask: Ask) -> Document:
    world = ask.site.world
    names = _names(ask)
    posts = [post for post in world.posts.values() if post.subreddit.lower() in names and not post.removed_by]
    return page(world, posts, ask.query, lambda post: post_document(world, post))


def _names(ask: Ask) -> set[str]:
    """The subreddits of "a+b", in small letters; of several, those that are closed are left out in silence."""
    wanted = ask.path["names"].lower().split("+")
    if len(wanted) == 1 and wanted[0] not in {"all", "popular"}:
        ask.site.world.enter(wanted[0])
        return set(wanted)
    found = ask.site.world.subreddits.items()
    is_open = {name for name, it in found if not (it.banned or it.private or it.quarantined)}
    return is_open if {"all", "popular"} & set(wanted) else is_open & set(wanted)


def info(ask: Ask) -> Document:
    world = ask.site.world
    shown = []
    for name in ask.query.get("id", "").split(",")[:MOST_NAMES]:
        try:
            thing = world.thing(name.strip())
        except KeyError:
            continue
        if isinstance(thing, Message) or _hidden(ask, thing.subreddit):
            continue
        shown.append(
            post_document(world, thing)
            if isinstance(thing, Post)
            else comment_document(world, thing, viewer=ask.name)
        )
    return listing(shown)


def _hidden(ask: Ask, subreddit: str) -> bool:
    it = ask.site.world.subreddit(subreddit)
    return it.banned or it.private


def comments(ask: Ask) -> list[Document]:
    """Both shapes: a whole thread, or one comment with its context."""
    world = ask.site.world
    post = world.posts.get(ask.path["post"])
    if post is None:
        raise RefusedError(404)
    world.enter(post.subreddit)
    wanted = ask.path.get("comment") or ask.query.get("comment")
    if wanted is None:
        return thread(world, post, ask.name)
    comment = world.comments.get(wanted)
    if comment is None or comment.post is not post:
        return [listing([post_document(world, post)]), listing([])]
    return chain(world, comment, min(int(ask.query.get("context") or 0), 8), ask.name)


def user_about(ask: Ask) -> Document:
    return user_document(_known(ask))


def user_comments(ask: Ask) -> Document:
    world, name = ask.site.world, _known(ask).name
    theirs = [it for it in world.comments.values() if it.author == name and not it.deleted]
    return page(world, theirs, ask.query, lambda comment: comment_document(world, comment, viewer=ask.name))


def user_posts(ask: Ask) -> Document:
    world, name = ask.site.world, _known(ask).name
    theirs = [it for it in world.posts.values() if it.author == name and it.removed_by != "deleted"]
    return page(world, theirs, ask.query, lambda post: post_document(world, post))


def _known(ask: Ask) -> User:
    user = ask.site.world.users.get(ask.path["name"].lower())
    is_hidden = user is not None and user.shadow_banned and user.name != ask.name
    if user is None or user.suspended or is_hidden:
        raise RefusedError(404)
    return user


def sent(ask: Ask) -> Document:
    world = ask.site.world
    mine = [message for message in world.messages.values() if message.author == ask.user]
    return page(world, mine, ask.query, lambda message: message_document(world, message, new=False))


def subreddit_about(ask: Ask) -> Document:
    subreddit = ask.site.world.enter(ask.path["name"])
    document = subreddit_document(subreddit)
    document["data"]["user_is_banned"] = bool(ask.name) and str(ask.name).lower() in subreddit.banned_users
    return document


def wiki_page(ask: Ask) -> Document:
    text = ask.site.world.enter(ask.path["name"]).wiki.get(ask.path["page"])
    if text is None:
        raise RefusedError(404, "PAGE_NOT_CREATED")
    data: dict[str, Any] = {
        "content_md": text,
        "content_html": "",
        "may_revise": False,
        "reason": None,
        "revision_date": 0,
        "revision_by": None,
        "revision_id": "1",
        "kind": "wikipage",
    }
    return {"kind": "wikipage", "data": data}


def share(ask: Ask) -> Document:
    where = ask.site.world.shares.get(ask.path["token"])
    if where is None:
        raise RefusedError(404)
    raise MovedError(f"https://www.reddit.com{where}?share_id=x&utm_medium=web2x")


HANDLERS: dict[str, Handler] = {
    "/api/v1/me": me,
    "/message/inbox": inbox(),
    "/message/unread": inbox(new=True),
    "/message/mentions": inbox("username_mention"),
    "/message/comments": inbox("comment_reply"),
    "/message/selfreply": inbox("post_reply"),
    "/message/messages": inbox("message"),
    "/message/sent": sent,
    "/api/info": info,
    "/comments/{post}": comments,
    "/comments/{post}/{slug}/{comment}": comments,
    "/r/{names}/comments": subreddit_comments,
    "/r/{names}/new": subreddit_posts,
    "/r/{name}/comments/{post}": comments,
    "/r/{name}/comments/{post}/{slug}": comments,
    "/r/{name}/comments/{post}/{slug}/{comment}": comments,
    "/r/{name}/about": subreddit_about,
    "/r/{name}/wiki/{page:path}": wiki_page,
    "/r/{name}/s/{token}": share,
    "/user/{name}/about": user_about,
    "/user/{name}/comments": user_comments,
    "/user/{name}/submitted": user_posts,
}
