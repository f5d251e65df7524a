"""The secret of a photo or an album in a cookie, so that its page can erase it without scripts too."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service.api.templates import root_of

SECRET = "photo_secret"
PHOTOS, ALBUMS = "photos", "albums"
"""Where their pages are."""


def keep_secret(
    answer: Response, request: Request, id: str, secret: str, seconds: float, pages: str = PHOTOS
) -> None:
    """Let the page of this photo or album, and no other address, know its secret for so long."""
    answer.set_cookie(
        SECRET,
        secret,
        max_age=int(seconds),
        path=_path(request, id, pages),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def drop_secret(answer: Response, request: Request, id: str, pages: str = PHOTOS) -> None:
    answer.delete_cookie(SECRET, path=_path(request, id, pages), httponly=True, samesite="lax")


def secret_of(request: Request) -> str:
    """At the address of a photo or an album, what `keep_secret` left; "" without it."""
    return request.cookies.get(SECRET, "")


def _path(request: Request, id: str, pages: str) -> str:
    return f"{root_of(request.scope)}/{pages}/{id}"
