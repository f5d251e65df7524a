"""Hints and alternatives, as a person meets them: on scikit-image's photographs, with the shipped weights; and how they are measured."""

from __future__ import annotations

import io
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse.csgraph import shortest_path
from skimage import color, data

from model import cards, hints, likeness
from model.__main__ import main
from model.color import lab_from_rgb
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError
from model.evaluate import alternatives as evaluated
from model.evaluate import hints as measured
from model.folder import recipe as recipes
from model.folder.recipe import Recipe
from model.hints import Hint
from model.image_headers import Limits, probe
from model.image_io import Photo

RED, BLUE, GRAY = "#b03030", "#3050b0", "#808080"


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


@pytest.fixture(scope="module")
def coffee(colorizer: Colorizer) -> tuple[Photo, np.ndarray]:
    """A photo and what the net answers."""
    photo = Photo(data.coffee(), None, "PNG")
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    return photo, logits


def lab(photo: Photo) -> np.ndarray:
    return color.rgb2lab(photo.pixels)


def ab_at(photo: Photo, x: float, y: float) -> np.ndarray:
    """The mean color of some pixels around a place."""
    down, across = int(y * photo.height), int(x * photo.width)
    return lab(photo)[max(0, down - 3) : down + 4, max(0, across - 3) : across + 4, 1:].mean((0, 1))


@pytest.mark.parametrize(("x", "y"), [(0.7, 0.3), (0.1, 0.85), (0.0, 0.0), (1.0, 1.0)])
@pytest.mark.parametrize("wished", [RED, BLUE, GRAY])
def test_the_place_of_a_hint_takes_its_hue_and_gray_takes_none(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray], x: float, y: float, wished: str
) -> None:
    photo, logits = coffee
    hint = Hint(x, y, wished, 0.03)
    ab = colorizer.decode(logits)
    scene = colorizer.scene(photo, logits)
    found = hints.follow(scene, ab, hints.wishes([hint], photo.size, None))
    place = likeness.cells(scene, [(x, y)])[0]
    assert np.hypot(*(found.reshape(2, -1)[:, place] - hint.ab)) < 5
    shown = ab_at(colorizer.postprocess(photo, logits, ColorOptions(hints=(hint,))), x, y)
    if wished == GRAY:
        assert np.hypot(*shown) < 6
    elif y == 0.3:  # where it is neither so dark nor so light that sRGB has no such color
        assert np.hypot(*(shown - hint.ab)) < 10


