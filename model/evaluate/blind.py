"""A blind comparison: old photographs by two nets, side by side and without saying which is which, for a person to say what to keep.

These have no ground truth to measure against. A strip shows gray, A and B; which net is A is drawn for each photo from a seed, and is
written into key.json alone. Counted are the photos of which one net's result was kept and not the other's; that both are as likely to be
so is tested by the sign test (two-sided, exact: a binomial test with p = ½).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate.color import gray
from model.evaluate.figures import headed_row
from model.image_io import Photo
from model.training import data

KEY = "key.json"
VERDICTS_FILE = "answers.csv"
VERDICTS = ("a", "b", "both", "neither")


@dataclass(frozen=True)
class Entry:
    """One photo: its number from 1, its folder and file name, and the nets that are A and B."""

    photo: int
    file: str
    order: tuple[str, str]


def draw_key(photos: Sequence[Path], nets: Sequence[str], seed: int) -> list[Entry]:
    """The key for these photos and two nets: the order of A and B in each."""
    swapped = np.random.default_rng(seed).integers(0, 2, len(photos))
    first, second = nets
    return [
        Entry(number, f"{path.parent.name}/{path.name}", (second, first) if swap else (first, second))
        for number, (path, swap) in enumerate(zip(photos, swapped, strict=True), 1)
    ]


def strip(path: Path, colorizers: Sequence[Colorizer], entry: Entry, height: int) -> Image.Image:
    """Gray, A, B in the photo's own shape, under its number. Raises OSError for a photo that cannot be read."""
    pixels = data.read(path)
    colored = [colorizer.colorize([Photo(pixels, None, "PNG")])[0].pixels for colorizer in colorizers]
    return headed_row([f"{entry.photo}  gray", "A", "B"], [gray(pixels), *colored], height)


def write(key: Sequence[Entry], nets: Mapping[str, str], seed: int, folder: Path) -> None:
    """The key, with the nets' hashes by name; and answers.csv, to fill in."""
    photos = {entry.photo: {"file": entry.file, "a": entry.order[0], "b": entry.order[1]} for entry in key}
    content = {"nets": nets, "seed": seed, "photos": photos}
    (folder / KEY).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    lines = ["photo,verdict", *(f"{entry.photo}," for entry in key)]
    (folder / VERDICTS_FILE).write_text("\n".join(lines) + "\n")


def read_key(path: Path) -> tuple[list[str], list[Entry]]:
    """The two nets, and the key. Raises OSError where there is none, InputError for another file."""
    try:
        content = json.loads(path.read_text())
        nets = list(content["nets"])
        key = [
            Entry(int(number), photo["file"], (photo["a"], photo["b"]))
            for number, photo in content["photos"].items()
        ]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no key of `evaluate blind`: {error}") from error
    return nets, key


def read_verdicts(path: Path, key: Sequence[Entry]) -> dict[int, str]:
    """Verdict by photo; an empty one is left out. A first line "photo,verdict" is passed over.

    Raises OSError where there is no such file, InputError for a line that is none, naming it, and where there is no verdict yet.
    """
    known = {entry.photo for entry in key}
    found: dict[int, str] = {}
    with path.open(newline="") as file:
        for number, cells in enumerate(csv.reader(file), 1):
            words = [cell.strip().lower() for cell in cells]
            if words == ["photo", "verdict"] or not any(words):
                continue
            if len(words) != 2 or not words[0].isdecimal() or int(words[0]) not in known:
                raise InputError(
                    f"{path}, line {number}: the number of a photo and a verdict are wanted, not {cells}"
                )
            photo, verdict = int(words[0]), words[1]
            if not verdict:
                continue
            if verdict not in VERDICTS:
                raise InputError(
                    f"{path}, line {number}: a verdict is one of {', '.join(VERDICTS)}, not {verdict!r}"
                )
            if photo in found:
                raise InputError(f"{path}, line {number}: photo {photo} has a verdict already")
            found[photo] = verdict
    if not found:
        raise InputError(f"{path} holds no verdict yet")
    return found


@dataclass(frozen=True)
class Counts:
    """Photos by what was kept of them."""

    only: Mapping[str, int]  # by net, in the order of the key
    both: int
    neither: int
    p_value: float  # of the sign test; 1 where no photo decides between the nets

    @property
    def photos(self) -> int:
        return sum(self.only.values()) + self.both + self.neither


def count(nets: Sequence[str], key: Sequence[Entry], verdicts: Mapping[int, str]) -> Counts:
    """Verdicts, by net."""
    kept: Counter[str] = Counter()
    ties: Counter[str] = Counter()
    for entry in key:
        verdict = verdicts.get(entry.photo)
        if verdict in ("a", "b"):
            kept[entry.order["ab".index(verdict)]] += 1
        elif verdict is not None:
            ties[verdict] += 1
    only = {net: kept[net] for net in nets}
    decided = sum(only.values())
    p_value = float(binomtest(only[nets[0]], decided).pvalue) if decided else 1.0
    return Counts(only, ties["both"], ties["neither"], p_value)


def as_text(counts: Counts, shown: int) -> str:
    """Lines of text; `shown` is how many photos there were to judge."""
    decided = sum(counts.only.values())
    lines = [f"{counts.photos} of {shown} photographs judged"]
    lines += [f"{net}: kept {only + counts.both}, of these {only} alone" for net, only in counts.only.items()]
    lines += [
        f"both kept: {counts.both}; neither: {counts.neither}",
        f"sign test over the {decided} of which one was kept alone: p = {counts.p_value:.3g} (two-sided)",
    ]
    return "\n".join(lines)
