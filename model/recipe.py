"""From a photo's file to the files that are made of it: open → look → preprocess → infer → postprocess → save.

A recipe is all that decides these files' bytes, beside the photo and the net.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal

from model import image_io
from model.colorizer import Colorizer, ColorOptions
from model.errors import Notice
from model.image_headers import Limits, probe
from model.image_io import Photo, SaveOptions

if TYPE_CHECKING:
    from model.inspection import InspectionOptions  # type: ignore[import-not-found]


@dataclass(frozen=True, slots=True)
class Recipe:
    color: ColorOptions = ColorOptions()
    inspection: InspectionOptions | None = None
    save: SaveOptions = SaveOptions()
    page: int | Literal["all"] | None = None
    """Of a file with several: its number from 1, or all. None: the one that is the photograph."""
    partial: bool = False
    """Files that are cut off are opened as far as they go."""
    sidecar: bool = False
    """Beside the result, what was done to it as JSON."""
    separate: bool = False
    """Beside the result, its colors without its lightness."""
    keeps_time: bool = True
    """The results have the photo's own time of modification."""
    limits: Limits = Limits()

    def words(self) -> dict[str, Any]:
        """The options as plain values. Limits do not count: they decide whether, not what."""
        values = asdict(self)
        del values["limits"]
        return values


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be written: a picture of a format, by Pillow's names; or what stands beside another output."""

    role: str
    """`result`, `page 2`, `sidecar`: stable, by it a later run finds the file again."""
    data: bytes
    format: str = ""
    part: str = ""
    """Goes into the name, before the ending."""
    beside: str = ""
    """The role of the output whose name this one's begins with, and `ending` what follows that."""
    ending: str = ""


@dataclass(slots=True)
class Made:
    """What became of a file. `state` is colored, or kept where it is in color already and was to stay."""

    outputs: list[Output] = field(default_factory=list)
    state: Literal["colored", "kept"] = "colored"
    notices: tuple[Notice, ...] = ()


def make(data: bytes, recipe: Recipe, colorizer: Callable[[], Colorizer], check: Callable[[], None]) -> Made:
    """What the recipe makes of a photo's file. Raises PhotoError.

    `colorizer` gives the net, and is asked once the photo is open. `check` is called between the stages, and may raise to give it up.
    """
    made = Made()
    for page in _pages(data, recipe):
        photo = _open(data, recipe, page)
        check()
        photo, in_color = _look(photo, recipe)
        part = f"page {page}" if page is not None and recipe.page == "all" else ""
        result_role = part or "result"
        if in_color:
            made.state = "kept"
            made.outputs.append(_kept(data, photo, recipe, result_role, part))
        else:
            colored = _colored(photo, recipe, colorizer(), check)
            made.outputs += _saved(colored, recipe, result_role, part)
        made.notices += photo.notices
    return made


def likely_format(file: bytes | IO[bytes], recipe: Recipe) -> str:
    """What the result of a file is probably saved as, by the file's header: to be sure, the photo must be decoded."""
    import numpy as np

    header = probe(file, recipe.limits)
    pixels = np.broadcast_to(np.uint8(0), (header.height, header.width))
    return image_io.saved_format(Photo(pixels, None, header.format), recipe.save.format)


def _open(data: bytes, recipe: Recipe, page: int | None) -> Photo:
    asked: dict[str, Any] = {}
    if page is not None:
        asked["page"] = page
    if recipe.partial:
        asked["partial"] = True
    return image_io.open(data, recipe.limits, **asked)


def _pages(data: bytes, recipe: Recipe) -> list[int | None]:
    if recipe.page != "all":
        return [recipe.page]
    count = getattr(image_io, "pages", lambda data: 1)(data)
    return [*range(1, count + 1)] if count > 1 else [None]


def _look(photo: Photo, recipe: Recipe) -> tuple[Photo, bool]:
    """The photo turned, cropped and inverted as the recipe asks; whether it is in color already, and is to stay."""
    return photo, False


def _colored(photo: Photo, recipe: Recipe, colorizer: Colorizer, check: Callable[[], None]) -> Photo:
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    check()
    return colorizer.postprocess(photo, logits, recipe.color)


def _kept(data: bytes, photo: Photo, recipe: Recipe, role: str, part: str) -> Output:
    """The file as it is, byte for byte, where the recipe asks for nothing else. Its colors are nobody's guess, and it says so of none."""
    if recipe.save == SaveOptions() and not part:
        return Output(role, data, photo.format, part)
    return Output(
        role, image_io.save(photo, recipe.save), image_io.saved_format(photo, recipe.save.format), part
    )


def _saved(colored: Photo, recipe: Recipe, role: str, part: str) -> list[Output]:
    format = image_io.saved_format(colored, recipe.save.format)
    return [Output(role, image_io.save(colored, recipe.save), format, part)]
