"""The metrics of color, compared to slow versions, and to what they must be for gray and for the ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
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
    for truth, predicted in pairs:
        tally.add(color.Picture(truth), color.Picture(predicted))
    return tally


def auc_by_hand(truth: np.ndarray, predicted: np.ndarray, rebalanced: bool) -> float:
    truth_ab, predicted_ab = (skcolor.rgb2lab(rgb)[..., 1:].reshape(-1, 2) for rgb in (truth, predicted))
    error = np.hypot(*(truth_ab - predicted_ab).T)
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
    truth, predicted = pair
    apart = tallied((truth[:20], predicted[:20]), (truth[20:], predicted[20:]))
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


def test_the_ground_truth_is_perfect_and_gray_has_no_color(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, _ = pair
    perfect, colorless = tallied((truth, truth)), tallied((truth, color.gray(truth)))
    assert perfect.score().raw_auc == perfect.score().rebalanced_auc == pytest.approx(100)
    assert colorless.score().colorfulness < 1
    assert colorless.score().rebalanced_auc < colorless.score().raw_auc < 100


def test_gray_keeps_the_ground_truths_lightness() -> None:
    truth = skimage.data.coffee()
    before, after = (skcolor.rgb2lab(rgb)[..., 0] for rgb in (truth, color.gray(truth)))
    assert np.abs(before - after).mean() < 0.15


@pytest.mark.parametrize("size", [(100, 100), (213, 160), (300, 900), (256, 256)])
def test_the_protocols_crop_is_the_central_256(size: tuple[int, int]) -> None:
    width, height = size
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    crop = color.center_crop(rgb)
    assert crop.shape == (256, 256, 3)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    assert rows.mean() == pytest.approx(127.5, abs=1.5)
    assert columns.mean() == pytest.approx(127.5, abs=1.5)


def test_ssim_is_one_for_the_same_and_falls_with_noise(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    assert tallied((truth, truth)).score().ssim == pytest.approx(1)
    halfway = ((truth.astype(int) + predicted) // 2).astype(np.uint8)
    assert tallied(pair).score().ssim < tallied((truth, halfway)).score().ssim < 0.99


def test_an_aged_photo_is_colored_on_its_own_lightness_and_always_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lite = Colorizer.load("lite", "cpu")
    seen, infer = list[np.ndarray](), lite.infer

    def recorded(lightness: list[np.ndarray]) -> list[np.ndarray]:
        seen.append(lightness[-1])
        return infer(lightness)

    monkeypatch.setattr(lite, "infer", recorded)
    photos = data.find([Path("scikit-image")])[:2]
    [(_, first), (_, second)] = color.colorized([lite], photos, ages=["fading", "halftone"])
    assert list(first) == ["gray", "lite", "lite · fading", "lite · halftone", "truth"]
    lightness = {name: skcolor.rgb2lab(picture)[..., 0] for name, picture in first.items()}
    for name in ("lite", "lite · fading", "lite · halftone"):
        assert np.abs(lightness[name] - lightness["truth"]).mean() < 0.3
    assert not np.array_equal(first["lite"], first["lite · halftone"]), "age was seen"
    [(_, alone)] = color.colorized([lite], photos[1:], ages=["fading", "halftone"])
    assert len(seen) == 6
    for together, by_itself in zip(seen[:3], seen[3:], strict=True):
        assert np.array_equal(together, by_itself)
    # A batch of two and one of one may be summed in another order, so that a value falls to the other side of a half.
    for name, picture in second.items():
        assert np.abs(alone[name].astype(int) - picture).max() <= 1, name


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
