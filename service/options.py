"""What a client may ask for: the one pydantic type. The worker maps it to the model's own dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from service.errors import Problem

LISTS = frozenset({"artifacts"})
"""Options that take several values: repeated, or with commas between."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, so that one wish has one spelling."""
    return tuple(sorted(set(names)))


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
    format: Annotated[
        Literal["auto", "jpeg", "png", "webp"],
        Field(description="Format of the result; auto: as the photo came, if that can hold it."),
    ] = "auto"
    quality: Annotated[int, Field(ge=1, le=100, description="For the formats that lose, 1 to 100.")] = 92
    artifacts: Annotated[
        tuple[Literal["comparison", "sidecar"], ...],
        Field(
            max_length=8,
            description="What to make beside the result. comparison: a JPEG, gray on the left, color on the "
            "right. sidecar: JSON that says by which net and options the colors were guessed.",
        ),
        AfterValidator(_each_once),
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
            description="Address that hears, signed, how the job ended. Refused where the operator has not "
            "enabled it.",
        ),
    ] = None


def parse(pairs: Iterable[tuple[str, str]]) -> Options:
    """Options from form fields and query parameters; an empty value means the default.

    Raises `option_unknown` or `option_invalid`, with every fault named in one sentence each.
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


def from_json(values: Mapping[str, object]) -> Options:
    """Options from a JSON object. Raises `option_unknown` or `option_invalid`, as `parse` does."""
    for name in values:
        _demand_known(name)
    return _validated(values)


def _demand_known(name: str) -> None:
    if name not in Options.model_fields:
        known = ", ".join(Options.model_fields)
        raise Problem("option_unknown", f"There is no option {name[:40]!r}. The options are: {known}.")


def _validated(values: Mapping[str, object]) -> Options:
    try:
        return Options.model_validate(values)
    except ValidationError as invalid:
        faults = [f"`{fault['loc'][0]}`: {fault['msg']}." for fault in invalid.errors(include_url=False)]
        raise Problem("option_invalid", " ".join(faults)) from invalid
