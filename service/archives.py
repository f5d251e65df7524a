"""ZIP archives: read member by member, however they are made, and written as a stream; names in them made safe."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from model.image_headers import ENDINGS
from service.errors import Problem

IN_MEMORY = 2**20
MOST_RATIO = 200
"""Unpacked over packed. BMPs of photographs have 1 to 5, a drawn silhouette has 40, a blank page has 700."""
SMALL = 2**20
"""Bytes up to which any ratio will do."""
MOST_INDEX = 2**20
INDEX_A_FILE = 512
"""Bytes that the list of contents may have, and for each file; half a kilobyte is a name of 400 letters."""
CHUNK = 2**18
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # LZMA may ask for gigabytes of memory
_ENCRYPTED = 0x1 | 0x40  # APPNOTE.TXT 4.4.4: bits 0 and 6
_LEFTOVERS = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini"})
_LEFTOVER_FOLDERS = frozenset({"__macosx", "@eadir"})
_APPLE_DOUBLE = "._"

MOST_NAME_BYTES = 180
"""Of one part of a name: most file systems take 255, and a number and an extension are yet to come."""
MOST_FOLDERS = 8
FALLBACK = "photo"
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_DRIVE = re.compile(r"^[A-Za-z]:(?=/|$)")
# Naming Files, Paths, and Namespaces (Microsoft): whatever the extension, these are devices.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
_SAME = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tif": ".tiff"}
_PICTURES = frozenset(ending for endings in ENDINGS.values() for ending in endings)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may hold."""

    files: int
    bytes: int
    """Unpacked, all files together."""
    file_bytes: int
    """Unpacked, one file."""


class _Bounded:
    """A file that refuses to be read in one piece larger than a list of contents may be.

    `zipfile` reads the whole list at once and makes an object of each entry, before anyone can count them.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._most = most
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = lambda: True

    def read(self, size: int = -1) -> bytes:
        read = self._file.read(min(size, self._most + 1) if size >= 0 else self._most + 1)
        if len(read) > self._most:
            raise Problem("batch_too_large", what="The ZIP's list of contents is too long.")
        return read


def unpack(
    file: IO[bytes], bounds: Bounds, admit: Callable[[int], None] = lambda size: None
) -> Iterator[tuple[str, IO[bytes] | Problem]]:
    """Each file of an archive: its name, and its bytes or what is the matter with it.

    `admit` is told how many bytes each is going to have, before it is unpacked; what it raises ends the whole.
    The bytes are a seekable file, closed when the next is asked for. Folders and what systems leave behind are passed
    over. Raises `archive_invalid` or `batch_too_large` before the first.
    """
    bounded = cast(IO[bytes], _Bounded(file, MOST_INDEX + INDEX_A_FILE * bounds.files))
    try:
        archive = zipfile.ZipFile(bounded)
    except Problem:
        raise
    except Exception as error:  # hostile bytes raise nearly anything here
        raise Problem("archive_invalid") from error
    with archive:
        members = [member for member in archive.infolist() if not _is_no_photo(member)]
        if len(members) > bounds.files:
            raise Problem(
                "batch_too_large", what=f"The ZIP has {len(members)} files; {bounds.files} are the most."
            )
        # What a member says of its size is believed: `zipfile` reads no further than that.
        total = sum(member.file_size for member in members if _refusal(member, bounds) is None)
        if total > bounds.bytes:
            raise Problem(
                "batch_too_large",
                what=f"The ZIP unpacks to {total / 2**20:.0f} MiB; {bounds.bytes / 2**20:g} are the most.",
            )
        for member in members:
            refusal = _refusal(member, bounds)
            if refusal is not None:
                yield member.filename, refusal
                continue
            admit(member.file_size)
            with SpooledTemporaryFile(max_size=IN_MEMORY) as unpacked:
                yield member.filename, _unpack(archive, member, cast(IO[bytes], unpacked))


def pack(files: Iterable[tuple[str, datetime, Iterable[bytes]]]) -> Iterator[bytes]:
    """A ZIP as it is written: names, dates and bytes, not compressed, since photos are. No more than a piece is in memory."""
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_STORED) as archive:
        for name, made, pieces in files:
            entry = zipfile.ZipInfo(name, made.timetuple()[:6])
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(entry, "w") as member:
                for piece in pieces:
                    member.write(piece)
                    yield pipe.taken()
            yield pipe.taken()
    yield pipe.taken()


class _Pipe:
    """What a ZipFile writes, until it is taken. It cannot be sought in: sizes then follow each member's bytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """There is nothing below."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _is_no_photo(member: zipfile.ZipInfo) -> bool:
    """A folder, or what systems put beside photographs: the command line passes over the same."""
    *folders, name = member.filename.lower().split("/")
    is_left_over = name in _LEFTOVERS or name.startswith(_APPLE_DOUBLE)
    return member.is_dir() or is_left_over or not _LEFTOVER_FOLDERS.isdisjoint(folders)


