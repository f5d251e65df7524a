"""What the lecture needs of its photographs, said before anything is trained: hours later it would be too late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from model.errors import InputError
from model.evaluate import neighbors
from model.evaluate.readings import Material
from model.training import cache
from model.training.cache import Cache


def folders(photos: Path, nets: Collection[str], known: Collection[str]) -> list[str]:
    """What is wrong with the folder of photographs and with the names of nets, a sentence each; nothing is decoded."""
    found = []
    for split in ("train", "val"):
        if not (photos / split).is_dir():
            found.append(
                f"{photos / split} is missing: {photos} needs train and val, each with a folder a class"
            )
    found += [
        f"the plan has no net {net!r}: --nets takes {' and '.join(known)}" for net in nets if net not in known
    ]
    return found


def sizes(seen: Material, labels: Sequence[int], shown: int, batch: int, each: int) -> list[str]:
    """What photographs are too few for, a sentence each: for so many labels, for so many of each class to learn from, and for neighbors;
    and those `shown` in training, which sees them larger and uses no small ones, for a step of so many."""
    count, vote = len(seen.taught.labels), neighbors.plain().count
    found = []
    if count < max(labels):
        enough = [str(of) for of in labels if of <= count]
        instead = f", or --labels {' '.join(enough)}" if enough else ""
        found.append(
            f"fine-tuning by {max(labels):,} labels needs as many photographs in train, and {count:,} can be used: give more{instead}"
        )
    if shown < batch:
        found.append(
            f"a training step shows {batch:,} different photographs, and {shown:,} in train can be used: give more"
        )
    if count < vote:
        found.append(
            f"kNN asks the {vote} nearest photographs, and {count:,} in train can be used: give more"
        )
    of_class = Counter(seen.taught.labels.tolist())
    few = [
        f"{name} has {of_class[kind]}" for kind, name in enumerate(seen.names) if 0 < of_class[kind] < each
    ]
    if few:
        found.append(f"kNN needs {each} photographs of each class in train: {', '.join(few)}")
    if len(seen.names) < 2:
        found.append(
            f"classes are told apart, and there is one only, {', '.join(seen.names)}: train and val need a folder for each"
        )
    return found


def squares(photos: Sequence[Path], side: int, folder: Path) -> Cache:
    """`cache.build`. ValueError where all are too small for squares of this side, or cannot be read."""
    try:
        return cache.build(photos, side, folder)
    except ValueError as error:
        raise InputError(
            f"{photos[0].parent.parent}, as squares of {side} pixels: {error}; a photograph's shorter side must be half of that at least"
        ) from error


def refuse(problems: Sequence[str]) -> None:
    """ValueError with all of them, where there are any."""
    if problems:
        raise InputError(
            "the lecture cannot begin, nothing was trained:\n" + "\n".join(f"- {one}" for one in problems)
        )
