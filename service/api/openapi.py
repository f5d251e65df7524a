"""What FastAPI cannot know of the contract: bodies that are streamed, kinds of pictures, who may call what, examples, links, and what
is never sent."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.api.batch_results import LISTED
from service.api.colorizations import LONGEST_WAIT
from service.api.presigned import PlaceRequest
from service.api.problems import MEDIA_TYPE, ProblemDocument, documented
from service.api.results import BYTES, OCTETS
from service.api.state import longest_keep_for
from service.api.uploads import JSON
from service.errors import KINDS
from service.schemas import Options
from service.settings import Settings

TAGS = {
    "colorizations": "A photo comes in and becomes a job; the job, its colored photo and what is made beside it",
    "batches": "Many photos at once, or a ZIP of them",
    "uploads": "Photos that are written to the store directly",
    "service": "Whether it works, which nets it has, what its problems mean",
}
"""Tag → what its operations are about. A path's tag is the word after `/v1`, else the last of these."""
SCHEMES: dict[str, Any] = {
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, `ac_…`, that whoever runs this service gives out",
    },
    "secret": {
        "type": "http",
        "scheme": "bearer",
        "description": "The secret of a job or a batch: it came with the answer to POST or PUT, or was chosen there by PUT",
    },
}
_EVERYWHERE = ("request_invalid", "host_unknown", "connections_busy")
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
_PICTURE_KINDS = (
    *("jpeg", "png", "tiff", "webp", "avif"),  # what results are written as
    *("gif", "bmp", "heif", "jp2", "jxl", "x-portable-anymap", "x-tga"),  # what may come back as it came
)
_FILES = ("read_result", "read_artifact", "read_batch_result")
_PHOTO = {"type": "string", "format": "binary", "description": "The file, as it is"}
_URL = {
    "type": "string",
    "maxLength": 2048,
    "description": "Where the photo lies: http or https, on a host that the operator has listed",
}
_ZIP = {"type": "string", "format": "binary", "description": "A ZIP of photos"}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "wait=30",
    "description": (
        f"`wait=N`: answer 200 with the finished job if it is ready in N ≤ {LONGEST_WAIT} seconds (RFC 7240); "
        "with the picture itself where the header `Accept` prefers `image/*` to JSON."
    ),
}


def _authorization(description: str, token: str = "3q2-7wQp0bXk9sVtYzR1uA5cE8gH4jLm") -> dict[str, Any]:
    return {
        "name": "authorization",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "example": f"Bearer {token}",
        "description": f"`Bearer` and {description}",
    }


_SECRET = {"secret": "job_pTkgqGZ9cW1h5vUuZbJ0X3sYd8nR2fLa"}
_OWNERSHIP = _authorization(
    "the secret that came with the first answer, or the API key that made it", _SECRET["secret"]
)
_KEY_OR_SECRET = "an API key, or a secret of your own: 32 to 128 random letters and digits, by which "
_SECRET_OF_A_JOB = _authorization(
    f"{_KEY_OR_SECRET}the job is erased. Sent again with it, the photo is answered with it. With neither, the secret is in the first "
    "answer alone."
)
_SECRET_OF_A_BATCH = _authorization(
    f"{_KEY_OR_SECRET}you can go on with the batch, send it again and erase it. With neither, only the secret in the first answer "
    "does that."
)
_PLACES = {"type": "string", "pattern": "^[0-9]{1,6}(,[0-9]{1,6})*$"}
_CHOICE = {
    "required": False,
    "description": "Places are those of photos in the batch, from 0, with commas between",
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "contents": {
                        "type": "string",
                        "pattern": LISTED,
                        "default": "result",
                        "example": "result,sidecar,csv",
                    },
                    "partial": {"type": "boolean", "default": False},
                    "only_accepted": {
                        "type": "boolean",
                        "default": False,
                        "description": "Files of accepted photos alone; the table has all",
                    },
                    "without_rejected": {
                        "type": "boolean",
                        "default": False,
                        "description": "No files of rejected photos; the table has all",
                    },
                    "accepted": {**_PLACES, "example": "0,1,4"},
                    "rejected": {**_PLACES, "example": "2"},
                    "redone": {
                        "type": "string",
                        "pattern": "^[0-9]{1,6}:[0-9a-f]{32}(,[0-9]{1,6}:[0-9a-f]{32})*$",
                        "description": "Place and id of the job whose picture stands there instead",
                        "example": "4:2f0c6a3b9f8e4d1d8c2a7b6e5d4c3b2a",
                    },
                },
            }
        }
    },
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

