"""Linear probes against the same worked out in NumPy, what they are shown, and what they leave as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.__main__ import main
from model.commands import backbones, options
from model.evaluate import probes as module
from model.evaluate.intervals import interval
from model.evaluate.probes import (
    PROTOCOLS,
    Labeled,
    Protocol,
    Split,
    _with_pools,
    balanced,
    evaluate,
    fit,
    goyal2019,
    positions,
    probe,
    small,
    subset,
    window,
    zhang2016,
)
from model.evaluate.probes import protocol as named
from model.nets.alexnet import AlexNet
from model.nets.backbone import DEVIATION, MEAN, Backbone, normalized
from model.nets.resnet import ResNet

SIDE = 16
WHOLE = Protocol(numbers=72, mirror=False, epochs=4, batch=20, lr=0.05)


pytestmark = pytest.mark.usefixtures("float32")  # twins are counted out in it


class Tiny(Backbone):
    layers = ("low", "high")
    width = 12
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())


class Bare(Backbone):
    """Shows what it is shown."""

    layers = ("input",)
    width = 3
    channels = 3

    def __init__(self, times: float = 1) -> None:
        super().__init__()
        self.input = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.input.weight)
        with torch.no_grad():
            self.input.weight.mul_(times)
        self.shown: list[Tensor] = []
        self.input.register_forward_hook(lambda _, shown, __: self.shown.append(shown[0]))


def photos(count: int, seed: int = 0) -> Labeled:
    """Noise of two finenesses with three tints: six classes, told apart with some errors."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 6, count)
    pixels = chance.integers(60, 196, (count, 3, SIDE, SIDE))
    coarse = pixels[:, :, ::2, ::2].repeat(2, 2).repeat(2, 3)
    pixels = np.where((labels >= 3)[:, None, None, None], coarse, pixels)
    pixels[np.arange(count), labels % 3] += 12
    return Labeled(pixels.astype(np.uint8), torch.from_numpy(labels))


# Against a slow version


def slow(features: NDArray[np.float64], labels: NDArray[np.int64], protocol: Protocol) -> NDArray[np.float64]:
    """(N, C, h, w) features → weights and biases, (classes, numbers + 1), by gradients written out, in the probe's order of photos."""
    classes, count = 6, len(labels)
    channels = features.shape[1]
    weights = np.zeros((classes, features[0].size))
    biases = np.zeros(classes)
    speed = [np.zeros_like(weights), np.zeros_like(biases)]
    generator = torch.Generator().manual_seed(3)
    for epoch in range(protocol.epochs):
        rate = protocol.lr_at(epoch)
        order = torch.randperm(count, generator=generator).numpy()
        for start in range(0, count - protocol.batch + 1, protocol.batch):
            some = order[start : start + protocol.batch]
            torch.randint(1, (len(some),), generator=generator)  # which of them are mirrored: none
            x = features[some].transpose(1, 0, 2, 3).reshape(channels, -1)
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = (
                x.reshape(channels, len(some), *features.shape[2:])
                .transpose(1, 0, 2, 3)
                .reshape(len(some), -1)
            )
            logits = x @ weights.T + biases
            odds = np.exp(logits - logits.max(1, keepdims=True))
            owed = (odds / odds.sum(1, keepdims=True) - np.eye(classes)[labels[some]]) / len(some)
            owing = [owed.T @ x + protocol.weight_decay * weights, owed.sum(0)]
            for of, gradient, now, pace in zip((weights, biases), owing, speed, (1, 2), strict=True):
                now *= protocol.momentum
                now += gradient
                of -= pace * rate * (gradient + protocol.momentum * now)  # Nesterov
    return np.column_stack([weights, biases])


@pytest.mark.parametrize("resize", ["bilinear", "adaptive"])
def test_each_probe_is_the_one_that_would_have_learned_alone_in_numpy(resize: str) -> None:
    train, backbone = photos(70), Tiny().eval()
    protocol = replace(WHOLE, resize=resize, weight_decay=0.02)
    heads = fit(backbone, train, protocol, seed=3)
    assert list(heads) == ["low", "high"]
    with torch.no_grad():
        found = backbone.taps(normalized(torch.from_numpy(train.squares)))
    for layer, side in (("low", 3), ("high", 2)):
        x = found[layer]
        sized = (
            F.interpolate(x, (side, side), mode="bilinear")
            if resize == "bilinear"
            else F.adaptive_avg_pool2d(x, side)
        )
        kept = sized.half().double().numpy()
        expected = slow(kept, train.labels.numpy(), protocol)
        linear = heads[layer].linear
        learned = torch.column_stack([linear.weight, linear.bias]).detach().numpy()
        np.testing.assert_allclose(learned, expected, atol=2e-5)
        assert np.abs(expected).max() > 0.05


