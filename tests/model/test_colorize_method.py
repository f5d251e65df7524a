"""Learning to color: both losses against autograd and plain loops, what the net is shown, and that nets learn by it; hints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import color as skcolor
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

from model import bins, checkpoint
from model.__main__ import main
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError
from model.image_io import Photo
from model.methods import Method, colorize
from model.methods.colorize import (
    BackboneColorizer,
    Colorize,
    ColorizeOptions,
    Regress,
    hints,
    soft_cross_entropy,
    view,
)
from model.nets.alexnet import AlexNet
from model.nets.lite import LiteL2
from model.nets.plan import AB_UNIT
from model.training import aging, augment, building, runs
from model.training import config as configs
from model.training.batches import Batch
from model.training.logging import Progress

N, Q, H, W, K = 2, 313, 3, 4, 5
PLAIN = ColorizeOptions()


def seeds(count: int, seed: int = 0) -> Tensor:
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed))


def photos_of(pixels: Tensor, seed: int = 0) -> Batch:
    """Whole photos, as they are."""
    return Batch(pixels, torch.zeros(len(pixels), dtype=torch.int64), seeds(len(pixels), seed))


def seen(pixels: Tensor, options: ColorizeOptions = PLAIN) -> tuple[Tensor, Tensor]:
    return view(photos_of(pixels), options, torch.Generator())


def random_photos(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


# The cross-entropy


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logits, targets, shares, weights"""
    generator = torch.Generator().manual_seed(0)
    ab = torch.rand(N, 2, H, W, generator=generator) * 120 - 60
    target, share = bins.encode(ab, K)
    weight = torch.rand(N, H, W, generator=generator) + 0.1
    return torch.randn(N, Q, H, W, generator=generator) * 3, target, share, weight


def by_hand(logits: Tensor, target: Tensor, share: Tensor, weight: Tensor) -> Tensor:
    total = torch.zeros(())
    for n in range(N):
        for y in range(H):
            for x in range(W):
                log_p = torch.log_softmax(logits[n, :, y, x], 0)
                entropy = -sum(share[n, k, y, x] * log_p[target[n, k, y, x]] for k in range(K))
                total = total + weight[n, y, x] * entropy
    return total / (N * H * W)


def test_loss_and_gradient_equal_plain_loops(batch: tuple[Tensor, ...]) -> None:
    logits, *rest = batch
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, plain = soft_cross_entropy(fast, *rest), by_hand(slow, *rest)
    torch.testing.assert_close(loss, plain)
    (3 * loss).backward()
    (3 * plain).backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_hard_targets_and_equal_weights_are_plain_cross_entropy(batch: tuple[Tensor, ...]) -> None:
    logits, target, *_ = batch
    ones = torch.ones(N, 1, H, W)
    ours = soft_cross_entropy(logits, target[:, :1], ones, ones[:, 0])
    torch.testing.assert_close(ours, F.cross_entropy(logits, target[:, 0]))


def test_the_gradient_of_bfloat16_logits_is_bfloat16_and_close(batch: tuple[Tensor, ...]) -> None:
    logits, *rest = batch
    exact, half = logits.bfloat16().float().requires_grad_(), logits.bfloat16().requires_grad_()
    soft_cross_entropy(exact, *rest).backward()
    soft_cross_entropy(half, *rest).backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad.float(), exact.grad, atol=2e-4, rtol=2e-2)


def test_extreme_logits_give_a_finite_loss(batch: tuple[Tensor, ...]) -> None:
    logits, *rest = batch
    assert torch.isfinite(soft_cross_entropy(logits * 1e4, *rest))


def slow(logits: Tensor, target: Tensor, share: Tensor, weight: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits, 1).gather(1, target)
    return -((log_p * share).sum(1) * weight).mean()


