"""The colorization loss, against autograd and against plain loops; and that a net learns by it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model import bins
from model.methods.colorize import Colorize, soft_cross_entropy
from model.methods.view import view
from model.training import augment
from model.training.augment import Print

N, Q, H, W, K = 2, 313, 3, 4, 5


def seeds(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """logits, targets, shares, weights"""
    generator = torch.Generator().manual_seed(0)
    ab = torch.rand(N, 2, H, W, generator=generator) * 120 - 60
    target, share = bins.encode(ab, K)
    weight = torch.rand(N, H, W, generator=generator) + 0.1
    return torch.randn(N, Q, H, W, generator=generator) * 3, target, share, weight


def by_hand(
    logits: torch.Tensor, target: torch.Tensor, share: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    total = torch.zeros(())
    for n in range(N):
        for y in range(H):
            for x in range(W):
                log_p = torch.log_softmax(logits[n, :, y, x], 0)
                entropy = -sum(share[n, k, y, x] * log_p[target[n, k, y, x]] for k in range(K))
                total = total + weight[n, y, x] * entropy
    return total / (N * H * W)


def test_loss_and_gradient_equal_plain_loops(batch: tuple[torch.Tensor, ...]) -> None:
    logits, *rest = batch
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, plain = soft_cross_entropy(fast, *rest), by_hand(slow, *rest)
    torch.testing.assert_close(loss, plain)
    (3 * loss).backward()
    (3 * plain).backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_hard_targets_and_equal_weights_are_plain_cross_entropy(batch: tuple[torch.Tensor, ...]) -> None:
    logits, target, *_ = batch
    ones = torch.ones(N, 1, H, W)
    ours = soft_cross_entropy(logits, target[:, :1], ones, ones[:, 0])
    torch.testing.assert_close(ours, F.cross_entropy(logits, target[:, 0]))


def test_the_gradient_of_bfloat16_logits_is_bfloat16_and_close(batch: tuple[torch.Tensor, ...]) -> None:
    logits, *rest = batch
    exact, half = logits.bfloat16().float().requires_grad_(), logits.bfloat16().requires_grad_()
    soft_cross_entropy(exact, *rest).backward()
    soft_cross_entropy(half, *rest).backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad.float(), exact.grad, atol=2e-4, rtol=2e-2)


def test_extreme_logits_give_a_finite_loss(batch: tuple[torch.Tensor, ...]) -> None:
    logits, *rest = batch
    assert torch.isfinite(soft_cross_entropy(logits * 1e4, *rest))


def test_the_view_parts_a_photo_into_its_lightness_and_its_colors() -> None:
    red = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    red[:, 0] = 255
    lightness, ab = view(red, seeds(4))
    assert lightness.shape == (4, 1, 16, 16)
    assert ab.shape == (4, 2, 4, 4)
    assert ab[:, 0].mean().item() == pytest.approx(80.1, abs=0.1)
    assert ab[:, 1].mean().item() == pytest.approx(67.2, abs=0.1)


def test_bytes_and_floats_are_seen_alike() -> None:
    """All 256 values of a byte, in each channel, as the table and the transfer curve decode them."""
    photos = torch.stack([torch.arange(256).roll(turn).view(16, 16) for turn in (0, 85, 170)])[None].byte()
    both = (view(photos, seeds(1), Print(page=1)), view(photos.float() / 255, seeds(1), Print(page=1)))
    for of_bytes, of_floats in zip(*both, strict=True):
        torch.testing.assert_close(of_bytes, of_floats, atol=1e-6, rtol=0)


def test_photos_are_seen_aged_and_answered_clean() -> None:
    torch.manual_seed(0)
    photos = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    fresh, aged = (view(photos, seeds(8), Print(age)) for age in (0.0, 1.0))
    assert (fresh[0] - aged[0]).abs().flatten(1).amax(1).min() > 1, "each is seen aged"
    assert torch.equal(fresh[1], aged[1])


def test_a_photo_on_a_page_is_answered_gray_about_its_colors() -> None:
    red = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    red[:, 0] = 255
    _, ab = view(red, seeds(8), Print(page=1))
    gray = (ab == 0).all(1).flatten(1).float().mean(1)
    assert gray.min() > 0.05
    assert gray.max() < 0.75
    torch.testing.assert_close(ab[:, :, 8, 8].mean(0), torch.tensor([80.1, 67.2]), atol=0.1, rtol=0)


def test_a_photo_is_seen_alike_however_its_batch_is_shared() -> None:
    photos = torch.randint(
        0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = Print(age=0.6, page=0.5)
    whole = view(photos, seeds(8), options)
    halves = [view(photos[half], seeds(8)[half], options) for half in (slice(0, 4), slice(4, 8))]
    for seen, parts in zip(whole, zip(*halves, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), seen, atol=1e-4, rtol=0)


def test_exposure_changes_some_photos_within_range_and_follows_from_their_seeds() -> None:
    lightness = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 100
    once, again, other = (augment.exposure(lightness, seeds(64, seed)) for seed in (2, 2, 3))
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

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layers(F.avg_pool2d(lightness / 50 - 1, 4))
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
        method.loss(photos, torch.Generator().manual_seed(0)).backward()
        optimizer.step()
    lightness, truth = view(photos, seeds(2))
    with torch.no_grad():
        answer = bins.annealed_mean(net(lightness), 0.38)
    assert (answer - truth).norm(dim=1).max() < 8
