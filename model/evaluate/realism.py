"""Does recoloring fool people? Pairs for the paper's test of realism (section 3.1), and what people answered (`/clap`, docs/web.md).

A pair is a photograph and the same one colored anew from its lightness, of one size, both written by one encoder. People see either for a
second, and say which was colored by a machine. The fooling rate is the share of answers that are wrong: 50% where nothing can be told, and
32.3% ± 2.2 for the paper's full method (256×256, 40 people, 40 pairs each).

Files are called by a hash of what they hold, so that no address says which is which; `pairs.json` does.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate import intervals
from model.evaluate.color import center_crop, colorfulness
from model.evaluate.figures import Strip
from model.image_io import Photo
from model.training import data

MANIFEST = "pairs.json"
COLUMNS = ("net", "name", "pair", "rounds", "shown", "fooled")
PAPER = "32.3% ± 2.2"
_GRAY = 4.0  # colorfulness; below it a photograph has no colors that another could be told from
_QUALITY = 88


@dataclass(frozen=True)
class Pair:
    """The names of its two files, the photograph's own, and the hash of the net that colored it."""

    pair: str
    net: str
    photo: str
    colored: str
    file: str


def make(path: Path, colorizer: Colorizer, side: int, folder: Path) -> Pair | None:
    """Write both pictures of a pair, whose longer side is at most `side` pixels. None for a photograph that is gray.

    Raises OSError for one that cannot be read or written.
    """
    truth = _fitted(data.read(path), side)
    if colorfulness(truth) < _GRAY:
        return None
    [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
    photo, recolored = _save(truth, folder), _save(colored.pixels, folder)
    name = _hash(f"{photo}+{recolored}".encode())[:12]
    return Pair(name, colorizer.sha256, photo, recolored, f"{path.parent.name}/{path.name}")


def write(pairs: Sequence[Pair], nets: Mapping[str, str], terms: str, folder: Path) -> None:
    """The manifest. `nets`: name by hash; `terms`: on what the photographs may be shown, and whose they are."""
    content = {"terms": terms, "nets": nets, "pairs": [asdict(pair) for pair in pairs]}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Pair]:
    """Pairs by name. Raises OSError where there is no manifest, InputError for another file."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
        return {entry["pair"]: Pair(**entry) for entry in content["pairs"]}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{folder / MANIFEST} is no manifest of `evaluate realism`: {error}") from error


@dataclass(frozen=True)
class Tally:
    """How often a pair was shown in games of so many rounds, and how often the photograph was taken for the machine's."""

    net: str
    name: str
    pair: str
    rounds: int
    shown: int
    fooled: int


def read_tallies(path: Path) -> list[Tally]:
    """A file as `/clap/tallies.csv` gives it. Raises OSError where there is none, InputError for a line that is none, naming it."""
    tallies = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, cells in enumerate(csv.reader(file), 1):
            if number == 1 and tuple(cells) == COLUMNS:
                continue
            try:
                net, name, pair, *counts = cells
                rounds, shown, fooled = map(int, counts)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: {','.join(COLUMNS)} are wanted, not {cells}"
                ) from error
            if not 0 <= fooled <= shown:
                raise InputError(f"{path}, line {number}: {fooled} of {shown} cannot have been fooled")
            tallies.append(Tally(net, name, pair, rounds, shown, fooled))
    if not any(tally.shown for tally in tallies):
        raise InputError(f"{path} holds no answer yet")
    return tallies


@dataclass(frozen=True)
class Summary:
    """Of each net, by (hash, rounds in a game): its name, pairs, answers, wrong ones, and the fooling rate."""

    rows: Mapping[tuple[str, int], tuple[str, int, int, int, intervals.Interval]]

    def as_markdown(self) -> str:
        lines = ["| net | rounds | pairs | answers | fooled | fooling rate, % |", "|---|---|---|---|---|---|"]
        for (net, rounds), (name, pairs, shown, fooled, rate) in self.rows.items():
            percent = " ".join([f"{100 * rate.value:.1f}", f"({100 * rate.low:.1f}…{100 * rate.high:.1f})"])
            lines.append(f"| {name} `{net[:8]}` | {rounds} | {pairs} | {shown} | {fooled} | {percent} |")
        return "\n".join(
            [
                *lines,
                "",
                f"95% intervals by bootstrap over pairs. The paper's full method: {PAPER}; where nothing can be told: 50%.",
            ]
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "nets": [
                {
                    "name": name,
                    "sha256": net,
                    "rounds": rounds,
                    "pairs": pairs,
                    "shown": shown,
                    "fooled": fooled,
                }
                | {"rate": asdict(rate)}
                for (net, rounds), (name, pairs, shown, fooled, rate) in self.rows.items()
            ]
        }


def summarize(tallies: Sequence[Tally]) -> Summary:
    """The fooling rate of each net, games of ten and of forty rounds apart: in the former people are told after each."""
    groups: dict[tuple[str, int], list[Tally]] = {}
    for tally in tallies:
        if tally.shown:
            groups.setdefault((tally.net, tally.rounds), []).append(tally)
    rows = {}
    for key, group in groups.items():
        draws = intervals.Bootstrap(len(group))
        shown, fooled = ([getattr(tally, of) for tally in group] for of in ("shown", "fooled"))
        rate = intervals.interval(draws.sums(fooled) / draws.sums(shown))
        assert rate is not None, "only what was shown is grouped"
        rows[key] = (group[0].name, len(group), sum(shown), sum(fooled), rate)
    return Summary(rows)


def extremes(tallies: Sequence[Tally], count: int) -> tuple[list[Tally], list[Tally]]:
    """The pairs that fooled people most, and least, all games together: by the lower and the upper end of Wilson's interval."""
    totals: dict[str, Tally] = {}
    for tally in tallies:
        before = totals.get(tally.pair, Tally(tally.net, tally.name, tally.pair, 0, 0, 0))
        shown, fooled = before.shown + tally.shown, before.fooled + tally.fooled
        totals[tally.pair] = Tally(tally.net, tally.name, tally.pair, 0, shown, fooled)
    ends = {
        tally.pair: binomtest(tally.fooled, tally.shown).proportion_ci(method="wilson")
        for tally in totals.values()
        if tally.shown
    }
    most = sorted(ends, key=lambda pair: -ends[pair].low)
    least = sorted(ends, key=lambda pair: ends[pair].high)
    return [totals[pair] for pair in most[:count]], [totals[pair] for pair in least[:count]]


def strip(tally: Tally, pair: Pair, folder: Path) -> Strip:
    """For a sheet: photograph and recolored. Raises OSError for a picture that is gone."""
    pictures = [center_crop(data.read(folder / name)) for name in (pair.photo, pair.colored)]
    return Strip(f"{tally.fooled} of {tally.shown} fooled: {pair.file}", pictures)


def _fitted(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, made smaller where a side is longer."""
    picture = Image.fromarray(rgb)
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _save(pixels: NDArray[np.uint8], folder: Path) -> str:
    """Returns the file's name. The same options for both of a pair: nothing but color may give one away."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY, optimize=True)
    name = f"{_hash(out.getvalue())[:16]}.jpg"
    (folder / name).write_bytes(out.getvalue())
    return name


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
