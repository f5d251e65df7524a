"""New posts, and the uploads that picture posts are made of."""

from __future__ import annotations

from typing import Any

from fake_reddit.asking import Ask, Handler
from fake_reddit.documents import Document
from fake_reddit.refusals import FormError, RefusedError
from fake_reddit.things import Post
from fake_reddit.uploads import BUCKET, lease, picture_url

KINDS = {"self", "link", "image", "crosspost"}


def asset(ask: Ask) -> Document:
    """A lease: where to send the picture, with which fields."""
    site = ask.site
    name = lease(site, ask.form.get("filepath", ""))
    host = site.tls_url.partition(":")[2] or site.url.partition(":")[2]
    fields = {
        "acl": "private",
        "key": name,
        "Content-Type": ask.form.get("mimetype", ""),
        "success_action_status": "201",
        "policy": "a policy",
        "x-amz-signature": "a signature",
    }
    return {
        "args": {
            "action": f"{host}/{BUCKET}",
            "fields": [{"name": key, "value": value} for key, value in fields.items()],
        },
        "asset": {
            "asset_id": name.partition("/")[2],
            "processing_state": "incomplete",
            "websocket_url": f"wss:{host}/rte_ws/{name}",
        },
    }


def submit(ask: Ask) -> Document:
    form, kind = ask.form, ask.form.get("kind", "")
    if kind not in KINDS:
        raise RefusedError(400, "INVALID_OPTION")
    traits: dict[str, Any] = {"over_18": form.get("nsfw", "").lower() == "true", "text": form.get("text", "")}
    if kind == "image":
        traits["url"] = picture_url(ask.site, form.get("url", ""))
    elif kind == "crosspost":
        traits["crosspost_of"] = _source(ask)
    elif kind == "link":
        if not form.get("url"):
            raise FormError("NO_URL")
        traits["url"] = form["url"]
    post = _post(ask, form.get("sr", ""), form.get("title", ""), traits)
    if kind == "image":
        page = f"https://www.reddit.com/user/{ask.user}/submitted/"
        data = {"user_submitted_page": page, "websocket_url": f"wss:{ask.site.tls_url[6:]}/rte_ws/{post.id}"}
    else:
        data = {"id": post.id, "name": post.fullname, "url": f"https://www.reddit.com{post.permalink}"}
    return {"json": {"errors": [], "data": data | {"drafts_count": 0}}}


def submit_gallery(ask: Ask) -> Document:
    """Its form is JSON."""
    form = ask.document
    gallery = [picture_url(ask.site, f"{BUCKET}/uploads/{item['media_id']}") for item in form["items"]]
    traits = {"gallery": gallery, "over_18": bool(form.get("nsfw")), "text": form.get("text", "")}
    post = _post(ask, form["sr"], form["title"], traits)
    data = {"id": post.fullname, "url": f"https://www.reddit.com{post.permalink}"}
    return {"json": {"errors": [], "data": data}}


def _source(ask: Ask) -> Post:
    try:
        source = ask.site.world.thing(ask.form.get("crosspost_fullname", ""))
    except KeyError:
        source = None
    if not isinstance(source, Post) or source.removed_by:
        raise FormError("INVALID_CROSSPOST_THING")
    return source


def _post(ask: Ask, name: str, title: str, traits: dict[str, Any]) -> Post:
    """Everybody has a subreddit of their own, u_name."""
    world = ask.site.world
    if name.lower() == f"u_{ask.user.lower()}":
        world.subreddit(name)
    if name.lower() not in world.subreddits:
        raise FormError("SUBREDDIT_NOEXIST")
    if ask.user.lower() in world.enter(name).banned_users:
        raise FormError("SUBREDDIT_NOTALLOWED")
    if not title.strip():
        raise FormError("NO_TITLE")
    return world.add_post(ask.user, name, title, **traits)


HANDLERS: dict[str, Handler] = {
    "/api/media/asset.json": asset,
    "/api/submit": submit,
    "/api/submit_gallery_post.json": submit_gallery,
}
