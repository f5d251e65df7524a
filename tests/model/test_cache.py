"""Decoded once: what is in the cache, what is left out and named, and in which order a run sees it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.training import cache, data


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    chance = np.random.default_rng(0)
    for number in range(7):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = chance.integers(0, 256, (40 + number, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return data.find([tmp_path / "photos"])


def test_a_square_is_the_middle_of_its_photo(photos: list[Path], tmp_path: Path) -> None:
    made = cache.build(photos, 40, tmp_path / "cache", workers=1)
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
    made = cache.build(photos, 40, tmp_path / "cache", workers=1)
    assert (made.unreadable, made.missing) == ((photos[0],), (photos[1],))
    assert made.tiny == (photos[2],)
    assert made.photos == tuple(photos[3:])
    assert (made.squares[0] == 90).all(), "a gray photo has three channels like any other"
    with pytest.raises(ValueError, match="none of 2 photographs can be used: 1 unreadable, 1 missing"):
        cache.build(photos[:2], 40, tmp_path / "cache", workers=1)


def test_it_is_decoded_once_and_anew_for_other_photos_or_sides(photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def decoded() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("*.u8")}

    cache.build(photos, 40, folder, workers=1)
    once = decoded()
    assert len(cache.build(photos, 40, folder, workers=1).photos) == 7
    assert decoded() == once
    for others, side in ((photos[1:], 40), (photos, 32)):
        cache.build(others, side, folder, workers=1)
    assert len(decoded()) == 3


def test_other_photos_of_the_same_names_are_not_taken_for_these(photos: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    before = cache.build(photos, 40, folder, workers=1).squares[0].copy()
    others = [tmp_path / "elsewhere" / path.parent.name / path.name for path in photos]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 44), "red").save(path)
    assert (cache.build(others, 40, folder, workers=1).squares[:, 0] == 255).all()
    Image.new("RGB", (48, 44), "blue").save(photos[0])  # and what was changed is decoded anew
    assert (cache.build(photos, 40, folder, workers=1).squares[0, 2] == 255).all()
    assert not (before[2] == 255).all()


def test_all_are_seen_before_one_is_seen_again_and_each_process_takes_its_part(
    photos: list[Path], tmp_path: Path
) -> None:
    made = cache.build(photos, 32, tmp_path / "cache", workers=1)
    batches = cache.Batches(made, 4, 7, seed=3)
    seen = torch.cat([batches[step][1] for step in range(7)]).tolist()
    assert [set(Counter(seen[start : start + 7]).values()) for start in range(0, 28, 7)] == [{1}] * 4
    assert seen[:7] != seen[7:14], "in another order each time"
    squares, numbers = batches[5]
    assert np.array_equal(squares.numpy(), made.squares[numbers.numpy()])
    halves = [cache.Batches(made, 4, 7, seed=3, part=part, of=2)[5][1] for part in range(2)]
    assert sorted(torch.cat(halves).tolist()) == sorted(numbers.tolist())
    with pytest.raises(ValueError, match="cannot be shared"):
        cache.Batches(made, 4, 7, seed=3, of=3)
