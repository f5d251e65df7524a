"""HTML from templates, in the language of whoever asks; its links hold below any path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from service import __version__
from service.api.strings import COOKIE, LANGUAGES, PARAMETER, WEB, imported, language_of, strings

T = TypeVar("T")
A_YEAR = 365 * 86400
VARY = "Accept-Language, Cookie"
"""What pages depend on beside their address."""


def render(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page. `up`, in templates, leads to the service's first page: `href="{{ up }}static/mark.svg"`."""
    language = language_of(request)
    here, up = _place(request)
    html = environment(language).get_template(template).render(here=here, up=up, **context)
    answer = HTMLResponse(html, status, {"Vary": VARY, **(headers or {})})
    if request.query_params.get(PARAMETER) == language:
        path = root_of(request.scope) or "/"
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, language, A_YEAR, path=path, secure=secure, httponly=True, samesite="lax")
    return answer


@cache
def environment(language: str) -> Environment:
    """Templates in one language."""
    made = Environment(
        loader=FileSystemLoader(WEB / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    words = strings(language)
    made.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(told=words.told, translated=words.translated)
    made.globals.update(
        language=language,
        languages=LANGUAGES,
        of_scripts=_once(words.of_scripts),
        imported=_once(imported),
        version=__version__,
    )
    return made


def _once(find: Callable[[Iterable[str]], T]) -> Callable[[Iterable[str]], T]:
    """What is found in scripts, kept: they do not change while we run, and each page would search them for milliseconds."""
    kept = cache(find)
    return lambda names: kept(tuple(names))


def root_of(scope: Scope) -> str:
    """The path below which the whole service is shown, also within a part that is mounted."""
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root


def _place(request: Request) -> tuple[str, str]:
    """The path below the service's first page, and the way back there. Relative: a proxy may show us below a path that we do not know."""
    root = root_of(request.scope)
    path = request.scope["path"].removeprefix(root).removeprefix("/")
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    depth = raw.removeprefix(root.encode()).count(b"/") - 1
    return path, "../" * depth or "./"
