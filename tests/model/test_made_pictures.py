"""Made pictures as files: what they hold, where the labels are, and that the evaluations read them as they read photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import synthetic
from model.__main__ import main
from model.evaluate import segmentation
from model.synthetic import Switches
from model.training import cache, data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    words = ["synthetic", "--switches", "1010", "--count", "300", "--side", "32", "-o", str(folder)]
    assert main(words) == 0
    return folder


def test_a_file_is_the_picture_of_its_number_under_its_labels(folder: Path) -> None:
    drawn = synthetic.draw([7], synthetic.Options(Switches.of("1010"), 32))
    (by_class,) = (folder / "class" / "train").rglob("0000007.png")
    (by_pose,) = (folder / "pose" / "train").rglob("0000007.png")
    assert (np.asarray(Image.open(by_class)) == drawn.rgb[0].permute(1, 2, 0).numpy()).all()
    assert by_class.parent.name == synthetic.CLASSES[int(drawn.classes[0, 0])]
    assert by_pose.parent.name == str(int(drawn.poses[0, 0]))
    mask = np.asarray(Image.open(folder / "mask" / "trainannot" / "0000007.png"))
    assert (mask == drawn.mask[0].numpy()).all()


def test_each_class_and_each_pose_is_as_frequent_as_any_other(folder: Path) -> None:
    for labels, kinds in (("class", 10), ("pose", 5)):
        for split, count in (("train", 250), ("val", 50)):
            found = [len(list(each.iterdir())) for each in (folder / labels / split).iterdir()]
            assert found == [count // kinds] * kinds


def test_the_evaluations_read_them(folder: Path, tmp_path: Path) -> None:
    photos = cache.build(data.find([folder / "class" / "val"]), 32, tmp_path)
    assert photos.labels()[1] == tuple(sorted(synthetic.CLASSES))
    masked = segmentation.camvid(folder / "mask" / "test", folder / "mask" / "testannot", 32)
    assert (len(masked.pictures), masked.classes, masked.unusable) == (50, 11, ())
    assert masked.masks.max() == 10
