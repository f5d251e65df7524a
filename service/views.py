"""What a job looks like from outside: its record, as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from service.errors import failure
from service.jobs import Job
from service.options import Options


class NetView(BaseModel):
    name: str
    sha256: str = Field(description="Of the file with its weights")


class ResultView(BaseModel):
    url: str
    width: int
    height: int
    media_type: str


class ArtifactView(BaseModel):
    name: str
    kind: str = Field(description="comparison or sidecar")
    url: str
    media_type: str
    bytes: int


class ErrorView(BaseModel):
    code: str
    title: str
    detail: str


class JobView(BaseModel):
    """One colorization."""

    id: str
    status: str = Field(description="queued, running, succeeded, failed or canceled")
    created_at: datetime
    expires_at: datetime = Field(description="When photo, result and record are erased")
    queue_position: int | None = Field(description="1: the next in line")
    eta_s: float | None = Field(
        description="Seconds until it will probably be done, by what the workers did in the last minute"
    )
    timings: dict[str, float] = Field(
        description="Seconds of open, prepare, infer, finish and save, each there when it has ended"
    )
    options: Options = Field(description="As they were asked for, but for the address of a webhook")
    net: NetView | None
    result: ResultView | None
    artifacts: list[ArtifactView] = Field(description="What was made beside the result")
    error: ErrorView | None


class CreatedJobView(JobView):
    """The answer to POST and PUT: the only one with the secret."""

    secret: str = Field(description="Lets its holder erase the job.")


def job_view(job: Job, base_url: str) -> JobView:
    return JobView(
        id=job.id,
        status=job.status,
        created_at=_time(job.created),
        expires_at=_time(job.expires),
        queue_position=job.queue_position,
        timings=job.timings,
        eta_s=job.eta_s,
        options=job.options.model_copy(update={"webhook": None}),  # its address may hold a secret
        net=NetView(name=job.net.name, sha256=job.net.sha256) if job.net else None,
        result=ResultView(
            url=f"{base_url}{job_path(job.id)}/result",
            width=job.result.width,
            height=job.result.height,
            media_type=job.result.media_type,
        )
        if job.result
        else None,
        artifacts=[
            ArtifactView(
                name=made.name,
                kind=made.kind,
                url=f"{base_url}{job_path(job.id)}/artifacts/{made.name}",
                media_type=made.media_type,
                bytes=made.bytes,
            )
            for made in job.artifacts
        ],
        error=ErrorView(
            code=job.error_code, title=failure(job.error_code, None).kind.title, detail=job.error_detail or ""
        )
        if job.error_code
        else None,
    )


def job_path(id: str) -> str:
    return f"/v1/colorizations/{id}"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
