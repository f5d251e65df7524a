"""Jobs as they stand, and their end; which nets there are; what a problem means."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from service import errors
from service.api.callers import AnyCaller
from service.api.desk import AtDesk, retry_after
from service.api.problems import ProblemKind, documented
from service.errors import Problem
from service.jobs import ENDED
from service.views import JobView, NetView, job_view

router = APIRouter()

_AT_ANY_TIME: tuple[str, ...] = ("queue_unavailable", "internal_error")
_OF_A_JOB: tuple[str, ...] = ("not_found", "expired", *_AT_ANY_TIME)


@router.get(
    "/v1/colorizations/{id}",
    summary="How a job stands",
    operation_id="read_colorization",
    response_model=JobView,
    responses=documented(*_OF_A_JOB),
)
def read(id: str, desk: AtDesk, response: Response) -> JobView:
    job = desk.find(id)
    response.headers["Cache-Control"] = "no-store"
    if job.status not in ENDED:
        response.headers["Retry-After"] = retry_after(job)
    return job_view(job, desk.url(""))


@router.delete(
    "/v1/colorizations/{id}",
    summary="Erase a job, its photo and its result, whether it waits, runs or has ended",
    operation_id="erase_colorization",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Erased; the id answers `canceled` until `expires_at`"},
        **documented("secret_missing", "key_invalid", "secret_wrong", "store_unavailable", *_OF_A_JOB),
    },
)
def erase(
    id: str,
    desk: AtDesk,
    by: AnyCaller,
    authorization: Annotated[
        str | None, Header(description="`Bearer` and the job's secret, or the API key that made the job")
    ] = None,
) -> Response:
    job = desk.find(id)
    if not by.owner or by.owner != job.owner:
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Problem("secret_missing")
        if not job.is_opened_by(secret.strip()):
            raise Problem("secret_wrong")
    desk.erase(job)
    return Response(status_code=204)


@router.get(
    "/v1/nets",
    summary="The networks that workers have loaded",
    operation_id="list_nets",
    response_model=list[NetView],
    responses=documented(*_AT_ANY_TIME),
)
def nets(desk: AtDesk) -> list[NetView]:
    loaded = sorted({(net.name, net.sha256) for net in desk.jobs.workers().values()})
    return [NetView(name=name, sha256=sha256) for name, sha256 in loaded]


@router.get(
    "/problems/{code}",
    summary="What a problem's `type` means",
    operation_id="read_problem",
    response_model=ProblemKind,
    responses=documented("not_found"),
)
async def problem(code: str) -> ProblemKind:
    kind = errors.KINDS.get(code)
    if kind is None:
        raise Problem("not_found")
    return ProblemKind(code=code, status=kind.status, title=kind.title, advice=kind.advice)