def test_the_learning_rate_falls_when_it_should() -> None:
    rates = [goyal2019().lr_at(epoch) for epoch in range(28)]
    assert rates == pytest.approx([1e-2] * 8 + [1e-3] * 8 + [1e-4] * 8 + [1e-5] * 4)
    assert [WHOLE.lr_at(epoch) for epoch in range(4)] == pytest.approx([0.05, 0.005, 0.0005, 0.00005])


# Resizing


def test_the_papers_positions() -> None:
    assert [positions(channels, 99, 99)[0] for channels in (96, 256, 384, 384, 256)] == [10, 6, 5, 5, 6]
    resnets = {channels: positions(channels, 99, 99)[0] for channels in (64, 128, 256, 512, 1024, 2048)}
    assert resnets == {64: 12, 128: 8, 256: 6, 512: 4, 1024: 3, 2048: 2}
    assert all(7000 < channels * side**2 <= 9600 for channels, side in resnets.items())
    assert positions(64, 5, 7) == (5, 7)
    assert positions(20000, 4, 4) == (1, 1)


@pytest.mark.parametrize(
    ("backbone", "side", "found"),
    [
        (AlexNet(), 227, [10, 6, 5, 5, 6]),
        (AlexNet(stride=2), 96, [10, 6, 5, 5, 6]),
        (ResNet(18), 64, [12, 12, 8, 4, 2]),
        (ResNet(18, channels=1, stem="small"), 32, [12, 12, 8, 6, 4]),
    ],
)
def test_the_nets_layers(backbone: Backbone, side: int, found: list[int]) -> None:
    some = Labeled(
        np.random.default_rng(0).integers(0, 256, (4, 3, side, side)).astype(np.uint8),
        torch.tensor([0, 1, 2, 0]),
    )
    probes = probe(backbone, some, some, Protocol(epochs=1, batch=4, mirror=False))
    assert list(probes) == list(backbone.layers)
    assert [layer.positions for layer in probes.values()] == [rows**2 for rows in found]
    assert all(layer.numbers <= 9600 for layer in probes.values())


# What they are shown


def placed(count: int, side: int) -> Labeled:
    """Photos that say of each pixel which photo, row and column it is."""
    squares = np.zeros((count, 3, side, side), np.uint8)
    squares[:, 0] = np.arange(count)[:, None, None]
    squares[:, 1] = np.arange(side)[:, None]
    squares[:, 2] = np.arange(side)
    return Labeled(squares, torch.arange(count) % 2)


def seen(backbone: Bare) -> NDArray[np.int64]:
    """(views, 3, H, W): all that the backbone has been shown, in pixels again."""
    shown = torch.cat(backbone.shown)
    mean, deviation = (torch.tensor(of)[:, None, None] for of in (MEAN, DEVIATION))
    return ((shown * deviation + mean) * 255).round().long().numpy()


def test_crops_are_drawn_anew_for_each_photo_each_time_and_half_of_them_mirrored() -> None:
    backbone = Bare()
    fit(backbone, placed(50, 20), Protocol(crop=12, batch=10, epochs=4))
    views = seen(backbone)[1:]  # after the example
    assert views.shape == (200, 3, 12, 12)
    assert np.bincount(views[:, 0, 0, 0]).tolist() == [4] * 50
    corners, mirrored = set(), 0
    for view in views:
        assert len(set(view[0].flat)) == 1
        assert (np.diff(view[1], axis=0) == 1).all()
        turn = np.unique(np.diff(view[2], axis=1)).tolist()
        assert turn in ([1], [-1 % 256 - 256])
        mirrored += turn != [1]
        corners.add((int(view[1].min()), int(view[2].min())))
    assert 75 < mirrored < 125
    assert {y for y, _ in corners} == set(range(9)) == {x for _, x in corners}
    assert len(corners) > 60  # rows and columns apart
    first, second = views[:50], views[50:100]
    same = sum(np.array_equal(a, b) for a in first for b in second)
    assert same < 10