@pytest.mark.parametrize("height", [1, 510, 511, 512, 513, 1023, 1024, 1025])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
def test_a_loss_in_pieces_is_the_loss_whole(height: int, layout: torch.memory_format) -> None:
    """Pieces have 512 positions."""
    assert colorize._PIECE == 512
    generator = torch.Generator().manual_seed(height)
    logits = torch.randn(1, 7, height, 1, generator=generator).to(memory_format=layout)
    target = torch.randint(0, 7, (1, 3, height, 1), generator=generator)
    target[:, 1:] = (target[:, :1] + torch.tensor([1, 2])[:, None, None]) % 7
    share = torch.rand(1, 3, height, 1, generator=generator).softmax(1)
    weight = torch.rand(1, height, 1, generator=generator)
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, whole = soft_cross_entropy(one, target, share, weight), slow(other, target, share, weight)
    torch.testing.assert_close(loss, whole)
    loss.backward()
    whole.backward()
    torch.testing.assert_close(one.grad, other.grad)
    with torch.no_grad():
        torch.testing.assert_close(soft_cross_entropy(logits, target, share, weight), whole)


def test_float64_stays_float64_and_its_gradient_is_that_of_finite_differences(
    batch: tuple[Tensor, ...],
) -> None:
    logits = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([0, 3])[None, :, None, None].expand(2, 2, 2, 3)
    share = torch.tensor([0.25, 0.75], dtype=torch.float64)[None, :, None, None].expand(2, 2, 2, 3)
    weight = torch.linspace(0.5, 2, 12, dtype=torch.float64).view(2, 2, 3)
    logits.requires_grad_()
    loss = soft_cross_entropy(logits, target, share, weight)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, slow(logits, target, share, weight), rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, target, share, weight), logits)
    plain, *rest = batch
    wide = plain.double().requires_grad_()
    soft_cross_entropy(wide, *rest).backward()
    assert wide.grad is not None
    assert wide.grad.dtype == torch.float64


# What the net is shown


def test_the_view_parts_a_photo_into_its_lightness_and_its_colors() -> None:
    red = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    red[:, 0] = 255
    lightness, ab = seen(red)
    assert lightness.shape == (4, 1, 16, 16)
    assert ab.shape == (4, 2, 4, 4)
    assert ab[:, 0].mean().item() == pytest.approx(80.1, abs=0.1)
    assert ab[:, 1].mean().item() == pytest.approx(67.2, abs=0.1)


def test_bytes_and_floats_are_seen_alike() -> None:
    """All 256 values of a byte, in each channel, as the table and the transfer curve decode them."""
    photos = torch.stack([torch.arange(256).roll(turn).view(16, 16) for turn in (0, 85, 170)])[None].byte()
    both = (seen(photos, ColorizeOptions(page=1)), seen(photos.float() / 255, ColorizeOptions(page=1)))
    for of_bytes, of_floats in zip(*both, strict=True):
        torch.testing.assert_close(of_bytes, of_floats, atol=1e-6, rtol=0)


def test_photos_are_seen_aged_and_answered_clean() -> None:
    torch.manual_seed(0)
    photos = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    fresh, aged = (seen(photos, ColorizeOptions(age=age)) for age in (0.0, 1.0))
    assert (fresh[0] - aged[0]).abs().flatten(1).amax(1).min() > 1, "each is seen aged"
    assert torch.equal(fresh[1], aged[1])


def test_a_photo_on_a_page_is_answered_gray_about_its_colors() -> None:
    red = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    red[:, 0] = 255
    _, ab = seen(red, ColorizeOptions(page=1))
    gray = (ab == 0).all(1).flatten(1).float().mean(1)
    assert gray.min() > 0.05
    assert gray.max() < 0.75
    torch.testing.assert_close(ab[:, :, 8, 8].mean(0), torch.tensor([80.1, 67.2]), atol=0.1, rtol=0)


