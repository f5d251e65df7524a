"""The panel of augmentations: what is in each of its tiles."""

import numpy as np
import skimage.data

from model.evaluate import panel

PHOTO = skimage.data.astronaut()


def test_each_tile_shows_what_it_is_called():
    tiles = dict(panel.cells(PHOTO, side=64))
    assert list(tiles) == [
        "original", "crop", "crop and flip", "color drop", "color jitter", "rotate", "cutout", "noise", "blur", "sobel",
    ]  # fmt: skip
    original = tiles["original"].astype(int)
    assert all(tile.shape == (64, 64, 3) for tile in tiles.values())
    assert np.ptp(original, axis=2).max() > 50
    assert np.ptp(tiles["color drop"], axis=2).max() == 0
    assert (tiles["crop and flip"] == tiles["crop"][:, ::-1]).all()
    assert any((np.rot90(tiles["rotate"], k) == original).all() for k in (1, 2, 3))
    covered = (tiles["cutout"] == (124, 116, 104)).all(2)
    assert covered.sum() > 200
    assert (tiles["cutout"] == original)[~covered].all()
    edges = {
        name: np.abs(np.diff(tiles[name].astype(int), axis=0)).mean()
        for name in ("original", "blur", "noise")
    }
    assert edges["blur"] < 0.7 * edges["original"] < 0.7 * edges["noise"]
    for name, tile in tiles.items():
        assert name == "original" or (tile != original).any(), name


def test_the_picture_has_two_rows_of_five():
    sheet = np.asarray(panel.panel(PHOTO, side=40))
    assert sheet.shape == (2 * 40 + 2 * 18 + 6, 5 * 40 + 4 * 6, 3)
