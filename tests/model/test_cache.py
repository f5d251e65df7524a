"""Decoded once: what is in the cache, and what is left out and named."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data as pictures

from model.training import cache, data
from model.training.batches import Batches
from model.training.cache import Cache, Shape


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    chance = np.random.default_rng(0)
    for number in range(7):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (40 + number, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return data.find([tmp_path / "photos"])


def build(photos: Sequence[Path], side: int | Shape, folder: Path) -> Cache:
    return cache.build(photos, side, folder, workers=1)


# Squares


def test_a_square_is_the_middle_of_its_photo(photos: list[Path], tmp_path: Path) -> None:
    made = build(photos, 40, tmp_path / "cache")
    assert made.squares.shape == (7, 3, 40, 40)
    number = made.photos.index(next(path for path in photos if path.name == "0.png"))
    middle = data.read(made.photos[number])[:, 4:44]  # 40 × 48: nothing is resized
    assert np.array_equal(made.squares[number].transpose(1, 2, 0), middle)
    labels, names = made.labels()
    assert names == ("cat", "dog")
    assert [names[label] for label in labels] == [path.parent.name for path in made.photos]


def test_what_cannot_be_used_is_named_and_stops_nothing(photos: list[Path], tmp_path: Path) -> None:
    photos[0].write_bytes(photos[0].read_bytes()[:100])
    photos[1].unlink()
    Image.new("RGB", (19, 60)).save(photos[2])
    Image.new("L", (50, 50), 90).save(photos[3])
    made = build(photos, 40, tmp_path / "cache")
    assert made.left_out == {"unreadable": (photos[0],), "tiny": (photos[2],), "missing": (photos[1],)}
    assert made.photos == tuple(photos[3:])
    assert (made.squares[0] == 90).all(), "a gray photo has three channels like any other"
    with pytest.raises(ValueError, match="none of 2 photographs can be used: 1 unreadable, 1 missing"):
        build(photos[:2], 40, tmp_path / "cache")


def test_it_is_decoded_once_and_anew_for_other_photos_or_shapes(photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def decoded() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("*.u8")}

    build(photos, 40, folder)
    once = decoded()
    assert len(build(photos, 40, folder)) == 7
    assert decoded() == once
    for others, shape in ((photos[1:], 40), (photos, 32), (photos, Shape(40, 1.2)), (photos, Shape(40, 1.1))):
        build(others, shape, folder)
    assert len(decoded()) == 5
    build(photos, Shape(40), folder)
    assert len(decoded()) == 5, "a square's side is short for its shape"


def test_a_second_build_reads_the_file_and_no_photo(tmp_path: Path) -> None:
    photo = tmp_path / "a.bmp"  # of one size, whatever it shows
    Image.new("RGB", (40, 40), "red").save(photo)
    first = build([photo], 40, tmp_path / "cache").squares.copy()
    then = photo.stat()
    Image.new("RGB", (40, 40), "blue").save(photo)
    os.utime(photo, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert np.array_equal(build([photo], 40, tmp_path / "cache").squares, first)
    os.utime(photo, ns=(then.st_atime_ns, then.st_mtime_ns + 1))
    assert (build([photo], 40, tmp_path / "cache").squares[0, 2] == 255).all(), "it was changed since"


def test_other_photos_of_the_same_names_are_not_taken_for_these(photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    before = build(photos, 40, folder).squares[0].copy()
    others = [tmp_path / "elsewhere" / path.parent.name / path.name for path in photos]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 44), "red").save(path)
    assert (build(others, 40, folder).squares[:, 0] == 255).all()
    Image.new("RGB", (48, 44), "blue").save(photos[0])  # and what was changed is decoded anew
    assert (build(photos, 40, folder).squares[0, 2] == 255).all()
    assert not (before[2] == 255).all()


def test_the_file_is_not_changed_by_who_writes_into_the_pixels(photos: list[Path], tmp_path: Path) -> None:
    made = build(photos, 40, tmp_path)
    before = made.squares.copy()
    made.photo(0)[:] = 0
    assert np.array_equal(build(photos, 40, tmp_path).squares, before)


# Shapes


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth, without a middle that looks like any other part."""
    down, across = np.mgrid[0:height, 0:width]
    return np.stack([255 * down / height, 255 * across / width, 127 + 90 * np.sin(across / 9)], -1).astype(
        np.uint8
    )


def shaped(shape: Shape, folder: Path, *sizes: tuple[int, int]) -> Cache:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02}.png" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.fromarray(picture(*size)).save(path)
    return build(paths, shape, folder)


