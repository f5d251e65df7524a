"""`evaluate color` as a person uses it, and the tables that it writes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import checkpoint
from model.__main__ import main
from model.evaluate import cases, color, report, sheets
from model.evaluate.intervals import Bootstrap, interval

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def pictures() -> list[np.ndarray]:
    chance = np.random.default_rng(0)
    tiles = chance.integers(60, 200, (6, 4, 4, 3)).astype(np.uint8)
    return list(tiles.repeat(24, axis=1).repeat(24, axis=2))


def answers() -> list[color.Answers]:
    """Six made photos, by two names of one net that is off by some noise, and one that answers gray."""
    chance = np.random.default_rng(1)
    made = []
    for truth in pictures():
        off = np.clip(truth + chance.integers(-30, 31, (1, 1, 3)), 0, 255).astype(np.uint8)
        gray = color.gray(truth)
        made.append((truth, {"gray": gray, "a": off, "b": off, "dull": gray, "truth": truth}))
    return made


def test_intervals_of_auc_are_those_of_pooling_each_draw_anew() -> None:
    made = answers()
    measured = report.report(report.look(made, None, None), None, ["a", "b", "dull"])
    times = Bootstrap(len(made)).times
    for draw in (0, 1, 2):
        tally = color.Tally()
        for (truth, answer), often in zip(made, times[draw], strict=True):
            for _ in range(int(often)):
                tally.add(color.Picture(truth), color.Picture(answer["a"]))
        slow = tally.score()
        for measure in ("raw_auc", "rebalanced_auc", "psnr", "ssim", "colorfulness"):
            assert measured.scores["a"][measure][draw] == pytest.approx(getattr(slow, measure)), measure


def test_the_distance_of_colorfulness_is_told_photo_by_photo_and_of_the_means() -> None:
    made = answers()
    measured = report.report(report.look(made, None, None), None, ["a", "b", "dull"])
    off = [color.colorfulness(answer["a"]) - color.colorfulness(truth) for truth, answer in made]
    assert measured.scores["a"]["colorfulness_off"][0] == pytest.approx(np.mean(np.abs(off)))
    assert measured.scores["a"]["colorfulness_mean_off"][0] == pytest.approx(np.mean(off))


def test_gains_over_gray_are_paired() -> None:
    measured = report.report(report.look(answers(), None, None), None, ["a", "b", "dull"])
    assert set(measured.gains) == {"a", "b", "dull"}
    for measure in measured.gains["dull"]:
        nothing = interval(measured.gains["dull"][measure])
        assert nothing
        assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0), "the same answers, the same draws"
        np.testing.assert_array_equal(measured.gains["a"][measure], measured.gains["b"][measure])
    assert np.ptp(measured.gains["a"]["raw_auc"]) > 0


def judged(gray: list[bool], ours: list[bool], truth: list[bool]) -> report.Report:
    kept = report.look(answers(), None, None)
    for name, hits in {"gray": gray, "a": ours, "b": ours, "dull": gray, "truth": truth}.items():
        kept[name].hits += hits
    return report.report(kept, [0] * 6, ["a", "b", "dull"])


def test_what_is_won_back_is_a_share_of_what_gray_lost() -> None:
    measured = judged([True, True, False, False, False, False], [True] * 3 + [False] * 3, [True] * 6)
    assert measured.scores["a"]["top1"][0] == 50
    won = interval(measured.gains["a"]["top1_won_back"])
    assert won
    assert won.value == pytest.approx(25)
    assert 0 <= won.low < won.value < won.high <= 100


def test_where_gray_lost_nothing_no_share_is_told() -> None:
    measured = judged([True] * 6, [True] * 6, [True] * 6)
    gains: Any = report.as_json(measured)["gains_over_gray"]
    assert gains["a"]["top1_won_back"] is None
    assert "–" in report.as_markdown(measured)


def test_the_mean_of_all_kinds_of_age_stands_last_of_a_nets_rows() -> None:
    made = []
    for truth, answer in answers():
        aged = {"a": answer["a"], "a · blur": answer["a"], "a · grain": answer["gray"]}
        made.append((truth, {"gray": answer["gray"]} | aged | {"truth": truth}))
    measured = report.report(report.look(made, None, None), None, ["a"], ["blur", "grain"])
    assert list(measured.scores) == ["gray", "a", "a · blur", "a · grain", "a · all kinds mean", "truth"]
    scores = {name: numbers["raw_auc"][0] for name, numbers in measured.scores.items()}
    assert scores["a · all kinds mean"] == pytest.approx((scores["a"] + scores["gray"]) / 2)


def test_best_and_worst_are_told_by_what_they_gain_over_gray() -> None:
    kept = report.look(answers(), None, None)
    photos = [Path(f"made/{number}.png") for number in range(6)]
    best, worst = cases.extremes(kept["gray"], kept["a"], photos, 2)
    gain = np.array(kept["gray"].tally.error) - kept["a"].tally.error
    assert [case.photo for case in best] == list(np.argsort(gain)[:-3:-1])
    assert [case.photo for case in worst] == list(np.argsort(gain)[:2])
    assert best[0].caption == f"{gain.max():+.1f}  made/{gain.argmax()}.png"


def test_a_hundred_photos_fit_on_a_readable_sheet() -> None:
    truth = pictures()[0]
    strips = [sheets.Strip(case.caption, [truth] * 3) for case in cases.evenly(100, 100)]
    sheet = sheets.sheet(["gray", "a net with a name that is too long for its column", "truth"], strips)
    assert sheet.width <= 2000
    assert sheet.height > 25 * 128
    row = np.asarray(sheet)[:, :384]
    assert (row[:16].min(axis=(1, 2)) < 100).any(), "headings stand above"
    cell = row[-128:, :128].astype(int)
    expected = np.asarray(Image.fromarray(truth).resize((128, 128), Image.Resampling.LANCZOS))
    assert np.abs(cell - expected).mean() < 4


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four photographs by `lite` under two names."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "photos").mkdir()
    for name in NAMES:
        Image.fromarray(getattr(data, name)()).save(folder / "photos" / f"{name}.png")
    shipped = checkpoint.locate("lite")
    (folder / "twin.safetensors").write_bytes(shipped.read_bytes())
    card = json.loads(shipped.with_suffix(".json").read_text()) | {"name": "twin"}
    (folder / "twin.json").write_text(json.dumps(card))
    words = ["evaluate", "color", "--photos", str(folder / "photos"), "--device", "cpu"]
    words += ["--net", "lite", str(folder / "twin.safetensors"), "--sheet", "3", "-o", str(folder / "out")]
    assert main(words) == 0
    return folder / "out"


def test_the_command_writes_what_the_nets_reach_with_intervals(evaluated: Path) -> None:
    written = json.loads((evaluated / "color.json").read_text())
    assert written["photos"] == 4
    assert written["labels"] == report.OWN_ANSWER
    lite = checkpoint.read_card(checkpoint.locate("lite"))
    assert written["nets"] == {"lite": lite.sha256, "twin": lite.sha256}
    scores = written["scores"]
    assert list(scores) == ["gray", "lite", "twin", "truth"]
    assert scores["lite"] == scores["twin"]
    for measure, value in {"raw_auc": 100, "rebalanced_auc": 100, "ssim": 1, "top1": 100}.items():
        assert scores["truth"][measure] == {"value": value, "low": value, "high": value}
    assert scores["gray"]["colorfulness"]["value"] < 1 < scores["lite"]["colorfulness"]["value"]
    assert scores["lite"]["raw_auc"]["low"] < scores["lite"]["raw_auc"]["value"] < 100
    assert not any(number["value"] for number in written["failures_percent"]["truth"].values())
    assert written["biases"]["gray"]["neutral"]["value"] == 100


def test_the_table_has_a_row_a_net_that_can_be_pasted(evaluated: Path) -> None:
    table = (evaluated / "color.md").read_text()
    assert "4 photographs" in table
    scores = table.split("\n\n")[1].splitlines()
    assert [line.split("|")[1].strip() for line in scores] == ["", "---", "gray", "lite", "twin", "truth"]
    assert len({line.count("|") for line in scores}) == 1
    assert "exact" in scores[-1]


def test_the_contact_sheet_shows_each_chosen_photo_once(evaluated: Path) -> None:
    for name in ("best", "worst", "failures"):
        with Image.open(evaluated / f"{name}.jpg") as sheet:
            assert sheet.format == "JPEG"
    with Image.open(evaluated / "color.jpg") as sheet:
        pixels = np.asarray(sheet).astype(int)
    wide = 4 * 128
    strips = [pixels[-128:, left : left + wide] for left in range(0, pixels.shape[1], wide + 12)]
    assert len(strips) == 3
    assert all(np.abs(a - b).mean() > 5 for a, b in itertools.combinations(strips, 2))


def test_a_card_keeps_the_numbers_a_line_each(evaluated: Path) -> None:
    kept = report.for_card(json.loads((evaluated / "color.json").read_text()))
    assert kept["photos"] == 4
    assert set(kept) == {"photos", "labels", "interval", "nets", "scores", "gains_over_gray"}
    assert kept["scores"]["truth"]["raw_auc"] == "100 (100…100)"