def test_the_test_is_shown_its_middle_and_never_mirrored() -> None:
    backbone, protocol = Bare(), Protocol(crop=12, batch=10, epochs=1)
    heads = fit(backbone, placed(20, 20), protocol)
    backbone.shown.clear()
    evaluate(backbone, heads, placed(70, 20), protocol)
    views = seen(backbone)
    assert views[:, 0, 0, 0].tolist() == list(range(70))
    assert (views[:, 1] == np.arange(4, 16)[:, None]).all()
    assert (views[:, 2] == np.arange(4, 16)).all()


def test_a_crop_must_fit() -> None:
    with pytest.raises(ValueError, match="no crops of 30"):
        fit(Bare(), placed(4, 20), Protocol(crop=30))


# Memory


def test_numbers_from_memory_train_as_another_look_does() -> None:
    train, backbone = photos(90), Tiny()
    protocol = replace(WHOLE, mirror=True)
    remembered, looked = (fit(backbone, train, replace(protocol, memory=memory)) for memory in (4e9, 0))
    other = fit(backbone, train, replace(protocol, mirror=False))
    for layer, head in remembered.items():
        assert torch.allclose(head.linear.weight, looked[layer].linear.weight, atol=2e-4)
        assert not torch.allclose(head.linear.weight, other[layer].linear.weight, atol=2e-3)


def test_what_fits_is_looked_at_once() -> None:
    train = photos(90)
    for memory, views in ((4e9, 1 + 2 * 90), (0, 1 + 4 * 80)):
        backbone = Bare()
        fit(backbone, train, replace(WHOLE, mirror=True, memory=memory))
        assert len(seen(backbone)) == views
    wanted = 2 * 2 * 90 * 3 * 4**2  # bytes, sides, photos, channels, positions
    for memory, views in ((wanted, 181), (wanted - 1, 321)):
        backbone = Bare()
        fit(backbone, train, replace(WHOLE, mirror=True, memory=memory))
        assert len(seen(backbone)) == views


def test_numbers_too_large_for_16_bits_are_told() -> None:
    with pytest.raises(ValueError, match="input has numbers that 16 bits do not hold"):
        fit(Bare(1e5), photos(20), WHOLE)
    fit(Bare(1e5), photos(20), replace(WHOLE, memory=0))


# What they find


def test_probes_tell_classes_apart_that_their_layers_see() -> None:
    protocol = Protocol(numbers=200, epochs=20, batch=50)
    found = probe(Tiny(), photos(400), photos(150, seed=1), protocol)
    for layer in found.values():
        sure = layer.accuracy
        assert sure.value == layer.right.mean() > 0.5
        assert sure.low < sure.value < sure.high < sure.value + 0.1
    shuffled = Labeled(photos(400).squares, photos(400, seed=7).labels)
    chance = probe(Tiny(), shuffled, photos(150, seed=1), protocol)
    assert all(layer.accuracy.low < 1 / 6 for layer in chance.values())


def test_right_is_by_photo_in_order() -> None:
    protocol = replace(WHOLE, epochs=10)
    backbone, test = Tiny(), photos(100, seed=1)
    heads = fit(backbone, photos(200), protocol)
    right = evaluate(backbone, heads, test, protocol)["high"].right
    assert 10 < right.sum() < 100
    # Whichever others are tested with it
    for number in range(99, -1, -3):
        alone = Labeled(test.squares[[number]], test.labels[[number]])
        assert evaluate(backbone, heads, alone, protocol)["high"].right.tolist() == [right[number]]


def test_the_backbone_is_left_as_it_was() -> None:
    backbone = Tiny().train()
    backbone.high.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    probe(backbone, photos(60), photos(20), WHOLE)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert backbone.training
    assert backbone.low[1].training
    assert not backbone.high.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in backbone.parameters())


def test_norms_go_by_all_of_the_training_however_short() -> None:
    backbone, train = Bare(), photos(20)
    norm = fit(backbone, train, replace(WHOLE, epochs=1, numbers=10**6))["input"].norm
    x = normalized(torch.from_numpy(train.squares))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, x.mean((0, 2, 3)), atol=1e-3)
    assert torch.allclose(norm.running_var, x.transpose(0, 1).flatten(1).var(1), atol=1e-3)