def test_photos_keep_their_shape_up_to_an_aspect_and_are_never_enlarged(tmp_path: Path) -> None:
    sizes = ((128, 128), (128, 160), (300, 64), (64, 33), (50, 60), (32, 32), (31, 90))
    made = shaped(Shape(80, aspect=1.5, enlarge=False), tmp_path, *sizes)
    assert made.sizes.tolist() == [[80, 80], [80, 100], [96, 64], [50, 33], [50, 60], [32, 32]]
    assert [path.name for path in made.left_out["tiny"]] == ["06.png"]
    assert made.starts.tolist() == [0, *np.cumsum(3 * made.sizes.prod(1))[:-1]]
    assert made.photo(4).transpose(1, 2, 0).tolist() == picture(50, 60).tolist(), "neither cut nor resized"
    middle = picture(300, 64)[102:198]
    assert made.photo(2).transpose(1, 2, 0).tolist() == middle.tolist(), "both ends are cut off"


def test_a_reduced_photo_shows_the_same_as_the_whole(tmp_path: Path) -> None:
    made = shaped(Shape(50, aspect=1.6), tmp_path, (100, 140))
    sums = picture(100, 140).reshape(50, 2, 70, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert made.photo(0).shape == (3, 50, 70)
    assert np.abs(made.photo(0) - sums)[:, 1:-1, 1:-1].mean() < 1


def test_where_photos_are_enlarged_it_is_up_to_twice(tmp_path: Path) -> None:
    made = shaped(Shape(64, aspect=1.5), tmp_path, (50, 50), (32, 40), (31, 80), (200, 300))
    assert made.sizes.tolist() == [[64, 64], [64, 80], [64, 96]]
    assert [path.name for path in made.left_out["tiny"]] == ["02.png"]


def test_squares_are_refused_for_several_shapes(tmp_path: Path) -> None:
    made = shaped(Shape(32, aspect=1.5), tmp_path, (40, 40), (40, 60), (64, 64))
    with pytest.raises(ValueError, match="several shapes: cache them as squares"):
        _ = made.squares
    assert made.only([0, 2]).squares.shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"aspect of 1 or more, not 32 and 0\.5"):
        Shape(32, aspect=0.5)


def test_only_some_are_the_same_photos_in_the_order_that_is_asked_for(
    photos: list[Path], tmp_path: Path
) -> None:
    whole = build([*photos, tmp_path / "missing.png"], 40, tmp_path)
    for numbers in ([5, 0, 3], list(range(7))[::-1], [2, 2]):
        some = whole.only(numbers)
        assert len(some) == len(numbers)
        assert some.photos == tuple(whole.photos[number] for number in numbers)
        assert some.statistics == tuple(whole.statistics[number] for number in numbers)
        assert np.array_equal(some.squares, whole.squares[numbers])
        assert all(
            np.array_equal(some.photo(place), whole.photo(number)) for place, number in enumerate(numbers)
        )
        assert not some.left_out
    assert len(whole.only([])) == 0


