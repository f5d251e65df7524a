"""Each kind of age does to a photo what its name says, measured, and so does a page; each photo by its own seed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
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

from model import color
from model.training import aging, data

SIDE = 128
MANY = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeds(count: int = MANY, seed: int = 0) -> torch.Tensor:
    return torch.randint(2**62, (count,), generator=seeded(seed))


def flat(lightness: float, side: int = SIDE) -> torch.Tensor:
    return torch.full((MANY, 1, side, side), lightness, dtype=torch.float32)


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    """(MANY, 1, SIDE, SIDE) lightness of one photo, so many times."""
    rgb = data.read(data.find([Path("scikit-image")])[0])
    small = np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BOX)).copy()
    lightness = color.lightness_from_rgb(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)
    return lightness[None].repeat(MANY, 1, 1, 1)


def detail(lightness: torch.Tensor) -> torch.Tensor:
    """Mean square step from pixel to pixel, of each photo."""
    return lightness.diff(dim=-1).square().mean((1, 2, 3)) + lightness.diff(dim=-2).square().mean((1, 2, 3))


def everything() -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    ages = {"exposure": aging.exposure, "age": lambda photos, seeds: aging.age(photos, seeds, 0.7)}
    pages = {"page": lambda photos, seeds: aging.print_on_page(photos.repeat(1, 3, 1, 1), seeds, 0.6)}
    return {**aging.AGES, **ages, **pages}


@pytest.mark.parametrize("name", everything())
def test_the_same_seeds_age_alike_whatever_else_is_drawn(name: str, portrait: torch.Tensor) -> None:
    change = everything()[name]
    torch.manual_seed(1)
    once = change(portrait, seeds(seed=2))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(change(portrait, seeds(seed=2)), once)
    assert torch.equal(torch.get_rng_state(), state), "nothing global is drawn from"
    assert not torch.equal(change(portrait, seeds(seed=3)), once)


@pytest.mark.parametrize("name", everything())
@pytest.mark.parametrize("parts", [(12, 12), (1, 23), (7, 9, 8), (1,) * MANY], ids=str)
def test_a_photo_ages_alike_however_its_batch_is_shared(
    name: str, parts: tuple[int, ...], portrait: torch.Tensor
) -> None:
    """As do processes that each take a share of a batch.

    To the last bit here; where rows are no multiples of a CPU's vectors, its exponentials round their ends differently, by 1e-5 at most.
    """
    change = everything()[name]
    whole = change(portrait, seeds())
    shares = zip(portrait.split(parts), seeds().split(parts), strict=True)
    together = torch.cat([change(photos, own) for photos, own in shares])
    torch.testing.assert_close(together, whole, atol=1e-5, rtol=0)


def test_seeds_next_to_each_other_draw_as_if_they_had_nothing_to_do_with_each_other() -> None:
    """As dataset indices are. Of a photo's contrast: too hard or too flat."""
    developed = aging.contrast(
        torch.tensor([30.0, 60.0]).view(1, 1, 1, 2).repeat(4000, 1, 1, 1), torch.arange(4000)
    )
    hard = ((developed[..., 1] - developed[..., 0]).flatten() > 30).float()
    assert hard.mean() == pytest.approx(0.5, abs=0.03)
    assert torch.corrcoef(torch.stack([hard[1:], hard[:-1]]))[0, 1].abs() < 0.05


def test_share_0_ages_no_photo_and_share_1_each(portrait: torch.Tensor) -> None:
    before = portrait.clone()
    assert torch.equal(aging.age(portrait, seeds(), 0), before)
    changed = (aging.age(portrait, seeds(), 1) != before).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(portrait, before), "the batch that came in is left alone"


def test_a_share_of_the_photos_ages_and_the_others_stay_exactly_as_they_were() -> None:
    photos = torch.rand(400, 1, 32, 32, generator=seeded(1)) * 100
    changed = (aging.age(photos, seeds(400), 0.3) != photos).flatten(1).any(1)
    assert 0.23 < changed.float().mean() < 0.37


