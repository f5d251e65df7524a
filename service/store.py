"""Photos and results by key: a folder, or S3. Writes are atomic: a key holds the whole file or nothing.

Keys: `{id}/photo` as it came in, `{id}/{attempt}/result.{extension}` as each attempt wrote it, and beside that
what was asked for besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from service.errors import SettingsError, StoreUnavailable, first_line

CHUNK = 2**20


def photo_key(id: str) -> str:
    return f"{id}/photo"


def result_key(id: str, attempt: int, extension: str) -> str:
    """`extension` with its dot."""
    return f"{attempt_prefix(id, attempt)}/result{extension}"


def artifact_key(id: str, attempt: int, file: str) -> str:
    """`file` with its extension."""
    return f"{attempt_prefix(id, attempt)}/{file}"


def attempt_prefix(id: str, attempt: int) -> str:
    return f"{id}/{attempt}"


class Store:
    """Files by key. Every verb raises StoreUnavailable where the store does not answer."""

    def __init__(self, url: str) -> None:
        """`url` is file:///folder, made where it is missing, or s3://bucket/prefix with AWS_* variables.

        Raises SettingsError.
        """
        self._files: LocalStore | S3Store
        try:
            if url.startswith("file://"):
                self._files = LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
            elif url.startswith("s3://"):
                self._files = S3Store.from_url(url)
            else:
                raise SettingsError(f"AUTOCHROME_STORE_URL={url!r} must begin with file:// or s3://.")
        except (BaseError, OSError) as error:
            raise SettingsError(
                f"AUTOCHROME_STORE_URL={url!r} cannot be used: {first_line(error)}."
            ) from error

    def put(self, key: str, data: bytes | IO[bytes]) -> None:
        """Write a whole file, replacing what was there."""
        try:
            obstore.put(self._files, key, data)
        except (BaseError, OSError) as error:
            raise StoreUnavailable from error

    def get(self, key: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """The file in pieces of about a megabyte; it is opened before the first is asked for.

        Raises FileNotFoundError.
        """
        try:
            found = obstore.get(self._files, key)
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise StoreUnavailable from error
        return (bytes(piece) for piece in found.stream(min_chunk_size=CHUNK))

    def erase(self, prefix: str) -> None:
        """Erase every file under a prefix, which is a whole part of a key; nothing there is fine."""
        try:
            for batch in obstore.list(self._files, prefix):
                for entry in batch:
                    self._delete(entry["path"])
        except (BaseError, OSError) as error:
            raise StoreUnavailable from error

    def _delete(self, key: str) -> None:
        try:
            obstore.delete(self._files, key)
        except FileNotFoundError:
            return  # another erased it in the same moment
