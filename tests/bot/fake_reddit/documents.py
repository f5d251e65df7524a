"""Things as Reddit's JSON shows them, with the fields that PRAW and its users look at."""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import urlsplit

from fake_reddit.things import Comment, Message, Notice, Post, Subreddit, User
from fake_reddit.world import World

Document = dict[str, Any]


def post_document(world: World, post: Post) -> Document:
    subreddit = world.subreddit(post.subreddit)
    gone = post.removed_by is not None
    data: Document = {
        "id": post.id,
        "name": post.fullname,
        "subreddit": subreddit.name,
        "subreddit_id": subreddit.fullname,
        "subreddit_name_prefixed": f"r/{subreddit.name}",
        "subreddit_type": "private" if subreddit.private else "public",
        "author": "[deleted]" if gone else post.author,
        "title": post.title,
        "selftext": "[removed]"
        if gone and post.removed_by != "deleted"
        else "[deleted]"
        if gone
        else post.text,
        "url": address(world, post),
        "permalink": post.permalink,
        "domain": urlsplit(address(world, post)).hostname if not post.is_self else f"self.{subreddit.name}",
        "is_self": post.is_self,
        "over_18": post.over_18 or subreddit.over_18,
        "quarantine": subreddit.quarantined,
        "locked": post.locked,
        "archived": post.archived,
        "removed_by_category": post.removed_by,
        "is_robot_indexable": not gone,
        "score": post.score,
        "ups": post.score,
        "num_comments": sum(1 for comment in world.comments.values() if comment.post is post),
        "created": post.created,
        "created_utc": post.created,
        "edited": post.edited or False,
        "stickied": False,
        "spoiler": False,
        "distinguished": None,
        "hidden": False,
        "saved": False,
        "is_video": False,
        "media": None,
        "thumbnail": "default",
        "link_flair_text": None,
    }
    if post.gallery:
        data |= gallery_fields(post)
    if post.preview:
        data["preview"] = {
            "images": [
                {
                    "source": {"url": post.preview, "width": 9600, "height": 6400},
                    "resolutions": [
                        {"url": url, "width": 108 * 2**step, "height": 72 * 2**step}
                        for step, url in enumerate(post.smaller)
                    ],
                }
            ],
            "enabled": True,
        }
    if post.crosspost_of is not None:
        data["crosspost_parent"] = post.crosspost_of.fullname
        place = world.subreddit(post.crosspost_of.subreddit)
        is_hidden = place.private or place.banned
        data["crosspost_parent_list"] = [] if is_hidden else [post_document(world, post.crosspost_of)["data"]]
    return {"kind": "t3", "data": data}


def address(world: World, post: Post) -> str:
    """Where the title of a post leads."""
    if post.crosspost_of is not None:
        return address(world, post.crosspost_of)
    if post.gallery:
        return f"https://www.reddit.com/gallery/{post.id}"
    return post.url or f"https://www.reddit.com{post.permalink}"


def gallery_fields(post: Post) -> Document:
    """The order is in `gallery_data`; `media_metadata` is a dict, here in the contrary order as it may be."""
    names = [f"{post.id}media{index}" for index in range(1, len(post.gallery) + 1)]
    pairs = reversed(list(zip(names, post.gallery, strict=True)))
    shown = {name: _media(name, item) for name, item in pairs if item}
    items = [{"media_id": name, "id": number} for number, name in enumerate(names, start=1)]
    return {"is_gallery": True, "media_metadata": shown, "gallery_data": {"items": items}}


def _media(name: str, item: str | dict[str, str]) -> Document:
    """What failed has neither a size nor an address, and what moves has no `u`."""
    item = {"u": item} if isinstance(item, str) else item
    if "status" in item:
        return {"status": item["status"]}
    if "gif" in item:
        source = {"gif": item["gif"], "mp4": f"{item['gif']}?format=mp4", "x": 320, "y": 240}
        return {"status": "valid", "e": "AnimatedImage", "id": name, "m": "image/gif", "s": source, "p": []}
    kind = mimetypes.guess_type(urlsplit(item["u"]).path)[0] or "image/jpeg"
    smaller = [{"u": item["smaller"], "x": 1080, "y": 810}] if "smaller" in item else []
    source = {"u": item["u"], "x": 9600, "y": 7200}
    return {"status": "valid", "e": "Image", "id": name, "m": kind, "s": source, "p": smaller}


