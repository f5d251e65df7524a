"""The net's whole answer as a file: as small as promised, the colors that the net means, and the same to both readers."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from model import cards, distribution, hints, likeness
from model.__main__ import main
from model.cards import Card
from model.colorizer import Colorizer, ColorOptions
from model.distribution import MOST_BYTES, Distribution
from model.errors import InputError
from model.folder.recipe import Recipe
from model.image_io import Photo

GRAY = Photo(np.zeros((8, 8), np.uint8), None, "PNG")
ROOT = Path(__file__).parents[2]
JAVASCRIPT = ROOT / "service/web/static/distribution.js"
TEMPERATURES = (0.05, 0.25, 1.0)
ASKED = [[t, 0.0] for t in (0.0, *TEMPERATURES)] + [[None, b] for b in (-1.0, -0.3, 0.5, 1.0)]
"""Temperature and boldness."""

COMPARE = """
const answer = await READER.read(Uint8Array.from(atob(BYTES), (letter) => letter.charCodeAt(0)));
const colors = ASKED.map(([temperature, boldness]) => [...answer.annealed(temperature, boldness)]);
const refused = [];
for (const wrong of [new Uint8Array(5), new Uint8Array(100)]) await READER.read(wrong).catch((error) => refused.push(error.message));
return { colors, palette: answer.palette(3, 2, 4), refused };
"""


@pytest.fixture(scope="module")
def answered(lite: Colorizer) -> list[tuple[Photo, NDArray[np.float32]]]:
    photos = [
        Photo(picture[: 300 * stretch, :300], None, "PNG")
        for stretch, picture in (
            (1, skimage.data.astronaut()),
            (1, skimage.data.coffee()),
            (3, skimage.data.rocket().swapaxes(0, 1)),
        )
    ]
    return [*zip(photos, lite.infer([lite.preprocess(photo) for photo in photos]), strict=True)]


def apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest distance in ab units."""
    return float(np.hypot(*(one - other)).max())


def test_a_reader_gets_the_colors_that_the_net_means(
    lite: Colorizer, answered: list[tuple[Photo, NDArray[np.float32]]]
) -> None:
    for photo, logits in answered:
        data = distribution.write(logits, lite.card, photo)
        assert len(data) < MOST_BYTES
        read = Distribution(data)
        for t in TEMPERATURES:
            assert apart(read.annealed(t), lite.decode(logits, ColorOptions(t))) <= 0.5
        for boldness in (-1.0, 0.0, 0.5):
            assert (
                apart(read.annealed(None, boldness), lite.decode(logits, ColorOptions(boldness=boldness)))
                <= 0.5
            )
        assert read.header["photo"]["height"] == photo.height
        assert read.header["net"]["sha256"] == lite.sha256