def test_the_same_seed_is_the_same_probe() -> None:
    backbone, train = Tiny(), photos(60)
    first, again, other = (fit(backbone, train, WHOLE, seed)["high"].linear.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_photos_or_not_as_many_labels_are_refused() -> None:
    for count, labels in ((0, 0), (3, 2)):
        with pytest.raises(ValueError, match=f"{count} photos and {labels} labels"):
            Labeled(np.zeros((count, 3, 8, 8), np.uint8), torch.zeros(labels, dtype=torch.long))


def test_the_papers_protocols() -> None:
    assert (zhang2016().crop, zhang2016().batch, zhang2016().resize) == (227, 64, "bilinear")
    assert (goyal2019().crop, goyal2019().batch, goyal2019().resize) == (224, 256, "windows")
    assert zhang2016().photo == goyal2019().photo == 256


def test_goyals_windows_are_the_published_ones() -> None:
    """AvgPool of 19/4, 12/3, 9/1 and 8/1 over AlexNet's maps of 55, 27, 13 and 13 positions."""
    found = [window(size, count) for size, count in ((55, 10), (27, 6), (13, 5), (13, 6))]
    assert found == [(19, 4), (12, 3), (9, 1), (8, 1)]
    for size in range(1, 60):
        for count in range(1, size + 1):
            width, step = window(size, count)
            assert width >= step >= 1
            assert width + step * (count - 1) == size, "they cover all positions, and no more"


def test_windows_are_averages_of_what_lies_in_them() -> None:
    backbone, train = Bare(), photos(4)
    protocol = Protocol(numbers=3 * 5 * 5, resize="windows", mirror=False, epochs=1, batch=4)
    backbone.shown.clear()
    heads = fit(backbone, train, protocol)
    kept: list[Tensor] = []
    heads["input"].register_forward_hook(lambda _, seen, __: kept.append(seen[0]))
    evaluate(backbone, heads, train, protocol)
    width, step = window(SIDE, 5)
    shown = backbone.shown[-1]
    by_hand = shown[:, :, step : step + width, 2 * step : 2 * step + width].mean((2, 3))
    torch.testing.assert_close(kept[0][:, :, 1, 2], by_hand)


def test_zhangs_protocol_probes_alexnets_pools_too() -> None:
    some = Labeled(
        np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96)).astype(np.uint8),
        torch.tensor([0, 1, 2, 0]),
    )
    protocol = replace(zhang2016(), crop=None, epochs=1, batch=4)
    found = probe(AlexNet(stride=2), some, some, protocol)
    assert list(found) == ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    numbers = [layer.numbers for layer in found.values()]
    assert numbers == [9600, 9600, 9216, 9216, 9600, 9600, 9216, 9216]
    assert list(probe(Tiny(), some, some, protocol)) == ["low", "high"], "which has no such pools"


def test_a_pools_numbers_are_the_ones_that_the_next_layer_sees() -> None:
    net = AlexNet(stride=2).eval()
    found = _with_pools(net.taps(torch.randn(1, 3, 64, 64)))
    assert torch.equal(found["pool1"], net.get_submodule("conv2.pool")(found["conv1"]))
    assert torch.equal(found["pool2"], net.get_submodule("conv3.pool")(found["conv2"]))


