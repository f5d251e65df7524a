"""A run of many photos into a folder: for each what has become of it, by the folder's manifest or by coloring it.

    with manifest.opened(out) as record:
        run = Run(record, sources.find(given, out).photos, recipe, load, ...)
        for outcome in pipeline.run(run.sources, run.color, jobs, run.stop): ...

`Run.color` is called by several threads.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Literal

from model.cards import OnnxCard
from model.colorizer import Colorizer
from model.errors import InputError, Notice, PhotoError
from model.folder import recipe as recipes
from model.folder import results
from model.folder.manifest import Entry, Manifest, Stamp, State, Written, fingerprint, hash_of
from model.folder.pipeline import BYTES_A_JOB, Room, StoppedError
from model.folder.recipe import Made, Output, Recipe
from model.folder.results import Places
from model.folder.sources import Source, identity
from model.image_headers import ENDINGS, Limits, probe

_BYTES_A_BYTE: Final = 100
"""Of a file whose header does not say its size: what a JPEG grows to."""

Kind = Literal["colored", "kept", "there", "changed", "refused", "failed"]
"""`there`: done by an earlier run. `changed`: done by an earlier run, and the result was changed by somebody since: left as it is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    source: Source
    kind: Kind
    results: tuple[str, ...] = ()
    """Names in the folder, the result itself first."""
    code: str = ""
    detail: str = ""
    notices: tuple[Notice, ...] = ()
    trace: str = ""
    """Where an error of the program is."""


