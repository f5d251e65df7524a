"""Finding, reading and judging photographs, in folders, lists and tars."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data as pictures

from model import color
from model.training import cache, data
from model.training.batches import Batches, Crops


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(pictures, name)()).save(tmp_path / f"{name}.jpg", quality=95)
    return tmp_path


# Finding


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
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name} holds no photographs"):
        data.find([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere holds no photographs"):
        data.find([tmp_path / "nowhere"])


def test_scikit_images_photographs_are_a_source() -> None:
    found = data.find([Path("scikit-image")])
    assert [path.name for path in found] == sorted(data.SCIKIT_IMAGE)
    assert all(data.read(path).ndim == 3 for path in found)


def test_the_split_is_by_name_and_about_as_large_as_asked() -> None:
    photos = [Path(f"/somewhere/class{n % 7}/{n:05}.jpg") for n in range(5000)]
    kept, held = data.split(photos, 2)
    assert sorted(kept + held) == sorted(photos)
    assert len(held) == pytest.approx(1000, abs=100)
    moved = [Path("/elsewhere", *path.parts[2:]) for path in photos[::3]]
    assert {path.name for path in data.split(moved, 2)[1]} == {p.name for p in held} & {p.name for p in moved}
    assert data.split(photos, 0)[1] == []


def test_a_fingerprint_is_of_names_sizes_and_order_wherever_photos_lie(folder: Path) -> None:
    photos = data.find([folder])
    known = data.fingerprint(photos)
    elsewhere = shutil.copytree(folder, folder / "elsewhere" / folder.name)
    assert data.fingerprint(data.find([elsewhere])) == known
    assert len({known, data.fingerprint(photos[::-1]), data.fingerprint(photos[1:])}) == 3
    Image.new("RGB", (90, 90)).save(photos[0])
    assert data.fingerprint(photos) != known, "another photo of the same name"


# Reading


def test_reading_turns_a_photo_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 20))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert data.read(tmp_path / "turned.jpg").shape == (40, 20, 3)


def test_gray_and_deep_photos_are_read_as_three_bytes_a_pixel(tmp_path: Path) -> None:
    ramp = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "gray.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("gray.png", "deep.png"):
        pixels = data.read(tmp_path / name)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.stack([ramp] * 3, -1))


def test_a_large_jpeg_is_read_at_a_reduced_scale_where_that_is_enough(tmp_path: Path) -> None:
    Image.fromarray(pictures.astronaut()).save(tmp_path / "large.jpg")  # 512 × 512
    assert data.read(tmp_path / "large.jpg", at_least=100).shape == (128, 128, 3)
    assert data.read(tmp_path / "large.jpg", at_least=129).shape == (256, 256, 3)
    assert data.read(tmp_path / "large.jpg").shape == (512, 512, 3)


# Tars


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = chance.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def tar(labeled: Path) -> Path:
    """As everybody makes them, by tar itself; its names begin with ./"""
    subprocess.run(["tar", "-C", str(labeled), "-cf", str(labeled.parent / "shard.tar"), "."], check=True)
    return labeled.parent / "shard.tar"


def test_a_tar_holds_the_photos_that_its_folder_holds(labeled: Path, tar: Path) -> None:
    inside, outside = data.find([tar]), data.find([labeled])
    assert [path.relative_to(tar) for path in inside] == [path.relative_to(labeled) for path in outside]
    assert len(inside) == 6
    for one, other in zip(inside, outside, strict=True):
        assert np.array_equal(data.read(one), data.read(other))
    assert {path.parent.name for path in inside} == {"cat", "dog"}, "labels are folders there, too"
    assert [data.on_disk(path) for path in (inside[0], outside[0])] == [tar, outside[0]]


def test_a_folder_of_tars_is_a_source(tar: Path) -> None:
    (shelf := tar.parent / "shelf").mkdir()
    tar.rename(shelf / "a.tar")
    assert len(data.find([shelf])) == 6


def test_what_is_cut_off_or_no_tar_is_named(tar: Path) -> None:
    whole = data.find([tar])
    names = [line.removeprefix("./") for line in _listing(tar)]
    last = max(whole, key=lambda path: names.index(path.relative_to(tar).as_posix()))
    content = (tar.parent / "photos" / last.relative_to(tar)).read_bytes()
    with tar.open("r+b") as file:
        file.truncate(tar.read_bytes().find(content) + 10)
    with pytest.raises(OSError, match=f"{last.name} is cut off"):
        data.read(last)
    (junk := tar.parent / "junk.tar").write_bytes(b"Dear sir" * 1000)
    with pytest.raises(OSError, match=r"junk\.tar"):
        data.find([junk])
    with pytest.raises(FileNotFoundError, match="cow"):
        data.read(tar / "cow.png")


def _listing(tar: Path) -> list[str]:
    return subprocess.run(
        ["tar", "-tf", str(tar)], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_a_run_sees_the_same_from_a_tar(labeled: Path, tar: Path) -> None:
    theirs, ours = (
        cache.build(data.find([source]), 24, labeled.parent / f"cache of {source.name}", workers=1)
        for source in (labeled, tar)
    )
    assert ours.labels()[0].tolist() == theirs.labels()[0].tolist() == [0, 0, 0, 1, 1, 1]
    for crops in (None, Crops((32,), last=32, small=32)):
        for step in range(3):
            one, other = (Batches([of], 4, 3, 1, crops)[step] for of in (ours, theirs))
            assert (one.pixels == other.pixels).all()
            assert one.labels.tolist() == other.labels.tolist()
            assert one.seeds.tolist() == other.seeds.tolist()


# Choosing


def colored(name: str = "chelsea") -> Image.Image:
    return Image.fromarray(getattr(pictures, name)())


def sepia(image: Image.Image) -> NDArray[np.uint8]:
    lightness = np.asarray(image.convert("L")).astype(float)[..., None]
    return (lightness * (1.0, 0.85, 0.62)).astype(np.uint8)


def test_a_look_tells_gray_and_toned_photos_from_colored_ones() -> None:
    cat = colored()
    gray = np.stack([np.asarray(cat.convert("L"))] * 3, -1)
    assert data.photo_statistics(gray).fault == "gray"
    assert data.photo_statistics(gray).chroma < 0.5
    assert data.photo_statistics(sepia(cat)).fault == "toned"
    assert data.photo_statistics(sepia(cat)).chroma > 5, "it is not gray"
    assert data.photo_statistics(np.full((50, 60, 3), (90, 140, 200), np.uint8)).fault == "toned", (
        "one color is a tone"
    )
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        assert data.photo_statistics(np.asarray(colored(name))).fault == "", name


def test_a_few_colored_pixels_do_not_make_a_gray_photo_colored() -> None:
    spotted = np.stack([np.asarray(colored().convert("L"))] * 3, -1)
    spotted[:12, :18] = (200, 30, 30)  # two in a thousand
    assert data.photo_statistics(spotted).fault == "gray"


def test_what_strays_is_the_distance_from_the_nearest_parabola() -> None:
    """Beside NumPy's least squares, of photos of ever less contrast."""
    for contrast in (1.0, 0.1, 0.02):
        pixels = np.asarray(colored("coffee").resize((32, 32), Image.Resampling.BOX))
        pixels = np.rint(128 + contrast * (pixels.astype(float) - 128)).astype(np.uint8)
        rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        lightness, *ab = color.lab_from_rgb(rgb)[0].flatten(1).double().numpy()
        fitted = [np.polyval(np.polyfit(lightness, channel, 2), lightness) for channel in ab]
        strays = np.square(np.array(ab) - fitted).sum(0)
        assert data.photo_statistics(pixels).stray == pytest.approx(np.sqrt(strays.mean()), rel=1e-3)


