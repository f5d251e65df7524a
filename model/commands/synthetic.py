"""Write made pictures as files, in the layouts that all other commands read: classes and poses in folders, masks as CamVid has them."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from rich.progress import track

from model import synthetic as made
from model.synthetic import Switches

_AT_ONCE = 50  # in a row, these hold each class in each pose once


def synthetic(arguments: argparse.Namespace) -> int:
    """Draw what is asked for. ValueError for switches that do not exist."""
    options = made.Options(Switches.of(arguments.switches), arguments.side)
    draw(arguments.out, options, arguments.count, arguments.seed)
    print(
        f"{arguments.count} pictures in {arguments.out}: class/, pose/ and mask/ hold the same, each with its own labels"
    )
    return 0


def draw(folder: Path, options: made.Options, count: int, seed: int = 0) -> None:
    """class/{train,val}, pose/{train,val}, and mask/{train,trainannot,test,testannot}; a sixth of the pictures is for judging.

    The same seed, switches and numbers are the same pictures: more of them can be added later.
    """
    for first in track(range(0, count, _AT_ONCE), "drawing"):
        numbers = range(first, min(first + _AT_ONCE, count))
        drawn = made.draw(numbers, options, seed)
        for place, number in enumerate(numbers):
            judged = number // _AT_ONCE % 6 == 5
            split, frames = ("val", "test") if judged else ("train", "train")
            name = f"{number:07d}.png"
            picture = folder / "class" / split / made.CLASSES[int(drawn.classes[place, 0])] / name
            _save(Image.fromarray(drawn.rgb[place].permute(1, 2, 0).numpy()), picture)
            _link(picture, folder / "pose" / split / str(int(drawn.poses[place, 0])) / name)
            _link(picture, folder / "mask" / frames / name)
            _save(
                Image.fromarray(drawn.mask[place].byte().numpy()),
                folder / "mask" / f"{frames}annot" / name,
            )


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _link(picture: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.hardlink_to(picture)
