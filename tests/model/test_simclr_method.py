from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model.methods.simclr import SimCLR, asymmetric, chen2020, nt_xent, small
from model.nets.backbone import Backbone, normalized
from model.training import augment
from model.training.batches import whole


class Tiny(Backbone):
    layers = ("conv1", "conv2", "conv3")

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels, self.width = channels, 64
        self.shown: list[tuple[int, ...]] = []
        for name, below, out, kernel in (
            ("conv1", channels, 16, 5),
            ("conv2", 16, 32, 3),
            ("conv3", 32, 64, 3),
        ):
            conv = nn.Conv2d(below, out, kernel, 2, kernel // 2, bias=False)
            self.add_module(name, nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU()))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        self.shown.append(tuple(x_NCHW.shape))
        return super().forward(x_NCHW)


TINY = replace(small(), strengths=augment.Strengths(side=24, area=(0.3, 1.0), color=0.5), hidden=32, out=16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_photos(count: int, side: int = 32) -> Tensor:
    return torch.randint(256, (count, 3, side, side), generator=seeded(7), dtype=torch.uint8)


def slow_nt_xent(z: NDArray[np.float64], temperature: float) -> float:
    """Equation 1, term by term; rows n and n + N are of one photo."""
    terms = []
    for i in range(len(z)):
        j = (i + len(z) // 2) % len(z)
        powers = {
            k: math.exp(z[i] @ z[k] / math.sqrt(z[i] @ z[i]) / math.sqrt(z[k] @ z[k]) / temperature)
            for k in range(len(z))
            if k != i
        }
        terms.append(-math.log(powers[j] / sum(powers.values())))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("count", "temperature"), [(1, 0.5), (2, 0.1), (7, 0.5), (12, 0.07), (5, 2.0)])
def test_loss_is_the_papers_term_by_term(count: int, temperature: float) -> None:
    z = torch.randn(2 * count, 6, generator=seeded(count), dtype=torch.float64)
    assert nt_xent(z, temperature).item() == pytest.approx(
        slow_nt_xent(z.numpy(), temperature), rel=1e-12, abs=1e-12
    )


def test_gradient_is_that_of_the_slow_loss() -> None:
    z = torch.randn(8, 5, generator=seeded(), dtype=torch.float64, requires_grad=True)
    nt_xent(z, 0.3).backward()
    slow = np.zeros((8, 5))
    for row, column in np.ndindex(8, 5):
        ends = []
        for step in (1e-6, -1e-6):
            moved = z.detach().numpy().copy()
            moved[row, column] += step
            ends.append(slow_nt_xent(moved, 0.3))
        slow[row, column] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(z.grad.numpy(), slow, atol=1e-8)
    assert torch.autograd.gradcheck(lambda rows: nt_xent(rows, 0.3), z)


def test_loss_of_large_and_of_equal_projections_is_finite() -> None:
    z = torch.randn(8, 5, generator=seeded())
    torch.testing.assert_close(nt_xent(z * 1e6, 0.01), nt_xent(z, 0.01), rtol=1e-4, atol=1e-5)
    same = torch.ones(8, 5, requires_grad=True)
    assert nt_xent(same, 0.1).item() == pytest.approx(math.log(7), rel=1e-5)
    nt_xent(same, 0.1).backward()
    assert torch.isfinite(same.grad).all()


class Largest(TorchDispatchMode):
    """Watches for the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def test_nothing_larger_than_all_pairs_is_made() -> None:
    z = torch.randn(200, 64, requires_grad=True)
    with Largest() as largest:
        nt_xent(z, 0.1).backward()
    assert largest.elements == 200**2


def test_both_views_go_through_the_net_at_once_and_are_asked_about_each_other() -> None:
    torch.manual_seed(0)
    backbone = Tiny()
    method = SimCLR(backbone, TINY)
    photos = random_photos(6)
    z = method.projections(photos, seeded(3))
    assert backbone.shown == [(12, 3, 24, 24)]
    assert z.shape == (12, 16)
    assert z.dtype == torch.float32
    expected = slow_nt_xent(z.detach().double().numpy(), 0.2)
    assert method.loss(whole(photos), seeded(3)).item() == pytest.approx(expected, rel=1e-4)
    assert method.loss(whole(photos.float() / 255), seeded(3)).item() == pytest.approx(expected, rel=0.02)


def test_rows_one_half_apart_are_views_of_one_photo() -> None:
    flat = torch.rand(9, 3, 1, 1, generator=seeded()).expand(-1, -1, 32, 32)
    crops = ("crop", "blur")
    for second in (crops, ("crop",)):
        both = SimCLR(Tiny(), replace(TINY, first=crops, second=second)).views(flat, seeded())
        torch.testing.assert_close(both, torch.cat([flat, flat])[..., :24, :24], atol=1e-5, rtol=0)


def test_a_generator_says_it_all() -> None:
    torch.manual_seed(0)
    method = SimCLR(Tiny(), TINY)
    photos = random_photos(4)
    state = torch.get_rng_state()
    once = method.loss(whole(photos), seeded(3))
    assert torch.equal(once, method.loss(whole(photos), seeded(3)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(once, method.loss(whole(photos), seeded(4)))


def test_a_net_of_one_channel_is_shown_lightness() -> None:
    backbone = Tiny(channels=1)
    assert torch.isfinite(SimCLR(backbone, TINY).loss(whole(random_photos(4)), seeded()))
    assert backbone.shown == [(8, 1, 24, 24)]


def test_the_head_is_the_papers() -> None:
    net = SimCLR(Tiny(), replace(TINY, hidden=None)).net.train()
    first, norm, _, second, last = net.head
    assert (first.in_features, first.out_features, second.out_features) == (64, 64, 16)
    last.weight.data.uniform_(0.5, 2)
    x = torch.randn(10, 3, 24, 24)
    h = net.backbone(x)
    hidden = F.relu(F.batch_norm(h @ first.weight.T, None, None, norm.weight, norm.bias, training=True))
    projected = F.batch_norm(hidden @ second.weight.T, None, None, last.weight, training=True)
    torch.testing.assert_close(net(x), projected, atol=1e-5, rtol=1e-4)
    assert not last.bias.requires_grad
    assert last.bias.abs().max() == 0


def test_figure_5_shows_one_crop_plain_and_changed() -> None:
    options = asymmetric(TINY, "sobel", "rotate")
    plain = SimCLR(Tiny(), options).views(random_photos(5), seeded())[5:]
    seen = SimCLR(Tiny(), options).views(random_photos(5), seeded())[:5]
    assert plain.shape == (5, 3, 24, 24)
    edges = augment.augmented(plain, ("sobel",), TINY.strengths, seeded())
    for crop, view in zip(edges, seen, strict=True):
        assert sum(torch.equal(torch.rot90(crop, k, (1, 2)), view) for k in (1, 2, 3)) == 1


def test_recipes_hold_the_papers_constants() -> None:
    paper = chen2020()
    strengths = paper.strengths
    assert (paper.temperature, paper.out, paper.hidden, strengths.side) == (0.1, 128, None, 224)
    assert (strengths.area, strengths.ratio, strengths.color) == ((0.08, 1), (3 / 4, 4 / 3), 1)
    assert (strengths.jittered, strengths.grayed, strengths.blurred, strengths.sigma) == (
        0.8,
        0.2,
        0.5,
        (0.1, 2.0),
    )
    assert paper.first == paper.second == ("crop and flip", "color", "blur")


def test_refusals_say_why() -> None:
    with pytest.raises(ValueError, match=r"no view .warp.: .*sobel"):
        replace(TINY, first=("crop", "warp"))
    with pytest.raises(ValueError, match="needs its size from one of whole, crop"):
        replace(TINY, second=("blur",))
    with pytest.raises(ValueError, match="not above 0"):
        replace(TINY, temperature=0.0)


def synthetic_pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four kinds, rings, stripes, checks and clouds; size, turn, place, light and tint as they come. And which kind each is."""
    chance = seeded(seed)
    kinds = torch.arange(count) % 4
    axis = torch.linspace(-1, 1, 32)
    place = torch.rand(2, count, 1, 1, generator=chance) - 0.5
    y, x = axis[:, None] + place[0], axis + place[1]
    turn, size = torch.rand(2, count, 1, 1, generator=chance)
    turn, size = turn * math.pi, 9 + 7 * size
    u, v = (
        (torch.cos(turn) * x + torch.sin(turn) * y) * size,
        (torch.cos(turn) * y - torch.sin(turn) * x) * size,
    )
    clouds = F.interpolate(torch.randn(count, 1, 7, 7, generator=chance), (32, 32), mode="bicubic")[:, 0]
    waves = torch.stack(
        [torch.sin((u**2 + v**2).sqrt()), torch.sin(u), torch.sin(u) * torch.sin(v), clouds], 1
    )
    wave = waves[torch.arange(count), kinds][:, None]
    tints = torch.rand(2, count, 3, 1, 1, generator=chance) * 0.3 - 0.15
    light = torch.rand(2, count, 1, 1, 1, generator=chance)
    noise = torch.randn(count, 3, 32, 32, generator=chance) * 0.05
    pictures = 0.3 + 0.4 * light[0] + tints[0] + (0.2 + 0.2 * light[1] + tints[1]) * wave + noise
    return pictures.clamp(0, 1), kinds


def neighbors_right(backbone: Backbone) -> float:
    """How often most of a picture's 5 nearest neighbors, by cosine among others, are of its kind."""
    known, kinds = synthetic_pictures(200, 10_000)
    queries, truth = synthetic_pictures(200, 20_000)
    backbone.eval()
    with torch.no_grad():
        known, queries = (F.normalize(backbone(normalized(pictures)), dim=1) for pictures in (known, queries))
    backbone.train()
    nearest = kinds[(queries @ known.T).topk(5).indices]
    return float((nearest.mode(1).values == truth).double().mean())


def test_a_net_learns_to_tell_kinds_of_pictures_apart() -> None:
    torch.manual_seed(0)
    method = SimCLR(Tiny(), TINY)
    start = neighbors_right(method.net.backbone)
    optimizer = torch.optim.AdamW(method.net.parameters(), 6e-3)
    for step in range(100):
        loss = method.loss(whole(synthetic_pictures(64, step)[0]), seeded(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert start < 0.5
    assert neighbors_right(method.net.backbone) > 0.65
