"""Synthetic pictures: the same by their number, balanced, and each switch does what it says and nothing else."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.__main__ import main
from model.evaluate import segmentation
from model.experiments import synthetic
from model.experiments.synthetic import CLASSES, Options, Pictures, Switches, draw
from model.training import cache, data

ALL = Switches(True, True, True, True)
FAST = Options(side=16, samples=1)


def bits(word: str, side: int = 32) -> Options:
    return Options(Switches.of(word), side)


def colors(pictures: Pictures) -> Tensor:
    """(N, 3) the mean color of what is not background."""
    inside = (pictures.mask > 0)[:, None]
    return (pictures.rgb * inside).sum((2, 3)) / inside.sum((2, 3))


def nearest_mean(features_NF: Tensor, labels_N: Tensor) -> float:
    """The share that is right of the second half, told by the means of the first."""
    features, half = features_NF.double().flatten(1), len(labels_N) // 2
    means = torch.stack([features[:half][labels_N[:half] == k].mean(0) for k in labels_N.unique()])
    return float((torch.cdist(features[half:], means).argmin(1) == labels_N[half:]).double().mean())


@pytest.mark.parametrize("objects", [1, 4])
def test_a_picture_is_its_number_and_seed_whatever_the_batch(objects: int) -> None:
    options = Options(ALL, 30, objects)
    together = draw(range(11), options, seed=3)
    for batch in ([7], [10, 0], [3, 3, 9, 1, 2]):
        apart = draw(batch, options, seed=3)
        for name in ("rgb", "mask", "classes", "poses"):
            assert torch.equal(getattr(apart, name), getattr(together, name)[batch])
    assert len(together.rgb.flatten(1).unique(dim=0)) == 11
    other = draw(range(11), options, seed=4)
    assert (other.rgb != together.rgb)[:, :, 0].flatten(1).any(1).all()  # the first row is background
    assert not torch.equal(other.classes, together.classes)


@pytest.mark.parametrize("objects", [1, 5])
def test_each_fifty_hold_each_class_in_each_pose_once(objects: int) -> None:
    options = replace(FAST, side=4, objects=objects, switches=ALL)
    drawn = draw(range(100 // objects), options)
    cells = (drawn.classes * synthetic.POSES + drawn.poses).flatten().view(2, 50)
    for fifty in cells:
        assert fifty.sort()[0].tolist() == list(range(50))
    assert not torch.equal(cells[0], cells[1])
    fixed = draw(range(100 // objects), replace(options, switches=Switches()))
    assert torch.equal(fixed.classes, drawn.classes)
    assert len(fixed.poses.unique()) == 1


def test_masks_are_where_the_pixels_are_not_background() -> None:
    pictures = draw(range(50), bits("0011"))
    for picture, mask, kind in zip(pictures.rgb, pictures.mask, pictures.classes[:, 0], strict=True):
        background = picture[:, mask == 0]
        assert (background == background[:, :1]).all()
        assert (picture != background[:, :1, None]).any(0)[mask > 0].float().mean() > 0.99
        assert mask.unique().tolist() == [0, 1 + int(kind)]
        assert 0.04 < (mask > 0).double().mean() < 0.7
        assert (mask[[0, -1]] == 0).all()  # whole, and not cut by the frame
        assert (mask[:, [0, -1]] == 0).all()


def test_several_objects_have_their_classes_in_the_mask() -> None:
    pictures = draw(range(25), Options(Switches.of("0010"), 48, 4))
    seen = 0
    for mask, kinds in zip(pictures.mask, pictures.classes, strict=True):
        found = set(mask.unique().tolist())
        assert found <= {0, *(kinds + 1).tolist()}
        seen += len(found) - 1
        assert (mask[[0, -1]] == 0).all()
        assert (mask[:, [0, -1]] == 0).all()
    assert seen > 0.9 * sum(len(kinds.unique()) for kinds in pictures.classes)
    with pytest.raises(ValueError, match="1 to 6 objects, not 7"):
        Options(objects=7)


@pytest.mark.parametrize("base", ["0000", "1010", "0111"])
def test_light_color_and_texture_leave_the_outline_and_the_view_leaves_the_paint(base: str) -> None:
    plain = draw(range(20), bits(base))
    for place in range(4):
        word = base[:place] + "10"[int(base[place])] + base[place + 1 :]
        other = draw(range(20), bits(word))
        inside = (plain.mask > 0) | (other.mask > 0)
        differ = (plain.rgb != other.rgb).any(1)
        assert torch.equal(other.classes, plain.classes)
        assert ((differ & inside).sum((1, 2)) > 0.2 * inside.sum((1, 2))).all()
        if place != 2:
            assert torch.equal(other.mask, plain.mask)
        else:
            assert (other.mask != plain.mask).flatten(1).any(1).all()
        if place == 0:
            assert (differ & ~inside).flatten(1).any(1).all()
        else:
            assert not (differ & ~inside).any()


def test_light_and_view_keep_the_hue_and_light_changes_its_side() -> None:
    def hues(word: str) -> list[float]:
        return [colorsys.rgb_to_hsv(*color)[0] for color in colors(draw(range(20), bits(word))).tolist()]

    for still, moved in (("0000", "0001"), ("0000", "0010"), ("0100", "0111")):
        for hue, other in zip(hues(still), hues(moved), strict=True):
            assert abs((hue - other + 0.5) % 1 - 0.5) < 0.03
    brighter = []
    for word in ("0000", "0001"):
        pictures = draw(range(50), bits(word))
        gray, inside = pictures.rgb.double().mean(1), pictures.mask > 0
        across = inside * torch.arange(32)
        from_middle = inside * (torch.arange(32) - (across.sum((1, 2)) / inside.sum((1, 2)))[:, None, None])
        brighter.append(float(((gray * from_middle).sum((1, 2)) > 0).double().mean()))
    assert brighter[0] > 0.8  # to the right, where the light is
    assert 0.3 < brighter[1] < 0.7


def test_without_variety_a_class_has_one_outline_until_the_view_changes() -> None:
    still = draw(range(50), replace(bits("1101"), variety=0))
    turning = draw(range(50), replace(bits("1111"), variety=0))
    varied = draw(range(50), bits("1101"))
    for kind in range(len(CLASSES)):
        of = (still.classes == kind)[:, 0]
        assert len(still.mask[of].unique(dim=0)) == 1
        assert len(turning.mask[of].unique(dim=0)) == 5
        assert len(varied.mask[of].unique(dim=0)) == 5


def test_stairs_climb_away_from_the_side_that_the_pose_names() -> None:
    options = replace(bits("0010", 48), variety=0)
    stairs = CLASSES.index("stairs")
    found: dict[int, list[tuple[float, float]]] = {pose: [] for pose in range(synthetic.POSES)}
    numbers = [n for n in range(800) if synthetic._cell(n, 0) // synthetic.POSES == stairs]
    pictures = draw(numbers, options)
    for mask, pose in zip(pictures.mask > 0, pictures.poses[:, 0].tolist(), strict=True):
        rows, columns = mask.nonzero().double().unbind(1)
        lean = (
            columns.mean() - (columns.min() + columns.max()) / 2
        )  # to the high side, where there is more to see
        found[pose].append((float(lean), float(rows.max() - rows.min())))
    lean = {pose: np.array([lean for lean, _ in pairs]) for pose, pairs in found.items()}
    height = {pose: np.mean([height for _, height in pairs]) for pose, pairs in found.items()}
    assert lean[1].max() < 0.5  # the front at the camera's right, so the high side at its left
    assert lean[1].mean() < -1.5
    assert lean[3].min() > -0.5
    assert lean[3].mean() > 1.5
    assert lean[0].mean() < -0.3
    assert lean[4].mean() > 0.3
    assert height[2] + 2 < min(
        height[0], height[4]
    )  # from above, what climbs away from the camera reaches higher


def test_the_switches_take_away_what_gives_the_class_away() -> None:
    by_color, by_outline, by_pixels = {}, {}, {}
    for word in ("0000", "0100", "1111"):
        pictures = draw(range(200), replace(FAST, switches=Switches.of(word)))
        kinds = pictures.classes[:, 0]
        by_color[word] = nearest_mean(colors(pictures), kinds)
        by_outline[word] = nearest_mean(pictures.mask > 0, kinds)
        by_pixels[word] = nearest_mean(pictures.rgb - pictures.rgb.double().mean(1, keepdim=True), kinds)
    assert by_color["0000"] > 0.8
    assert by_color["0100"] < 0.25
    assert by_outline["0100"] > 0.8
    assert by_pixels["0000"] > 0.8
    assert by_pixels["1111"] < 0.25


def reach(name: str, factors: NDArray[np.float64], warp: tuple[float, float, float]) -> NDArray[np.float64]:
    """(M, 3): points all over a toy: those of a grid over each part that the part's bounds let in."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 21)] * 3), -1).reshape(-1, 3)
    found = []
    for part in synthetic.built(name, factors, warp):
        (x, y, z), (a, b, c) = grid.T, part.form
        block = (np.abs(x) <= 1 - a * (1 + y) / 2 + 1e-9) & (np.abs(z) <= 1 - b * (1 + y) / 2 + 1e-9)
        inside = x**2 + z**2 <= a + b * y + c * y**2 + 1e-9 if part.round else block
        found.append(grid[inside] @ part.affine_34[:, :3].T + part.affine_34[:, 3])
    return np.concatenate(found)


