"""Photos that are damaged, tiny, gray or gone: counted and named under their reason, and nothing ends by them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as pictures

from model.training import cache, data
from model.training.batches import Batches
from model.training.cache import Cache, Shape

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
        Image.fromarray(getattr(pictures, name)()).resize((90, 60))
        for name in ("astronaut", "chelsea", "coffee")
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


def test_each_is_named_under_its_reason(listed: list[Path], tmp_path: Path) -> None:
    made = cache.build(listed, Shape(48, 1.6, enlarge=False), tmp_path, workers=1)
    (kept,), left_out = cache.colorful([made])
    assert [path.name for path in kept.photos] == ["astronaut.jpg", "cmyk.jpg", "coffee.png"]
    assert {path.name: reason for reason, paths in left_out.items() for path in paths} == REASONS
    assert data.counted(left_out) == "5 unreadable, 2 tiny, 2 missing, 2 gray, 1 toned, 1 copy"
    lines = data.write_names(left_out, tmp_path / "run").read_text().splitlines()
    assert (tmp_path / "run" / "left_out.txt").exists()
    written = [line.split("\t") for line in lines]
    assert {Path(path).name: reason for reason, path in written} == REASONS
    assert {path for _, path in written} < {str(path) for path in listed}
    data.write_names({"tiny": [Path("/elsewhere/tiny.jpg")]}, tmp_path / "run")
    assert (tmp_path / "run" / "left_out.txt").read_text() == "tiny\t/elsewhere/tiny.jpg\n", "it is replaced"


def test_a_cache_names_what_has_no_square_and_keeps_the_gray(listed: list[Path], tmp_path: Path) -> None:
    made = cache.build(listed, 48, tmp_path, workers=1)
    without = {
        name: reason for name, reason in REASONS.items() if reason in ("unreadable", "tiny", "missing")
    }
    assert {path.name: reason for reason, paths in made.left_out.items() for path in paths} == without
    assert len(made.photos) + len(without) == len(listed)
    assert data.counted(made.left_out) == "5 unreadable, 2 tiny, 2 missing"
    again = cache.build(listed, 48, tmp_path, workers=1)
    assert again.left_out == made.left_out, "as it was when they were decoded"


def test_where_nothing_is_left_out_that_is_said(box: Path, tmp_path: Path) -> None:
    made = cache.build([box / "astronaut.jpg"], 48, tmp_path, workers=1)
    assert data.counted(cache.colorful([made])[1]) == "none"


def test_of_two_who_want_the_same_cache_one_makes_it(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both writing into one file at once, as the processes of torchrun would, would spoil it."""
    decoded = []
    really_write = cache._write

    def write(photos: list[Path], shape: Shape, file: Path, workers: int) -> None:
        decoded.append(file)
        threading.Event().wait(0.2)
        really_write(photos, shape, file, workers)

    monkeypatch.setattr(cache, "_write", write)
    made: list[Cache] = []
    both = [
        threading.Thread(target=lambda: made.append(cache.build([box / "astronaut.jpg"], 40, tmp_path, 1)))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert len(decoded) == 1
    assert len(made) == 2
    assert np.array_equal(made[0].squares, made[1].squares)


def test_a_photo_that_vanishes_in_training_is_still_seen(tmp_path: Path) -> None:
    """As its pixels are in the cache; when it is next wanted from the disk it is named."""
    photos = []
    for number in range(5):
        photos.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40, 40), (number * 50, 0, 0)).save(photos[-1])
    made = cache.build(photos, 32, tmp_path / "cache", workers=1)
    batches, untouched = (Batches([made], 5, 4, seed=0) for _ in range(2))
    before = [untouched[step] for step in range(4)]
    photos[1].unlink()
    photos[3].write_bytes(b"")
    for step in range(4):
        assert torch.equal(batches[step].pixels, before[step].pixels)
        assert sorted(batches[step].pixels[:, 0, 0, 0].tolist()) == [0, 50, 100, 150, 200]
    assert Batches([made], 5, 4, seed=0).prior().sum().item() == pytest.approx(1)
    after = cache.build(photos, 32, tmp_path / "cache", workers=1)
    assert data.counted(after.left_out) == "1 unreadable, 1 missing"
    assert after.squares[:, 0, 0, 0].tolist() == [0, 100, 200]


def test_where_the_disk_is_gone_training_does_not_begin(tmp_path: Path) -> None:
    photos = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ValueError, match="none of 2 photographs can be used: 2 missing"):
        cache.build(photos, 32, tmp_path, workers=1)
