"""Can a backbone find things? torchvision's Faster R-CNN over a copy of it is taught from VOC2007's boxes, and judged by mean average
precision.

Ren, He, Girshick & Sun, "Faster R-CNN", NeurIPS 2015 (https://arxiv.org/abs/1506.01497). An optional extra: torchvision comes with a
torch of its own, so it lives in an environment of its own (requirements-detection.txt, `make detection`). Other than there: features are
the backbone's last layer alone; the head is torchvision's; AdamW for a fixed number of steps, mirrored photos. `only` asks for some
classes, of photos that have them: a smaller question than VOC's, and its mean is over these classes alone.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor, nn

from model.errors import InputError
from model.evaluate.boxes import Detection, Object, detection_precision
from model.evaluate.tuning import Lesson, copied, teach
from model.evaluate.voc import CLASSES
from model.nets.backbone import DEVIATION, MEAN, Backbone, normalized
from model.training import data


@dataclass(frozen=True)
class Options(Lesson):
    """How a backbone is taught to find things."""

    steps: int = 200
    batch: int = 4
    rate: float = 3e-4
    side: int = 224  # the shorter, in pixels, as the net sees a photo
    frozen: int = 0  # layers, from the bottom, that stay as they are
    regions: int = 64  # of a photo, that the head learns from in a step: Fast R-CNN's 128 of two photos; torchvision has 512
    proposals: int = 300  # of a photo, that the head judges: the paper's; torchvision has 1000


@dataclass(frozen=True)
class Pictured:
    """A photo on the disk, and by class what is in it."""

    photo: Path
    objects: tuple[tuple[str, Object], ...]


def wanted() -> None:
    """ValueError, with what to do, where torchvision is not there or does not go with this torch."""
    try:
        importlib.import_module("torchvision.models.detection")
    except (ImportError, RuntimeError) as error:  # RuntimeError: of another torch
        raise InputError(
            f"detection needs torchvision, and a torch that it goes with ({error}): `make detection RUNS=… VOC=…` sets up an "
            "environment with both, out/detection, of some 5 GB"
        ) from error


def pictured(split: Path) -> list[Pictured]:
    """Of the photos that a list such as voc2007/ImageSets/Main/test.txt names.

    FileNotFoundError where the list, a photo or its annotation is missing; ValueError where an annotation makes no sense.
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
    """Those that hold one of these classes, and of what they hold these alone. ValueError for a class that VOC has not."""
    for name in classes:
        if name not in CLASSES:
            raise InputError(f"VOC2007 has no class {name!r}: {', '.join(CLASSES)}")
    kept = [
        Pictured(one.photo, tuple((kind, of) for kind, of in one.objects if kind in classes))
        for one in pictures
    ]
    return [one for one in kept if one.objects]


def useful(pictures: Sequence[Pictured]) -> list[Pictured]:
    """Those that teach something: what is difficult to see is not taught."""
    return [one for one in pictures if any(not of.difficult for _, of in one.objects)]


def detect(
    backbone: Backbone,
    taught: Sequence[Pictured],
    judged: Sequence[Pictured],
    options: Options,
    seed: int = 0,
) -> dict[str, float]:
    """11-point average precision by class; NaN for a class that is not among the judged. The backbone given stays as it is."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    taught = useful(taught)
    net = _net(copied(backbone, options.frozen), options)

    def loss(numbers: Tensor) -> Tensor:
        photos, targets = zip(*(_shown(taught[int(number)], generator) for number in numbers), strict=True)
        return cast(Tensor, sum(net(list(photos), list(targets)).values()))

    net.train()
    teach(net, len(taught), loss, options, generator)
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
    """The backbone's last layer, of photos that torchvision has brought to its mean and deviation already."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, backbone.width

    def forward(self, x_N3HW: Tensor) -> Tensor:
        if self.backbone.channels == 1:
            mean, deviation = (x_N3HW.new_tensor(of)[:, None, None] for of in (MEAN, DEVIATION))
            x_N3HW = normalized((x_N3HW * deviation + mean).clamp(0, 1), 1)
        with torch.autocast(x_N3HW.device.type, torch.bfloat16):
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
    try:
        things = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no annotation: {error}") from error
    for thing in things:
        sides = [
            float(thing.findtext(f"bndbox/{side}", "nan")) - 1 for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        left, top, right, bottom = sides
        name, difficult = thing.findtext("name", ""), thing.findtext("difficult", "0") == "1"
        if name not in CLASSES:
            raise InputError(f"{path} holds a {name!r}, which is none of VOC's classes")
        if not (left <= right and top <= bottom):  # nor if one of them is missing, NaN
            raise InputError(f"{path} has a {name} without a box of xmin, ymin, xmax and ymax")
        found.append((name, Object((left, top, right, bottom), difficult)))
    return tuple(found)
