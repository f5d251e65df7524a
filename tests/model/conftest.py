"""Settings of the tests of model/: one thread for torch, as other tests run beside, and idle threads that spin would starve them.

And photographs in a cache without files: blocks of color, of several shapes. And what fine-tuning takes seconds with: a backbone of two
layers, and photos of three tints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model.colorizer import Colorizer
from model.evaluate.probes import Labeled
from model.nets.backbone import Backbone
from model.training import data
from model.training.cache import Cache


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws without naming a seed is the same each time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def lite() -> Colorizer:
    """The shipped net, loaded once for all tests."""
    return Colorizer.load("lite", "cpu")


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets answer in float32 on devices made for bfloat16 as well."""
    monkeypatch.setattr("model.nets.backbone._has_bf16", lambda device: False)


@pytest.fixture(scope="session")
def cached() -> Callable[..., Cache]:
    """Random color photographs of these (height, width), in two folders by turns."""

    def make(sizes: Sequence[tuple[int, int]], seed: int = 0, folder: str = "/photos") -> Cache:
        chance = np.random.default_rng(seed)
        photos = [
            chance.integers(0, 256, (3, -(-height // 8), -(-width // 8)), np.uint8)
            .repeat(8, 1)
            .repeat(8, 2)[:, :height, :width]
            for height, width in sizes
        ]
        lengths = np.array([photo.size for photo in photos])
        return Cache(
            np.concatenate([photo.flatten() for photo in photos]),
            np.cumsum(lengths) - lengths,
            np.array(sizes),
            tuple(Path(f"{folder}/{'ab'[n % 2]}/{seed}-{n}.png") for n in range(len(sizes))),
            tuple(data.PhotoStatistics(50.0, 20.0, int(chance.integers(2**62))) for _ in sizes),
            {},
        )

    return make


@pytest.fixture
def blue(cached: Callable[..., Cache]) -> Cache:
    """Four photographs of 128 × 128 that are all blue."""
    photos = cached([(128, 128)] * 4)
    pixels = photos.pixels.reshape(4, 3, 128, 128) // 2
    pixels[:, 2] += 100
    return replace(photos, pixels=pixels.reshape(-1))


class Tiny(Backbone):
    layers = ("low", "high")
    width = 12
    channels = 3

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Backbone]:
    """Makes a backbone of two layers, drawn by seed."""
    return Tiny


@pytest.fixture(scope="session")
def tinted() -> Callable[..., Labeled]:
    """So many photos of 16×16 pixels: noise with a tint, three classes."""

    def make(count: int, seed: int = 0) -> Labeled:
        chance = np.random.default_rng(seed)
        labels = chance.integers(0, 3, count)
        squares = chance.integers(60, 196, (count, 3, 16, 16))
        squares[np.arange(count), labels] += 25
        return Labeled(squares.astype(np.uint8), torch.from_numpy(labels))

    return make