_SECRET_OF_THE_ORIGINAL = {
    "secret": {
        "type": "string",
        "description": "That of the job which is named in `revise`; not needed with the API key that made it",
    }
}
_EXAMPLE_ID = "0f8fad5bd9cb469fa16570867728950e"
_JOB: dict[str, Any] = {
    "id": _EXAMPLE_ID,
    "status": "queued",
    "revises": None,
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "queue_position": 2,
    "eta_s": 1.8,
    "timings": {},
    "options": Options(artifacts=("comparison",), alternatives=1).model_dump(mode="json"),
    "net": None,
    "result": None,
    "artifacts": [],
    "notices": [],
    "error": None,
}
_PATH = f"/v1/colorizations/{_EXAMPLE_ID}"
_DONE: dict[str, Any] = _JOB | {
    "status": "succeeded",
    "queue_position": None,
    "eta_s": None,
    "timings": {"open": 0.021, "preprocess": 0.004, "infer": 0.112, "postprocess": 0.093, "save": 0.018},
    "net": {"name": "lite", "sha256": "3e1d87b4" + 56 * "0"},
    "result": {"url": f"{_PATH}/result", "width": 1600, "height": 1200, "media_type": "image/jpeg"},
    "artifacts": [
        {
            "name": "comparison",
            "kind": "comparison",
            "url": f"{_PATH}/artifacts/comparison",
            "media_type": "image/jpeg",
            "bytes": 412345,
            "rank": None,
            "probability": None,
        },
        {
            "name": "alternative-1",
            "kind": "alternative",
            "url": f"{_PATH}/artifacts/alternative-1",
            "media_type": "image/jpeg",
            "bytes": 398120,
            "rank": 1,
            "probability": 0.31,
        },
    ],
    "notices": [
        {
            "code": "file_checksum_wrong",
            "detail": "A part of the file that is no picture is damaged. It was passed over.",
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
        "title": KINDS["photo_damaged"].title,
        "detail": KINDS["photo_damaged"].advice,
    },
}
_BATCH: dict[str, Any] = {
    "id": "7c9e6679f7924bdfa5e2d8a3c1b4f0e6",
    "status": "running",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "options": Options(priority="batch").model_dump(mode="json"),
    "counts": {"failed": 1, "queued": 1},
    "result_url": "/v1/batches/7c9e6679f7924bdfa5e2d8a3c1b4f0e6/result",
    "files": [
        {
            "name": "harbor.jpg",
            "job": _EXAMPLE_ID,
            "status": "queued",
            "url": _PATH,
            "thumbnail": None,
            "error": None,
        },
        {
            "name": "notes.jpg",
            "job": None,
            "status": "failed",
            "url": None,
            "thumbnail": None,
            "error": _FAILED["error"],
        },
    ],
    "next": None,
}
_PLACE: dict[str, Any] = {
    "id": "2f1d6a0c93b84e5f8a7c6b5d4e3f2a1b",
    "method": "PUT",
    "url": "https://photos.s3.eu-central-1.amazonaws.com/2f1d6a0c93b84e5f8a7c6b5d4e3f2a1b/photo?X-Amz-Signature=…",
    "headers": {"Content-Length": "14680064"},
    "expires_at": "2026-01-01T00:10:00Z",
}
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("create_colorization", "202"): {"queued": _JOB | _SECRET},
    ("create_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("put_colorization", "202"): {"queued": _JOB | _SECRET},
    ("put_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("read_colorization", "200"): {"queued": _JOB, "succeeded": _DONE, "failed": _FAILED},
    ("read_suggestions", "200"): {
        "skin or dress": [
            {"color": "#7a1f2b", "a": 39.8, "b": 15.8, "probability": 0.412},
            {"color": "#4c4f55", "a": -0.3, "b": -3.6, "probability": 0.271},
        ]
    },
    ("create_upload", "201"): {"place": _PLACE},
    ("create_batch", "202"): {"running": _BATCH | _SECRET},
    ("put_batch", "202"): {"running": _BATCH | _SECRET},
    ("read_batch", "200"): {"running": _BATCH},
    ("list_nets", "200"): {"one": [_DONE["net"]]},
    ("read_realism", "200"): {
        "one": {
            "nets": [
                {
                    **_DONE["net"],
                    "shown": 400,
                    "fooled": 112,
                    "rate": 0.28,
                    "low": 0.2382,
                    "high": 0.3259,
                }
            ],
            "paper": {"rate": 0.323, "error": 0.022},
        }
    },
    ("read_problem", "200"): {
        "photo_damaged": {
            "code": "photo_damaged",
            "status": KINDS["photo_damaged"].status,
            "title": KINDS["photo_damaged"].title,
            "advice": KINDS["photo_damaged"].advice,
        }
    },
    ("livez", "200"): {"ok": {"status": "ok"}},
    ("readyz", "200"): {"ok": {"status": "ok"}},
    ("read_artifact", "200"): {"sidecar": {"net": "lite", "colors": "guesses of a network, not the truth"}},
}


def document(app: FastAPI, settings: Settings) -> None:
    """Let `/openapi.json` say all of the contract."""
    describe = app.openapi
    options = _options(settings)
    named = _named(options, settings)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = {
                **_complete(describe(), options, named, settings),
                "servers": [{"url": app.state.api.url("") or "/"}],
            }
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(
    schema: dict[str, Any], options: dict[str, Any], named: list[dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    schema["tags"] = [{"name": name, "description": about} for name, about in TAGS.items()]
    schema["components"]["securitySchemes"] = SCHEMES
    schemas = schema["components"]["schemas"]
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    operations = {
        operation["operationId"]: operation
        for path in schema["paths"].values()
        for operation in path.values()
    }
    for path, methods in schema["paths"].items():
        word = path.removeprefix("/v1/").partition("/")[0]
        for operation in methods.values():
            operation["tags"] = [word if word in TAGS else [*TAGS][-1]]
    for name, operation in operations.items():
        _forget_unsent(operation)
        _name_pictures(operation)
        operation["security"] = _security(name, settings)
        if operation["operationId"] not in ("livez", "readyz"):
            _add(operation["responses"], documented(*_EVERYWHERE))
        _describe_ids(operation)
    for name in ("create_colorization", "put_colorization"):
        _take_photos(operations[name], options, named)
        for status in ("200", "202"):
            operations[name]["responses"][status]["links"] = {**_LINKS, "erase": _ERASE}
    for name in ("create_batch", "put_batch"):
        _take_batches(operations[name], options)
        operations[name]["responses"]["202"]["links"] = _LINKS_OF_A_BATCH
    operations["choose_batch_result"]["requestBody"] = _CHOICE
    operations["create_colorization"]["parameters"].append(_IDEMPOTENCY_KEY)
    place = {"schema": {**PlaceRequest.model_json_schema(), "example": {"bytes": 14_680_064}}}
    operations["create_upload"]["requestBody"] = {"required": True, "content": {JSON: place}}
    operations["put_batch"]["parameters"].append(_SECRET_OF_A_BATCH)
    operations["put_colorization"]["parameters"].append(_SECRET_OF_A_JOB)
    for name in ("erase_colorization", "erase_batch"):
        operations[name]["parameters"].append(_OWNERSHIP)
    operations["read_colorization"]["responses"]["200"]["links"] = {**_LINKS, "artifact": _ARTIFACT}
    for (name, status), examples in EXAMPLES.items():
        content = operations[name]["responses"][status]["content"]["application/json"]
        content["examples"] = {title: {"value": value} for title, value in examples.items()}
    return schema


def _add(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    for status, answer in more.items():
        known = responses.setdefault(str(status), answer)
        if known is not answer:
            known["description"] += f", {answer['description']}"
            known["content"][MEDIA_TYPE]["examples"] |= answer["content"][MEDIA_TYPE]["examples"]


def _options(settings: Settings) -> dict[str, Any]:
    """Name → JSON Schema, as they are on this server: no webhook where none is sent, the longest time kept."""
    options: dict[str, Any] = Options.model_json_schema(ref_template="#/components/schemas/{model}")[
        "properties"
    ]
    options["keep_for"]["anyOf"][0]["maximum"] = longest_keep_for(settings)
    if not settings.webhook_hosts:
        del options["webhook"]
    return options


def _forget_unsent(operation: dict[str, Any]) -> None:
    """FastAPI announces an error of its own, which `problems` turns into ours."""
    invalid = operation["responses"].get("422", {})
    if "application/json" in invalid.get("content", {}):
        del operation["responses"]["422"]


def _name_pictures(operation: dict[str, Any]) -> None:
    """Generators know media types by their names, not by ranges; and bytes by `application/octet-stream`, if it is the first."""
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if status == "200" and "image/*" in content:
            binary = content.pop("image/*")
            content |= {f"image/{kind}": binary for kind in _PICTURE_KINDS}
        if operation["operationId"] in _FILES and status == "200":
            response["content"] = {OCTETS: BYTES, **content}


def _security(name: str, settings: Settings) -> list[dict[str, list[str]]]:
    """Any one of these is enough; an empty one is none at all."""
    nobody: dict[str, list[str]] = {}
    key: dict[str, list[str]] = {"api_key": []}
    secret: dict[str, list[str]] = {"secret": []}
    if name.startswith("erase_"):
        return [key, secret]
    if name == "create_upload":
        return [key] if settings.presign else []  # refused to everybody
    if name == "metrics" or name.startswith("create_"):
        return [nobody, key] if settings.anonymous else [key]
    if name.startswith("put_"):
        return [nobody, key, secret] if settings.anonymous else [key]
    return []


def _describe_ids(operation: dict[str, Any]) -> None:
    """Only here, not where FastAPI would look at it: what is no id is answered as one that is not found."""
    for parameter in operation.get("parameters", []):
        if (parameter["name"], parameter["in"]) == ("id", "path"):
            parameter["schema"]["pattern"] = "^[0-9a-f]{32}$"


def _named(options: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """What a JSON body may say: which photo that was sent before is to be colored anew; where one lies, if the operator lets it be
    fetched, or what was written to the store directly."""
    ways: dict[str, dict[str, Any]] = {
        "revise": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "Id of a job: its photo is colored anew, with its options where the body does not say others",
            "example": _EXAMPLE_ID,
        }
    }
    if settings.url_hosts:
        ways["url"] = {**_URL, "example": "https://photos.example/harbor-1912.jpg"}
    if settings.presign:
        ways["upload"] = {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "Id of an upload",
            "example": _EXAMPLE_ID,
        }
    return [
        {
            "type": "object",
            "required": [name],
            "additionalProperties": False,
            "properties": {name: way, **(_SECRET_OF_THE_ORIGINAL if name == "revise" else {}), **options},
            "example": {name: way["example"], "vividness": 1.1},
        }
        for name, way in ways.items()
    ]


def _written(options: dict[str, Any]) -> dict[str, Any]:
    """As a form or a query has them: there is no null in those, what is not sent is not set, and a list of objects is JSON."""
    return {name: _as_text(_without_null(schema)) for name, schema in options.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" not in schema:
        return schema
    (kind,) = (one for one in schema["anyOf"] if one != {"type": "null"})
    return {**{word: value for word, value in schema.items() if word not in ("anyOf", "default")}, **kind}


def _as_text(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema.get("items", {}):
        return schema
    told = {word: schema[word] for word in ("title", "description")}
    listed = {word: schema[word] for word in ("type", "items", "maxItems")}
    return {**told, "type": "string", "contentMediaType": JSON, "contentSchema": listed}


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


def _take_photos(operation: dict[str, Any], options: dict[str, Any], named: list[dict[str, Any]]) -> None:
    operation["parameters"] = [*operation.get("parameters", []), *_queries(options), _PREFER]
    form = {"type": "object", "required": ["photo"], "properties": {"photo": _PHOTO, **_written(options)}}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": {**form, "additionalProperties": False}},
        OCTETS: {"schema": _PHOTO},
        "image/*": {"schema": _PHOTO},
    }
    content[JSON] = {"schema": named[0] if len(named) == 1 else {"oneOf": named}}
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
