"""`evaluate color` as a person uses it, and the tables that it writes, of one set and by source."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from model import checkpoint
from model.__main__ import main
from model.evaluate import color, report
from model.evaluate.intervals import Bootstrap, interval
from model.evaluate.report import HELD, TRAIN, Source, SourceMetrics

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
ROWS = ("gray", "a", "b", "dull", "truth")
NETS = ["a", "b", "dull"]


def made(count: int, seed: int, strength: int) -> list[color.Colorized]:
    """Photos of tiles; `a` and `b` are alike and off by some noise, `dull` is gray."""
    chance = np.random.default_rng(seed)
    found = []
    for tiles in chance.integers(60, 200, (count, 4, 4, 3)).astype(np.uint8):
        truth = tiles.repeat(24, axis=0).repeat(24, axis=1)
        off = np.clip(truth + chance.integers(-strength, strength + 1, (1, 1, 3)), 0, 255).astype(np.uint8)
        gray = color.gray(truth)
        found.append((truth, dict(zip(ROWS, (gray, off, off, gray, truth), strict=True))))
    return found


def alone(photos: list[color.Colorized]) -> report.Report:
    return report.summarize(report.measure(photos, None, None), None, NETS)


def test_intervals_of_auc_are_those_of_pooling_each_draw_anew() -> None:
    photos = made(6, 1, 30)
    measured = alone(photos)
    times = Bootstrap(len(photos)).times
    for draw in (0, 1, 2):
        tally = color.Tally()
        for (truth, by_row), often in zip(photos, times[draw], strict=True):
            for _ in range(int(often)):
                tally.add(color.Picture(truth), color.Picture(by_row["a"]))
        slow = tally.score()
        for measure in ("raw_auc", "rebalanced_auc", "psnr", "ssim", "colorfulness"):
            assert measured.scores["a"][measure][draw] == pytest.approx(getattr(slow, measure)), measure


def test_the_distance_of_colorfulness_is_measured_photo_by_photo_and_of_the_means() -> None:
    photos = made(6, 1, 30)
    measured = alone(photos)
    off = [color.colorfulness(by_row["a"]) - color.colorfulness(truth) for truth, by_row in photos]
    assert measured.scores["a"]["colorfulness_off"][0] == pytest.approx(np.mean(np.abs(off)))
    assert measured.scores["a"]["colorfulness_mean_off"][0] == pytest.approx(np.mean(off))


def test_gains_over_gray_are_paired() -> None:
    measured = alone(made(6, 1, 30))
    assert set(measured.gains) == {"a", "b", "dull"}
    for measure in measured.gains["dull"]:
        nothing = interval(measured.gains["dull"][measure])
        assert nothing
        assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0), "the same colors, the same draws"
        np.testing.assert_array_equal(measured.gains["a"][measure], measured.gains["b"][measure])
    assert np.ptp(measured.gains["a"]["raw_auc"]) > 0


def judged(gray: list[bool], ours: list[bool], truth: list[bool]) -> report.Report:
    rows = report.measure(made(6, 1, 30), None, None)
    for name, hits in {"gray": gray, "a": ours, "b": ours, "dull": gray, "truth": truth}.items():
        rows[name].hits += hits
    return report.summarize(rows, [0] * 6, NETS)


def test_what_is_won_back_is_a_share_of_what_gray_lost() -> None:
    measured = judged([True, True, False, False, False, False], [True] * 3 + [False] * 3, [True] * 6)
    assert measured.scores["a"]["top1"][0] == 50
    won = interval(measured.gains["a"]["top1_won_back"])
    assert won
    assert won.value == pytest.approx(25)
    assert 0 <= won.low < won.value < won.high <= 100


def test_where_gray_lost_nothing_there_is_no_share() -> None:
    measured = judged([True] * 6, [True] * 6, [True] * 6)
    gains: Any = measured.as_json()["gains_over_gray"]
    assert gains["a"]["top1_won_back"] is None
    assert "–" in measured.as_markdown()


def test_the_mean_of_all_kinds_of_age_stands_last_of_a_nets_rows() -> None:
    photos = []
    for truth, by_row in made(6, 1, 30):
        aged = {"a": by_row["a"], "a · blur": by_row["a"], "a · grain": by_row["gray"]}
        photos.append((truth, {"gray": by_row["gray"]} | aged | {"truth": truth}))
    measured = report.summarize(report.measure(photos, None, None), None, ["a"], ["blur", "grain"])
    assert list(measured.scores) == ["gray", "a", "a · blur", "a · grain", "a · all kinds mean", "truth"]
    scores = {name: numbers["raw_auc"][0] for name, numbers in measured.scores.items()}
    assert scores["a · all kinds mean"] == pytest.approx((scores["a"] + scores["gray"]) / 2)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four photographs by `lite` under two names."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "photos").mkdir()
    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).save(folder / "photos" / f"{name}.png")
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
    assert written["labels"] == report.OWN_PREDICTION
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
    assert [line.split("|")[1].strip() for line in scores] == [
        "",
        "---",
        "gray",
        "lite",
        "twin",
        "ground truth",
    ]
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


LARGE, SMALL, SEEN = made(5, 1, 90), made(2, 2, 40), made(4, 3, 2)


def measured(name: str, photos: list[color.Colorized], split: str = "", hits: str = "") -> SourceMetrics:
    rows = report.measure(photos, None, None)
    for row, rate in zip(ROWS, hits, strict=False):
        rows[row].hits += [place < int(rate) for place in range(len(photos))]
    paths = [Path(f"{name}/{number}.png") for number in range(len(photos))]
    return SourceMetrics(Source(name, paths, split), rows, report.OWN_PREDICTION if hits else None)


@pytest.fixture(scope="module")
def found() -> report.BySource:
    return report.by_source(
        [measured("large", LARGE, HELD), measured("small", SMALL), measured("large", SEEN, TRAIN)], NETS
    )


def test_a_source_is_rebalanced_by_its_own_colors_and_what_is_pooled_by_those_of_all(
    found: report.BySource,
) -> None:
    for table, photos in (
        (found.tables["large, held"], LARGE),
        (found.tables["small"], SMALL),
        (found.tables["large, train"], SEEN),
        (found.pooled, LARGE + SMALL),
    ):
        single = alone(photos)
        assert table.photos == len(photos)
        for measure in ("raw_auc", "rebalanced_auc", "psnr", "colorfulness"):
            assert table.scores["a"][measure][0] == pytest.approx(single.scores["a"][measure][0]), measure
        assert table.scores["a"]["spill"][0] == pytest.approx(single.failures["a"]["spill"][0])
        assert table.scores["dull"]["blotches"][0] == 0


def test_each_source_counts_alike_in_the_mean_and_training_photos_do_not_count(
    found: report.BySource,
) -> None:
    for measure in ("rebalanced_auc", "psnr"):
        large, small = (found.tables[label].scores["a"][measure][0] for label in ("large, held", "small"))
        assert found.mean.scores["a"][measure][0] == pytest.approx((large + small) / 2)
        assert found.pooled.scores["a"][measure][0] != pytest.approx((large + small) / 2)


def test_nets_are_compared_on_the_same_draws_and_sources_are_drawn_independently() -> None:
    twice = report.by_source([measured("one", LARGE), measured("two", LARGE)], NETS)
    for table in (*twice.tables.values(), twice.mean, twice.pooled):
        alike = interval(table.differences["b − a"]["rebalanced_auc"])
        assert alike
        assert (alike.low, alike.value, alike.high) == (0, 0, 0)
        np.testing.assert_allclose(
            table.differences["dull − a"]["raw_auc"],
            table.scores["dull"]["raw_auc"] - table.scores["a"]["raw_auc"],
        )
        assert set(table.differences) == {"b − a", "dull − a", "dull − b"}
    one, two = (table.scores["a"]["psnr"] for table in twice.tables.values())
    assert one[0] == two[0]
    assert abs(np.corrcoef(one[1:], two[1:])[0, 1]) < 0.2
    assert np.std(twice.mean.scores["a"]["psnr"][1:]) < 0.8 * np.std(one[1:])


def test_the_gap_is_the_gain_where_it_was_trained_minus_that_where_it_was_not(
    found: report.BySource,
) -> None:
    trained, held = (found.tables[f"large, {split}"].gains["a"] for split in (TRAIN, HELD))
    gap = found.gap["large"]["a"]
    assert gap[0] == pytest.approx(trained["rebalanced_auc"][0] - held["rebalanced_auc"][0])
    assert gap[0] > 5, "what was seen is colored much better"
    assert np.std(gap[1:]) == pytest.approx(
        np.hypot(np.std(trained["rebalanced_auc"][1:]), np.std(held["rebalanced_auc"][1:])), rel=0.15
    )
    np.testing.assert_array_equal(found.gap["mean over sources"]["a"], gap)
    assert not found.gap["large"]["dull"].any()


def test_what_is_won_back_in_the_mean_is_of_the_mean_loss() -> None:
    """Nothing is lost in one source, so that it has no share of its own."""
    photos = made(4, 1, 40)
    judged = [measured("easy", photos, hits="43444"), measured("hard", photos, hits="02004")]
    found = report.by_source(judged, NETS)
    assert np.isnan(found.tables["easy"].gains["a"]["top1_won_back"][0])
    assert found.tables["hard"].gains["a"]["top1_won_back"][0] == pytest.approx(50)
    assert found.mean.gains["a"]["top1_won_back"][0] == pytest.approx(25)
    assert found.pooled.scores["a"]["top1"][0] == pytest.approx(62.5)


def test_photos_that_were_trained_on_are_no_evaluation_alone() -> None:
    with pytest.raises(ValueError, match="name one to evaluate on"):
        report.by_source([measured("seen", SEEN, TRAIN)], NETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small photographs of one source, and 2 of another."""
    place = tmp_path_factory.mktemp("photos")
    for name, count in (("many", 24), ("few", 2)):
        (place / name).mkdir()
        for number in range(count):
            piece = skimage.data.astronaut()[number * 16 : number * 16 + 64, 100:180]
            Image.fromarray(piece).save(place / name / f"{number}.png")
    return place