def test_a_photo_is_seen_alike_however_its_batch_is_shared() -> None:
    photos = torch.randint(
        0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = ColorizeOptions(age=0.6, page=0.5)
    whole = seen(photos, options)
    halves = [view(part, options, torch.Generator()) for part in photos_of(photos).parts(2)]
    for all_of_it, parts in zip(whole, zip(*halves, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), all_of_it, atol=1e-4, rtol=0)


def test_without_exposure_photos_are_seen_as_they_are() -> None:
    photos = random_photos(16, 32)
    plain, developed = (seen(photos, ColorizeOptions(exposure=exposure)) for exposure in (False, True))
    expected = skcolor.rgb2lab(photos.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(plain[0][:, 0], expected[..., 0], atol=0.01)
    assert not torch.equal(plain[0], developed[0])
    assert torch.equal(plain[1], developed[1])


def test_colors_are_means_of_sixteen_pixels_or_as_in_the_released_code_one_of_them() -> None:
    photos = random_photos(1, 16)
    ab = (
        torch.from_numpy(skcolor.rgb2lab(photos[0].permute(1, 2, 0).numpy())[..., 1:])
        .permute(2, 0, 1)
        .float()
    )
    _, means = seen(photos, ColorizeOptions(exposure=False))
    _, picked = seen(photos, ColorizeOptions(exposure=False, average=False))
    torch.testing.assert_close(means[0], F.avg_pool2d(ab, 4), atol=0.02, rtol=0)
    torch.testing.assert_close(picked[0], ab[:, ::4, ::4], atol=0.02, rtol=0)


def test_boxes_are_cut_out_resized_and_mirrored() -> None:
    photos = random_photos(2, 48).float().mul(0.2).byte()
    photos[:, 0, :, 24:] = 255  # red on the right
    boxes = torch.tensor([[0, 0, 48, 48], [8, 0, 40, 48]])
    batch = replace(photos_of(photos), boxes=boxes, mirrored=torch.tensor([False, True]), side=32)
    lightness, ab = view(batch, ColorizeOptions(), torch.Generator())
    assert (lightness.shape, ab.shape) == ((2, 1, 32, 32), (2, 2, 8, 8))
    left, right = ab[:, 0, :, :4].mean((1, 2)), ab[:, 0, :, 4:].mean((1, 2))
    assert right[0] > left[0] + 20
    assert left[1] > right[1] + 20


def test_whole_squares_are_cropped_by_the_method() -> None:
    strengths = augment.Strengths(side=32, area=(0.2, 0.5))
    one, other = (
        view(
            photos_of(random_photos(2, 64)),
            ColorizeOptions(crops=strengths),
            torch.Generator().manual_seed(seed),
        )
        for seed in (0, 1)
    )
    assert one[0].shape == (2, 1, 32, 32)
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"age": 2.0}, "age is 2.0"),
        ({"hinted": -0.1}, "hinted is -0.1"),
        ({"lam": 1.5}, "lam is 1.5"),
        ({"page": float("nan")}, "page is nan"),
        ({"neighbors": 0}, "0 bins cannot share a color"),
    ],
)
def test_shares_that_are_none_are_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ColorizeOptions(**values)  # type: ignore[arg-type]


# Hints


def test_hints_are_of_a_share_of_the_photos_and_lie_about_the_middle() -> None:
    ab = torch.randn(1, 2, 8, 8).expand(1500, 2, 8, 8)
    maps = hints(ab, seeds(1500), 0.3)
    assert maps.shape == (1500, 3, 8, 8)
    assert set(maps[:, 2].unique().tolist()) == {0.0, 1.0}
    assert float(maps[:, 2].amax((1, 2)).mean()) == pytest.approx(0.3, abs=0.04)
    assert not (maps[:, :2].abs().sum(1) * (1 - maps[:, 2])).any(), "nothing is said where there is no hint"
    hit = maps[:, 2].mean(0)
    assert hit[3:5, 3:5].mean() > 2 * hit[[0, 0, 7, 7], [0, 7, 0, 7]].mean()
    everything = hints(ab, seeds(1500), 1)[:, 2].amin((1, 2))
    assert 0.003 < float(everything.mean()) < 0.02, "one in a hundred gives away all its colors"
    assert not hints(ab, seeds(1500), 0).any()


