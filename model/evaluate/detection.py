"""Can a trunk find things? torchvision's Faster R-CNN over a copy of it is taught from VOC2007's boxes, and judged by mean average
precision.

Ren, He, Girshick & Sun, "Faster R-CNN", NeurIPS 2015 (https://arxiv.org/abs/1506.01497). An optional extra: torchvision comes with a
torch of its own, so it lives in an environment of its own (requirements-detection.txt, `make detection`). Other than there: features are
the trunk's last layer alone; the head is torchvision's; AdamW for a fixed number of steps, mirrored photos.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn

from model.evaluate.boxes import Detection, Object, detection_precision
from model.evaluate.tuning import Lesson, copied, teach
from model.evaluate.voc import CLASSES
from model.nets.trunk import DEVIATION, MEAN, Trunk, normalized
from model.training import data


@dataclass(frozen=True)
class Options(Lesson):
    """How a trunk is taught to find things."""

    steps: int = 200
    batch: int = 4
    rate: float = 3e-4
    side: int = 224  # the shorter, in pixels, as the net sees a photo
    frozen: int = 0  # layers, from the bottom, that stay as they are


@dataclass(frozen=True)
class Pictured:
    """A photo on the disk, and by class what is in it."""

    photo: Path
    objects: tuple[tuple[str, Object], ...]


def pictured(split: Path) -> list[Pictured]:
    """Of the photos that a list such as voc2007/ImageSets/Main/test.txt names. FileNotFoundError where one has no annotation."""
    annotations = split.parents[2] / "Annotations"
    return [Pictured(photo, _objects(annotations / f"{photo.stem}.xml")) for photo in data.find([split])]


def detect(
    trunk: Trunk, taught: Sequence[Pictured], judged: Sequence[Pictured], options: Options, seed: int = 0
) -> dict[str, float]:
    """11-point average precision by class; NaN for a class that is not among the judged. The trunk given stays as it is."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    # What is difficult is not taught; who has nothing else teaches nothing.
    useful = [one for one in taught if any(not of.difficult for _, of in one.objects)]
    net = _net(copied(trunk, options.frozen), options)

    def loss(numbers: Tensor) -> Tensor:
        photos, targets = zip(*(_shown(useful[int(number)], generator) for number in numbers), strict=True)
        return cast(Tensor, sum(net(list(photos), list(targets)).values()))

    net.train()
    teach(net, len(useful), loss, options, generator)
    net.eval()
    found: dict[str, list[Detection]] = defaultdict(list)
    with torch.no_grad():
        for number, one in enumerate(judged):
            (said,) = net([_read(one.photo)])
            for box, label, score in zip(
                *(said[key].tolist() for key in ("boxes", "labels", "scores")), strict=True
            ):
                left, top, right, bottom = box
                found[CLASSES[label - 1]].append(Detection(number, score, (left, top, right - 1, bottom - 1)))
    return {name: detection_precision(found[name], _truth(judged, name)) for name in CLASSES}


def _truth(judged: Sequence[Pictured], name: str) -> dict[int, list[Object]]:
    truth: dict[int, list[Object]] = defaultdict(list)
    for number, one in enumerate(judged):
        for kind, of in one.objects:
            if kind == name:
                truth[number].append(of)
    return truth


class _Backbone(nn.Module):
    """The trunk's last layer, of photos that torchvision has brought to its mean and deviation already."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk, self.out_channels = trunk, trunk.width

    def forward(self, x_N3HW: Tensor) -> Tensor:
        if self.trunk.channels == 1:
            mean, deviation = (x_N3HW.new_tensor(of)[:, None, None] for of in (MEAN, DEVIATION))
            x_N3HW = normalized((x_N3HW * deviation + mean).clamp(0, 1), 1)
        with torch.autocast(x_N3HW.device.type, torch.bfloat16):
            found = self.trunk.taps(x_N3HW)[self.trunk.layers[-1]]
        return found.float()


def _net(trunk: Trunk, options: Options) -> Any:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    sizes = tuple(round(options.side * share) for share in (0.1, 0.2, 0.4, 0.8))
    net = FasterRCNN(
        _Backbone(trunk),
        num_classes=len(CLASSES) + 1,
        min_size=options.side,
        max_size=2 * options.side,
        image_mean=list(MEAN),
        image_std=list(DEVIATION),
        rpn_anchor_generator=AnchorGenerator((sizes,), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
    )
    return net.to(next(trunk.parameters()).device)


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
    for thing in ElementTree.parse(path).getroot().findall("object"):
        sides = [
            float(thing.findtext(f"bndbox/{side}", "nan")) - 1 for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        left, top, right, bottom = sides
        difficult = thing.findtext("difficult", "0") == "1"
        found.append((thing.findtext("name", ""), Object((left, top, right, bottom), difficult)))
    return tuple(found)