@pytest.mark.parametrize("name", CLASSES)
def test_a_toy_fills_the_ball_of_radius_one_and_is_warped_along_its_axes(name: str) -> None:
    chance = np.random.default_rng(0)
    for factors in (np.ones(synthetic.PROPORTIONS), *chance.uniform(0.75, 1.25, (2, synthetic.PROPORTIONS))):
        points = reach(name, factors, (1, 1, 1))
        assert 0.97 < np.linalg.norm(points, axis=1).max() < 1.01
        assert np.abs(points.min(0) + points.max(0)).max() < 0.04
        plain, wide = np.ptp(points, 0), np.ptp(reach(name, factors, (1.3, 1, 1)), 0)
        assert np.allclose(wide[0] / wide[1:], 1.3 * plain[0] / plain[1:])


def test_combinations_are_the_papers_twelve_and_a_wrong_word_is_refused() -> None:
    assert len({str(switches) for switches in synthetic.STUDIED}) == 12
    assert all(Switches.of(str(switches)) == switches for switches in synthetic.STUDIED)
    assert Switches.of("1010") == Switches(texture=True, viewpoint=True)
    with pytest.raises(ValueError, match="four of 0 and 1, such as 1010, not '10'"):
        Switches.of("10")


def test_a_sheet_has_a_row_for_each_combination_and_a_column_for_each_class() -> None:
    switches = [Switches(), ALL]
    (first, *more), last = synthetic.rows(switches, side=16)
    assert first[0] == "0000 airplane"
    assert [name for name, _ in more] == list(CLASSES[1:])
    assert last[0][0] == "1111 airplane"
    assert all(
        pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 for _, pixels in [first, *more, *last]
    )


