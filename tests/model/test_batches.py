"""Which photographs a run sees, in which order and how often; which parts of them, and in which size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data as pictures

from model import bins, color
from model.errors import InputError
from model.training import batches as making
from model.training import cache, data
from model.training.batches import Batch, Batches, Crops, boxes_of, evenly, middles
from model.training.cache import Cache, Shape


def coded(sizes: Sequence[tuple[int, int]], name: str = "photos", first: int = 0) -> Cache:
    """Photos whose red is the row, whose green is the column and whose blue is `first` plus their number: all below 256."""
    made = []
    for number, (height, width) in enumerate(sizes):
        down, across = np.mgrid[0:height, 0:width]
        made.append(np.stack([down, across, np.full_like(down, first + number)]).astype(np.uint8))
    lengths = np.array([3 * h * w for h, w in sizes], np.int64)
    return Cache(
        pixels=np.concatenate([photo.reshape(-1) for photo in made]),
        starts=np.cumsum(lengths) - lengths,
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        photos=tuple(Path(f"/{name}/{number}.png") for number in range(len(sizes))),
        statistics=(data.PhotoStatistics(20.0, 20.0, 0),) * len(sizes),
        left_out={},
    )


def numbers(batch: Batch) -> list[int]:
    """Which photos are in a batch of coded ones."""
    return batch.pixels[:, 2, 0, 0].tolist()


def seen(batches: Batches, steps: Sequence[int] | None = None) -> list[int]:
    return [number for step in steps or range(len(batches)) for number in numbers(batches[step])]


def passes(order: Sequence[int], count: int) -> Iterator[list[int]]:
    """The order, a whole pass through `count` photos at a time."""
    for start in range(0, len(order) - count + 1, count):
        yield list(order[start : start + count])


SIZES = ((60, 60), (64, 80), (100, 70), (120, 120), (140, 200), (200, 130), (128, 128))
CROPS = Crops(sides=(64, 96), last=128, small=32, small_below=0)


def same(one: Batch, other: Batch) -> bool:
    """Up to how far the pixels are padded."""
    if (one.boxes is None) != (other.boxes is None) or one.side != other.side:
        return False
    pairs = [(one.labels, other.labels), (one.seeds, other.seeds)]
    if one.boxes is not None:
        pairs += [(one.boxes, other.boxes), (one.mirrored, other.mirrored)]
    height, width = (min(a, b) for a, b in zip(one.pixels.shape[2:], other.pixels.shape[2:], strict=True))
    pixels = [batch.pixels[:, :, :height, :width] for batch in (one, other)]
    rest = [int(batch.pixels.sum()) for batch in (one, other)]
    return (
        all(torch.equal(a, b) for a, b in pairs) and torch.equal(*pixels) and rest[0] == rest[1]  # type: ignore[arg-type]
    )


def rows(batch: Batch, which: slice) -> Batch:
    boxes = None if batch.boxes is None else batch.boxes[which]
    mirrored = None if batch.mirrored is None else batch.mirrored[which]
    return Batch(batch.pixels[which], batch.labels[which], batch.seeds[which], boxes, mirrored, batch.side)


@pytest.mark.parametrize("crops", [None, CROPS], ids=["squares", "crops"])
def test_a_steps_batch_is_the_same_whoever_asks_and_when(crops: Crops | None) -> None:
    source = coded([(64, 64)] * 7 if crops is None else SIZES)
    first, second = (Batches([source], 3, 20, 5, crops) for _ in range(2))
    forward = [first[step] for step in range(20)]
    assert all(same(second[step], forward[step]) for step in reversed(range(20)))
    assert not any(same(one, other) for one, other in pairwise(forward))
    other = Batches([source], 3, 20, 6, crops)
    assert not any(same(other[step], forward[step]) for step in range(20))
    assert len({seed for batch in forward for seed in batch.seeds.tolist()}) == 60, "each photo has its own"


@pytest.mark.parametrize("crops", [None, CROPS], ids=["squares", "crops"])
def test_the_parts_of_several_processes_are_together_the_batch_of_one(crops: Crops | None) -> None:
    source = coded([(64, 64)] * 7 if crops is None else SIZES)
    whole = Batches([source], 6, 8, 3, crops)
    for of in (2, 3):
        parts = [Batches([source], 6, 8, 3, crops, part, of) for part in range(of)]
        for step in range(8):
            for part in range(of):
                assert same(parts[part][step], rows(whole[step], slice(part, None, of)))
    with pytest.raises(ValueError, match="cannot be shared"):
        Batches([source], 6, 8, 3, crops, of=4)


def test_all_photos_are_seen_before_one_is_seen_again() -> None:
    order = seen(Batches([coded([(40, 40)] * 7)], 4, 14, seed=3))
    assert [sorted(each) for each in passes(order, 7)] == [list(range(7))] * 8
    assert order[:7] != order[7:14], "in another order each time"


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 1.0])
def test_all_of_each_source_are_seen_before_one_is_seen_again(balance: float) -> None:
    sources = [coded([(64, 64)] * 30, "many"), coded([(64, 64)] * 4, "few", first=100)]
    order = seen(Batches(sources, 2, 400, 0, Crops((64,), small_below=0, balance=balance)))
    many = [number for number in order if number < 100]
    few = [number - 100 for number in order if number >= 100]
    assert all(sorted(each) == list(range(30)) for each in passes(many, 30))
    assert all(sorted(each) == list(range(4)) for each in passes(few, 4))
    assert len(few) >= 80
    assert len(many) >= 390


def test_labels_are_folders_of_all_sources() -> None:
    sources = [coded([(40, 40)] * 3, "dog"), coded([(40, 40)] * 3, "ape", first=10)]
    batch = Batches(sources, 6, 1, 0)[0]
    assert [int(number < 10) for number in numbers(batch)] == batch.labels.tolist()
    assert batch.labels.dtype == torch.int64


def shares(batches: Batches) -> dict[int, float]:
    """Of each source of coded photos, whose numbers begin at 0, 100 and 200."""
    counts = Counter(number // 100 for number in seen(batches))
    return {source: count / counts.total() for source, count in counts.items()}


def test_balance_draws_small_sources_more_often_and_still_sees_all_of_each() -> None:
    sources = [coded([(32, 32)] * 90, "many"), coded([(32, 32)] * 10, "few", first=100)]

    def batches(balance: float) -> Batches:
        return Batches(sources, 20, 50, 0, Crops((32,), small=32, small_below=0, balance=balance))

    assert shares(batches(0)) == {0: 0.9, 1: 0.1}, "as they come"
    assert shares(batches(0.5)) == {0: 0.75, 1: 0.25}  # √90 : √10 is 3 : 1
    assert shares(batches(1)) == {0: 0.5, 1: 0.5}
    assert set(seen(batches(0.5))) == {*range(90), *range(100, 110)}
    assert batches(0.5).drawn() == [[75, 25]]


def test_weights_say_how_often_each_source_is_seen_beside_the_others() -> None:
    sources = [
        coded([(32, 32)] * 40, "a"),
        coded([(32, 32)] * 8, "b", first=100),
        coded([(32, 32)] * 2, "c", first=200),
    ]

    def batches(*weights: float) -> Batches:
        return Batches(sources, 10, 100, 0, Crops((32,), small=32, small_below=0, weights=weights))

    assert shares(batches(1, 1, 3)) == {0: 0.2, 1: 0.2, 2: 0.6}
    assert shares(batches(10, 10, 30)) == {0: 0.2, 1: 0.2, 2: 0.6}, "only beside one another"
    assert shares(batches(3, 1, 0)) == {0: 0.75, 1: 0.25}, "no weight, not seen"
    with pytest.raises(ValueError, match="2 weights were given for 3 sources"):
        batches(1, 1)
    sources[2] = sources[2].only([])
    with pytest.raises(InputError, match="hold no photographs to learn from"):
        batches(0, 0, 1)


def test_an_empty_source_is_not_waited_for() -> None:
    sources = [coded([(40, 40)] * 4), coded([(40, 40)] * 4).only([])]
    for crops in (None, Crops((32,), small_below=0, balance=1), Crops((32,), small_below=0, weights=(1, 9))):
        assert set(seen(Batches(sources, 4, 4, 0, crops))) == set(range(4))
    with pytest.raises(ValueError, match="no photograph is left to learn from"):
        Batches([sources[1]], 4, 4, 0)


# Small photos, and the last steps

SMALL = Crops(sides=(64, 96, 80), last=128, last_share=0.2, small=48, small_below=100)


def ragged(small: int, large: int, first: int = 0) -> Cache:
    sizes = [(90, 140)] * small + [(100, 140)] * large
    return coded(sizes, f"source {first}", first)


def test_small_photos_come_in_steps_of_their_own_and_at_their_own_size() -> None:
    batches = Batches([ragged(10, 30)], 4, 500, 0, SMALL)
    own = 0
    for step in range(500):
        small = {number < 10 for number in numbers(batches[step])}
        assert len(small) == 1, "never beside large ones"
        assert (batches[step].side == 48) == small.pop()
        own += batches[step].side == 48
    assert own == 100, "a quarter of the first 400, as a quarter of the photos are small"


def test_the_last_steps_have_the_last_size_and_no_small_photos() -> None:
    batches = Batches([ragged(10, 30)], 4, 500, 0, SMALL)
    sides = [batches[step].side for step in range(500)]
    assert sides[400:] == [128] * 100
    assert 128 not in sides[:400]
    assert min(seen(batches, range(400, 500))) >= 10
    large = [side for side in sides[:400] if side != 48]
    assert large == [(64, 96, 80)[place % 3] for place in range(300)], "the others in turn"


def test_small_photos_too_are_all_seen_before_one_is_seen_again() -> None:
    order = seen(Batches([ragged(9, 21)], 4, 300, 0, SMALL))
    assert all(sorted(each) == list(range(9)) for each in passes([n for n in order if n < 9], 9))
    assert all(sorted(each) == list(range(9, 30)) for each in passes([n for n in order if n >= 9], 21))


def test_sources_have_their_weights_where_some_of_their_photos_are_small() -> None:
    """Of the second, half are small, and it is half of what is seen: every fourth step is one of small photos."""
    sources = [ragged(0, 60), ragged(20, 20, first=100)]
    crops = Crops((64,), last_share=0, small=48, small_below=100, weights=(1, 1))
    batches = Batches(sources, 12, 400, 0, crops)
    assert sum(batches[step].side == 48 for step in range(400)) == 100
    assert shares(batches)[1] == pytest.approx(0.5, abs=0.01)


def test_where_all_photos_are_large_no_step_is_for_small_ones() -> None:
    batches = Batches([ragged(0, 10)], 2, 50, 0, SMALL)
    assert {batches[step].side for step in range(50)} == {64, 96, 80, 128}


def test_where_all_photos_are_small_none_is_enlarged() -> None:
    batches = Batches([ragged(10, 0)], 2, 50, 0, SMALL)
    assert {batches[step].side for step in range(50)} == {48}
    assert [sorted(each) for each in passes(seen(batches), 10)] == [list(range(10))] * 10
    assert batches.prior().sum().item() == pytest.approx(1)


def test_crops_that_cannot_be_are_refused() -> None:
    for values, match in (
        ({"sides": ()}, "32 pixels or more"),
        ({"last": 16}, "32 pixels or more"),
        ({"area": 0.0}, "are shares"),
        ({"last_share": 1.5}, "are shares"),
        ({"balance": -1.0}, "are shares"),
        ({"weights": (1.0, -1.0)}, "how often each source is seen"),
        ({"weights": (0.0, 0.0)}, "how often each source is seen"),
    ):
        with pytest.raises(ValueError, match=match):
            Crops(**values)  # type: ignore[arg-type]


# Boxes


def test_a_batch_holds_the_pixels_of_its_boxes_and_zeros_beyond() -> None:
    batches = Batches([coded(SIZES)], 5, 30, 0, CROPS)
    for step in range(30):
        batch = batches[step]
        assert batch.boxes is not None
        assert batch.pixels.shape[2:] == tuple(batch.boxes[:, 2:].amax(0))
        for pixels, number, (top, left, height, width) in zip(
            batch.pixels, numbers(batch), batch.boxes.tolist(), strict=True
        ):
            assert (top, left) == (0, 0), "of the pixels in the batch"
            whole = torch.from_numpy(batches.sources[0].photo(number))
            y, x = pixels[:2, 0, 0].tolist()
            assert torch.equal(pixels[:, :height, :width], whole[:, y : y + height, x : x + width])
            assert not pixels[:, height:].any()
            assert not pixels[:, :, width:].any()


@pytest.mark.parametrize("free", [0, 10**9])
def test_a_gpus_way_to_a_batch_gives_the_same_pixels_whether_its_memory_holds_all_or_not(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_free", lambda device: free)
    batches = Batches([coded(SIZES), coded(SIZES[:2], "others")], 5, 30, 0, CROPS)
    photos = [(0, 1), (1, 1), (0, 0)]
    boxes = np.array([[3, 2, 30, 40], [0, 5, 44, 31], [1, 0, 32, 33]])
    assert torch.equal(batches._by_torch(photos, boxes), torch.from_numpy(batches._by_numpy(photos, boxes)))


_SIDES = st.integers(32, 400)


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(_SIDES, _SIDES),
    side=st.integers(32, 256),
    area=st.floats(0.01, 1),
    enlarged=st.floats(1, 4),
    stretch=st.floats(0, 0.3),
    draw=st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5),
)
def test_a_box_lies_within_its_photo_and_is_as_large_as_promised(
    size: tuple[int, int], side: int, area: float, enlarged: float, stretch: float, draw: list[float]
) -> None:
    crops = Crops(area=area, enlarged=enlarged, stretch=stretch)
    ((top, left, height, width),) = boxes_of(np.array([size]), side, crops, np.array([draw])).tolist()
    short = min(size)
    assert 0 <= top <= top + height <= size[0]
    assert 0 <= left <= left + width <= size[1]
    assert height * width >= area * short**2 * (1 - 1e-9)
    assert min(height, width) >= min(short, side / enlarged) - 1e-9, "else it would be enlarged more"
    assert (height - 1) * (width - 1) <= short**2, "no more than the largest square, but for whole pixels"
    assert abs(np.log(width / height)) <= 2 * stretch + 1 / (min(height, width) - 1)


def test_boxes_are_everywhere_of_all_sizes_and_mirrored_every_other_time() -> None:
    batches = Batches([coded([(120, 200)] * 4)], 20, 100, 0, Crops((48,), last=48, small_below=0))
    drawn = [batches[step] for step in range(100)]
    boxes = torch.cat([batch.boxes for batch in drawn if batch.boxes is not None])
    corners = torch.cat([batch.pixels[:, :2, 0, 0] for batch in drawn]).long()
    ends = corners + boxes[:, 2:]
    assert corners.amin(0).tolist() == [0, 0]
    assert ends.amax(0).tolist() == [120, 200]
    middles = (corners + ends).double().mean(0) / 2
    assert middles.tolist() == pytest.approx([60, 100], rel=0.05)
    areas = boxes[:, 2:].prod(1) / 120**2
    assert areas.amin() == pytest.approx(0.35, abs=0.02)
    assert areas.amax() == pytest.approx(1, abs=0.02)
    assert areas.double().mean() == pytest.approx(0.675, abs=0.02)
    mirrored = torch.cat([batch.mirrored for batch in drawn if batch.mirrored is not None])
    assert 0.45 < mirrored.double().mean() < 0.55


def test_a_batch_in_parts_is_the_batch() -> None:
    for crops in (None, CROPS):
        batch = Batches([coded([(64, 64)] * 7)], 7, 1, 0, crops)[0]
        for count in (1, 2, 3, 7, 20):
            parts = list(batch.parts(count))
            lengths = [len(part) for part in parts]
            assert len(parts) == min(count, 7)
            assert sum(lengths) == 7
            assert max(lengths) - min(lengths) <= 1
            starts = np.cumsum([0, *lengths])
            for part, (start, end) in zip(parts, pairwise(starts.tolist()), strict=True):
                assert same(part, rows(batch, slice(start, end)))


# The prior


def painted(pixels: Sequence[NDArray[np.uint8]], name: str = "photos") -> Cache:
    """Of (H, W, 3) photos."""
    sizes = [photo.shape[:2] for photo in pixels]
    made = coded([(h, w) for h, w in sizes], name)
    return Cache(
        np.concatenate([photo.transpose(2, 0, 1).reshape(-1) for photo in pixels]),
        made.starts,
        made.sizes,
        made.photos,
        made.statistics,
        {},
    )


def patches(size: int, count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Parts of a photograph, each of another color."""
    chance = np.random.default_rng(seed)
    cat = pictures.chelsea()
    corners = chance.integers(0, 180, (count, 2))
    tints = chance.uniform(0.3, 1, (count, 3))
    return [
        (cat[y : y + size, x : x + size] * tint).astype(np.uint8)
        for (y, x), tint in zip(corners, tints, strict=True)
    ]