def test_a_hint_is_the_mean_color_of_its_place() -> None:
    ab = torch.randn(400, 2, 16, 16, generator=torch.Generator().manual_seed(0)) * 30
    single = 0
    for colors, (*values, where) in zip(ab, hints(ab, seeds(400), 1), strict=True):
        rows, columns = where.any(1).nonzero()[:, 0], where.any(0).nonzero()[:, 0]
        place = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        if where.all():
            torch.testing.assert_close(torch.stack(values), colors / 110)
        elif where[place].all() and max(len(rows), len(columns)) <= 3:
            if len(values[0][place].unique()) > 1:
                continue  # several that overlap
            single += 1
            for value, color in zip(values, colors, strict=True):
                torch.testing.assert_close(value[place].mean(), color[place].mean() / 110)
    assert single > 20


def test_hints_are_in_about_eight_places() -> None:
    ab = torch.randn(300, 2, 128, 128, generator=torch.Generator().manual_seed(0))
    maps = hints(ab, seeds(300), 1)
    places = torch.tensor([len(of[0][of[2] > 0].unique()) for of in maps if not of[2].all()])
    assert float(places.float().mean()) == pytest.approx(8, abs=1)
    assert places.min() == 1
    assert places.max() > 20


def test_a_photos_hints_follow_from_its_seed_alone() -> None:
    ab, of = torch.randn(9, 2, 8, 8), seeds(9)
    whole = hints(ab, of, 0.5)
    torch.manual_seed(3)
    assert torch.equal(torch.cat([hints(ab[n : n + 1], of[n : n + 1], 0.5) for n in range(9)]), whole)
    assert not torch.equal(hints(ab, seeds(9, 1), 0.5), whole)


