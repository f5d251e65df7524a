"""Fine-tuning: the lesson and the loss against slow twins, which labels are drawn, what is learned, what stays, curves that go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.evaluate.features import Labeled
from model.evaluate.precision import ABSENT, DIFFICULT, PRESENT
from model.evaluate.transfer import (
    Options,
    Ranked,
    Tagged,
    chosen,
    classify,
    efficiency,
    subset,
    tag,
    tagging_loss,
)
from model.evaluate.tuning import Lesson, copied, order, teach
from model.nets.backbone import Backbone

SIDE = 16
SHORT = Options(steps=25, batch=12, rate=1e-2, side=SIDE)


class Tiny(Backbone):
    layers = ("low", "high")
    width = 12
    channels = 3

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())


def things(count: int, seed: int = 0) -> Tagged:
    """Noise with a red, a green or a blue square somewhere, or several, or none."""
    chance = np.random.default_rng(seed)
    squares = chance.integers(90, 166, (count, 3, SIDE, SIDE))
    truth = np.full((count, 3), ABSENT)
    for photo, here in zip(range(count), chance.random((count, 3)) < 0.4, strict=True):
        for color in np.flatnonzero(here):
            top, left = chance.integers(0, SIDE - 5, 2)
            squares[photo, :, top : top + 6, left : left + 6] = 40
            squares[photo, color, top : top + 6, left : left + 6] = 230
            truth[photo, color] = PRESENT
    return Tagged(squares.astype(np.uint8), truth.astype(np.int8))


def photos(count: int, seed: int = 0) -> Labeled:
    """Noise with a tint: three classes."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 3, count)
    squares = chance.integers(60, 196, (count, 3, SIDE, SIDE))
    squares[np.arange(count), labels] += 25
    return Labeled(squares.astype(np.uint8), torch.from_numpy(labels))


