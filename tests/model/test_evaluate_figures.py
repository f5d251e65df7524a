"""Contact sheets that can be read, and the gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from model.__main__ import main
from model.evaluate import color, figures


def test_a_hundred_photos_fit_on_a_readable_sheet() -> None:
    tiles = np.random.default_rng(0).integers(60, 200, (4, 4, 3)).astype(np.uint8)
    truth = tiles.repeat(24, axis=0).repeat(24, axis=1)
    strips = [figures.Strip(str(number), [truth] * 3) for number in range(100)]
    sheet = figures.sheet(["gray", "a net with a name that is too long for its column", "truth"], strips)
    assert sheet.width <= 2000
    assert sheet.height > 25 * 128
    row = np.asarray(sheet)[:, :384]
    assert (row[:16].min(axis=(1, 2)) < 100).any(), "headings stand above"
    cell = row[-128:, :128].astype(int)
    expected = np.asarray(Image.fromarray(truth).resize((128, 128), Image.Resampling.LANCZOS))
    assert np.abs(cell - expected).mean() < 4


def test_the_gallery_shows_gray_colored_and_true_side_by_side(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cat = Image.fromarray(skimage.data.chelsea())
    cat.save(photos / "cat.png")
    cat.convert("L").save(photos / "old cat.png")
    assert main(["gallery", "--photos", str(photos), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    panels = {}
    for name in ("cat", "old cat"):
        with Image.open(tmp_path / "out" / f"{name}.jpg") as strip:
            count = round(strip.width / strip.height / (cat.width / cat.height))
            panels[name] = [
                color.colorfulness(panel) for panel in np.array_split(np.asarray(strip), count, axis=1)
            ]
    gray, colored, truth = panels["cat"]
    assert gray < 3 < min(colored, truth)
    old, colored = panels["old cat"]
    assert old < 3 < colored

    (photos / "old cat.png").unlink()
    apart = ["gallery", "--apart", "--photos", str(photos), "-o", str(tmp_path / "apart"), "--device", "cpu"]
    assert main(apart) == 0
    with (
        Image.open(tmp_path / "apart/cat-gray.jpg") as gray_file,
        Image.open(tmp_path / "apart/cat-color.jpg") as colored_file,
    ):
        assert (gray_file.mode, gray_file.size, colored_file.size) == ("L", cat.size, cat.size)
        assert color.colorfulness(np.asarray(colored_file)) > 3
