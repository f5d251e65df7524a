"""Pages around photographs: nets whose rule is known show in the numbers, and the pages are what they are said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color as skcolor
from skimage import data
from torch import Tensor, nn

from model import checkpoint
from model.__main__ import main
from model.colorizer import Colorizer
from model.evaluate import borders
from model.evaluate.inspection import Page, lay

CARD = checkpoint.read_card(checkpoint.locate("lite"))
BORDER, COLORED, PHOTO, MOVED = range(4)  # of the scores


class PredictsAb(nn.Module):
    """One color for the whole of what it sees, by the mean lightness of that."""

    def __init__(self, rule: Callable[[float], tuple[float, float]]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, lightness: Tensor) -> Tensor:
        colors = torch.tensor([self.rule(float(seen.mean())) for seen in lightness])
        height, width = lightness.shape[-2:]
        return colors[:, :, None, None].expand(-1, -1, height // 4, width // 4).contiguous()


def net(name: str, rule: Callable[[float], tuple[float, float]]) -> Colorizer:
    return Colorizer(PredictsAb(rule), replace(CARD, name=name), "cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The page of each is drawn by its name."""
    folder = tmp_path_factory.mktemp("photos") / "album"
    folder.mkdir()
    for number, name in enumerate(("astronaut", "coffee", "chelsea") * 2):
        Image.fromarray(getattr(data, name)()[::2, ::2]).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def mean(measured: list[borders.Measured], row: str) -> np.ndarray:
    return np.mean([one.scores[row] for one in measured], 0)


def test_a_net_that_paints_all_blue_is_found_out_and_one_that_paints_gray_is_not(photos: list[Path]) -> None:
    nets = [net("gray", lambda _: (0, 0)), net("blue", lambda _: (0, -40))]
    measured = [*borders.measure(nets, photos)]
    for row in ("gray", "gray · inspected"):
        np.testing.assert_allclose(mean(measured, row), 0, atol=0.05)
        assert not mean(measured, row)[COLORED]
    blue = mean(measured, "blue")
    assert blue[BORDER] > 8
    assert blue[COLORED] > 30
    assert blue[PHOTO] > 15
    assert blue[MOVED] < 1, "alone, it is as blue"


def test_where_the_border_is_found_it_stays_gray_and_the_photograph_keeps_its_color(
    photos: list[Path],
) -> None:
    measured = [one for one in borders.measure([net("blue", lambda _: (0, -40))], photos) if one.is_found]
    assert len(measured) >= 5
    inspected, blue = mean(measured, "blue · inspected"), mean(measured, "blue")
    assert inspected[BORDER] < 0.05 * blue[BORDER]
    assert inspected[PHOTO] > 0.85 * blue[PHOTO], "color sets in over a few pixels"


def test_a_net_that_goes_by_the_page_colors_the_photograph_as_it_would_not_alone(photos: list[Path]) -> None:
    def by_lightness(seen: float) -> tuple[float, float]:
        return (0, seen - 50)

    measured = [*borders.measure([net("swayed", by_lightness)], photos)]
    swayed, inspected = mean(measured, "swayed"), mean(measured, "swayed · inspected")
    assert swayed[MOVED] > 8
    assert inspected[MOVED] < 0.4 * swayed[MOVED]


def test_scores_are_of_the_border_and_of_the_photograph() -> None:
    """A page of 40 × 60 with its photograph in the middle, and a pixel's width that the photograph covers in part."""
    half, faint, photo, elsewhere = (100, 140, 190), (126, 130, 136), (150, 110, 90), (110, 150, 90)
    covered = np.zeros((40, 60), np.uint8)
    covered[10:30, 15:45] = 128
    covered[11:29, 16:44] = 255
    shown = np.full((40, 60, 3), 130, np.uint8)
    shown[:10], shown[30:] = half, faint
    shown[10:30, 15:45] = (255, 0, 0)
    shown[11:29, 16:44] = photo
    page = Page(shown[..., 0], covered, (10, 15, 30, 45))
    found = borders.scores(page, shown, np.full((20, 30, 3), elsewhere, np.uint8))
    blue, bluish, warm, green = skcolor.rgb2lab(np.array([[half, faint, photo, elsewhere]], np.uint8))[
        0, :, 1:
    ]
    share = 600 / 1800
    assert 3 < np.hypot(*bluish) < 8, "neutral still"
    assert found[BORDER] == pytest.approx(share * (np.hypot(*blue) + np.hypot(*bluish)), abs=0.05)
    assert found[COLORED] == pytest.approx(100 * share)
    assert found[PHOTO] == pytest.approx(np.hypot(*warm), abs=0.05)
    assert found[MOVED] == pytest.approx(np.hypot(*(warm - green)), abs=0.05)


