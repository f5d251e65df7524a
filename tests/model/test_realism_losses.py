"""Losses of what is shown: wrong colors cost more than right ones, blotches cost and edges do not, a discriminator learns beside."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from skimage import data
from torch import Tensor, nn

from model import bins, checkpoint, color
from model.errors import InputError
from model.methods.colorize import Colorize
from model.methods.realism import Discriminator, Features, Realism, RealismWeights, against, smoothness
from model.nets.lite import Lite
from model.training import building, optim
from model.training import config as configs

SIDE = 64


@pytest.fixture(scope="module")
def features() -> Features:
    return Features(building._imagenet_backbone())


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
    features: Features, photo: tuple[Tensor, Tensor]
) -> None:
    lightness, ab = photo
    right, dull, gray, wrong = (
        float(features.distance(lightness, of, ab)) for of in (1.02 * ab, 0.5 * ab, 0 * ab, ab.flip(1))
    )
    assert right < 0.1 * dull < 0.1 * gray
    assert right < 0.1 * wrong


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


def test_logits_learn_by_all_and_the_features_do_not(photo: tuple[Tensor, Tensor]) -> None:
    lightness, ab = photo
    torch.manual_seed(0)
    weights = RealismWeights(perceptual=1, smooth=0.1, adversary=0.01)
    realism = Realism(torch.zeros(bins.COUNT), 0.5, weights, building._imagenet_backbone())
    logits = showing(ab + 12 * torch.randn(ab.shape, generator=torch.Generator().manual_seed(0)))
    logits = logits.clamp_min(-6).requires_grad_()
    before = parts(realism, logits, lightness, ab)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(realism.loss(logits, lightness, ab), logits)
        logits = (logits - 0.5 * gradient / gradient.abs().amax()).detach().requires_grad_()
    after = parts(realism, logits, lightness, ab)
    assert all(later < 0.9 * earlier for later, earlier in zip(after, before, strict=True))
    assert realism.features is not None
    assert not any(parameter.requires_grad for parameter in realism.features.parameters())
    assert not realism.features.train().stem[1].training, "its statistics stay ImageNet's"


def parts(realism: Realism, logits: Tensor, lightness: Tensor, ab: Tensor) -> tuple[float, float]:
    """The perceptual loss and the smoothness of what logits show."""
    shown = bins.annealed_mean(logits.detach(), 0.5)
    assert realism.features is not None
    coarse = torch.nn.functional.avg_pool2d(lightness, 4)
    return float(realism.features.distance(lightness, shown, ab)), float(smoothness(shown, ab, coarse))


def test_one_backward_pass_teaches_the_discriminator_to_tell_and_what_is_shown_to_fool_it(
    photo: tuple[Tensor, Tensor],
) -> None:
    lightness, ab = photo
    torch.manual_seed(0)
    discriminator, coarse = Discriminator(), torch.nn.functional.avg_pool2d(lightness, 4)
    shown = torch.zeros_like(ab).requires_grad_()
    adam = torch.optim.Adam(discriminator.parameters(), 2e-3)
    for _ in range(60):  # it learns: gray is no photo
        adam.zero_grad()
        fooled, told = against(discriminator, coarse, shown.detach(), ab)
        (fooled + told).backward()
        adam.step()
    fooled, told = against(discriminator, coarse, shown, ab)
    assert float(told.detach()) < 0.5
    before = float(fooled.detach())
    paid_by_net = torch.autograd.grad(
        fooled, [shown, *discriminator.parameters()], allow_unused=True, retain_graph=True
    )
    assert paid_by_net[0] is not None
    assert not [each for each in paid_by_net[1:] if each is not None], "the discriminator does not help"
    assert torch.autograd.grad(told, shown, allow_unused=True)[0] is None, (
        "nor is the net told how to be told apart"
    )
    moved = (shown - 20 * paid_by_net[0] / paid_by_net[0].abs().amax()).detach()
    assert float(against(discriminator, coarse, moved, ab)[0]) < before


def test_the_stage_is_a_recipe_that_begins_from_the_shipped_weights() -> None:
    config = configs.realism("colorize", "lite")
    method, optimizer = building.build(config, 1, torch.ones(bins.COUNT))
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    backbone = {id(parameter) for parameter in method.net.get_submodule("backbone").parameters()}
    assert not trained & backbone, "the decoder alone learns"
    assert method.adversary is not None
    assert {id(parameter) for parameter in method.adversary.parameters()} < trained
    assert configs.read(json.loads(json.dumps(asdict(config)))) == config


def test_what_is_shown_is_decoded_as_the_start_is(photo: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """And where a run that is extended has forgotten its start, as that was."""
    torch.manual_seed(0)
    card = replace(checkpoint.read_card(checkpoint.locate("lite")), temperature=0.3, taken_back=0.6)
    checkpoint.save(Lite(), card, tmp_path / "start.safetensors")
    config = configs.realism("colorize", "lite").changed(["realism.perceptual=0", "realism.adversary=0"])
    begun = replace(config, start=str(tmp_path / "start.safetensors"))
    prior = torch.linspace(1, 9, bins.COUNT, dtype=torch.float64)
    lightness, ab = photo
    logits = showing(0.5 * ab).clamp_min(-4)
    losses = []
    for method, _ in (
        building.build(begun, 1, prior),
        building.build(replace(config, start=""), 1, prior, building.decoding_of(begun.start)),
        building.build(replace(config, start=""), 1, prior, {}),
    ):
        assert isinstance(method, Colorize)
        assert method.realism is not None
        losses.append(float(method.realism.loss(logits, lightness, 0 * ab)))
    weights = bins.class_weights(prior, 0.7)
    shown = bins.annealed_mean(logits + bins.taken_back(weights, 0.6)[:, None, None], 0.3)
    expected = 0.04 * smoothness(shown, 0 * ab, torch.nn.functional.avg_pool2d(lightness, 4))
    assert losses[0] == losses[1] == pytest.approx(float(expected), rel=1e-5)
    assert losses[2] != pytest.approx(losses[0], rel=0.01)


@pytest.mark.parametrize("weight", ["-1", "nan"])
def test_weights_below_nothing_are_refused(weight: str) -> None:
    with pytest.raises(InputError, match="adversary"):
        configs.realism("colorize", "lite").changed([f"realism.adversary={weight}"])


def test_a_discriminator_does_not_learn_by_lars_nor_a_backbone_at_its_own_lr() -> None:
    with pytest.raises(InputError, match="not by lars"):
        optim.build(nn.Linear(1, 1), "lars", lr=1e-3, adversary=Discriminator())
    with pytest.raises(InputError, match="leave out backbone_lr"):
        optim.build(nn.Linear(1, 1), "lars", lr=1e-3, backbone_lr=1e-4)
