"""Lab against scikit-image, an independent implementation, and the gamut mapping."""

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
def test_the_way_there_and_back_changes_nothing(rgb: np.ndarray) -> None:
    there = color.lab_from_rgb(channels_first(rgb))
    torch.testing.assert_close(color.rgb_from_lab(there), channels_first(rgb), atol=2e-4, rtol=0)


def test_lightness_alone_is_the_first_channel() -> None:
    whole = color.lab_from_rgb(channels_first(RGB))
    torch.testing.assert_close(color.lightness_from_rgb(channels_first(RGB)), whole[:, 0], atol=1e-3, rtol=0)


def test_lightness_of_black_and_white() -> None:
    ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    torch.testing.assert_close(
        color.lightness_from_rgb(ends)[0, 0], torch.tensor([0.0, 100.0]), atol=1e-3, rtol=0
    )


def test_colors_that_srgb_lacks_come_back_outside_0_to_1() -> None:
    too_green = torch.tensor([50.0, -120.0, 0.0]).view(1, 3, 1, 1)
    assert color.rgb_from_lab(too_green)[0, 0].item() < 0


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


def test_colors_inside_the_gamut_are_left_alone() -> None:
    rgb = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    photo = color.lab_from_rgb(rgb)[0]
    torch.testing.assert_close(color.gamut_map(photo[0], photo[1:]), rgb[0], atol=2e-3, rtol=0)


def test_colors_outside_keep_lightness_and_hue_and_lose_no_more_chroma_than_they_must() -> None:
    generator = torch.Generator().manual_seed(2)
    lightness = torch.rand(50, 50, generator=generator) * 100
    ab = (torch.rand(2, 50, 50, generator=generator) - 0.5) * 300
    fitted = color.gamut_map(lightness, ab)
    assert fitted.min() >= 0
    assert fitted.max() <= 1
    after = color.lab_from_rgb(fitted[None])[0]
    assert (after[0] - lightness).abs().mean() < 0.05
    assert (after[0] - lightness).abs().max() < 1
    strong = after[1:].norm(dim=0) > 5
    turn = torch.atan2(after[2], after[1]) - torch.atan2(ab[1], ab[0])
    turn = torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi
    assert turn[strong].abs().max() < 0.1
    shrunk = strong & (after[1:].norm(dim=0) < ab.norm(dim=0) - 1)
    a_little_more = color.rgb_from_lab(torch.cat([after[:1], after[1:] * 1.06])[None])[0]
    outside = ((a_little_more < 0) | (a_little_more > 1)).any(0)
    assert outside[shrunk].float().mean() > 0.99
