"""The strings behind the stage, under /fake/ in JSON: for tests in other processes and other languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fake_reddit.documents import comment_document, post_document
from fake_reddit.faults import Fault
from fake_reddit.people import Person
from fake_reddit.refusals import FormError, RefusedError
from fake_reddit.site import Site
from fake_reddit.things import Comment, Message, Post, Subreddit
from fake_reddit.uploads import add_picture

ACTS = {"post", "comment", "message", "edit", "delete", "vote", "block", "share", "remove", "distinguish"}
REFERENCES = {"on", "thing", "comment", "crosspost_of"}
"""Words of an act whose value is the fullname of a thing."""


def act(site: Site, name: str, verb: str, words: dict[str, Any]) -> dict[str, Any]:
    """Somebody does what `Person` can; what came of it, if it is a thing."""
    if verb not in ACTS:
        raise KeyError(verb)
    meant = {
        word: site.world.thing(value) if word in REFERENCES and value else value
        for word, value in words.items()
    }
    return shown(site, getattr(Person(site.world, name), verb)(**meant))


def shown(site: Site, thing: object) -> dict[str, Any]:
    if isinstance(thing, Post):
        return {"fullname": thing.fullname} | post_document(site.world, thing)
    if isinstance(thing, Comment):
        return {"fullname": thing.fullname} | comment_document(site.world, thing)
    if isinstance(thing, Message):
        return {"fullname": thing.fullname}
    return {"url": thing} if isinstance(thing, str) else {}


def look(site: Site, name: str) -> dict[str, Any]:
    """All that a user has said, and has not read yet."""
    person = Person(site.world, name)
    return {
        "comments": [shown(site, comment)["data"] for comment in person.comments()],
        "posts": [shown(site, post)["data"] for post in person.posts()],
        "unread": [{"kind": notice.kind, "fullname": notice.thing.fullname} for notice in person.unread()],
    }


def arrange(thing: Post | Comment | Message | Subreddit, traits: dict[str, Any]) -> None:
    """Set fields: `locked`, `archived`, `score`, `private`, … Raises KeyError for one that there is not."""
    known = {field.name for field in fields(thing)}
    for trait, value in traits.items():
        if trait not in known:
            raise KeyError(trait)
        setattr(thing, trait, set(value) if trait == "banned_users" else value)


def control_routes(site: Site) -> list[Route]:
    def route(method: str, path: str, do: Callable[[dict[str, str], Any], Any]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                document = json.loads(await request.body() or b"{}")
                with site.world.lock:
                    return JSONResponse(do(request.path_params, document))
            except (FormError, RefusedError) as refused:
                return JSONResponse({"refused": str(refused)}, 409)
            except (AttributeError, KeyError, TypeError, ValueError) as unknown:
                return JSONResponse({"unknown": str(unknown)}, 422)

        return Route(path, endpoint, methods=[method])

    async def picture(request: Request) -> Response:
        url = add_picture(site, request.path_params["name"], await request.body())
        return JSONResponse({"url": url})

    def clock(path: dict[str, str], body: Any) -> Any:
        site.clock.advance(body.get("advance", 0))
        return {"now": site.clock.now()}

    return [
        route(
            "POST",
            "/fake/people/{name}/{verb}",
            lambda path, body: act(site, path["name"], path["verb"], body),
        ),
        route("GET", "/fake/people/{name}", lambda path, body: look(site, path["name"])),
        route(
            "PUT",
            "/fake/subreddits/{name}",
            lambda path, body: arrange(site.world.subreddit(path["name"]), body),
        ),
        route(
            "PATCH", "/fake/things/{name}", lambda path, body: arrange(site.world.thing(path["name"]), body)
        ),
        route("POST", "/fake/faults", lambda path, body: site.faults.append(Fault(**body))),
        route("DELETE", "/fake/faults", lambda path, body: site.faults.clear()),
        route("GET", "/fake/faults", lambda path, body: [asdict(fault) for fault in site.faults]),
        route("GET", "/fake/calls", lambda path, body: [asdict(call) for call in site.calls]),
        route("DELETE", "/fake/calls", lambda path, body: site.calls.clear()),
        route("GET", "/fake/unknown", lambda path, body: site.unknown),
        route("POST", "/fake/clock", clock),
        Route("/fake/pictures/{name}", picture, methods=["PUT"]),
    ]
