"""Optimizers: LARS against the formulas of its papers, which parameters learn how fast, and learning rates over the steps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from model.errors import InputError
from model.training import optim
from model.training.optim import LARS


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    ).double()


def test_five_steps_are_those_of_the_papers_formulas() -> None:
    ours, rates = net(), (0.3, 0.6, 0.4, 0.2, 0.1)
    slow = {name: p.detach().numpy().copy() for name, p in ours.named_parameters()}
    velocity = {name: np.zeros_like(w) for name, w in slow.items()}
    twin = copy.deepcopy(ours)
    optimizer = LARS(ours.parameters(), lr=0.3, weight_decay=0.01)
    for step, rate in enumerate(rates):
        x = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        with torch.no_grad():
            for name, p in twin.named_parameters():
                p.copy_(torch.from_numpy(slow[name]))
        twin.zero_grad()
        twin(x).square().mean().backward()
        for name, p in twin.named_parameters():
            g, local = p.grad.numpy().copy(), 1.0
            if name in ("0.weight", "4.weight"):
                g = g + 0.01 * slow[name]
                local = 0.001 * np.sqrt((slow[name] ** 2).sum()) / np.sqrt((g**2).sum())
            velocity[name] = 0.9 * velocity[name] + rate * local * g
            slow[name] = slow[name] - velocity[name]
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        ours(x).square().mean().backward()
        optimizer.step()
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), slow[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_layer_moves_by_a_thousandth_of_its_size_whatever_its_gradient() -> None:
    for scale in (1e-6, 1.0, 1e6):
        layer = nn.Linear(20, 30, bias=False)
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.randn(30, 20, generator=torch.Generator().manual_seed(1)) * scale
        LARS(layer.parameters(), lr=2.0, weight_decay=0.0).step()
        assert float((layer.weight.detach() - before).norm() / before.norm()) == pytest.approx(
            0.002, rel=1e-4
        )


def test_a_layer_of_zeros_and_a_gradient_of_zeros_are_stepped_plainly() -> None:
    zeros, still = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.ones(2, 3))
    zeros.grad, still.grad = torch.full((2, 3), 0.5), torch.zeros(2, 3)
    LARS([zeros, still], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(zeros, torch.full((2, 3), -0.05))
    assert torch.equal(still, torch.ones(2, 3))


def test_what_has_no_gradient_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    used.grad = torch.ones(2, 2)
    LARS([used, unused], lr=1.0).step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert not torch.equal(used, torch.ones(2, 2))


def test_its_state_goes_on_from_a_checkpoint() -> None:
    def stepped(optimizer: LARS, layer: nn.Linear, seed: int) -> None:
        layer.weight.grad = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
        optimizer.step()

    layer = nn.Linear(3, 3, bias=False)
    optimizer = LARS(layer.parameters(), lr=0.5)
    stepped(optimizer, layer, 0)
    other = copy.deepcopy(layer)
    resumed = LARS(other.parameters(), lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    stepped(optimizer, layer, 1)
    stepped(resumed, other, 1)
    assert torch.equal(layer.weight, other.weight)


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="no closure"):
        LARS([nn.Parameter(torch.ones(2, 2))], lr=1.0).step(lambda: 0.0)


# Learning rates


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    rates = [optim.cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_each_stage_of_an_extended_run_warms_up_and_falls_to_nothing() -> None:
    rates = [optim.lr_factor(step, (100, 160), 10) for step in range(160)]
    assert rates[:100] == [optim.cosine(step, 100, 10) for step in range(100)]
    assert rates[100:] == [optim.cosine(step, 60, 10) for step in range(60)]
    assert rates[99] < 0.01
    assert rates[100] == pytest.approx(0.1)
    assert rates[109] == pytest.approx(1)


def test_a_stage_of_few_steps_warms_up_for_half_of_them() -> None:
    rates = [optim.lr_factor(step, (4,), 50) for step in range(4)]
    assert rates[:3] == pytest.approx([0.5, 1, 1])
    assert rates[3] == pytest.approx(0.5)
    assert optim.lr_factor(0, (1,), 0) == 1
    assert optim.lr_factor(4, (4,), 50) == pytest.approx(0), "what lies past the end is the last stage's"


# Which parameters learn how fast


class Colors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)
        self.fixed = nn.Linear(2, 2).requires_grad_(False)


def test_adam_decays_as_l2_does_and_adamw_apart_from_the_gradient() -> None:
    """Without a gradient: Adam's step for the decay is as long as the rate; AdamW shrinks by rate times decay."""
    moved = {}
    for name in ("adam", "adamw"):
        layer = nn.Linear(3, 2)
        nn.init.ones_(layer.weight)
        optimizer = optim.build(layer, name, lr=0.01, weight_decay=1e-3)
        layer.weight.grad = torch.zeros(2, 3)
        optimizer.step()
        moved[name] = float((1 - layer.weight.detach().double()).mean())
    assert moved == {"adam": pytest.approx(0.01, rel=1e-3), "adamw": pytest.approx(1e-5, rel=0.05)}


@pytest.mark.parametrize(("name", "decayed"), [("adamw", 0.0), ("sgd", 0.0), ("adam", 0.1)])
def test_the_backbone_learns_at_its_own_rate_and_norms_and_biases_are_not_decayed(
    name: optim.Name, decayed: float
) -> None:
    """But by "adam" they are, as in the released training code."""
    net = Colors()
    optimizer = optim.build(net, name, lr=0.4, backbone_lr=0.2, weight_decay=0.1)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    named = {key: found.pop(id(p)) for key, p in net.named_parameters() if p.requires_grad}
    assert not found, "what is fixed does not learn"
    assert named == {
        "backbone.0.weight": (0.2, 0.1),
        "backbone.0.bias": (0.2, decayed),
        "backbone.1.weight": (0.2, decayed),
        "backbone.1.bias": (0.2, decayed),
        "head.weight": (0.4, 0.1),
        "head.bias": (0.4, decayed),
    }
    assert {group["lr"] for group in optim.build(net, name, lr=0.4).param_groups} == {0.4}


def test_lars_has_no_lr_of_its_own_for_a_backbone() -> None:
    with pytest.raises(InputError, match="leave out backbone_lr"):
        optim.build(nn.Linear(1, 1), "lars", lr=1e-3, backbone_lr=1e-4)