def _refusal(member: zipfile.ZipInfo, bounds: Bounds) -> Problem | None:
    """Why a member is not even unpacked."""
    mode = member.external_attr >> 16
    if member.flag_bits & _ENCRYPTED:
        return Problem("member_encrypted")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Problem("member_link")
    if member.compress_type not in _METHODS:
        return Problem("member_unsupported")
    if member.file_size > SMALL and member.file_size > MOST_RATIO * member.compress_size:
        return Problem("member_bomb")
    if member.file_size > bounds.file_bytes:
        return Problem(
            "body_too_large",
            f"The photo has {member.file_size / 2**20:.1f} MiB; {bounds.file_bytes / 2**20:g} MiB is the most.",
        )
    return None


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: IO[bytes]) -> IO[bytes] | Problem:
    for chunk in _chunks(archive, member):
        if isinstance(chunk, Problem):
            return chunk
        into.write(chunk)
    into.seek(0)
    return into


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes | Problem]:
    """Its bytes; last of all what is wrong, where something is."""
    try:
        with archive.open(member) as packed:
            while chunk := packed.read(CHUNK):
                yield chunk
    except Exception:  # hostile bytes raise nearly anything here, too
        yield Problem("member_damaged")


class Names:
    """Gives each file of one archive, whose names strangers sent, a name that no other has, whether or not the system tells cases apart."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._counts: Counter[str] = Counter()

    def take(self, sent: str, extension: str) -> str:
        """A safe name like the one that was sent, with the extension (dot and all) of what the file is now."""
        *folders, last = safe_name(sent).split("/")
        path = self._folder(folders) / last
        stem = path.stem if path.suffix.lower() in _PICTURES else path.name
        kept = path.suffix if _plain(path.suffix) == _plain(extension) else extension
        return self._first_free(path, stem, kept)

    def near(self, name: str) -> str:
        """This safe name, or the nearest that no other file has."""
        path = PurePosixPath(name)
        return self._first_free(path, path.stem, path.suffix)

    def _first_free(self, path: PurePosixPath, stem: str, kept: str) -> str:
        name = path.with_name(stem + kept)
        wanted = _folded(name)
        while not self._is_free(name):
            self._counts[wanted] += 1
            name = path.with_name(f"{stem} ({self._counts[wanted] + 1}){kept}")
        self._files.add(_folded(name))
        self._folders.update(_folded(folder) for folder in name.parents)
        return str(name)

    def _folder(self, parts: Sequence[str]) -> PurePosixPath:
        """A folder like this one, which stands where no file does."""
        path = PurePosixPath()
        for part in parts:
            path /= part
            while _folded(path) in self._files:
                path = path.with_name(path.name + "_")
        return path

    def _is_free(self, name: PurePosixPath) -> bool:
        folded = _folded(name)
        return folded not in self._files and folded not in self._folders


def safe_name(sent: str) -> str:
    """A relative path without anything that leads out of the folder, cannot be seen, or means something to a system."""
    path = unicodedata.normalize("NFC", sent).replace("\\", "/")
    parts = [_safe_part(part) for part in _DRIVE.sub("", path).split("/")]
    kept = [part for part in parts if part]
    return "/".join(kept[-MOST_FOLDERS - 1 :]) or FALLBACK


def _safe_part(part: str) -> str:
    """One part of a path; "" where nothing is left of it, as of `..`."""
    # Categories C: control characters, invisible ones, those that turn the direction of writing, lone surrogates.
    shown = "".join(letter for letter in part if unicodedata.category(letter)[0] != "C")
    shown = _FORBIDDEN.sub("_", shown).strip().rstrip(". ")
    if shown.strip(".") == "":
        return ""
    if _RESERVED.match(shown):
        shown = f"_{shown}"
    return _shortened(shown)


def _shortened(part: str) -> str:
    """At most MOST_NAME_BYTES as UTF-8, the extension kept."""
    if len(part.encode()) <= MOST_NAME_BYTES:
        return part
    path = PurePosixPath(part)
    suffix = path.suffix if len(path.suffix.encode()) <= 16 else ""
    stem = path.stem if suffix else part
    return (
        stem.encode()[: MOST_NAME_BYTES - len(suffix.encode())].decode(errors="ignore").rstrip(". ") + suffix
    )


def _plain(extension: str) -> str:
    return _SAME.get(extension.lower(), extension.lower())


def _folded(name: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(name).casefold())
