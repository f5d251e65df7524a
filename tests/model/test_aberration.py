"""Chromatic aberration: the scaling against pictures drawn larger or smaller, and the shortcut that it opens in photographs, with and
without what counters it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.experiments import aberration
from model.methods import context
from model.training import data

HALF = (96 - 1) / 2


def drawn(scale: float) -> Tensor:
    """(96, 96): waves as a lens draws them that many times as large, about the middle."""
    y, x = torch.meshgrid(*[(torch.arange(96, dtype=torch.float64) - HALF) / scale] * 2, indexing="ij")
    return 0.5 + 0.2 * torch.sin(0.7 * x + 0.2 * y + 0.3) + 0.2 * torch.cos(0.1 * x - 0.9 * y)


def test_red_and_blue_are_what_a_lens_draws_larger_or_smaller() -> None:
    photos = drawn(1).expand(2, 3, 96, 96)
    seen = aberration.aberrate(photos, torch.tensor([1.02, 1.0]), 0.99)
    inside = slice(8, -8)  # beyond the edge nobody knows
    for n, factors in enumerate([(1.02, 1, 0.99), (1, 1, 0.99)]):
        for channel, factor in enumerate(factors):
            off = (seen[n, channel] - drawn(factor))[inside, inside].abs().max()
            assert off < 2e-3
            assert factor == 1 or (photos[n, channel] - drawn(factor))[inside, inside].abs().max() > 0.05


def test_a_factor_of_one_changes_nothing_and_grays_stay_in_range() -> None:
    photos = torch.randint(
        0, 256, (2, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(aberration.aberrate(photos, 1.0, 1.0), photos.float() / 255)
    seen = aberration.aberrate(photos, 1.03, 0.97)
    assert torch.equal(seen[:, 1], photos[:, 1].float() / 255)
    assert seen.min() >= 0
    assert seen.max() <= 1
    white = torch.full((1, 3, 40, 50), 255, dtype=torch.uint8)
    torch.testing.assert_close(aberration.aberrate(white, 1.03, 0.97), torch.ones(1, 3, 40, 50))


def test_fringes_are_the_mean_products_of_channels_at_small_shifts() -> None:
    patches = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fringes = aberration.fringes(patches).view(2, 3, 3, 3, 3)
    for n, patch in enumerate(patches):
        steps = [*(patch[:, 1:] - patch[:, :-1]).flatten(), *(patch[:, :, 1:] - patch[:, :, :-1]).flatten()]
        energy = sum(float(step) ** 2 for step in steps)
        for down, right, a, b in np.ndindex(3, 3, 3, 3):
            total = sum(
                float(patch[a, y, x] * patch[b, y + down - 1, x + right - 1])
                for y in range(1, 6)
                for x in range(1, 5)
            )
            assert float(fringes[n, down, right, a, b]) == pytest.approx(total / energy)


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """(160, 3, 160, 160): parts of the color photographs that scikit-image carries, reduced, so that they are sharp.

    Turned and mirrored: there are few photographs, and what is in the corner of one would else tell the place in another part of it.
    """
    chance = np.random.default_rng(0)
    sources = []
    for path in data.find([Path("scikit-image")]):
        whole = Image.fromarray(data.read(path))
        ratio = 256 / min(whole.size)
        sources.append(np.asarray(whole.resize([round(length * ratio) for length in whole.size])))
    parts = []
    for n in range(160):
        rgb = sources[n % len(sources)]
        y, x = (chance.integers(0, length - 160 + 1) for length in rgb.shape[:2])
        turned = np.rot90(rgb[y : y + 160, x : x + 160], chance.integers(4))
        parts.append(turned[:, ::-1] if chance.random() < 0.5 else turned)
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)


def measured(
    photographs: Tensor, lens: str, colors: context.Colors
) -> dict[aberration.Target, aberration.Probed]:
    seen = aberration.aberrate(photographs, *aberration.LENSES[lens])
    options = replace(context.small(), colors=colors)
    return aberration.measure(seen, options, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("lens", ["green apart", "red from blue"])
def test_fringes_tell_place_and_direction_where_nothing_counters_them(photographs: Tensor, lens: str) -> None:
    for probed in measured(photographs, lens, "keep").values():
        assert probed.accuracy - probed.chance > 0.2
        assert 0.005 < probed.error < 0.04


@pytest.mark.parametrize(
    ("lens", "colors"),
    [("none", "keep"), ("green apart", "drop"), ("green apart", "project"), ("red from blue", "drop")],
)
def test_countered_or_not_there_they_tell_next_to_nothing(
    photographs: Tensor, lens: str, colors: context.Colors
) -> None:
    for probed in measured(photographs, lens, colors).values():
        assert probed.accuracy - probed.chance < 0.06


def test_projection_does_not_counter_a_lens_that_parts_red_from_blue(photographs: Tensor) -> None:
    for probed in measured(photographs, "red from blue", "project").values():
        assert probed.accuracy - probed.chance > 0.2


def test_the_study_has_every_lens_and_treatment(photographs: Tensor) -> None:
    found = aberration.shortcut(photographs[:60], replace(context.small(), grids=1))
    assert len(found) == 3 * 3 * 2
    assert {probed.chance for (*_, target), probed in found.items() if target == "place"} == {0.25}
    at_most = max(probed.accuracy for (lens, *_), probed in found.items() if lens == "none")
    assert found["green apart", "keep", "place"].accuracy > at_most
    assert found["red from blue", "keep", "place"].accuracy > at_most


def test_the_probe_is_tested_on_photos_that_it_was_not_trained_on() -> None:
    """Nothing can be told of noise; what it was fitted to, it would know by heart."""
    noise = torch.rand(60, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    options = replace(context.small(), colors="keep")
    for probed in aberration.measure(noise, options, torch.Generator().manual_seed(0)).values():
        assert probed.accuracy - probed.chance < 0.12


# Fringes to look at


def parted(tile: NDArray[np.uint8]) -> float:
    """How far red lies from blue, beyond what the photo's own colors do."""
    centered = tile.astype(float) - tile.mean((0, 1))
    return float(np.abs(centered[..., 0] - centered[..., 2]).mean())


def test_fringes_are_seen_where_colors_are_kept_and_gone_where_one_is() -> None:
    clean, with_fringes = (dict(row) for row in aberration.cells(skimage.data.chelsea()))
    assert parted(with_fringes["colors kept"]) > 1.3 * parted(clean["colors kept"])
    kept = with_fringes["one color kept"].astype(float).std((0, 1))
    assert sorted(kept > 5) == [False, False, True]
    assert (clean["as it is"] != with_fringes["red and blue scaled"]).any()
    assert (clean["as it is"][..., 1] == with_fringes["red and blue scaled"][..., 1]).all(), "green stays"
