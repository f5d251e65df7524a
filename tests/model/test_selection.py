"""Which photographs a command uses: what `--photos NAME:split=PATH`, `--held-out`, `--only` and `--limit` mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.commands.selection import Selection
from model.evaluate.report import Source
from model.training import data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small photographs of one source, and 2 of another."""
    place = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(0)
    for name, count in (("many", 24), ("few", 2)):
        (place / name).mkdir()
        for number in range(count):
            Image.fromarray(chance.integers(0, 256, (64, 80, 3), np.uint8)).save(
                place / name / f"{number}.png"
            )
    return place


def sources(*photos: str, **more: Any) -> list[Source]:
    return Selection([Path(word) for word in photos], **more).sources()


def test_sources_are_named_joined_and_limited_one_by_one(folder: Path) -> None:
    many, few = sources(f"m={folder}/many", f"{folder}/few", limit=5)
    assert (many.label, few.label) == ("m", "few")
    assert (len(many.photos), len(few.photos)) == (5, 2)
    [both] = sources(f"x:held={folder}/many", f"x:held={folder}/few")
    assert (both.label, len(both.photos)) == ("x, held", 26)


def test_held_out_tenths_are_parted_as_in_training(folder: Path) -> None:
    photos = data.find([folder / "many"])
    kept, out = data.split(photos, 3)
    train, held = sources(f"m:train={folder}/many", f"m:held={folder}/many", held_out=3)
    assert (train.photos, held.photos) == (kept, out)
    assert kept
    assert out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["m:test={}/many"], "m:test=.* is no source"),
        (["={}/many"], "is no source"),
        (["m:train={}/many", "m:held={}/many"], "24 photographs of m are in both splits"),
        (["all={}/many", "few={}/few"], "no source may be called all"),
    ],
)
def test_sources_that_mean_nothing_are_refused(words: list[str], reason: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        sources(*(word.format(folder) for word in words))


def test_a_source_of_which_nothing_is_left_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="source m is left"):
        sources(f"m={folder}/many", only="*.jpg")
