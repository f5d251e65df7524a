"""A call as its handler sees it, and the way from handlers to answers."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fake_reddit.refusals import FormError, MovedError, RefusedError
from fake_reddit.site import Site


@dataclass
class Ask:
    site: Site
    name: str | None
    """Who asks; None for an app that acts for nobody."""
    query: dict[str, str]
    form: dict[str, str]
    path: dict[str, str]
    document: Any = None
    """A body in JSON."""

    @property
    def user(self) -> str:
        """Raises RefusedError where nobody asks."""
        if self.name is None:
            raise RefusedError(403, "USER_REQUIRED")
        return self.name


Handler = Callable[[Ask], Any]


def oauth(site: Site, handler: Handler) -> Callable[[Request], Any]:
    """An endpoint for who has a token: counted, then handled under the world's lock."""

    async def endpoint(request: Request) -> Response:
        call = request.scope["state"]["call"]
        try:
            document = await request.json() if _is_json(request) else None
        except ValueError:
            return refusal(RefusedError(400))
        with site.world.lock:
            if request.headers.get("user-agent", "python-").startswith("python-"):
                return JSONResponse({"message": "Too Many Requests", "error": 429}, 429)
            token = site.tokens.holder(request.headers.get("authorization", ""))
            if token is None:
                return JSONResponse({"message": "Unauthorized", "error": 401}, 401)
            call.user = token.user
            headers = site.spend(token)
            if token.used > site.budget:
                headers["retry-after"] = headers["x-ratelimit-reset"]
                return JSONResponse({"message": "Too Many Requests", "error": 429}, 429, headers)
            answer = _answer(
                handler,
                Ask(site, token.user, dict(request.query_params), call.form, request.path_params, document),
            )
            answer.headers.update(headers)
            return answer if "raw_json" in request.query_params else escaped(answer)

    return endpoint


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/json")


def _answer(handler: Handler, ask: Ask) -> Response:
    try:
        return JSONResponse(handler(ask))
    except MovedError as moved:
        return Response(status_code=302, headers={"location": moved.location})
    except RefusedError as refused:
        return refusal(refused)
    except FormError as error:
        return form_error(error)


def refusal(refused: RefusedError) -> JSONResponse:
    words = {400: "Bad Request", 403: "Forbidden", 404: "Not Found"}.get(refused.status, "Error")
    document: dict[str, Any] = {"message": words, "error": refused.status}
    if refused.reason:
        document["reason"] = refused.reason
    if refused.words:
        document |= {"explanation": refused.words, "fields": ["parent"]}
    return JSONResponse(document, refused.status)


def form_error(error: FormError) -> JSONResponse:
    return JSONResponse({"json": {"errors": [[error.code, error.words, error.field]]}})


def escaped(answer: Response) -> Response:
    """Without `raw_json=1` Reddit escapes &, < and > in all texts, addresses of pictures too."""

    def escape(value: Any) -> Any:
        if isinstance(value, str):
            return html.escape(value, quote=False)
        if isinstance(value, list):
            return [escape(item) for item in value]
        return {key: escape(item) for key, item in value.items()} if isinstance(value, dict) else value

    headers = {name: value for name, value in answer.headers.items() if name.startswith(("x-", "retry"))}
    return JSONResponse(escape(json.loads(bytes(answer.body))), answer.status_code, headers)


def routes(site: Site, method: str, handlers: dict[str, Handler]) -> list[Route]:
    return [Route(path, oauth(site, handler), methods=[method]) for path, handler in handlers.items()]
