"""Neighbors against scikit-learn's and a slow loop; and retrieval that is not taken in by copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.evaluate.figures import grid
from model.evaluate.knn import classes, evaluate, nearest, retrieve, rows
from model.evaluate.probes import pooled
from model.nets.backbone import Backbone, normalized

pytestmark = pytest.mark.usefixtures("float32")  # twins are counted out in it


class Tiny(Backbone):
    layers = ("low", "high")
    width = 6
    channels = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())


def clouds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(count, 5) features of four classes that overlap, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    middles = torch.randn(4, 5, generator=torch.Generator().manual_seed(9))
    return middles[labels] + torch.randn(count, 5, generator=generator), labels


def slow_votes(queries: Tensor, known: Tensor, labels: Tensor, count: int, alone: bool) -> list[int]:
    """One by one, in double precision."""
    said = []
    for place, x in enumerate(queries.double().tolist()):
        cosines = []
        for other, y in enumerate(known.double().tolist()):
            if not (alone and place == other):
                dot = sum(a * b for a, b in zip(x, y, strict=True))
                cosines.append((dot / math.hypot(*x) / math.hypot(*y), int(labels[other])))
        votes = dict.fromkeys(range(4), 0)
        for _, label in sorted(cosines, reverse=True)[:count]:
            votes[label] += 1
        said.append(max(votes, key=lambda label: votes[label]))
    return said


# Votes


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_votes_beside_a_slow_loop(count: int, alone: bool) -> None:
    known, labels = clouds(90, 0)
    queries = known if alone else clouds(60, 1)[0]
    said = classes(queries, known, labels, count, alone)
    assert said.tolist() == slow_votes(queries, known, labels, count, alone)


def test_votes_are_those_of_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    (known, labels), (queries, _) = clouds(300, 2), clouds(200, 3)
    theirs = neighbors.KNeighborsClassifier(20, metric="cosine").fit(known.numpy(), labels.numpy())
    assert classes(queries, known, labels).tolist() == theirs.predict(queries.numpy()).tolist()


def test_ties_go_to_the_smaller_number() -> None:
    known, labels = torch.tensor([[1, 0.1], [1, -0.2], [1, 0.3], [1, -0.4]]), torch.tensor([2, 1, 1, 2])
    assert classes(torch.tensor([[1.0, 0]]), known, labels, 4).item() == 1


def test_what_is_right_is_told_photo_by_photo_and_in_all() -> None:
    (known, labels), (queries, truth) = clouds(300, 4), clouds(200, 5)
    found = evaluate(queries, truth, known, labels)
    said = classes(queries, known, labels)
    assert found.right.tolist() == (said == truth).tolist()
    assert found.accuracy.value == found.right.mean()
    assert 0.3 < found.accuracy.low < found.accuracy.value < found.accuracy.high < 1
    among = evaluate(known, labels, known, labels, 1, alone=True)
    assert among.accuracy.value < 0.9  # who votes for himself is always right
    assert evaluate(known, labels, known, labels, 1).accuracy.value == 1


# The nearest


@pytest.mark.parametrize("chunk", [1, 7, 30, 64, 5000])
@pytest.mark.parametrize("alone", [False, True])
def test_the_nearest_are_found_piece_by_piece(chunk: int, alone: bool) -> None:
    known = clouds(64, 6)[0]
    queries = known if alone else clouds(33, 7)[0]
    cosines, numbers = nearest(queries, known, 12, alone, chunk)
    every = F.cosine_similarity(queries[:, None].double(), known[None].double(), dim=2)
    if alone:
        every.fill_diagonal_(-2)
    expected = every.sort(1, descending=True)
    assert torch.equal(numbers, expected.indices[:, :12])
    assert torch.allclose(cosines.double(), expected.values[:, :12], atol=1e-6)


def test_more_than_there_are_is_refused() -> None:
    known = clouds(10, 8)[0]
    assert nearest(known, known, 10)[1].shape == (10, 10)
    assert nearest(known, known, 9, alone=True)[1].shape == (10, 9)
    for count, alone in ((11, False), (10, True), (0, False)):
        with pytest.raises(ValueError, match=f"the {count} nearest of"):
            nearest(known, known, count, alone)
    with pytest.raises(ValueError, match="5 photos are not the 10"):
        nearest(known[:5], known, 3, alone=True)


def test_features_are_the_backbones_in_its_quiet_state() -> None:
    squares = np.random.default_rng(0).integers(0, 256, (130, 3, 12, 12)).astype(np.uint8)
    backbone = Tiny().train()
    found = pooled(backbone, squares)
    assert backbone.training
    backbone.eval()
    with torch.no_grad():
        last = [
            backbone.taps(normalized(torch.from_numpy(square[None]), 1))["high"].mean((2, 3))
            for square in squares
        ]
    assert torch.allclose(found, torch.cat(last), atol=1e-5)
    assert not found.requires_grad


# Retrieval


def scenes() -> NDArray[np.uint8]:
    """Ten photos of 32 pixels; of the first, 10 a lighter copy, 11 a mirrored one, 12 a noisy one; 13 is a copy of 3."""
    chance = np.random.default_rng(1)
    coarse = torch.from_numpy(chance.uniform(20, 200, (10, 3, 6, 6)))
    scenes = F.interpolate(coarse, (32, 32), mode="bicubic", align_corners=False).clamp(0, 220).numpy()
    copies = [scenes[0] + 30, scenes[0][:, :, ::-1], scenes[0] + chance.normal(0, 8, (3, 32, 32)), scenes[3]]
    return np.concatenate([scenes, np.stack(copies)]).clip(0, 255).astype(np.uint8)


def test_retrieval_goes_past_the_photo_its_copies_and_copies_of_what_was_found() -> None:
    # Nearest to the first: its copies, then 3 and its copy, then the others one by one
    angle = torch.tensor([0, 0.5, 0.6, 0.4, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 0.1, 0.2, 0.3, 0.41])
    features = torch.stack([angle.cos(), angle.sin()], 1) * torch.linspace(1, 9, 14)[:, None]
    (found,) = retrieve(features, scenes(), [0], 4)
    assert [number for number, _ in found] == [3, 1, 2, 4]
    assert [cosine for _, cosine in found] == pytest.approx(
        [math.cos(a) for a in (0.4, 0.5, 0.6, 0.7)], abs=1e-6
    )
    (others, first) = retrieve(features, scenes(), [5, 0], 50)
    assert [number for number, _ in first] == [3, 1, 2, 4, 5, 6, 7, 8, 9]
    assert {number for number, _ in others} >= {1, 2, 4, 6, 7, 8, 9}
    assert len({number for number, _ in others} & {0, 10, 11, 12}) == 1
    assert len({number for number, _ in others} & {3, 13}) == 1
    assert len(others) == 9


def test_what_only_looks_alike_is_no_copy() -> None:
    """Two thirds of the one and a third of the other: a correlation of 0.9."""
    one, other = scenes()[:2].astype(np.float64)
    squares = np.stack([one, 2 * one / 3 + other / 3]).astype(np.uint8)
    assert 0.85 < np.corrcoef(squares.reshape(2, -1))[0, 1] < 0.92
    (found,) = retrieve(torch.ones(2, 2), squares, [0], 1)
    assert [number for number, _ in found] == [1]


def test_photos_of_one_color_are_no_copies_of_each_other() -> None:
    squares = np.zeros((3, 3, 16, 16), np.uint8)
    squares[:, 0] = np.array([0, 100, 200])[:, None, None]
    (found,) = retrieve(torch.eye(3), squares, [1], 5)
    assert sorted(number for number, _ in found) == [0, 2]


def test_rows_show_the_photo_and_what_was_found() -> None:
    squares, names = scenes(), [f"class {number}" for number in range(14)]
    made = rows(squares, [0, 5], [[(3, 0.921), (1, 0.5)], [(7, 0.4)]], names)
    assert [[caption for caption, _ in row] for row in made] == [
        ["class 0", "class 3 0.92", "class 1 0.50"],
        ["class 5", "class 7 0.40"],
    ]
    for row, numbers in zip(made, ([0, 3, 1], [5, 7]), strict=True):
        for (_, pixels), number in zip(row, numbers, strict=True):
            assert np.array_equal(pixels, squares[number].transpose(1, 2, 0))
    assert grid(made, 32).width == 3 * 32 + 2 * 6
