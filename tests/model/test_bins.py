"""The 313 bins, each function against a slow version that knows no table."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch

from model import bins

COLORS = torch.from_numpy(np.random.default_rng(1).uniform(-100, 100, (2, 2, 9, 7))).float()


def rounded(ab: torch.Tensor) -> torch.Tensor:
    return (ab * 2).round() / 2


def soft_encoding_by_hand(ab: np.ndarray, neighbors: int) -> np.ndarray:
    """One color → its (313,) distribution, over float64 distances."""
    distance = np.hypot(*(bins.centers().double().numpy() - ab).T)
    chosen = np.argsort(distance, kind="stable")[:neighbors]
    weight = np.exp(-(distance[chosen] ** 2) / (2 * 5.0**2))
    distribution = np.zeros(313)
    distribution[chosen] = weight / weight.sum()
    return distribution


def test_there_are_313_bins_in_their_published_range() -> None:
    centers = bins.centers()
    assert centers.shape == (313, 2)
    assert centers.min(0).values.tolist() == [-90, -110]
    assert centers.max(0).values.tolist() == [100, 100]
    assert (centers % 10 == 0).all()


def test_who_changes_the_centers_changes_a_copy() -> None:
    bins.centers().zero_()
    assert bins.centers().abs().max() == 110


def test_the_computed_bins_are_the_released_file_to_the_byte() -> None:
    """The sha256 of the release's pts_in_hull.npy is published; the file is a header and the bins as int64."""
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (313, 2), }"
    header += " " * (69 - len(header)) + "\n"
    file = (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 70)
        + header.encode()
        + bins.centers().numpy().astype("<i8").tobytes()
    )
    assert hashlib.sha256(file).hexdigest().startswith("b5dec01315c3")


@pytest.mark.parametrize("neighbors", [1, 5, 10])
def test_soft_encoding_equals_brute_force(neighbors: int) -> None:
    index, weight = bins.encode(COLORS, neighbors)
    assert index.shape == weight.shape == (2, neighbors, 9, 7)
    dense = torch.zeros(2, 313, 9, 7, dtype=torch.float64).scatter_(1, index, weight.double())
    for n, y, x in np.ndindex(2, 9, 7):
        by_hand = soft_encoding_by_hand(rounded(COLORS)[n, :, y, x].double().numpy(), neighbors)
        ours = dense[n, :, y, x].numpy()
        # Where two centers are equally far, either may be the last neighbor; its weight is the same.
        np.testing.assert_allclose(np.sort(ours), np.sort(by_hand), atol=1e-6)


def test_nearest_is_the_nearest_center() -> None:
    nearest = bins.nearest(COLORS)
    distance = torch.cdist(rounded(COLORS).movedim(1, -1).reshape(-1, 2), bins.centers())
    chosen = distance.gather(1, nearest.reshape(-1, 1))[:, 0]
    torch.testing.assert_close(chosen, distance.min(1).values, atol=1e-4, rtol=0)


def test_a_color_beyond_the_table_takes_its_edge() -> None:
    beyond = torch.tensor([500.0, -500.0]).view(1, 2, 1, 1)
    edge = torch.tensor([110.0, -110.0]).view(1, 2, 1, 1)
    assert torch.equal(bins.encode(beyond)[0], bins.encode(edge)[0])


def test_soft_encoding_decodes_to_the_color_it_came_from() -> None:
    inside = torch.from_numpy(np.random.default_rng(2).uniform(-30, 30, (1, 2, 50, 50))).float()
    index, weight = bins.encode(inside, 10)
    decoded = torch.einsum("nkhw,nkhwc->nchw", weight, bins.centers()[index])
    assert (decoded - inside).norm(dim=1).mean() < 0.6


def test_histogram_counts_every_pixel_once() -> None:
    counted = bins.histogram(COLORS)
    by_hand = sum(
        soft_encoding_by_hand(rounded(COLORS)[n, :, y, x].double().numpy(), 5)
        for n, y, x in np.ndindex(2, 9, 7)
    )
    assert counted.sum().item() == pytest.approx(2 * 9 * 7)
    near_tie = 0.02  # see above: a tie for fifth place may fall to a neighbor
    np.testing.assert_allclose(counted.numpy(), by_hand, atol=near_tie * 2 * 9 * 7)


def test_class_weights_reach_the_papers_ratio_and_average_to_one() -> None:
    prior = torch.full((313,), (1 - 0.2012) / 311, dtype=torch.float64)
    prior[100], prior[200] = 0.2012, 0.0
    weights = bins.class_weights(prior, 0.5)
    assert (weights.max() / weights.min()).item() == pytest.approx(64, abs=0.05)
    assert (prior * weights).sum().item() == pytest.approx(1, abs=1e-6)


def test_lam_one_weighs_alike_and_lam_zero_by_full_rarity() -> None:
    prior = torch.arange(1, 314, dtype=torch.float64)
    assert torch.allclose(bins.class_weights(prior, 1.0), torch.ones(313))
    rarity = bins.class_weights(prior, 0.0)
    assert rarity[0] / rarity[312] == pytest.approx(313)
    with pytest.raises(ValueError, match="must lie in 0…1"):
        bins.class_weights(prior, 1.5)


def test_taking_back_all_rebalancing_gives_the_true_distribution() -> None:
    generator = torch.Generator().manual_seed(4)
    truth = torch.softmax(torch.randn(313, generator=generator), 0)
    weights = bins.class_weights(torch.rand(313, generator=generator), 0.5)
    learned = (truth * weights).log()  # what minimizes the rebalanced cross-entropy
    torch.testing.assert_close(torch.softmax(learned + bins.taken_back(weights, 1), 0), truth)
    halfway = torch.softmax(learned + bins.taken_back(weights, 0.5), 0)
    torch.testing.assert_close(halfway, truth * weights.sqrt() / (truth * weights.sqrt()).sum())
    with pytest.raises(ValueError, match="must lie in 0…1"):
        bins.taken_back(weights, 1.5)


def logits(seed: int = 3, scale: float = 4.0) -> torch.Tensor:
    return torch.randn(2, 313, 3, 5, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("temperature", [1.0, 0.38, 0.1])
def test_annealed_mean_equals_the_papers_formula(temperature: float) -> None:
    z = torch.softmax(logits().double(), 1).numpy()
    sharpened = np.exp(np.log(z) / temperature)
    sharpened /= sharpened.sum(1, keepdims=True)
    by_hand = np.einsum("nqhw,qc->nchw", sharpened, bins.centers().double().numpy())
    np.testing.assert_allclose(bins.annealed_mean(logits(), temperature).numpy(), by_hand, atol=1e-3)


def test_annealed_mean_goes_to_the_mode_and_never_overflows() -> None:
    huge = logits(scale=1000.0)
    mode = bins.centers()[huge.argmax(1)].movedim(-1, 1)
    assert torch.equal(bins.annealed_mean(huge, 0), mode)
    for temperature in (1e-300, 1e-30, 1e-6, 0.01):
        torch.testing.assert_close(bins.annealed_mean(huge, temperature), mode)
    assert torch.isfinite(bins.annealed_mean(huge * 1e30, 1.0)).all()
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="must not be negative"):
            bins.annealed_mean(huge, wrong)
