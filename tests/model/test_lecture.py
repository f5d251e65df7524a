"""The lecture goes on where it was stopped, and says what it has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.__main__ import main
from model.evaluate.probes import goyal2019, zhang2016
from model.experiments import lecture, synthetic
from model.experiments.lecture import PLANS
from model.experiments.projection import in_views
from model.experiments.results import Results
from model.experiments.synthetic import Switches
from model.methods import simclr
from model.training import session
from model.training.config import Config


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_has_every_method_on_every_net(plan: str) -> None:
    made = PLANS[plan]()
    assert {net: set(steps) for net, steps in made.steps.items()} == {
        net: {"context", "colorize", "simclr", "supervised"} for net in made.steps
    }


# What it needs


def photographs(folder: Path, train: dict[str, int], val: dict[str, int], side: int = 80) -> Path:
    """Pictures of colored blocks, so many of each class."""
    chance = np.random.default_rng(0)
    for split, classes in (("train", train), ("val", val)):
        for kind, count in classes.items():
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                blocks = Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8))
                blocks.resize((side, side), Image.Resampling.NEAREST).save(
                    folder / split / kind / f"{number}.png"
                )
    return folder


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained, and no net is evaluated."""

    def refused(*_: Any) -> None:
        raise AssertionError("a net was trained")

    monkeypatch.setattr(session, "learn", refused)
    monkeypatch.setattr(lecture, "_evaluate", refused)


def words(photos: Path, out: Path, *more: str) -> list[str]:
    given = ["lecture", "--photos", str(photos), "--cache", str(out / "cache"), "-o", str(out / "out")]
    return [*given, *more]


