"""Newell & Deng's study on synthetic pictures, from drawing them to its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.__main__ import main
from model.experiments import study
from model.experiments.study import PLANS, recipe
from model.experiments.synthetic import STUDIED


def test_the_study_draws_trains_evaluates_and_is_not_done_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "--switches", "0000", "0110", "--plan", "seconds", "-o", str(tmp_path)]
    assert main(words) == 0
    table = (tmp_path / "study.md").read_text()
    assert table in capsys.readouterr().out
    found = json.loads((tmp_path / "study.json").read_text())
    assert [row["switches"] for row in found["rows"]] == ["0000", "0110"]
    for row in found["rows"]:
        for who in ("scratch", "pretrained"):
            assert row[who]["labels"] == [10, 20]
            assert all(0 <= right <= 1 for seed in row[who]["accuracy"] for right in seed)
        assert f"| {row['switches']} | " in table
        assert f"{row['verdict']['outcome']}: {row['verdict']['why']}" in table
    squares = [path.read_bytes() for path in (tmp_path / "cache").glob("*.u8")]
    assert len(set(squares)) == 4, "each combination has its own pictures, to train on and to test on"
    results = list((tmp_path / "results").glob("*.json"))
    assert {path.stem for path in results} >= {"0000-drawn", "0000-scratch", "0110-simclr"}
    written = {path: path.stat().st_mtime_ns for path in results}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in results} == written
    assert main([*words, "--method", "supervised"]) == 1, "what is there is not taken for another method's"
    assert "begun with another method" in capsys.readouterr().err


def test_what_cannot_be_studied_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "--plan", "seconds", "-o", str(tmp_path), "--switches"]
    assert main([*words, "01"]) == 1
    assert "switches are four of 0 and 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="patches do not fit"):
        recipe(PLANS["hour"], "context", "alexnet")


@pytest.mark.parametrize("method", ["simclr", "colorize", "supervised"])
def test_a_method_is_trained_on_small_pictures(method: str) -> None:
    small = recipe(PLANS["hour"], method, "alexnet")
    assert (small.shape.side, small.steps, small.batch) == (64, 150, 192)
    strengths = getattr(small.options, "strengths", None) or getattr(small.options, "crops", small.options)
    assert strengths.side <= 64


def test_the_papers_twelve_are_studied_if_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[str] = []
    monkeypatch.setattr(study, "_evaluate", lambda results, plan, bits, *rest: evaluated.append(bits))
    monkeypatch.setattr(study, "_row", lambda results, bits, method: {})
    monkeypatch.setattr(study, "_report", lambda found: "")
    assert main(["study", "--plan", "seconds", "-o", str(tmp_path)]) == 0
    assert evaluated == [str(switches) for switches in STUDIED]
