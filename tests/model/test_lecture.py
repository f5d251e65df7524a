"""The lecture goes on where it was stopped, and says what it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from model import synthetic
from model.__main__ import main
from model.commands.desk import Desk
from model.commands.lecture import PLANS
from model.pretraining import METHODS
from model.synthetic import Switches


def test_what_was_worked_out_is_not_worked_out_again(tmp_path: Path) -> None:
    asked: list[int] = []
    for _ in range(2):
        assert Desk(tmp_path).once("alexnet-knn", lambda: asked.append(1) or {"accuracy": 0.5}) == {
            "accuracy": 0.5
        }
    assert len(asked) == 1


def test_what_was_stopped_is_not_taken_for_done(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    def stopped() -> None:
        desk.keep("curve", {"20 0": 0.25})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.once("curve", stopped)
    assert desk.some("curve") == {"20 0": 0.25}, "but what it had is kept"
    assert desk.once("curve", lambda: 3) == 3


def test_a_folder_holds_results_of_one_kind(tmp_path: Path) -> None:
    Desk(tmp_path).begin({"plan": {"labels": (20, 90)}})
    Desk(tmp_path).begin({"plan": {"labels": (20, 90)}})
    with pytest.raises(ValueError, match="begun with another plan"):
        Desk(tmp_path).begin({"plan": {"labels": (20, 91)}})


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_has_every_method_on_every_net(plan: str) -> None:
    made = PLANS[plan]()
    assert {net: set(steps) for net, steps in made.steps.items()} == {net: set(METHODS) for net in made.steps}


@pytest.mark.slow
def test_a_lecture_from_photographs_to_its_page_and_again(tmp_path: Path) -> None:
    pictures = synthetic.draw(range(200), synthetic.Options(Switches(viewpoint=True), side=96, samples=1))
    for number, (rgb, kind) in enumerate(zip(pictures.rgb, pictures.classes[:, 0].tolist(), strict=True)):
        for folder in ("val" if number % 4 == 0 else "train", "gallery"):
            path = tmp_path / folder / synthetic.CLASSES[kind] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb.permute(1, 2, 0).numpy()).save(path)
    words = [
        "lecture",
        "--photos",
        str(tmp_path),
        "--gallery",
        str(tmp_path / "gallery"),
        "--plan",
        "minutes",
    ]
    words += ["--cache", str(tmp_path / "cache"), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    found = json.loads((tmp_path / "out" / "lecture.json").read_text())
    assert [subject["method"] for subject in found["subjects"]] == [
        "random",
        *PLANS["minutes"]().steps["alexnet"],
    ]
    for subject in found["subjects"]:
        assert set(subject["probes"]) == set(subject["layers"])
        assert (tmp_path / "out" / subject["pictures"]["neighbors"]).exists()
    assert (tmp_path / "out" / "index.html").exists()
    results = list((tmp_path / "out" / "results").iterdir())
    written = {path: path.stat().st_mtime_ns for path in results}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in results} == written