def test_a_page_follows_from_the_photos_name(photos: list[Path]) -> None:
    pages = [borders.laid(path) for path in photos]
    again = [borders.laid(path) for path in photos]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(pages, again, strict=True))
    assert not np.array_equal(pages[0].pixels, pages[3].pixels), "one photograph by two names"


def test_the_page_is_told_from_the_photograph_also_where_that_lies_aslant() -> None:
    """What is the photograph's changes with it; what is the page's does not, but for JPEG's blocks."""
    aslant = 0
    for number in range(12):
        black, white = (
            lay(Image.new("L", (256, 300), tone), np.random.default_rng(number)) for tone in (0, 255)
        )
        changed = white.pixels.astype(int) - black.pixels
        assert changed[black.photo == 255].min() > 150
        assert np.abs(changed[black.photo == 0]).mean() < 3
        top, left, bottom, right = black.box
        inside = black.photo[top:bottom, left:right]
        assert inside.shape == (300, 256)
        assert (inside == 255).mean() > 0.9
        aslant += bool((inside < 255).any())
    assert 3 < aslant < 12


def measured(name: str, chroma: float, other: float) -> borders.Measured:
    rows = {"old": chroma, "old · inspected": 1.0, "new": other, "new · inspected": 0.5}
    return borders.Measured(Path(name), name != "b", {row: (value, 0, 20, 3) for row, value in rows.items()})


def test_sources_have_tables_and_differences_between_nets_are_paired() -> None:
    one = [measured("a", 10, 7), measured("b", 4, 1)]
    report = borders.summarize({"one": one, "two": [measured("c", 6, 3)]})
    assert {name: (source.pages, source.found) for name, source in report.sources.items()} == {
        "one": (2, 1),
        "two": (1, 1),
        "all": (3, 2),
    }
    every = report.sources["all"]
    assert every.scores["old"]["border_chroma"][0] == pytest.approx(20 / 3)
    assert np.ptp(every.scores["old"]["border_chroma"]) > 0
    assert set(every.differences) == {"new − old", "new · inspected − old · inspected"}
    np.testing.assert_allclose(every.differences["new − old"]["border_chroma"], -3)
    assert "| all | 3 | 2 | new − old | -3.00 | +0.0 |" in report.as_markdown()
    assert list(borders.summarize({"one": one}).sources) == ["one"]
    assert borders.worst(one, "new", 1) == [Path("a")]


def test_the_command_writes_a_table_by_source_and_a_sheet_of_the_worst(
    photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "borders", "--photos", f"mine={photos[0].parent}", "scikit-image", "--limit", "2"]
    assert main([*words, "--sheet", "2", "--device", "cpu", "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (tmp_path / "borders.md").read_text() in said
    written = json.loads((tmp_path / "borders.json").read_text())
    assert {name: source["pages"] for name, source in written["sources"].items()} == {
        "mine": 2,
        "scikit-image": 2,
        "all": 4,
    }
    number = written["sources"]["all"]["scores"]["lite"]["border_chroma"]
    assert 0 < number["low"] <= number["value"] <= number["high"] < 60
    with Image.open(tmp_path / "borders.jpg") as sheet:
        assert sheet.height == 2 * (18 + 240 + 6) - 6, "a row for each of the two worst"
