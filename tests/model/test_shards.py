"""Photos in tars are photos like any other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.training import cache, data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = chance.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def tar(folder: Path) -> Path:
    """As everybody makes them, by tar itself; its names begin with ./"""
    subprocess.run(["tar", "-C", str(folder), "-cf", str(folder.parent / "shard.tar"), "."], check=True)
    return folder.parent / "shard.tar"


def test_a_tar_holds_the_photos_that_its_folder_holds(folder: Path, tar: Path) -> None:
    inside, outside = data.find([tar]), data.find([folder])
    assert [path.relative_to(tar) for path in inside] == [path.relative_to(folder) for path in outside]
    assert len(inside) == 6
    for one, other in zip(inside, outside, strict=True):
        assert np.array_equal(data.read(one), data.read(other))
    assert {path.parent.name for path in inside} == {"cat", "dog"}, "labels are folders there, too"


def test_a_folder_of_tars_is_a_source(tar: Path) -> None:
    (shelf := tar.parent / "shelf").mkdir()
    tar.rename(shelf / "a.tar")
    assert len(data.find([shelf])) == 6


def test_a_run_draws_the_same_crops_from_a_tar(folder: Path, tar: Path) -> None:
    ours, theirs = (
        data.Crops([data.find([source])], 4, [16] * 3, seed=1) for source in (tar, folder)
    )
    assert all(bool((ours[step] == theirs[step]).all()) for step in range(3))


def test_what_is_cut_off_or_no_tar_is_named(tar: Path) -> None:
    whole = data.find([tar])
    last = max(whole, key=lambda path: tar.read_bytes().find(data.read(path)))
    with tar.open("r+b") as file:
        file.truncate(tar.read_bytes().find(data.read(last)) + 10)
    with pytest.raises(OSError, match="cut off"):
        data.read(last)
    (junk := tar.parent / "junk.tar").write_bytes(b"Dear sir" * 1000)
    with pytest.raises(OSError, match=r"junk\.tar"):
        data.find([junk])
    with pytest.raises(FileNotFoundError, match="cow"):
        data.read(tar / "cow.png")


def test_a_run_without_labels_sees_the_same_squares_from_tars(folder: Path, tar: Path) -> None:
    ours, theirs = (
        cache.build(data.find([source]), 24, folder.parent / f"cache of {source.name}", workers=1)
        for source in (tar, folder)
    )
    assert ours.labels()[0].tolist() == theirs.labels()[0].tolist() == [0, 0, 0, 1, 1, 1]
    for step in range(3):
        one, other = (cache.Batches(of, 4, 3, seed=1)[step] for of in (ours, theirs))
        assert (one[0] == other[0]).all()
        assert one[1].tolist() == other[1].tolist()
