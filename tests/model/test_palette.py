"""The bins in numpy, against the paper's construction."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from skimage import color

from model import palette


def test_the_bins_are_the_released_file_to_the_byte() -> None:
    """The sha256 of the release's pts_in_hull.npy is published; the file is a header and the bins as int64."""
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (313, 2), }"
    header += " " * (69 - len(header)) + "\n"
    content = palette.centers().astype("<i8").tobytes()
    file = b"\x93NUMPY\x01\x00" + struct.pack("<H", 70) + header.encode() + content
    assert hashlib.sha256(file).hexdigest().startswith("b5dec01315c3")


def test_the_bins_are_the_corners_of_all_cells_that_the_gamut_touches() -> None:
    """From the gamut itself: the convex hull of sRGB on the ab plane, and the square of four cells around each corner.

    Both are convex, so they are apart only if an edge of one of them separates them (separating axis theorem).
    """
    ramp, corners = np.linspace(0, 1, 256), (np.zeros(256), np.ones(256))
    edges = [np.stack([ramp, x, y], -1) for x in corners for y in corners]
    edges += [np.stack([x, ramp, y], -1) for x in corners for y in corners]
    edges += [np.stack([x, y, ramp], -1) for x in corners for y in corners]
    points = color.rgb2lab(np.stack(edges))[..., 1:].reshape(-1, 2)
    hull = ConvexHull(points)
    axis = np.arange(-110, 120, 10.0)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    normals, offsets = hull.equations[:, :2], hull.equations[:, 2]
    meets_hull = (grid @ normals.T - 10 * np.abs(normals).sum(1) + offsets < 0).all(1)
    meets_box = ((grid - 10 < points.max(0)) & (grid + 10 > points.min(0))).all(1)
    assert np.array_equal(palette.centers(), grid[meets_hull & meets_box])


def test_who_changes_the_centers_changes_a_copy() -> None:
    palette.centers()[:] = 0
    assert np.abs(palette.centers()).max() == 110


def test_class_weights_average_to_one_and_taken_back_wholly_give_the_photographs_distribution() -> None:
    prior = np.random.default_rng(0).uniform(0.1, 1, 313)
    prior /= prior.sum()
    weights = palette.class_weights(prior, 0.5)
    assert (weights * prior).sum() == pytest.approx(1, abs=1e-5)
    learned = np.log(weights * prior)
    logits = learned + palette.taken_back(weights, 1)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), prior, rtol=1e-4)
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match="must lie in 0…1"):
            palette.taken_back(weights, wrong)
        with pytest.raises(ValueError, match="must lie in 0…1"):
            palette.class_weights(prior, wrong)