class Run:
    """What threads need to color one source after the other into the folder of a manifest."""

    def __init__(
        self,
        manifest: Manifest,
        sources: Sequence[Source],
        recipe: Recipe,
        load: Callable[[], Colorizer],
        room: Room,
        overwrite: bool = False,
        alone: bool = True,
    ) -> None:
        """`load` gives the net whenever it is asked, and may block the first time. `overwrite`: color anew what is done already.

        `alone`: one photo at a time, which may use all cores; else each one.
        """
        self.sources = sources
        self.stop = threading.Event()
        self.stopped_by: OSError | None = None
        """Why no further photo can be written: the disk is full or read-only."""
        self._manifest = manifest
        self._recipe = recipe
        self._load = load
        self._room = room
        self._overwrite = overwrite
        self._threads = None if alone else 1
        self._names = results.names(sources)
        self._places = Places(manifest, self._names, _identities(manifest, sources))

    def color(self, source: Source) -> Outcome:
        """Color one source, or find that it is done. Whatever is wrong with one photo is its outcome, and no error."""
        done = self.done(source)
        if done is not None:
            return done
        try:
            return self._color(source)
        except StoppedError:
            raise
        except (PhotoError, InputError) as error:  # such as a hint beside the photograph
            kind: Kind = "refused" if error.code == "photo_in_color" else "failed"
            return self._without_result(source, kind, error.code, error.detail)
        except OSError as error:
            if results.is_final(error):
                self.stopped_by = error
                self.stop.set()
            said = "The link leads nowhere." if _is_dangling(source.path) else error.strerror or str(error)
            return self._without_result(source, "failed", "file_failed", said)
        except MemoryError:
            said = "There is not memory enough for this photo. Try --jobs 1."
            return self._without_result(source, "failed", "memory_short", said)
        except Exception as error:
            # One photo that finds a defect of ours must not stop twelve thousand others.
            said = f"This is an error of the program, not of the photo: {type(error).__name__}: {error}"
            return self._without_result(source, "failed", "program_failed", said, traceback.format_exc())

    def done(self, source: Source) -> Outcome | None:
        """What an earlier run has made of a source, where that is what this run would make of it; None where there is something to do."""
        entry = self._manifest.entry(source.key) or self._moved(source)
        if entry is None or self._overwrite:
            return None
        names = tuple(written.name for written in entry.written)
        if self._manifest.is_current(source.key, source.path, self.fingerprint):
            if entry.state == "saving":  # it was killed between its last file and its last line
                self._manifest.append(replace(entry, state=entry.becomes))
            kind: Kind = "refused" if entry.state == "refused" else "there"
            return Outcome(source, kind, names, entry.code, entry.detail)
        if entry.is_done and (changed := self._manifest.changed(source.key)):
            said = (
                f"{changed[0]} was changed since it was made, and is left as it is; --overwrite makes it anew"
            )
            return Outcome(source, "changed", names, "result_changed", said)
        return None

    def _moved(self, source: Source) -> Entry | None:
        """What was made of the photo while it was somewhere else, as on a disk that is mounted at another place now."""
        try:
            before = self._manifest.moved(source.path)
            if before is None:
                return None
            status = source.path.stat()
        except OSError:
            return None
        assert before.stamp is not None
        entry = replace(before, source=source.key, stamp=Stamp.of(status, before.stamp.sha256))
        self._places.inherit(source.key, [one.name for one in (*entry.earlier, *entry.written)])
        self._manifest.append(entry)
        return entry

    def planned(self, source: Source, format: str) -> str:
        """The name of the result of a source that is saved in this format, if it were colored now."""
        name, _ = self._places.claim(source.key, self._wanted(source, "result", format, ""), self._overwrite)
        return name

    @property
    def fingerprint(self) -> str:
        """Of the recipe and the net. Waits for the net."""
        net = self._net()
        return fingerprint(self._recipe.words(), (net.sha256, _decoding(net)))

    def _color(self, source: Source) -> Outcome:
        with source.path.open("rb") as file:
            status = os.fstat(file.fileno())
            with self._room.of(_memory(file, status, self._recipe)):
                self._check()
                data = file.read()
                stamp = Stamp.of(status, hashlib.sha256(data).hexdigest())
                made = recipes.make(
                    data, self._recipe, self._net, self._check, source.path.name, self._threads
                )
                self._check()
                return self._save(source, stamp, status, made)

    def _save(self, source: Source, stamp: Stamp, status: os.stat_result, made: Made) -> Outcome:
        """Say what is about to be written, write it, and say that it is there."""
        times = (status.st_atime_ns, status.st_mtime_ns) if self._recipe.keeps_time else None
        if made.state == "kept" and identity(source.path.parent) == identity(self._manifest.folder):
            made.outputs = []  # it is where its copy would go
        before = self._before(source)
        claims = self._claim(source, made.outputs)
        entry = Entry(
            source.key,
            stamp,
            self.fingerprint,
            "saving",
            written=tuple(results.planned(output.role, name, output.data) for output, name, _ in claims),
            earlier=before,
            notices=made.notices,
            options=self._options(),
            becomes=made.state,
        )
        self._manifest.append(entry)
        written = []
        for output, name, may_replace in claims:
            target = self._manifest.folder / name
            put = results.put(target, output.data, may_replace, times)
            written.append(Written(output.role, name, put))
        names = tuple(one.name for one in written)
        earlier = tuple(one for one in before if one.name not in names)
        self._manifest.append(replace(entry, state=made.state, written=tuple(written), earlier=earlier))
        return Outcome(source, made.state, names, notices=made.notices)

    def _claim(self, source: Source, outputs: Sequence[Output]) -> list[tuple[Output, str, bool]]:
        claims = []
        names: dict[str, str] = {}
        for output in outputs:
            if output.beside:
                wanted = results.beside(PurePosixPath(names[output.beside]), output.ending)
            else:
                wanted = self._wanted(source, output.role, output.format, output.part)
            name, may_replace = self._places.claim(source.key, wanted, self._overwrite)
            names[output.role] = name
            claims.append((output, name, may_replace))
        return claims

    def _wanted(self, source: Source, role: str, format: str, part: str) -> PurePosixPath:
        """The name of the last run, where it still fits; else what the photo's own name says."""
        for written in self._before(source):
            name = PurePosixPath(written.name)
            if written.role == role and name.suffix.lower() in ENDINGS[format]:
                return name
        return self._names[source.key].saved_as(format, part)

    def _before(self, source: Source) -> tuple[Written, ...]:
        """What was made of it before, the latest first. One name may stand there twice: as it was, and as it was about to be."""
        entry = self._manifest.entry(source.key)
        return () if entry is None else tuple(dict.fromkeys((*entry.written, *entry.earlier)))

    def _without_result(self, source: Source, kind: Kind, code: str, detail: str, trace: str = "") -> Outcome:
        state: State = "refused" if kind == "refused" else "failed"
        try:
            stamp = Stamp.of(source.path.stat(), hash_of(source.path)) if state == "refused" else None
            entry = Entry(source.key, stamp, self.fingerprint, state, (), self._before(source), code, detail)
            self._manifest.append(replace(entry, options=self._options()))
        except OSError as error:  # the disk is full: what cannot be recorded is tried again
            detail = f"{detail} The manifest cannot be written: {error.strerror}."
        return Outcome(source, kind, (), code, detail, trace=trace)

    def _options(self) -> dict[str, Any]:
        net = self._net()
        return {**self._recipe.words(), "net": {"name": net.name, "sha256": net.sha256}}

    def _net(self) -> Colorizer:
        try:
            return self._load()
        except BaseException as error:  # who follows the run loads it as well, and says what is wrong
            raise StoppedError from error

    def _check(self) -> None:
        if self.stop.is_set():
            raise StoppedError


def _memory(file: IO[bytes], status: os.stat_result, recipe: Recipe) -> int:
    """Bytes that a photo takes, by its header; by its length where that says nothing."""
    if not stat.S_ISREG(status.st_mode):
        return BYTES_A_JOB
    try:
        header = probe(file, Limits.none())
    except PhotoError:
        return status.st_size * _BYTES_A_BYTE
    finally:
        file.seek(0)
    return recipes.memory(header, status.st_size, recipe)


def _decoding(net: Colorizer) -> str:
    """What the card of a net decides of the colors, which may change while the weights stay."""
    card = net.card
    if isinstance(card, OnnxCard):
        return repr(replace(card, terms="", source="", data="", notes="", extra={}))
    return repr((card.size, card.temperature, card.taken_back, card.prior, card.lam))


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _identities(manifest: Manifest, sources: Sequence[Source]) -> frozenset[tuple[int, int]]:
    """Of all photos that are or ever were sources: no result takes the place of one, by whatever path it is reached."""
    paths = {source.key for source in sources} | {entry.source for entry in manifest.entries()}
    return frozenset(place for path in paths if (place := identity(Path(path))) is not None)