def weights(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


# The lesson


def test_a_lesson_against_adam_written_out() -> None:
    chance = np.random.default_rng(0)
    x, wanted = chance.normal(size=(7, 4)), chance.normal(size=7)
    lesson = Lesson(steps=20, batch=3, rate=0.05, decay=0.3, warmup=0.25)
    linear = nn.Linear(4, 1).double()
    values = [linear.weight.detach().numpy()[0].copy(), linear.bias.detach().numpy().copy()]
    at, to = torch.from_numpy(x), torch.from_numpy(wanted)

    def loss(numbers: Tensor) -> Tensor:
        return (linear(at[numbers])[:, 0] - to[numbers]).square().mean()

    teach(linear, 7, loss, lesson, torch.Generator().manual_seed(4))

    first, second = [np.zeros(4), np.zeros(1)], [np.zeros(4), np.zeros(1)]
    for step, some in enumerate(order(7, lesson, torch.Generator().manual_seed(4)).numpy()):
        rise = (step + 1) / 5 if step < 5 else 0.5 * (1 + np.cos(np.pi * (step - 5) / 15))
        rate = 0.05 * rise
        error = x[some] @ values[0] + values[1] - wanted[some]
        slopes = [2 * (error @ x[some]) / 3, np.array([2 * error.mean()])]
        for i, slope in enumerate(slopes):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            if i == 0:  # biases do not decay
                values[i] *= 1 - rate * 0.3
            move = (
                first[i] / (1 - 0.9 ** (step + 1)) / (np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8)
            )
            values[i] = values[i] - rate * move
    np.testing.assert_allclose(linear.weight.detach().numpy()[0], values[0], atol=1e-9)
    np.testing.assert_allclose(linear.bias.detach().numpy(), values[1], atol=1e-9)


@pytest.mark.parametrize("count", [3, 7, 50])
def test_all_photos_are_seen_before_one_is_seen_again(count: int) -> None:
    numbers = order(count, Lesson(steps=5, batch=6), torch.Generator().manual_seed(0)).flatten()
    for start in range(0, 30, count):
        some = numbers[start : start + count].tolist()
        assert len(set(some)) == len(some)
        assert set(some) <= set(range(count))
    assert numbers.tolist() != sorted(numbers.tolist())


def test_no_lesson() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        Options(steps=0)
    with pytest.raises(ValueError, match="norms want 2"):
        Options(batch=1)


# What learns, and what stays


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_the_lower_layers_stay_as_they_are_norms_included(frozen: int) -> None:
    backbone = Tiny().eval().requires_grad_(False)  # as an averaged copy comes out of a run
    copy = copied(backbone, frozen)
    before = {layer: weights(copy.get_submodule(layer)) for layer in copy.layers}
    net = nn.Sequential(copy, nn.Linear(12, 3))
    shown = torch.rand(9, 3, SIDE, SIDE)

    def loss(numbers: Tensor) -> Tensor:
        return net(shown[numbers]).square().mean()

    teach(net, 9, loss, SHORT, torch.Generator().manual_seed(0))
    for place, layer in enumerate(copy.layers):
        now = copy.get_submodule(layer)
        assert same(weights(now), before[layer]) == (place < frozen)
        assert all((weight.grad is None) == (place < frozen) for weight in now.parameters())


def test_layers_that_are_not_there_cannot_stay() -> None:
    with pytest.raises(ValueError, match="2 layers cannot keep 3"):
        copied(Tiny(), 3)


def test_the_backbone_given_stays_as_it_is_and_a_seed_says_all() -> None:
    backbone = Tiny().eval()
    before, learns = weights(backbone), [weight.requires_grad for weight in backbone.parameters()]
    one, again, other = (tag(backbone, things(30), things(9, 1), SHORT, seed) for seed in (5, 5, 6))
    assert same(weights(backbone), before)
    assert [weight.requires_grad for weight in backbone.parameters()] == learns
    assert not any(module.training for module in backbone.modules())
    np.testing.assert_array_equal(one.scores, again.scores)
    assert not np.array_equal(one.scores, other.scores)


# What is learned


def test_a_class_is_learned_in_fixed_steps() -> None:
    assert classify(Tiny(), photos(60), photos(60, 1), SHORT).accuracy.value > 0.9


def test_what_is_said_of_a_photo_does_not_hang_on_those_beside_it() -> None:
    judged = things(8, 1)
    all_of_them = tag(Tiny(), things(30), judged, SHORT).scores
    two = tag(Tiny(), things(30), Tagged(judged.squares[:2], judged.truth[:2]), SHORT).scores
    np.testing.assert_allclose(two, all_of_them[:2], atol=0.02)
    assert np.ptp(all_of_them) > 0.5


def test_the_head_alone_learns_less_than_the_backbone_with_it() -> None:
    taught, judged = things(80), things(80, 1)
    whole, head = (
        tag(Tiny(), taught, judged, replace(SHORT, steps=40, frozen=frozen)).precision for frozen in (0, 2)
    )
    assert whole is not None
    assert head is not None
    assert whole.value > 0.85  # by chance 0.4
    assert head.value < whole.value - 0.03


class Shown(Backbone):
    """Keeps what it is shown."""

    layers = ("input",)
    width = 3
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv2d(3, 3, 1)
        self.seen: list[Tensor] = []

    def __deepcopy__(self, _: object) -> Shown:
        return self  # that the test sees what the copy is shown

    def taps(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        return {"input": self.input(x_NCHW)}

    def forward(self, x_NCHW: Tensor) -> Tensor:
        self.seen.append(x_NCHW)
        return super().forward(x_NCHW)


def test_crops_are_taught_and_the_whole_is_judged() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.uint8) * 10, (6, 3, 24, 24))
    some = Labeled(ramp, torch.arange(6) % 2)
    backbone = Shown()
    classify(backbone, some, some, replace(SHORT, steps=8, area=(0.3, 0.6)))
    *taught, judged = backbone.seen
    assert {x.shape[2:] for x in backbone.seen} == {(SIDE, SIDE)}
    taught_N = torch.cat(taught)
    rise = taught_N[:, :, :, -1] - taught_N[:, :, :, 0]
    mirrored = (rise[:, 0, 0] < 0).float().mean()
    assert 0.3 < mirrored < 0.7
    widest = (judged[:, :, :, -1] - judged[:, :, :, 0])[:, 0, 0]
    assert (widest > 0).all()
    assert (rise.abs()[:, 0, 0].max() < widest).all()
    assert rise.abs()[:, 0, 0].std() > 0.1


