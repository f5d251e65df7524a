"""Fine-tuning: the optimizer against a slow twin, in which order photos are seen, what is trained and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.evaluate.finetuning import FineTuning, Options, classify, copied, fit, order
from model.evaluate.probes import Labeled
from model.nets.backbone import Backbone

SIDE = 16
SHORT = Options(steps=25, batch=12, lr=1e-2, side=SIDE)


def test_steps_against_adam_written_out() -> None:
    chance = np.random.default_rng(0)
    x, wanted = chance.normal(size=(7, 4)), chance.normal(size=7)
    options = FineTuning(steps=20, batch=3, lr=0.05, weight_decay=0.3, warmup=0.25)
    linear = nn.Linear(4, 1).double()
    values = [linear.weight.detach().numpy()[0].copy(), linear.bias.detach().numpy().copy()]
    at, to = torch.from_numpy(x), torch.from_numpy(wanted)

    def loss(numbers: Tensor) -> Tensor:
        return (linear(at[numbers])[:, 0] - to[numbers]).square().mean()

    fit(linear, 7, loss, options, torch.Generator().manual_seed(4))

    first, second = [np.zeros(4), np.zeros(1)], [np.zeros(4), np.zeros(1)]
    for step, some in enumerate(order(7, options, torch.Generator().manual_seed(4)).numpy()):
        rise = (step + 1) / 5 if step < 5 else 0.5 * (1 + np.cos(np.pi * (step - 5) / 15))
        rate = 0.05 * rise
        error = x[some] @ values[0] + values[1] - wanted[some]
        slopes = [2 * (error @ x[some]) / 3, np.array([2 * error.mean()])]
        for i, slope in enumerate(slopes):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            if i == 0:  # biases have no weight decay
                values[i] *= 1 - rate * 0.3
            move = (
                first[i] / (1 - 0.9 ** (step + 1)) / (np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8)
            )
            values[i] = values[i] - rate * move
    np.testing.assert_allclose(linear.weight.detach().numpy()[0], values[0], atol=1e-9)
    np.testing.assert_allclose(linear.bias.detach().numpy(), values[1], atol=1e-9)


@pytest.mark.parametrize("count", [3, 7, 50])
def test_all_photos_are_seen_before_one_is_seen_again(count: int) -> None:
    numbers = order(count, FineTuning(steps=5, batch=6), torch.Generator().manual_seed(0)).flatten()
    for start in range(0, 30, count):
        some = numbers[start : start + count].tolist()
        assert len(set(some)) == len(some)
        assert set(some) <= set(range(count))
    assert numbers.tolist() != sorted(numbers.tolist())


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        Options(steps=0)
    with pytest.raises(ValueError, match="not 200 steps of 1 photos"):
        Options(batch=1)


def weights(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_the_lower_layers_stay_as_they_are_norms_included(frozen: int, tiny: Callable[..., Backbone]) -> None:
    backbone = tiny().eval().requires_grad_(False)  # as an averaged copy comes out of a run
    copy = copied(backbone, frozen)
    before = {layer: weights(copy.get_submodule(layer)) for layer in copy.layers}
    net = nn.Sequential(copy, nn.Linear(12, 3))
    shown = torch.rand(9, 3, SIDE, SIDE)

    def loss(numbers: Tensor) -> Tensor:
        return net(shown[numbers]).square().mean()

    fit(net, 9, loss, SHORT, torch.Generator().manual_seed(0))
    for place, layer in enumerate(copy.layers):
        now = copy.get_submodule(layer)
        assert same(weights(now), before[layer]) == (place < frozen)
        assert all((weight.grad is None) == (place < frozen) for weight in now.parameters())


def test_layers_that_are_not_there_cannot_stay(tiny: Callable[..., Backbone]) -> None:
    with pytest.raises(ValueError, match="2 layers cannot keep 3"):
        copied(tiny(), 3)


def test_a_class_is_learned_in_fixed_steps(
    tiny: Callable[..., Backbone], tinted: Callable[..., Labeled]
) -> None:
    assert classify(tiny(), tinted(60), tinted(60, 1), SHORT).accuracy.value > 0.9


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


def test_crops_in_training_and_the_whole_photo_in_the_test() -> None:
    ramp = np.broadcast_to(np.arange(24, dtype=np.uint8) * 10, (6, 3, 24, 24))
    some = Labeled(ramp, torch.arange(6) % 2)
    backbone = Shown()
    classify(backbone, some, some, replace(SHORT, steps=8, area=(0.3, 0.6)))
    *train, test = backbone.seen
    assert {x.shape[2:] for x in backbone.seen} == {(SIDE, SIDE)}
    train_N = torch.cat(train)
    rise = train_N[:, :, :, -1] - train_N[:, :, :, 0]
    mirrored = (rise[:, 0, 0] < 0).float().mean()
    assert 0.3 < mirrored < 0.7
    widest = (test[:, :, :, -1] - test[:, :, :, 0])[:, 0, 0]
    assert (widest > 0).all()
    assert (rise.abs()[:, 0, 0].max() < widest).all()
    assert rise.abs()[:, 0, 0].std() > 0.1
