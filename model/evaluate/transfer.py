"""Transfer: what a backbone is worth as a start for other photographs. VOC2007's classes, classes in folders, CamVid's masks.

Of photos that hold several objects, VOC2007's (Everingham et al. 2010, section 3), each class is predicted on its own, by fine-tuning as in
finetuning.py. In the layout of its release: JPEGImages/, Annotations/ with the objects of each photo, ImageSets/Main/<split>.txt with the
names of its photos, and ImageSets/Main/<class>_<split>.txt with, after each name, 1 where an object of the class is present, 0 where all
such are difficult to see, −1 where there is none. Where a folder has none of the latter, the same is read off the annotations, of which
those lists were made.

Average precision is that of VOC2007 (section 4.2; the development kit's VOCevalcls): photos by descending score, ties in their order; the
mean, over recalls of 0, 0.1, … 1, of the best precision at that recall or a higher one, 0 where none is reached. Photos in which an object
is marked difficult do not count for its class. Later years' definition, the area under all of the curve, is another. It takes photos drawn
more than once, for intervals (see `intervals`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate import segmentation
from model.evaluate.finetuning import Options, classify, predict
from model.evaluate.intervals import Bootstrap, Interval, Samples, interval
from model.evaluate.probes import Split, split
from model.evaluate.segmentation import Masked, class_means
from model.nets.backbone import Backbone
from model.training import cache, data

PRESENT, DIFFICULT, ABSENT = 1, 0, -1  # as VOC's lists have it
_RECALLS = 11
CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


@dataclass(frozen=True, eq=False)
class Tagged:
    """Square photos, (N, 3, S, S) uint8, and what each holds, (N, classes) of PRESENT, DIFFICULT, ABSENT. InputError for none, or not as
    many."""

    squares: NDArray[np.uint8]
    truth: NDArray[np.int8]

    def __post_init__(self) -> None:
        if not 0 < len(self.squares) == len(self.truth):
            raise InputError(f"{len(self.squares)} photos and tags of {len(self.truth)}")


@dataclass(frozen=True, eq=False)
class Ranked:
    """How sure the net is of each class, (N, classes), of the photos in order; and what they hold."""

    scores: NDArray[np.float32]
    truth: NDArray[np.int8]

    @property
    def precision(self) -> Interval | None:
        """Mean 11-point average precision, 0…1, with its 95% interval by bootstrap over the photos; None where no class is present."""
        return interval(mean_average_precision(self.scores, self.truth))

    def by_class(self) -> list[float]:
        """NaN for a class that is not present."""
        pairs = zip(self.scores.T, self.truth.T, strict=True)
        return [float(average_precision(scores, truth)[0]) for scores, truth in pairs]


@dataclass(frozen=True, eq=False)
class Others:
    """Other photographs that a backbone is fine-tuned to, to train on and to test on; None where none were named."""

    tagged: tuple[Tagged, Tagged] | None  # VOC2007's
    classes: tuple[str, Split] | None  # the first folder's name, by which the result is called
    masked: tuple[Masked, Masked] | None  # CamVid's


def others(folder: Path, voc2007: Path | None, classes: list[Path], camvid: Path | None) -> Others:
    """VOC2007's trainval and test, classes in folders of which a third, by hash, is to test on, CamVid's train and test.

    FileNotFoundError or InputError, with the name of what was asked for, where a part of its layout is missing or makes no sense.
    """
    side = Options().side
    with _named("VOC2007", voc2007):
        tagged = (_tagged(voc2007, "trainval", folder), _tagged(voc2007, "test", folder)) if voc2007 else None
    with _named("classes in folders", classes[0] if classes else None):
        named = None
        if classes:
            parts = (cache.build(photos, side, folder) for photos in data.split(data.find(classes), 3))
            named = classes[0].name, split(*parts)
    with _named("CamVid", camvid):
        masked = (_masked(camvid, "train"), _masked(camvid, "test")) if camvid else None
    return Others(tagged, named, masked)


def transfer(backbone: Backbone, given: Others, steps: int) -> dict[str, float]:
    """11-point mAP on VOC2007, accuracy on the classes, mean IU on CamVid: of those given."""
    found: dict[str, float] = {}
    options = Options(steps=steps)
    if given.tagged and (precision := tag(backbone, *given.tagged, options).precision):
        found["voc2007"] = precision.value
    if given.classes:
        name, seen = given.classes
        found[name] = classify(backbone, seen.train, seen.test, options).accuracy.value
    if given.masked:
        segmented = segmentation.segment(backbone, *given.masked, segmentation.Options(steps=steps))
        if iu := segmented.mean_iu:
            found["camvid"] = iu.value
    return found


# VOC2007


def tag(backbone: Backbone, train: Tagged, test: Tagged, options: Options, seed: int = 0) -> Ranked:
    """Any number of classes a photo, by binary cross-entropy, without what is difficult to see. The backbone given stays as it is."""
    truth_NC = torch.from_numpy(train.truth).to(next(backbone.parameters()).device)

    def loss(logits_NC: Tensor, numbers: Tensor) -> Tensor:
        return tagging_loss(logits_NC, truth_NC[numbers])

    classes = train.truth.shape[1]
    logits_NC = predict(backbone, train.squares, test.squares, classes, loss, options, seed)
    return Ranked(logits_NC.numpy(), test.truth)


def tagging_loss(logits_NC: Tensor, truth_NC: Tensor) -> Tensor:
    """Mean binary cross-entropy, in nats, over classes and photos, without those marked DIFFICULT; 0 where all are."""
    counted = (truth_NC != DIFFICULT).float()
    wanted = (truth_NC == PRESENT).float()
    total = F.binary_cross_entropy_with_logits(logits_NC, wanted, counted, reduction="sum")
    return total / counted.sum().clamp_min(1)


def average_precision(
    scores_N: NDArray[np.floating], truth_N: NDArray[np.integer], times_BN: NDArray[np.float64] | None = None
) -> Samples:
    """(B,) of one class, 0…1, with each photo as often as `times` says, once without; NaN for draws where the class is not present.

    The truth is PRESENT, DIFFICULT or ABSENT. ValueError for scores that are NaN.
    """
    if np.isnan(scores_N).any():
        raise ValueError("scores that are not numbers have no order")
    counted = truth_N != DIFFICULT
    order = np.flatnonzero(counted)[np.argsort(-scores_N[counted], kind="stable")]
    times = np.ones((1, len(scores_N))) if times_BN is None else times_BN
    if not len(order):
        return np.full(len(times), np.nan)
    seen = times[:, order].cumsum(1)
    right = (times[:, order] * (truth_N[order] == PRESENT)).cumsum(1)
    present = right[:, -1]
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    best_from = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    total = np.zeros(len(times))
    for tenths in range(_RECALLS):
        # In whole photos: a recall of 3 in 10 is 0.3, whatever 3 · 0.1 may be.
        reached = 10 * right >= tenths * present[:, None]
        total += np.where(reached.any(1), best_from[np.arange(len(times)), reached.argmax(1)], 0)
    found: Samples = np.where(present > 0, total / _RECALLS, np.nan)
    return found


def mean_average_precision(scores_NC: NDArray[np.floating], truth_NC: NDArray[np.integer]) -> Samples:
    """(1 + RESAMPLES,) of photos as they are and drawn anew: the mean over classes, those left out that a draw lacks."""
    times = Bootstrap(len(scores_NC)).times
    by_class = [
        average_precision(scores, truth, times) for scores, truth in zip(scores_NC.T, truth_NC.T, strict=True)
    ]
    return class_means(np.stack(by_class, 1))


def truth(split: Path, photos: Sequence[Path]) -> NDArray[np.int8]:
    """(N, 20) of PRESENT, DIFFICULT, ABSENT, of these photos of a split, such as voc2007/ImageSets/Main/trainval.txt.

    FileNotFoundError where a class's list, or a photo's annotation, is missing; InputError where one says nothing of a photo, or no sense.
    """
    lists = {name: split.with_name(f"{name}_{split.name}") for name in CLASSES}
    there = [name for name, path in lists.items() if path.exists()]
    if not there:
        annotations = split.parents[2] / "Annotations"
        return np.array([_tags(annotations / f"{photo.stem}.xml") for photo in photos], np.int8)
    columns = []
    for name, path in lists.items():
        if name not in there:
            raise FileNotFoundError(f"{path} is missing, where other classes have such a list")
        tags = _listed(path)
        absent = [photo.name for photo in photos if photo.stem not in tags]
        if absent:
            raise InputError(f"{path} says nothing of {absent[0]}, nor of {len(absent) - 1} others")
        columns.append([tags[photo.stem] for photo in photos])
    return np.array(columns, np.int8).T


def _listed(path: Path) -> dict[str, int]:
    tags = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        name, *values = line.split()
        if values not in (["1"], ["0"], ["-1"]):
            raise InputError(
                f"{path}, line {number}: a photo and 1, 0 or -1 are wanted, not {line.strip()!r}"
            )
        tags[name] = int(values[0])
    return tags


def annotated(path: Path) -> list[tuple[str, bool, ElementTree.Element]]:
    """The class of each object in a photo's annotation, whether it is difficult to see, and its element.

    FileNotFoundError where the annotation is missing, InputError where it is none, or names what is no class of VOC's.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no annotation: {error}") from error
    found = [(one.findtext("name", ""), one.findtext("difficult", "0") == "1", one) for one in objects]
    for name, *_ in found:
        if name not in CLASSES:
            raise InputError(f"{path} holds a {name!r}, which is none of VOC's classes")
    return found


def _tags(path: Path) -> list[int]:
    tags = dict.fromkeys(CLASSES, ABSENT)
    for name, difficult, _ in annotated(path):
        tags[name] = max(tags[name], DIFFICULT if difficult else PRESENT)
    return list(tags.values())


@contextmanager
def _named(what: str, source: Path | None) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"{what}, {source}: {error}") from error


def _tagged(voc2007: Path, split: str, folder: Path) -> Tagged:
    listed = voc2007 / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.exists():
        raise FileNotFoundError(f"{listed} is missing, the list of the photographs of this half")
    photos = cache.build(data.find([listed]), Options().side, folder)
    return Tagged(photos.squares, truth(listed, photos.photos))


def _masked(camvid: Path, split: str) -> Masked:
    return segmentation.camvid(camvid / split, camvid / f"{split}annot")
