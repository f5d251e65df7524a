"""Transfer: tags of photos and their loss against its definition, average precision against slow versions, VOC's lists and annotations."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from model.evaluate.finetuning import Options
from model.evaluate.intervals import Bootstrap
from model.evaluate.transfer import (
    ABSENT,
    CLASSES,
    DIFFICULT,
    PRESENT,
    Ranked,
    Tagged,
    average_precision,
    mean_average_precision,
    tag,
    tagging_loss,
    truth,
)
from model.nets.backbone import Backbone

SIDE = 16
SHORT = Options(steps=25, batch=12, lr=1e-2, side=SIDE)


def squares(count: int, seed: int = 0) -> Tagged:
    """Noise with a red, a green or a blue square somewhere, or several, or none."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(90, 166, (count, 3, SIDE, SIDE))
    truth = np.full((count, 3), ABSENT)
    for photo, here in zip(range(count), chance.random((count, 3)) < 0.4, strict=True):
        for color in np.flatnonzero(here):
            top, left = chance.integers(0, SIDE - 5, 2)
            pixels[photo, :, top : top + 6, left : left + 6] = 40
            pixels[photo, color, top : top + 6, left : left + 6] = 230
            truth[photo, color] = PRESENT
    return Tagged(pixels.astype(np.uint8), truth.astype(np.int8))


def test_the_backbone_given_stays_as_it_is_and_a_seed_says_all(tiny: Callable[..., Backbone]) -> None:
    backbone = tiny().eval()
    before, trained = (
        deepcopy(backbone.state_dict()),
        [weight.requires_grad for weight in backbone.parameters()],
    )
    one, again, other = (tag(backbone, squares(30), squares(9, 1), SHORT, seed) for seed in (5, 5, 6))
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)
    assert [weight.requires_grad for weight in backbone.parameters()] == trained
    assert not any(module.training for module in backbone.modules())
    np.testing.assert_array_equal(one.scores, again.scores)
    assert not np.array_equal(one.scores, other.scores)


def test_what_is_said_of_a_photo_does_not_hang_on_those_beside_it(tiny: Callable[..., Backbone]) -> None:
    test = squares(8, 1)
    all_of_them = tag(tiny(), squares(30), test, SHORT).scores
    two = tag(tiny(), squares(30), Tagged(test.squares[:2], test.truth[:2]), SHORT).scores
    np.testing.assert_allclose(two, all_of_them[:2], atol=0.02)
    assert np.ptp(all_of_them) > 0.5


def test_the_head_alone_learns_less_than_the_backbone_with_it(tiny: Callable[..., Backbone]) -> None:
    train, test = squares(80), squares(80, 1)
    whole, head = (
        tag(tiny(), train, test, replace(SHORT, steps=40, frozen=frozen)).precision for frozen in (0, 2)
    )
    assert whole is not None
    assert head is not None
    assert whole.value > 0.85  # by chance 0.4
    assert head.value < whole.value - 0.03


def test_the_loss_of_tags_against_its_definition() -> None:
    chance = np.random.default_rng(0)
    logits, truth = chance.normal(0, 3, (6, 4)), chance.integers(-1, 2, (6, 4))
    losses = []
    for logit, tagged in zip(logits.flat, truth.flat, strict=True):
        sure = 1 / (1 + np.exp(-logit))
        if tagged != DIFFICULT:
            losses.append(-np.log(sure if tagged == PRESENT else 1 - sure))
    assert 5 < len(losses) < 24
    assert float(tagging_loss(torch.from_numpy(logits), torch.from_numpy(truth))) == pytest.approx(
        np.mean(losses)
    )
    hard = torch.zeros(2, 3, dtype=torch.int8)
    assert float(tagging_loss(torch.randn(2, 3), hard)) == 0


def test_precision_is_the_mean_of_the_classes_that_are_there() -> None:
    chance = np.random.default_rng(0)
    truth = chance.integers(-1, 2, (20, 3)).astype(np.int8)
    truth[:, 1] = ABSENT
    ranked = Ranked(chance.normal(size=(20, 3)).astype(np.float32), truth)
    first, none, last = ranked.by_class()
    assert np.isnan(none)
    assert ranked.precision is not None
    assert ranked.precision.value == pytest.approx((first + last) / 2)
    assert Ranked(ranked.scores, np.full_like(truth, ABSENT)).precision is None


def test_as_many_tags_as_photos() -> None:
    with pytest.raises(ValueError, match="4 photos and tags of 3"):
        Tagged(np.zeros((4, 3, 8, 8), np.uint8), np.zeros((3, 20), np.int8))


# Average precision


def ap(scores: list[float], truth: list[int]) -> float:
    (found,) = average_precision(np.array(scores), np.array(truth))
    return float(found)