def test_a_large_jpeg_gives_nearly_the_picture_of_full_decoding(tmp_path: Path) -> None:
    """A PNG of the same pixels is always decoded in full."""
    large = Image.fromarray(pictures.astronaut()).resize((1000, 1600), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.jpg", quality=97)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    assert data.read(tmp_path / "a.jpg", at_least=128).shape == (400, 250, 3), "at a quarter"
    made = build([tmp_path / "a.jpg", tmp_path / "b.png"], Shape(64, aspect=1.6), tmp_path)
    reduced, full = (made.photo(number).astype(float) for number in range(2))
    assert reduced.shape == (3, 102, 64)
    assert np.abs(reduced - full).mean() < 1.5
    one, other = made.statistics
    assert one.chroma == pytest.approx(other.chroma, abs=1)
    assert data.copies([one.hash, other.hash])[1]


def test_several_workers_write_the_same_bytes(tmp_path: Path) -> None:
    sizes = [(33 + number % 20, 40) for number in range(70)]  # more than one worker is given at once
    one = shaped(Shape(32, aspect=1.4), tmp_path / "one", *sizes)
    paths = list(one.photos)
    paths[35].write_bytes(b"")
    apart = [
        cache.build(paths, Shape(32, aspect=1.4), tmp_path / str(workers), workers) for workers in (1, 3)
    ]
    assert apart[0].pixels.tobytes() == apart[1].pixels.tobytes()
    assert apart[0].sizes.tolist() == apart[1].sizes.tolist()
    assert apart[0].statistics == apart[1].statistics
    assert apart[0].left_out == apart[1].left_out
    assert len(apart[0]) == 69


def test_decoding_that_is_killed_leaves_no_process_and_no_lock(
    tmp_path: Path, until: Callable[[Callable[[], Any], float, str], Any]
) -> None:
    os.mkfifo(tmp_path / "endless.jpg")  # who opens it waits
    code = "import sys; from pathlib import Path; from model.training import cache; photo, folder = map(Path, sys.argv[1:]); "
    code += "cache.build([photo], 32, folder, 1)"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "endless.jpg", tmp_path / "cache"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        worker = until(lambda: children.read_text().split(), 60, "a worker decodes")[0]
    finally:
        process.kill()
    process.wait()
    assert until(lambda: has_ended(int(worker)), 30, "the worker has ended too")
    with next((tmp_path / "cache").glob("*.lock")).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def has_ended(process: int) -> bool:
    """Also where nobody has asked yet how."""
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


# Photos with colors


def test_gray_and_toned_photos_and_copies_are_left_out_and_named(tmp_path: Path) -> None:
    for folder in ("a", "b", "held"):
        (tmp_path / folder).mkdir()
    cat = Image.fromarray(pictures.chelsea())
    for name in ("astronaut", "coffee", "rocket"):
        Image.fromarray(getattr(pictures, name)()).save(tmp_path / "a" / f"{name}.jpg", quality=95)
    cat.convert("L").save(tmp_path / "a" / "a gray cat.jpg")
    lightness = np.asarray(cat.convert("L")).astype(float)[..., None]
    sepia = (lightness * (1.0, 0.85, 0.62)).astype(np.uint8)
    Image.fromarray(sepia).save(tmp_path / "a" / "a sepia cat.jpg", quality=95)
    cat.save(tmp_path / "a" / "chelsea.jpg", quality=95)
    cat.resize((300, 200)).save(tmp_path / "a" / "the same cat.jpg", quality=80)
    (tmp_path / "a" / "broken.jpg").write_bytes((tmp_path / "a" / "coffee.jpg").read_bytes()[:900])
    Image.fromarray(pictures.coffee()).resize((300, 200)).save(tmp_path / "b" / "coffee again.png")
    Image.fromarray(pictures.immunohistochemistry()).save(tmp_path / "b" / "cells.png")
    Image.fromarray(pictures.rocket()).save(tmp_path / "held" / "rocket.png")
    first, second, held = (
        build(data.find([tmp_path / folder]), Shape(64, 1.6), tmp_path / "cache")
        for folder in ("a", "b", "held")
    )
    kept, left_out = cache.colorful([first, second], [held])
    assert [[path.stem for path in each.photos] for each in kept] == [
        ["astronaut", "chelsea", "coffee"],  # though a gray and a sepia chelsea come before
        ["cells"],
    ]
    assert {reason: [path.stem for path in paths] for reason, paths in left_out.items() if paths} == {
        "gray": ["a gray cat"],
        "toned": ["a sepia cat"],
        "copies": ["rocket", "the same cat", "coffee again"],
        "unreadable": ["broken"],
    }
    assert kept[0].photo(2).tolist() == first.photo(first.photos.index(kept[0].photos[2])).tolist()
    without, _ = cache.colorful([first])
    assert "rocket" in [path.stem for path in without[0].photos], "it is a copy of the held-out one alone"


def test_what_is_held_out_is_what_the_split_says(photos: list[Path], tmp_path: Path) -> None:
    whole = build(photos, 32, tmp_path)
    kept, held = cache.held_out(whole, 4)
    assert (list(kept.photos), list(held.photos)) == data.split(photos, 4)
    assert len(kept)
    assert len(held)
    assert np.array_equal(held.squares, whole.squares[[photos.index(path) for path in held.photos]])


def test_whole_squares_are_those_of_the_cache(photos: list[Path], tmp_path: Path) -> None:
    made = build(photos, 32, tmp_path / "cache")
    batches = Batches([made], 4, 7, seed=3)
    for batch in (batches[step] for step in range(7)):
        assert (batch.boxes, batch.mirrored, batch.side) == (None, None, 0)
        for square, label in zip(batch.pixels.numpy(), batch.labels, strict=True):
            (number,) = (n for n in range(7) if np.array_equal(square, made.squares[n]))
            assert ("cat", "dog")[label] == made.photos[number].parent.name
