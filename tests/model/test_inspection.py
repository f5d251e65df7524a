"""What is seen of a photo before it is colored, and what is done about it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from model import inspection
from model.errors import InputError, PhotoError
from model.image_io import Photo
from model.inspection import InspectionOptions, prepare

COLORED = ("astronaut", "coffee", "chelsea", "rocket")


def color(name: str) -> Photo:
    return Photo(getattr(data, name)(), None, "PNG")


def gray(name: str) -> NDArray[np.uint8]:
    return getattr(data, name)().mean(-1).astype(np.uint8)


def codes(photo: Photo) -> list[str]:
    return [notice.code for notice in photo.notices]


@pytest.mark.parametrize("name", COLORED)
def test_a_photograph_in_color_is_noticed(name: str) -> None:
    assert inspection.is_in_color(color(name))
    assert codes(prepare(color(name))) == ["photo_in_color"]


def test_a_photograph_in_color_is_refused_or_kept_as_asked() -> None:
    with pytest.raises(PhotoError) as refused:
        prepare(color("coffee"), InspectionOptions(if_color="refuse"))
    assert refused.value.code == "photo_in_color"

    photo = color("coffee")
    kept = prepare(photo, InspectionOptions(if_color="keep", rotate=90, crop_border=True))
    assert inspection.is_kept(kept)
    assert kept.pixels is photo.pixels
    assert not inspection.is_kept(
        prepare(Photo(gray("coffee"), None, "PNG"), InspectionOptions(if_color="keep"))
    )


@pytest.mark.parametrize("options", [{"if_color": "drop"}, {"rotate": 45}])
def test_other_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        InspectionOptions(**options)
