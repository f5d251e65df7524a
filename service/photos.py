"""A job's photo by the options of its client: opened, at the size that is asked for, as a file where it stays as it came; and what those
say of colors and files, in the model's words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model import hints, image_io, image_metadata, inspection
from model.colorizer import ColorOptions
from model.errors import InputError
from model.hints import Hint
from model.image_headers import Limits
from model.image_io import Photo, SaveOptions
from model.inspection import InspectionOptions
from service.errors import Problem
from service.schemas import PREVIEW, Options


def opened(data: bytes, options: Options, limits: Limits) -> Photo:
    """The photo as it is to be colored, or left (`inspection.is_kept`). Raises PhotoError."""
    photo = image_io.open(data, limits, page=options.page, partial=options.partial)
    wanted = InspectionOptions(options.crop_border, options.if_color, options.negative, options.rotate)
    return inspection.prepare(photo, wanted)


def sized(photo: Photo, options: Options) -> Photo:
    """The photo at the size that is asked for. A preview is made from the copy that is kept, so that it is the same without one."""
    if options.size is None:
        return photo
    return image_io.reduced(image_io.reduced(photo, PREVIEW) if options.is_preview else photo, options.size)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is kept of a photo: a copy with PREVIEW pixels on its longer side, and what the net said of it."""

    photo: Photo
    logits: NDArray[np.float32]

    @classmethod
    def of(cls, photo: Photo, logits: NDArray[np.float32]) -> Preview:
        """Copies alone: what they are parts of, such as a page or the answer to a batch, is not kept with them."""
        small = image_io.reduced(photo, PREVIEW)
        alpha = None if small.alpha is None else small.alpha.copy()
        return cls(replace(small, pixels=small.pixels.copy(), alpha=alpha), logits.copy())

    @property
    def size(self) -> int:
        """Bytes."""
        alpha, record = self.photo.alpha, self.photo.metadata
        texts = sum(len(key) + len(value) for key, value in record.text)
        blocks = sum(map(len, (record.exif, record.xmp, record.iptc, record.comment)))
        pixels = self.photo.pixels.nbytes + (0 if alpha is None else alpha.nbytes)
        return self.logits.nbytes + pixels + blocks + 4 * texts


def refuse_hints_outside(photo: Photo, options: Options) -> None:
    """Raises `place_outside` for a hint on the page around the photograph."""
    try:
        hints.wishes(color_options(options).hints, photo.size, photo.frame)
    except InputError as error:
        raise Problem("place_outside", what=f"{str(error).capitalize()}.") from error


def kept_file(data: bytes, photo: Photo, shown: Photo, options: Options) -> tuple[bytes, str]:
    """The file of a photo that is left as it came, and its format. `shown`: the photo at the size that is asked for.

    The very bytes, unless another size or format, a page, a part or less of the record is wanted, or the file may tell a place that
    it is not to.
    """
    as_it_came = options.format == "auto" and options.page is None and not options.partial
    may_say_all = options.keep_location or not image_metadata.may_have_location(
        data, photo.format, photo.metadata
    )
    if shown is photo and as_it_came and options.keep_metadata and may_say_all:
        return data, photo.format
    saving = replace(save_options(options), disclosure=False, mark=False)  # nothing in it is a guess
    return image_io.save(shown, saving), image_io.saved_format(shown, saving.format)


def color_options(options: Options) -> ColorOptions:
    """What they say of colors."""
    return ColorOptions(
        temperature=options.temperature,
        vividness=options.vividness,
        hints=tuple(Hint(hint.x, hint.y, hint.color, hint.radius) for hint in options.hints),
        boldness=options.boldness,
        palette=options.palette,
        chosen=(options.chosen, options.alternatives) if options.chosen else None,
    )


def save_options(options: Options) -> SaveOptions:
    """What they say of files."""
    return SaveOptions(
        format=None if options.format == "auto" else options.format.upper(),
        quality=options.quality,
        metadata=options.keep_metadata,
        location=options.keep_location,
        disclosure=options.embed_disclosure,
        mark=options.mark,
    )
