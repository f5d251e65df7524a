"""The results of a batch as one ZIP, written as it is sent: pictures, what was made beside them, and a table of all photos."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, get_args
from urllib.parse import parse_qsl

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from service.api.batches import OF_A_BATCH, ZIP_TYPES, find, status_of
from service.api.middleware import PHOTO_POLICY, is_head
from service.api.problems import documented
from service.api.results import BYTES, sent_as
from service.api.state import ApiState, State, is_id
from service.api.uploads import small_body
from service.archives import Names, pack
from service.batches import Batch, Standing
from service.errors import Problem
from service.models import Artifact, ArtifactKind, Job
from service.schemas import utc

PICTURES, TABLE = "result", "csv"
CONTENTS = (PICTURES, TABLE, *get_args(ArtifactKind))
LISTED = f"^({'|'.join(CONTENTS)})(,({'|'.join(CONTENTS)}))*$"
TABLE_NAME = "photos.csv"
COLUMNS = (
    *(
        "place",
        "name",
        "status",
        "accepted",
        "file",
        "width",
        "height",
        "job",
        "net",
        "net_sha256",
        "notices",
    ),
    *("error", "error_detail"),
)
MOST_FORM = 2**17
"""Bytes of what is decided of photos: an id is 32 of them, and 1,000 photos are the most by default."""
_PARTS = {"gray": "gray", "color_layer": "color layer"}
"""Artifacts that are called as the command line calls them."""
_RISKY = ("=", "+", "-", "@", "\t", "\r")
"""What a cell of a table must not begin with: spreadsheets would compute it."""

router = APIRouter()

_ZIP = {
    200: {
        "content": {"application/zip": BYTES},
        "description": "Written as it is sent; not compressed",
    },
    **documented(*("not_ready", "canceled", "option_invalid", "store_unavailable"), *OF_A_BATCH),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be in the ZIP. Places are those of photos in the batch, from 0."""

    contents: frozenset[str] = frozenset({PICTURES})
    accepted: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    redone: Mapping[int, str] = field(default_factory=dict)
    """Place → id of the job whose picture stands there instead."""
    only_accepted: bool = False
    without_rejected: bool = False

    def takes(self, place: int) -> bool:
        if self.only_accepted:
            return place in self.accepted
        return not (self.without_rejected and place in self.rejected)


Partial = Annotated[bool, Query(description="Whatever is ready, without waiting for the end")]
Contents = Annotated[
    str,
    Query(
        description="What it holds, with commas between. result: the pictures. csv: a table of all photos, `photos.csv`. And the kinds "
        "of artifacts, which were asked for with the batch: sidecar, comparison, gray, color_layer …",
        json_schema_extra={"pattern": LISTED},
    ),
]


@router.get(
    "/v1/batches/{id}/result",
    summary="The colored photos as a ZIP, under the names that were sent, made safe",
    operation_id="read_batch_result",
    response_class=Response,
    responses=_ZIP,
)
def result(
    id: str, request: Request, state: State, partial: Partial = False, contents: Contents = PICTURES
) -> Response:
    return _archive(id, request, state, partial, Choice(_contents(contents)))


@router.post(
    "/v1/batches/{id}/result",
    summary="The same ZIP by what was decided of each photo",
    operation_id="choose_batch_result",
    response_class=Response,
    responses={**_ZIP, **documented("form_invalid", "unsupported_media_type")},
)
async def chosen(id: str, request: Request, state: State) -> Response:
    """A form, so that a page can send it and a browser saves the answer as it comes."""
    fields = await _form(request)
    choice = await run_sync(_choice, fields)
    return await run_sync(_archive, id, request, state, _is_said(fields, "partial"), choice)


def _archive(id: str, request: Request, state: ApiState, partial: bool, choice: Choice) -> Response:
    batch = find(state, id)
    if batch.status == "canceled":
        raise Problem("canceled")
    if not partial and status_of(batch, state.batches.files(id, most=1)) != "ended":
        raise Problem("not_ready", "The batch has not ended. Ask again later, or for `?partial=true`.")
    headers = {
        "Content-Disposition": f'attachment; filename="autochrome-album-{utc(batch.created):%Y-%m-%d}.zip"',
        "Content-Security-Policy": PHOTO_POLICY,
        "Cache-Control": "no-store",
    }
    sent = sent_as(ZIP_TYPES[0], request, headers)
    if is_head(request):
        return Response(headers=headers, media_type=sent)
    return StreamingResponse(pack(_members(state, batch, choice)), headers=headers, media_type=sent)


def _members(
    state: ApiState, batch: Batch, choice: Choice
) -> Iterator[tuple[str, datetime, Iterator[bytes]]]:
    """Names for the ZIP, when each was made, and the files piece by piece, the table last.

    A picture that was erased meanwhile is left out.
    """
    names, rows, latest = Names(), [], batch.created
    if TABLE in choice.contents:
        names.near(TABLE_NAME)
    for place, file in enumerate(state.batches.all_files(batch.id)):
        job = _job(state, file, choice.redone.get(place))
        named = ""
        if job is not None and choice.takes(place):
            ended = job.completed or job.created
            latest = max(latest, ended)
            for key, name, is_sidecar in _files(names, file.name, job, choice.contents):
                try:
                    pieces = state.store.stream(key)
                    yield name, utc(ended), _of_source(file.name, pieces) if is_sidecar else pieces
                except FileNotFoundError:
                    continue
                named = named or name
        rows.append(_row(place, file, job, choice, named))
    if TABLE in choice.contents:
        yield TABLE_NAME, utc(latest), iter([_table(rows)])