def test_an_aged_photo_shows_one_kind_of_age_or_two_or_three(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {name: 2.0**place for place, name in enumerate(aging.AGES)}
    kinds = {name: lambda photos, _, mark=mark: photos + mark for name, mark in marks.items()}
    monkeypatch.setattr(aging, "AGES", kinds)
    marked = aging.age(torch.zeros(600, 1, 1, 1), seeds(600), 1).flatten().int().tolist()
    assert {mark.bit_count() for mark in marked} == {1, 2, 3}
    for bit in range(len(kinds)):
        share = sum(mark >> bit & 1 for mark in marked) / len(marked)
        assert share == pytest.approx(2 / len(kinds), abs=0.08), "each kind as often as the others"


@pytest.mark.parametrize("name", aging.AGES)
def test_no_two_photos_of_a_batch_age_alike(name: str, portrait: torch.Tensor) -> None:
    aged = aging.AGES[name](portrait[:6], seeds(6))
    assert not any(torch.equal(one, other) for one, other in combinations(aged, 2))


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from([*aging.AGES]),
    height=st.integers(32, 160),
    width=st.integers(32, 160),
    span=st.sampled_from([(0.0, 100.0), (0.0, 0.0), (100.0, 100.0), (40.0, 60.0)]),
    seed=st.integers(0, 2**32),
)
def test_photos_of_any_size_stay_lightness(
    name: str, height: int, width: int, span: tuple[float, float], seed: int
) -> None:
    photos = torch.empty(2, 1, height, width).uniform_(*span, generator=seeded(seed))
    aged = aging.AGES[name](photos, seeds(2, seed))
    assert aged.shape == photos.shape
    assert aged.dtype == torch.float32
    assert aged.isfinite().all()
    assert aged.min() >= 0
    assert aged.max() <= 100


def test_blur_takes_detail_and_leaves_brightness(portrait: torch.Tensor) -> None:
    blurred = aging.blur(portrait, seeds())
    left = detail(blurred) / detail(portrait)
    assert left.max() < 0.97
    assert left.min() < 0.4, "some are as soft as a box camera's"
    assert (blurred.mean((1, 2, 3)) - portrait.mean((1, 2, 3))).abs().max() < 0.5


def test_a_photo_twice_as_large_is_blurred_twice_as_wide() -> None:
    patches = F.interpolate(
        torch.rand(MANY, 1, 16, 16, generator=seeded(3)) * 100, (SIDE, SIDE), mode="bicubic"
    )
    twice = F.interpolate(patches, scale_factor=2, mode="bilinear")
    small, large = aging.blur(patches, seeds()), F.avg_pool2d(aging.blur(twice, seeds()), 2)
    difference, effect = ((small - other).abs().mean((1, 2, 3)) for other in (large, patches))
    assert (difference / effect).median() < 0.35


def test_some_photos_are_blurred_along_a_line_most_all_around() -> None:
    noise = torch.rand(1, 1, SIDE, SIDE, generator=seeded(9)).expand(MANY, 1, SIDE, SIDE) * 100
    steps = torch.stack(torch.gradient(aging.blur(noise, seeds()), dim=(2, 3)), -1).flatten(1, -2)
    weakest, strongest = torch.linalg.eigvalsh(steps.mT @ steps).unbind(1)
    ratio = strongest / weakest
    assert 0.05 < (ratio > 1.4).float().mean() < 0.5
    assert ratio.median() < 1.2


def test_contrast_is_too_hard_or_too_flat_and_keeps_the_order_of_tones(portrait: torch.Tensor) -> None:
    developed = aging.contrast(portrait, seeds())
    ratio = developed.std((1, 2, 3)) / portrait.std((1, 2, 3))
    assert 0.25 < (ratio < 0.9).float().mean() < 0.75
    assert 0.25 < (ratio > 1.05).float().mean() < 0.75
    darker_first = portrait[0].flatten().argsort()
    assert developed.flatten(1)[:, darker_first].diff(dim=1).min() > -1e-3


