"""The whole application: tokens, what is read, what is done, and a 404 for the rest."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fake_reddit import reading, submitting, writing
from fake_reddit.asking import routes
from fake_reddit.control import control_routes
from fake_reddit.door import Door
from fake_reddit.site import Site
from fake_reddit.uploads import upload_routes


def create_app(site: Site) -> Door:
    async def access_token(request: Request) -> Response:
        with site.world.lock:
            if not site.tokens.knows_app(request.headers.get("authorization", "")):
                return JSONResponse({"message": "Unauthorized", "error": 401}, 401)
            return JSONResponse(_grant(site, request.scope["state"]["call"].form))

    async def revoke_token(request: Request) -> Response:
        site.tokens.given.pop(request.scope["state"]["call"].form.get("token", ""), None)
        return Response(status_code=204)

    async def nobody(request: Request) -> Response:
        site.unknown.append(f"{request.method} {request.url.path}")
        return JSONResponse({"message": "Not Found", "error": 404}, 404)

    app = Starlette(
        routes=[
            Route("/api/v1/access_token", access_token, methods=["POST"]),
            Route("/api/v1/revoke_token", revoke_token, methods=["POST"]),
            *routes(site, "GET", reading.HANDLERS),
            *routes(site, "POST", writing.HANDLERS | submitting.HANDLERS),
            *upload_routes(site),
            *control_routes(site),
            Route("/{path:path}", nobody, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        ]
    )
    app.router.redirect_slashes = False
    return Door(site, app)


def _grant(site: Site, form: dict[str, str]) -> dict[str, Any]:
    """A token's document, or the word for what is wrong with what was shown; both come with status 200."""
    kind = form.get("grant_type")
    name: str | None = None
    if kind == "password":
        user = site.world.users.get(form.get("username", "").lower())
        if user is None or not user.password or user.password != form.get("password"):
            return {"error": "invalid_grant"}
        name = user.name
    elif kind == "refresh_token":
        name = site.tokens.refresh.get(form.get("refresh_token", ""))
        if name is None:
            return {"error": "invalid_grant"}
    elif kind != "client_credentials":
        return {"error": "unsupported_grant_type"}
    token = site.tokens.give(name)
    return {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": round(site.tokens.life),
        "scope": "*",
    }