def histogram(pixels: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """(313,) adding up to 1, of photos of 64 × 64, or 32 × 32, or 128 × 128."""
    rgb = [torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255 for photo in pixels]
    total = sum(
        (bins.histogram(color.lab_from_rgb(_at_64(photo))[:, 1:]) for photo in rgb),
        torch.zeros(bins.COUNT, dtype=torch.float64),
    )
    return total / total.sum()


def _at_64(rgb: torch.Tensor) -> torch.Tensor:
    side = rgb.shape[-1]
    if side <= 64:
        return rgb.repeat_interleave(64 // side, 2).repeat_interleave(64 // side, 3)
    return rgb.unflatten(3, (64, -1)).unflatten(2, (64, -1)).mean((3, 5))


def test_the_prior_is_the_histogram_of_what_is_drawn() -> None:
    first, second = patches(64, 6, 0), patches(64, 3, 1)
    sources = [painted(first, "a"), painted(second, "b")]
    crops = Crops((32,), last=32, small=32, small_below=0)

    def prior(**changes: tuple[float, ...]) -> torch.Tensor:
        found = Batches(sources, 2, 10, 0, Crops(crops.sides, 32, small=32, small_below=0, **changes)).prior()  # type: ignore[arg-type]
        assert (found.shape, found.dtype) == ((313,), torch.float64)
        assert found.sum().item() == pytest.approx(1)
        return found

    assert torch.allclose(prior(), histogram([*first, *second]), atol=1e-6)
    assert torch.allclose(prior(weights=(0, 1)), histogram(second), atol=1e-6)
    balanced = 2 / 3 * histogram(first) + 1 / 3 * histogram(second)
    assert torch.allclose(prior(weights=(2, 1)), balanced, atol=1e-6)
    assert torch.allclose(Batches(sources, 2, 10, 0).prior(), prior(), atol=1e-6), "of squares, too"


def test_the_prior_knows_small_photos_by_their_share() -> None:
    small, large = patches(32, 2, 0), patches(128, 6, 1)
    sources = [painted(large, "a"), painted(small, "b")]
    crops = Crops((64,), small=32, small_below=64, weights=(1, 1))
    direct = (histogram(large) + histogram(small)) / 2
    assert torch.allclose(Batches(sources, 2, 10, 0, crops).prior(), direct, atol=1e-5)
    sampled = Batches(sources, 2, 10, 0, crops).prior(sample=4)
    assert sampled.sum().item() == pytest.approx(1)
    assert 0.1 < (sampled - direct).abs().sum() < 2, "of a sample it is not quite the same"


def test_the_prior_knows_a_blue_folder(tmp_path: Path) -> None:
    Image.new("RGB", (80, 80), (60, 60, 200)).save(tmp_path / "blue.png")
    made = cache.build([tmp_path / "blue.png"], Shape(64, 1.6, enlarge=False), tmp_path, workers=1)
    prior = Batches([made], 2, 10, 0, Crops()).prior()
    assert prior.sum().item() == pytest.approx(1)
    a, b = bins.centers()[int(prior.argmax())].tolist()
    assert a > 20
    assert b < -60


# For validation


def test_middles_are_the_largest_squares() -> None:
    source = coded(SIZES)
    batch = middles([source.photo(number) for number in range(7)], 96, torch.device("cpu"))
    assert (len(batch), batch.side) == (7, 96)
    assert batch.boxes is not None
    assert batch.mirrored is not None
    assert not batch.mirrored.any()
    assert batch.pixels.shape == (7, 3, 140, 140)
    for number, (height, width) in enumerate(SIZES):
        short = min(height, width)
        assert batch.boxes[number].tolist() == [0, 0, short, short]
        top, left = (height - short) // 2, (width - short) // 2
        whole = source.photo(number)[:, top : top + short, left : left + short]
        assert np.array_equal(batch.pixels[number, :, :short, :short].numpy(), whole)
        assert not batch.pixels[number, :, short:].any()
        assert not batch.pixels[number, :, :, short:].any()


def test_evenly_chosen_photos_are_as_many_of_each_cache_and_spread_over_it() -> None:
    few, many, most = (coded([(32, 32)] * n, first=f) for n, f in ((3, 0), (20, 10), (60, 100)))
    empty = few.only([])

    def chosen(count: int, *caches: Cache) -> list[int]:
        return [int(photo[2, 0, 0]) for photo in evenly(caches, count)]

    assert chosen(23, most, few, empty, many) == [
        *range(3),
        *range(10, 30, 2),
        *range(100, 160, 6),
    ], "what the small one lacks the others give"
    assert sorted(chosen(200, most, few, many)) == [*range(3), *range(10, 30), *range(100, 160)]
    assert chosen(4, most) == [100, 115, 130, 145]
    assert len(chosen(2, most, few, many)) == 2
    assert chosen(0, most) == []
    assert chosen(5, empty) == []