def comment_document(
    world: World, comment: Comment, replies: Any = "", viewer: str | None = None
) -> Document:
    """`viewer`: who looks; its author sees it as ever when others took it away."""
    subreddit = world.subreddit(comment.subreddit)
    is_hidden = comment.removed or world.user(comment.author).shadow_banned
    removed = is_hidden and comment.author.lower() != (viewer or "").lower()
    gone = comment.deleted or removed
    data: Document = {
        "id": comment.id,
        "name": comment.fullname,
        "subreddit": subreddit.name,
        "subreddit_id": subreddit.fullname,
        "subreddit_name_prefixed": f"r/{subreddit.name}",
        "author": "[deleted]" if gone else comment.author,
        "body": "[deleted]" if comment.deleted else "[removed]" if removed else _body(world, comment),
        "body_html": "",
        "parent_id": comment.parent.fullname,
        "link_id": comment.post.fullname,
        "link_title": comment.post.title,
        "link_author": comment.post.author,
        "link_permalink": f"https://www.reddit.com{comment.post.permalink}",
        "permalink": comment.permalink,
        "context": f"{comment.permalink}?context=3",
        "score": comment.score,
        "ups": comment.score,
        "downs": 0,
        "likes": None,
        "score_hidden": False,
        "created": comment.created,
        "created_utc": comment.created,
        "edited": comment.edited or False,
        "is_submitter": comment.author == comment.post.author,
        "stickied": comment.stickied,
        "distinguished": "moderator" if comment.distinguished is True else comment.distinguished or None,
        "locked": comment.locked,
        "archived": comment.post.archived,
        "over_18": comment.post.over_18,
        "controversiality": 0,
        "gilded": 0,
        "saved": False,
        "collapsed": gone,
        "replies": replies,
    }
    if comment.media and not gone and (status := world.media[comment.media]):
        shown = {"e": "Image", "m": "image/jpeg", "id": comment.media} if status == "valid" else {}
        data["media_metadata"] = {comment.media: {"status": status, **shown}}
    return {"kind": "t1", "data": data}


def _body(world: World, comment: Comment) -> str:
    """In Markdown a picture is its address, or that it is not there yet: also where it never will be."""
    if not comment.media:
        return comment.text
    shown = f"https://preview.redd.it/{comment.media}?width=640&format=png&auto=webp&s=0"
    picture = shown if world.media[comment.media] in ("valid", "") else f"*Processing img {comment.media}...*"
    return f"{picture}\n\n{comment.text}"


def more_document(parent: Post | Comment, hidden: list[Comment]) -> Document:
    """That there are these replies, too."""
    data = {
        "id": hidden[0].id,
        "name": hidden[0].fullname,
        "parent_id": parent.fullname,
        "count": len(hidden),
        "depth": 0,
        "children": [it.id for it in hidden],
    }
    return {"kind": "more", "data": data}


def notice_document(world: World, notice: Notice) -> Document:
    """What stands in an inbox: a comment with a subject, a message, or what no client knows yet."""
    if notice.kind == "award":
        data = {"id": notice.thing.id, "name": notice.thing.fullname, "new": notice.new}
        return {"kind": "t6", "data": data}
    if isinstance(notice.thing, Message):
        return message_document(world, notice.thing, new=notice.new)
    document = comment_document(world, notice.thing)
    subjects = {
        "username_mention": "username mention",
        "comment_reply": "comment reply",
        "post_reply": "post reply",
    }
    document["data"] |= {
        "new": notice.new,
        "type": notice.kind,
        "subject": subjects[notice.kind],
        "was_comment": True,
        "dest": "",
        "first_message": None,
        "first_message_name": None,
    }
    return document


def message_document(world: World, message: Message, new: bool) -> Document:
    data = {
        "id": message.id,
        "name": message.fullname,
        "author": None if message.subreddit else message.author,
        "author_fullname": None if message.subreddit else world.user(message.author).fullname,
        "dest": message.to,
        "subject": message.subject,
        "body": message.text,
        "body_html": "",
        "created": message.created,
        "created_utc": message.created,
        "new": new,
        "type": "unknown",
        "was_comment": False,
        "context": "",
        "parent_id": None,
        "first_message": None,
        "first_message_name": None,
        "subreddit": message.subreddit or None,
        "replies": "",
        "distinguished": "moderator" if message.subreddit else None,
        "score": 0,
    }
    return {"kind": "t4", "data": data}


def user_document(user: User) -> Document:
    data = {
        "id": user.id,
        "name": user.name,
        "created": user.created,
        "created_utc": user.created,
        "comment_karma": 1,
        "link_karma": 1,
        "total_karma": 2,
        "is_suspended": user.suspended,
        "is_mod": user.is_mod,
        "is_employee": False,
        "verified": True,
        "has_verified_email": True,
        "icon_img": "",
        "subreddit": None,
    }
    return {"kind": "t2", "data": data}


def subreddit_document(subreddit: Subreddit) -> Document:
    data = {
        "id": subreddit.id,
        "name": subreddit.fullname,
        "display_name": subreddit.name,
        "display_name_prefixed": f"r/{subreddit.name}",
        "url": f"/r/{subreddit.name}/",
        "title": subreddit.name,
        "subreddit_type": "private" if subreddit.private else "public",
        "over18": subreddit.over_18,
        "quarantine": subreddit.quarantined,
        "created": subreddit.created,
        "created_utc": subreddit.created,
        "subscribers": 1,
        "public_description": "",
        "allowed_media_in_comments": subreddit.allowed_media,
        "description": "",
        "user_is_banned": False,
    }
    return {"kind": "t5", "data": data}
