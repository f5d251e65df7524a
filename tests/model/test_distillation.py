"""What a net that is trained further keeps of what it knew: it is held to its earlier answers, on other photographs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import skimage
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import bins, checkpoint
from model.errors import InputError
from model.methods.colorize import Colorize, ColorizeOptions
from model.methods.distillation import Distillation
from model.nets.backbone import autocast
from model.training import building, runs, session
from model.training import config as configs
from model.training.batches import middles
from model.training.cache import Cache
from model.training.trainer import StoppedError

CPU = torch.device("cpu")
SEEDS = 2 * torch.arange(6)


@pytest.fixture(scope="module")
def shipped() -> nn.Module:
    return checkpoint.load(checkpoint.locate("lite"), taken_back=0)[0].eval()


@pytest.fixture(scope="module")
def distillation(shipped: nn.Module) -> Distillation:
    return Distillation(deepcopy(shipped), torch.zeros(bins.COUNT))


def moved(net: nn.Module) -> nn.Module:
    other = deepcopy(net)
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1.02)
    return other


def test_it_is_the_divergence_from_the_earlier_answers_and_none_at_first(
    shipped: nn.Module, distillation: Distillation
) -> None:
    other = moved(shipped)
    with torch.no_grad():
        assert abs(float(distillation.loss(shipped, SEEDS))) < 1e-5
        seen = distillation.crops(SEEDS, CPU)
        with autocast(CPU):
            told, said = (net(seen).float().log_softmax(1) for net in (shipped, other))
        expected = 2 * F.kl_div(said, told, reduction="none", log_target=True).sum(1).mean()
        torch.testing.assert_close(distillation.loss(other, SEEDS), expected)
        torch.testing.assert_close(distillation.loss(other, torch.arange(12)), expected / 2)
        assert distillation.loss(other, SEEDS + 1) == 0
    assert expected > 0.01


def test_a_net_decoded_by_other_class_weights_is_held_to_the_same_colors(shipped: nn.Module) -> None:
    prior = torch.linspace(1, 5, bins.COUNT, dtype=torch.float64)
    decoding = building.decoding_of("lite")
    own = bins.class_weights(prior / prior.sum(), 0.7)
    its = bins.class_weights(torch.tensor(decoding["prior"], dtype=torch.float64), decoding["lam"])
    shift = building.shift_to_start(own, decoding)
    assert shift.abs().max() > 0.1

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = shipped

        def forward(self, seen: Tensor) -> Tensor:
            logits: Tensor = self.net(seen)
            return logits + shift[:, None, None]

    with torch.no_grad():
        distillation = Distillation(deepcopy(shipped), shift)
        assert abs(float(distillation.loss(Shifted(), SEEDS))) < 1e-5
        seen = distillation.crops(SEEDS, CPU)
        shown = [
            bins.annealed_mean(
                net(seen).float() + bins.taken_back(weights, decoding["taken_back"])[:, None, None].float(),
                0.5,
            )
            for net, weights in ((shipped, its), (Shifted(), own))
        ]
    torch.testing.assert_close(*shown, atol=1e-2, rtol=1e-3)


def test_a_crop_follows_from_its_seed_whichever_process_makes_it(distillation: Distillation) -> None:
    together = distillation.crops(SEEDS, CPU)
    assert together.shape == (6, 1, 160, 160)
    assert 0 <= together.min() < 20
    assert 80 < together.max() <= 100
    for seed, crop in zip(SEEDS, together, strict=True):
        torch.testing.assert_close(distillation.crops(seed[None], CPU)[0], crop)


def test_the_earlier_net_learns_nothing(shipped: nn.Module, distillation: Distillation) -> None:
    net = moved(shipped)
    before = deepcopy(distillation.teacher.state_dict())
    distillation.loss(net, SEEDS).backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is None for value in distillation.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in distillation.teacher.state_dict().items())
    assert any(value.grad is not None for value in net.parameters())


def finetuning(*settings: str) -> configs.Config:
    few = ["steps=12", "warmup=2", "validate_every=0", "batch=4", "sides=64", "last=64", "small=64", "age=0"]
    return configs.finetune("colorize", "lite").changed([*few, "blend=1", "keep_best=false", *settings])


def test_finetuning_by_blue_photographs_leaves_others_more_as_they_were(
    blue: Cache, shipped: nn.Module, tmp_path: Path
) -> None:
    """And the blue ones become blue nevertheless."""
    gray = torch.from_numpy(skimage.data.moon())[None, None].float() / 2.55  # type: ignore[no-untyped-call]
    other = F.interpolate(gray, (128, 128), mode="area")

    def changed(settings: str) -> tuple[float, float]:
        run = tmp_path / settings
        session.learn(finetuning(settings), [blue], run, CPU)
        net = building.load(run).net.eval()
        with torch.no_grad():
            said, told = net(other).log_softmax(1), shipped(other).log_softmax(1)
            forgotten = float(F.kl_div(said, told, reduction="batchmean", log_target=True) / (32 * 32))
        return forgotten, _loss_on(net, blue)

    (free, learned_free), (held, learned_held) = changed("distilled=0"), changed("distilled=10")
    assert held < 0.7 * free
    at_first = _loss_on(shipped, blue)
    assert learned_held < at_first - 0.3 * (at_first - learned_free)


def _loss_on(net: nn.Module, photos: Cache) -> float:
    method = Colorize(net, torch.ones(bins.COUNT), ColorizeOptions(exposure=False))
    batch = middles([photos.photo(number) for number in range(len(photos))], 128, CPU)
    with torch.no_grad():
        return float(method.loss(batch, torch.Generator().manual_seed(0)))


def test_a_run_that_was_stopped_or_is_extended_asks_the_same_earlier_net(
    blue: Cache, shipped: nn.Module, tmp_path: Path
) -> None:
    config = finetuning("steps=3", "distilled=2")
    session.learn(config, [blue], tmp_path / "whole", CPU)
    with pytest.raises(StoppedError):
        session.learn(config, [blue], tmp_path / "stopped", CPU, is_asked_to_stop=lambda: True)
    assert runs.averaged(tmp_path / "stopped").progress.step == 1
    session.learn(config, [blue], tmp_path / "stopped", CPU)
    whole, stopped = (runs.averaged(tmp_path / run).state for run in ("whole", "stopped"))
    assert all(torch.equal(value, whole[name]) for name, value in stopped.items())
    further = session.learn(session.extended(tmp_path / "whole", 4), [blue], tmp_path / "whole", CPU)
    assert further.teacher is not None
    held = further.teacher.state_dict()
    assert all(torch.equal(held[name], value) for name, value in shipped.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["start=", "distilled=1"], "holds a net to what it began from: .* or distilled=0"),
        (["distilled=-1"], "must not be negative"),
        (["fixed_norms=false"], "--set fixed_norms=true, or distilled=0"),
    ],
)
def test_what_cannot_be_distilled_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        building.build(finetuning(*settings), 1, torch.ones(bins.COUNT))