def test_grain_is_rough_in_middle_tones_fine_in_white_and_keeps_the_mean() -> None:
    grainy, white = aging.grain(flat(50), seeds()), aging.grain(flat(100), seeds())
    rough = grainy.std((1, 2, 3))
    assert 1 < rough.min() < 3
    assert 5 < rough.max() < 10
    assert (grainy.mean((1, 2, 3)) - 50).abs().max() < 0.8
    assert (white.std((1, 2, 3)) < rough / 3).all()


def test_grain_comes_in_clumps_of_several_sizes() -> None:
    """Noise that is drawn pixel by pixel would have a step of √2 deviations, twice over: 4 as `detail` counts it."""
    grainy = aging.grain(flat(50, 224), seeds())
    steps = detail(grainy) / grainy.var((1, 2, 3))
    assert steps.max() < 3.9
    assert steps.min() < 1


def test_toning_keeps_the_order_of_tones_and_changes_their_lightness() -> None:
    ramp = torch.linspace(0, 100, SIDE * SIDE).view(1, 1, SIDE, SIDE).repeat(60, 1, 1, 1)
    toned = aging.toning(ramp, seeds(60))
    assert toned.min() >= 0
    assert toned.max() <= 100
    assert toned.flatten(1).diff(dim=1).min() >= 0
    assert (toned.flatten(1)[:, -1] - toned.flatten(1)[:, 0]).min() > 40, "a picture is left"
    change = (toned - ramp).abs().flatten(1)
    assert change.mean(1).min() > 0.3
    assert change.mean(1).max() > 8, "some are faded"
    assert change.max() < 40


def test_toned_prints_have_a_stained_paper_and_colored_blacks() -> None:
    black, white = (aging.toning(flat(tone), seeds()).amax((1, 2, 3)) for tone in (0.0, 100.0))
    assert (black > 1).all()
    assert (black < 35).all()
    assert (white < 99.5).all()
    assert (white > 80).all()


def test_fading_lifts_blacks_dulls_whites_and_is_uneven_on_some_photos() -> None:
    black, white = aging.fading(flat(0), seeds()), aging.fading(flat(100), seeds())
    assert (black.amax((1, 2, 3)) > 3).all()
    assert (white.amin((1, 2, 3)) < 99).all()
    assert (white - black).min() > 25, "no photo is lost"
    uneven = black.std((1, 2, 3)) > 0.5
    assert 0.25 < uneven.float().mean() < 0.75
    assert detail(black).max() < 1, "from place to place it changes slowly"


def test_halftone_prints_a_regular_screen_whose_pitch_pixels_can_carry() -> None:
    printed = aging.halftone(flat(50), seeds())
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
    assert aging.halftone(flat(100), seeds()).mean() > 90
    assert aging.halftone(flat(0), seeds()).mean() < 10


def test_scratches_change_few_pixels_and_those_much(portrait: torch.Tensor) -> None:
    change = (aging.scratches(portrait, seeds()) - portrait).abs().flatten(1)
    much = (change > 10).float().mean(1)
    assert much.max() < 0.15
    assert 0.003 < much.median() < 0.08
    assert change.amax(1).median() > 40
    assert (change < 0.5).float().mean(1).median() > 0.85


def test_scratches_run_mostly_down_the_picture_as_film_does() -> None:
    change = (aging.scratches(flat(50), seeds()) - 50).abs()[:, 0]
    columns, rows = change.mean(1).std(1), change.mean(2).std(1)
    assert (columns > rows).float().mean() > 0.7


def test_dust_leaves_specks_bright_and_dark() -> None:
    change = (aging.scratches(flat(50), seeds()) - 50)[:, 0].numpy()
    bright, dark = ([specks(sign * photo > 8) for photo in change] for sign in (1, -1))
    assert np.median(bright) > 5
    assert np.median(dark) > 1
    assert max(bright) < 100


def specks(marked: NDArray[np.bool_]) -> int:
    """How many patches of at most 5 by 5 pixels there are."""
    patches = ndimage.find_objects(ndimage.label(marked, structure=np.ones((3, 3)))[0])
    return sum(max(rows.stop - rows.start, columns.stop - columns.start) <= 5 for rows, columns in patches)


