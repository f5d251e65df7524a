"""From a photo's file to the files that are made of it: open → prepare → looks → infer → merge → postprocess → save.

A recipe is all that decides these files' bytes, beside the photo and the net.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from model import cards, confidence, distribution, image_headers, image_io, image_metadata, inspection
from model.alternatives import Alternative
from model.cards import Card, OnnxCard
from model.colorizer import Colorizer, ColorOptions
from model.detail import Detail
from model.errors import InputError, Notice
from model.image_headers import Header, Limits, memory_needed
from model.image_io import Photo, SaveOptions
from model.inspection import InspectionOptions


@dataclass(frozen=True, slots=True)
class Recipe:
    color: ColorOptions = ColorOptions()
    detail: Detail = "off"
    """Whether large photographs are looked at twice."""
    inspection: InspectionOptions = InspectionOptions()
    save: SaveOptions = SaveOptions()
    page: int | Literal["all"] | None = None
    """Of a file with several: its number from 1, or all. None: the one that is the photograph."""
    partial: bool = False
    """Files that are cut off are opened as far as they go."""
    sidecar: bool = False
    """Beside the result, what was done to it as JSON."""
    separate: bool = False
    """Beside the result, its colors without its lightness."""
    alternatives: int = 0
    """At most so many pictures beside the result of what else the photo could have been."""
    confidence: bool = False
    """Beside the result, its lightness, hatched where the net is unsure of the color."""
    distribution: bool = False
    """Beside the result, the net's whole answer."""
    keeps_time: bool = True
    """The results have the photo's own time of modification."""
    limits: Limits = Limits()

    def check(self, card: Card | OnnxCard) -> None:
        """Raises InputError for what a net of this card cannot be asked for."""
        color = {name: getattr(self.color, name) for name in ("hints", "palette", "boldness")}
        beside = {name: getattr(self, name) for name in ("alternatives", "confidence", "distribution")}
        if lacking := cards.lacking(card, [name for name, value in (color | beside).items() if value]):
            why = " and ".join(dict.fromkeys(lacking.values()))
            raise InputError(f"{card.name} has no {' and no '.join(lacking)}: {why}")

    def words(self) -> dict[str, Any]:
        """The options as plain values. Limits do not count: they decide whether, not what.

        Nor do options that are younger, where they are not asked for: what was made before they were options counts as made by the same.
        """
        values = asdict(self)
        del values["limits"]
        for name in ("hints", "boldness", "palette", "chosen"):
            if not values["color"][name]:
                del values["color"][name]
        for name in ("alternatives", "confidence", "distribution"):
            if not values[name]:
                del values[name]
        if self.detail == "off":
            del values["detail"]
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
    """What became of a file. `state` is kept where it is in color already, with all its pages, and was to stay; else colored."""

    outputs: list[Output] = field(default_factory=list)
    state: Literal["colored", "kept"] = "kept"
    notices: tuple[Notice, ...] = ()


def make(
    data: bytes,
    recipe: Recipe,
    colorizer: Callable[[], Colorizer],
    check: Callable[[], None],
    name: str = "",
    threads: int | None = None,
) -> Made:
    """What the recipe makes of a photo's file. Raises PhotoError.

    `colorizer` gives the net, and is asked once the photo is open. `check` is called between the stages, and may raise to give it up.
    `name`: the photo's, for a sidecar. `threads`: 1 beside other photos, None for a photo that is alone.
    """
    made = Made()
    for page in _pages(data, recipe):
        part = f"page {page}" if page is not None and recipe.page == "all" else ""
        opened = image_io.open(data, recipe.limits, page=page, partial=recipe.partial)
        photo = inspection.prepare(opened, recipe.inspection)
        check()
        said: tuple[Notice, ...] = ()
        if inspection.is_kept(photo):
            made.outputs.append(_kept(data, photo, recipe, part))
        else:
            made.state = "colored"
            looks = colorizer().looks(photo, recipe.detail)
            answers = [colorizer().infer([look], threads)[0] for look in looks]
            logits = colorizer().merge(photo, answers, recipe.detail)
            check()
            # The palette once and for all: confidence and distribution are of the colors that the photo gets.
            logits = colorizer().toward(logits, recipe.color.palette)
            moved = replace(recipe, color=replace(recipe.color, palette=()))
            photo = _noticed(photo, logits, colorizer())
            colored = colorizer().postprocess(photo, logits, moved.color, threads)
            outputs = _saved(photo, colored, recipe, part)
            if recipe.alternatives:
                others = colorizer().others(photo, logits, recipe.alternatives, moved.color)
                for rank, other in enumerate(others, 1):
                    check()
                    outputs.append(
                        _saved_other(colorizer().render(photo, other.ab_2hw, threads), rank, recipe, part)
                    )
                said = (_likely(others, recipe),)
            made.outputs += outputs
            made.outputs += _answers(photo, logits, moved, colorizer(), outputs[0].role)
            if recipe.sidecar:
                source = {"name": name, "sha256": hashlib.sha256(data).hexdigest()}
                made.outputs.append(_sidecar(outputs[0], colored, recipe, colorizer(), source))
        made.notices = tuple(dict.fromkeys((*made.notices, *photo.notices, *said)))
    return made


