"""What FastAPI cannot know of the contract: bodies that are streamed, examples, links, and what is never sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.api.by_url import MEDIA_TYPE, SCHEMA
from service.api.desk import longest_keep_for
from service.api.prefer import LONGEST_WAIT
from service.api.problems import ProblemDocument
from service.options import Options
from service.settings import Settings

ID = "0f8fad5bd9cb469fa16570867728950e"
_JOB: dict[str, Any] = {
    "id": ID,
    "status": "queued",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "queue_position": 2,
    "eta_s": 1.8,
    "timings": {},
    "options": Options(artifacts=("comparison",)).model_dump(mode="json"),
    "net": None,
    "result": None,
    "artifacts": [],
    "error": None,
}
_PATH = f"/v1/colorizations/{ID}"
_DONE: dict[str, Any] = _JOB | {
    "status": "succeeded",
    "queue_position": None,
    "eta_s": None,
    "timings": {"open": 0.021, "prepare": 0.004, "infer": 0.112, "finish": 0.093, "save": 0.018},
    "net": {"name": "lite", "sha256": "ede78120" + 56 * "0"},
    "result": {"url": f"{_PATH}/result", "width": 1600, "height": 1200, "media_type": "image/jpeg"},
    "artifacts": [
        {
            "name": "comparison",
            "kind": "comparison",
            "url": f"{_PATH}/artifacts/comparison",
            "media_type": "image/jpeg",
            "bytes": 412345,
        }
    ],
}
_FAILED: dict[str, Any] = _JOB | {
    "status": "failed",
    "queue_position": None,
    "eta_s": None,
    "timings": {"open": 0.007},
    "error": {
        "code": "photo_damaged",
        "title": "The photo is damaged",
        "detail": "The file is cut off or broken. Save or scan it again and send the whole file.",
    },
}
_SECRET = {"secret": "pTkgqGZ9cW1h5vUuZbJ0X3sYd8nR2fLa"}
_EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("create_colorization", "202"): {"queued": _JOB | _SECRET},
    ("create_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("put_colorization", "202"): {"queued": _JOB | _SECRET},
    ("put_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("read_colorization", "200"): {"queued": _JOB, "succeeded": _DONE, "failed": _FAILED},
    ("list_nets", "200"): {"one": [_DONE["net"]]},
}
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
_PHOTO = {"type": "string", "format": "binary", "description": "The file, as it is"}


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
    for name in ("create_colorization", "put_colorization"):
        _take_photos(operations[name], options, by_url)
        for status in ("200", "202"):
            operations[name]["responses"][status]["links"] = {**_LINKS, "erase": _ERASE}
    operations["create_colorization"]["parameters"].append(_IDEMPOTENCY_KEY)
    operations["read_colorization"]["responses"]["200"]["links"] = {**_LINKS, "artifact": _ARTIFACT}
    for (name, status), examples in _EXAMPLES.items():
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


def _by_url(options: dict[str, Any]) -> dict[str, Any]:
    """What a JSON body may say, where the operator lets photos be fetched."""
    properties = {**SCHEMA["properties"], **options}
    return {**SCHEMA, "properties": {name: properties[name] for name in ("url", *options)}}


def _take_photos(operation: dict[str, Any], options: dict[str, Any], by_url: dict[str, Any] | None) -> None:
    queries = [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in options.items()
    ]
    operation["parameters"] = [*operation.get("parameters", []), *queries, _PREFER]
    form = {"type": "object", "required": ["photo"], "properties": {"photo": _PHOTO, **options}}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": {**form, "additionalProperties": False}},
        "image/*": {"schema": _PHOTO},
    }
    if by_url is not None:
        content[MEDIA_TYPE] = {"schema": by_url}
    operation["requestBody"] = {"required": True, "content": content}


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
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    "description": (
        "Sent again with the same key, the same photo is colored once, and the answer is that of the first "
        "time. A random UUID for each photo: callers without an API key share one space of keys."
    ),
}