def test_without_hints_the_picture_is_what_it_was(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    photo, logits = coffee
    before = colorizer.postprocess(photo, logits)
    assert np.array_equal(before.pixels, colorizer.postprocess(photo, logits, ColorOptions(hints=())).pixels)


def test_a_hint_keeps_lightness_and_the_same_hints_give_the_same_picture(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    photo, logits = coffee
    options = ColorOptions(vividness=0.5, hints=(Hint(0.4, 0.4, BLUE), Hint(0.9, 0.1, GRAY, 0.1)))
    one, two = (colorizer.postprocess(photo, logits, options) for _ in range(2))
    assert np.array_equal(one.pixels, two.pixels)
    assert np.abs(lab(one)[..., 0] - lab(photo)[..., 0]).mean() < 0.3


def test_a_hint_does_not_cross_a_strong_edge() -> None:
    """A dark square on a bright wall, of which the net says the same everywhere."""
    lightness = np.full((1, 224, 320), 80, np.float32)
    lightness[:, 60:160, 100:220] = 30
    scene = likeness.scene(lightness, np.zeros((313, 56, 80), np.float32))
    found = hints.follow(
        scene, np.zeros((2, 56, 80), np.float32), hints.wishes([Hint(0.5, 0.5, "#8a5a50")], (320, 224), None)
    )
    moved = np.hypot(*found)
    inside = np.zeros((56, 80), bool)
    inside[15:40, 25:55] = True
    assert moved[inside].mean() > 2 * moved[~inside].mean()


def test_hints_are_places_of_the_whole_photo_and_not_of_the_page_around_it(
    colorizer: Colorizer,
) -> None:
    page = np.full((500, 700, 3), 235, np.uint8)
    page[50:450, 50:650] = data.coffee()
    framed = Photo(page, None, "PNG", frame=(50, 50, 450, 650))
    bare = Photo(data.coffee(), None, "PNG")
    [logits] = colorizer.infer([colorizer.preprocess(framed)])
    on_page = colorizer.postprocess(
        framed, logits, ColorOptions(hints=(Hint(350 / 700, 250 / 500, BLUE, 0.02),))
    )
    alone = colorizer.postprocess(bare, logits, ColorOptions(hints=(Hint(0.5, 0.5, BLUE, 0.02 * 500 / 400),)))
    assert np.array_equal(on_page.pixels[60:440, 60:640], alone.pixels[10:390, 10:590])
    with pytest.raises(InputError, match="page around the photograph"):
        colorizer.postprocess(framed, logits, ColorOptions(hints=(Hint(0.01, 0.5, BLUE),)))


@pytest.mark.parametrize(
    "wrong",
    [{"x": 1.01}, {"y": -0.1}, {"x": float("nan")}, {"color": "red"}, {"color": "#12345"}, {"radius": 0.6}],
)
def test_a_hint_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(Hint(0.5, 0.5, RED), **wrong)


@pytest.mark.parametrize("wished", [RED, BLUE, GRAY, "#000000", "#ffffff", "#020104"])
def test_the_color_of_a_hint_is_that_of_the_pixels_that_have_it(wished: str) -> None:
    rgb = torch.tensor([*bytes.fromhex(wished[1:])]).view(1, 3, 1, 1) / 255
    assert Hint(0, 0, wished).ab == pytest.approx(lab_from_rgb(rgb)[0, 1:, 0, 0].numpy(), abs=0.01)


def test_too_many_hints_are_refused(colorizer: Colorizer, coffee: tuple[Photo, np.ndarray]) -> None:
    with pytest.raises(InputError, match="32 are the most"):
        colorizer.postprocess(*coffee, ColorOptions(hints=(Hint(0.5, 0.5, RED),) * 33))


def test_suggestions_are_distinct_likeliest_first_and_probable(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    found = colorizer.suggest(*coffee, 0.5, 0.5)
    shares = [suggestion.probability for suggestion in found]
    assert 2 <= len(found) <= 5
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.0001
    for place, one in enumerate(found):
        assert all(np.hypot(*(one.ab - other.ab)) > 10 for other in found[:place])


@pytest.mark.parametrize("shape", ["whole", "wide", "framed"])
def test_a_grid_of_suggestions_says_about_what_is_said_of_each_place_alone(
    colorizer: Colorizer, shape: str
) -> None:
    """A cell has the mean of its positions, a place one of them: where colors meet, the two may differ."""
    picture = data.coffee()[:150] if shape == "wide" else data.coffee()
    photo = Photo(picture, None, "PNG", frame=(50, 30, 350, 580) if shape == "framed" else None)
    top, left, bottom, right = photo.frame or (0, 0, photo.height, photo.width)
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    found = colorizer.suggestions(photo, logits)
    rows, columns = len(found), len(found[0])
    assert 740 <= rows * columns <= 830
    assert columns / rows == pytest.approx(logits.shape[2] / logits.shape[1], rel=0.1)
    apart, more = [], []
    for place in range(0, rows * columns, 53):
        row, column = divmod(place, columns)
        x = (left + (column + 0.5) / columns * (right - left)) / photo.width
        y = (top + (row + 0.5) / rows * (bottom - top)) / photo.height
        [first, *_] = colorizer.suggest(photo, logits, x, y)
        nearest = min(found[row][column], key=lambda one: np.hypot(*(one.ab - first.ab)))
        apart.append(np.hypot(*(nearest.ab - first.ab)))
        more.append(nearest.probability - first.probability)
        shares = [one.probability for one in found[row][column]]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) <= 5
        assert 0.005 <= shares[-1] <= sum(shares) <= 1.0001
    assert np.median(apart) < 2
    assert np.abs(more).mean() < 0.1


def test_ways_over_a_picture_are_the_shortest() -> None:
    draw = np.random.default_rng(0)
    for height, width in ((9, 14), (1, 7), (6, 1), (1, 1)):
        lightness = draw.random((height, width), np.float32)
        places = np.arange(height * width)
        y, x = np.divmod(places, width)
        flat = np.hypot(y[:, None] - y, x[:, None] - x)
        step = np.hypot(flat / min(height, width), 4 * (lightness.ravel()[:, None] - lightness.ravel()))
        slow = shortest_path(np.where(flat < 2, step, 0))
        assert likeness.ways(lightness, places, 4.0) == pytest.approx(slow, abs=1e-5)


def test_alternatives_differ_from_the_first_and_each_other_and_are_the_same_each_time(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray]
) -> None:
    photo, logits = coffee
    found = colorizer.alternatives(photo, logits, 3)
    shares = [probability for _, probability in found]
    assert len(found) == 3
    assert shares == sorted(shares, reverse=True)
    assert all(0 < share < 1 for share in shares)
    colored = [colorizer.postprocess(photo, logits), *(other for other, _ in found)]
    for place, one in enumerate(colored):
        for other in colored[:place]:
            assert np.hypot(*(lab(one) - lab(other))[..., 1:].transpose(2, 0, 1)).max() > 10
    again = colorizer.alternatives(photo, logits, 3)
    for (one, _), (other, _) in zip(found, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_where_the_net_is_sure_there_is_no_alternative_and_one_suggestion(colorizer: Colorizer) -> None:
    photo = Photo(data.coffee(), None, "PNG")
    sure = np.zeros((313, 56, 84), np.float32)
    sure[100] = 20
    assert colorizer.alternatives(photo, sure, 3) == []
    assert len(colorizer.suggest(photo, sure, 0.2, 0.2)) == 1


def test_alternatives_agree_where_the_net_is_sure(colorizer: Colorizer) -> None:
    """Sure of the left half, torn between two colors on the right one, as different."""
    pixels = np.full((224, 320), 90, np.uint8)
    pixels[:, 160:] = 170
    logits = np.zeros((313, 56, 80), np.float32)
    logits[100, :, :40] = 20
    logits[[120, 250], :, 40:] = 20
    [(other, _)] = colorizer.alternatives(Photo(pixels, None, "PNG"), logits, 1)
    first = colorizer.postprocess(Photo(pixels, None, "PNG"), logits)
    moved = np.abs(lab(other) - lab(first))[..., 1:].max(-1)
    assert moved[:, :150].mean() < 1
    assert moved[:, 170:].mean() > 8


@pytest.mark.parametrize("count", [0, 9])
def test_a_count_of_alternatives_out_of_range_is_refused(
    colorizer: Colorizer, coffee: tuple[Photo, np.ndarray], count: int
) -> None:
    with pytest.raises(InputError, match="must be 1…8"):
        colorizer.alternatives(*coffee, count)


def test_a_net_that_answers_with_one_color_a_place_is_refused(colorizer: Colorizer) -> None:
    with pytest.raises(InputError, match="one color a place"):
        colorizer.alternatives(Photo(data.coffee(), None, "PNG"), np.zeros((2, 56, 84), np.float32), 1)


@pytest.mark.parametrize(
    "recipe", [Recipe(color=ColorOptions(hints=(Hint(0.5, 0.5, RED),))), Recipe(alternatives=2)]
)
def test_such_a_net_is_refused_before_the_first_photo(colorizer: Colorizer, recipe: Recipe) -> None:
    recipe.check(colorizer.card)
    with pytest.raises(InputError, match=r"has no (?:hints|alternatives): it answers with one color a place"):
        recipe.check(replace(colorizer.card, net="lite-l2"))


def test_controls_are_as_far_from_the_first_as_the_alternative() -> None:
    draw = np.random.default_rng(0)
    first, other = draw.normal(0, 20, (2, 2, 9, 9)).astype(np.float32) * np.array([[[[1.0]]], [[[0.5]]]])
    other = first + other * 0.3
    for forward in (True, False):
        control = evaluated.turned(first, other, forward)
        assert np.hypot(*(control - first)).mean() == pytest.approx(
            np.hypot(*(other - first)).mean(), rel=1e-4
        )
        assert np.hypot(*control) == pytest.approx(np.hypot(*first), rel=1e-4)


def test_the_parts_around_an_object_go_by_the_nearest_edge() -> None:
    inside = np.zeros((256, 256), bool)
    inside[100:156, 100:156] = True
    lightness = np.full((256, 256), 50, np.float32)
    lightness[:, :100] = 80  # a strong edge on the left, none elsewhere
    parts = measured.around(inside, lightness)
    assert parts["strong"][128, 90]
    assert parts["weak"][128, 166]
    assert parts["far"][10, 10]
    assert not (parts["strong"] & parts["weak"]).any()


def test_the_command_line_colors_by_hints_and_writes_alternatives(tmp_path: Path) -> None:
    Image.fromarray(data.coffee()).convert("L").save(tmp_path / "coffee.png")
    plain, hinted = tmp_path / "plain.png", tmp_path / "hinted.png"
    source = str(tmp_path / "coffee.png")
    assert main(["colorize", source, "-o", str(plain)]) == 0
    assert main(["colorize", source, "-o", str(hinted), "--hint", "0.7,0.3,#3050b0,0.03"]) == 0
    before, after = (color.rgb2lab(np.asarray(Image.open(path)))[120, 420] for path in (plain, hinted))
    assert after[2] < before[2] - 20
    out = tmp_path / "out"
    assert main(["colorize", source, "-o", str(out), "--alternatives", "2"]) == 0
    assert {path.name for path in out.glob("*.png")} == {
        "coffee.png",
        "coffee (alternative 1).png",
        "coffee (alternative 2).png",
    }


def test_one_alternative_is_in_memory_at_a_time(
    colorizer: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[np.ndarray]] = []
    most = 0

    def render(photo: Photo, ab: np.ndarray, threads: int | None = None) -> Photo:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in held))
        rendered = made(photo, ab, threads)
        held.append(weakref.ref(rendered.pixels))
        return rendered

    made = colorizer.render
    monkeypatch.setattr(colorizer, "render", render)
    file = io.BytesIO()
    Image.fromarray(data.coffee()).convert("L").save(file, "PNG")
    recipe = Recipe(alternatives=4)
    outputs = recipes.make(file.getvalue(), recipe, lambda: colorizer, lambda: None).outputs
    assert len(outputs) == len(held) >= 4
    assert most == 1, "the result alone, when the next is begun"
    header = probe(file.getvalue(), Limits.none())
    one, four = (recipes.memory(header, 0, wanted) for wanted in (Recipe(), recipe))
    assert four - one >= 5 * 3 * header.width * header.height, "a picture, and the files of four"


