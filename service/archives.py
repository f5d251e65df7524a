"""ZIP archives: read member by member, however they are made, and written as a stream."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, cast

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
_MACINTOSH, _LEFTOVERS = "__MACOSX/", frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


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


def unpack(file: IO[bytes], bounds: Bounds) -> Iterator[tuple[str, IO[bytes] | Problem]]:
    """Each file of an archive: its name, and its bytes or what is the matter with it.

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
                what=f"The ZIP unpacks to {total / 2**20:.0f} MiB; {bounds.bytes / 2**20:g} are the most. ",
            )
        for member in members:
            refusal = _refusal(member, bounds)
            if refusal is not None:
                yield member.filename, refusal
                continue
            with SpooledTemporaryFile(max_size=IN_MEMORY) as unpacked:
                yield member.filename, _unpack(archive, member, cast(IO[bytes], unpacked))


def pack(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """A ZIP as it is written: names and bytes, not compressed, since photos are. No more than a piece is in memory."""
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_STORED) as archive:
        for name, pieces in files:
            entry = zipfile.ZipInfo(name)  # dated 1980, so that the same photos are the same archive
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
    return (
        member.is_dir()
        or member.filename.startswith(_MACINTOSH)
        or member.filename.rpartition("/")[2] in _LEFTOVERS
    )


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
