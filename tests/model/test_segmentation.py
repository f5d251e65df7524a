"""Segmentation: the head against loops, which layers it scores, what is learned of made squares, and frames that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from model.evaluate.intervals import Bootstrap
from model.evaluate.segmentation import (
    CAMVID,
    FCN,
    VOID,
    Masked,
    Options,
    Segmented,
    camvid,
    confusion,
    mean_iu,
    pixel_loss,
    segment,
)
from model.nets.alexnet import AlexNet
from model.nets.backbone import Backbone
from model.nets.resnet import ResNet


class Tiny(Backbone):
    layers = ("low", "mid", "high")
    width = 16
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())


def squares(count: int, seed: int = 0, void: int = 7) -> Masked:
    """20×28: noise, with a bright square on the left half and a dark one on the right, each framed by void that is painted at random."""
    chance = np.random.default_rng(seed)
    pictures = chance.integers(90, 166, (count, 3, 20, 28))
    masks = np.zeros((count, 20, 28), np.uint8)
    for picture, mask in zip(pictures, masks, strict=True):
        for kind, start, color in ((1, 1, 230), (2, 15, 20)):
            top, left = chance.integers(1, 11), start + chance.integers(0, 4)
            mask[top - 1 : top + 9, left - 1 : left + 9] = void
            picture[:, top - 1 : top + 9, left - 1 : left + 9] = chance.integers(0, 256)
            mask[top : top + 8, left : left + 8] = kind
            picture[:, top : top + 8, left : left + 8] = color
    return Masked(pictures.astype(np.uint8), masks, 3, void)


# The head


def enlarged(scores: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """(C, h, w) → (C, height, width) by weighing the four nearest, pixel by pixel."""
    made = np.zeros((len(scores), height, width))
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * scores.shape[1] / height - 0.5, 0), scores.shape[1] - 1)
            over = min(max((x + 0.5) * scores.shape[2] / width - 0.5, 0), scores.shape[2] - 1)
            for row in range(scores.shape[1]):
                for column in range(scores.shape[2]):
                    weight = max(0, 1 - abs(row - down)) * max(0, 1 - abs(column - over))
                    made[:, y, x] += weight * scores[:, row, column]
    return made


def test_scores_are_enlarged_and_added_from_coarse_to_fine() -> None:
    net = FCN.over(Tiny(), 2, 2, 12, 9).eval()
    assert net.layers == ("high", "mid")
    x = torch.randn(1, 3, 12, 9)
    assert not net(x).any()
    for weights in net.scores.parameters():
        nn.init.normal_(weights)
    taps = {layer: tap[0].detach().double().numpy() for layer, tap in net.backbone.taps(x).items()}
    scored = []
    for layer, score in zip(net.layers, net.scores, strict=True):
        weights, bias = (of.detach().double().numpy() for of in score.parameters())
        scored.append(np.einsum("kc,chw->khw", weights[:, :, 0, 0], taps[layer]) + bias[:, None, None])
    coarse, fine = scored
    expected = enlarged(fine + enlarged(coarse, *fine.shape[1:]), 12, 9)
    np.testing.assert_allclose(net(x)[0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "levels", "layers"),
    [
        (AlexNet(), 3, ("conv5", "conv2", "conv1")),
        (ResNet(18), 3, ("stage4", "stage3", "stage2")),
        (ResNet(18, channels=1, stem="small"), 1, ("stage4",)),
    ],
)
def test_levels_are_the_last_layers_of_each_size(
    backbone: Backbone, levels: int, layers: tuple[str, ...]
) -> None:
    net = FCN.over(backbone, 5, levels, 64, 48)
    assert net.layers == layers
    assert backbone.training
    assert net(torch.zeros(2, backbone.channels, 64, 48)).shape == (2, 5, 64, 48)


def test_no_more_levels_than_the_backbone_has() -> None:
    with pytest.raises(ValueError, match="layers of 2 sizes has no 3 levels"):
        FCN.over(Tiny(), 2, 3, 32, 32)


def test_the_loss_against_loops_and_without_void() -> None:
    chance = np.random.default_rng(0)
    logits, masks = chance.normal(0, 2, (2, 3, 4, 5)), chance.integers(0, 4, (2, 4, 5))
    losses = []
    for n, y, x in np.ndindex(2, 4, 5):
        if masks[n, y, x] != 3:
            odds = np.exp(logits[n, :, y, x])
            losses.append(-np.log(odds[masks[n, y, x]] / odds.sum()))
    found = pixel_loss(torch.from_numpy(logits), torch.from_numpy(masks), void=3)
    assert float(found) == pytest.approx(np.mean(losses))
    assert float(pixel_loss(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 3), void=3)) == 0


# What is learned


def test_made_squares_are_learned_in_fixed_steps_and_the_backbone_given_stays() -> None:
    backbone = Tiny().eval()
    before = [value.clone() for value in backbone.state_dict().values()]
    options = Options(steps=80, batch=6, lr=1e-2, levels=2)
    found = segment(backbone, squares(30), squares(12, 1), options)
    assert found.mean_iu is not None
    assert found.mean_iu.value > 0.8
    assert all(map(torch.equal, before, backbone.state_dict().values()))
    test = squares(12, 1)
    counted = [np.bincount(mask[mask != 7], minlength=3) for mask in test.masks]
    np.testing.assert_array_equal(found.confusions.sum(2), counted)
    again = segment(backbone, squares(30), squares(12, 1), options)
    np.testing.assert_array_equal(found.confusions, again.confusions)


class Seen(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.learned: list[bool] = []

    def __deepcopy__(self, _: object) -> Seen:
        return self

    def taps(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        self.seen.append(x_NCHW)
        self.learned.append(self.high.training)
        return super().taps(x_NCHW)


def test_half_of_the_photos_are_mirrored_in_training_and_none_in_the_test_from_which_norms_learn_nothing() -> (
    None
):
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8) * 15, (10, 3, 16, 16))
    some = Masked(ramp, np.zeros((10, 16, 16), np.uint8), 2)
    backbone = Seen()
    segment(backbone, some, some, Options(steps=10, batch=10, levels=1))
    falls = [x[:, 0, 0, 0] > x[:, 0, 0, -1] for x in backbone.seen[1:]]  # after the example
    assert 35 < int(torch.cat(falls[:10]).sum()) < 65
    assert not torch.cat(falls[10:]).any()
    assert backbone.learned == [False, *[True] * 10, False]


def test_masks_are_mirrored_with_their_pictures() -> None:
    """Class by place, which brightness that grows to the right gives away: mirrored alone, masks would contradict it."""
    ramp = np.broadcast_to(np.linspace(0, 255, 28).astype(np.uint8), (12, 3, 20, 28))
    masks = np.zeros((12, 20, 28), np.uint8)
    masks[:, :, 14:] = 1
    some = Masked(ramp, masks, 2)
    found = segment(Tiny(), some, some, Options(steps=40, batch=6, lr=1e-2, levels=2))
    assert found.mean_iu is not None
    assert found.mean_iu.value > 0.85


def test_iu_of_classes_against_pixels_counted_one_by_one() -> None:
    chance = np.random.default_rng(0)
    truth, said = chance.integers(0, 3, (9, 40)), chance.integers(0, 3, (9, 40))
    confusions = np.zeros((9, 4, 4), np.int64)
    for n, i in np.ndindex(9, 40):
        confusions[n, truth[n, i], said[n, i]] += 1
    found = Segmented(confusions)
    expected = [
        ((truth == kind) & (said == kind)).sum() / ((truth == kind) | (said == kind)).sum()
        for kind in range(3)
    ]
    assert found.by_class()[:3] == pytest.approx(expected)
    assert np.isnan(found.by_class()[3])
    assert found.mean_iu is not None
    assert found.mean_iu.value == pytest.approx(np.mean(expected))
    assert found.mean_iu.low < found.mean_iu.value < found.mean_iu.high


# CamVid


def save(path: Path, pixels: NDArray[np.integer]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three frames of 16×24, all of one gray, and their masks."""
    frames, masks = tmp_path / "train", tmp_path / "trainannot"
    mask = np.arange(12).repeat(2)[None].repeat(16, 0)
    for number in (1, 2, 3):
        save(frames / f"{number}.png", np.full((16, 24, 3), 50 * number))
        save(masks / f"{number}.png", np.roll(mask, number, 1))
    return frames, masks


