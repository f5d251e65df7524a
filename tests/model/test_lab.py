"""Lab against scikit-image, an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color

from model import lab

RGB = np.random.default_rng(0).random((2, 31, 17, 3)).astype(np.float32)
CORNERS = np.stack(np.meshgrid([0.0, 0.04045, 1.0], [0.0, 0.5, 1.0], [0.0, 0.02, 1.0]), -1).reshape(
    1, 27, 1, 3
)


def channels_first(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("rgb", [RGB, CORNERS.astype(np.float32)], ids=["random", "corners"])
def test_lab_agrees_with_scikit_image(rgb: np.ndarray) -> None:
    ours = lab.lab_from_rgb(channels_first(rgb))
    theirs = channels_first(color.rgb2lab(rgb.astype(np.float64)))
    torch.testing.assert_close(ours.double(), theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("rgb", [RGB, CORNERS.astype(np.float32)], ids=["random", "corners"])
def test_the_way_there_and_back_changes_nothing(rgb: np.ndarray) -> None:
    there = lab.lab_from_rgb(channels_first(rgb))
    torch.testing.assert_close(lab.rgb_from_lab(there), channels_first(rgb), atol=2e-4, rtol=0)


def test_lightness_alone_is_the_first_channel() -> None:
    whole = lab.lab_from_rgb(channels_first(RGB))
    torch.testing.assert_close(lab.lightness_from_rgb(channels_first(RGB)), whole[:, 0], atol=1e-3, rtol=0)


def test_lightness_of_gray_is_that_of_three_equal_channels() -> None:
    gray = torch.linspace(0, 1, 256)
    three = gray.expand(1, 3, 1, 256)
    torch.testing.assert_close(
        lab.lightness_from_gray(gray), lab.lightness_from_rgb(three)[0, 0], atol=1e-4, rtol=0
    )
    assert lab.lightness_from_gray(gray)[0] == pytest.approx(0, abs=1e-4)
    assert lab.lightness_from_gray(gray)[-1] == pytest.approx(100, abs=1e-4)


def test_colors_that_srgb_lacks_come_back_outside_0_to_1() -> None:
    too_green = torch.tensor([50.0, -120.0, 0.0]).view(1, 3, 1, 1)
    assert lab.rgb_from_lab(too_green)[0, 0].item() < 0


def test_gradients_are_finite_where_the_curves_have_their_corners() -> None:
    rgb = torch.zeros(1, 3, 1, 3, requires_grad=True)
    lab.lab_from_rgb(rgb).sum().backward()
    assert rgb.grad is not None
    assert torch.isfinite(rgb.grad).all()


def test_bytes_are_decoded_as_floats_are() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(16, 16)
    torch.testing.assert_close(
        lab.linear_from_bytes(values), lab.linear_from_srgb(values / 255), atol=1e-6, rtol=0
    )
