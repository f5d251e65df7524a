"""Photos and results by key: a folder, or S3. Writes are atomic: a key holds the whole file or nothing.

Keys: `{id}/upload-{upload}/photo` as it came in, `{id}/{attempt}/result.{extension}` as each attempt wrote it, and
beside that what was asked for besides. Uploads that race for one id have a key each; the record says which of them is
the job's. A photo of a batch, whose id follows from its bytes, lies at `{id}/photo`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from service.errors import SettingsError, StoreUnavailable, first_line

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 2**18
READ_TIMEOUT = timedelta(seconds=4)
"""How long S3 may say nothing. Together with the worker's pause after it, that is less than a lease."""
RETRY_TIMEOUT = timedelta(seconds=3)
"""For how long a request that fails at once is made again; one that met silence is not."""
_CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
)


def photo_key(id: str, upload: str = "") -> str:
    """`upload`: the name of the upload that brought it; empty where the id stands for these very bytes."""
    return f"{upload_prefix(id, upload)}/photo" if upload else f"{id}/photo"


def upload_prefix(id: str, upload: str) -> str:
    return f"{id}/upload-{upload}"


def result_key(id: str, attempt: int, extension: str) -> str:
    """`extension` with its dot."""
    return f"{attempt_prefix(id, attempt)}/result{extension}"


def artifact_key(id: str, attempt: int, file: str) -> str:
    """`file` with its extension."""
    return f"{attempt_prefix(id, attempt)}/{file}"


def attempt_prefix(id: str, attempt: int) -> str:
    return f"{id}/{attempt}"


class Store:
    """Files by key. Every verb raises `store_unavailable` where the store does not answer."""

    def __init__(self, url: str) -> None:
        """`url` is file:///folder, made where it is missing, or s3://bucket/prefix with AWS_* variables.

        Raises SettingsError.
        """
        self._files: LocalStore | S3Store
        self._folder: Path | None = None
        try:
            if url.startswith("file://"):
                self._files = LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
                self._folder = Path(unquote(urlsplit(url).path)).resolve()
            elif url.startswith("s3://"):
                self._files = S3Store.from_url(
                    url, client_options=_client_options(), retry_config=_retry_config()
                )
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
            raise StoreUnavailable() from error

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
            raise StoreUnavailable() from error
        return _pieces(found)

    def erase(self, prefix: str) -> None:
        """Erase every file under a prefix, which is a whole part of a key; nothing there is fine."""
        try:
            if self._folder is not None:
                _remove(self._folder, prefix)
                return
            for batch in obstore.list(self._files, prefix):
                for entry in batch:
                    self._delete(entry["path"])
        except (BaseError, OSError) as error:
            raise StoreUnavailable() from error

    def _delete(self, key: str) -> None:
        try:
            obstore.delete(self._files, key)
        except FileNotFoundError:
            return  # another erased it in the same moment


def _client_options() -> ClientConfig:
    """With what AWS_* says of the client, which obstore would not look at beside these."""
    said = {
        name: os.environ[f"AWS_{name.upper()}"]
        for name in _CLIENT_OPTIONS
        if f"AWS_{name.upper()}" in os.environ
    }
    # A whole request may take long: a client that takes its result slowly holds one open.
    mine = {
        "connect_timeout": timedelta(seconds=2),
        "read_timeout": READ_TIMEOUT,
        "timeout": timedelta(minutes=10),
    }
    return cast("ClientConfig", said | mine)


def _retry_config() -> RetryConfig:
    backoff = timedelta(milliseconds=100)
    return {
        "max_retries": 4,
        "retry_timeout": RETRY_TIMEOUT,
        "backoff": {"init_backoff": backoff, "max_backoff": 5 * backoff, "base": 2},
    }


def _pieces(found: obstore.GetResult) -> Iterator[bytes]:
    try:
        if found.meta["size"] <= CHUNK:  # a stream comes in steps of a few KiB, each of which is dear
            yield bytes(found.bytes())
            return
        for piece in found.stream(min_chunk_size=CHUNK):
            yield bytes(piece)
    except (BaseError, OSError) as error:
        raise StoreUnavailable() from error


def _remove(root: Path, prefix: str) -> None:
    """A folder with all that is in it: files half written when their writer died too, which obstore does not list.

    Raises OSError, and ValueError where it is not within the root.
    """
    folder = (root / prefix).resolve()
    if root not in folder.parents:
        raise ValueError(f"{prefix!r} is no part of a key")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    with suppress(OSError):  # the first that is not empty
        for parent in folder.parents:
            if parent == root:
                break
            parent.rmdir()
