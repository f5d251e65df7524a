"""AlexNet, the ResNets and what they are shown: published counts and costs, shapes by hand, and each layer against plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from skimage import color
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model.nets.alexnet import AlexNet
from model.nets.backbone import Backbone, normalized
from model.nets.resnet import Block, ResNet

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "AlexNet": AlexNet,
    "AlexNet, lightness, stride 2": lambda: AlexNet(channels=1, stride=2),
    "ResNet-18": lambda: ResNet(18),
    "ResNet-18, lightness, small": lambda: ResNet(18, channels=1, stem="small"),
    "ResNet-50": lambda: ResNet(50),
}
every_backbone = pytest.mark.parametrize("name", BACKBONES)


def grown(name: str) -> Backbone:
    """A backbone whose norms are no more what they began as."""
    torch.manual_seed(0)
    net = BACKBONES[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def pictures(net: Backbone, side: int, count: int = 2) -> Tensor:
    return torch.randn(count, net.channels, side, side, generator=torch.Generator().manual_seed(1))


# Counts and costs


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("depth", "published"), [(18, 11_689_512), (50, 25_557_032)])
def test_a_resnet_with_a_layer_of_1000_classes_has_the_published_number_of_parameters(
    depth: int, published: int
) -> None:
    with torch.device("meta"):
        net = ResNet(depth)  # type: ignore[arg-type]
    assert parameters(net) + net.width * 1000 + 1000 == published


@pytest.mark.parametrize(("depth", "published"), [(18, 1.814e9), (50, 4.089e9)])
def test_a_resnet_costs_the_published_multiplications_at_224(depth: int, published: float) -> None:
    """Torchvision's figures, its 1000 classes included. The paper's own ResNet-50, which strides in a 1×1, takes 3.8 billion."""
    with torch.device("meta"):
        net, photo, classes = ResNet(depth).eval(), torch.empty(1, 3, 224, 224), torch.empty(1000, 1)  # type: ignore[arg-type]
        with FlopCounterMode(display=False) as counter:
            F.linear(net(photo), classes.expand(-1, net.width))
    assert counter.get_total_flops() / 2 == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_alexnets_layers_have_the_parameters_that_one_counts_by_hand(channels: int) -> None:
    """A weight for each of kernel², channels in and channels out; a scale and a shift for each channel out."""
    net = AlexNet(channels)
    assert {name: parameters(net.get_submodule(name)) for name in net.layers} == {
        "conv1": 11 * 11 * channels * 96 + 2 * 96,
        "conv2": 5 * 5 * 96 * 256 + 2 * 256,
        "conv3": 3 * 3 * 256 * 384 + 2 * 384,
        "conv4": 3 * 3 * 384 * 384 + 2 * 384,
        "conv5": 3 * 3 * 384 * 256 + 2 * 256,
    }
    assert parameters(net) == {1: 3_725_344, 3: 3_748_576}[channels]


# Shapes

CHANNELS = {
    "AlexNet": (96, 256, 384, 384, 256),
    "ResNet-18": (64, 64, 128, 256, 512),
    "ResNet-50": (64, 256, 512, 1024, 2048),
}
SIDES = {
    "AlexNet": {
        224: (56, 28, 14, 14, 14),
        160: (40, 20, 10, 10, 10),
        96: (24, 12, 6, 6, 6),
        48: (12, 6, 3, 3, 3),
    },
    "AlexNet, lightness, stride 2": {
        224: (112, 56, 28, 28, 28),
        160: (80, 40, 20, 20, 20),
        96: (48, 24, 12, 12, 12),
        48: (24, 12, 6, 6, 6),
    },
    "ResNet-18, lightness, small": {
        224: (224, 224, 112, 56, 28),
        160: (160, 160, 80, 40, 20),
        96: (96, 96, 48, 24, 12),
        48: (48, 48, 24, 12, 6),
    },
    "ResNet-50": {
        224: (112, 56, 28, 14, 7),
        160: (80, 40, 20, 10, 5),
        96: (48, 24, 12, 6, 3),
        48: (24, 12, 6, 3, 2),
    },
}
SIDES["ResNet-18"] = SIDES["ResNet-50"]


@every_backbone
@pytest.mark.parametrize("side", [224, 160, 96, 48])
def test_each_layer_has_the_shape_that_the_paper_or_arithmetic_says(name: str, side: int) -> None:
    with torch.device("meta"):
        net = BACKBONES[name]()
        x = torch.empty(2, net.channels, side, side)
    taps = net.eval().taps(x)
    channels = CHANNELS[name.split(",")[0]]
    assert tuple(taps) == net.layers
    assert [tuple(tap.shape) for tap in taps.values()] == [
        (2, width, edge, edge) for width, edge in zip(channels, SIDES[name][side], strict=True)
    ]
    assert net(x).shape == (2, net.width) == (2, channels[-1])


def test_a_picture_need_not_be_square() -> None:
    assert AlexNet().eval().taps(torch.zeros(1, 3, 48, 112))["conv5"].shape == (1, 256, 3, 7)


# What they compute


@every_backbone
def test_every_layer_does_what_plain_functions_of_its_weights_do(name: str) -> None:
    net = grown(name).eval()
    x = pictures(net, 49)
    twin = alexnet_by_hand if isinstance(net, AlexNet) else resnet_by_hand
    with torch.inference_mode():
        taps, expected, pooled = net.taps(x), twin(name, x, net.state_dict()), net(x)
    assert len(taps) == len(expected) == 5
    for ours, theirs in zip(taps.values(), expected, strict=True):
        assert ours.min() == 0 < ours.max()
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.max()), rtol=1e-5)
    top = expected[-1]
    average = torch.stack([top[..., i, j] for i in range(top.shape[2]) for j in range(top.shape[3])]).mean(0)
    torch.testing.assert_close(pooled, average, atol=1e-5 * float(average.max()), rtol=1e-5)


State = Mapping[str, Tensor]


def alexnet_by_hand(name: str, x: Tensor, state: State) -> list[Tensor]:
    stride = 2 if "stride 2" in name else 4
    found = []
    for layer, step, pooled in [(1, stride, 0), (2, 1, 1), (3, 1, 1), (4, 1, 0), (5, 1, 0)]:
        if pooled:
            x = pooled_by_hand(x)
        x = F.relu(normed_by_hand(x, state, f"conv{layer}.conv", f"conv{layer}.norm", step))
        found.append(x)
    return found


def resnet_by_hand(name: str, x: Tensor, state: State) -> list[Tensor]:
    small, deep = "small" in name, "50" in name
    x = F.relu(normed_by_hand(x, state, "conv1.0", "conv1.1", 1 if small else 2))
    found = [x]
    if not small:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate([3, 4, 6, 3] if deep else [2, 2, 2, 2], 1):
        for number in range(1, blocks + 1):
            block = f"stage{stage}.block{number}"
            step = 2 if stage > 1 and number == 1 else 1
            steps = [1, step, 1] if deep else [step, 1]
            inner = x
            for index, own in enumerate(steps):
                inner = F.relu(inner) if index else inner
                parts = f"{block}.layers.{3 * index}", f"{block}.layers.{3 * index + 1}"
                inner = normed_by_hand(inner, state, *parts, own)
            if number == 1 and (deep or stage > 1):
                x = normed_by_hand(x, state, f"{block}.shortcut.0", f"{block}.shortcut.1", step)
            x = F.relu(x + inner)
        found.append(x)
    return found


def normed_by_hand(x: Tensor, state: State, conv: str, norm: str, stride: int) -> Tensor:
    weight = state[f"{conv}.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    mean, variance, scale, shift = (
        state[f"{norm}.{what}"][:, None, None] for what in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def pooled_by_hand(x: Tensor) -> Tensor:
    """Caffe's: the greatest of 3×3 every 2, and a last window that may hang over the edge, where there is still something under it."""
    high, wide = ((edge - 2) // 2 + 1 for edge in x.shape[-2:])
    windows = [
        [x[..., 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].amax((2, 3)) for j in range(wide)] for i in range(high)
    ]
    return torch.stack([torch.stack(row, -1) for row in windows], -2)


def test_a_block_begins_as_its_shortcut() -> None:
    torch.manual_seed(0)
    for net in (ResNet(18), ResNet(50)):
        blocks = [module for module in net.modules() if isinstance(module, Block)]
        assert len(blocks) == {512: 8, 2048: 16}[net.width]
        for block in blocks[:4]:
            x = torch.rand(2, next(iter(block.parameters())).shape[1], 6, 6)
            assert torch.equal(block(x), F.relu(block.shortcut(x)))


@every_backbone
def test_weights_begin_as_he_et_al_draw_them(name: str) -> None:
    torch.manual_seed(0)
    convs = [module for module in BACKBONES[name]().modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) >= 5
    for conv in convs:
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert float(conv.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.06)
        assert conv.bias is None  # the norm after it has one


# In training


@every_backbone
def test_gradients_reach_every_parameter(name: str) -> None:
    net = grown(name).train()
    features = net(pictures(net, 48))
    (features * torch.randn(features.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    without = [
        name
        for name, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@every_backbone
def test_bfloat16_and_channels_last_come_through_every_layer_and_change_little(name: str) -> None:
    net = grown(name).eval()
    x = pictures(net, 48)
    with torch.no_grad():
        exact = net.taps(x)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        rough = net.taps(x.contiguous(memory_format=torch.channels_last))
        features = net(x.contiguous(memory_format=torch.channels_last))
    for layer in net.layers:
        assert rough[layer].dtype == torch.bfloat16
        assert rough[layer].is_contiguous(memory_format=torch.channels_last)
        error = (rough[layer].float() - exact[layer]).norm() / exact[layer].norm()
        assert 0 < error < 0.03
    features.float().square().sum().backward()
    assert all(
        parameter.grad is not None
        and parameter.grad.dtype == torch.float32
        and parameter.grad.isfinite().all()
        for parameter in net.parameters()
    )


def test_layers_above_leave_those_below_as_they_were() -> None:
    """ReLUs work in place: on their own layer's numbers alone."""
    for name in BACKBONES:
        net = grown(name).eval()
        x = pictures(net, 48, count=1)
        taps = net.taps(x)
        assert torch.equal(x, pictures(net, 48, count=1))
        for layer, below in zip(net.layers[1:], net.layers, strict=False):
            assert torch.equal(taps[layer], net.get_submodule(layer)(taps[below]))


# What they are shown


def test_colors_are_counted_from_the_mean_in_deviations() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 2, 2)
    assert not normalized(mean).any()
    white = normalized(torch.ones(1, 3, 2, 2))[0, :, 0, 0]
    torch.testing.assert_close(white, torch.tensor([2.2489, 2.4286, 2.64]), atol=1e-4, rtol=0)


def test_lightness_is_scikit_images_from_minus_one_to_one() -> None:
    rgb = np.random.default_rng(0).random((4, 5, 3), dtype=np.float32)
    ours = normalized(torch.from_numpy(rgb).permute(2, 0, 1)[None], channels=1)
    assert ours.shape == (1, 1, 4, 5)
    np.testing.assert_allclose(ours[0, 0], color.rgb2lab(rgb)[..., 0] / 50 - 1, atol=1e-4)
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    torch.testing.assert_close(normalized(black_and_white, 1).flatten(), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_and_numbers_in_0_to_1_are_the_same_photo(channels: int) -> None:
    photo = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(normalized(photo, channels), normalized(photo.float() / 255, channels))


# What is refused


def test_what_no_backbone_is_made_for_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"3 channels \(RGB\) or 1 \(lightness\), not 2"):
        normalized(torch.zeros(1, 3, 4, 4), channels=2)
    with pytest.raises(ValueError, match="stride of 4, or 2 for small pictures, not 1"):
        AlexNet(stride=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth of 18 or 50, not 34"):
        ResNet(34)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='"imagenet" or "small", not "cifar"'):
        ResNet(18, stem="cifar")  # type: ignore[arg-type]
