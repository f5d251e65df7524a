"""kNN classification, and retrieval: the nearest photos themselves, to look at. Near is the cosine of frozen features.

Features are the backbone's last layer, averaged over positions. Each of the 20 nearest has a vote, and ties go to the class of the smaller
number. Which of several equally near photos come in last is left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.figures import Cell, grid
from model.evaluate.probes import Correct, Split, balanced, batches, pooled
from model.nets.backbone import Backbone
from model.training.cache import Cache

VOTES = 20
"""Of the nearest photos, each of which has one."""
_THUMBNAIL = 16
_COPY = 0.93


def accuracy(backbone: Backbone, seen: Split) -> dict[str, Any]:
    """kNN of 20 on the last layer's mean, with its 95% interval over photos."""
    train, test = pooled(backbone, seen.train.squares), pooled(backbone, seen.test.squares)
    found = evaluate(test, seen.test.labels, train, seen.train.labels).accuracy
    return {"accuracy": found.value, "low": found.low, "high": found.high, "count": VOTES}


def write_picture(backbone: Backbone, photos: Cache, path: Path, queries: int = 6) -> None:
    """A JPEG of photos, evenly over classes, and of the nearest others, copies left out."""
    labels, names = photos.labels()
    chosen = balanced(labels, min(queries, len(labels)), seed=3).tolist()
    found = retrieve(pooled(backbone, photos.squares), photos.squares, chosen, 6)
    cells = rows(photos.squares, chosen, found, [names[label] for label in labels.tolist()])
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(cells, 80).save(path, quality=75)


def evaluate(
    query_ND: Tensor,
    truth_N: Tensor,
    known_MD: Tensor,
    labels_M: Tensor,
    votes: int = VOTES,
    alone: bool = False,
) -> Correct:
    """How often the class by votes is the true one."""
    predicted = classes(query_ND, known_MD, labels_M, votes, alone)
    return Correct((predicted.cpu() == truth_N.cpu()).numpy())


def classes(
    query_ND: Tensor, known_MD: Tensor, labels_M: Tensor, votes: int = VOTES, alone: bool = False
) -> Tensor:
    """(N,) the class of each query, by the votes of its nearest; see `nearest`."""
    cosines, numbers = nearest(query_ND, known_MD, votes, alone)
    labels = labels_M.to(numbers.device)
    counts = cosines.new_zeros(len(cosines), int(labels.max()) + 1)
    return counts.scatter_add_(1, labels[numbers], torch.ones_like(cosines)).argmax(1)


def nearest(
    query_ND: Tensor, known_MD: Tensor, count: int, alone: bool = False, chunk: int = 4096
) -> tuple[Tensor, Tensor]:
    """(N, count) cosines, falling, and the numbers of the known that have them. InputError where not as many are known.

    `alone`: the queries are the known, and each finds the others.
    """
    others = len(known_MD) - alone
    if not 0 < count <= others:
        raise InputError(f"the {count} nearest of {others} photos")
    if alone and len(query_ND) != len(known_MD):
        raise InputError(f"{len(query_ND)} photos are not the {len(known_MD)} that are known")
    known = F.normalize(known_MD.float())
    found: list[tuple[Tensor, Tensor]] = []
    for first in range(0, len(query_ND), chunk):
        query = F.normalize(query_ND[first : first + chunk].float())
        best = query.new_empty(len(query), 0)
        numbers = torch.empty_like(best, dtype=torch.long)
        for start in range(0, len(known), chunk):
            near = query @ known[start : start + chunk].T
            if alone and start == first:
                near.fill_diagonal_(-torch.inf)
            near, place = near.topk(min(count, near.shape[1]))
            best, numbers = torch.cat([best, near], 1), torch.cat([numbers, place + start], 1)
            best, place = best.topk(min(count, best.shape[1]))
            numbers = numbers.gather(1, place)
        found.append((best, numbers))
    cosines_NK, numbers_NK = (torch.cat(parts) for parts in zip(*found, strict=True))
    return cosines_NK, numbers_NK


def retrieve(
    features_MD: Tensor, squares: NDArray[np.uint8], queries: Sequence[int], count: int
) -> list[list[tuple[int, float]]]:
    """Of each query, the nearest others and their cosines: no copy of it, nor of one before. Fewer where there are no more.

    A copy is what looks the same at 16×16 pixels, mirrored or not: recompressed, resized, lighter. What was cut otherwise is none.
    """
    features = F.normalize(features_MD.float())
    looks, mirrored = _looks(squares)
    found: list[list[tuple[int, float]]] = []
    for number in queries:
        cosines = features @ features[number]
        row: list[tuple[int, float]] = []
        last = number
        while True:
            cosines[last] = -torch.inf
            copies = torch.maximum(looks @ looks[last], mirrored @ looks[last]) > _COPY
            cosines[copies.to(cosines.device)] = -torch.inf
            last = int(cosines.argmax())
            if len(row) == count or cosines[last] == -torch.inf:
                break
            row.append((last, float(cosines[last])))
        found.append(row)
    return found


def rows(
    squares: NDArray[np.uint8],
    queries: Sequence[int],
    found: Sequence[Sequence[tuple[int, float]]],
    names: Sequence[str],
) -> list[list[Cell]]:
    """For `grid`: each query, and what was found, with its class and cosine. `names` has the class of every photo."""
    return [
        [
            (names[number], _picture(squares, number)),
            *((f"{names[other]} {cosine:.2f}", _picture(squares, other)) for other, cosine in row),
        ]
        for number, row in zip(queries, found, strict=True)
    ]


def _looks(squares: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """(N, D) small pictures without their mean color, of length 1; and the same mirrored. Their products are correlations.

    Of 2,500 of Imagenette's photographs no two that are not copies come above 0.925; copies at three quarters of the size and JPEG
    quality 50, or with a gamma of 0.7, have 0.99.
    """
    small = torch.cat([F.adaptive_avg_pool2d(rgb.float(), _THUMBNAIL) for rgb in batches(squares)])
    small -= small.mean((2, 3), keepdim=True)
    return F.normalize(small.flatten(1)), F.normalize(small.flip(3).flatten(1))


def _picture(squares: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(squares[number].transpose(1, 2, 0))