def _job(state: ApiState, file: Standing, redone: str | None) -> Job | None:
    """The job whose picture stands for a file, where it has one."""
    id = redone or (file.job if file.status == "succeeded" else None)
    job = state.jobs.get(id) if id else None
    return job if job is not None and job.status == "succeeded" and job.result is not None else None


def _of_source(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A sidecar that says which file its photo was: the batch alone knows its name."""
    said = json.loads(b"".join(pieces))
    said["source"] = {"name": name, **(said.get("source") or {})}
    yield (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode(errors="replace")


def _files(names: Names, sent: str, job: Job, contents: frozenset[str]) -> Iterator[tuple[str, str, bool]]:
    """Key in the store and name in the ZIP of each file of a job, and whether it is the sidecar."""
    assert job.result is not None
    picture = PurePosixPath(names.take(sent, _extension(job.result.key)))
    if PICTURES in contents:
        yield job.result.key, str(picture), False
    for made in job.artifacts:
        if made.kind in contents:
            name = names.near(str(picture.with_name(_beside(picture, made))))
            yield made.key, name, made.kind == "sidecar"


def _beside(picture: PurePosixPath, made: Artifact) -> str:
    """`a.jpg.json` for the sidecar of `a.jpg`, `a (gray).tif` for what is a picture itself."""
    if made.kind == "sidecar":
        return f"{picture.name}.json"
    part = _PARTS.get(made.name, made.name.replace("-", " "))
    return f"{picture.stem} ({part}){_extension(made.key)}"


def _extension(key: str) -> str:
    return "." + key.rpartition(".")[2]


def _row(place: int, file: Standing, job: Job | None, choice: Choice, named: str) -> list[str]:
    verdict = "yes" if place in choice.accepted else "no" if place in choice.rejected else ""
    size = [str(job.result.width), str(job.result.height)] if job and job.result else ["", ""]
    net = [job.net.name, job.net.sha256] if job and job.net else ["", ""]
    notices = " ".join(notice.code for notice in job.notices) if job else ""
    error = ["", ""] if job else [file.code or "", file.detail or ""]
    status = job.status if job else file.status
    about = [str(place), file.name, status, verdict, named, *size, job.id if job else file.job or "", *net]
    return [*about, notices, *error]


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    """As CSV in UTF-8 with a byte order mark, without which spreadsheets guess another encoding."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([f"'{cell}" if cell.startswith(_RISKY) else cell for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig", errors="replace")


async def _form(request: Request) -> dict[str, str]:
    """Raises `form_invalid` or `unsupported_media_type`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/x-www-form-urlencoded"):
        raise Problem("unsupported_media_type", "Send the form as application/x-www-form-urlencoded.")
    body = await small_body(
        request, MOST_FORM, Problem("form_invalid", f"The form has more than {MOST_FORM // 1024} KiB.")
    )
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=16))
    except ValueError as error:
        raise Problem("form_invalid") from error


def _choice(fields: Mapping[str, str]) -> Choice:
    """Raises `option_unknown` or `option_invalid`."""
    known = ("contents", "partial", "only_accepted", "without_rejected", "accepted", "rejected", "redone")
    for name in fields:
        if name not in known:
            raise Problem(
                "option_unknown", f"There is no field {name[:40]!r}. There are: {', '.join(known)}."
            )
    redone = [pair.partition(":") for pair in _listed(fields.get("redone", ""))]
    if not all(is_id(id) for _, _, id in redone):
        raise Problem("option_invalid", "`redone`: write PLACE:ID, with commas between.")
    return Choice(
        contents=_contents(fields.get("contents", PICTURES)),
        accepted=_places("accepted", _listed(fields.get("accepted", ""))),
        rejected=_places("rejected", _listed(fields.get("rejected", ""))),
        redone={next(iter(_places("redone", [place]))): id for place, _, id in redone},
        only_accepted=_is_said(fields, "only_accepted"),
        without_rejected=_is_said(fields, "without_rejected"),
    )


def _contents(text: str) -> frozenset[str]:
    asked = _listed(text)
    unknown = [name for name in asked if name not in CONTENTS]
    if unknown or not asked:
        raise Problem("option_invalid", f"`contents`: some of {', '.join(CONTENTS)}, with commas between.")
    return frozenset(asked)


def _places(name: str, texts: Sequence[str]) -> frozenset[int]:
    if not all(text.isascii() and text.isdecimal() and len(text) <= 6 for text in texts):
        raise Problem(
            "option_invalid", f"`{name}`: places of photos in the batch, from 0, with commas between."
        )
    return frozenset(map(int, texts))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_said(fields: Mapping[str, str], name: str) -> bool:
    """Raises `option_invalid`."""
    said = fields.get(name, "false").lower()
    if said not in ("true", "false", "on"):
        raise Problem("option_invalid", f"`{name}`: true or false.")
    return said != "false"