def slow_ap(scores: list[float], truth: list[int]) -> float:
    """The definition, photo by photo, in fractions."""
    counted = [place for place, said in enumerate(truth) if said != DIFFICULT]
    present = sum(truth[place] == PRESENT for place in counted)
    curve: list[tuple[Fraction, Fraction]] = []
    right = 0
    for rank, place in enumerate(sorted(counted, key=lambda place: -scores[place]), 1):
        right += truth[place] == PRESENT
        curve.append((Fraction(right, present), Fraction(right, rank)))
    best = [
        max([precision for recall, precision in curve if recall >= Fraction(tenths, 10)], default=Fraction(0))
        for tenths in range(11)
    ]
    return float(sum(best) / 11)


def test_average_precision_by_hand() -> None:
    """Two of two, then one absent, then the third: precisions of 1, 1, 2/3, 3/4; recalls to 0.6 have 1, those above 3/4."""
    assert ap([9, 8, 7, 6], [1, 1, -1, 1]) == pytest.approx((7 * 1 + 4 * 0.75) / 11)
    assert ap([9, 8, 7, 6], [1, 1, 1, -1]) == 1
    assert ap([9, 8], [-1, 1]) == 0.5
    assert ap([1, 2, 3], [1, -1, -1]) == pytest.approx(1 / 3)  # in no order but that of scores


def test_a_recall_of_three_in_ten_is_three_tenths() -> None:
    """In floats 3 · 0.1 is more. Three of ten come first, so that four recalls have 1; the others last, so that seven have 10/100."""
    truth = [1] * 3 + [-1] * 90 + [1] * 7
    assert ap([float(-place) for place in range(100)], truth) == pytest.approx((4 * 1 + 7 * 0.1) / 11)


def test_random_scores_beside_the_definition() -> None:
    chance = np.random.default_rng(0)
    for photos in (3, 10, 30, 77):
        for _ in range(20):
            scores = chance.integers(0, photos, photos).astype(np.float64)  # some alike
            truth = chance.choice([PRESENT, DIFFICULT, ABSENT], photos, p=[0.3, 0.2, 0.5])
            truth[0] = PRESENT
            assert ap(scores.tolist(), truth.tolist()) == pytest.approx(
                slow_ap(scores.tolist(), truth.tolist())
            )


def test_the_difficult_do_not_count() -> None:
    hard = [(9.5, 0), (9.0, 1), (8.5, 0), (8.0, -1), (7.0, 1), (6.0, 0)]
    easy = [pair for pair in hard if pair[1]]
    assert ap(*map(list, zip(*hard, strict=True))) == ap(*map(list, zip(*easy, strict=True)))  # type: ignore[arg-type]


def test_a_class_that_is_not_there_has_no_precision() -> None:
    assert np.isnan(ap([1, 2], [-1, -1]))
    assert np.isnan(ap([1, 2], [0, -1]))
    assert np.isnan(ap([1, 2], [0, 0]))


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no order"):
        ap([1, float("nan")], [1, -1])


def test_a_photo_drawn_twice_counts_twice() -> None:
    chance = np.random.default_rng(1)
    scores, truth = chance.normal(size=12), chance.choice([1, 0, -1], 12)
    times = chance.multinomial(12, [1 / 12] * 12, 25).astype(np.float64)
    found = average_precision(scores, truth, times)
    for drawn, value in zip(times.astype(int), found, strict=True):
        some = np.repeat(np.arange(12), drawn)
        # Alike are side by side in either order, but a photo and its copy are the same
        assert value == pytest.approx(ap(scores[some].tolist(), truth[some].tolist()), nan_ok=True)


def test_the_mean_over_classes_and_its_draws() -> None:
    chance = np.random.default_rng(2)
    scores = chance.normal(size=(40, 3))
    truth = np.where(scores + chance.normal(size=(40, 3)) > 0.8, PRESENT, ABSENT)
    truth[:, 2] = ABSENT
    truth[0, 2] = PRESENT  # a third of the draws lack it
    found = mean_average_precision(scores, truth)
    times = Bootstrap(40).times
    for row in (0, 1, 2, 3, 500):
        some = np.repeat(np.arange(40), times[row].astype(int))
        values = [ap(scores[some, c].tolist(), truth[some, c].tolist()) for c in range(3)]
        assert found[row] == pytest.approx(np.nanmean(values))
    assert np.isfinite(found).all()


# VOC2007

OBJECTS = {
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
    for name, objects in OBJECTS.items():
        elements = "".join(
            f"<object><name>{kind}</name><difficult>{int(hard)}</difficult></object>"
            for kind, hard in objects
        )
        (annotations / f"{name}.xml").write_text(f"<annotation>{elements}</annotation>")
    path = tmp_path / "ImageSets" / "Main" / "trainval.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{name}\n" for name in OBJECTS))
    return path


def photo(name: str) -> Path:
    return Path("JPEGImages") / f"{name}.jpg"


def add_lists(split: Path) -> None:
    for kind in CLASSES:
        lines = []
        for name, objects in OBJECTS.items():
            hard = [hard for of, hard in objects if of == kind]
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
