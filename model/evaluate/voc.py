"""What VOC2007's photographs hold: Everingham et al. 2010, section 3; the development kit's class lists.

In the layout of its release: JPEGImages/, Annotations/ with the objects of each photo, ImageSets/Main/<split>.txt with the names of its
photos, and ImageSets/Main/<class>_<split>.txt with, after each name, 1 where a thing of the class is present, 0 where all such are
difficult to see, −1 where there is none. Where a folder has none of the latter, the same is read off the annotations, of which those
lists were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from model.errors import InputError
from model.evaluate.precision import ABSENT, DIFFICULT, PRESENT

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


def truth(split: Path, photos: Sequence[Path]) -> NDArray[np.int8]:
    """(N, 20) of PRESENT, DIFFICULT, ABSENT, of these photos of a split, such as voc2007/ImageSets/Main/trainval.txt.

    FileNotFoundError where a class's list, or a photo's annotation, is missing; ValueError where one says nothing of a photo, or no sense.
    """
    lists = {name: split.with_name(f"{name}_{split.name}") for name in CLASSES}
    there = [name for name, path in lists.items() if path.exists()]
    if not there:
        annotations = split.parents[2] / "Annotations"
        return np.array([_annotated(annotations / f"{photo.stem}.xml") for photo in photos], np.int8)
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


def _annotated(path: Path) -> list[int]:
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no annotation: {error}") from error
    tags = dict.fromkeys(CLASSES, ABSENT)
    for thing in objects:
        name = thing.findtext("name", "")
        if name not in tags:
            raise InputError(f"{path} holds a {name!r}, which is none of VOC's classes")
        if thing.findtext("difficult", "0") == "1":
            tags[name] = max(tags[name], DIFFICULT)
        else:
            tags[name] = PRESENT
    return list(tags.values())
