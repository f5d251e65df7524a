"""Photos that are damaged, tiny, gray or gone: counted and named under their reason, and nothing ends by them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model.training import cache, data

REASONS = {
    "cut off.jpg": "unreadable",
    "empty.jpg": "unreadable",
    "letter.jpg": "unreadable",
    "moving.png": "unreadable",
    "folder.jpg": "unreadable",
    "20 pixels.jpg": "tiny",
    "4 pixels.png": "tiny",
    "deleted.jpg": "missing",
    "listed only.jpg": "missing",
    "gray.jpg": "gray",
    "gray of 16 bits.png": "gray",
    "sepia.png": "toned",
    "smaller astronaut.jpg": "copies",
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In VOC's layout; of each of `REASONS` one, and three good photos, of which one is a CMYK JPEG."""
    folder = tmp_path_factory.mktemp("box") / "JPEGImages"
    folder.mkdir()
    astronaut, cat, coffee = (
        Image.fromarray(getattr(data, name)()).resize((90, 60)) for name in ("astronaut", "chelsea", "coffee")
    )
    astronaut.save(folder / "astronaut.jpg")
    astronaut.resize((60, 40)).save(folder / "smaller astronaut.jpg")
    coffee.save(folder / "coffee.png")
    cat.convert("CMYK").save(folder / "cmyk.jpg")
    whole = (folder / "astronaut.jpg").read_bytes()
    (folder / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "letter.jpg").write_text("Dear Sir or Madam, " * 50)
    (folder / "folder.jpg").mkdir()
    coffee.save(folder / "moving.png", "GIF", save_all=True, append_images=[cat])
    cat.resize((30, 20)).save(folder / "20 pixels.jpg")
    cat.resize((4, 4)).save(folder / "4 pixels.png")
    coffee.save(folder / "deleted.jpg")
    cat.convert("L").save(folder / "gray.jpg")
    deep = np.asarray(cat.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "gray of 16 bits.png")
    lightness = np.asarray(cat.convert("L")).astype(float)[..., None]
    Image.fromarray((lightness * (1.0, 0.85, 0.62)).astype(np.uint8)).save(folder / "sepia.png")
    return folder


@pytest.fixture(scope="module")
def listed(box: Path) -> list[Path]:
    """Listed while all but one was there."""
    found = [*data.find([box]), box / "listed only.jpg"]
    (box / "deleted.jpg").unlink()
    assert {path.name for path in found} == REASONS.keys() | {"astronaut.jpg", "cmyk.jpg", "coffee.png"}
    return found


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING):
        yield caplog


def test_a_survey_names_each_under_its_reason(listed: list[Path], tmp_path: Path) -> None:
    survey = data.survey(listed, workers=1)
    assert [path.name for path in survey.photos] == ["astronaut.jpg", "cmyk.jpg", "coffee.png"]
    left_out = survey.left_out()
    assert {path.name: reason for reason, paths in left_out.items() for path in paths} == REASONS
    assert survey.tiny == left_out["tiny"]
    assert data.counted(left_out) == "2 gray, 1 toned, 1 copies, 5 unreadable, 2 tiny, 2 missing"
    lines = data.write_names(left_out, tmp_path / "run").read_text().splitlines()
    assert (tmp_path / "run" / "left_out.txt").exists()
    written = [line.split("\t") for line in lines]
    assert {Path(path).name: reason for reason, path in written} == REASONS
    assert {path for _, path in written} < {str(path) for path in listed}


def test_a_cache_names_what_has_no_square_and_keeps_the_gray(listed: list[Path], tmp_path: Path) -> None:
    made = cache.build(listed, 48, tmp_path, workers=1)
    without = {
        name: reason for name, reason in REASONS.items() if reason in ("unreadable", "tiny", "missing")
    }
    assert {path.name: reason for reason, paths in made.left_out().items() for path in paths} == without
    assert len(made.photos) + len(without) == len(listed)
    assert data.counted(made.left_out()) == "5 unreadable, 2 tiny, 2 missing"
    again = cache.build(listed, 48, tmp_path, workers=1)
    assert again.left_out() == made.left_out(), "as it was when they were decoded"


def test_where_nothing_is_left_out_that_is_said(box: Path) -> None:
    assert data.counted(data.survey([box / "astronaut.jpg"], workers=1).left_out()) == "none"


def test_of_two_who_want_the_same_cache_one_makes_it(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both writing into one file at once, as the processes of torchrun would, would spoil it."""
    made = []

    def write(photos: list[Path], side: int, file: Path, workers: int) -> None:
        made.append(file)
        threading.Event().wait(0.2)
        file.write_bytes(bytes(3 * side * side))
        file.with_suffix(".json").write_text('["used"]')

    monkeypatch.setattr(cache, "_write", write)
    both = [
        threading.Thread(target=cache.build, args=([box / "astronaut.jpg"], 8, tmp_path)) for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert len(made) == 1


def test_for_a_photo_that_vanishes_in_training_the_next_is_seen_and_it_is_named_once(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    photos = []
    for number in range(5):
        photos.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40, 40), (number * 50, 0, 0)).save(photos[-1])
    crops, untouched = (data.Crops([photos], 5, [16] * 4, seed=0, run=tmp_path) for _ in range(2))
    before = untouched[0]
    gone, damaged = crops.photo(1), crops.photo(3)
    data.write_names({"tiny": [Path("/elsewhere/tiny.jpg")]}, tmp_path)
    gone.unlink()
    damaged.write_bytes(b"")
    after = crops[0]
    assert (after[[0, 2, 4]] == before[[0, 2, 4]]).all()
    for place in (1, 3):
        assert (after[place] == before[place + 1][:, :1, :1]).all(), "the next in order"
    for step in range(1, 4):
        assert crops[step].shape == (5, 3, 16, 16)
    another = data.Crops(
        [photos], 5, [16] * 4, seed=0, run=tmp_path
    )  # as another of the loader's processes
    another[2]
    lines = (tmp_path / "left_out.txt").read_text().splitlines()
    assert lines == ["tiny\t/elsewhere/tiny.jpg", f"missing\t{gone}", f"unreadable\t{damaged}"]
    assert [str(gone) in warned.messages[0], str(damaged) in warned.messages[1]] == [True, True]
    assert "missing" in warned.messages[0]
    assert "3 left out so far" in warned.messages[1]
    assert len(warned.messages) == 2
    assert data.prior(photos).sum() == pytest.approx(1), "what is there counts"


def test_where_the_disk_is_gone_training_ends_with_a_sentence(
    tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(OSError, match=r"is their disk there\?"):
        data.Crops([photos], 2, [16], seed=0)[0]
    assert len(warned.messages) == 2, "each is named once"
    with pytest.raises(OSError, match="none of 2 photographs"):
        data.prior(photos)
