from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.nets.backbone import MEAN
from model.training import augment

PLAIN = augment.Strengths(side=32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int, side: int = 48) -> Tensor:
    """Smooth color fields, uint8, each its own."""
    coarse = torch.rand(count, 3, 5, 5, generator=seeded(99))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().byte()


def shown(step: str, count: int = 200, strengths: augment.Strengths = PLAIN) -> tuple[Tensor, Tensor]:
    """Float photos of the views' side before, and after."""
    before = photos(count, strengths.side).float() / 255
    return before, augment.augmented(before, (step,), strengths, seeded(1))


def changed(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(1)


@pytest.mark.parametrize("step", augment.AUGMENTATIONS)
def test_each_step_by_name(step: str) -> None:
    given = photos(12)
    kept = given.clone()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    seen = augment.augmented(given, (step,), PLAIN, seeded(3))
    assert torch.equal(seen, augment.augmented(given, (step,), PLAIN, seeded(3))), "the generator says it all"
    assert torch.equal(state, torch.get_rng_state()), "and nothing else is drawn from"
    assert torch.equal(given, kept), "photos stay as they are"
    rounded = 4 / 255 if step in augment.RESAMPLING else 2e-6
    torch.testing.assert_close(
        seen, augment.augmented(given.float() / 255, (step,), PLAIN, seeded(3)), atol=rounded, rtol=0
    )
    assert seen.dtype == torch.float32
    assert seen.shape == (12, 3, *((32, 32) if step in augment.RESAMPLING else (48, 48)))
    assert seen.min() >= 0
    assert seen.max() <= 1 + 1e-6
    drawn = not torch.equal(seen, augment.augmented(given, (step,), PLAIN, seeded(4)))
    assert drawn == (step not in ("whole", "sobel"))


@pytest.mark.parametrize("step", augment.AUGMENTATIONS)
def test_what_happens_to_a_photo_depends_on_no_other(step: str) -> None:
    given = photos(30)
    others = given.flip(0)
    others[7] = given[7]
    first, second = (augment.augmented(rgb, (step,), PLAIN, seeded(3)) for rgb in (given, others))
    torch.testing.assert_close(first[7], second[7], atol=2e-6, rtol=0)


def test_equal_photos_are_changed_apart() -> None:
    given = photos(1).expand(20, -1, -1, -1)
    for step in set(augment.AUGMENTATIONS) - {"whole", "sobel", "gray", "rotate"}:
        strengths = replace(PLAIN, jittered=1.0, blurred=1.0)
        assert len(augment.augmented(given, (step,), strengths, seeded()).flatten(1).unique(dim=0)) == 20, (
            step
        )
    assert len(augment.augmented(given, ("rotate",), PLAIN, seeded()).flatten(1).unique(dim=0)) == 3
    assert len(augment.augmented(given, ("gray",), PLAIN, seeded()).flatten(1).unique(dim=0)) == 2


def test_boxes_have_areas_and_ratios_evenly_drawn_and_lie_in_the_photo() -> None:
    drawn = augment.boxes(20_000, 160, 160, augment.Strengths(side=128, area=(0.1, 0.5)), seeded())
    top, left, height, width = drawn.double().unbind(1)
    assert drawn.min() >= 0
    assert (top + height).max() == 160
    assert (left + width).max() == 160
    area, ratio = height * width / 160**2, (width / height).log() / np.log(4 / 3)
    for values, low, high in ((area, 0.1, 0.5), (ratio, -1, 1)):
        deciles = values.quantile(torch.linspace(0.1, 0.9, 9, dtype=torch.float64))
        expected = low + (high - low) * torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
        torch.testing.assert_close(deciles, expected, atol=0.02 * (high - low), rtol=0)
    corners = torch.stack([top / (160 - height), left / (160 - width)])
    torch.testing.assert_close(corners.mean(1), torch.full((2,), 0.5, dtype=torch.float64), atol=0.01, rtol=0)
    assert corners.corrcoef()[0, 1].abs() < 0.03


def test_where_no_box_fits_the_whole_photo_is_taken() -> None:
    wide = augment.Strengths(side=8, area=(1.0, 1.0))
    assert augment.boxes(5, 20, 100, wide, seeded()).tolist() == [[0, 0, 20, 100]] * 5


def test_half_of_the_crops_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, 48).expand(1000, 3, 48, 48)
    for step, low, high in (("crop", 0.0, 0.0), ("crop and flip", 0.45, 0.55), ("whole", 0.0, 0.0)):
        seen = augment.augmented(ramp, (step,), PLAIN, seeded())
        falling = seen[:, 0, 0, 0] > seen[:, 0, 0, -1]
        assert low <= falling.double().mean() <= high, step


def test_a_fifth_turn_gray_half_are_blurred_and_four_of_five_jittered() -> None:
    for step, low, high in (("gray", 0.15, 0.25), ("blur", 0.43, 0.57), ("jitter", 0.74, 0.86)):
        before, after = shown(step, 400, replace(PLAIN, sigma=(0.5, 2.0)))
        assert low < changed(before, after).double().mean() < high, step
    for step, share in (("gray", "grayed"), ("blur", "blurred"), ("jitter", "jittered")):
        assert not changed(*shown(step, strengths=replace(PLAIN, **{share: 0.0}))).any()
        assert changed(*shown(step, strengths=replace(PLAIN, sigma=(0.5, 2.0), **{share: 1.0}))).all()


