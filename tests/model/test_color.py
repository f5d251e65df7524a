"""Lab against scikit-image, an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.color
import torch

from model import color

RGB = np.random.default_rng(0).random((2, 31, 17, 3)).astype(np.float32)
CORNERS = np.stack(np.meshgrid([0.0, 0.04045, 1.0], [0.0, 0.5, 1.0], [0.0, 0.02, 1.0]), -1).reshape(
    1, 27, 1, 3
)


def channels_first(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize("rgb", [RGB, CORNERS.astype(np.float32)], ids=["random", "corners"])
def test_lab_agrees_with_scikit_image(rgb: np.ndarray) -> None:
    ours = color.lab_from_rgb(channels_first(rgb))
    theirs = channels_first(skimage.color.rgb2lab(rgb.astype(np.float64)))
    torch.testing.assert_close(ours.double(), theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("rgb", [RGB, CORNERS.astype(np.float32)], ids=["random", "corners"])
def test_the_way_back_ends_where_it_began(rgb: np.ndarray) -> None:
    whole = channels_first(rgb)
    torch.testing.assert_close(
        color.rgb_from_lab(color.lab_from_rgb(whole)), whole.float(), atol=2e-4, rtol=0
    )


def test_lightness_alone_is_the_first_channel() -> None:
    whole = color.lab_from_rgb(channels_first(RGB))
    torch.testing.assert_close(color.lightness_from_rgb(channels_first(RGB)), whole[:, 0], atol=1e-3, rtol=0)


def test_lightness_of_black_and_white() -> None:
    ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    torch.testing.assert_close(
        color.lightness_from_rgb(ends)[0, 0], torch.tensor([0.0, 100.0]), atol=1e-3, rtol=0
    )


def test_gradients_are_finite_where_the_curves_have_their_corners() -> None:
    rgb = torch.zeros(1, 3, 1, 3, requires_grad=True)
    color.lab_from_rgb(rgb).sum().backward()
    assert rgb.grad is not None
    assert torch.isfinite(rgb.grad).all()


def test_bytes_are_decoded_as_floats_are() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(16, 16)
    torch.testing.assert_close(
        color.linear_from_bytes(values), color.linear_from_srgb(values / 255), atol=1e-6, rtol=0
    )