@pytest.mark.parametrize(
    ("words", "wanted", "side"),
    [
        ([], replace(small(), epochs=28), 128),
        (["--protocol", "zhang2016"], zhang2016(), 256),
        (["--protocol", "goyal2019", "--epochs", "2", "--side", "300"], replace(goyal2019(), epochs=2), 300),
    ],
)
def test_the_command_measures_by_the_protocol_asked_for(
    words: list[str], wanted: Protocol, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[tuple[Protocol, int]] = []
    sides: list[int] = []
    monkeypatch.setattr(backbones, "_subjects", lambda *_: {"random tiny": Tiny()})
    monkeypatch.setattr(
        backbones, "_photos", lambda photos, judged, exclude, side, folder: sides.append(side)
    )
    monkeypatch.setattr(
        module,
        "by_layer",
        lambda make, seen, seeds, protocol: (
            probed.append((protocol, len(seeds))) or {"low": np.array([[True, False]])}
        ),
    )
    command = ["evaluate", "probes", "--runs", "r", "--photos", "p", "--judged", "j", "-o", str(tmp_path)]
    assert main([*command, *words]) == 0
    assert probed == [(wanted, 3)]
    assert sides == [side]


def test_photos_smaller_than_the_protocols_crops_are_refused_before_any_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", "probes", "--runs", "none", "--photos", "none", "--judged", "none"]
    assert main([*command, "--protocol", "zhang2016", "--side", "128"]) == 1
    assert "zhang2016 crops 227 pixels: --side 256" in capsys.readouterr().err


def test_the_command_line_offers_every_protocol_that_there_is() -> None:
    assert tuple(PROTOCOLS) == get_args(options.Protocol)
    with pytest.raises(ValueError, match="no protocol is called 'zhang'"):
        named("zhang")


RIGHT = np.random.default_rng(0).random((3, 200))


def test_an_untrained_net_is_drawn_anew_for_each_seed_and_what_each_had_right_is_kept() -> None:
    made: list[int] = []
    some = photos(40)

    def make(seed: int) -> Backbone:
        made.append(seed)
        return Tiny()

    found = module.by_layer(make, Split(some, some, tuple("abcdef")), [0, 5], WHOLE)
    assert made == [0, 5]
    assert np.array_equal(found["high"][1], probe(Tiny(), some, some, WHOLE, 5)["high"].right)


def test_the_best_layers_difference_is_paired_photograph_by_photograph() -> None:
    control = {"low": RIGHT < 0.3, "high": RIGHT < 0.5}
    trained = {"low": RIGHT < 0.54, "high": RIGHT < 0.2}
    assert (module.best(control), module.best(trained)) == ("high", "low")
    accuracy, gain = interval(module.samples(trained)), interval(module.above(trained, control))
    assert accuracy is not None
    assert gain is not None
    assert accuracy.value == pytest.approx((RIGHT < 0.54).mean())
    assert gain.value == pytest.approx((RIGHT < 0.54).mean() - (RIGHT < 0.5).mean())
    assert accuracy.low < accuracy.value - 0.03
    # Alone each is known to within 4 points; that what one has right the other has too is known better.
    one = interval(module.above({"low": trained["low"][:1]}, {"high": control["high"][:1]}))
    assert one is not None
    assert 0 < one.high - one.low < (accuracy.high - accuracy.low) * 0.75


def test_draws_that_differ_widen_an_interval_as_photographs_do() -> None:
    alike, apart = np.full((3, 200), True), np.repeat([[True], [True], [False]], 200, 1)
    for right, ends in ((alike, (1, 1)), (apart, (0, 1))):
        found = interval(module.samples({"low": right}))
        assert found is not None
        assert (found.low, found.high) == pytest.approx(ends)


# Few labels


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_are_drawn_evenly_over_classes_and_fewer_are_part_of_more(seed: int) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40)))
    more: set[int] = set()
    for count in (200, 163, 50, 12, 5, 3):
        numbers = balanced(labels, count, seed)
        each = torch.bincount(labels[numbers], minlength=5)
        assert int(each.max() - each.min()) <= 1
        few = set(numbers.tolist())
        assert len(few) == count
        assert few <= more or not more
        more = few
    np.testing.assert_array_equal(balanced(labels, 50, seed), balanced(labels, 50, seed))


def test_another_seed_draws_other_photos_and_favors_other_classes() -> None:
    labels = torch.arange(200) // 20  # class by class, as folders have them
    draws = [balanced(labels, 20, seed).tolist() for seed in range(20)]
    assert len({tuple(sorted(draw)) for draw in draws}) == 20
    assert {int(labels[balanced(labels, 1, seed)]) for seed in range(60)} == set(range(10))


def test_a_small_class_gives_what_it_has() -> None:
    labels = torch.tensor([0] * 3 + [1] * 30)
    assert torch.bincount(labels[balanced(labels, 16, 0)]).tolist() == [3, 13]
    assert sorted(balanced(labels, 33, 0).tolist()) == list(range(33))


@pytest.mark.parametrize("count", [0, 34])
def test_no_more_labels_than_photos(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} labels of 33"):
        balanced(torch.zeros(33, dtype=torch.long), count, 0)


def test_a_subset_keeps_photos_and_labels_together() -> None:
    labels = torch.arange(30) % 3
    squares = np.zeros((30, 3, 4, 4), np.uint8) + np.arange(30, dtype=np.uint8)[:, None, None, None]
    some = subset(Labeled(squares, labels), 7, 1)
    assert (some.squares[:, 0, 0, 0] % 3).tolist() == some.labels.tolist()
