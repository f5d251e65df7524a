"""Which photographs a command is to look at, and which net."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from model import checkpoint
from model.cards import Card, OnnxCard
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate.color import evenly
from model.evaluate.report import HELD, TRAIN, Source
from model.training import building, data


@dataclass(frozen=True)
class Selection:
    """What `--photos`, `--exclude`, `--only`, `--held-out` and `--limit` ask for."""

    photos: Sequence[Path]
    exclude: Sequence[str] = ()
    only: str | None = None
    held_out: int = 0
    limit: int = 0

    def found(self) -> list[Path]:
        """The photos. Raises FileNotFoundError for a source that holds none."""
        return self._narrowed(data.find(self.photos, self.exclude))

    def sources(self) -> list[Source]:
        """The photos by source: `photos` are NAME=PATH, NAME:train=PATH, NAME:held=PATH, or a path that is called by its last part.

        Several paths of one name and split are one source. With `held_out`, a source of the split "train" has what training kept. Raises
        FileNotFoundError for a source that holds no photo, InputError for one of which nothing is left, for another split, for photos
        that are in both splits of a name, and for one of several that is called "all".
        """
        paths: dict[tuple[str, str], list[Path]] = {}
        for word in self.photos:
            name, split, path = _parted(word)
            paths.setdefault((name, split), []).append(path)
        if len(paths) > 1 and any(name == "all" for name, _ in paths):
            raise InputError("no source may be called all: that is what the row of all of them is called")
        found: dict[tuple[str, str], Source] = {}
        for (name, split), places in paths.items():
            photos = self._narrowed(data.find(places, self.exclude), kept=split == TRAIN)
            source = found[name, split] = Source(name, photos, split)
            if not photos:
                raise InputError(f"nothing of the source {source.label} is left to evaluate on")
        for name, _ in paths:
            both = [found[key].photos for key in ((name, TRAIN), (name, HELD)) if key in found]
            if len(both) == 2 and (shared := {*both[0]} & {*both[1]}):
                raise InputError(
                    f"{len(shared)} photographs of {name} are in both splits: name other folders, or part them by --held-out N"
                )
        return [*found.values()]

    def of_all_sources(self) -> list[Path]:
        """The photos of `sources`, one after another: `limit` is a source's. Raises what that does."""
        return [path for source in self.sources() for path in source.photos]

    def _narrowed(self, photos: list[Path], kept: bool = False) -> list[Path]:
        """By `only`, `held_out` (of which `kept` are the rest) and `limit`."""
        if self.only:
            photos = [path for path in photos if path.match(self.only)]
        if self.held_out:
            photos = data.split(photos, self.held_out)[0 if kept else 1]
        return limited(photos, self.limit)


def _parted(word: Path) -> tuple[str, str, Path]:
    """(name, split, path)"""
    head, equals, path = str(word).partition("=")
    if not equals or word.exists():
        return word.stem, "", word
    name, colon, split = head.partition(":")
    if not name or (colon and split not in (TRAIN, HELD)):
        raise InputError(f"{word} is no source: NAME=PATH, NAME:{TRAIN}=PATH or NAME:{HELD}=PATH")
    return name, split, Path(path).expanduser()


def limited(photos: list[Path], limit: int) -> list[Path]:
    """At most `limit` of them, evenly chosen; all for 0."""
    return evenly(photos, limit if limit > 0 else len(photos))


def nets(names: Sequence[str], device: str) -> list[Colorizer]:
    """The nets of these names or files.

    Where cards share a name, each is called by its hash too; of one file's weights under several cards, by the share taken back.
    """
    colorizers = [Colorizer.load(name, device) for name in names]
    for tell_apart in (_hash, _share):
        times = Counter(colorizer.name for colorizer in colorizers)
        for colorizer in colorizers:
            if times[colorizer.name] > 1:
                card = colorizer.card
                colorizer.card = replace(card, name=f"{card.name} {tell_apart(card)}")
    return colorizers


def _hash(card: Card | OnnxCard) -> str:
    return card.sha256[:8]


def _share(card: Card | OnnxCard) -> str:
    return f"{card.share:g} taken back" if isinstance(card, Card) else card.sha256


def subject(net: str, run: Path | None, device: str) -> Colorizer:
    """The net of the training run in the folder `run`, or where there is none, the net of this name or file.

    A run has no card: one is made that says what its export would. Raises `checkpoint.CheckpointError`, FileNotFoundError for a folder
    without a run, and InputError for a run of another kind.
    """
    if run is None:
        return Colorizer.load(net, device)
    found = building.load(run)
    card = card_of(found, run.resolve().name)
    checkpoint.take_back(found.net, card)
    return Colorizer(found.net, card, device)


def card_of(found: building.Trained, name: str) -> Card:
    """The card of a run's averaged weights, decoded as `building.Trained.decoded` says.

    Terms, data and numbers are for `weights export` to fill in. InputError for a run that trained a backbone.
    """
    if found.config.net not in checkpoint.NETS:
        raise InputError(
            f"{name} trained a backbone by {found.config.method}; what is asked for is a run that trained the net that colors"
        )
    return Card(
        name=name,
        net=found.config.net,
        terms="",
        data="",
        recipe=found.metadata["config"]
        | {"photos": found.metadata["data"]["photos"], "trained": found.trained},
        commit=found.metadata["code"]["commit"],
        numbers={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **found.decoded,
    )
