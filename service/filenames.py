"""Names of files as strangers send them, made safe to unpack on any system, and as near to what was sent as that lets."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

MOST_BYTES = 180
"""Of one part of a name: most file systems take 255, and a number and an extension are yet to come."""
MOST_FOLDERS = 8
FALLBACK = "photo"
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_DRIVE = re.compile(r"^[A-Za-z]:(?=/|$)")
# Naming Files, Paths, and Namespaces (Microsoft): whatever the extension, these are devices.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)
_SAME = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tif": ".tiff"}
_PICTURES = frozenset(
    (".jpg", ".png", ".webp", ".tiff", ".gif", ".bmp", ".avif", ".heic", ".heif", ".dib", ".mpo", *_SAME)
)


class Names:
    """Gives each file of one archive a name that no other has, whether or not the system tells cases apart."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._counts: Counter[str] = Counter()

    def take(self, sent: str, extension: str) -> str:
        """A safe name like the one that was sent, with the extension (dot and all) of what the file is now."""
        *folders, last = safe(sent).split("/")
        path = self._folder(folders) / last
        stem = path.stem if path.suffix.lower() in _PICTURES else path.name
        kept = path.suffix if _plain(path.suffix) == _plain(extension) else extension
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


def safe(sent: str) -> str:
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
    """At most MOST_BYTES as UTF-8, the extension kept."""
    if len(part.encode()) <= MOST_BYTES:
        return part
    path = PurePosixPath(part)
    suffix = path.suffix if len(path.suffix.encode()) <= 16 else ""
    stem = path.stem if suffix else part
    return stem.encode()[: MOST_BYTES - len(suffix.encode())].decode(errors="ignore").rstrip(". ") + suffix


def _plain(extension: str) -> str:
    return _SAME.get(extension.lower(), extension.lower())


def _folded(name: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(name).casefold())
