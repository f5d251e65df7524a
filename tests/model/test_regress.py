"""Learning by regression: the loss, against autograd and plain loops; that a net learns by it; and that its weights color photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import color as skcolor
from skimage import data
from torch import Tensor, nn

from model import bins, checkpoint
from model.training import building, config as configs, trainer
from model.__main__ import main
from model.colorizer import Colorizer, ColorOptions
from model.methods.colorize import Colorize
from model.methods.regress import Regress
from model.methods.view import view
from model.nets.lite import AB_UNIT, LiteL2
from model.photo import Photo


class Fixed(nn.Module):
    """Answers what it holds, whatever it sees."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, lightness: Tensor) -> Tensor:
        return self.answer


def random_photos(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def test_loss_and_gradient_are_half_the_squared_distance() -> None:
    photos, answer = random_photos(2, 16), torch.randn(2, 2, 4, 4) * 30
    net = Fixed(answer)
    loss = Regress(net).loss(photos, torch.Generator().manual_seed(1))
    loss.backward()

    _, truth = view(photos, torch.arange(2))
    plain = answer.clone().requires_grad_()
    total = torch.zeros(())
    for n in range(2):
        for y in range(4):
            for x in range(4):
                distance = plain[n, :, y, x] - truth[n, :, y, x]
                total = total + 0.5 * distance @ distance
    total = total / (2 * 4 * 4) / AB_UNIT**2
    total.backward()
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(net.answer.grad, plain.grad)


def test_gray_costs_about_one_on_photographs() -> None:
    photos = torch.stack(
        [torch.from_numpy(np.array(getattr(data, name)()[:256, :256])) for name in ("chelsea", "coffee")]
    )
    loss = Regress(Fixed(torch.zeros(2, 2, 64, 64))).loss(
        photos.permute(0, 3, 1, 2), torch.Generator().manual_seed(0)
    )
    assert 0.3 < loss.item() < 5


def test_the_net_starts_gray() -> None:
    torch.manual_seed(0)
    answer = LiteL2()(torch.rand(2, 1, 64, 64) * 100)
    assert answer.shape == (2, 2, 16, 16)
    assert answer.dtype == torch.float32
    assert answer.norm(dim=1).mean() < 5


def made_photos() -> Tensor:
    """Dark red ones and light blue ones."""
    photos = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    photos[:2, 0] = 110
    photos[2:, :2], photos[2:, 2] = 180, 255
    return photos


@pytest.mark.parametrize(
    ("net", "method"),
    [("lite-l2", Regress), ("lite", lambda net: Colorize(net, torch.ones(bins.COUNT)))],
    ids=["regression", "classification"],
)
def test_a_few_steps_of_either_method_lower_its_loss(
    net: str, method: Callable[[nn.Module], trainer.Method]
) -> None:
    torch.manual_seed(0)
    taught = method(checkpoint.NETS[net]())
    optimizer = torch.optim.AdamW(taught.net.parameters(), 1e-3)
    losses = []
    for _ in range(14):
        optimizer.zero_grad()
        loss = taught.loss(made_photos(), torch.Generator().manual_seed(0))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.8 * losses[0]


def test_the_recipe_of_an_l2_net_teaches_it_by_regression() -> None:
    method, _ = recipes.build(recipes.Recipe(net="lite-l2", age=0.3), torch.ones(bins.COUNT))
    assert isinstance(method, Regress)
    assert method.age == 0.3
    assert isinstance(method.net, LiteL2)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A run's folder, as the trainer leaves it, of an L2 net that answers (40, 20) everywhere."""
    net = LiteL2()
    nn.init.zeros_(net.head.weight)
    with torch.no_grad():
        assert net.head.bias is not None
        net.head.bias.copy_(torch.tensor([40.0, 20.0]) / AB_UNIT)
    recipe = asdict(recipes.Recipe(net="lite-l2"))
    facts = {
        "recipe": recipe,
        "data": {"photos": 4, "fingerprint": "f", "prior": [1.0] * bins.COUNT},
        "code": {"commit": "abc1234", "torch": "2"},
    }
    averaged = torch.optim.swa_utils.AveragedModel(net)
    saved = {
        "averaged": averaged.state_dict(),
        "progressed": asdict(trainer.Progressed(8, 32, 1.5)),
        "facts": facts,
    }
    torch.save(saved, tmp_path / "checkpoint.pt")
    return tmp_path


def export(run: Path, *more: str) -> int:
    words = ["weights", "export", str(run), "-o", str(run / "red.safetensors"), "--terms", "t", "--data", "d"]
    return main([*words, *more])


def test_exported_l2_weights_color_a_photo_whatever_the_temperature(red: Path) -> None:
    assert export(red) == 0
    colorizer = Colorizer.load(str(red / "red.safetensors"), "cpu")
    gray = Photo(np.full((64, 96), 130, np.uint8), None, "PNG")
    for temperature in (None, 0.0, 1.0):
        [colored] = colorizer.colorize([gray], ColorOptions(temperature))
        ab = skcolor.rgb2lab(colored.pixels)[..., 1:]
        assert np.abs(ab - [40, 20]).max() < 1
    [half] = colorizer.colorize([gray], ColorOptions(vividness=0.5))
    assert np.abs(skcolor.rgb2lab(half.pixels)[..., 1:] - [20, 10]).max() < 1


def test_an_l2_net_has_no_rebalancing_to_take_back(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(red, "--take-back", "0.3") == 1
    assert "no rebalancing to take back" in capsys.readouterr().err
    assert not (red / "red.safetensors").exists()
