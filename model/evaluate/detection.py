"""Detection: torchvision's Faster R-CNN over a copy of a backbone is trained on VOC2007's boxes, and measured by mean average precision.

Ren, He, Girshick & Sun, "Faster R-CNN", NeurIPS 2015 (https://arxiv.org/abs/1506.01497). An optional extra: torchvision comes with a
torch of its own, so it lives in an environment of its own (requirements-detection.txt, `make detection`). Other than there: features are
the backbone's last layer alone; the head is torchvision's; AdamW for a fixed number of steps, mirrored photos. `only` keeps some
classes, and photos that have them: an easier evaluation than VOC's, and its mean is over these classes alone.

Precision of boxes is VOC2007's (Everingham et al. 2010, section 4.2.2; the kit's VOCevaldet). Detections of a class by descending score;
each belongs to the object of its photo that it overlaps most. It is right if that is by a half at least (intersection over union, both ends
of a box counted), and the object was not found before; a difficult object counts neither way. 11 points as in transfer.py.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import InputError
from model.evaluate.finetuning import FineTuning, copied, fit
from model.evaluate.transfer import CLASSES, annotated
from model.nets.backbone import DEVIATION, MEAN, Backbone, autocast, normalized
from model.training import data

_ENOUGH = 0.5


@dataclass(frozen=True)
class Object:
    """An object of a class in a photo: left, top, right and bottom pixel, these among its own."""

    box: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class Detection:
    """A box in a photo, by its number, and how sure the net is."""

    photo: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Options(FineTuning):
    """How a backbone is fine-tuned to detect objects."""

    steps: int = 200
    batch: int = 4
    lr: float = 3e-4
    side: int = 224  # the shorter, in pixels, as the net sees a photo
    frozen: int = 0  # layers, from the bottom, that stay as they are
    regions: int = 64  # of a photo, that the head is trained on in a step: Fast R-CNN's 128 of two photos; torchvision has 512
    proposals: int = 300  # of a photo, that the head classifies: the paper's; torchvision has 1000


@dataclass(frozen=True)
class Pictured:
    """A photo on the disk, and by class what is in it."""

    photo: Path
    objects: tuple[tuple[str, Object], ...]


def require_torchvision() -> None:
    """InputError, with what to do, where torchvision is not there or does not go with this torch."""
    try:
        importlib.import_module("torchvision.models.detection")
    except (ImportError, RuntimeError) as error:  # RuntimeError: of another torch
        raise InputError(
            f"detection needs torchvision, and a torch that it goes with ({error}): `make detection RUNS=… VOC=…` sets up an "
            "environment with both, out/detection, of some 5 GB"
        ) from error


def pictured(split: Path) -> list[Pictured]:
    """Of the photos that a list such as voc2007/ImageSets/Main/test.txt names.

    FileNotFoundError where the list, a photo or its annotation is missing; InputError where an annotation makes no sense.
    """
    folder = split.parents[2]
    if not split.exists():
        raise FileNotFoundError(
            f"{split} is missing: {folder} needs VOC2007's layout, ImageSets/Main/trainval.txt and test.txt, JPEGImages and Annotations"
        )
    found = []
    for photo in data.find([split]):
        annotation = folder / "Annotations" / f"{photo.stem}.xml"
        for file in (photo, annotation):
            if not file.exists():
                raise FileNotFoundError(f"{split.name} names {photo.stem}, and {file} is missing")
        found.append(Pictured(photo, _objects(annotation)))
    return found


def only(pictures: Sequence[Pictured], classes: Sequence[str]) -> list[Pictured]:
    """Those that hold one of these classes, and of what they hold these alone. InputError for a class that VOC has not."""
    for name in classes:
        if name not in CLASSES:
            raise InputError(f"VOC2007 has no class {name!r}: {', '.join(CLASSES)}")
    kept = [
        Pictured(one.photo, tuple((kind, of) for kind, of in one.objects if kind in classes))
        for one in pictures
    ]
    return [one for one in kept if one.objects]


def useful(pictures: Sequence[Pictured]) -> list[Pictured]:
    """Those to train on: what is difficult to see is not trained on."""
    return [one for one in pictures if any(not of.difficult for _, of in one.objects)]


def detect(
    backbone: Backbone,
    train: Sequence[Pictured],
    test: Sequence[Pictured],
    options: Options,
    seed: int = 0,
) -> dict[str, float]:
    """11-point average precision by class; NaN for a class that is not in the test. The backbone given stays as it is."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train = useful(train)
    net = _net(copied(backbone, options.frozen), options)

    def loss(numbers: Tensor) -> Tensor:
        photos, targets = zip(*(_shown(train[int(number)], generator) for number in numbers), strict=True)
        return cast(Tensor, sum(net(list(photos), list(targets)).values()))

    net.train()
    fit(net, len(train), loss, options, generator)
    net.eval()
    found: dict[str, list[Detection]] = defaultdict(list)
    with torch.no_grad():
        for number, one in enumerate(test):
            (predicted,) = net([_read(one.photo)])
            for box, label, score in zip(
                *(predicted[key].tolist() for key in ("boxes", "labels", "scores")), strict=True
            ):
                left, top, right, bottom = box
                found[CLASSES[label - 1]].append(Detection(number, score, (left, top, right - 1, bottom - 1)))
    return {name: detection_precision(found[name], _truth(test, name)) for name in CLASSES}


