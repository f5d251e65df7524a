"""The store behind uploads, which speaks XML as S3 does, and the pictures that it hands out."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fake_reddit.refusals import FormError
from fake_reddit.site import Site

BUCKET = "uploaded-media"
MOST_BYTES = 20 * 2**20


def lease(site: Site, filename: str) -> str:
    """The key of a new upload: "uploads/" and a name that keeps the ending of the file's."""
    key = f"uploads/asset{len(site.leases) + 1}{PurePosixPath(filename).suffix}"
    site.leases[key] = None
    return key


def picture_url(site: Site, url: str) -> str:
    """Where everybody sees the picture that was uploaded to `url`. Raises FormError where none was."""
    key = url.partition(f"{BUCKET}/")[2]
    data = site.leases.get(key)
    if data is None:
        raise FormError("BAD_URL")
    return add_picture(site, key.partition("/")[2], data)


def add_picture(site: Site, name: str, data: bytes) -> str:
    site.world.pictures[name] = (data, mimetypes.guess_type(name)[0] or "application/octet-stream")
    return f"{site.url}/i/{name}"


def upload_routes(site: Site) -> list[Route]:
    async def upload(request: Request) -> Response:
        async with request.form() as form:
            key, file = form.get("key"), form.get("file")
            if not isinstance(file, UploadFile) or key not in site.leases or "policy" not in form:
                return _xml("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", 403)
            data = await file.read()
        if len(data) > MOST_BYTES:
            sizes = f"<ProposedSize>{len(data)}</ProposedSize><MaxSizeAllowed>{MOST_BYTES}</MaxSizeAllowed>"
            words = "<Message>Your proposed upload exceeds the maximum allowed size</Message>"
            return _xml(f"<Error><Code>EntityTooLarge</Code>{words}{sizes}</Error>", 400)
        site.leases[str(key)] = data
        site.world.media[str(key).partition("/")[2]] = site.world.processing
        location = f"{site.tls_url or site.url}/{BUCKET}/{key}"
        return _xml(f"<PostResponse><Location>{location}</Location><Key>{key}</Key></PostResponse>", 201)

    async def picture(request: Request) -> Response:
        data, kind = site.world.pictures.get(request.path_params["name"], (b"", ""))
        return Response(data, media_type=kind) if kind else Response(status_code=404)

    return [
        Route(f"/{BUCKET}", upload, methods=["POST"]),
        Route("/i/{name:path}", picture, methods=["GET", "HEAD"]),
    ]


def _xml(body: str, status: int) -> Response:
    return Response('<?xml version="1.0" encoding="UTF-8"?>\n' + body, status, media_type="application/xml")
