"""The photograph on its page: on pages that are made, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from model import borders
from model.borders import Box

NAMES = ("astronaut", "coffee", "chelsea", "rocket", "camera")


def thumbnail(name: str) -> Image.Image:
    image = Image.fromarray(getattr(data, name)()).convert("L")
    image.thumbnail((260, 260), Image.Resampling.BOX)
    return image


def mounted(photo: Image.Image, tone: int, margin: int = 30) -> tuple[Image.Image, Box]:
    page = Image.new("L", (photo.width + 2 * margin, photo.height + 2 * margin), tone)
    page.paste(photo, (margin, margin))
    return page, (margin, margin, margin + photo.height, margin + photo.width)


def near(found: Box | None, box: Box, most: int = 3) -> bool:
    return found is not None and max(abs(one - other) for one, other in zip(found, box, strict=True)) <= most


def find(image: Image.Image) -> Box | None:
    return borders.find(np.asarray(image))


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_that_fills_its_page_has_no_border(name: str) -> None:
    for turned in (0, 90, 180, 270):
        assert find(thumbnail(name).rotate(turned, expand=True)) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("angle", [-2, 1])
def test_a_photograph_aslant_on_grainy_paper(name: str, angle: int) -> None:
    page, box = mounted(thumbnail(name), 0, 40)
    mask = Image.new("L", page.size)
    mask.paste(255, (box[1], box[0], box[3], box[2]))
    paper = Image.fromarray(np.random.default_rng(0).normal(235, 3, page.size[::-1]).astype(np.uint8))
    paper.paste(page.rotate(angle, Image.Resampling.BICUBIC), mask=mask.rotate(angle))
    assert near(find(paper), box, 5)


@pytest.mark.parametrize(("album", "paper"), [(20, 250), (150, 235), (255, 30)])
def test_the_border_of_a_print_on_an_album_page(album: int, paper: int) -> None:
    inner, box = mounted(thumbnail("astronaut"), paper, 14)
    page, outer = mounted(inner, album, 25)
    assert near(find(page), (box[0] + 25, box[1] + 25, box[2] + 25, box[3] + 25))
    assert not near(find(page), outer)


def test_a_caption_below_is_no_part_of_the_photograph() -> None:
    page, box = mounted(thumbnail("coffee"), 245, 30)
    ImageDraw.Draw(page).text(
        (40, page.height - 24), "Our first coffee, 1931", 40, ImageFont.load_default(14)
    )
    assert near(find(page), box)


def test_bars_on_two_sides() -> None:
    photo = np.asarray(thumbnail("coffee"))
    assert near(
        find(Image.fromarray(np.pad(photo, ((25, 25), (0, 0))))), (25, 0, 25 + photo.shape[0], photo.shape[1])
    )


def sky_over_sea(shape: tuple[int, int] = (200, 260)) -> NDArray[np.uint8]:
    waves = np.random.default_rng(0).normal(90, 25, shape).clip(0, 255)
    waves[: shape[0] // 2] = 250
    return waves.astype(np.uint8)


def portrait_before_a_wall() -> NDArray[np.uint8]:
    wall = Image.new("L", (200, 260), 245)
    head = thumbnail("camera").resize((110, 150))
    mask = Image.new("L", head.size)
    ImageDraw.Draw(mask).ellipse((0, 0, *head.size), fill=255)
    wall.paste(head, (45, 60), mask)
    return np.asarray(wall)


def rounded_thing() -> NDArray[np.uint8]:
    """Straight along half of each side, as cups and radios are."""
    page = Image.new("L", (260, 260), 245)
    ImageDraw.Draw(page).rounded_rectangle((30, 30, 230, 230), 60, 90)
    return np.asarray(page)


@pytest.mark.parametrize(
    "picture", [rounded_thing(), sky_over_sea(), portrait_before_a_wall(), np.full((200, 260), 255, np.uint8)]
)
def test_sky_walls_and_empty_pages_are_no_borders(picture: NDArray[np.uint8]) -> None:
    assert borders.find(picture) is None


def test_the_ends_of_a_border_are_found_to_the_pixel_of_a_large_photo() -> None:
    pixels = np.full((3000, 4000), 240, np.uint8)
    pixels[207:2811, 333:3590] = np.random.default_rng(0).integers(0, 120, (2604, 3257), dtype=np.uint8)
    seen = np.asarray(Image.fromarray(pixels).resize((384, 288), Image.Resampling.BOX))
    found = borders.find(seen)
    assert found is not None
    assert borders.refine(pixels, found, seen.shape) == (207, 333, 2811, 3590)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 0.97])
def test_ends_of_the_page_are_those_that_a_plain_search_finds(share: float) -> None:
    page = np.random.default_rng(0).random((60, 75)) < share
    far = 50
    fits = {
        (along, inward)
        for along in range(60)
        for inward in range(2, far)
        if page[along, inward - 2 : inward].all() and page[along, inward : inward + 3].sum() <= 1
    }
    expected = sorted((along, inward) for along, inward in fits if (along, inward + 1) not in fits)
    assert [*zip(*borders._ends(page, far), strict=True)] == expected