# Several classes a photo


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


# Few labels


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_are_drawn_evenly_over_classes_and_fewer_are_part_of_more(seed: int) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40)))
    more: set[int] = set()
    for count in (200, 163, 50, 12, 5, 3):
        numbers = chosen(labels, count, seed)
        each = torch.bincount(labels[numbers], minlength=5)
        assert int(each.max() - each.min()) <= 1
        few = set(numbers.tolist())
        assert len(few) == count
        assert few <= more or not more
        more = few
    np.testing.assert_array_equal(chosen(labels, 50, seed), chosen(labels, 50, seed))


def test_another_seed_draws_other_photos_and_favors_other_classes() -> None:
    labels = torch.arange(200) // 20  # class by class, as folders have them
    draws = [chosen(labels, 20, seed).tolist() for seed in range(20)]
    assert len({tuple(sorted(draw)) for draw in draws}) == 20
    assert {int(labels[chosen(labels, 1, seed)]) for seed in range(60)} == set(range(10))


def test_a_small_class_gives_what_it_has() -> None:
    labels = torch.tensor([0] * 3 + [1] * 30)
    assert torch.bincount(labels[chosen(labels, 16, 0)]).tolist() == [3, 13]
    assert sorted(chosen(labels, 33, 0).tolist()) == list(range(33))


@pytest.mark.parametrize("count", [0, 34])
def test_no_more_labels_than_photos(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} labels of 33"):
        chosen(torch.zeros(33, dtype=torch.long), count, 0)


def test_a_subset_keeps_photos_and_labels_together() -> None:
    labels = torch.arange(30) % 3
    squares = np.zeros((30, 3, 4, 4), np.uint8) + np.arange(30, dtype=np.uint8)[:, None, None, None]
    some = subset(Labeled(squares, labels), 7, 1)
    assert (some.squares[:, 0, 0, 0] % 3).tolist() == some.labels.tolist()


# Curves


class StoppedError(Exception):
    pass


def test_a_curve_that_was_interrupted_goes_on_and_ends_as_it_would_have() -> None:
    taught, judged = photos(40), photos(30, 1)
    short = replace(SHORT, steps=4)
    made: list[int] = []

    def make(seed: int) -> Backbone:
        made.append(seed)
        return Tiny(seed)

    kept: list[tuple[int, int, float]] = []

    def keep(*point: float) -> None:
        kept.append(point)  # type: ignore[arg-type]
        if len(kept) == 3:
            raise StoppedError

    done: dict[tuple[int, int], float] = {}
    with pytest.raises(StoppedError):
        efficiency(make, taught, judged, (20, 5), (0, 1), short, done, keep)
    assert [point[:2] for point in kept] == [(5, 0), (20, 0), (5, 1)]
    assert done == {(count, seed): accuracy for count, seed, accuracy in kept}
    resumed = efficiency(make, taught, judged, (20, 5), (0, 1), short, done, keep)
    assert made == [0, 0, 1, 1]
    whole = efficiency(make, taught, judged, (5, 20), (0, 1), short)
    assert resumed.labels == whole.labels == (5, 20)
    np.testing.assert_array_equal(resumed.accuracy, whole.accuracy)
    for seed in (0, 1):
        alone = classify(Tiny(seed), subset(taught, 5, seed), judged, short, seed).right.mean()
        assert whole.accuracy[seed, 0] == alone


def test_a_curve_of_more_labels_than_there_are_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="50 labels of 40"):
        efficiency(lambda seed: pytest.fail("made"), photos(40), photos(9), (5, 50), (0,), SHORT)
