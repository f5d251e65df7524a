"""Options, jobs and batches as clients see them, in pydantic. Every door's JSON and the OpenAPI document come from these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, from_json

from service.errors import Problem, failure

if TYPE_CHECKING:
    from service.models import Job  # which holds Options

PREVIEW = 1024
"""Pixels: a result whose longest side is no more is made from a small copy of the photo, which workers keep for a while."""
LISTS = frozenset({"artifacts", "palette"})
"""Options that take several values: repeated, or with commas between."""
MOST_COLORS, MOST_HINTS, MOST_ARTIFACTS = 16, 32, 8
MOST_FAULTS = 8
"""Of options that are told: a list of hints may have a hundred."""

IN_PIECES, OF_AN_ARTIFACT = 1.25, 260
"""Bytes in Redis: of a byte of a long value (`set_fields` in lua/prelude.lua), and of what is said of an artifact."""
_OF_TWO_FILES = frozenset({"confidence", "color_layer"})


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, so that one wish has one spelling."""
    return tuple(sorted(set(names)))


def _number(value: object) -> object:
    """Forms and queries hold text, which `Literal` would not read."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


def _hint_list(value: object) -> object:
    """Forms and queries hold it as JSON."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = from_json(value, allow_inf_nan=False)
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("hints", 'Write a JSON list: [{"x": 0.5, "y": 0.5, "color": "#7a1f2b"}, …]')
    return value


def _no_longer_than(most: int) -> BeforeValidator:
    """Before anything in a list is looked at: each fault in a long one would cost time of the event loop."""

    def checked(value: object) -> object:
        if not isinstance(value, list | tuple):
            raise PydanticCustomError("list", "Write a list")
        if len(value) > most:
            raise PydanticCustomError(
                "list", "There are {count}; {most} are the most", {"count": len(value), "most": most}
            )
        return value

    return BeforeValidator(checked)


def _place(value: float) -> float:
    """To a pixel or two of the largest photo, so that a record of many hints stays small."""
    return round(value, 4)


def _among_alternatives(value: int, info: ValidationInfo) -> int:
    if value > info.data.get("alternatives", 0):
        raise PydanticCustomError("chosen", "Choose the number of one of the `alternatives`")
    return value


