"""The page for developers at `/docs`: the contract as plain values for its template, and what this server's own limits are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from service.api.colorizations import LONGEST_WAIT
from service.api.pages import duration, served
from service.api.problems import MEDIA_TYPE
from service.api.templates import render
from service.errors import KINDS
from service.schemas import Options
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, an option, or a member of an object."""

    name: str
    kind: str
    """What it is, in a few words."""
    about: str
    is_required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    """All that it may be, where these are few."""
    is_list: bool = False
    is_number: bool = False
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    about: str
    kinds: tuple[str, ...]
    """Media types."""
    codes: tuple[str, ...]
    """Of problems."""
    object: str
    """Its name among the objects; "" where it is none."""


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    about: str
    opened_by: tuple[tuple[str, ...], ...]
    """Names of security schemes; one of these groups is enough, and an empty one is nothing."""
    fields: tuple[Field, ...]
    has_options: bool
    bodies: tuple[str, ...]
    """Media types."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one tag."""

    name: str
    about: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """All of an OpenAPI document that the page shows."""

    groups: tuple[Group, ...]
    options: tuple[Field, ...]
    objects: Mapping[str, tuple[Field, ...]]


def add_docs(app: FastAPI, settings: Settings) -> None:
    """Put the page at `/docs`."""
    limits = {
        "anonymous": settings.anonymous,
        "megabytes": f"{settings.max_bytes / 2**20:g}",
        "megapixels": f"{settings.max_pixels / 1e6:g}",
        "sides": (settings.min_side, settings.max_side),
        "keep_for": duration(settings.keep_for),
        "max_keep_for": duration(max(settings.keep_for, settings.max_keep_for)),
        "per_minute": {"key": settings.quota(False), "open": settings.quota(True)},
        "gigabytes": {
            name: f"{settings.allowance(is_open)[0] / 2**30:g}" for name, is_open in _CALLERS.items()
        },
        "batch_files": settings.batch_files,
        "batch_gigabytes": f"{settings.batch_bytes / 2**30:g}",
        "wait": LONGEST_WAIT,
        "by_url": bool(settings.url_hosts),
        "webhooks": bool(settings.webhook_hosts),
        "presign": settings.presign,
    }

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        address = (settings.public_url or str(request.base_url)).rstrip("/")
        shown = {"reference": read(app.openapi()), "problems": KINDS, "limits": limits, "address": address}
        shown["has_client"] = "autochrome.py" in served()
        return render(request, "docs.html.j2", shown)


_CALLERS = {"key": False, "open": True}
"""Name → whether it has no key."""


def read(contract: Mapping[str, Any]) -> Reference:
    """What the page shows of an OpenAPI document."""
    schemas = contract["components"]["schemas"]
    form = contract["paths"]["/v1/colorizations"]["post"]["requestBody"]["content"]["multipart/form-data"]
    options = [field for field in _fields(form["schema"]) if field.name != "photo"]
    names = {field.name for field in options}
    operations = [
        (operation["tags"][0], _operation(method.upper(), path, operation, names))
        for path, methods in contract["paths"].items()
        for method, operation in methods.items()
    ]
    return Reference(
        groups=tuple(
            Group(
                tag["name"], tag["description"], tuple(one for name, one in operations if name == tag["name"])
            )
            for tag in contract["tags"]
        ),
        options=tuple(options),
        objects={
            name: tuple(_fields(schema)) for name, schema in schemas.items() if name != Options.__name__
        },
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], options: set[str]) -> Operation:
    parameters = operation.get("parameters", [])
    bodies = tuple(operation.get("requestBody", {}).get("content", {}))
    return Operation(
        id=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        about=operation.get("description", ""),
        opened_by=tuple(tuple(way) for way in operation["security"]),
        fields=tuple(
            _field(
                f"{each['name']} ({each['in']})", each["schema"], each["required"], each.get("description")
            )
            for each in parameters
            if each["name"] not in options
        ),
        has_options=any(each["name"] in options for each in parameters),
        bodies=bodies,
        answers=tuple(_answer(status, answer) for status, answer in sorted(operation["responses"].items())),
    )


def _answer(status: str, answer: Mapping[str, Any]) -> Answer:
    content = answer.get("content", {})
    codes = content.get(MEDIA_TYPE, {}).get("examples", {})
    shown = content.get("application/json", {}).get("schema", {})
    shown = shown.get("items", shown)
    return Answer(
        status=status,
        about="" if codes else answer["description"],
        kinds=tuple(content),
        codes=tuple(codes),
        object=shown.get("$ref", "").rpartition("/")[2],
    )


def _fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        yield _field(name, each, name in required, each.get("description"))


def _field(name: str, schema: Mapping[str, Any], is_required: bool, about: str | None) -> Field:
    ways = [way for way in schema.get("anyOf", [schema]) if way != {"type": "null"}]
    schema = {**schema, **ways[0]} if len(ways) == 1 else schema
    is_list = schema.get("type") == "array"
    one = schema["items"] if is_list else schema
    choices = ("true", "false") if one.get("type") == "boolean" else map(str, one.get("enum", ()))
    default = schema.get("default")
    return Field(
        name=name,
        kind=_kind(schema),
        about=about or "",
        is_required=is_required,
        default="" if default in (None, [], ()) else str(default).lower(),
        choices=tuple(choices),
        is_list=is_list,
        is_number=one.get("type") in ("number", "integer"),
        least=one.get("minimum"),
        most=one.get("maximum"),
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(way) for way in schema["anyOf"])
    if "enum" in schema:
        return _either(schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("format") == "binary":
        return "file"
    name = str(schema.get("type", "anything"))
    if "minimum" in schema and "maximum" in schema:
        return f"{name}, {schema['minimum']} to {schema['maximum']:g}"
    if "minimum" in schema:
        return f"{name}, {schema['minimum']} at least"
    return f"{name}, {schema['format']}" if "format" in schema else name


def _either(choices: Iterable[object]) -> str:
    return " | ".join(map(str, choices))