def _truth(test: Sequence[Pictured], name: str) -> dict[int, list[Object]]:
    truth: dict[int, list[Object]] = defaultdict(list)
    for number, one in enumerate(test):
        for kind, of in one.objects:
            if kind == name:
                truth[number].append(of)
    return truth


def detection_precision(found: Sequence[Detection], truth: Mapping[int, Sequence[Object]]) -> float:
    """11-point average precision of one class, 0…1; NaN where no object counts. `truth`: the objects of each photo that has any."""
    counted = sum(not one.difficult for objects in truth.values() for one in objects)
    if not counted:
        return float("nan")
    taken: set[tuple[int, int]] = set()
    right = []
    for one in sorted(found, key=lambda one: -one.score):
        objects = truth.get(one.photo, ())
        shares = [overlap(one.box, other.box) for other in objects]
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and shares[best] >= _ENOUGH:
            if objects[best].difficult:
                continue
            right.append((one.photo, best) not in taken)
            taken.add((one.photo, best))
        else:
            right.append(False)
    hits: NDArray[np.int64] = np.cumsum(right, dtype=np.int64)
    precision = hits / np.arange(1, len(right) + 1)
    # In whole objects: a recall of 3 in 10 is 0.3, whatever 3 · 0.1 may be.
    return float(
        np.mean([max(precision[10 * hits >= tenths * counted], default=0.0) for tenths in range(11)])
    )


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union, of boxes whose last pixels are their own."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    sizes = [(of[2] - of[0] + 1) * (of[3] - of[1] + 1) for of in (a, b)]
    return both / (sum(sizes) - both)


class _Backbone(nn.Module):
    """The backbone's last layer, of photos that torchvision has brought to its mean and deviation already."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.width

    def forward(self, x_N3HW: Tensor) -> Tensor:
        if self.backbone.channels == 1:
            mean, deviation = (x_N3HW.new_tensor(of)[:, None, None] for of in (MEAN, DEVIATION))
            x_N3HW = normalized((x_N3HW * deviation + mean).clamp(0, 1), 1)
        with autocast(x_N3HW.device):
            found = self.backbone.taps(x_N3HW)[self.backbone.layers[-1]]
        return found.float()


def _net(backbone: Backbone, options: Options) -> Any:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    sizes = tuple(round(options.side * share) for share in (0.1, 0.2, 0.4, 0.8))
    net = FasterRCNN(
        _Backbone(backbone),
        num_classes=len(CLASSES) + 1,
        min_size=options.side,
        max_size=2 * options.side,
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
        rpn_anchor_generator=AnchorGenerator((sizes,), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_batch_size_per_image=options.regions,
        rpn_post_nms_top_n_test=options.proposals,
    )
    return net.to(next(backbone.parameters()).device)


def _shown(one: Pictured, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """(3, H, W) in 0…1, and torchvision's targets; half of them mirrored."""
    photo = _read(one.photo)
    known = [(name, of) for name, of in one.objects if not of.difficult]
    boxes = torch.tensor([of.box for _, of in known]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    labels = torch.tensor([1 + CLASSES.index(name) for name, _ in known])
    if torch.rand((), generator=generator) < 0.5:
        photo, width = photo.flip(2), photo.shape[2]
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    return photo, {"boxes": boxes, "labels": labels}


def _read(photo: Path) -> Tensor:
    return torch.from_numpy(np.array(data.read(photo))).permute(2, 0, 1).float() / 255


def _objects(path: Path) -> tuple[tuple[str, Object], ...]:
    found = []
    for name, difficult, one in annotated(path):
        sides = [
            float(one.findtext(f"bndbox/{side}", "nan")) - 1 for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        left, top, right, bottom = sides
        if not (left <= right and top <= bottom):  # nor if one of them is missing, NaN
            raise InputError(f"{path} has a {name} without a box of xmin, ymin, xmax and ymax")
        found.append((name, Object((left, top, right, bottom), difficult)))
    return tuple(found)
