"""Losses on what is shown: wrong colors cost more than right ones, blotches cost and edges do not, and a net learns by both."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Tensor

from model import bins, color
from model.methods.realism import Realism, smoothness
from model.training import building
from model.training import config as configs

SIDE = 64


@pytest.fixture(scope="module")
def realism() -> Realism:
    return Realism(torch.ones(bins.COUNT), building._imagenet_backbone())


@pytest.fixture(scope="module")
def photo() -> tuple[Tensor, Tensor]:
    """Lightness, and colors at a quarter of the side."""
    rgb = torch.from_numpy(data.astronaut()[100 : 100 + 2 * SIDE, 150 : 150 + 2 * SIDE]).movedim(-1, 0)[None]
    lab = color.lab_from_rgb(torch.nn.functional.avg_pool2d(rgb.float() / 255, 2))
    return lab[:, :1], torch.nn.functional.avg_pool2d(lab[:, 1:], 4)


def showing(ab: Tensor) -> Tensor:
    """Logits that show nearly these colors."""
    target, share = bins.encode(ab)
    count, _, height, width = ab.shape
    return torch.full((count, bins.COUNT, height, width), 1e-9).scatter(1, target, share).log()


def test_right_colors_cost_less_than_wrong_ones_and_gray(
    realism: Realism, photo: tuple[Tensor, Tensor]
) -> None:
    lightness, ab = photo
    right, dull, gray, wrong = (
        float(realism(showing(of), lightness, ab)[0]) for of in (ab, 0.5 * ab, 0 * ab, ab.flip(1))
    )
    assert right < 0.5 * dull < 0.5 * gray
    assert right < 0.2 * wrong


def test_what_varies_within_a_region_costs_and_what_varies_with_the_photo_does_not() -> None:
    lightness, plain = torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16)
    blotch = plain.clone()
    blotch[:, 0, 4:12, 4:12] = 20
    edges = lightness.clone()
    edges[:, :, 4:12, 4:12] = 90
    assert float(smoothness(plain, plain, lightness)) == 0
    assert float(smoothness(blotch, blotch, lightness)) == 0
    assert float(smoothness(plain, blotch, lightness)) == 0, "duller is not rougher"
    assert float(smoothness(blotch, plain, edges)) < 0.01 * float(smoothness(blotch, plain, lightness))


def test_a_slow_change_over_a_region_costs_too() -> None:
    """A blotch has no edge: its neighbors differ by little."""
    lightness, plain = torch.full((1, 1, 16, 16), 50.0), torch.zeros(1, 2, 16, 16)
    slow = plain + torch.linspace(0, 15, 16)
    step = plain.clone()
    step[..., 8:] = 1
    assert float(smoothness(slow, plain, lightness)) > 10 * float(smoothness(step, plain, lightness))


def test_logits_learn_by_both_and_the_features_do_not(realism: Realism, photo: tuple[Tensor, Tensor]) -> None:
    lightness, ab = photo
    logits = showing(ab + 12 * torch.randn(ab.shape, generator=torch.Generator().manual_seed(0)))
    logits = logits.clamp_min(-6).requires_grad_()
    before = realism(logits, lightness, ab)
    for _ in range(20):
        perceptual, smooth = realism(logits, lightness, ab)
        (gradient,) = torch.autograd.grad(perceptual + 0.1 * smooth, logits)
        logits = (logits - 0.5 * gradient / gradient.abs().amax()).detach().requires_grad_()
    after = realism(logits, lightness, ab)
    assert all(float(a.detach()) < 0.9 * float(b.detach()) for a, b in zip(after, before, strict=True))
    assert not any(parameter.requires_grad for parameter in realism.parameters())
    assert not realism.train().stem[1].training, "its statistics stay ImageNet's"


def test_the_stage_is_a_recipe_that_begins_from_the_shipped_weights() -> None:
    config = configs.realism("colorize", "lite")
    method, optimizer = building.build(config, 1, torch.ones(bins.COUNT))
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    backbone = {id(parameter) for parameter in method.net.get_submodule("backbone").parameters()}
    assert not trained & backbone, "the decoder alone learns"
    assert trained
