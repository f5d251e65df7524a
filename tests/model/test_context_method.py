"""Context prediction: pairs against a slow loop over coordinates, the cutting by photos that hold their own coordinates, each cue's
countermeasure against its definition; and that a net learns by it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional as F

from model.methods import context
from model.methods.context import Context, doersch2015, small
from model.nets.backbone import DEVIATION, Backbone
from model.training import distributed
from model.training.batches import whole

LABELS = {"↖": 0, "↑": 1, "↗": 2, "←": 3, "→": 4, "↙": 5, "↓": 6, "↘": 7}  # the paper's figure 2, from 0
TINY = replace(small(), patch=16, gap=8, jitter=2, grids=1, pixelated=0.0, hidden=64)


class Tiny(Backbone):
    """Two layers; remembers how many pictures it was shown."""

    layers = ("conv1", "conv2")
    width = 32

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Sequential(nn.Conv2d(channels, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.shown: list[tuple[int, ...]] = []

    def taps(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        self.shown.append(tuple(x_NCHW.shape))
        return super().taps(x_NCHW)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_photos(count: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=seeded())


def arrow(down: int, right: int) -> str:
    """Which way one goes, for a step of one sort or the other in pixels."""
    sign = [[-1, 0, 1].index(int(np.sign(step))) for step in (down, right)]
    return ["↖↑↗", "←·→", "↙↓↘"][sign[0]][sign[1]]


def where(patches: Tensor, side: int) -> list[tuple[int, int, int]]:
    """Photo, top and left of each patch of photos by `coordinates`; and that its pixels are all the ones that begin there."""
    found = []
    for patch in (patches * 255).round().long():
        photo, top, left = (int(patch[channel, 0, 0]) for channel in (2, 0, 1))
        size = patch.shape[-1]
        assert torch.equal(patch[0], torch.arange(top, top + size)[:, None].expand(size, size))
        assert torch.equal(patch[1], torch.arange(left, left + size).expand(size, size))
        assert patch[2].unique().tolist() == [photo]
        assert 0 <= top <= side - size
        assert 0 <= left <= side - size
        found.append((photo, top, left))
    return found


def coordinates(count: int, side: int) -> Tensor:
    """Photos whose red is the row, whose green is the column, and whose blue is the photo's number."""
    photos = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    photos[:, 0], photos[:, 1] = torch.arange(side)[:, None], torch.arange(side)
    photos[:, 2] = torch.arange(count)[:, None, None]
    return photos


@pytest.mark.parametrize(("side", "rows"), [(160, 2), (192, 3), (255, 3)])
def test_pairs_are_all_neighbors_both_ways_and_labels_the_way_from_first_to_second(
    side: int, rows: int
) -> None:
    options = replace(small(), jitter=0, grids=2)
    patches, got_rows = context.cut(coordinates(3, side), options, seeded())
    assert got_rows == rows
    places = where(patches, side)
    assert len(places) == 3 * 2 * rows**2

    expected = set()
    for a, b in itertools.permutations(range(len(places)), 2):
        (_, top_a, left_a), (_, top_b, left_b) = places[a], places[b]
        same_grid = a // rows**2 == b // rows**2
        if same_grid and abs(top_a - top_b) <= 72 and abs(left_a - left_b) <= 72:
            expected.add((a, b, LABELS[arrow(top_b - top_a, left_b - left_a)]))

    first, second, labels = context.pairs(rows, 6)
    assert labels.dtype == torch.int64
    found = list(zip(first.tolist(), second.tolist(), labels.tolist(), strict=True))
    assert len(found) == len(set(found)) == 6 * 4 * (rows - 1) * (2 * rows - 1)
    assert set(found) == expected
    assert {label for *_, label in found} == set(range(8))
    assert {(b, a, 7 - label) for a, b, label in found} == expected


