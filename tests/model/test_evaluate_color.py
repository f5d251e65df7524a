"""The measures of color, against slow versions and against what they must say of gray and of the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from skimage import color as skcolor
from skimage.metrics import peak_signal_noise_ratio

from model import bins
from model.__main__ import main
from model.colorizer import Colorizer
from model.evaluate import color
from model.training import data


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    truth = skimage.data.astronaut()[::8, ::8]
    noise = np.random.default_rng(0).integers(-40, 40, truth.shape)
    return truth, np.clip(truth.astype(int) + noise, 0, 255).astype(np.uint8)


def tallied(*pairs: tuple[np.ndarray, np.ndarray]) -> color.Tally:
    tally = color.Tally()
    for truth, answer in pairs:
        tally.add(color.Picture(truth), color.Picture(answer))
    return tally


def auc_by_hand(truth: np.ndarray, answer: np.ndarray, rebalanced: bool) -> float:
    truth_ab, answer_ab = (skcolor.rgb2lab(rgb)[..., 1:].reshape(-1, 2) for rgb in (truth, answer))
    error = np.hypot(*(truth_ab - answer_ab).T)
    centers = bins.centers().numpy()
    nearest = ((truth_ab[:, None] - centers[None]) ** 2).sum(-1).argmin(1)
    share = np.maximum(np.bincount(nearest, minlength=313) / len(nearest), 1e-6)
    weight = 1 / share[nearest] if rebalanced else np.ones(len(nearest))
    accuracy = [weight[error <= t].sum() / weight.sum() for t in range(151)]
    return 100 * float(np.trapezoid(accuracy)) / 150


@pytest.mark.parametrize("rebalanced", [False, True])
def test_auc_equals_plain_counting(pair: tuple[np.ndarray, np.ndarray], rebalanced: bool) -> None:
    tally = tallied(pair)
    score = tally.score()
    ours = score.rebalanced_auc if rebalanced else score.raw_auc
    assert ours == pytest.approx(
        auc_by_hand(*pair, rebalanced), abs=0.15
    )  # bins are looked up to half a unit


def test_auc_is_pooled_over_pixels_of_all_photos(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, answer = pair
    apart = tallied((truth[:20], answer[:20]), (truth[20:], answer[20:]))
    whole = tallied(pair)
    assert apart.score().rebalanced_auc == pytest.approx(whole.score().rebalanced_auc)
    assert apart.score().raw_auc == pytest.approx(whole.score().raw_auc)


def test_psnr_is_scikit_images(pair: tuple[np.ndarray, np.ndarray]) -> None:
    tally = tallied(pair)
    assert tally.score().psnr == pytest.approx(peak_signal_noise_ratio(*pair), abs=1e-6)


def test_an_exactly_gray_photo_does_not_make_grays_psnr_infinite() -> None:
    gray = np.full((16, 16, 3), 130, np.uint8)
    tally = tallied((gray, color.gray(gray)), (gray, gray + np.uint8(10)))
    assert tally.score().psnr == pytest.approx((58.92 + 28.13) / 2, abs=0.01)


def test_colorfulness_of_known_pictures() -> None:
    gray = np.full((8, 8, 3), 130, np.uint8)
    assert color.colorfulness(gray) == 0
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert color.colorfulness(red) == pytest.approx(0.3 * np.hypot(255, 127.5))
    halves = red.copy()
    halves[:4] = [0, 0, 255]  # rg ±127.5 about its mean, yb ±191.25
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, -63.75)
    assert color.colorfulness(halves) == pytest.approx(expected)


def test_the_truth_is_perfect_and_gray_has_no_color(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, _ = pair
    perfect, colorless = tallied((truth, truth)), tallied((truth, color.gray(truth)))
    assert perfect.score().raw_auc == perfect.score().rebalanced_auc == pytest.approx(100)
    assert colorless.score().colorfulness < 1
    assert colorless.score().rebalanced_auc < colorless.score().raw_auc < 100


def test_gray_keeps_the_truths_lightness() -> None:
    truth = skimage.data.coffee()
    before, after = (skcolor.rgb2lab(rgb)[..., 0] for rgb in (truth, color.gray(truth)))
    assert np.abs(before - after).mean() < 0.15


@pytest.mark.parametrize("size", [(100, 100), (213, 160), (300, 900), (256, 256)])
def test_the_protocols_crop_is_the_central_256(size: tuple[int, int]) -> None:
    width, height = size
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    crop = color.central(rgb)
    assert crop.shape == (256, 256, 3)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    assert rows.mean() == pytest.approx(127.5, abs=1.5)
    assert columns.mean() == pytest.approx(127.5, abs=1.5)


def test_ssim_is_one_for_the_same_and_falls_with_noise(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, answer = pair
    assert tallied((truth, truth)).score().ssim == pytest.approx(1)
    halfway = ((truth.astype(int) + answer) // 2).astype(np.uint8)
    assert tallied(pair).score().ssim < tallied((truth, halfway)).score().ssim < 0.99


def test_an_aged_photo_is_answered_on_its_own_lightness_and_always_alike() -> None:
    lite = Colorizer.load("lite", "cpu")
    photos = data.find([Path("scikit-image")])[:2]
    [(_, first), (_, second)] = color.answered([lite], photos, ages=["fading", "halftone"])
    assert list(first) == ["gray", "lite", "lite · fading", "lite · halftone", "truth"]
    lightness = {name: skcolor.rgb2lab(answer)[..., 0] for name, answer in first.items()}
    for name in ("lite", "lite · fading", "lite · halftone"):
        assert np.abs(lightness[name] - lightness["truth"]).mean() < 0.3
    assert not np.array_equal(first["lite"], first["lite · halftone"]), "age was seen"
    [(_, alone)] = color.answered([lite], photos[1:], ages=["fading", "halftone"])
    # A batch of another size may round differently on some processors, by one step of 255 in a few pixels.
    np.testing.assert_allclose(alone["lite · halftone"].astype(int), second["lite · halftone"], atol=1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--net", "lite", "lite"], "a name of its own"),
        (["--only", "*.tiff"], "no photograph"),
        (["--aged", "moths"], "blur, contrast, grain, toning, fading, halftone, scratches, or all"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "color", "--photos", "scikit-image", "--device", "cpu", *words]) == 1
    assert reason in capsys.readouterr().err


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
