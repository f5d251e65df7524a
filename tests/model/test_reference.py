"""Reference colors, as a person meets them: on scikit-image's photographs, with the shipped weights; and how they are measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import color, data

from model import palette, reference
from model.__main__ import main
from model.colorizer import Colorizer, ColorOptions
from model.distribution import Distribution
from model.errors import InputError
from model.hints import Hint
from model.image_io import Photo

BLUE, GREEN, RED = "#3050b0", "#2e7d34", "#b03030"


@pytest.fixture(scope="module")
def coffee(lite: Colorizer) -> tuple[Photo, np.ndarray]:
    """A photo and what the net answers."""
    photo = Photo(data.coffee(), None, "PNG")
    [logits] = lite.infer([lite.preprocess(photo)])
    return photo, logits


def lab(photo: Photo) -> np.ndarray:
    return color.rgb2lab(photo.pixels)


def near(photo: Photo, wanted: str) -> float:
    """How far, on average, the 2% of the pixels are that come nearest to a color, in ab units."""
    apart = np.hypot(*(lab(photo)[..., 1:] - reference.ab_of(wanted)).transpose(2, 0, 1))
    return float(np.sort(apart, axis=None)[: apart.size // 50].mean())


@pytest.mark.parametrize(("name", "wanted"), [("rocket", BLUE), ("coffee", GREEN), ("coffee", RED)])
def test_colors_of_the_palette_come_into_the_picture_and_lightness_stays(
    lite: Colorizer, name: str, wanted: str
) -> None:
    photo = Photo(getattr(data, name)(), None, "PNG")
    [logits] = lite.infer([lite.preprocess(photo)])
    before = lite.postprocess(photo, logits)
    after = lite.postprocess(photo, logits, ColorOptions(palette=(wanted,)))
    assert near(after, wanted) < 0.8 * near(before, wanted)
    assert np.abs(lab(after)[..., 0] - lab(before)[..., 0]).mean() < 0.15


def test_without_a_palette_the_picture_is_what_it_was(
    lite: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    before, after = lite.postprocess(*coffee), lite.postprocess(*coffee, ColorOptions(palette=()))
    assert np.array_equal(before.pixels, after.pixels)


def test_where_the_net_is_sure_it_keeps_to_its_color(lite: Colorizer) -> None:
    sure = np.zeros((313, 56, 84), np.float32)
    sure[100] = 20
    before, after = lite.decode(sure), lite.decode(sure, ColorOptions(palette=(BLUE,)))
    assert np.hypot(*(after - before)).max() < 1


def test_the_named_and_gray_gain_the_rest_gives_way_and_no_shift_is_larger_than_its_bound() -> None:
    centers = palette.centers()
    usual = np.exp(-(np.hypot(*centers.T) ** 2) / 800)
    usual /= usual.sum()
    for colors in [(BLUE,), (BLUE, GREEN, "#b03030"), (BLUE,) * reference.MOST]:
        moved = reference.shift(colors, centers, usual)
        for named in set(colors):
            assert moved[np.hypot(*(centers - reference.ab_of(named)).T).argmin()] > 0
        assert moved[np.hypot(*(centers - (20, 60)).T).argmin()] < 0
        assert moved.max() <= 2
        assert moved.min() >= -3
    gray = int(np.hypot(*centers.T).argmin())
    assert reference.shift((BLUE,), centers, usual)[gray] > 0


def test_hints_and_alternatives_follow_the_palette(lite: Colorizer, coffee: tuple[Photo, np.ndarray]) -> None:
    photo, logits = coffee
    options = ColorOptions(palette=(BLUE,))
    moved = lite.toward(logits, options.palette)
    [(first, _), *_] = lite.alternatives(photo, logits, 2, options)
    [(same, _), *_] = lite.alternatives(photo, moved, 2)
    assert np.array_equal(first.pixels, same.pixels)
    hinted = (Hint(0.7, 0.3, GREEN),)
    one = lite.postprocess(photo, logits, ColorOptions(palette=(BLUE,), hints=hinted))
    assert np.array_equal(one.pixels, lite.postprocess(photo, moved, ColorOptions(hints=hinted)).pixels)


def test_the_colors_of_a_reference_are_those_of_its_parts_by_their_size() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :120] = (46, 125, 52)
    pixels[:, 120:180] = (243, 233, 198)
    pixels[:, 180:] = (48, 80, 176)
    pixels[0, 0] = (255, 0, 0)  # too little to be one of its colors
    assert [found for found, _ in reference.palette_of(pixels)] == ["#2e7d34", "#f3e9c6", "#3050b0"]
    assert [share for _, share in reference.palette_of(pixels)] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert [found for found, _ in reference.palette_of(pixels, 1)] == ["#2e7d34"]
    deep = pixels.astype(np.uint16) * 257
    assert reference.palette_of(deep) == reference.palette_of(pixels)


@pytest.mark.parametrize(
    ("colors", "said"), [(("green",), "#rrggbb"), (("#12345",), "#rrggbb"), ((BLUE,) * 17, "16 are the most")]
)
def test_what_is_no_palette_is_refused(colors: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ColorOptions(palette=colors)


def test_a_net_that_answers_with_one_color_a_place_is_refused(lite: Colorizer) -> None:
    with pytest.raises(InputError, match="one color a place"):
        lite.decode(np.zeros((2, 56, 84), np.float32), ColorOptions(palette=(BLUE,)))


def test_the_command_line_colors_by_a_palette_and_by_a_reference(
    tmp_path: Path, lite: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    box, out = tmp_path / "box", tmp_path / "out"
    box.mkdir()
    Image.fromarray(data.coffee()).convert("L").save(box / "coffee.png")
    Image.fromarray(data.rocket()).save(tmp_path / "rocket.png")
    words = ["colorize", str(box), "-o", str(out), "--sidecar", "--distribution"]
    assert main([*words, "--palette", f"{BLUE}, {GREEN}"]) == 0
    written = out / "coffee.png"
    assert json.loads((out / "coffee.png.json").read_text())["options"]["color"]["palette"] == [BLUE, GREEN]

    gray = Photo(np.asarray(Image.open(box / "coffee.png")), None, "PNG")
    [logits] = lite.infer([lite.preprocess(gray)])
    options = ColorOptions(palette=(BLUE, GREEN))
    shown = Photo(np.asarray(Image.open(written)), None, "PNG")
    assert np.abs(lab(shown) - lab(lite.postprocess(gray, logits, options))).mean() < 0.1
    kept = Distribution((out / "coffee.png.distribution").read_bytes()).annealed()
    assert np.hypot(*(kept - lite.decode(logits, options))).max() < 0.5

    before = written.stat().st_mtime_ns, written.read_bytes()
    assert main([*words, "--palette", f"{BLUE},{GREEN}"]) == 0
    assert (written.stat().st_mtime_ns, written.read_bytes()) == before  # done already
    assert main([*words, "--reference", str(tmp_path / "rocket.png")]) == 0
    found = json.loads((out / "coffee.png.json").read_text())["options"]["color"]["palette"]
    assert found == [color for color, _ in reference.palette_of(data.rocket())]
    assert written.read_bytes() != before[1]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--palette", "green"], 1, "#rrggbb"),
        (["--palette", ""], 1, "#rrggbb"),
        (["--reference", "gray.png"], 1, "name a photograph in color"),
        (["--reference", "missing.jpg"], 1, "cannot be read"),
        (["--reference", "text.jpg"], 1, "cannot be read"),
        (["--reference", "."], 1, "cannot be read"),
        (["--reference", "gray.png", "--palette", BLUE], 2, "exclude each other"),
    ],
)
def test_palettes_and_references_that_are_none_are_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.coffee()).convert("L").save("gray.png")
    Path("text.jpg").write_text("text")
    assert main(["colorize", "gray.png", "-o", "out", *words]) == status
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_evaluate_writes_tables_with_intervals(tmp_path: Path) -> None:
    words = ["evaluate", "reference", "--device", "cpu", "--sheet", "1", "-o", str(tmp_path / "out")]
    for name in ("coffee", "rocket"):
        (tmp_path / name).mkdir()
        Image.fromarray(getattr(data, name)()).save(tmp_path / name / f"{name}.png")
    assert main([*words, "--photos", f"warm={tmp_path / 'coffee'}", f"cold={tmp_path / 'rocket'}"]) == 0
    assert (tmp_path / "out" / "reference.jpg").is_file()
    found = json.loads((tmp_path / "out" / "reference.json").read_text())
    assert found["photos"] == 2
    gains = {row: metrics["ab_psnr"]["value"] for row, metrics in found["gains"].items()}
    assert gains["its own 5"] > gains["5 of another source"]
    assert set(found["ab_psnr_gain_by_source"]) == {"warm", "cold"}
    assert found["moves"]["no palette"]["moved"]["value"] == 0
