"""The paper's network: the published names and counts, the math of its layers, and that it can learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model import bins
from model.nets.eccv16 import Eccv16


@pytest.fixture(scope="module")
def net() -> Eccv16:
    torch.manual_seed(0)
    return Eccv16().eval()


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the release, written out from its table and not from our code."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0],)

    convs_of = {1: [1, 64], 2: [64, 128], 3: [128, 256, 256], 4: [256, 512, 512]}
    convs_of |= {block: [512, 512, 512] for block in (5, 6, 7)}
    for block, channels_in in convs_of.items():
        out = {1: 64, 2: 128, 3: 256}.get(block, 512)
        for index, fan_in in enumerate(channels_in):
            conv(f"model{block}.{2 * index}", out, fan_in if index == 0 else out, 3, 3)
        norm = f"model{block}.{2 * len(channels_in)}"
        shapes |= {f"{norm}.{what}": (out,) for what in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = ()
    shapes["model8.0.weight"] = (512, 256, 4, 4)
    shapes["model8.0.bias"] = (256,)
    conv("model8.2", 256, 256, 3, 3)
    conv("model8.4", 256, 256, 3, 3)
    conv("model8.6", 313, 256, 1, 1)
    shapes["model_out.weight"] = (2, 313, 1, 1)
    return shapes


def test_names_and_shapes_are_those_of_the_published_weights(net: Eccv16) -> None:
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == published_shapes()


def test_it_has_the_published_number_of_parameters(net: Eccv16) -> None:
    assert sum(parameter.numel() for parameter in net.parameters()) == 32_236_011


def test_it_costs_the_published_83_6_gflop_at_256() -> None:
    with torch.device("meta"):
        net = Eccv16()
        lightness = torch.empty(1, 1, 256, 256)
    with FlopCounterMode(display=False) as counter:
        net(lightness)
    assert counter.get_total_flops() / 1e9 == pytest.approx(83.6, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 72), (8, 8)])
def test_logits_come_at_a_quarter_of_the_side(net: Eccv16, height: int, width: int) -> None:
    with torch.inference_mode():
        logits = net(torch.rand(2, 1, height, width) * 100)
    assert logits.shape == (2, 313, height // 4, width // 4)
    assert logits.dtype == torch.float32


def test_a_side_that_is_no_multiple_of_8_is_an_error_that_says_so(net: Eccv16) -> None:
    with pytest.raises(ValueError, match="multiples of 8, not 64×60"):
        net(torch.zeros(1, 1, 64, 60))


def test_every_layer_does_what_the_release_does(net: Eccv16) -> None:
    """The same forward pass written out as functions of the named weights."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for name, value in state.items():
        if "running_" in name or name.endswith("bias"):
            value.copy_(torch.rand(value.shape, generator=generator) * 0.2 + 0.4)
    net = Eccv16().eval()
    net.load_state_dict(state)
    lightness = torch.rand(1, 1, 48, 32, generator=generator) * 100
    with torch.inference_mode():
        torch.testing.assert_close(net(lightness), by_hand(lightness, state), atol=1e-3, rtol=1e-3)


def by_hand(lightness: Tensor, state: dict[str, Tensor]) -> Tensor:
    x = (lightness - 50) / 100
    for block, convs, stride, dilation in [
        ("model1", 2, 2, 1),
        ("model2", 2, 2, 1),
        ("model3", 3, 2, 1),
        ("model4", 3, 1, 1),
        ("model5", 3, 1, 2),
        ("model6", 3, 1, 2),
        ("model7", 3, 1, 1),
    ]:
        for index in range(convs):
            name = f"{block}.{2 * index}"
            step = stride if index == convs - 1 else 1
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], step, dilation, dilation).relu()
        mean, variance, scale, shift = (
            state[f"{block}.{2 * convs}.{what}"][:, None, None]
            for what in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
    x = F.conv_transpose2d(x, state["model8.0.weight"], state["model8.0.bias"], 2, 1).relu()
    x = F.conv2d(x, state["model8.2.weight"], state["model8.2.bias"], padding=1).relu()
    x = F.conv2d(x, state["model8.4.weight"], state["model8.4.bias"], padding=1).relu()
    return F.conv2d(x, state["model8.6.weight"], state["model8.6.bias"])


def test_the_fixed_last_layer_holds_our_bins_and_does_not_train(net: Eccv16) -> None:
    torch.testing.assert_close(net.state_dict()["model_out.weight"][:, :, 0, 0].T * 110, bins.centers())
    fixed = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert fixed == ["model_out.weight"]


def test_it_learns_from_scratch() -> None:
    torch.manual_seed(0)
    net = Eccv16().train()
    lightness = torch.rand(2, 1, 16, 16) * 100
    target = (lightness[:, 0, ::4, ::4] > 50).long() * 200
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(net(lightness), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(313), rel=0.05)
    assert losses[-1] < 0.85 * losses[0]
