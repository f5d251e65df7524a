"""Answers as they look, for /openapi.json: operation and status → title → value."""

from __future__ import annotations

from typing import Any

from service.errors import KINDS
from service.schemas import Options

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
    "net": {"name": "lite", "sha256": "3e1d87b4" + 56 * "0"},
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
        {"name": "harbor.jpg", "job": ID, "status": "queued", "url": _PATH, "error": None},
        {"name": "notes.jpg", "job": None, "status": "failed", "url": None, "error": _FAILED["error"]},
    ],
    "next": None,
}
_SECRET = {"secret": "pTkgqGZ9cW1h5vUuZbJ0X3sYd8nR2fLa"}
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("create_colorization", "202"): {"queued": _JOB | _SECRET},
    ("create_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("put_colorization", "202"): {"queued": _JOB | _SECRET},
    ("put_colorization", "200"): {"succeeded": _DONE | _SECRET},
    ("read_colorization", "200"): {"queued": _JOB, "succeeded": _DONE, "failed": _FAILED},
    ("create_batch", "202"): {"running": _BATCH | _SECRET},
    ("put_batch", "202"): {"running": _BATCH | _SECRET},
    ("read_batch", "200"): {"running": _BATCH},
    ("list_nets", "200"): {"one": [_DONE["net"]]},
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