def test_the_command_compares_an_old_net_with_a_new_one_of_the_same_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, card = checkpoint.load(checkpoint.locate("lite"))
    net.head.bias.data[0] += 1
    checkpoint.save(net, card, tmp_path / "new.safetensors")
    words = ["evaluate", "color", "--by-source", "--no-judge", "--device", "cpu", "--limit", "3"]
    words += [
        "--net",
        "lite",
        str(tmp_path / "new.safetensors"),
        "-o",
        str(tmp_path / "out"),
        "--held-out",
        "3",
    ]
    places = [f"many:train={folder}/many", f"many:held={folder}/many"]
    assert main([*words, "--photos", *places]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "out" / "by_source.md").read_text() == said.removesuffix("\n")
    written = json.loads((tmp_path / "out" / "by_source.json").read_text())
    old, new = written["nets"]
    assert old == f"lite {card.sha256[:8]}"
    assert list(written["sources"]) == ["many, train", "many, held"]
    for table in (*written["sources"].values(), written["mean_over_sources"], written["pooled"]):
        assert table["photos"] == 3
        assert set(table["scores"]) == {"gray", old, new, "truth"}
        number = table["differences"][f"{new} − {old}"]["rebalanced_auc"]
        assert number["low"] <= number["value"] <= number["high"]
    assert set(written["gap_rebalanced_auc_gain"]) == {"many", "mean over sources"}
    for line in (
        "| many, held | 3 | gray |",
        f"| pooled | 3 | {new} − {old} |",
        f"| source | {old} | {new} |",
    ):
        assert line in said
    assert main([*words, "--photos", *places, "--aged", "blur"]) == 1
    assert "leave out --aged" in capsys.readouterr().err
