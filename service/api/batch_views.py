"""What a batch looks like from outside: its record, as JSON."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.api.intake import Batching
from service.batches import Batch, Standing
from service.errors import failure
from service.jobs import ENDED
from service.options import Options
from service.views import ErrorView, job_path


class FileView(BaseModel):
    name: str = Field(description="As it was sent")
    job: str | None = Field(description="Id of its colorization, once it is queued")
    status: str = Field(description="waiting, queued, running, succeeded, failed, canceled or expired")
    url: str | None = Field(description="Of its colorization")
    error: ErrorView | None


class BatchView(BaseModel):
    """Many colorizations."""

    id: str
    status: str = Field(
        description="receiving: the upload has not come to its end; running; ended: nothing more will happen; canceled"
    )
    created_at: datetime
    expires_at: datetime = Field(description="When photos, results and record are erased")
    options: Options = Field(description="Of each photo, but for the address of a webhook")
    counts: dict[str, int] = Field(description="How many files have each status")
    result_url: str = Field(description="A ZIP of the colored photos")
    files: list[FileView]
    next: str | None = Field(description="The `cursor` of the files that follow, where there are more")


class CreatedBatchView(BatchView):
    """The answer to POST and PUT: the only one with the secret."""

    secret: str = Field(description="Lets its holder erase the batch.")


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
        created_at=datetime.fromtimestamp(batch.created / 1000, tz=UTC),
        expires_at=datetime.fromtimestamp(batch.expires / 1000, tz=UTC),
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


def batch_path(id: str) -> str:
    return f"/v1/batches/{id}"