def test_copies_of_other_sizes_qualities_and_brightness_have_nearly_the_same_hash(tmp_path: Path) -> None:
    hashes = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        image = colored(name)
        image.resize((300, 200)).save(tmp_path / "copy.jpg", quality=60)
        darker = (np.asarray(image) * 0.6).astype(np.uint8)
        for pixels in (np.asarray(image), data.read(tmp_path / "copy.jpg"), darker):
            hashes.append(data.photo_statistics(pixels).hash)
    assert data.copies(hashes).tolist() == [False, True, True] * 4
    mirrored = data.photo_statistics(np.asarray(colored())[:, ::-1].copy()).hash
    assert not data.copies([hashes[3], mirrored])[1]


@st.composite
def _hashes(draw: st.DrawFn) -> list[int]:
    """Of 64 bits; many of them an earlier one with up to four bits flipped."""
    hashes = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    for _ in range(draw(st.integers(0, 12))):
        flipped = draw(st.lists(st.integers(0, 63), max_size=4, unique=True))
        hashes.append(draw(st.sampled_from(hashes)) ^ sum(1 << bit for bit in flipped))
    return draw(st.permutations(hashes))


@settings(max_examples=200, deadline=None)
@given(_hashes())
def test_copies_are_what_comparing_all_pairs_finds(hashes: list[int]) -> None:
    slow = [
        any((value ^ earlier).bit_count() <= 2 for earlier in hashes[:place])
        for place, value in enumerate(hashes)
    ]
    assert data.copies(hashes).tolist() == slow


def test_copies_of_any_two_flipped_bits_are_found_and_of_three_are_not() -> None:
    value = 0x9E3779B97F4A7C15
    pairs = [value ^ (1 << a) ^ (1 << b) for a in range(64) for b in range(a)]
    assert all(data.copies([value, other])[1] for other in pairs)
    assert not any(data.copies([value, value ^ (0b111 << bit)])[1] for bit in range(62))
    assert data.copies([]).tolist() == []
