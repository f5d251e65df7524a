"""Download a file from the first of several mirrors that has it, whole and with the expected hash.

pooch does not do what is needed here: it asks one address, it wants the whole hash where only a prefix is published, and it takes no
file:// URL.
"""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from model.errors import AutochromeError

_CHUNK = 1 << 20
_AGENT = {"User-Agent": "autochrome"}  # some hosts refuse urllib's own

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if the mirror says so


class DownloadError(AutochromeError):
    """No mirror gave the file (download_failed). `failures` is (url, reason) for each, in the order they were tried."""

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        lines = "".join(f"\n  {url}: {reason}" for url, reason in failures)
        super().__init__("download_failed", f"No mirror gave the file:{lines}")
        self.failures = tuple(failures)


def fetch(
    urls: Sequence[str],
    sha256: str,
    target: Path,
    progress: Progress | None = None,
    timeout: float = 30,
    max_bytes: int = 2**30,
) -> str:
    """Download `target` from the first of `urls` whose bytes have the hash `sha256`, or one that begins so.

    Returns the full hash in hex. The file appears under its name only when it is whole and its hash is right.
    `timeout` is the longest silence of a mirror in seconds. Raises `DownloadError`, and OSError where the
    target's folder cannot be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[tuple[str, str]] = []
    for url in urls:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            part = Path(folder) / target.name
            try:
                found = _receive(url, part, progress, timeout, max_bytes)
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append((url, _reason(error, timeout)))
                continue
            if not found.startswith(sha256.lower()):
                failures.append((url, f"the file has another hash: {found[:16]}…, not {sha256[:16]}…"))
                continue
            part.replace(target)
            return found
    raise DownloadError(failures)


def _receive(url: str, part: Path, progress: Progress | None, timeout: float, max_bytes: int) -> str:
    """Stream `url` into `part`; its SHA-256 in hex."""
    digest = hashlib.sha256()
    received = 0
    request = urllib.request.Request(url, headers=_AGENT)
    with urllib.request.urlopen(request, timeout=timeout) as response, part.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None else None
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            if received > max_bytes:
                raise ValueError(f"the file is larger than {max_bytes / 2**20:g} MiB")
            digest.update(chunk)
            file.write(chunk)
            if progress is not None:
                progress(received, total)
    if total is not None and received != total:
        raise ValueError(f"the connection ended after {received} of {total} bytes")
    return digest.hexdigest()


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"was silent for {timeout:g} s"
    return str(cause) or type(cause).__name__