# As files: what they hold, where the labels are, and that evaluations read them as they read photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    words = ["synthetic", "--switches", "1010", "--count", "300", "--side", "32", "-o", str(folder)]
    assert main(words) == 0
    return folder


def test_a_file_is_the_picture_of_its_number_under_its_labels(folder: Path) -> None:
    drawn = synthetic.draw([7], synthetic.Options(Switches.of("1010"), 32))
    (by_class,) = (folder / "class" / "train").rglob("0000007.png")
    (by_pose,) = (folder / "pose" / "train").rglob("0000007.png")
    assert (np.asarray(Image.open(by_class)) == drawn.rgb[0].permute(1, 2, 0).numpy()).all()
    assert by_class.parent.name == synthetic.CLASSES[int(drawn.classes[0, 0])]
    assert by_pose.parent.name == str(int(drawn.poses[0, 0]))
    mask = np.asarray(Image.open(folder / "mask" / "trainannot" / "0000007.png"))
    assert (mask == drawn.mask[0].numpy()).all()


def test_each_class_and_each_pose_is_as_frequent_as_any_other(folder: Path) -> None:
    for labels, kinds in (("class", 10), ("pose", 5)):
        for split, count in (("train", 250), ("val", 50)):
            found = [len(list(each.iterdir())) for each in (folder / labels / split).iterdir()]
            assert found == [count // kinds] * kinds


def test_the_evaluations_read_them(folder: Path, tmp_path: Path) -> None:
    photos = cache.build(data.find([folder / "class" / "val"]), 32, tmp_path)
    assert photos.labels()[1] == tuple(sorted(synthetic.CLASSES))
    masked = segmentation.camvid(folder / "mask" / "test", folder / "mask" / "testannot", 32)
    assert (len(masked.pictures), masked.classes, masked.unusable) == (50, 11, ())
    assert masked.masks.max() == 10
