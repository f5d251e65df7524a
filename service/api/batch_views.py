"""What a batch looks like from outside: its record, as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from service.api.intake import Batching
from service.batches import Batch, Standing
from service.errors import failure
from service.job import ENDED
from service.schemas import BatchView, ErrorView, FileView, batch_path, job_path, utc


def status_of(batch: Batch, files: list[Standing]) -> Literal["receiving", "running", "ended", "canceled"]:
    """Of the whole."""
    if batch.status == "receiving" or batch.status == "canceled":
        return batch.status
    return "ended" if all(file.status in ENDED for file in files) else "running"


def view_of(batching: Batching, batch: Batch, start: int, limit: int) -> BatchView:
    files = [] if batch.status == "canceled" else batching.batches.files(batch.id)
    root = batching.desk.url("")
    return BatchView(
        id=batch.id,
        status=status_of(batch, files),
        created_at=utc(batch.created),
        expires_at=utc(batch.expires),
        options=batch.options.model_copy(update={"webhook": None}),  # its address may hold a secret
        counts=dict(sorted(Counter(file.status for file in files).items())),
        result_url=f"{root}{batch_path(batch.id)}/result",
        files=[_file_view(file, root) for file in files[start : start + limit]],
        next=str(start + limit) if start + limit < len(files) else None,
    )


def _file_view(file: Standing, root: str) -> FileView:
    error: dict[str, Any] = {"code": file.code, "detail": file.detail or ""}
    return FileView(
        name=file.name,
        job=file.job,
        status=file.status,
        url=f"{root}{job_path(file.job)}" if file.job else None,
        error=ErrorView(**error, title=failure(file.code, None).kind.title) if file.code else None,
    )