def test_frames_and_their_masks_are_read_at_half_the_size(folders: tuple[Path, Path]) -> None:
    read = camvid(*folders, height=8)
    assert read.pictures.shape == (3, 3, 8, 12)
    assert read.pictures[:, 0, 0, 0].tolist() == [50, 100, 150]
    assert (read.classes, read.void, read.unusable) == (len(CAMVID), 11, ())
    assert sorted(read.masks[1, 0].tolist()) == list(range(12))
    assert read.masks[1, 0].tolist() == [11, *range(11)]


def test_frames_that_cannot_be_used_are_named(folders: tuple[Path, Path]) -> None:
    frames, masks = folders
    (frames / "4.png").write_bytes(b"no picture")
    save(masks / "4.png", np.zeros((16, 24)))
    save(frames / "5.png", np.zeros((16, 24, 3)))  # without a mask
    save(masks / "6.png", np.zeros((16, 24)))  # without a frame
    save(frames / "7.png", np.zeros((16, 24, 3)))
    save(masks / "7.png", np.full((16, 24), 12))
    save(frames / "8.png", np.zeros((16, 24, 3)))
    save(masks / "8.png", np.zeros((8, 12)))
    save(frames / "9.png", np.zeros((16, 40, 3)))
    save(masks / "9.png", np.zeros((16, 40)))
    read = camvid(frames, masks, height=8)
    assert len(read.pictures) == 3
    named = [path.relative_to(frames.parent).as_posix() for path in read.unusable]
    assert named == [
        "train/4.png",
        "train/5.png",
        "train/7.png",
        "train/8.png",
        "train/9.png",
        "trainannot/6.png",
    ]


