"""The serving flow on scikit-image's photographs, with the shipped weights."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from skimage import color, data

from model import image_io
from model.cards import CheckpointError
from model.colorizer import Colorizer, ColorOptions


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer.load("lite", "cpu")


def gray(pixels: np.ndarray, form: str = "PNG", mode: str = "L") -> image_io.Photo:
    file = io.BytesIO()
    Image.fromarray(pixels).convert("L").convert(mode).save(file, form)
    return image_io.open(file.getvalue())


def crops() -> list[image_io.Photo]:
    """Ten gray photographs of several shapes."""
    whole = [gray(getattr(data, name)()[..., :3]) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    parts = [
        gray(data.astronaut()[:200, 100:400]),
        gray(data.coffee()[50:300, 100:220]),
        gray(data.chelsea()[:, :150]),
    ]
    single = [gray(getattr(data, name)()) for name in ("camera", "moon", "brick")]
    return whole + parts + single


def lightness(pixels: np.ndarray) -> np.ndarray:
    return color.rgb2lab(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1))[..., 0]


def test_the_photos_own_lightness_is_kept_on_ten_photographs(colorizer: Colorizer) -> None:
    """Mean |ΔL*| at most 0.15 after 8-bit rounding, also where colors are pushed out of the gamut."""
    for options in (ColorOptions(), ColorOptions(temperature=0.05, vividness=2.0)):
        for before in crops():
            [after] = colorizer.colorize([before], options)
            assert after.pixels.shape == (*before.pixels.shape[:2], 3)
            assert np.abs(lightness(after.pixels) - lightness(before.pixels)).mean() <= 0.15


def test_gray_becomes_color(colorizer: Colorizer) -> None:
    for after in colorizer.colorize(crops()[:4]):
        ab = color.rgb2lab(after.pixels)[..., 1:]
        assert np.linalg.norm(ab, axis=-1).mean() > 5


def test_skin_is_warm(colorizer: Colorizer) -> None:
    """What a person would notice first: skin."""
    [after] = colorizer.colorize([gray(data.astronaut())])
    face = color.rgb2lab(after.pixels)[70:170, 180:260, 1:].mean((0, 1))
    assert face[0] > 4
    assert face[1] > 4


def test_a_batch_answers_as_each_photo_alone(colorizer: Colorizer) -> None:
    photos = crops()[:5]
    together = colorizer.colorize(photos)
    for before, batched in zip(photos, together, strict=True):
        [alone] = colorizer.colorize([before])
        assert np.abs(alone.pixels.astype(int) - batched.pixels).max() <= 2


def test_one_photo_gives_the_same_answer_twice(colorizer: Colorizer) -> None:
    first, second = (colorizer.colorize([gray(data.coffee())])[0] for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)


def test_vividness_scales_chroma_and_zero_is_gray(colorizer: Colorizer) -> None:
    def chroma(vividness: float) -> float:
        [after] = colorizer.colorize([gray(data.coffee())], ColorOptions(vividness=vividness))
        return float(np.linalg.norm(color.rgb2lab(after.pixels)[..., 1:], axis=-1).mean())

    assert chroma(0) < 0.5
    assert chroma(0.5) < 0.6 * chroma(1) < chroma(1.5)


def test_temperature_is_the_cards_unless_said_otherwise(colorizer: Colorizer) -> None:
    before = gray(data.astronaut())
    default, same, other = (
        colorizer.colorize([before], ColorOptions(t))[0].pixels
        for t in (None, colorizer.card.temperature, 1.0)
    )
    assert np.array_equal(default, same)
    assert not np.array_equal(default, other)


def test_sixteen_bit_gray_is_colored_from_all_its_bits(colorizer: Colorizer) -> None:
    eight = data.camera()
    file = io.BytesIO()
    Image.fromarray(eight.astype(np.uint16) * 257).save(file, "PNG")
    [deep] = colorizer.colorize([image_io.open(file.getvalue())])
    [flat] = colorizer.colorize([gray(eight)])
    assert deep.pixels.dtype == np.uint16
    assert np.abs(deep.pixels / 257 - flat.pixels).mean() < 2
    assert np.abs(lightness(deep.pixels) - lightness(eight)).mean() <= 0.15


def test_the_net_sees_no_lightness_beyond_black_and_white(colorizer: Colorizer) -> None:
    stripes = np.zeros((400, 400), np.uint16)
    stripes[:, ::100] = stripes[:, 1::100] = 65_535
    preprocessed = colorizer.preprocess(image_io.Photo(stripes, None, "PNG"))
    assert 0 <= preprocessed.min() < 1
    assert 50 < preprocessed.max() <= 100


def test_alpha_comes_back_untouched(colorizer: Colorizer) -> None:
    alpha = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    file = io.BytesIO()
    Image.fromarray(np.dstack([data.camera()[:256, :256], alpha]), "LA").save(file, "PNG")
    [after] = colorizer.colorize([image_io.open(file.getvalue())])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image_io.save(after))).getchannel("A")), alpha)


@pytest.mark.parametrize("shape", [(8, 8), (8, 400), (400, 8), (33, 700), (900, 64)])
def test_odd_shapes_come_back_in_their_shape(colorizer: Colorizer, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    [after] = colorizer.colorize([image_io.Photo(pixels, None, "PNG")])
    assert after.pixels.shape == (*shape, 3)


def test_the_shape_of_a_photo_is_kept_for_the_net(colorizer: Colorizer) -> None:
    preprocessed = colorizer.preprocess(gray(data.rocket()))  # 427 × 640
    _, height, width = preprocessed.shape
    assert height == colorizer.card.size
    assert width / height == pytest.approx(640 / 427, abs=0.1)
    assert width % 32 == 0


def test_infer_keeps_the_order_of_mixed_shapes(colorizer: Colorizer) -> None:
    preprocessed = [colorizer.preprocess(single) for single in crops()[:5]]
    together = colorizer.infer(preprocessed)
    for single, logits in zip(preprocessed, together, strict=True):
        assert logits.shape == (313, single.shape[1] // 4, single.shape[2] // 4)
        np.testing.assert_allclose(logits, colorizer.infer([single])[0], atol=2e-2, rtol=1e-2)


def test_an_answer_that_is_no_number_is_an_error_and_no_black_picture(colorizer: Colorizer) -> None:
    for wrong in (np.inf, np.nan):
        logits = np.zeros((313, 8, 8), np.float32)
        logits[5, 4, 4] = wrong
        for temperature in (None, 0):
            with pytest.raises(FloatingPointError, match="no number"):
                colorizer.postprocess(
                    gray(np.full((64, 64), 128, np.uint8)), logits, ColorOptions(temperature)
                )


def test_two_threads_at_once_answer_as_one_after_the_other(colorizer: Colorizer) -> None:
    photos = crops()
    one_by_one = [colorizer.colorize([single])[0].pixels for single in photos]
    with ThreadPoolExecutor(2) as threads:
        at_once = list(threads.map(lambda single: colorizer.colorize([single])[0].pixels, photos))
    for alone, beside in zip(one_by_one, at_once, strict=True):
        assert np.array_equal(alone, beside)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 1.5}, {"temperature": float("nan")}, {"vividness": -1.0}, {"vividness": 2.5}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, and must lie in"):
        ColorOptions(**wrong)


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_by_name(device: str) -> None:
    with pytest.raises(ValueError, match=device):
        Colorizer.load("lite", device)


def test_an_unknown_net_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match="colorist9000"):
        Colorizer.load("colorist9000")
