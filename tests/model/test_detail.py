"""The second look at large photographs, by the shipped weights on scikit-image's photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage.color import rgb2lab

from model import detail
from model.__main__ import main
from model.colorizer import Colorizer
from model.detail import Detail
from model.folder.recipe import Recipe
from model.image_io import Photo


def photograph(name: str) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = getattr(skimage.data, name)()
    return found


def mosaic() -> NDArray[np.uint8]:
    """(480, 640, 3): four photographs as one, whose people and things are small."""
    parts = [Image.fromarray(photograph(name)) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    a, b, c, d = (np.asarray(ImageOps.fit(part, (320, 240))) for part in parts)
    return np.vstack([np.hstack([a, b]), np.hstack([c, d])])


def gray(pixels: NDArray[np.uint8]) -> Photo:
    return Photo(np.asarray(Image.fromarray(pixels).convert("L")), None, "PNG")


def off_by(truth: NDArray[np.uint8], colored: Photo) -> float:
    """Mean distance from the truth, in ab units."""
    return float(np.linalg.norm((rgb2lab(truth) - rgb2lab(colored.pixels))[..., 1:], axis=-1).mean())


def test_small_things_come_nearer_their_true_colors(lite: Colorizer) -> None:
    truth = mosaic()
    off, auto, on = (lite.colorize([gray(truth)], wanted=wanted)[0] for wanted in ("off", "auto", "on"))
    assert off_by(truth, on) < off_by(truth, off) - 2
    assert np.array_equal(auto.pixels, on.pixels), "the closer look is the surer one"


def test_auto_keeps_the_first_answer_where_the_closer_look_is_no_surer(lite: Colorizer) -> None:
    photo = gray(photograph("coffee"))
    off, auto, on = (lite.colorize([photo], wanted=wanted)[0] for wanted in ("off", "auto", "on"))
    assert np.array_equal(auto.pixels, off.pixels)
    assert not np.array_equal(on.pixels, off.pixels)


@pytest.mark.parametrize("shape", [(335, 900), (300, 300), (40, 4000)])
def test_a_photo_that_shows_no_more_is_looked_at_once(lite: Colorizer, shape: tuple[int, int]) -> None:
    photo = Photo(np.random.default_rng(0).integers(0, 256, shape, np.uint8), None, "PNG")
    [only] = lite.looks(photo, "on")
    assert np.array_equal(only, lite.preprocess(photo))


def test_only_what_is_inside_a_frame_is_looked_at(lite: Colorizer) -> None:
    framed = replace(gray(mosaic()), frame=(0, 0, 340, 400))
    cut = gray(mosaic()[:340, :400])
    for seen, expected in zip(lite.looks(framed, "on"), lite.looks(cut, "on"), strict=True):
        assert np.array_equal(seen, expected)
    small = replace(framed, frame=(0, 0, 200, 400))
    assert len(lite.looks(small, "on")) == 1


def test_a_batch_answers_as_each_photo_alone(lite: Colorizer) -> None:
    photos = [gray(mosaic()), gray(photograph("chelsea")), gray(photograph("rocket"))]
    for photo, together in zip(photos, lite.colorize(photos, wanted="on"), strict=True):
        [alone] = lite.colorize([photo], wanted="on")
        assert np.abs(alone.pixels.astype(int) - together.pixels).max() <= 2


@pytest.mark.parametrize(("shape", "positions"), [((416, 544), (56, 72)), ((352, 1248), (56, 168))])
def test_tiles_join_to_what_they_were_cut_from(shape: tuple[int, int], positions: tuple[int, int]) -> None:
    """Against the mean over each position's part of the whole. Values fall and rise, so that a tile in a wrong place would show."""
    height, width = shape
    y, x = np.mgrid[:height, :width] / (height, width)[0]
    whole = np.stack([np.sin(5 * x) + y, x * y, np.ones_like(x)]).astype(np.float32)
    cut = [detail.tiles(channel[None], 224) for channel in whole]
    answers = [
        np.stack(
            [np.asarray(Image.fromarray(tile[0]).resize((56, 56), Image.Resampling.BOX)) for tile in tiles]
        )
        for tiles in zip(*cut, strict=True)
    ]
    joined = detail.joined(answers, shape, 224, positions)
    expected = np.stack(
        [
            np.asarray(Image.fromarray(channel).resize(positions[::-1], Image.Resampling.BOX))
            for channel in whole
        ]
    )
    assert joined.shape == (3, *positions)
    np.testing.assert_allclose(joined[2], 1, atol=1e-5)
    np.testing.assert_allclose(joined, expected, atol=0.03)


def test_tiles_that_disagree_show_no_seam() -> None:
    """The answers are 0 and 1 by turns, as far apart as can be."""
    count = len(detail.tiles(np.zeros((1, 416, 544), np.float32), 224))
    answers = [np.full((1, 56, 56), tile % 2, np.float32) for tile in range(count)]
    [joined] = detail.joined(answers, (416, 544), 224, (56, 72))
    assert np.ptp(joined) == pytest.approx(1, abs=0.01)
    for axis in (0, 1):
        assert np.abs(np.diff(joined, axis=axis)).max() < 0.3


@pytest.mark.parametrize(("wanted", "expected"), [("on", 2.0), ("auto", 1.0)])
def test_an_answer_of_colors_does_not_say_how_sure_it_is(wanted: Detail, expected: float) -> None:
    first, second = np.ones((2, 4, 4), np.float32), np.full((2, 4, 4), 3, np.float32)
    assert np.all(detail.merge(first, second, wanted) == expected)


def test_the_command_line_looks_twice_where_it_is_told_to(tmp_path: Path) -> None:
    Image.fromarray(mosaic()).convert("L").save(tmp_path / "old.png")
    made = {}
    for wanted in ("off", "on"):
        out = tmp_path / f"{wanted}.png"
        assert main(["colorize", str(tmp_path / "old.png"), "--detail", wanted, "-o", str(out)]) == 0
        made[wanted] = off_by(mosaic(), Photo(np.asarray(Image.open(out)), None, "PNG"))
    assert made["on"] < made["off"] - 2


def test_photos_colored_before_there_was_detail_count_as_colored_by_the_same_options() -> None:
    assert "detail" not in Recipe().words()
    assert Recipe(detail="auto").words()["detail"] == "auto"


def test_photos_that_are_all_too_small_to_judge_by_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photograph("chelsea")).save(tmp_path / "1.png")
    assert main(["evaluate", "detail", "--photos", f"a={tmp_path}", "-o", str(tmp_path / "out")]) == 1
    assert "are too small for a second look" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_a_second_look_is_worth(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(mosaic()).save(tmp_path / "a/1.png")
    Image.fromarray(photograph("chelsea")).save(tmp_path / "a/2.png")  # 300 pixels high: too small
    asked = ["evaluate", "detail", "--photos", f"a={tmp_path}/a", "-o", str(tmp_path / "out")]
    assert main(asked) == 0
    found = json.loads((tmp_path / "out/detail.json").read_text())["a"]
    assert (found["photos"], found["too_small"], found["second_look_by_auto"]) == (1, 1, 1)
    assert found["gains"]["on − off"]["raw_auc"]["value"] > 1
    assert found["gains"]["on − off, as pale as on"]["raw_auc"]["value"] > 1
    assert found["scores"]["off, as pale as on"]["chroma"]["value"] == pytest.approx(
        found["scores"]["on"]["chroma"]["value"], rel=0.05
    )
    with Image.open(tmp_path / "out/detail.jpg") as sheet:
        assert sheet.width > 3 * 240