def test_directions_hold_and_patches_stay_apart_with_jitter() -> None:
    options = replace(small(), jitter=12, most_patches=4000, grids=50)  # as much as a gap of 24 allows
    patches, rows = context.cut(coordinates(4, 160), options, seeded())
    places = where(patches, 160)
    first, second, labels = context.pairs(rows, len(places) // rows**2)
    names = {label: name for name, label in LABELS.items()}
    closest = 160
    for a, b, label in zip(first.tolist(), second.tolist(), labels.tolist(), strict=True):
        (photo_a, *corner_a), (photo_b, *corner_b) = places[a], places[b]
        assert photo_a == photo_b
        steps = [after - before for before, after in zip(corner_a, corner_b, strict=True)]
        apart = [abs(step) - 48 for step in steps]  # negative on an axis that they share
        assert max(apart) >= 0, "neighbors share a pixel"
        closest = min(closest, max(apart))
        assert arrow(*(step if abs(step) > 24 else 0 for step in steps)) == names[label]
    assert closest < 8, "the jitter is used up to its bound"


def test_jitter_is_uniform_up_to_its_bound_and_no_further() -> None:
    options = small()
    corners = context.corners_of(2000, 160, options, seeded()).view(2000, 2, 2, 2)
    steps = torch.cat([corners[:, 1, :, 0] - corners[:, 0, :, 0], corners[:, :, 1, 1] - corners[:, :, 0, 1]])
    assert (steps.min(), steps.max()) == (72 - 8, 72 + 8)
    tight = context.corners_of(2000, 120, options, seeded())  # no room beside a grid: a photo's edge stops it
    assert tight[:, 0].unique().tolist() == [0, 1, 2, 3, 4]
    assert tight[:, 3].unique().tolist() == [68, 69, 70, 71, 72]
    inner = context.corners_of(4000, 192, options, seeded())[
        :, 4
    ]  # slack 0: only jitter moves the middle one
    assert inner.flatten().unique().tolist() == list(range(72 - 4, 72 + 5))
    counts = inner.flatten().bincount()[68:]
    assert counts.max() < 1.25 * counts.min()


def test_each_photo_gets_a_grid_before_any_gets_its_second_and_no_more_patches_than_allowed() -> None:
    options = replace(small(), grids=3, most_patches=31)
    patches, rows = context.cut(coordinates(5, 160), options, seeded())
    photos = [photo for photo, *_ in where(patches, 160)][:: rows**2]
    assert photos == [0, 1, 2, 3, 4, 0, 1]


def test_each_patch_is_encoded_once() -> None:
    torch.manual_seed(0)
    backbone = Tiny()
    logits, labels = Context(backbone, replace(TINY, grids=2)).answers(random_photos(3, 64), seeded())
    assert backbone.shown == [(3 * 2 * 9, 3, 16, 16)]
    assert logits.shape == (3 * 2 * 40, 8)
    assert torch.equal(labels, context.pairs(3, 6)[2])
    assert logits.dtype == torch.float32


def test_the_head_puts_the_two_patches_side_by_side() -> None:
    torch.manual_seed(0)
    head = context.Head(5, 12).eval()
    head.norm6.running_mean, head.norm7.running_mean = torch.randn(12), torch.randn(12)
    features = torch.randn(4, 5, 6, 6)
    first, second = torch.tensor([0, 3, 1]), torch.tensor([2, 1, 1])
    beside = torch.cat([head.fc7_first.weight, head.fc7_second.weight], 1)
    for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        fc6 = [F.relu(head.norm6(head.fc6(F.max_pool2d(features[n : n + 1], 2).flatten(1)))) for n in (a, b)]
        fc7 = F.relu(head.norm7(torch.cat(fc6, 1) @ beside.T))
        torch.testing.assert_close(head(features, first, second)[k], head.fc9(F.relu(head.fc8(fc7)))[0])


def test_loss_is_the_mean_over_pairs_of_minus_the_log_of_the_right_answers_share() -> None:
    torch.manual_seed(0)
    method = Context(Tiny(), TINY)
    photos = random_photos(2, 64)
    logits, labels = method.answers(photos, seeded(3))
    powers = logits.detach().double().exp()
    shares = powers / powers.sum(1, keepdim=True)
    expected = -sum(float(shares[k, labels[k]].log()) for k in range(80)) / 80
    assert expected == pytest.approx(2.08, abs=0.15)
    assert method.loss(whole(photos), seeded(3)).item() == pytest.approx(expected, rel=1e-5)
    assert method.loss(whole(photos.float() / 255), seeded(3)).item() == pytest.approx(expected, rel=1e-5)


def test_a_generator_says_it_all() -> None:
    torch.manual_seed(0)
    method = Context(Tiny(), replace(TINY, pixelated=0.5))
    photos = random_photos(2, 64)
    torch.manual_seed(1)
    once = method.loss(whole(photos), seeded(3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(once, method.loss(whole(photos), seeded(3)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(once, method.loss(whole(photos), seeded(4)))


def test_all_but_one_channel_of_each_patch_become_faint_noise() -> None:
    patches = torch.randn(300, 3, 12, 12, generator=seeded()) + 5
    dropped = context.drop(patches, seeded(1))
    kept = (dropped == patches).flatten(2).all(2)
    assert kept.sum(1).tolist() == [1] * 300
    counts = kept.sum(0)
    assert counts.min() > 70, "a patch's channel is drawn for it alone, each as likely"
    for patch, channels, original in zip(dropped, kept, patches, strict=True):
        noise = patch[~channels] / original[channels].std()
        assert 0.008 < noise.std() < 0.012
        assert noise.mean().abs() < 0.004


@pytest.mark.parametrize("colors", ["keep", "drop", "project"])
def test_what_the_net_sees_has_mean_zero_and_unit_size_and_is_told_apart_by_its_colors(colors: Any) -> None:
    patches = torch.rand(40, 3, 16, 16, generator=seeded()) * 0.3 + torch.rand(40, 3, 1, 1)
    seen = context.prepared(patches, replace(TINY, colors=colors), seeded())
    torch.testing.assert_close(seen.square().mean((1, 2, 3)), torch.ones(40))
    assert seen.mean((2, 3)).abs().max() < 0.01
    loud = (seen.square().mean((2, 3)) > 0.1).sum(1)
    assert loud.tolist() == [1 if colors == "drop" else 3] * 40
    green = torch.einsum("pchw,c->phw", seen, torch.tensor(DEVIATION) * torch.tensor([-1.0, 2.0, -1.0]))
    assert (green.abs().max() < 1e-3) == (colors == "project")


def test_there_is_nothing_to_see_in_a_flat_patch() -> None:
    for value in (0.0, 0.3, 0.7):
        assert context.prepared(torch.full((2, 3, 16, 16), value), TINY, seeded()).abs().max() < 0.01


def test_a_net_of_one_channel_is_shown_lightness() -> None:
    backbone = Tiny(channels=1)
    assert torch.isfinite(Context(backbone, TINY).loss(whole(random_photos(2, 64)), seeded()))
    assert backbone.shown == [(18, 1, 16, 16)]


def test_projection_takes_green_against_magenta_away_and_nothing_else() -> None:
    photos = torch.rand(2, 3, 4, 5, generator=seeded())
    projected = context.project(photos)
    a = np.array([[-1.0, 2.0, -1.0]])
    B = np.eye(3) - a.T @ a / (a @ a.T)
    slow = np.zeros((2, 3, 4, 5))
    for n, y, x in itertools.product(range(2), range(4), range(5)):
        slow[n, :, y, x] = B @ photos[n, :, y, x].numpy()
    np.testing.assert_allclose(projected.numpy(), slow, atol=1e-6)
    assert np.abs(np.einsum("nchw,c->nhw", projected.numpy(), a[0])).max() < 1e-6
    grays = photos[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(context.project(grays), grays)


def test_a_third_of_the_patches_are_pixelated_as_by_two_resizes() -> None:
    patches = torch.rand(200, 2, 24, 24, generator=seeded())
    seen = context.pixelate(patches, 0.33, 16, seeded(1))
    sizes = []
    for before, after in zip(patches[:, None], seen[:, None], strict=True):
        if torch.equal(before, after):
            continue
        fits = [
            left
            for left in range(4, 24)
            if torch.allclose(
                F.interpolate(
                    F.interpolate(before, (left, left), mode="bilinear", antialias=True),
                    (24, 24),
                    mode="bilinear",
                ),
                after,
                atol=1e-5,
            )
        ]
        assert len(fits) == 1
        sizes += fits
        assert (torch.linalg.matrix_rank(after[0], rtol=1e-4) <= fits[0]).all(), (
            "no more is left than was small"
        )
    assert 0.25 * 200 < len(sizes) < 0.41 * 200
    assert min(sizes) <= 7
    assert max(sizes) >= 22
    assert np.mean(np.square(sizes)) == pytest.approx((16 + 23**2) / 2, rel=0.15)  # pixels are uniform
    assert torch.equal(context.pixelate(patches, 0.0, 16, seeded(1)), patches)


def test_a_patch_may_be_left_with_a_hundred_pixels() -> None:
    diagonals = torch.eye(48).expand(3000, 1, 48, 48)
    seen = context.pixelate(diagonals, 1.0, small().fewest, seeded(1))
    found = torch.linalg.matrix_rank(seen[:, 0], rtol=1e-5)
    assert (int(found.min()), int(found.max())) == (10, 46)


def test_the_papers_recipe_resizes_photos_between_its_bounds() -> None:
    photos = random_photos(2, 200)
    rows = set()
    for seed in range(12):
        patches, found = context.cut(photos, replace(doersch2015(), most_patches=32), seeded(seed))
        assert patches.shape[1:] == (3, 96, 96)
        assert len(patches) <= 32
        rows.add(found)
    assert rows == {3, 4}


# Several processes


def dealt(photos: Tensor, rank: int, world: int) -> Tensor:
    """A rank's part of a batch, as `Batches` deals it."""
    return photos[rank::world]


@pytest.mark.parametrize(("world", "most_patches"), [(2, 31), (2, 24), (3, 512), (3, 16)])
def test_processes_together_cut_the_grids_that_one_would(
    world: int, most_patches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, photos = replace(small(), grids=3, most_patches=most_patches), coordinates(6, 160)
    patches, rows = context.cut(photos, options, seeded())
    alone = sorted(photo for photo, *_ in where(patches, 160))
    together = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "place", lambda rank=rank: (rank, world))
        patches, rows = context.cut(dealt(photos, rank, world), options, seeded(rank))
        own = [photo for photo, *_ in where(patches, 160)]
        assert own[:: rows**2][: 6 // world] == list(range(rank, 6, world))[: len(own) // rows**2]
        together += own
    assert sorted(together) == alone
    assert len(together) <= most_patches


def test_losses_of_processes_average_to_the_mean_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven grids for two: one has four, the other three."""
    options, photos = replace(small(), grids=2, most_patches=31, hidden=16), random_photos(4, 160)
    torch.manual_seed(0)
    method = Context(Tiny(), options)
    method.net.eval()
    counts = torch.tensor([4 * 12.0, 3 * 12.0])
    losses, summed = [], 0.0
    for rank in range(2):
        monkeypatch.setattr(distributed, "place", lambda rank=rank: (rank, 2))
        monkeypatch.setattr(distributed, "gathered", lambda rows: counts)
        part = dealt(photos, rank, 2)
        losses.append(float(method.loss(whole(part), seeded(rank)).detach()))
        logits, labels = method.answers(part, seeded(rank))
        assert len(labels) == counts[rank]
        summed += float(F.cross_entropy(logits, labels, reduction="sum").detach())
    assert np.mean(losses) == pytest.approx(summed / float(counts.sum()), rel=1e-5)
    assert losses[0] > losses[1], "it has more pairs"


def test_more_processes_than_grids_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "place", lambda: (0, 8))
    with pytest.raises(ValueError, match="31 patches are 7 grids of 2×2, for 8 processes"):
        context.cut(random_photos(2, 160), replace(small(), most_patches=31), seeded())


def cut_by_one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    options = replace(doersch2015(), most_patches=40)
    found = [context.cut(random_photos(2, 200), options, seeded(2 * step + rank)) for step in range(12)]
    torch.save([(rows, len(patches)) for patches, rows in found], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_cut_grids_of_one_size(tmp_path: Path) -> None:
    """Each draws from a generator of its own, as the trainer gives it; photos are resized to one draw."""
    torch.multiprocessing.spawn(cut_by_one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert [rows for rows, _ in first] == [rows for rows, _ in second]
    assert {rows for rows, _ in first} == {3, 4}
    for (_, patches), (_, others) in zip(first, second, strict=True):
        assert patches + others <= 40


def test_refusals_say_why() -> None:
    with pytest.raises(ValueError, match="holds no two patches of 48 with a gap of 24"):
        context.cut(random_photos(1, 119), small(), seeded())
    with pytest.raises(ValueError, match="must be square"):
        context.cut(random_photos(1, 160)[..., :150], small(), seeded())
    with pytest.raises(ValueError, match="more than a batch holds: 8"):
        context.cut(random_photos(1, 192), replace(small(), most_patches=8), seeded())
    with pytest.raises(ValueError, match="lets patches touch"):
        replace(small(), jitter=13)
    with pytest.raises(ValueError, match="cannot be reduced"):
        replace(small(), fewest=48 * 48)


def made_pictures(count: int, seed: int) -> Tensor:
    """Stripes that become finer to the right and turn downward, from upright to lying; phase, color and contrast as they come."""
    chance = seeded(seed)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    turn, pitch = y / 64 * 1.6, 9 - x / 64 * 6
    phase = torch.rand(count, 1, 1, generator=chance) * 6.3
    wave = torch.sin(6.3 / pitch * (torch.cos(turn) * x + torch.sin(turn) * y) + phase)[:, None]
    colors = torch.rand(2, count, 3, 1, 1, generator=chance)
    noise = torch.randn(count, 3, 64, 64, generator=chance) * 0.03
    return (0.3 + 0.4 * colors[0] + (0.05 + 0.2 * colors[1]) * wave + noise).clamp(0, 1)


def test_a_net_learns_directions_where_the_layout_tells_them() -> None:
    torch.manual_seed(0)
    options = replace(TINY, pixelated=0.1)
    method: Context = Context(Tiny(), options)
    optimizer = torch.optim.AdamW(method.net.parameters(), 3e-3)
    for step in range(60):
        loss = method.loss(whole(made_pictures(12, step)), seeded(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    method.net.eval()
    with torch.no_grad():
        logits, labels = method.answers(made_pictures(60, 10_000), seeded(10_000))
    assert (logits.argmax(1) == labels).double().mean() > 0.8