class Recorder(nn.Module):
    """Keeps what it is given."""

    def forward(self, *inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return torch.zeros(len(inputs[0]), Q, *(side // 4 for side in inputs[0].shape[2:]))


def test_a_net_gets_hints_only_where_the_options_say_so() -> None:
    net, photos = Recorder(), photos_of(random_photos(40, 32))
    Colorize(net, torch.ones(Q)).loss(photos, torch.Generator())
    assert len(net.inputs) == 1
    Colorize(net, torch.ones(Q), ColorizeOptions(hinted=0.5)).loss(photos, torch.Generator())
    _, ab = view(photos, ColorizeOptions(), torch.Generator())
    assert torch.equal(net.inputs[1], hints(ab, photos.seeds, 0.5))
    assert net.inputs[1].any()


# Learning


def test_exposure_changes_some_photos_within_range_and_follows_from_their_seeds() -> None:
    lightness = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 100
    once, again, other = (aging.exposure(lightness, seeds(64, seed)) for seed in (2, 2, 3))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.min() >= 0
    assert once.max() <= 100
    untouched = (once == lightness).flatten(1).all(1).float().mean().item()
    assert 0.3 < untouched < 0.7


class OnePixel(nn.Module):
    """Answers every quarter-size position from its mean lightness alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 64, 1), nn.ReLU(), nn.Conv2d(64, Q, 1))

    def forward(self, lightness: Tensor) -> Tensor:
        answer: Tensor = self.layers(F.avg_pool2d(lightness / 50 - 1, 4))
        return answer


def test_a_net_learns_that_light_is_blue_and_dark_is_red() -> None:
    torch.manual_seed(0)
    net = OnePixel()
    photos = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    photos[0, 0] = 110
    photos[1, :2], photos[1, 2] = 180, 255
    method = Colorize(net, torch.ones(Q))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        method.loss(photos_of(photos), torch.Generator().manual_seed(0)).backward()
        optimizer.step()
    lightness, truth = seen(photos)
    with torch.no_grad():
        answer = bins.annealed_mean(net(lightness), 0.38)
    assert (answer - truth).norm(dim=1).max() < 8


def test_a_backbone_answers_at_an_eighth_by_the_mean_colors_there() -> None:
    torch.manual_seed(0)
    net = BackboneColorizer(AlexNet(1))
    photos = photos_of(random_photos(2, 96))
    lightness, ab = view(photos, ColorizeOptions(exposure=False), torch.Generator())
    logits = net(lightness)
    assert logits.shape == (2, Q, 12, 12)
    method = Colorize(net, torch.ones(Q), ColorizeOptions(exposure=False))
    torch.testing.assert_close(method.loss_of(logits, ab), method.loss_of(logits, F.avg_pool2d(ab, 2)))
    with pytest.raises(ValueError, match="channels must be 1"):
        BackboneColorizer(AlexNet(3))


# Regression


class Fixed(nn.Module):
    """Answers what it holds, whatever it sees."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, lightness: Tensor) -> Tensor:
        return self.answer


def test_loss_and_gradient_are_half_the_squared_distance() -> None:
    photos, answer = random_photos(2, 16), torch.randn(2, 2, 4, 4) * 30
    net = Fixed(answer)
    loss = Regress(net).loss(photos_of(photos), torch.Generator().manual_seed(1))
    loss.backward()

    _, truth = seen(photos)
    plain = answer.clone().requires_grad_()
    total = torch.zeros(())
    for n in range(2):
        for y in range(4):
            for x in range(4):
                distance = plain[n, :, y, x] - truth[n, :, y, x]
                total = total + 0.5 * distance @ distance
    total = total / (2 * 4 * 4) / AB_UNIT**2
    total.backward()
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(net.answer.grad, plain.grad)


def test_gray_costs_about_one_on_photographs() -> None:
    photos = torch.stack(
        [torch.from_numpy(np.array(getattr(data, name)()[:256, :256])) for name in ("chelsea", "coffee")]
    )
    loss = Regress(Fixed(torch.zeros(2, 2, 64, 64))).loss(
        photos_of(photos.permute(0, 3, 1, 2)), torch.Generator().manual_seed(0)
    )
    assert 0.3 < loss.item() < 5


def test_the_net_starts_gray() -> None:
    torch.manual_seed(0)
    answer = LiteL2()(torch.rand(2, 1, 64, 64) * 100)
    assert answer.shape == (2, 2, 16, 16)
    assert answer.dtype == torch.float32
    assert answer.norm(dim=1).mean() < 5


def made_photos() -> Tensor:
    """Dark red ones and light blue ones."""
    photos = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    photos[:2, 0] = 110
    photos[2:, :2], photos[2:, 2] = 180, 255
    return photos


@pytest.mark.parametrize(
    ("net", "method"),
    [("lite-l2", Regress), ("lite", lambda net: Colorize(net, torch.ones(bins.COUNT)))],
    ids=["regression", "classification"],
)
def test_a_few_steps_of_either_method_lower_its_loss(net: str, method: Callable[[nn.Module], Method]) -> None:
    torch.manual_seed(0)
    trained = method(checkpoint.NETS[net]())
    optimizer = torch.optim.AdamW(trained.net.parameters(), 1e-3)
    losses = []
    for _ in range(14):
        optimizer.zero_grad()
        loss = trained.loss(photos_of(made_photos()), torch.Generator().manual_seed(0))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.8 * losses[0]


def test_the_configuration_of_an_l2_net_trains_it_by_regression() -> None:
    config = configs.tiny("regress", "lite-l2").changed(["age=0.3"])
    method, _ = building.build(config, 1, torch.ones(bins.COUNT))
    assert isinstance(method, Regress)
    assert method.options.age == 0.3
    assert isinstance(method.net, LiteL2)


@pytest.mark.parametrize(
    ("method", "net", "words"),
    [
        ("colorize", "lite-l2", "lite-l2 is trained by regress"),
        ("regress", "lite", "regress trains lite-l2"),
        ("regress", "alexnet", "regress trains lite-l2"),
    ],
)
def test_a_net_is_not_trained_by_what_it_does_not_answer(method: str, net: str, words: str) -> None:
    config = replace(configs.tiny("colorize", "alexnet"), method=method, net=net)
    with pytest.raises(ValueError, match=words):
        building.build(config, 1, torch.ones(bins.COUNT))


@pytest.mark.parametrize("net", ["eccv16", "lite"])
@pytest.mark.parametrize("method", ["simclr", "context", "supervised"])
def test_a_net_that_colors_learns_nothing_else(method: str, net: str) -> None:
    config = replace(configs.tiny(method, "alexnet"), net=net)
    with pytest.raises(InputError, match=f"{net} learns to color, and is not trained by {method}"):
        building.build(config, 1, torch.ones(bins.COUNT))


def test_blocks_are_frozen_of_lite_alone() -> None:
    config = replace(configs.tiny("colorize", "alexnet"), frozen_blocks=2)
    with pytest.raises(InputError, match="alexnet has no blocks to freeze"):
        building.build(config, 1, torch.ones(bins.COUNT))


@pytest.mark.parametrize(
    ("method", "net"), [("regress", "lite-l2"), ("colorize", "eccv16"), ("colorize", "alexnet")]
)
def test_nets_that_take_no_hints_are_shown_none(method: str, net: str) -> None:
    config = replace(configs.tiny("colorize", "alexnet"), method=method, net=net).changed(["hinted=0.1"])
    with pytest.raises(ValueError, match="--set hinted=0"):
        building.build(config, 1, torch.ones(bins.COUNT))


@pytest.mark.parametrize("setting", ["realism.smooth=1", "distilled=1"])
@pytest.mark.parametrize(("method", "net"), [("regress", "lite-l2"), ("colorize", "alexnet")])
def test_nets_that_show_no_picture_are_not_held_to_one(method: str, net: str, setting: str) -> None:
    config = replace(configs.tiny("colorize", "alexnet"), method=method, net=net).changed([setting])
    off = f"{setting.partition('=')[0]}=0"
    with pytest.raises(InputError, match=f"only for nets that color.* or --set {off}$"):
        building.build(config, 1, torch.ones(bins.COUNT))
    building.build(config.changed([off]), 1, torch.ones(bins.COUNT))


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A run's folder, as the trainer leaves it, of an L2 net that answers (40, 20) everywhere."""
    net = LiteL2()
    nn.init.zeros_(net.head.weight)
    with torch.no_grad():
        assert net.head.bias is not None
        net.head.bias.copy_(torch.tensor([40.0, 20.0]) / AB_UNIT)
    config = asdict(configs.tiny("regress", "lite-l2"))
    metadata = {
        "method": "regress",
        "config": config,
        "data": {"photos": 4, "fingerprint": "f", "prior": [1.0] * bins.COUNT},
        "code": {"commit": "abc1234", "torch": "2"},
    }
    averaged = torch.optim.swa_utils.AveragedModel(net)
    saved = {
        "averaged": averaged.state_dict(),
        "progress": asdict(Progress(8, 32, 1.5)),
        "metadata": metadata,
    }
    torch.save(saved, tmp_path / runs.CHECKPOINT)
    return tmp_path


def export(run: Path, *more: str) -> int:
    words = ["weights", "export", str(run), "-o", str(run / "red.safetensors"), "--terms", "t", "--data", "d"]
    return main([*words, *more])


def test_exported_l2_weights_color_a_photo_whatever_the_temperature(red: Path) -> None:
    assert export(red) == 0
    colorizer = Colorizer.load(str(red / "red.safetensors"), "cpu")
    gray = Photo(np.full((64, 96), 130, np.uint8), None, "PNG")
    for temperature in (None, 0.0, 1.0):
        [colored] = colorizer.colorize([gray], ColorOptions(temperature))
        ab = skcolor.rgb2lab(colored.pixels)[..., 1:]
        assert np.abs(ab - [40, 20]).max() < 1
    [half] = colorizer.colorize([gray], ColorOptions(vividness=0.5))
    assert np.abs(skcolor.rgb2lab(half.pixels)[..., 1:] - [20, 10]).max() < 1


def test_an_l2_net_has_no_rebalancing_to_take_back(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(red, "--take-back", "0.3") == 1
    assert "no rebalancing to take back" in capsys.readouterr().err
    assert not (red / "red.safetensors").exists()