class HintOption(BaseModel):
    """A color that a person knows, at a place of the upright photo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="Across, from the left: 0 to 1."),
        AfterValidator(_place),
    ]
    y: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="Down, from the top: 0 to 1."),
        AfterValidator(_place),
    ]
    color: Annotated[
        str,
        Field(
            pattern="^#[0-9a-fA-F]{6}$",
            description="#rrggbb. Its lightness does not count; a gray says that the place has no color.",
        ),
        AfterValidator(str.lower),
    ]
    radius: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            allow_inf_nan=False,
            description="How far around the place the color is sure, in shorter sides of the photo.",
        ),
        AfterValidator(_place),
    ] = 0.0


class Options(BaseModel):
    """Options of one colorization. An option that is not here is refused, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[
        float | None,
        Field(
            ge=0.05,
            le=1,
            allow_inf_nan=False,
            description="How boldly the net decides: low is vivid, high is cautious. Null: the net's own.",
        ),
    ] = None
    vividness: Annotated[
        float,
        Field(ge=0, le=2, allow_inf_nan=False, description="Multiplies the color: 0 is gray, 1 as is."),
    ] = 1.0
    palette: Annotated[
        tuple[Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")], ...],
        Field(
            max_length=MOST_COLORS,
            description="Colors that the photo is known to have somewhere, as #rrggbb: they become likelier, others "
            "less likely.",
        ),
        _no_longer_than(MOST_COLORS),
    ] = ()
    boldness: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="From -1, safer: calm, likely colors, to 1, bolder: rare and vivid ones.",
        ),
    ] = 0.0
    detail: Annotated[
        Literal["off", "auto", "on"],
        Field(
            description="A second, closer look at large photos, for small people and things. on: always; auto: where it is the "
            "surer one. It counts as some megapixels more."
        ),
    ] = "off"
    hints: Annotated[
        tuple[HintOption, ...],
        Field(
            max_length=MOST_HINTS,
            description="What colors are known at places of the photo; what is like them follows. In a form or a query, "
            "the list as JSON.",
        ),
        _no_longer_than(MOST_HINTS),
        BeforeValidator(_hint_list),  # the last comes first
    ] = ()
    alternatives: Annotated[
        int,
        Field(
            ge=0,
            le=4,
            description="At most so many pictures beside the result of what else the photo could have been: artifacts of "
            "the kind `alternative`.",
        ),
    ] = 0
    chosen: Annotated[
        int,
        Field(
            ge=0,
            le=4,
            description="The result is the alternative of this rank, among so many `alternatives`, which are then not made beside "
            "it; 0: the net's first answer.",
        ),
        AfterValidator(_among_alternatives),
    ] = 0
    format: Annotated[
        Literal["auto", "jpeg", "png", "tiff", "webp", "avif"],
        Field(description="Format of the result; auto: as the photo came, if that can hold it."),
    ] = "auto"
    bits: Annotated[
        Literal[16] | None,
        BeforeValidator(_number),
        Field(
            description="16: so many a channel in a PNG or TIFF, also where the photo has 8; with `format=auto` a JPEG becomes a TIFF. "
            "Null: as many as the photo has."
        ),
    ] = None
    size: Annotated[
        int | None,
        Field(
            ge=64,
            le=65_535,
            description="Longest side of the result in pixels, for a preview. Null: as large as the photo; never larger.",
        ),
    ] = None
    quality: Annotated[int, Field(ge=1, le=100, description="For the formats that lose, 1 to 100.")] = 92
    if_color: Annotated[
        Literal["colorize", "keep", "refuse"],
        Field(
            description="What to do with a photo that is in color already. colorize: guess new colors; a notice "
            "says so. keep: give the photo back in its own. refuse: fail with `photo_in_color`."
        ),
    ] = "colorize"
    negative: Annotated[
        bool, Field(description="The photo is a negative: turn it into a positive, and color that.")
    ] = False
    rotate: Annotated[
        Literal[0, 90, 180, 270],
        BeforeValidator(_number),
        Field(description="Degrees by which to turn the photo clockwise before it is colored."),
    ] = 0
    crop_border: Annotated[
        bool,
        Field(
            description="Cut off the mount or page around the photograph. Without it that stays, and stays gray."
        ),
    ] = False
    page: Annotated[
        int | None,
        Field(ge=1, description="Which page of a TIFF that has several. Null: the photograph among them."),
    ] = None
    partial: Annotated[
        bool,
        Field(
            description="Take a file that is cut off: what is there is colored, the rest is gray. Otherwise it is "
            "refused with `photo_damaged`."
        ),
    ] = False
    keep_metadata: Annotated[
        bool, Field(description="Keep what the file says beside the picture: EXIF, XMP, IPTC, comments.")
    ] = True
    keep_location: Annotated[
        bool, Field(description="Of that, keep where the photo was taken (GPS) as well.")
    ] = False
    embed_disclosure: Annotated[
        bool,
        Field(
            description="Write into the file that its colors are guessed (IPTC Digital Source Type and a sentence)."
        ),
    ] = True
    mark: Annotated[
        bool, Field(description="Draw a small mark in a corner, which says that the colors are guessed.")
    ] = False
    artifacts: Annotated[
        tuple[
            Literal[
                "comparison",
                "sidecar",
                "confidence",
                "distribution",
                "suggestions",
                "thumbnail",
                "color_layer",
            ],
            ...,
        ],
        Field(
            max_length=MOST_ARTIFACTS,
            description="What to make beside the result. comparison: a JPEG, gray on the left, color on the "
            "right. sidecar: JSON that says by which net and options the colors were guessed. confidence: how sure the net "
            "is where, as a picture and as numbers. distribution: its whole answer. suggestions: the likeliest colors of each "
            "place, as JSON. thumbnail: a JPEG of 384 pixels at most, in color, for lists. color_layer: the untouched gray photo and the "
            "color as a layer over it, two TIFF files: artifacts `gray` and `color_layer`.",
        ),
        AfterValidator(_each_once),
        _no_longer_than(MOST_ARTIFACTS),
    ] = ()
    keep_for: Annotated[
        float | None,
        Field(
            ge=1,
            allow_inf_nan=False,
            description="Seconds until photo, result and record are erased. Null: the server's own time, "
            "which also has a longest.",
        ),
    ] = None
    priority: Annotated[
        Literal["interactive", "batch"],
        Field(description="interactive: somebody waits for it. batch: lets those go first."),
    ] = "interactive"
    webhook: Annotated[
        str | None,
        Field(
            max_length=2048,
            description="Address that is notified, signed, how the job ended. Refused where the operator has not "
            "enabled it.",
        ),
    ] = None

    @property
    def beside(self) -> int:
        """How many alternatives are made beside the result, at most."""
        return 0 if self.chosen else self.alternatives

    @property
    def is_preview(self) -> bool:
        """Whether a small copy of the photo is enough for the result."""
        return self.size is not None and self.size <= PREVIEW

    @property
    def record_bytes(self) -> int:
        """What the record of a job takes in Redis by these options: they themselves, in pieces, and what is said of each artifact."""
        files = self.beside + len(self.artifacts) + len(_OF_TWO_FILES.intersection(self.artifacts))
        return int(IN_PIECES * (len(self.short_json().encode()) - len("{}"))) + OF_AN_ARTIFACT * files

    def short_json(self) -> str:
        """As it is kept in records: without what is as by default."""
        return self.model_dump_json(exclude_defaults=True)


