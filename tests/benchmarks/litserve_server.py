"""The same Colorizer served by LitServe, as its documentation has it: batching on, one worker, forms in, a Response out.

It runs in an environment of its own (`make bench-serving` makes it): PORT, and a file for how often the net ran.

    python -m tests.benchmarks.litserve_server 8001 calls.json

No `from __future__ import annotations` here: LitServe compares the annotation of `request` with the type itself.
"""

import json
import sys
from pathlib import Path
from typing import Any

import litserve
from fastapi import Request, Response

from model import image_io
from model.colorizer import Colorizer

MAX_BATCH = 4
"""Photos in one batch."""
BATCH_WAIT = 0.01
"""Seconds that a batch waits to be filled."""


class ColorizerAPI(litserve.LitAPI):  # type: ignore[misc]
    """bytes → open, preprocess → one batch through the net → postprocess, save → bytes."""

    def __init__(self, calls: Path) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT)
        self._calls = calls
        self._counts = {"calls": 0, "photos": 0}

    def setup(self, device: str) -> None:
        self._colorizer = Colorizer.load("lite", device)

    def decode_request(self, request: Request) -> tuple[image_io.Photo, Any]:
        picture = image_io.open(request["photo"].file.read())  # LitServe has made a form of it
        return picture, self._colorizer.preprocess(picture)

    def predict(self, batch: list[tuple[image_io.Photo, Any]]) -> list[tuple[image_io.Photo, Any]]:
        self._counts = {"calls": self._counts["calls"] + 1, "photos": self._counts["photos"] + len(batch)}
        self._calls.write_text(json.dumps(self._counts))
        logits = self._colorizer.infer([lightness for _, lightness in batch])
        return [(picture, single) for (picture, _), single in zip(batch, logits, strict=True)]

    def encode_response(self, output: tuple[image_io.Photo, Any]) -> Response:
        colored = self._colorizer.postprocess(*output)
        return Response(image_io.save(colored), media_type="image/jpeg")


if __name__ == "__main__":
    server = litserve.LitServer(
        ColorizerAPI(Path(sys.argv[2])), accelerator="cpu", workers_per_device=1, timeout=False
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