def likely_format(file: IO[bytes], recipe: Recipe) -> str:
    """What the result of a file is probably saved as, by the file's header: to be sure, the photo must be decoded. Raises PhotoError."""
    header = image_headers.probe(file, recipe.limits, None if recipe.page == "all" else recipe.page)
    recipe.limits.check_memory(header, file.seek(0, os.SEEK_END))
    black = np.uint8(0) if header.bits <= 8 else np.uint16(0)
    pixels = np.broadcast_to(black, (header.height, header.width))  # of no memory
    return image_io.saved_format(Photo(pixels, None, header.format), recipe.save.format)


def _pages(data: bytes, recipe: Recipe) -> list[int | None]:
    if recipe.page != "all":
        return [recipe.page]
    pages = image_headers.photographs(data)
    return [*pages] if len(pages) > 1 else [None]


def memory(header: Header, file_bytes: int, recipe: Recipe) -> int:
    """Bytes that it takes at most to make all files of a photo. Alternatives are made one after another, and held as files till the end."""
    pixels, depth = header.width * header.height, 1 if header.bits <= 8 else 2
    one = memory_needed(header, file_bytes, recipe.save.format or "", other=recipe.alternatives > 0)
    return one + recipe.alternatives * pixels * 3 * depth


def _likely(others: Sequence[Alternative], recipe: Recipe) -> Notice:
    """How likely the alternatives are, and why there are fewer than were asked for."""
    shares = ", ".join(f"{other.probability:.0%}" for other in others)
    words = (
        [f"Alternatives and how likely the net holds them, against its first answer: {shares}."]
        if others
        else []
    )
    if len(others) < recipe.alternatives:
        words.append(f"{len(others)} of {recipe.alternatives} alternatives: the net is sure of the rest.")
    return Notice("alternatives", " ".join(words))


def _noticed(photo: Photo, logits_Qhw: NDArray[np.float32], colorizer: Colorizer) -> Photo:
    """With a notice where most of its colors are guesses."""
    notice = confidence.notice(logits_Qhw, colorizer.card)
    return replace(photo, notices=(*photo.notices, notice)) if notice else photo


def _answers(
    photo: Photo, logits_Qhw: NDArray[np.float32], recipe: Recipe, colorizer: Colorizer, role: str
) -> Iterator[Output]:
    """What the recipe asks for of the net's answer itself. Raises InputError for a net that has no such answer."""
    if recipe.confidence:
        ab = colorizer.decode(logits_Qhw, replace(recipe.color, vividness=1.0))
        overlay = confidence.overlay(photo, confidence.of(logits_Qhw, ab, colorizer.card))
        yield Output(f"{role} confidence", overlay, "PNG", beside=role, ending=".confidence.png")
    if recipe.distribution:
        data = distribution.write(logits_Qhw, colorizer.card, photo)
        yield Output(f"{role} distribution", data, beside=role, ending=".distribution")


def _kept(data: bytes, photo: Photo, recipe: Recipe, part: str) -> Output:
    """The file as it is, byte for byte, where the recipe asks for nothing else. Its colors are nobody's guess, and it says so of none."""
    asked = recipe.save
    format = image_io.saved_format(photo, asked.format)
    is_whole = not part and recipe.page is None
    if is_whole and asked.metadata and asked.location and asked.format in (None, photo.format):
        return Output("result", data, photo.format)
    plain = replace(asked, disclosure=False, mark=False)
    return Output(part or "result", image_io.save(photo, plain), format, part)


def _saved(photo: Photo, colored: Photo, recipe: Recipe, part: str) -> list[Output]:
    role = part or "result"
    format = image_io.saved_format(colored, recipe.save.format)
    outputs = [Output(role, image_io.save(colored, recipe.save), format, part)]
    if recipe.separate:
        both = image_io.save_separate(photo, colored, recipe.save)
        before = f"{part}, " if part else ""
        outputs.append(Output(f"{role} gray", both.gray, "TIFF", f"{before}gray"))
        outputs.append(Output(f"{role} color", both.color, "TIFF", f"{before}color layer"))
    return outputs


def _saved_other(picture: Photo, rank: int, recipe: Recipe, part: str) -> Output:
    named = f"{part}, alternative {rank}" if part else f"alternative {rank}"
    format = image_io.saved_format(picture, recipe.save.format)
    return Output(named, image_io.save(picture, recipe.save), format, named)


def _sidecar(
    result: Output, colored: Photo, recipe: Recipe, colorizer: Colorizer, source: Mapping[str, str]
) -> Output:
    sha256 = hashlib.sha256(result.data).hexdigest()
    data = image_metadata.sidecar(
        net={"name": colorizer.name, "sha256": colorizer.sha256},
        options=recipe.words(),
        result={"sha256": sha256, "width": colored.width, "height": colored.height},
        temperature=colorizer.temperature(recipe.color),
        source=source,
        notices=colored.notices,
    )
    return Output(f"{result.role} sidecar", data, beside=result.role, ending=".json")