def test_folders_without_frames(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing holds no pictures"):
        camvid(folders[0], tmp_path / "nothing")
    for path in folders[1].iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 3 frames"):
        camvid(*folders)


def test_pictures_and_masks_of_one_shape() -> None:
    with pytest.raises(ValueError, match="masks of"):
        Masked(np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 5), np.uint8), 3)


# Mean IU


def slow_iu(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> float:
    shares = []
    for c in range(classes):
        both = either = 0
        for true, claimed in zip(truth.flat, said.flat, strict=True):
            if true != VOID:
                both += bool(true == c and claimed == c)
                either += bool(true == c or claimed == c)
        if either:
            shares.append(both / either)
    return float(np.mean(shares))


def test_iu_by_hand() -> None:
    truth, said = np.array([[0, 0, 1], [1, 2, VOID]]), np.array([[0, 1, 1], [1, 0, 2]])
    counts = confusion(truth, said, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert mean_iu(counts) == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)  # the fourth neither is nor was said


def test_random_pictures_beside_a_loop_over_pixels() -> None:
    chance = np.random.default_rng(3)
    for classes in (2, 5, 11):
        truth, said = chance.integers(0, classes, (2, 3, 9, 8))
        truth[chance.random(truth.shape) < 0.2] = VOID
        assert mean_iu(confusion(truth, said, classes)) == pytest.approx(slow_iu(truth, said, classes))


def test_what_is_said_of_void_does_not_count() -> None:
    truth = np.array([0, 1, VOID], np.uint8)
    assert mean_iu(confusion(truth, np.array([0, 1, 200]), 2)) == 1
    assert np.isnan(mean_iu(confusion(truth[2:], np.array([1]), 2)))
    assert mean_iu(confusion(np.array([0, 1, 2]), np.array([0, 1, 1]), 2, void=2)) == 1


def test_classes_that_are_none_are_refused() -> None:
    for truth, said in (([0, 2], [0, 1]), ([0, 1], [0, 2]), ([-1, 1], [0, 1]), ([0, 1], [-1, 1])):
        with pytest.raises(ValueError, match="classes are"):
            confusion(np.array(truth), np.array(said), 2)


def test_bytes_do_not_overflow() -> None:
    truth = np.full(10, 200, np.uint8)
    counts = confusion(truth, truth, 201)
    assert counts[200, 200] == 10
    assert counts.sum() == 10


def test_photos_confusions_are_drawn_as_photos() -> None:
    chance = np.random.default_rng(4)
    truth, said = chance.integers(0, 3, (2, 6, 20))
    by_photo = np.stack([confusion(t, s, 3) for t, s in zip(truth, said, strict=True)])
    draws = Bootstrap(6)
    found = mean_iu(draws.sums(by_photo))
    assert found.shape == (1001,)
    for row in (0, 1, 77):
        some = np.repeat(np.arange(6), draws.times[row].astype(int))
        assert found[row] == pytest.approx(slow_iu(truth[some], said[some], 3))


def test_mean_iu_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth, said = np.random.default_rng(5).integers(0, 7, (2, 500))
    published = metrics.jaccard_score(truth, said, average="macro")
    assert mean_iu(confusion(truth, said, 7)) == pytest.approx(published)