def test_jitter_is_one_of_the_24_orders_with_amounts_of_the_papers_ranges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[tuple[str, ...], list[float]]] = []

    def spy(rgb: Tensor, amounts: Tensor, order: tuple[str, ...], adds: bool) -> Tensor:
        seen.extend((order, amount) for amount in amounts.tolist())
        return rgb

    monkeypatch.setattr(augment, "jittered", spy)
    for color, adds, expected in (
        (1.0, False, [(0.2, 1.8)] * 3 + [(-0.2, 0.2)]),
        (0.5, False, [(0.6, 1.4)] * 3 + [(-0.1, 0.1)]),
        (1.0, True, [(-0.8, 0.8)] + [(0.2, 1.8)] * 2 + [(-0.2, 0.2)]),
    ):
        seen.clear()
        augment.augmented(
            photos(4800, 2),
            ("jitter",),
            replace(PLAIN, color=color, adds_brightness=adds, jittered=1.0),
            seeded(),
        )
        amounts = np.array([amount for _, amount in seen])
        for column, (low, high) in zip(amounts.T, expected, strict=True):
            np.testing.assert_allclose([column.min(), column.max()], [low, high], atol=0.01 * (high - low))
            assert column.min() >= low - 1e-6
            assert column.max() <= high + 1e-6
        orders = [order for order, _ in seen]
        assert len(set(orders)) == 24
        assert max(map(orders.count, set(orders))) < 1.4 * 200


def test_jittered_photos_are_those_that_the_distortion_gives_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[Tensor, Tensor]] = []
    plain = augment.jittered

    def spy(rgb: Tensor, amounts: Tensor, order: tuple[str, ...], adds: bool) -> Tensor:
        answers = [plain(rgb[n : n + 1], amounts[n : n + 1], order, adds) for n in range(len(rgb))]
        drawn.extend((photo, answer[0]) for photo, answer in zip(rgb, answers, strict=True))
        return plain(rgb, amounts, order, adds)

    monkeypatch.setattr(augment, "jittered", spy)
    before, after = shown("jitter", 60)
    assert len(drawn) == int(changed(before, after).sum())
    for photo, answer in drawn:
        n = int((before == photo).flatten(1).all(1).nonzero())
        torch.testing.assert_close(after[n], answer, atol=1e-6, rtol=0)


def test_rotations_are_by_quarters() -> None:
    before, after = shown("rotate")
    quarters = [
        [k for k in range(4) if torch.equal(torch.rot90(photo, k, (1, 2)), seen)]
        for photo, seen in zip(before, after, strict=True)
    ]
    counts = [quarters.count([k]) for k in range(4)]
    assert counts[0] == 0
    assert sum(counts) == 200
    assert min(counts[1:]) > 45


def test_cutout_covers_half_the_side_wherever_its_center_lies() -> None:
    before, after = shown("cutout")
    covered = (before != after).any(1)
    sizes = torch.stack([covered.any(2).sum(1), covered.any(1).sum(1)])
    assert sizes.max() == 16
    assert sizes.min() < 11, "part of it may lie outside"
    assert torch.equal(covered, covered.any(2)[:, :, None] & covered.any(1)[:, None])
    seen = after.permute(0, 2, 3, 1)[covered]
    torch.testing.assert_close(seen, torch.tensor(MEAN).expand_as(seen))


def test_blur_and_noise_come_in_all_strengths() -> None:
    before, after = shown("blur", strengths=replace(PLAIN, blurred=1.0))
    fits = []
    for photo, seen in zip(before[:40], after, strict=False):
        sigmas = torch.linspace(0.1, 2, 96)
        candidates = augment.blurred(photo.expand(96, -1, -1, -1), sigmas, 1)
        fits.append(float(sigmas[(candidates - seen).abs().flatten(1).amax(1).argmin()]))
    assert min(fits) < 0.4
    assert max(fits) > 1.2
    before, after = shown("noise", strengths=replace(PLAIN, noise=(0.01, 0.1)))
    middle = before.clamp(0.35, 0.65) == before
    deviations = [
        float((seen - photo)[inside].std()) for photo, seen, inside in zip(before, after, middle, strict=True)
    ]
    assert min(deviations) < 0.02
    assert 0.09 < max(deviations) < 0.11


def test_blur_reaches_over_a_twentieth_of_the_side() -> None:
    for side, width in ((128, 13), (224, 23), (32, 3)):
        dot = torch.zeros(1, 3, side, side)
        dot[..., side // 2, side // 2] = 1
        strengths = replace(PLAIN, blurred=1.0, sigma=(9.0, 9.0))
        seen = augment.augmented(dot, ("blur",), strengths, seeded())[0, 0] > 0
        assert seen.any(0).sum() == seen.any(1).sum() == width


def test_color_is_jitter_and_then_gray() -> None:
    _, seen = shown("color", strengths=replace(PLAIN, jittered=1.0))
    grayed = (seen.amax(1) == seen.amin(1)).flatten(1).all(1)
    assert 0.1 < grayed.double().mean() < 0.3
    before, seen = shown("color", strengths=replace(PLAIN, grayed=0.0))
    assert changed(before, seen).double().mean() > 0.7


def test_steps_follow_one_another() -> None:
    given = photos(20)
    generator = seeded(5)
    expected = augment.augmented(given, ("crop",), PLAIN, generator)
    for step in ("color", "sobel"):
        expected = augment.augmented(expected, (step,), PLAIN, generator)
    torch.testing.assert_close(
        augment.augmented(given, ("crop", "color", "sobel"), PLAIN, seeded(5)), expected
    )


def test_refusals_say_why() -> None:
    with pytest.raises(ValueError, match="share of a photo"):
        augment.Strengths(side=32, area=(0.0, 1.0))
    with pytest.raises(ValueError, match="color strength"):
        augment.Strengths(side=32, color=-1.0)
    with pytest.raises(ValueError, match="48×40 pixels, and must be square"):
        augment.augmented(photos(2)[:, :, :40], ("rotate",), PLAIN, seeded())
