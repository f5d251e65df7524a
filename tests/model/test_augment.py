"""Each kind of age does to a photo what its name says, measured; and nothing else is touched, and nothing is drawn in secret."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from model import lab
from model.training import augment, data

SIDE = 128
MANY = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(lightness: float, side: int = SIDE) -> torch.Tensor:
    return torch.full((MANY, 1, side, side), lightness, dtype=torch.float32)


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """(MANY, 1, SIDE, SIDE) lightness of one photo, so many times."""
    rgb = data.read(data.find([Path("scikit-image")])[0])
    small = np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BOX)).copy()
    lightness = lab.lightness_from_rgb(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)
    return lightness[None].repeat(MANY, 1, 1, 1)


def detail(lightness: torch.Tensor) -> torch.Tensor:
    """Mean square step from pixel to pixel, of each photo."""
    return lightness.diff(dim=-1).square().mean((1, 2, 3)) + lightness.diff(dim=-2).square().mean((1, 2, 3))


def test_the_same_generator_ages_alike_whatever_else_is_drawn(portrait: torch.Tensor) -> None:
    torch.manual_seed(1)
    once = augment.age(portrait, seeded(2), 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(augment.age(portrait, seeded(2), 1), once)
    assert torch.equal(torch.get_rng_state(), state), "nothing global is drawn from"
    assert not torch.equal(augment.age(portrait, seeded(3), 1), once)


def test_share_0_ages_no_photo_and_share_1_each(portrait: torch.Tensor) -> None:
    before = portrait.clone()
    assert torch.equal(augment.age(portrait, seeded(), 0), before)
    changed = (augment.age(portrait, seeded(), 1) != before).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(portrait, before), "the batch that came in is left alone"


def test_a_share_of_the_photos_ages_and_the_others_stay_exactly_as_they_were() -> None:
    photos = torch.rand(400, 1, 32, 32, generator=seeded(1)) * 100
    changed = (augment.age(photos, seeded(), 0.3) != photos).flatten(1).any(1)
    assert 0.23 < changed.float().mean() < 0.37


def test_an_aged_photo_shows_one_kind_of_age_or_two_or_three(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {name: 2.0**place for place, name in enumerate(augment.AGES)}
    kinds = {name: lambda photos, _, mark=mark: photos + mark for name, mark in marks.items()}
    monkeypatch.setattr(augment, "AGES", kinds)
    marked = augment.age(torch.zeros(600, 1, 1, 1), seeded(), 1).flatten().int().tolist()
    assert {mark.bit_count() for mark in marked} == {1, 2, 3}
    for bit in range(len(kinds)):
        share = sum(mark >> bit & 1 for mark in marked) / len(marked)
        assert share == pytest.approx(2 / len(kinds), abs=0.08), "each kind as often as the others"


@pytest.mark.parametrize("name", augment.AGES)
def test_no_two_photos_of_a_batch_age_alike(name: str, portrait: torch.Tensor) -> None:
    aged = augment.AGES[name](portrait[:6], seeded())
    assert not any(torch.equal(one, other) for one, other in combinations(aged, 2))


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from([*augment.AGES]),
    height=st.integers(32, 160),
    width=st.integers(32, 160),
    span=st.sampled_from([(0.0, 100.0), (0.0, 0.0), (100.0, 100.0), (40.0, 60.0)]),
    seed=st.integers(0, 2**32),
)
def test_photos_of_any_size_stay_lightness(
    name: str, height: int, width: int, span: tuple[float, float], seed: int
) -> None:
    photos = torch.empty(2, 1, height, width).uniform_(*span, generator=seeded(seed))
    aged = augment.AGES[name](photos, seeded(seed))
    assert aged.shape == photos.shape
    assert aged.dtype == torch.float32
    assert aged.isfinite().all()
    assert aged.min() >= 0
    assert aged.max() <= 100


def test_blur_takes_detail_and_leaves_brightness(portrait: torch.Tensor) -> None:
    blurred = augment.blur(portrait, seeded())
    left = detail(blurred) / detail(portrait)
    assert left.max() < 0.97
    assert left.min() < 0.4, "some are as soft as a box camera's"
    assert (blurred.mean((1, 2, 3)) - portrait.mean((1, 2, 3))).abs().max() < 0.5


def test_a_photo_twice_as_large_is_blurred_twice_as_wide() -> None:
    patches = F.interpolate(
        torch.rand(MANY, 1, 16, 16, generator=seeded(3)) * 100, (SIDE, SIDE), mode="bicubic"
    )
    twice = F.interpolate(patches, scale_factor=2, mode="bilinear")
    small, large = augment.blur(patches, seeded()), F.avg_pool2d(augment.blur(twice, seeded()), 2)
    difference, effect = ((small - other).abs().mean((1, 2, 3)) for other in (large, patches))
    assert (difference / effect).median() < 0.35


def test_some_photos_are_blurred_along_a_line_most_all_around() -> None:
    noise = torch.rand(1, 1, SIDE, SIDE, generator=seeded(9)).expand(MANY, 1, SIDE, SIDE) * 100
    steps = torch.stack(torch.gradient(augment.blur(noise, seeded()), dim=(2, 3)), -1).flatten(1, -2)
    weakest, strongest = torch.linalg.eigvalsh(steps.mT @ steps).unbind(1)
    ratio = strongest / weakest
    assert 0.05 < (ratio > 1.4).float().mean() < 0.5
    assert ratio.median() < 1.2


def test_contrast_is_too_hard_or_too_flat_and_keeps_the_order_of_tones(portrait: torch.Tensor) -> None:
    developed = augment.contrast(portrait, seeded())
    ratio = developed.std((1, 2, 3)) / portrait.std((1, 2, 3))
    assert 0.25 < (ratio < 0.9).float().mean() < 0.75
    assert 0.25 < (ratio > 1.05).float().mean() < 0.75
    darker_first = portrait[0].flatten().argsort()
    assert developed.flatten(1)[:, darker_first].diff(dim=1).min() > -1e-3


def test_grain_is_rough_in_middle_tones_fine_in_white_and_keeps_the_mean() -> None:
    grainy, white = augment.grain(flat(50), seeded()), augment.grain(flat(100), seeded())
    rough = grainy.std((1, 2, 3))
    assert 1 < rough.min() < 3
    assert 5 < rough.max() < 10
    assert (grainy.mean((1, 2, 3)) - 50).abs().max() < 0.8
    assert (white.std((1, 2, 3)) < rough / 3).all()


def test_grain_comes_in_clumps_of_several_sizes() -> None:
    """Noise that is drawn pixel by pixel would have a step of √2 deviations, twice over: 4 as `detail` counts it."""
    grainy = augment.grain(flat(50, 224), seeded())
    steps = detail(grainy) / grainy.var((1, 2, 3))
    assert steps.max() < 3.9
    assert steps.min() < 1


def test_fading_lifts_blacks_dulls_whites_and_is_uneven_on_some_photos() -> None:
    black, white = augment.fading(flat(0), seeded()), augment.fading(flat(100), seeded())
    assert (black.amax((1, 2, 3)) > 3).all()
    assert (white.amin((1, 2, 3)) < 99).all()
    assert (white - black).min() > 25, "no photo is lost"
    uneven = black.std((1, 2, 3)) > 0.5
    assert 0.25 < uneven.float().mean() < 0.75
    assert detail(black).max() < 1, "from place to place it changes slowly"


def test_halftone_prints_a_regular_screen_whose_pitch_pixels_can_carry() -> None:
    printed = augment.halftone(flat(50), seeded())
    assert (printed.mean((1, 2, 3)) - 50).abs().max() < 1
    window = torch.hann_window(SIDE, periodic=False)
    spectrum = torch.fft.fft2((printed - 50) * window * window[:, None]).abs().square().flatten(1)
    strongest = spectrum.topk(36).values.sum(1) / spectrum.sum(1)
    assert strongest.min() > 0.7, "four waves, nine bins each, of 16,384"
    frequency = torch.hypot(torch.fft.fftfreq(SIDE), torch.fft.fftfreq(SIDE)[:, None]).flatten()
    pitch = 1 / frequency[spectrum.argmax(1)]
    assert pitch.min() > 2.4
    assert pitch.max() < 4.3
    assert pitch.max() - pitch.min() > 0.5


def test_halftone_leaves_a_white_page_and_a_black_one_nearly_so() -> None:
    assert augment.halftone(flat(100), seeded()).mean() > 90
    assert augment.halftone(flat(0), seeded()).mean() < 10


def test_scratches_change_few_pixels_and_those_much(portrait: torch.Tensor) -> None:
    change = (augment.scratches(portrait, seeded()) - portrait).abs().flatten(1)
    much = (change > 10).float().mean(1)
    assert much.max() < 0.15
    assert 0.003 < much.median() < 0.08
    assert change.amax(1).median() > 40
    assert (change < 0.5).float().mean(1).median() > 0.85


def test_scratches_run_mostly_down_the_picture_as_film_does() -> None:
    change = (augment.scratches(flat(50), seeded()) - 50).abs()[:, 0]
    columns, rows = change.mean(1).std(1), change.mean(2).std(1)
    assert (columns > rows).float().mean() > 0.7


def test_dust_leaves_specks_bright_and_dark() -> None:
    change = (augment.scratches(flat(50), seeded()) - 50)[:, 0].numpy()
    bright, dark = ([specks(sign * photo > 8) for photo in change] for sign in (1, -1))
    assert np.median(bright) > 5
    assert np.median(dark) > 1
    assert max(bright) < 100


def specks(marked: NDArray[np.bool_]) -> int:
    """How many patches of at most 5 by 5 pixels there are."""
    patches = ndimage.find_objects(ndimage.label(marked, structure=np.ones((3, 3)))[0])
    return sum(max(rows.stop - rows.start, columns.stop - columns.start) <= 5 for rows, columns in patches)


def test_some_photos_were_folded_a_bright_ridge_with_its_shadow_beside() -> None:
    change = augment.scratches(flat(50), seeded()) - 50
    beside_shadow = F.max_pool2d(-change, 7, 1, 3) > 3
    ridge = ((change > 5) & beside_shadow).float().sum((1, 2, 3))
    assert 0.05 < (ridge > SIDE).float().mean() < 0.5
