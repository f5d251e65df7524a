"""How sure the net is: families of hue, what is hatched, when most of a picture is a guess, and whether a calibration calibrates."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from model import confidence, palette
from model.__main__ import main
from model.cards import Calibration, Card
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate import calibration
from model.evaluate.calibration import Places
from model.image_io import Photo


@pytest.fixture
def card(lite: Colorizer) -> Card:
    """Of which what the net says is taken as it is."""
    assert isinstance(lite.card, Card)
    return dataclasses.replace(lite.card, calibration=Calibration(1, 0, "nothing"))


def of_color(color: tuple[float, float], share: float) -> np.ndarray:
    """(313, 4, 4) logits: so much of the probability of photographs on the bin of one color, the rest on all alike."""
    right = np.hypot(*(palette.centers() - color).T).argmin()
    probability = np.full(313, (1 - share) / 312)
    probability[right] = share
    return np.log(probability, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)


def test_hues_are_of_the_family_that_a_person_would_say() -> None:
    colors = {
        "orange": (40, 40),
        "yellow": (0, 60),
        "green": (-50, 50),
        "blue": (10, -60),
        "nearly gray": (5, -8),
    }
    for name, color in colors.items():
        assert confidence.FAMILIES[confidence.family(np.array(color, float))] == name


def test_the_net_is_as_sure_as_its_answer_without_the_rebalancing(card: Card) -> None:
    shown = np.tile(np.array([40.0, 40.0], np.float32)[:, None, None], (1, 4, 4))
    whole = dataclasses.replace(card, taken_back=1.0)
    for share in (0.3, 0.9):
        sure = confidence.of(of_color((40, 40), share), shown, whole)
        assert share < sure.min() <= sure.max() < share + 0.15  # the rest has bins of that family, too
    assert confidence.of(of_color((-40, 40), 0.9), shown, whole).max() < 0.05
    # Weights of training made rare orange likelier than it is: less of it is taken back here than in the net.
    assert (
        confidence.of(of_color((80, 70), 0.5), shown, card).max()
        < confidence.of(of_color((80, 70), 0.5), shown, whole).max()
    )


def test_unsure_places_are_hatched_inside_of_the_frame_and_sure_ones_are_not() -> None:
    photo = Photo(np.full((200, 300), 128, np.uint8), None, "PNG", frame=(0, 100, 200, 300))
    sure = np.array([[0.9, 0.9, 0.4, 0.4], [0.9, 0.9, 0.1, 0.1]], np.float32)
    picture = Image.open(io.BytesIO(confidence.overlay(photo, sure)))
    assert (picture.mode, picture.size) == ("L", (300, 200))
    hatched = np.isin(np.asarray(picture), (0, 255))
    assert not hatched[:, :170].any()
    unsure, guess = hatched[:60, 240:].mean(), hatched[140:, 240:].mean()
    assert 0.15 < unsure < 0.35 < guess < 0.6


def test_a_picture_of_guesses_is_noticed_and_a_sure_one_is_not(card: Card) -> None:
    found = confidence.notice(of_color((40, 40), 0.01), card)
    assert found is not None
    assert found.code == "mostly_guessed"
    assert confidence.notice(of_color((40, 40), 0.9), card) is None
    without = dataclasses.replace(card, calibration=None)
    assert confidence.notice(of_color((40, 40), 0.01), without) is None
    with pytest.raises(InputError, match="no calibration"):
        confidence.of(of_color((40, 40), 0.9), np.zeros((2, 4, 4), np.float32), without)


def test_a_fit_calibrates_a_net_that_says_too_much() -> None:
    chance = np.random.default_rng(0)

    def photo() -> Places:
        odds = chance.normal(0, 1, 500)
        right = chance.random(500) < 1 / (1 + np.exp(-odds))
        return Places((2 * odds + 0.5).astype(np.float32), right, False)

    fitted = calibration.fit({"one": [photo() for _ in range(40)]})
    assert (fitted.slope, fitted.intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.25, abs=0.05))
    metrics = calibration.reliability([photo() for _ in range(40)], fitted).metrics
    assert metrics["error"][0] < 2 < 8 < metrics["plain_error"][0]
    assert metrics["said"][0] == pytest.approx(metrics["right"][0], abs=1.5)
    assert metrics["seventy"][0] == pytest.approx(70, abs=5)


def test_the_command_fits_on_some_sources_and_judges_on_others(tmp_path: Path) -> None:
    for folder, picture in (("a", skimage.data.coffee()), ("b", skimage.data.astronaut())):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "1.png")
    sources = ["--fit", f"a={tmp_path}/a", "--photos", f"b={tmp_path}/b"]
    assert main(["evaluate", "calibration", *sources, "-o", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/calibration.json").read_text())
    assert found["calibration"]["fitted"] == "1 of a"
    assert [*found["sources"]] == ["b, 1"]
    assert (tmp_path / "out/calibration.png").exists()
    assert (
        main(
            [
                "evaluate",
                "boldness",
                "--photos",
                f"b={tmp_path}/b",
                "--values",
                "1",
                "-o",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    calm, bold = json.loads((tmp_path / "out/boldness.json").read_text())["line"]
    assert bold["colorfulness"] > calm["colorfulness"]
