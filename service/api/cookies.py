"""The secret of a photo in a cookie, so that its page can erase it without scripts too."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service.api.templates import root_of

SECRET = "photo_secret"


def keep_secret(answer: Response, request: Request, id: str, secret: str, seconds: float) -> None:
    """Let the page of this photo, and no other address, know its secret for so long."""
    answer.set_cookie(
        SECRET,
        secret,
        max_age=int(seconds),
        path=_path(request, id),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def drop_secret(answer: Response, request: Request, id: str) -> None:
    answer.delete_cookie(SECRET, path=_path(request, id), httponly=True, samesite="lax")


def secret_of(request: Request) -> str:
    """At the address of a photo, what `keep_secret` left; "" without it."""
    return request.cookies.get(SECRET, "")


def _path(request: Request, id: str) -> str:
    return f"{root_of(request.scope)}/photos/{id}"