@pytest.mark.parametrize(
    "words",
    [["--hint", "0.5,0.5"], ["--hint", "a,0.5,#112233"], ["--hint", "0.1,0.5,#112233,.1,.2"]],
)
def test_a_hint_that_cannot_be_read_is_a_wrong_command_line(tmp_path: Path, words: list[str]) -> None:
    assert main(["colorize", "photo.jpg", "-o", str(tmp_path), *words]) == 2


def test_hints_for_several_photos_and_alternatives_into_one_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["colorize", str(tmp_path), "-o", str(tmp_path / "out"), "--hint", "0.5,0.5,#112233"]) == 2
    assert main(["colorize", "photo.jpg", "-o", str(tmp_path / "a.png"), "--alternatives", "2"]) == 1
    assert "name a folder" in capsys.readouterr().err


def test_evaluate_writes_tables_with_intervals(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()).save(photos / f"{name}.png")
    for command in ("hints", "alternatives"):
        out = tmp_path / command
        words = ["evaluate", command, "--photos", str(photos), "--sheet", "1", "--device", "cpu"]
        assert main([*words, "-o", str(out)]) == 0
        assert (out / f"{command}.jpg").is_file()
        written = json.loads((out / f"{command}.json").read_text())
        assert (written["photos"], written["net"]) == (2, "lite")
        assert written["sha256"] == cards.read_card(cards.locate("lite")).sha256
    shown = json.loads((tmp_path / "hints" / "hints.json").read_text())["hints"]
    assert shown["5"]["gain"]["value"] > shown["1"]["gain"]["value"] > shown["0"]["gain"]["value"] == 0
    worth = json.loads((tmp_path / "alternatives" / "alternatives.json").read_text())["gains"]
    assert worth["best of 3"]["ab_psnr"]["value"] >= 0


def test_a_hint_on_the_page_is_said_of_its_photo_in_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = np.full((560, 800), 235, np.uint8)
    page[80:480, 100:700] = np.asarray(Image.fromarray(data.coffee()).convert("L"))
    Image.fromarray(page).save(tmp_path / "page.png")
    words = [
        "colorize",
        str(tmp_path / "page.png"),
        "-o",
        str(tmp_path / "out"),
        "--hint",
        "0.02,0.5,#3050b0",
    ]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "page around the photograph" in said.err + said.out
    assert "error of the program" not in said.err + said.out
