"""Each distortion against a slow twin, photo by photo: Pillow's, skimage's, SciPy's or colorsys'."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import skimage.filters
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.training import augment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(side: int = 64) -> Tensor:
    """Four parts of real photographs, uint8."""
    whole = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    squares = [np.asarray(Image.fromarray(photo[:256, 100:356]).resize((side, side))) for photo in whole]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def unit(rgb: Tensor) -> Tensor:
    return rgb.float() / 255


BOXES = torch.tensor([[0, 0, 64, 64], [5, 9, 20, 31], [60, 3, 4, 61], [11, 2, 50, 50]])
UNMIRRORED = torch.zeros(4, dtype=torch.bool)


@pytest.mark.parametrize("side", [24, 48, 80])
def test_a_crop_is_the_box_cut_out_and_resized(side: int) -> None:
    mirrored = torch.tensor([False, True, False, True])
    views = augment.resampled(unit(photos()), BOXES, mirrored, side)
    for photo, (top, left, height, width), mirror, seen in zip(
        unit(photos()), BOXES.tolist(), mirrored, views, strict=True
    ):
        box = photo[None, :, top : top + height, left : left + width]
        slow = F.interpolate(box, (side, side), mode="bicubic", antialias=True).clamp(0, 1)[0]
        torch.testing.assert_close(seen, slow.flip(2) if mirror else slow, atol=2e-6, rtol=0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_of_bytes_is_pillows(mirrored: bool) -> None:
    views = augment.resampled(photos(), BOXES, torch.tensor([mirrored] * 4), 40)
    for photo, (top, left, height, width), seen in zip(photos(), BOXES.tolist(), views, strict=True):
        box = Image.fromarray(photo.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        theirs = np.asarray(box.resize((40, 40), Image.Resampling.BICUBIC)).astype(int)
        ours = (seen.flip(2) if mirrored else seen).permute(1, 2, 0).numpy() * 255
        assert np.abs(theirs - ours).max() < 1.01
        assert (np.abs(theirs - ours) < 0.01).mean() > 0.98


def test_a_crop_is_the_same_of_bytes_of_floats_and_of_a_photo_alone() -> None:
    views = augment.resampled(photos(), BOXES, UNMIRRORED, 32)
    floats = augment.resampled(unit(photos()), BOXES, UNMIRRORED, 32)
    levels = (views - floats).abs() * 255  # rounded across and down
    assert levels.max() < 4
    assert levels.mean() < 0.5
    for n in range(4):
        one, of = slice(n, n + 1), (BOXES[n : n + 1], UNMIRRORED[:1], 32)
        assert torch.equal(augment.resampled(photos()[one], *of)[0], views[n])
        torch.testing.assert_close(
            augment.resampled(unit(photos())[one], *of)[0], floats[n], atol=1e-6, rtol=0
        )


AMOUNTS = torch.tensor(
    [[0.4, 1.7, 0.3, 0.13], [1.8, 0.2, 1.6, -0.2], [1.0, 1.0, 1.0, 0.0], [0.9, 1.2, 0.0, 0.4]]
)


def slow_jitter(
    photo: NDArray[np.float64], amounts: Tensor, order: tuple[str, ...], adds: bool
) -> NDArray[np.float64]:
    """(H, W, 3), one kind after the other as its definition says."""
    amount = dict(zip(augment.JITTERS, amounts.double().tolist(), strict=True))
    for kind in order:
        gray = photo @ [0.299, 0.587, 0.114]
        if kind == "brightness":
            photo = photo + amount[kind] if adds else photo * amount[kind]
        elif kind == "contrast":
            photo = amount[kind] * photo + (1 - amount[kind]) * gray.mean()
        elif kind == "saturation":
            photo = amount[kind] * photo + (1 - amount[kind]) * gray[..., None]
        else:
            hsv = skimage.color.rgb2hsv(photo)
            hsv[..., 0] = (hsv[..., 0] + amount[kind]) % 1
            photo = skimage.color.hsv2rgb(hsv)
        photo = photo.clip(0, 1)
    return photo


@pytest.mark.parametrize("adds", [False, True])
def test_jitter_in_every_order(adds: bool) -> None:
    rgb = unit(photos(12))
    amounts = AMOUNTS - torch.tensor([1.0, 0, 0, 0]) * adds
    for order in itertools.permutations(augment.JITTERS):
        seen = augment.jittered(rgb, amounts, order, adds)
        for photo, amount, ours in zip(rgb, amounts, seen, strict=True):
            slow = slow_jitter(photo.permute(1, 2, 0).double().numpy(), amount, order, adds)
            np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), slow, atol=1e-4)


def test_the_hue_of_every_kind_of_color_is_turned_as_colorsys_turns_it() -> None:
    levels = torch.tensor([0.0, 0.2, 0.5, 0.500001, 1.0])
    colors = torch.cartesian_prod(
        levels, levels, levels
    )  # all orders of channels, ties, grays, black and white
    for turn in (-0.5, -0.2, 0.0, 1 / 6, 0.31, 0.5):
        amounts = torch.tensor([[1.0, 1.0, 1.0, turn]])
        ours = augment.jittered(colors.T[None, :, None], amounts, ["hue"])[0, :, 0].T
        for color, seen in zip(colors.double().tolist(), ours, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*color)
            slow = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            np.testing.assert_allclose(seen.numpy(), slow, atol=3e-6, err_msg=f"{color} turned by {turn}")


def test_gray_is_pillows() -> None:
    seen = augment.grayed(unit(photos()))
    for photo, ours in zip(photos(), seen, strict=True):
        theirs = np.asarray(Image.fromarray(photo.permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(ours.numpy() * 255 - theirs).max() < 1
    assert torch.equal(seen[:, 0], seen[:, 2])


def test_each_photo_is_blurred_by_its_own_sigma() -> None:
    rgb, sigmas = unit(photos()), torch.tensor([0.1, 0.55, 1.2, 2.0])
    for photo, sigma, ours in zip(
        rgb.double().numpy(), sigmas.tolist(), augment.blurred(rgb, sigmas, 6), strict=True
    ):
        slow = scipy.ndimage.gaussian_filter(photo, sigma, mode="mirror", radius=6, axes=(1, 2))
        np.testing.assert_allclose(ours.numpy(), slow, atol=2e-6)


def test_what_is_covered_is_a_square_and_nothing_else() -> None:
    rgb, centers = unit(photos()), torch.tensor([[32, 32], [0, 5], [63, 60], [20, 40]])
    color = (0.1, 0.2, 0.3)
    covered = augment.covered(rgb, centers, 21, color)
    for photo, (y, x), ours in zip(rgb, centers.tolist(), covered, strict=True):
        slow = photo.clone()
        slow[:, max(0, y - 10) : y + 11, max(0, x - 10) : x + 11] = torch.tensor(color)[:, None, None]
        assert torch.equal(ours, slow)


def test_noise_has_its_deviation_and_is_each_photos_own() -> None:
    flat, deviations = torch.full((3, 3, 64, 64), 0.5), torch.tensor([0.01, 0.05, 0.1])
    noisy = augment.noisy(flat, deviations, torch.tensor([5, 6, 5]))
    torch.testing.assert_close((noisy - 0.5).std((1, 2, 3)), deviations, rtol=0.03, atol=0)
    assert (noisy - 0.5).mean((1, 2, 3)).abs().max() < 0.003
    torch.testing.assert_close((noisy[0] - 0.5) * 10, noisy[2] - 0.5, atol=1e-5, rtol=0)
    other = ((noisy[0] - 0.5) * (noisy[1] - 0.5)).mean() / (deviations[0] * deviations[1])
    assert other.abs() < 0.05
    assert augment.noisy(flat, torch.full((3,), 2.0), torch.arange(3)).max() == 1


def test_edges_are_skimages() -> None:
    rgb = unit(photos())
    for photo, ours in zip(rgb.double().numpy(), augment.edges(rgb), strict=True):
        slow = [skimage.filters.sobel(channel) * 2**0.5 for channel in photo]
        np.testing.assert_allclose(ours.numpy(), np.clip(slow, 0, 1), atol=1e-6)
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    assert augment.edges(step)[0, 0].amax(0).tolist() == [0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("change", ["jittered", "grayed", "blurred", "covered", "noisy", "edges"])
def test_a_photo_does_not_know_the_others_and_the_given_ones_stay(change: str) -> None:
    amounts = {
        "jittered": (AMOUNTS, ("hue", "contrast", "brightness", "saturation")),
        "grayed": (),
        "blurred": (torch.tensor([0.1, 0.55, 1.2, 2.0]), 6),
        "covered": (torch.tensor([[32, 32], [0, 5], [63, 60], [20, 40]]), 21, (0.1, 0.2, 0.3)),
        "noisy": (torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([5, 6, 7, 8])),
        "edges": (),
    }[change]
    rgb, function = unit(photos()), getattr(augment, change)
    together = function(rgb, *amounts)
    assert torch.equal(rgb, unit(photos()))
    for n in range(4):
        alone = function(rgb[n : n + 1], *(a[n : n + 1] if isinstance(a, Tensor) else a for a in amounts))
        torch.testing.assert_close(alone[0], together[n], atol=1e-6, rtol=0)
