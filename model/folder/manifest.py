"""What has become of each photograph that was colored into a folder: the file `.autochrome.jsonl` there, a line of JSON for each event.

The last line about a source is what holds. A line is written whole or, when the machine stops, in part; a line that is no JSON is passed
over. A result is recorded before it is put in its place and again after it: whoever is killed in between finds on the next run that the
file is not the one recorded, and makes it again. So a manifest never says of a photo that it is done when it is not.

Needs neither numpy nor Pillow.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from model.errors import InputError, Notice
from model.image_metadata import SOURCE_TYPE

NAME: Final = ".autochrome.jsonl"

State = Literal["saving", "colored", "kept", "refused", "failed"]
"""`saving`: its files are being put in their places. `kept`: in color already, and copied as it is. `refused`: in color already, and
nothing was written."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was. Where size and times are the same, it is taken for unchanged; else its hash is compared."""

    size: int
    mtime_ns: int
    ctime_ns: int
    """Of the inode: also a tool that puts the modification time back moves it."""
    sha256: str

    @classmethod
    def of(cls, status: os.stat_result, sha256: str) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, sha256)

    def fits(self, path: Path) -> bool:
        """Whether the file at `path` is the one that was stamped. It is read only where its times differ."""
        try:
            now = path.stat()
            if now.st_size != self.size:
                return False
            if (now.st_mtime_ns, now.st_ctime_ns) == (self.mtime_ns, self.ctime_ns):
                return True
            return hash_of(path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was made of a source: the result itself, or what stands beside it."""

    role: str
    """`result`, `sidecar` and so on; of a file with several pages, with the page's number."""
    name: str
    """Relative to the folder of the manifest, with slashes."""
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Entry:
    """What has become of one source."""

    source: str
    """Its absolute path."""
    stamp: Stamp | None
    """None where it could not be read."""
    recipe: str
    """The hash of the options and the net: another recipe colors anew."""
    state: State
    written: tuple[Written, ...] = ()
    earlier: tuple[Written, ...] = ()
    """What other recipes made of it, which may still be there, or may be about to be replaced."""
    code: str = ""
    """Of the error, where it failed."""
    detail: str = ""
    notices: tuple[Notice, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """The recipe in words, for people and programs that read the file."""
    becomes: State = "colored"
    """Of `saving`: the state once all files are in their places."""

    @property
    def is_done(self) -> bool:
        return self.state in ("colored", "kept", "refused")


class Manifest:
    """The manifest of `folder`, open for this process alone. `append` may be called by several threads."""

    def __init__(self, folder: Path, entries: dict[str, Entry], file: io.FileIO | None) -> None:
        self.folder = folder
        self._entries = entries
        self._file = file
        self._lock = Lock()
        self._by_name: defaultdict[tuple[str, int], list[Entry]] | None = None
        """What `moved` may give still."""

    def entry(self, source: str) -> Entry | None:
        return self._entries.get(source)

    def entries(self) -> list[Entry]:
        return [*self._entries.values()]

    def owners(self) -> dict[str, str]:
        """The name of every file that was made, to the source that it was made of; of a photo that has moved, where it is now."""
        return {
            written.name: entry.source
            for entry in self._entries.values()
            for written in (*entry.earlier, *entry.written)
        }

    def results(self) -> frozenset[str]:
        """The absolute path of every file that was made."""
        base = os.path.realpath(self.folder)
        return frozenset(str(Path(base, name)) for name in self.owners())

    def is_ours(self, source: str, name: str, even_changed: bool = False) -> bool:
        """Whether the file `name` is what we made of the source, and nobody has changed it since.

        `even_changed`: or somebody has, and it says still that its colors are guessed. Another photograph may have got the name of a result
        that is gone. A link is never ours, wherever it leads.
        """
        entry = self._entries.get(source)
        path = self.folder / name
        if entry is None or path.is_symlink():
            return False
        named = [written for written in (*entry.written, *entry.earlier) if written.name == name]
        if any(written.stamp.fits(path) for written in named):
            return True
        return even_changed and bool(named) and _says_guessed(path)

    def changed(self, source: str) -> list[str]:
        """Of the files that were last made of the source, those that are there and that somebody has changed since."""
        entry = self._entries.get(source)
        return [
            written.name
            for written in (entry.written if entry is not None else ())
            if os.path.lexists(self.folder / written.name) and not self.is_ours(source, written.name)
        ]

    def moved(self, path: Path) -> Entry | None:
        """The entry of a photo that is at `path` now and no longer where it was: the same name and bytes, which are read if need be.

        An entry is given once, in this run and in later ones: of photos that are alike, each has a result of its own.
        """
        size = path.stat().st_size
        with self._lock:
            if self._by_name is None:
                self._by_name = self._sorted_by_name()
            alike = self._by_name[path.name, size]
            gone = [entry for entry in alike if not os.path.lexists(entry.source)]
        if not gone:
            return None
        sha256 = hash_of(path)
        with self._lock:  # another thread may have been given one of them meanwhile
            left = (entry for entry in gone if entry in alike)
            found = next((entry for entry in left if entry.stamp and entry.stamp.sha256 == sha256), None)
            if found is not None:
                alike.remove(found)
        return found

    def append(self, entry: Entry) -> None:
        """Record it; it is in the operating system's hands when this returns, so that a kill of this process does not lose it."""
        line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._entries[entry.source] = entry
            if self._file is not None:
                _write_whole(self._file, line)

    def is_current(self, source: str, path: Path, recipe: str) -> bool:
        """Whether `path` is as it was, was done by this recipe, and all that was made of it is there unchanged."""
        entry = self._entries.get(source)
        return (
            entry is not None
            and entry.recipe == recipe
            and (entry.is_done or entry.state == "saving")
            and entry.stamp is not None
            and entry.stamp.fits(path)
            and all(written.stamp.fits(self.folder / written.name) for written in entry.written)
        )

    def _sorted_by_name(self) -> defaultdict[tuple[str, int], list[Entry]]:
        """By a photo's name and size, what is done, without what a photo that has moved was given before."""
        owners = self.owners()
        by_name = defaultdict(list)
        for entry in self._entries.values():
            has_its_own = all(owners[written.name] == entry.source for written in entry.written)
            if entry.is_done and entry.stamp is not None and has_its_own:
                by_name[Path(entry.source).name, entry.stamp.size].append(entry)
        return by_name


def read(folder: Path) -> Manifest:
    """The manifest as it is, to be looked at; empty where there is none."""
    try:
        data = (folder / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        data = b""
    return Manifest(folder, _parse(data)[0], None)


@contextmanager
def opened(folder: Path) -> Iterator[Manifest]:
    """The manifest of `folder`, which is made where it is missing, with a lock that goes with the process however it ends.

    Raises InputError where another process colors into the folder, OSError where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY)
    try:
        _lock(place, folder)
        path = folder / NAME
        with path.open("ab+", buffering=0) as file:
            file.seek(0)
            data = file.readall()
            entries, lines = _parse(data)
            if data and not data.endswith(b"\n"):
                _write_whole(file, b"\n")  # ends the line that a power cut left half written
            if lines <= 2 * len(entries) + 100:
                yield Manifest(folder, entries, file)
                return
        _compact(path, entries)
        with path.open("ab", buffering=0) as file:
            yield Manifest(folder, entries, file)
    finally:
        os.close(place)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _says_guessed(path: Path) -> bool:
    """Whether the file carries our disclosure."""
    try:
        return SOURCE_TYPE.encode() in path.read_bytes()
    except OSError:
        return False


def _lock(place: int, folder: Path) -> None:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"another process colors into {folder} now; let it end, or name another folder"
        ) from error
    except OSError:  # a file system without locks
        return


def _write_whole(file: io.FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _compact(path: Path, entries: Mapping[str, Entry]) -> None:
    """One line a source, put in place at once."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.writelines(json.dumps(asdict(entry)).encode() + b"\n" for entry in entries.values())
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _parse(data: bytes) -> tuple[dict[str, Entry], int]:
    """The last entry of each source, and how many lines there are."""
    entries: dict[str, Entry] = {}
    lines = data.splitlines()
    for line in lines:
        try:
            entry = _entry(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # half a line, or a line of a later version
        entries.pop(entry.source, None)  # what comes last stands last
        entries[entry.source] = entry
    return entries, len(lines)


def _entry(values: dict[str, Any]) -> Entry:
    return Entry(
        source=str(values["source"]),
        stamp=_stamp(values["stamp"]) if values["stamp"] else None,
        recipe=str(values["recipe"]),
        state=values["state"],
        written=tuple(_written(one) for one in values["written"]),
        earlier=tuple(_written(one) for one in values["earlier"]),
        code=str(values["code"]),
        detail=str(values["detail"]),
        notices=tuple(Notice(one["code"], one["detail"]) for one in values["notices"]),
        options=values["options"],
        becomes=values.get("becomes", "colored"),  # lines of earlier versions do not say it
    )


def _written(values: Mapping[str, Any]) -> Written:
    return Written(str(values["role"]), str(values["name"]), _stamp(values["stamp"]))


def _stamp(values: Mapping[str, Any]) -> Stamp:
    return Stamp(values["size"], values["mtime_ns"], values["ctime_ns"], values["sha256"])


def fingerprint(options: Mapping[str, Any], parts: Sequence[str] = ()) -> str:
    """The hash of options in JSON."""
    text = json.dumps([options, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