def test_some_photos_were_folded_a_bright_ridge_with_its_shadow_beside() -> None:
    change = aging.scratches(flat(50), seeds()) - 50
    beside_shadow = F.max_pool2d(-change, 7, 1, 3) > 3
    ridge = ((change > 5) & beside_shadow).float().sum((1, 2, 3))
    assert 0.05 < (ridge > SIDE).float().mean() < 0.5


@pytest.fixture
def orange() -> torch.Tensor:
    """(MANY, 3, SIDE, SIDE) L*, a*, b*: orange all over, in two lightnesses, so that the picture is known by its color."""
    photos = torch.tensor([60.0, 40.0, 50.0]).view(1, 3, 1, 1).repeat(MANY, 1, SIDE, SIDE)
    photos[:, 0, : SIDE // 2] = 40
    return photos


def test_a_share_of_the_photos_lies_on_pages_and_the_others_stay_exactly_as_they_were(
    orange: torch.Tensor,
) -> None:
    before, many = orange.clone(), orange[:1, :, :48, :48].expand(400, -1, -1, -1)
    assert torch.equal(aging.print_on_page(orange, seeds(), 0), before)
    assert (aging.print_on_page(orange, seeds(), 1) != before).flatten(1).any(1).all()
    assert torch.equal(orange, before), "the batch that came in is left alone"
    mounted = (aging.print_on_page(many, seeds(400), 0.3) != many).flatten(1).any(1)
    assert 0.23 < mounted.float().mean() < 0.37


def test_a_page_is_exactly_neutral_and_the_pictures_colors_survive_on_it(orange: torch.Tensor) -> None:
    mounted = aging.print_on_page(orange, seeds(), 1)
    page, picture = (mounted[:, 1:] == 0).all(1), (mounted[:, 1:] - orange[:, 1:]).abs().amax(1) < 0.01
    for photo, on_page, inside in zip(mounted, page, picture, strict=True):
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
        assert 0.55 < height / SIDE < 0.95
        assert (height - width).abs() <= 2, "its shape stays"
        assert inside[box].float().mean() > 0.97, "all of it but rounded corners"
        around = torch.ones_like(on_page)
        around[box] = False
        assert on_page[around].all(), "neutral beyond it, to the last bit"
        middle = photo[0, box[0], columns.float().mean().int()]
        assert middle[height // 4] == pytest.approx(40, abs=0.1)
        assert middle[3 * height // 4] == pytest.approx(60, abs=0.1), "the right way up"


def test_some_prints_have_round_corners_beyond_which_the_page_is_neutral(orange: torch.Tensor) -> None:
    mounted = aging.print_on_page(orange, seeds(), 1)
    colored = mounted[:, 1:].abs().amax(1) > 0
    round_corners = 0
    for inside in colored:
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        corners = inside[rows[[0, 0, -1, -1]], columns[[0, -1, 0, -1]]]
        assert corners.all() or not corners.any(), "all four alike"
        round_corners += int(not corners.any())
    assert 0.05 < round_corners / MANY < 0.5


def test_pages_are_white_to_black_and_hold_a_little_texture(orange: torch.Tensor) -> None:
    mounted = aging.print_on_page(orange, seeds(), 1)
    assert mounted[:, 0].min() >= 0
    assert mounted[:, 0].max() <= 100
    corner = mounted[:, 0, :4, :4].flatten(1)
    assert corner.mean(1).min() < 30
    assert corner.mean(1).max() > 90
    assert corner.std(1).median() > 0.1
    assert corner.std(1).median() < 3


@settings(deadline=None, max_examples=30)
@given(height=st.integers(32, 160), width=st.integers(32, 160), seed=st.integers(0, 2**32))
def test_photos_of_any_size_are_put_on_pages(height: int, width: int, seed: int) -> None:
    photos = torch.empty(2, 3, height, width).uniform_(0, 100, generator=seeded(seed))
    mounted = aging.print_on_page(photos, seeds(2, seed), 1)
    assert mounted.shape == photos.shape
    assert mounted.isfinite().all()
    assert mounted[:, 0].min() >= 0
    assert mounted[:, 0].max() <= 100
    assert (mounted[:, 1:] == 0).all(1).flatten(1).any(1).all()