@pytest.mark.usefixtures("untrained")
def test_500_photographs_are_too_few_for_the_plan_and_what_to_do_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs(tmp_path / "few", {"cat": 485, "dog": 15}, {"cat": 3, "dog": 3})
    assert main(words(photos, tmp_path)) == 1
    said = capsys.readouterr().err
    assert "nothing was trained" in said
    assert "by 3,000 labels needs as many photographs in train, and 500 can be used" in said
    assert "--labels 20 90 300" in said
    assert "20 photographs of each class in train: dog has 15" in said
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_500_photographs_are_enough_for_fewer_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class BegunError(Exception):
        pass

    def begun(recipe: Config, *_: Any) -> None:
        raise BegunError(recipe.method)

    monkeypatch.setattr(session, "learn", begun)
    photos = photographs(tmp_path / "few", {"cat": 480, "dog": 20}, {"cat": 3, "dog": 3})
    with pytest.raises(BegunError, match="simclr"):
        main(words(photos, tmp_path, "--labels", "300", "20", "90", "--nets", "alexnet"))
    plan = Results(tmp_path / "out").get("metadata")["plan"]
    assert plan["labels"] == [20, 90, 300]
    assert main(words(photos, tmp_path, "--labels", "20", "90", "--nets", "alexnet")) == 1
    assert "begun with another plan" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("train", "more", "said"),
    [
        (
            {"cat": 60, "dog": 60},
            ["--labels", "20"],
            "a training step shows 192 different photographs, and 120",
        ),
        ({"cat": 220, "dog": 19}, ["--labels", "20"], "20 photographs of each class in train: dog has 19"),
        ({"cat": 240}, ["--labels", "20"], "there is one only, cat"),
        ({"cat": 9, "dog": 9}, ["--plan", "minutes"], "kNN asks the 20 nearest photographs, and 18 in train"),
        ({"cat": 9, "dog": 9}, ["--nets", "vgg", "--plan", "minutes"], "no net 'vgg': --nets takes alexnet"),
        ({"cat": 30, "dog": 30}, ["--labels", "0"], "counts from 1 on, not 0"),
        (
            {"cat": 30, "dog": 30},
            ["--plan", "minutes", "--protocol", "zhang2016"],
            "as squares of 256 pixels: none of 60",
        ),
    ],
)
def test_what_is_too_few_or_unknown_is_refused_before_the_first_net_is_trained(
    train: dict[str, int], more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs(tmp_path / "photos", train, dict.fromkeys(train, 2))
    assert main(words(photos, tmp_path, *more)) == 1
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_gray_photographs_teach_no_colors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photographs(tmp_path / "photos", {"cat": 30, "dog": 30}, {"cat": 2, "dog": 2})
    for number, path in enumerate(sorted((photos / "train").glob("*/*.png"))):
        if number >= 7:
            Image.open(path).convert("L").save(path)
    assert main(words(photos, tmp_path, "--plan", "minutes")) == 1
    said = capsys.readouterr().err
    assert "colorization learns from 8 different color photographs a step, and 7 in train are such" in said


@pytest.mark.usefixtures("untrained")
def test_photographs_too_small_to_train_by_are_refused_though_they_can_be_evaluated_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs(tmp_path / "photos", {"cat": 30, "dog": 30}, {"cat": 2, "dog": 2}, side=48)
    assert main(words(photos, tmp_path, "--plan", "minutes")) == 1
    assert "as squares of 160 pixels: none of 60 photographs can be used: 60 tiny" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_missing_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "none", tmp_path)) == 1
    said = capsys.readouterr().err
    for split in ("train", "val"):
        assert f"{tmp_path / 'none' / split} is missing" in said
    photos = photographs(tmp_path / "photos", {"cat": 30, "dog": 30}, {"cat": 2})
    assert main(words(photos, tmp_path, "--plan", "minutes")) == 1
    assert "have other classes: dog" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_other_photographs_are_looked_at_first_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photographs(tmp_path / "photos", {"cat": 30, "dog": 30}, {"cat": 2, "dog": 2})
    tried = words(photos, tmp_path, "--plan", "minutes")
    lonely = tmp_path / "gallery" / "owl"
    lonely.mkdir(parents=True)
    Image.new("RGB", (60, 60)).save(lonely / "1.png")
    for option, folder, said in (
        ("--gallery", "gallery", "classes in folders, "),
        ("--voc", "none", "trainval.txt is missing, the list of the photographs of this half"),
        ("--camvid", "none", "holds no pictures"),
    ):
        assert main([*tried, option, str(tmp_path / folder)]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert str(tmp_path / folder) in error


# What is trained for the projection probe, and how probes are made


@pytest.mark.parametrize("name", PLANS)
def test_the_projection_probes_run_has_views_with_what_it_predicts(name: str) -> None:
    plan = PLANS[name]()
    assert set(plan.projected) == set(plan.steps)
    for net in plan.steps:
        options = plan.projection(net).options
        assert isinstance(options, simclr.SimCLROptions)
        assert all(in_views(options).values())
        others = plan.recipe("simclr", net).options
        assert isinstance(others, simclr.SimCLROptions)
        assert in_views(others) == {"gray": True, "rotate": False, "noise": False, "sobel": False}
        assert replace(options.strengths, rotated=1.0, noised=1.0, sobeled=1.0) == others.strengths
        assert plan.projection(net).steps < plan.recipe("simclr", net).steps or name == "minutes"


def test_a_papers_protocol_brings_its_own_photos_and_epochs() -> None:
    plan = PLANS["hours"]()
    assert (plan.probing().photo, plan.probing().epochs) == (96, 12)
    assert replace(plan, protocol="zhang2016").probing() == zhang2016()
    assert replace(plan, protocol="goyal2019").probing() == goyal2019()


@pytest.mark.slow
def test_a_lecture_from_photographs_to_its_page_and_again(tmp_path: Path) -> None:
    pictures = synthetic.draw(range(200), synthetic.Options(Switches(viewpoint=True), side=96, samples=1))
    for number, (rgb, kind) in enumerate(zip(pictures.rgb, pictures.classes[:, 0].tolist(), strict=True)):
        for folder in ("val" if number % 4 == 0 else "train", "gallery"):
            path = tmp_path / folder / synthetic.CLASSES[kind] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb.permute(1, 2, 0).numpy()).save(path)
    command = words(tmp_path, tmp_path, "--gallery", str(tmp_path / "gallery"), "--plan", "minutes")
    assert main(command) == 0
    found = json.loads((tmp_path / "out" / "lecture.json").read_text())
    assert [subject["method"] for subject in found["subjects"]] == [
        "random",
        "random-gray",
        *PLANS["minutes"]().steps["alexnet"],
    ]
    for subject in found["subjects"]:
        assert set(subject["probes"]) == set(subject["layers"])
        assert (tmp_path / "out" / subject["pictures"]["neighbors"]).exists()
    assert all(of["in_views"] for of in found["projection"]["alexnet"].values())
    assert found["projection_runs"]["alexnet"]["steps"] == 2
    assert 0 <= found["pairwise"]["untrained"] <= 1
    said = (tmp_path / "out" / "index.html").read_text()
    for part in (
        "Probed by the protocol small",
        "rotation, noise and edges were among the views",
        "The same net untrained",
    ):
        assert part in said
    results = list((tmp_path / "out" / "results").iterdir())
    written = {path: path.stat().st_mtime_ns for path in results}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in results} == written