def test_the_widest_photo_with_the_least_compressible_answer_stays_within_the_bound(lite: Colorizer) -> None:
    noise = -10 * np.random.default_rng(0).random((313, 56, 168), np.float32)
    left, right = 20, 300
    noise[left, :, :84] = noise[right, :, 84:] = 5
    data = distribution.write(noise, lite.card, Photo(np.zeros((100, 300), np.uint8), None, "PNG"))
    assert len(data) <= MOST_BYTES
    read = Distribution(data)
    colors, height, width = read.shape
    assert MOST_BYTES * 0.95 < colors * height * width < MOST_BYTES, "it would fit if nothing compressed it"
    assert width / height == pytest.approx(3, rel=0.02)
    likeliest = read.logits().argmax(0).reshape(height, width)
    assert (likeliest[:, : width // 2 - 1] == left).all()
    assert (likeliest[:, width // 2 + 1 :] == right).all()


@pytest.mark.parametrize("has_weights", [True, False])
def test_javascript_reads_the_same(
    lite: Colorizer,
    answered: list[tuple[Photo, NDArray[np.float32]]],
    javascript: Callable[[str], Any],
    has_weights: bool,
) -> None:
    photo, logits = answered[0]
    small = np.ascontiguousarray(logits[:, ::8, ::7])
    data = distribution.write(small, lite.card if has_weights else without_prior(lite), photo)
    read = Distribution(data)
    values = f"const ASKED = {json.dumps(ASKED)}, BYTES = {json.dumps(base64.b64encode(data).decode())};"
    reader = f"data:text/javascript;base64,{base64.b64encode(JAVASCRIPT.read_bytes()).decode()}"
    found = javascript(f"const READER = await import({json.dumps(reader)}); {values} {COMPARE}")
    for (temperature, boldness), theirs in zip(ASKED, found["colors"], strict=True):
        ours = read.annealed(temperature, boldness)
        assert apart(ours, np.reshape(theirs, ours.shape)) < 1e-3
    np.testing.assert_allclose(found["palette"], read.palette(3, 2, 4), atol=1e-6)
    assert found["refused"] == ["this is no distribution of version 1"] * 2


def without_prior(lite: Colorizer) -> Card:
    assert isinstance(lite.card, Card)
    return dataclasses.replace(lite.card, prior=(), taken_back=0.0, boldness=())


def test_a_file_whose_boldness_has_a_single_row_is_the_same_at_any(
    lite: Colorizer, answered: list[tuple[Photo, NDArray[np.float32]]]
) -> None:
    photo, logits = answered[0]
    read = Distribution(distribution.write(logits[:, ::8, ::7], without_prior(lite), photo))
    assert (len(read.header["boldness"]), read.header["log_weights"]) == (1, [])
    for boldness in (-1.0, 0.5):
        assert np.array_equal(read.annealed(None, boldness), read.annealed())


def test_a_palette_has_the_colors_that_are_suggested_where_all_places_are_alike(lite: Colorizer) -> None:
    logits = np.full((313, 8, 8), -10, np.float32)
    centers = Distribution(distribution.write(logits, lite.card, GRAY)).centers
    # The greens, 20 units apart, are likelier together than the first red; the second is too far from it; the blue is not worth a word.
    reds, greens = (((60, 40), 0.34), ((70, 20), 0.06)), (((-40, 30), 0.3), ((-40, 50), 0.296))
    for color, probability in (*reds, *greens, ((10, -80), 0.004)):
        logits[np.hypot(*(centers - color).T).argmin()] = np.log(probability)
    palette = Distribution(distribution.write(logits, lite.card, GRAY)).palette(3, 3)
    suggested = hints.suggest(likeness.scene(np.full((1, 32, 32), 50, np.float32), logits), 0.5, 0.5)
    assert [round(probability, 1) for _, _, probability in palette] == [0.6, 0.3, 0.1]
    assert len(palette) == len(suggested)
    for (a, b, probability), other in zip(palette, suggested, strict=True):
        assert (a, b) == pytest.approx(tuple(other.ab), abs=0.1)
        assert probability == pytest.approx(other.probability, abs=1e-2)


def test_the_readers_have_at_most_60_lines() -> None:
    python = re.findall(
        r"start:reader\]\n(.*)# --8<-- \[end", Path(distribution.__file__).read_text(), re.DOTALL
    )
    for text in (python[0], JAVASCRIPT.read_text()):
        assert len(text.splitlines()) <= 60
        assert max(map(len, text.splitlines())) <= 160


def test_the_palette_of_a_place_has_its_colors_apart_with_their_probabilities(lite: Colorizer) -> None:
    logits = np.full((313, 2, 2), -20, np.float32)
    centers = Distribution(
        distribution.write(logits, lite.card, Photo(np.zeros((8, 8), np.uint8), None, "PNG"))
    ).centers
    for color, probability in (((60, 40), 0.5), ((60, 50), 0.2), ((-40, 30), 0.3)):
        logits[np.hypot(*(centers - color).T).argmin(), 1, 0] = np.log(probability)
    read = Distribution(distribution.write(logits, lite.card, Photo(np.zeros((8, 8), np.uint8), None, "PNG")))
    (red_a, red_b, red), (green_a, green_b, green) = read.palette(1, 0, 2)
    assert (red, green) == (pytest.approx(0.7, abs=0.02), pytest.approx(0.3, abs=0.02))
    assert (red_a, green_a, green_b) == (
        pytest.approx(60, abs=1),
        pytest.approx(-40, abs=1),
        pytest.approx(30, abs=1),
    )
    assert 40 < red_b < 50


def test_what_is_no_distribution_is_refused(
    lite: Colorizer, answered: list[tuple[Photo, NDArray[np.float32]]]
) -> None:
    photo, logits = answered[0]
    data = distribution.write(logits[:, :4, :4], lite.card, photo)
    for wrong in (b"", b"ACDIST01", b"\x89PNG" + data, data[:40]):
        with pytest.raises(ValueError, match="no distribution"):
            Distribution(wrong)
    with pytest.raises(ValueError, match="cut off"):
        Distribution(data[:-9])
    for answer in (logits[:2], np.full((313, 4, 4), np.nan, np.float32)):
        with pytest.raises(InputError):
            distribution.write(answer, lite.card, photo)


def test_the_command_line_writes_it_and_the_overlay_beside_the_result(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.coffee()).convert("L").save(tmp_path / "old.jpg")
    asked = ["colorize", str(tmp_path / "old.jpg"), "--confidence", "--distribution", "-o"]
    assert main([*asked, str(tmp_path / "new.png")]) == 0
    assert Distribution((tmp_path / "new.png.distribution").read_bytes()).header["photo"]["width"] == 600
    with Image.open(tmp_path / "new.png.confidence.png") as overlay:
        assert overlay.size == (600, 400)
    assert main([*asked, "-"]) == 1, "only one file goes through a pipe"


@pytest.mark.parametrize("asked", ["--confidence", "--boldness=1"])
def test_a_net_whose_card_knows_nothing_of_it_is_refused_before_photos_are_colored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    shutil.copy(cards.locate("lite"), tmp_path / "own.safetensors")
    card = dataclasses.replace(cards.read_card(cards.locate("lite")), calibration=None, boldness=())
    (tmp_path / "own.json").write_text(card.to_json())
    Image.fromarray(skimage.data.coffee()[::4, ::4]).save(tmp_path / "old.jpg")
    net = str(tmp_path / "own.safetensors")
    assert (
        main(["colorize", str(tmp_path / "old.jpg"), "-o", str(tmp_path / "out"), "--net", net, asked]) == 1
    )
    said = capsys.readouterr().err
    assert "lite has no" in said
    assert "its card" in said
    assert "error of the program" not in said


def test_photos_colored_before_there_was_boldness_count_as_colored_by_the_same_options() -> None:
    before = {"color": {"temperature": None, "vividness": 1.0}}
    words = Recipe().words()
    assert words["color"] == before["color"]
    assert not {"confidence", "distribution", "limits"} & {*words}
    assert Recipe(ColorOptions(boldness=0.5), distribution=True).words().items() > (
        {"color": before["color"] | {"boldness": 0.5}, "distribution": True}.items()
    )


def test_bolder_is_more_colorful_and_0_the_cards_own(
    lite: Colorizer, answered: list[tuple[Photo, NDArray[np.float32]]]
) -> None:
    for _, logits in answered:
        chroma = [
            np.hypot(*lite.decode(logits, ColorOptions(boldness=b))).mean() for b in (-1, -0.5, 0, 0.5, 1)
        ]
        assert chroma == sorted(chroma)
        assert chroma[-1] > 1.1 * chroma[2] > 1.2 * chroma[0]
        assert np.array_equal(lite.decode(logits), lite.decode(logits, ColorOptions(boldness=0)))


def test_boldness_is_refused_out_of_range_and_where_none_was_measured(lite: Colorizer) -> None:
    with pytest.raises(InputError, match="−1…1"):
        ColorOptions(boldness=1.1)
    assert isinstance(lite.card, Card)
    card = dataclasses.replace(lite.card, boldness=())
    assert card.decoding(0) == (card.share, card.temperature)
    with pytest.raises(InputError, match="bolder and safer"):
        card.decoding(0.5)
    without = dataclasses.replace(lite.card, prior=(), taken_back=0.0)
    with pytest.raises(InputError, match="bolder and safer"):
        without.decoding(0.5)
