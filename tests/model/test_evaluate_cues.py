"""Low-level cues or objects: nets whose rule is known are found out, and the pictures are what they say they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color as skcolor
from torch import Tensor, nn
from torch.nn import functional as F

from model import bins, checkpoint
from model.__main__ import main
from model.colorizer import Colorizer
from model.evaluate import cues
from model.evaluate.cues import OBJECTS, Stimulus, stimuli

CARD = checkpoint.read_card(checkpoint.locate("lite"))
GRAY, BLUE, RED = (
    int(((bins.centers() - torch.tensor(ab)) ** 2).sum(1).argmin())
    for ab in ([0.0, 0], [0.0, -40], [50.0, 40])
)


class Ruled(nn.Module):
    """Predicts, at every position, the bin that its rule gives for the lightness around it."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, lightness: Tensor) -> Tensor:
        chosen = self.rule(F.avg_pool2d(lightness, 4))[:, 0]
        return F.one_hot(chosen, bins.COUNT).movedim(-1, 1).float() * 40


def gray(lightness_N1hw: Tensor) -> Tensor:
    return torch.full_like(lightness_N1hw, GRAY, dtype=torch.long)


def bright_is_blue(lightness_N1hw: Tensor) -> Tensor:
    return torch.where(lightness_N1hw > 50, BLUE, RED)


def rough_is_red(lightness_N1hw: Tensor) -> Tensor:
    """Where lightness varies at a few pixels, else gray."""
    around = F.avg_pool2d(lightness_N1hw, 5, 1, 2, count_include_pad=False)
    return torch.where((lightness_N1hw - around).abs() > 2, RED, GRAY)


class PredictsAb(nn.Module):
    def forward(self, lightness: Tensor) -> Tensor:
        return torch.zeros(len(lightness), 2, *(side // 4 for side in lightness.shape[-2:]))


@pytest.fixture(scope="module")
def shown() -> list[Stimulus]:
    return stimuli()


def responses_of(net: nn.Module, shown: list[Stimulus]) -> tuple[list[cues.Response], cues.Findings]:
    responses = cues.respond(Colorizer(net, replace(CARD, size=128), "cpu"), shown)
    return responses, cues.summarize(responses)


def test_a_net_that_predicts_gray_uses_nothing(shown: list[Stimulus]) -> None:
    responses, found = responses_of(Ruled(gray), shown)
    assert max(response.chroma for response in responses) == pytest.approx(0, abs=1e-3)
    assert max(response.entropy or 0 for response in responses) < 1e-3
    assert not found.uses_brightness
    assert not found.uses_texture
    assert found.photograph_error == pytest.approx(found.photograph_gray_error, abs=1e-3)
    assert found.contrast_shift == dict.fromkeys(OBJECTS, pytest.approx(0, abs=1e-3))


def test_a_net_that_goes_by_brightness_is_found_out(shown: list[Stimulus]) -> None:
    responses, found = responses_of(Ruled(bright_is_blue), shown)
    assert found.uses_brightness
    plain = {response.name: response.ab for response in responses if response.kind == "plain"}
    np.testing.assert_allclose(plain["L* 20"], [50, 40], atol=0.1)
    np.testing.assert_allclose(plain["L* 80"], [0, -40], atol=0.1)
    assert found.gradients_explained > 0.7, "a step follows a line so far"
    assert min(found.exposure_shift.values()) > 5
    assert "Brightness is used" in cues.as_markdown(responses, found)


def test_a_net_that_goes_by_texture_is_found_out(shown: list[Stimulus]) -> None:
    responses, found = responses_of(Ruled(rough_is_red), shown)
    assert found.uses_texture
    assert not found.uses_brightness
    assert "Brightness is hardly used" in cues.as_markdown(responses, found)


def test_a_net_that_predicts_ab_itself_has_no_entropy(shown: list[Stimulus]) -> None:
    responses = cues.respond(Colorizer(PredictsAb(), CARD, "cpu"), shown[:3])
    assert {response.entropy for response in responses} == {None}


def lightness_of(stimulus: Stimulus) -> np.ndarray:
    return skcolor.rgb2lab(np.stack([stimulus.pixels] * 3, -1))[..., 0]


def test_the_pictures_are_what_they_are_called(shown: list[Stimulus]) -> None:
    lightness = {(s.kind, s.name): lightness_of(s) for s in shown}
    for value in range(0, 101, 10):
        assert lightness["plain", f"L* {value}"] == pytest.approx(value, abs=0.3)
    for name, sides in {
        "right": np.s_[:, -9:],
        "left": np.s_[:, :9],
        "upward": np.s_[:9],
        "downward": np.s_[-9:],
    }.items():
        [picture] = [
            values for (kind, text), values in lightness.items() if kind == "gradient" and name in text
        ]
        assert picture[sides].min() > 80
    for (kind, name), values in lightness.items():
        if kind == "texture":
            assert values.mean() == pytest.approx(50, abs=1), name
            assert values.std() == pytest.approx(15, abs=1.5), name
    chart = next(s for s in shown if s.kind == "chart")
    assert chart.truth is not None
    assert len(np.unique(chart.truth.reshape(-1, 3), axis=0)) == 24
    contrasts = [lightness["contrast", f"chelsea, contrast {c}"].std() for c in ("0.25", "0.5", "1", "1.5")]
    assert np.array(contrasts) / contrasts[2] == pytest.approx([0.25, 0.5, 1, 1.5], rel=0.1)


def test_scrambling_keeps_the_spectrum_and_loses_the_object(shown: list[Stimulus]) -> None:
    whole, scrambled = (
        lightness_of(next(s for s in shown if (s.kind, s.name) == (kind, "chelsea")))
        for kind in ("photograph", "scrambled")
    )
    spectra = [np.log(np.abs(np.fft.fft2(values))[:40, :40] + 1).ravel() for values in (whole, scrambled)]
    assert np.corrcoef(*spectra)[0, 1] > 0.95
    assert abs(np.corrcoef(whole.ravel(), scrambled.ravel())[0, 1]) < 0.3


def test_the_command_writes_findings_numbers_and_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "cues", "-o", str(tmp_path), "--device", "cpu"]) == 0
    assert "Texture is" in capsys.readouterr().out
    written = json.loads((tmp_path / "cues.json").read_text())
    assert len(written["stimuli"]) == len(stimuli())
    assert written["findings"]["photograph_error"] < written["findings"]["photograph_gray_error"]
    assert (tmp_path / "cues.jpg").stat().st_size < 200_000, "small enough to ship"
    with Image.open(tmp_path / "cues.jpg") as figure:
        assert np.asarray(figure.convert("HSV"))[..., 1].mean() > 10
