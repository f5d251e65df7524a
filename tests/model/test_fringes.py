"""The figure of colored fringes: what each tile is to show."""

import numpy as np
import skimage.data

from model.evaluate import fringes


def parted(tile):
    """How far red lies from blue, beyond what the photo's own colors do."""
    centered = tile.astype(float) - tile.mean((0, 1))
    return np.abs(centered[..., 0] - centered[..., 2]).mean()


def test_fringes_are_seen_where_colors_are_kept_and_gone_where_one_is():
    clean, with_fringes = (dict(row) for row in fringes.cells(skimage.data.chelsea()))
    assert parted(with_fringes["colors kept"]) > 1.3 * parted(clean["colors kept"])
    kept = with_fringes["one color kept"].astype(float).std((0, 1))
    assert sorted(kept > 5) == [False, False, True]
    assert (clean["as it is"] != with_fringes["red and blue scaled"]).any()
    assert (clean["as it is"][..., 1] == with_fringes["red and blue scaled"][..., 1]).all(), "green stays"
