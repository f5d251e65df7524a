"""What detection needs is said before anything is trained; which photos and classes it is about; what goes into its files.

Faster R-CNN itself is torchvision's, which lives in an environment of its own: the last test runs where it is installed.
"""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from model.__main__ import main
from model.commands import backbones
from model.evaluate import detection
from model.evaluate.detection import (
    Detection,
    Object,
    Options,
    detection_precision,
    only,
    overlap,
    pictured,
    useful,
)
from model.evaluate.probes import untrained
from model.evaluate.transfer import CLASSES

BOX = (10, 20, 60, 80)


def voc(folder: Path, trainval: list[tuple[str, int]], test: list[tuple[str, int]]) -> Path:
    """A photo for each class and whether it is difficult to see, in VOC's layout: a square on gray."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split, objects in (("trainval", trainval), ("test", test)):
        names = [f"{split}{number}" for number in range(len(objects))]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
        for name, (kind, difficult) in zip(names, objects, strict=True):
            photo = Image.new("RGB", (120, 100), (90, 90, 90))
            ImageDraw.Draw(photo).rectangle(BOX, fill=(220, 40 * CLASSES.index(kind) % 256, 30))
            photo.save(folder / "JPEGImages" / f"{name}.jpg")
            annotate(folder, name, kind, difficult)
    return folder


def annotate(folder: Path, name: str, kind: str, difficult: int = 0, sides: tuple[int, ...] = BOX) -> None:
    box = "".join(
        f"<{side}>{value + 1}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=False)
    )
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object></annotation>"
    )


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", "detection", "--runs", "none", "--voc", str(folder), "-o", str(out), *more]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torchvision were installed; no run is read."""
    monkeypatch.setattr(detection, "require_torchvision", lambda: None)
    monkeypatch.setattr(backbones, "_subjects", lambda *_: {"random alexnet": untrained("alexnet")})


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'torchvision'"), RuntimeError("operator nms does not exist")],
)
def test_torchvision_is_asked_for_first_and_where_to_get_it_is_said(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def missing(name: str, *more: Any) -> Any:
        if name.startswith("torchvision"):
            raise error
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert main(command(tmp_path / "none", tmp_path)) == 1
    said = capsys.readouterr().err
    assert f"detection needs torchvision, and a torch that it goes with ({error})" in said
    assert "make detection RUNS=" in said
    assert "make setup" not in said, "which does not have it"


@pytest.mark.usefixtures("there")
def test_what_is_missing_of_the_layout_is_said_before_a_run_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("a run was read")

    monkeypatch.setattr(backbones, "_subjects", read)
    folder = voc(tmp_path / "voc", [("car", 0), ("dog", 0)], [("car", 0)])
    spoiled = {
        "names test0, and": lambda: (folder / "Annotations" / "test0.xml").unlink(),
        "is no annotation": lambda: (folder / "Annotations" / "test0.xml").write_text("<annotation>"),
        "holds a 'unicorn', which is none": lambda: annotate(folder, "test0", "unicorn"),
        "has a car without a box": lambda: annotate(folder, "test0", "car", sides=BOX[:2]),
        "1 photographs to learn from and 0 to be judged by": lambda: (
            (folder / "ImageSets" / "Main" / "test.txt").write_text("trainval1"),
            (folder / "ImageSets" / "Main" / "trainval.txt").write_text("trainval0"),
        ),
        "needs VOC2007's layout": lambda: (folder / "ImageSets" / "Main" / "test.txt").unlink(),
    }
    for said, spoil in spoiled.items():
        spoil()
        assert main(command(folder, tmp_path, "--classes", "car")) == 1
        assert said in capsys.readouterr().err
    assert main(command(tmp_path / "none", tmp_path)) == 1
    assert "trainval.txt is missing" in capsys.readouterr().err


@pytest.mark.usefixtures("there")
def test_a_class_that_voc_has_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = voc(tmp_path / "voc", [("car", 0)], [("car", 0)])
    assert main(command(folder, tmp_path, "--classes", "cars")) == 1
    assert "VOC2007 has no class 'cars': aeroplane, bicycle" in capsys.readouterr().err


def test_photos_are_those_that_hold_the_classes_asked_for_and_are_trained_on_where_not_too_difficult(
    tmp_path: Path,
) -> None:
    folder = voc(tmp_path / "voc", [("car", 0), ("dog", 0), ("car", 1), ("cat", 0)], [("car", 0)])
    found = pictured(folder / "ImageSets" / "Main" / "trainval.txt")
    kept = only(found, ["car", "cat"])
    assert [one.photo.stem for one in kept] == ["trainval0", "trainval2", "trainval3"]
    assert [one.photo.stem for one in useful(kept)] == ["trainval0", "trainval3"]
    assert kept[0].objects[0][1].box == BOX


@pytest.mark.usefixtures("there")
def test_the_command_says_what_it_takes_and_writes_json_that_all_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detected: list[tuple[int, int, int]] = []

    def detect(backbone: Any, train: Any, test: Any, options: Options) -> dict[str, float]:
        detected.append((len(train), len(test), options.steps))
        return {name: {"car": 0.5, "dog": 0.25}.get(name, float("nan")) for name in CLASSES}

    monkeypatch.setattr(detection, "detect", detect)
    folder = voc(tmp_path / "voc", [("car", 0), ("dog", 0), ("car", 1)], [("car", 0), ("dog", 0), ("cat", 0)])
    assert main(command(folder, tmp_path, "--steps", "600", "--limit", "2", "--classes", "car", "dog")) == 0
    assert detected == [(2, 2, 600)]
    out = capsys.readouterr().out
    assert "2 photographs to learn from, 2 to be judged by; 600 steps of 4 for each of 1 backbones" in out
    assert "minutes each" in out
    assert "| random alexnet | 37.5% | 50.0% | 25.0% |" in (tmp_path / "detection.md").read_text()
    text = (tmp_path / "detection.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["random alexnet"]["cat"] is None


def test_faster_rcnn_learns_where_a_square_is(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    folder = voc(tmp_path / "voc", [("car", 0)] * 4, [("car", 0)])
    train, test = (pictured(folder / "ImageSets" / "Main" / f"{split}.txt") for split in ("trainval", "test"))
    options = Options(steps=60, side=96, lr=1e-3, regions=16)
    found = detection.detect(untrained("alexnet"), train, test, options)
    assert found["car"] == 1


# Precision of boxes


HERE, THERE = (10, 10, 19, 19), (40, 40, 49, 49)


def test_overlap_counts_whole_pixels():
    assert overlap(HERE, HERE) == 1
    assert overlap(HERE, THERE) == 0
    assert overlap((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0, "neighbors share no pixel"


def test_all_found_before_any_mistake_is_perfect():
    truth = {0: [Object(HERE), Object(THERE)], 3: [Object(HERE)]}
    found = [
        Detection(0, 0.9, HERE),
        Detection(3, 0.8, HERE),
        Detection(0, 0.7, THERE),
        Detection(1, 0.1, HERE),
    ]
    assert detection_precision(found, truth) == 1


def test_a_second_box_on_one_object_is_a_mistake_and_what_is_missed_costs_recall():
    truth = {0: [Object(HERE), Object(THERE)]}
    found = [Detection(0, 0.9, HERE), Detection(0, 0.8, HERE), Detection(0, 0.7, (12, 12, 30, 30))]
    # Recalls to .5 at a precision of 1: 6 of 11 points.
    assert detection_precision(found, truth) == pytest.approx(6 / 11)
    assert detection_precision([Detection(0, 1, (15, 10, 30, 19)), *found[1:2]], truth) == pytest.approx(
        6 / 11 / 2
    )


def test_what_is_difficult_counts_neither_way():
    truth = {0: [Object(HERE, difficult=True)], 1: [Object(HERE)]}
    assert detection_precision([Detection(0, 0.9, HERE), Detection(1, 0.8, HERE)], truth) == 1
    assert math.isnan(detection_precision([], {0: [Object(HERE, difficult=True)]}))
    assert detection_precision([], truth) == 0