def parse_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Options from form fields and query parameters; an empty value means the default.

    Raises `option_unknown` or `option_invalid`, with each of the first MOST_FAULTS faults named in a sentence.
    """
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        _demand_known(name)
        if name in LISTS:
            values[name] = [
                *values.get(name, []),
                *(part.strip() for part in value.split(",") if part.strip()),
            ]
            continue
        if name in values:
            raise Problem("option_invalid", f"The option `{name}` is given twice. Give it once.")
        if value != "":
            values[name] = value
    return _validated(values)


def options_from_json(values: Mapping[str, object]) -> Options:
    """Options from a JSON object; null means the default. Raises `option_unknown` or `option_invalid`, as `parse_options` does."""
    for name in values:
        _demand_known(name)
    return _validated({name: value for name, value in values.items() if value is not None})


def _demand_known(name: str) -> None:
    if name not in Options.model_fields:
        known = ", ".join(Options.model_fields)
        raise Problem("option_unknown", f"There is no option {name[:40]!r}. The options are: {known}.")


def _validated(values: Mapping[str, object]) -> Options:
    try:
        return Options.model_validate(values)
    except ValidationError as invalid:
        faults = [
            f"`{_spot(fault['loc'])}`: {fault['msg']}."
            for fault in invalid.errors(include_url=False)[:MOST_FAULTS]
        ]
        raise Problem("option_invalid", " ".join(faults)) from invalid


def _spot(path: tuple[int | str, ...]) -> str:
    """Where a fault is, as in `hints[2].color`."""
    name, *rest = path
    return str(name) + "".join(f"[{part}]" if isinstance(part, int) else f".{part[:40]}" for part in rest)


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
    kind: str = Field(
        description="alternative, comparison, sidecar, confidence, distribution, suggestions, thumbnail, gray or color_layer"
    )
    url: str
    media_type: str
    bytes: int
    rank: int | None = Field(description="Of an alternative: 1, the likeliest, and so on. Null of others")
    probability: float | None = Field(
        description="Of an alternative: how likely the net holds its color against the result's, 0 to 1, where the two differ "
        "most. Null of others"
    )


class SuggestionView(BaseModel):
    color: str = Field(
        description="#rrggbb, as a hint takes it: of the lightness of the photo there, or the nearest that has this color"
    )
    a: float = Field(description="CIE Lab")
    b: float
    probability: float = Field(description="0 to 1, by the net")


class NoticeView(BaseModel):
    code: str = Field(description="Stable, for programs")
    detail: str = Field(description="A sentence or two, for people")


class ErrorView(BaseModel):
    code: str
    title: str
    detail: str


class JobView(BaseModel):
    """One colorization."""

    id: str
    status: str = Field(description="queued, running, succeeded, failed or canceled")
    revises: str | None = Field(
        description="Id of the job whose photo this one colors anew, with which it is erased"
    )
    created_at: datetime
    expires_at: datetime = Field(description="When photo, result and record are erased")
    queue_position: int | None = Field(description="1: the next in line")
    eta_s: float | None = Field(
        description="Seconds until it will probably be done, by what the workers did in the last minute"
    )
    timings: dict[str, float] = Field(
        description="Seconds of open, preprocess, infer, postprocess and save, each there when it has ended"
    )
    options: Options = Field(description="As they were asked for, but for the address of a webhook")
    net: NetView | None
    result: ResultView | None
    artifacts: list[ArtifactView] = Field(description="What was made beside the result")
    notices: list[NoticeView] = Field(
        description="What a person should know of the picture, although the photo was colored"
    )
    error: ErrorView | None


class CreatedJobView(JobView):
    """The answer to POST and PUT: the only one with the secret."""

    secret: str | None = Field(
        description="Lets its holder erase the job. Null where it was made before and nothing shows that its sender made it: "
        "neither its API key, nor its Idempotency-Key, nor the secret itself"
    )


class FileView(BaseModel):
    name: str = Field(description="As it was sent")
    job: str | None = Field(description="Id of its colorization, once it is queued")
    status: str = Field(description="waiting, queued, running, succeeded, failed, canceled or expired")
    url: str | None = Field(description="Of its colorization")
    thumbnail: str | None = Field(
        description="Address of its thumbnail, where one was asked for and is there"
    )
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

    secret: str | None = Field(
        description="Lets its holder erase the batch. Null to an API key where the batch has a secret of its sender's own"
    )


def job_view(job: Job, base_url: str) -> JobView:
    """`base_url`: before the path of each address; empty for addresses relative to the server."""
    return JobView(
        id=job.id,
        status=job.status,
        revises=job.revises or None,
        created_at=utc(job.created),
        expires_at=utc(job.expires),
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
                rank=made.rank,
                probability=made.probability,
            )
            for made in job.artifacts
        ],
        notices=[NoticeView(code=notice.code, detail=notice.detail) for notice in job.notices],
        error=ErrorView(
            code=job.error_code, title=failure(job.error_code, None).kind.title, detail=job.error_detail or ""
        )
        if job.error_code
        else None,
    )


def job_path(id: str) -> str:
    return f"/v1/colorizations/{id}"


def utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def batch_path(id: str) -> str:
    return f"/v1/batches/{id}"
