"""What excites a hidden unit most? The photos that do, and of each the patch that the unit sees there.

As in Doersch, Gupta & Efros 2015 and Zhang, Isola & Efros 2016, after Zhou et al. 2015 (Object Detectors Emerge in Deep Scene CNNs): of
each photo the position where the unit's output is highest, of all photos the highest of these.

What a position sees, its receptive field, is not worked out from strides but tried: gradients lead from it back to every pixel that it
depends on. The weights of the trial are random, since a trained net may have zeros in between; shape, pools and borders are the backbone's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError
from model.evaluate.figures import Cell, grid
from model.evaluate.probes import BATCH, batches, frozen, taps
from model.nets.backbone import Backbone
from model.training.cache import Cache

# Pictures, and pixels across, so that each way through a pool is some channel's highest somewhere
_TRIED, _BREADTH = 2, 64
_BEYOND = 128  # gray: what a unit at the border sees of the world outside
_FRAME = (255, 40, 40)

Span = tuple[int, int]
"""From a pixel to one, the last not included."""


@dataclass(frozen=True)
class Excitation:
    """A unit's highest output for a photo, and the (row, column) of the layer's map where it gave it."""

    photo: int
    value: float
    row: int
    column: int


def write_picture(backbone: Backbone, photos: Cache, path: Path) -> None:
    """A JPEG of the photos and patches that excite two units of three layers most."""
    units = dict.fromkeys((backbone.layers[1], backbone.layers[2], backbone.layers[-1]), (0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(rows(backbone, photos.squares, units, 8), 56).save(path, quality=75)


def rows(
    backbone: Backbone, squares: NDArray[np.uint8], units: Mapping[str, Sequence[int]], count: int
) -> list[list[Cell]]:
    """For `grid`: for each unit a row of photos, what it sees framed, and a row of what it sees. Units that nothing excites have none."""
    side = squares.shape[2]
    made: list[list[Cell]] = []
    for layer, of_units in strongest(backbone, squares, units, count).items():
        down, across = fields(backbone, layer, side)
        for unit, excitations in zip(units[layer], of_units, strict=True):
            if not excitations:
                continue
            photos: list[Cell] = []
            patches: list[Cell] = []
            for place, one in enumerate(excitations):
                pixels = np.ascontiguousarray(squares[one.photo].transpose(1, 2, 0))
                caption = f"{layer}, {unit}: {one.value:.3g}" if place == 0 else f"{one.value:.3g}"
                patches.append(("", _patch(pixels, down, across, one)))
                photos.append((caption, _framed(pixels, down[one.row], across[one.column])))
            made += [photos, patches]
    return made


def strongest(
    backbone: Backbone, squares: NDArray[np.uint8], units: Mapping[str, Sequence[int]], count: int
) -> dict[str, list[list[Excitation]]]:
    """Of each layer's units, in order: its `count` strongest, falling, each of another photo; in one pass over the photos.

    Only outputs above 0 excite. InputError for layers and units that the backbone has not.
    """
    if unknown := units.keys() - set(backbone.layers):
        raise InputError(
            f"no layer is called {', '.join(sorted(unknown))}; there are {', '.join(backbone.layers)}"
        )
    best: dict[str, list[list[Excitation]]] = {layer: [[] for _ in wanted] for layer, wanted in units.items()}
    with frozen(backbone):
        for number, rgb in enumerate(batches(squares)):
            found = taps(backbone, rgb)
            for layer, wanted in units.items():
                here = _highest(found[layer], layer, wanted, number * BATCH, count)
                for place, more in enumerate(here):
                    both = sorted(best[layer][place] + more, key=lambda one: -one.value)
                    best[layer][place] = both[:count]
    return best


def fields(backbone: Backbone, layer: str, side: int) -> tuple[list[Span], list[Span]]:
    """For photos of this side: which of their rows each row of the layer's map sees, and which of their columns each column."""
    # Double precision: in single, libraries work in tiles, and what is not seen has a gradient of rounding, not of 0.
    trial = deepcopy(backbone).cpu().double().eval().requires_grad_(False)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        for module in trial.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        return _seen(trial, layer, side, down=True), _seen(trial, layer, side, down=False)


def _highest(
    x_NCHW: Tensor, layer: str, units: Sequence[int], first: int, count: int
) -> list[list[Excitation]]:
    """Of each unit, of these photos; the first of them is the `first` of all."""
    _, channels, _, width = x_NCHW.shape
    if not all(0 <= unit < channels for unit in units):
        raise InputError(f"{layer} has units 0…{channels - 1}, not {', '.join(map(str, units))}")
    values, places = x_NCHW[:, list(units)].flatten(2).max(2)
    values, photos = values.sort(dim=0, descending=True, stable=True)
    places = places.gather(0, photos)
    return [
        [
            Excitation(first + photo, value, *divmod(place, width))
            for value, photo, place in zip(*of_unit, strict=True)
            if value > 0
        ]
        for of_unit in zip(*(x[:count].T.tolist() for x in (values, photos, places)), strict=True)
    ]


def _seen(trial: Backbone, layer: str, side: int, down: bool) -> list[Span]:
    x = torch.randn(
        _TRIED, trial.channels, side, min(side, _BREADTH), dtype=torch.float64, requires_grad=True
    )
    output = trial.taps(x if down else x.transpose(2, 3))[layer]
    spans = []
    for line in output.unbind(2 if down else 3):
        (gradient,) = torch.autograd.grad(line.sum(), x, retain_graph=True)
        seen = (gradient != 0).any(3).any(1).any(0).nonzero()
        spans.append((int(seen[0]), int(seen[-1]) + 1))
    return spans


def _framed(pixels: NDArray[np.uint8], down: Span, across: Span) -> NDArray[np.uint8]:
    framed = pixels.copy()
    inside = framed[slice(*down), slice(*across)]
    for edge in (inside[:2], inside[-2:], inside[:, :2], inside[:, -2:]):
        edge[:] = _FRAME
    return framed


def _patch(
    pixels: NDArray[np.uint8], down: Sequence[Span], across: Sequence[Span], one: Excitation
) -> NDArray[np.uint8]:
    """What is seen, as large as of the layer's other positions: gray where that is beyond the photo."""
    padding = [_beyond(down, one.row), _beyond(across, one.column), (0, 0)]
    seen = pixels[slice(*down[one.row]), slice(*across[one.column])]
    return np.pad(seen, padding, constant_values=_BEYOND)


def _beyond(spans: Sequence[Span], place: int) -> Span:
    """How many pixels are missing (before, behind)."""
    start, stop = spans[place]
    missing = max(stop - start for start, stop in spans) - (stop - start)
    return (missing, 0) if start == 0 else (0, missing)
