"""Evaluation by source: what is weighed within a source, over sources and pooled, and what `--photos NAME:split=PATH` means."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from model import checkpoint
from model.training import data
from model.__main__ import main
from model.commands import selection
from model.evaluate import color, report, sources
from model.evaluate.intervals import interval
from model.evaluate.sources import HELD, TRAIN, Looked, Source

ROWS = ("gray", "a", "b", "dull", "truth")


def made(count: int, seed: int, strength: int) -> list[color.Answers]:
    """Photos of tiles; `a` and `b` are alike and off by some noise, `dull` is gray."""
    chance = np.random.default_rng(seed)
    found = []
    for tiles in chance.integers(60, 200, (count, 4, 4, 3)).astype(np.uint8):
        truth = tiles.repeat(24, axis=0).repeat(24, axis=1)
        off = np.clip(truth + chance.integers(-strength, strength + 1, (1, 1, 3)), 0, 255).astype(np.uint8)
        gray = color.gray(truth)
        found.append((truth, dict(zip(ROWS, (gray, off, off, gray, truth), strict=True))))
    return found


LARGE, SMALL, SEEN = made(5, 1, 90), made(2, 2, 40), made(4, 3, 2)


def looked(name: str, answers: list[color.Answers], split: str = "", hits: str = "") -> Looked:
    kept = report.look(answers, None, None)
    for row, rate in zip(ROWS, hits, strict=False):
        kept[row].hits += [place < int(rate) for place in range(len(answers))]
    photos = [Path(f"{name}/{number}.png") for number in range(len(answers))]
    return Looked(Source(name, photos, split), kept, report.OWN_ANSWER if hits else None)


NETS = ["a", "b", "dull"]


@pytest.fixture(scope="module")
def found() -> sources.BySource:
    return sources.by_source(
        [looked("large", LARGE, HELD), looked("small", SMALL), looked("large", SEEN, TRAIN)], NETS
    )


def test_a_source_is_rebalanced_by_its_own_colors_and_what_is_pooled_by_those_of_all(
    found: sources.BySource,
) -> None:
    for table, answers in (
        (found.tables["large, held"], LARGE),
        (found.tables["small"], SMALL),
        (found.tables["large, train"], SEEN),
        (found.pooled, LARGE + SMALL),
    ):
        alone = report.report(report.look(answers, None, None), None, NETS)
        assert table.photos == len(answers)
        for measure in ("raw_auc", "rebalanced_auc", "psnr", "colorfulness"):
            assert table.scores["a"][measure][0] == pytest.approx(alone.scores["a"][measure][0]), measure
        assert table.scores["a"]["spill"][0] == pytest.approx(alone.failures["a"]["spill"][0])
        assert table.scores["dull"]["blotches"][0] == 0


def test_each_source_counts_alike_in_the_mean_and_training_photos_do_not_count(
    found: sources.BySource,
) -> None:
    for measure in ("rebalanced_auc", "psnr"):
        large, small = (found.tables[label].scores["a"][measure][0] for label in ("large, held", "small"))
        assert found.mean.scores["a"][measure][0] == pytest.approx((large + small) / 2)
        assert found.pooled.scores["a"][measure][0] != pytest.approx((large + small) / 2)


def test_nets_are_compared_on_the_same_draws_and_sources_drawn_for_themselves() -> None:
    twice = sources.by_source([looked("one", LARGE), looked("two", LARGE)], NETS)
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
    found: sources.BySource,
) -> None:
    trained, held = (found.tables[f"large, {split}"].gains["a"] for split in (TRAIN, HELD))
    gap = found.gap["large"]["a"]
    assert gap[0] == pytest.approx(trained["rebalanced_auc"][0] - held["rebalanced_auc"][0])
    assert gap[0] > 5, "what was seen is answered much better"
    assert np.std(gap[1:]) == pytest.approx(
        np.hypot(np.std(trained["rebalanced_auc"][1:]), np.std(held["rebalanced_auc"][1:])), rel=0.15
    )
    np.testing.assert_array_equal(found.gap["mean over sources"]["a"], gap)
    assert not found.gap["large"]["dull"].any()


def test_what_is_won_back_in_the_mean_is_of_the_mean_loss() -> None:
    """Nothing is lost in one source, so that it has no share of its own."""
    answers = made(4, 1, 40)
    judged = [looked("easy", answers, hits="43444"), looked("hard", answers, hits="02004")]
    found = sources.by_source(judged, NETS)
    assert np.isnan(found.tables["easy"].gains["a"]["top1_won_back"][0])
    assert found.tables["hard"].gains["a"]["top1_won_back"][0] == pytest.approx(50)
    assert found.mean.gains["a"]["top1_won_back"][0] == pytest.approx(25)
    assert found.pooled.scores["a"]["top1"][0] == pytest.approx(62.5)


def test_photos_that_were_trained_on_are_no_evaluation_alone() -> None:
    with pytest.raises(ValueError, match="name one to evaluate on"):
        sources.by_source([looked("seen", SEEN, TRAIN)], NETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small photographs of one source, and 2 of another."""
    place = tmp_path_factory.mktemp("photos")
    for name, count in (("many", 24), ("few", 2)):
        (place / name).mkdir()
        for number in range(count):
            piece = data.astronaut()[number * 16 : number * 16 + 64, 100:180]
            Image.fromarray(piece).save(place / name / f"{number}.png")
    return place


def asked(*photos: str, **more: object) -> argparse.Namespace:
    words = {"exclude": [], "only": None, "held_out": 0, "limit": 0} | more
    return argparse.Namespace(photos=[Path(word) for word in photos], **words)


def test_sources_are_named_joined_and_limited_one_by_one(folder: Path) -> None:
    many, few = selection.sources(asked(f"m={folder}/many", f"{folder}/few", limit=5))
    assert (many.label, few.label) == ("m", "few")
    assert (len(many.photos), len(few.photos)) == (5, 2)
    [both] = selection.sources(asked(f"x:held={folder}/many", f"x:held={folder}/few"))
    assert (both.label, len(both.photos)) == ("x, held", 26)


def test_held_out_tenths_are_parted_as_in_training(folder: Path) -> None:
    photos = data.find([folder / "many"])
    kept, out = data.split(photos, 3)
    train, held = selection.sources(asked(f"m:train={folder}/many", f"m:held={folder}/many", held_out=3))
    assert (train.photos, held.photos) == (kept, out)
    assert kept
    assert out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["m:test={}/many"], "m:test=.* is no source"),
        (["={}/many"], "is no source"),
        (["m:train={}/many", "m:held={}/many"], "24 photographs of m are in both splits"),
    ],
)
def test_sources_that_mean_nothing_are_refused(words: list[str], reason: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        selection.sources(asked(*(word.format(folder) for word in words)))


def test_a_source_of_which_nothing_is_left_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="source m is left"):
        selection.sources(asked(f"m={folder}/many", only="*.jpg"))


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
