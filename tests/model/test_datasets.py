"""Finding, sorting out and cropping photographs."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from model import bins
from model.training import data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.jpg", quality=95)
    return tmp_path


def test_find_lists_photos_of_folders_once_and_sorted(folder: Path) -> None:
    (folder / "notes.txt").write_text("no photo")
    (folder / "deeper").mkdir()
    Image.new("RGB", (20, 20)).save(folder / "deeper" / "a.PNG")
    found = data.find([folder, folder / "coffee.jpg"], exclude=["rock*"])
    assert [path.name for path in found] == ["astronaut.jpg", "chelsea.jpg", "coffee.jpg", "a.PNG"]


def test_find_reads_a_list_in_vocs_layout(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("000001\n000004 -1\n\n")
    found = data.find([lists / "test.txt"])
    assert found == [tmp_path / "JPEGImages" / "000001.jpg", tmp_path / "JPEGImages" / "000004.jpg"]


def test_an_empty_source_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no photographs"):
        data.find([tmp_path])


def test_the_split_is_by_name_and_about_as_large_as_asked() -> None:
    photos = [Path(f"/somewhere/class{n % 7}/{n:05}.jpg") for n in range(5000)]
    kept, held = data.split(photos, 2)
    assert sorted(kept + held) == sorted(photos)
    assert len(held) == pytest.approx(1000, abs=100)
    moved = [Path("/elsewhere", *path.parts[2:]) for path in photos[::3]]
    assert {path.name for path in data.split(moved, 2)[1]} == {p.name for p in held} & {
        p.name for p in moved
    }
    assert data.split(photos, 0)[1] == []


def test_survey_leaves_out_what_teaches_no_color(folder: Path) -> None:
    cat = Image.fromarray(data.chelsea())
    cat.convert("L").save(folder / "gray.jpg")
    lightness = np.asarray(cat.convert("L")).astype(float)
    sepia = np.stack([lightness * 1.0, lightness * 0.85, lightness * 0.62], -1).astype(np.uint8)
    Image.fromarray(sepia).save(folder / "sepia.jpg", quality=95)
    cat.resize((300, 200)).save(folder / "the same cat.jpg", quality=80)
    (folder / "broken.jpg").write_bytes((folder / "coffee.jpg").read_bytes()[:900])
    held_out = folder / "held"
    held_out.mkdir()
    Image.fromarray(data.rocket()).save(held_out / "rocket.png")
    survey = data.survey(
        [p for p in data.find([folder]) if p.parent == folder], [held_out / "rocket.png"]
    )
    assert [path.stem for path in survey.photos] == ["astronaut", "chelsea", "coffee"]
    reasons = (survey.gray, survey.toned, survey.copies, survey.unreadable)
    assert [[path.stem for path in paths] for paths in reasons] == [
        ["gray"],
        ["sepia"],
        ["rocket", "the same cat"],
        ["broken"],
    ]


def test_prior_is_a_distribution_that_knows_a_blue_folder(tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), (60, 60, 200)).save(tmp_path / "blue.png")
    prior = data.prior([tmp_path / "blue.png"])
    assert prior.sum().item() == pytest.approx(1)
    a, b = bins.centers()[int(prior.argmax())].tolist()
    assert a > 20
    assert b < -60


def test_reading_turns_a_photo_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 20))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert data.read(tmp_path / "turned.jpg").shape == (40, 20, 3)


def test_a_fingerprint_is_of_names_sizes_and_order_wherever_photos_lie(folder: Path) -> None:
    photos = data.find([folder])
    known = data.fingerprint(photos)
    elsewhere = shutil.copytree(folder, folder / "elsewhere" / folder.name)
    assert data.fingerprint(data.find([elsewhere])) == known
    assert len({known, data.fingerprint(photos[::-1]), data.fingerprint(photos[1:])}) == 3
    Image.new("RGB", (90, 90)).save(photos[0])
    assert data.fingerprint(photos) != known, "another photo of the same name"


def test_a_steps_batch_is_the_same_whoever_asks(folder: Path) -> None:
    photos = data.find([folder])
    first, second = (data.Crops([photos], 3, [32, 32, 48], seed=5) for _ in range(2))
    assert torch.equal(first[1], second[1])
    assert first[1].shape == (3, 3, 32, 32)
    assert first[2].shape == (3, 3, 48, 48)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], data.Crops([photos], 3, [32, 32, 48], seed=6)[0])


def test_every_photo_is_seen_once_an_epoch(folder: Path) -> None:
    crops = data.Crops([data.find([folder])], 2, [32] * 4, seed=0)
    seen = [crops.photo(number).stem for number in range(8)]
    assert sorted(seen[:4]) == sorted(seen[4:]) == ["astronaut", "chelsea", "coffee", "rocket"]
    assert seen[:4] != seen[4:]


def test_balance_draws_small_sources_more_often_and_still_sees_all_of_each(tmp_path: Path) -> None:
    sources = [[tmp_path / f"many/{n}" for n in range(90)], [tmp_path / f"few/{n}" for n in range(10)]]
    half = data.Crops(sources, 2, [32], seed=0, balance=0.5)
    seen = [half.photo(number) for number in range(1000)]
    few = [path for path in seen if path.parent.name == "few"]
    assert len(few) == 250  # √10 : √90 is 1 : 3
    assert set(seen) == {path for source in sources for path in source}
    counts = Counter(few)
    assert max(counts.values()) - min(counts.values()) <= 1
    alike = data.Crops(sources, 2, [32], seed=0, balance=1.0)
    assert sum(alike.photo(number).parent.name == "few" for number in range(100)) == 50


def test_crops_stay_inside_and_are_mirrored_every_other_time() -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (120, 1, 3))
    chance = np.random.default_rng(0)
    crops = [data.random_crop(ramp, 64, 0.35, chance) for _ in range(200)]
    rising = sum(crop[0, 0, 0] < crop[0, -1, 0] for crop in crops)
    assert 70 < rising < 130
    assert all(crop.shape == (64, 64, 3) for crop in crops)
