"""What VOC's lists and annotations say of photos, and what is said where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.evaluate.voc import CLASSES, truth

# Photo → its things, and whether they are difficult to see
THINGS = {
    "000012": [("car", False), ("car", True)],
    "000007": [("person", True), ("person", False), ("cat", True)],
    "000032": [("aeroplane", False), ("person", True), ("person", True)],
    "000040": [],
}


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """As our half of VOC2007 comes: without class lists."""
    annotations = tmp_path / "Annotations"
    annotations.mkdir()
    for name, things in THINGS.items():
        objects = "".join(
            f"<object><name>{kind}</name><difficult>{int(hard)}</difficult></object>" for kind, hard in things
        )
        (annotations / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    path = tmp_path / "ImageSets" / "Main" / "trainval.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{name}\n" for name in THINGS))
    return path


def photo(name: str) -> Path:
    return Path("JPEGImages") / f"{name}.jpg"


def add_lists(split: Path) -> None:
    for kind in CLASSES:
        lines = []
        for name, things in THINGS.items():
            hard = [hard for thing, hard in things if thing == kind]
            lines.append(f"{name} {'-1' if not hard else ' 0' if all(hard) else ' 1'}\n")
        split.with_name(f"{kind}_trainval.txt").write_text("".join(lines))


def test_annotations_and_lists_say_the_same(split: Path) -> None:
    photos = [photo(name) for name in ("000032", "000007", "000040", "000012")]
    annotated = truth(split, photos)
    said = [{CLASSES[place]: int(row[place]) for place in np.flatnonzero(row != -1)} for row in annotated]
    assert said == [{"aeroplane": 1, "person": 0}, {"person": 1, "cat": 0}, {}, {"car": 1}]
    assert annotated.shape == (4, 20)
    assert annotated.dtype == np.int8
    add_lists(split)
    for path in split.parents[2].glob("Annotations/*"):
        path.unlink()
    np.testing.assert_array_equal(truth(split, photos), annotated)


def test_the_classes_are_the_kits_in_its_order() -> None:
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)


def test_a_photo_without_a_word_is_named(split: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"000099\.xml"):
        truth(split, [photo("000012"), photo("000099")])
    add_lists(split)
    with pytest.raises(
        ValueError, match=r"aeroplane_trainval\.txt says nothing of 000099\.jpg, nor of 1 others"
    ):
        truth(split, [photo("000012"), photo("000099"), photo("000098")])


def test_a_list_that_is_missing_is_named(split: Path) -> None:
    add_lists(split)
    split.with_name("cow_trainval.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"cow_trainval\.txt is missing"):
        truth(split, [photo("000012")])


def test_a_line_without_sense_is_named(split: Path) -> None:
    add_lists(split)
    path = split.with_name("dog_trainval.txt")
    path.write_text(path.read_text() + "\n000050 2\n")
    with pytest.raises(ValueError, match=r"dog_trainval\.txt, line 6: .*'000050 2'"):
        truth(split, [photo("000012")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation><object>", "no annotation"),
        ("<annotation><object><name>unicorn</name></object></annotation>", "'unicorn'"),
    ],
)
def test_a_bad_annotation_is_named(split: Path, text: str, said: str) -> None:
    (split.parents[2] / "Annotations" / "000012.xml").write_text(text)
    with pytest.raises(ValueError, match=rf"000012\.xml .*{said}"):
        truth(split, [photo("000012")])
