"""What FastAPI cannot know of the contract: bodies that are streamed, examples, links, and what is never sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.api.by_url import MEDIA_TYPE, SCHEMA
from service.api.desk import longest_keep_for
from service.api.examples import EXAMPLES
from service.api.prefer import LONGEST_WAIT
from service.api.problems import ProblemDocument
from service.schemas import Options
from service.settings import Settings

_OF_THE_ANSWER = {"id": "$response.body#/id"}
_LINKS: dict[str, Any] = {
    "job": {"operationId": "read_colorization", "parameters": _OF_THE_ANSWER},
    "events": {"operationId": "follow_colorization", "parameters": _OF_THE_ANSWER},
    "result": {"operationId": "read_result", "parameters": _OF_THE_ANSWER},
}
_ERASE = {
    "operationId": "erase_colorization",
    "parameters": {**_OF_THE_ANSWER, "authorization": "Bearer {$response.body#/secret}"},
}
_ARTIFACT = {
    "operationId": "read_artifact",
    "parameters": {**_OF_THE_ANSWER, "name": "$response.body#/artifacts/0/name"},
}
_LINKS_OF_A_BATCH: dict[str, Any] = {
    "batch": {"operationId": "read_batch", "parameters": _OF_THE_ANSWER},
    "result": {"operationId": "read_batch_result", "parameters": _OF_THE_ANSWER},
    "erase": {**_ERASE, "operationId": "erase_batch"},
}
_PHOTO = {"type": "string", "format": "binary", "description": "The file, as it is"}
_ZIP = {"type": "string", "format": "binary", "description": "A ZIP of photos"}


def document(app: FastAPI, settings: Settings) -> None:
    """Let `/openapi.json` say all of the contract."""
    describe = app.openapi
    options = _options(settings)
    by_url = _by_url(options) if settings.url_hosts else None

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(describe(), options, by_url)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(
    schema: dict[str, Any], options: dict[str, Any], by_url: dict[str, Any] | None
) -> dict[str, Any]:
    schemas = schema["components"]["schemas"]
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    operations = {
        operation["operationId"]: operation
        for path in schema["paths"].values()
        for operation in path.values()
    }
    for operation in operations.values():
        _forget_unsent(operation)
        _describe_ids(operation)
    for name in ("create_colorization", "put_colorization"):
        _take_photos(operations[name], options, by_url)
        for status in ("200", "202"):
            operations[name]["responses"][status]["links"] = {**_LINKS, "erase": _ERASE}
    for name in ("create_batch", "put_batch"):
        _take_batches(operations[name], options)
        operations[name]["responses"]["202"]["links"] = _LINKS_OF_A_BATCH
    operations["create_colorization"]["parameters"].append(_IDEMPOTENCY_KEY)
    operations["put_batch"]["parameters"].append(_SECRET_OF_A_BATCH)
    operations["read_colorization"]["responses"]["200"]["links"] = {**_LINKS, "artifact": _ARTIFACT}
    for (name, status), examples in EXAMPLES.items():
        content = operations[name]["responses"][status]["content"]["application/json"]
        content["examples"] = {title: {"value": value} for title, value in examples.items()}
    return schema


def _options(settings: Settings) -> dict[str, Any]:
    """Name → JSON Schema, as they are on this server: no webhook where none is sent, the longest time kept."""
    options: dict[str, Any] = Options.model_json_schema()["properties"]
    options["keep_for"]["anyOf"][0]["maximum"] = longest_keep_for(settings)
    if not settings.webhook_hosts:
        del options["webhook"]
    return options


def _forget_unsent(operation: dict[str, Any]) -> None:
    """FastAPI announces an error of its own, which `problems` turns into ours."""
    invalid = operation["responses"].get("422", {})
    if "application/json" in invalid.get("content", {}):
        del operation["responses"]["422"]


def _describe_ids(operation: dict[str, Any]) -> None:
    """Only here, not where FastAPI would look at it: what is no id is answered as one that is not found."""
    for parameter in operation.get("parameters", []):
        if (parameter["name"], parameter["in"]) == ("id", "path"):
            parameter["schema"]["pattern"] = "^[0-9a-f]{32}$"


def _by_url(options: dict[str, Any]) -> dict[str, Any]:
    """What a JSON body may say, where the operator lets photos be fetched."""
    properties = {**SCHEMA["properties"], **options}
    return {**SCHEMA, "properties": {name: properties[name] for name in ("url", *options)}}


def _written(options: dict[str, Any]) -> dict[str, Any]:
    """As a form or a query has them: there is no null in those, what is not sent is not set."""
    return {name: _without_null(schema) for name, schema in options.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" not in schema:
        return schema
    (kind,) = (one for one in schema["anyOf"] if one != {"type": "null"})
    return {**{word: value for word, value in schema.items() if word not in ("anyOf", "default")}, **kind}


def _queries(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Options as parameters. Without their defaults, which clients send: then they would stand in the form too."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "allowEmptyValue": True,
            "schema": {word: value for word, value in schema.items() if word != "default"},
        }
        for name, schema in _written(options).items()
    ]


def _take_photos(operation: dict[str, Any], options: dict[str, Any], by_url: dict[str, Any] | None) -> None:
    operation["parameters"] = [*operation.get("parameters", []), *_queries(options), _PREFER]
    form = {"type": "object", "required": ["photo"], "properties": {"photo": _PHOTO, **_written(options)}}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": {**form, "additionalProperties": False}},
        "image/*": {"schema": _PHOTO},
    }
    if by_url is not None:
        content[MEDIA_TYPE] = {"schema": by_url}
    operation["requestBody"] = {"required": True, "content": content}


def _take_batches(operation: dict[str, Any], options: dict[str, Any]) -> None:
    operation["parameters"] = [*operation.get("parameters", []), *_queries(options)]
    files = {"photo": {"type": "array", "items": _PHOTO, "minItems": 1}, "archive": _ZIP}
    form = {"type": "object", "properties": {**_written(options), **files}, "additionalProperties": False}
    operation["requestBody"] = {
        "required": True,
        "description": "Options come before the files. Photos, a ZIP of them, or both",
        "content": {
            "multipart/form-data": {
                "schema": {**form, "anyOf": [{"required": ["photo"]}, {"required": ["archive"]}]}
            },
            "application/zip": {"schema": _ZIP},
        },
    }


_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "wait=30",
    "description": (
        f"`wait=N`: answer 200 with the finished job if it is ready in N ≤ {LONGEST_WAIT} seconds (RFC 7240)."
    ),
}
_SECRET_OF_A_BATCH = {
    "name": "authorization",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "Bearer 3q2-7wQp0bXk9sVtYzR1uA5cE8gH4jLm",
    "description": (
        "`Bearer` and an API key, or a secret of your own: 32 to 128 random letters and digits, by which you can go "
        "on with the batch, send it again and erase it. With neither, only the secret in the first answer does that."
    ),
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    "description": (
        "Sent again with the same key, the same photo is colored once, and the answer is that of the first "
        "time. A random UUID for each photo: without an API key, all behind one address have the same keys."
    ),
}
