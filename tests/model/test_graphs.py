"""Our nets as OpenVINO graphs: the same answers as the torch modules, and as strict about what is in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from model import cards, checkpoint
from model.cards import Card, CheckpointError
from model.engines import CpuEngine
from model.errors import InputError
from model.nets.eccv16 import Eccv16
from model.nets.lite import Lite, LiteL2
from model.runtimes import graphs

SHIPPED = cards.read_card(cards.locate("lite"))
LIGHTNESS = np.random.default_rng(0).uniform(0, 100, (2, 1, 64, 96)).astype(np.float32)


def drawn(net: nn.Module) -> nn.Module:
    """As one that has learned something: norms with statistics, and features that keep their scale."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            nn.init.kaiming_normal_(module.weight, generator=generator)
    return net.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(net: nn.Module, kind: str, **changed: object) -> Path:
        path = tmp_path / "made.safetensors"
        card = replace(SHIPPED, name="made", net=kind, **{"prior": (), "taken_back": 0.0, **changed})
        checkpoint.save(net, card, path, torch.float32)
        return path

    return save


def answers(path: Path, **taken_back: float) -> np.ndarray:
    graph, _ = graphs.load(path, **taken_back)
    return CpuEngine(graph, 1).run(LIGHTNESS)


@pytest.mark.parametrize(("net", "kind"), [(Lite, "lite"), (LiteL2, "lite-l2"), (Eccv16, "eccv16")])
def test_a_graph_answers_as_the_module_does(
    net: type[nn.Module], kind: str, saved: Callable[..., Path]
) -> None:
    module = drawn(net())
    with torch.inference_mode():
        expected = module(torch.from_numpy(LIGHTNESS)).numpy()
    found = answers(saved(module, kind))
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
def test_the_share_of_the_rebalancing_is_taken_back_as_by_checkpoint(
    share: float | None, saved: Callable[..., Path]
) -> None:
    prior = tuple(np.random.default_rng(0).uniform(0.1, 1, 313))
    path = saved(drawn(Lite()), "lite", prior=prior, lam=0.7, taken_back=0.4)
    module, card = checkpoint.load(path, taken_back=share)
    with torch.inference_mode():
        expected = module(torch.from_numpy(LIGHTNESS)).numpy()
    graph, ours = graphs.load(path, share)
    assert ours == card
    assert np.abs(CpuEngine(graph, 1).run(LIGHTNESS) - expected).max() < 1e-4 * np.abs(expected).max()


def test_weights_of_float16_are_those_of_the_file() -> None:
    module, _ = checkpoint.load(cards.locate("lite"))
    with torch.inference_mode():
        expected = module(torch.from_numpy(LIGHTNESS)).numpy()
    assert np.abs(answers(cards.locate("lite")) - expected).max() < 1e-3


def rewritten(path: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    """The file with other tensors, and a card that has its hash."""
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    data = safetensors.torch.save(tensors)
    path.write_bytes(data)
    card = Card.from_json(path.with_suffix(".json").read_bytes())
    path.with_suffix(".json").write_text(replace(card, sha256=hashlib.sha256(data).hexdigest()).to_json())
    return path


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda t: t.pop("head.bias"), "weights_mismatch", "does not fit lite: head.bias is missing"),
        (
            lambda t: t.update({"head.bias": torch.zeros(7)}),
            "weights_mismatch",
            r"head.bias has the shape \(7,\), not \(313,\)",
        ),
        (lambda t: t.update(extra=torch.zeros(1)), "weights_mismatch", "extra is not of this network"),
        (lambda t: t["merge8.mix.0.weight"].fill_(float("nan")), "weights_not_finite", "merge8.mix.0.weight"),
        (
            lambda t: t.update({"hints.convs.0.weight": torch.zeros(3, 3)}),
            "weights_mismatch",
            "hints.convs.0.weight has the shape",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    change: Callable[[dict[str, Tensor]], None], code: str, said: str, saved: Callable[..., Path]
) -> None:
    path = rewritten(saved(Lite(), "lite"), change)
    with pytest.raises(CheckpointError, match=said) as refused:
        graphs.load(path)
    assert refused.value.code == code


def test_older_weights_that_know_no_hints_are_loaded(saved: Callable[..., Path]) -> None:
    module = drawn(Lite())
    path = saved(module, "lite")
    expected = answers(path)

    def forget(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("hints.")]:
            del tensors[name]

    assert np.array_equal(answers(rewritten(path, forget)), expected)


def test_a_damaged_file_is_refused(saved: Callable[..., Path]) -> None:
    path = saved(Lite(), "lite")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="does not have the hash"):
        graphs.load(path)


def test_a_share_for_weights_without_a_prior_is_refused(saved: Callable[..., Path]) -> None:
    path = saved(Lite(), "lite")
    with pytest.raises(CheckpointError, match="holds no prior"):
        graphs.load(path, 0.5)
    with pytest.raises(InputError, match="must lie in 0…1"):
        graphs.load(path, 1.5)


def test_the_answers_for_a_position_lie_side_by_side() -> None:
    """As the CPU has them, and as `annealing` reads them fastest: nothing need be copied between."""
    assert np.moveaxis(answers(cards.locate("lite")), 1, -1).flags.c_contiguous
