"""Photos and results by key: a folder, or S3. Writes are atomic: a key holds the whole file or nothing.

Keys: `{id}/upload-{upload}/photo` as it came in, `{id}/{attempt}/result.{extension}` as each attempt wrote it, and
beside that what was asked for besides. Uploads that race for one id have a key each; the record says which of them is
the job's. A photo of a batch, whose id follows from its bytes, lies at `{id}/photo`; so does one that its sender puts
into the bucket itself, under the id of its place.
"""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from errno import EDQUOT, ENOENT, ENOSPC, ENOTEMPTY
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast
from urllib.parse import unquote, urlsplit

import obstore
import redis
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from model.image_headers import Header
from service.database import refuses_writes
from service.errors import Problem, SettingsError, StoreUnavailable, first_line
from service.jobs import Jobs
from service.schemas import Options

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 2**18
FREE_SHARE, LEAST_FREE, MOST_FREE = 0.1, 32 * 2**20, 2**30
"""What is left free of a folder's disk where the settings say nothing: this share of it, in bytes at least and at most."""
ROOM_COMES_WITHIN = 2.5
"""Seconds in which a server of the record writes again when its disk has room: Redis and Valkey try each second."""
ERASED_UNRECORDED = (
    "The photo and what was made from it are erased. The disk of the queue is full, so that this could not be recorded yet: "
    "send the request again in a few seconds."
)
LOSSLESS, LOSSY = ("png", "tiff"), ("JPEG", "WEBP", "AVIF", "HEIC", "JPEG2000", "JXL")
BYTES_OF_ARTIFACTS = {
    "sidecar": 8192,
    "confidence": 1600 * 1600 + 2**16,
    "distribution": 1_500_000,
    "suggestions": 2**17,
    "thumbnail": 2**17,
}
"""Bytes of the artifacts that do not grow with the photo, at most."""
LAYER = 6
"""Bytes a pixel of a color layer, at most."""
ERASED_AT_ONCE = 32
"""Jobs whose files are erased before an answer: where a disk takes 20 ms for a folder, a thousand would take 20 s."""
METADATA = 2**16
"""Bytes of EXIF and the like that few photos have more of."""
READ_TIMEOUT = timedelta(seconds=4)
"""How long S3 may say nothing. Together with the worker's pause after it, that is less than a lease."""
RETRY_TIMEOUT = timedelta(seconds=3)
"""For how long a request that fails at once is made again; one that met silence is not."""
_ATTEMPTS = 20  # at removing a folder into which a worker writes
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
    """Of all that one upload wrote."""
    return f"{id}/upload-{upload}"


def result_key(id: str, attempt: int, extension: str) -> str:
    """`extension` with its dot."""
    return f"{attempt_prefix(id, attempt)}/result{extension}"


def artifact_key(id: str, attempt: int, file: str) -> str:
    """`file` with its extension."""
    return f"{attempt_prefix(id, attempt)}/{file}"


def attempt_prefix(id: str, attempt: int) -> str:
    """Of all that one attempt wrote."""
    return f"{id}/{attempt}"


def file_name(key: str) -> str:
    """What a browser saves a result or an artifact as."""
    name = key.rpartition("/")[2]
    return "colorized." + name.rpartition(".")[2] if name.startswith("result.") else name


def results_bytes(photo: int, header: Header, options: Options) -> int:
    """How much room to keep for what is made from a photo of so many bytes: an estimate, rather too large than too small.

    Lossy formats take half a byte a pixel at quality 92, or about as much as the photo; lossless ones, no more than the pixels.
    A result of another size takes as much less, but for what the file says beside the picture.
    """
    longest = max(header.width, header.height)
    share = min(1.0, (options.size or longest) / longest) ** 2
    pixels = math.ceil(header.width * header.height * share)
    result = max(math.ceil(2 * photo * share), pixels // 2)
    deep = header.bits > 8 or options.bits == 16
    becomes_lossless = header.format not in LOSSY or options.bits == 16
    if options.format in LOSSLESS or (options.format == "auto" and becomes_lossless):
        result = pixels * (6 if deep else 3)
    gray = pixels * max(1, header.channels) * (2 if header.bits > 8 else 1)
    return (
        (1 + options.beside) * (result + (min(photo, METADATA) if share < 1 else 0))
        + (pixels if "comparison" in options.artifacts else 0)
        + (LAYER * pixels + gray + 2 * min(photo, METADATA) if "color_layer" in options.artifacts else 0)
        + sum(most for name, most in BYTES_OF_ARTIFACTS.items() if name in options.artifacts)
    )


class Store:
    """Files by key. Every verb raises `store_unavailable` where the store does not answer."""

    def __init__(self, url: str, keep_free: int | None = None) -> None:
        """`url` is file:///folder, made where it is missing, or s3://bucket/prefix with AWS_* variables.

        `keep_free`: bytes of a folder's disk that no photo is to take; None: a share of it. Raises SettingsError.
        """
        self._keep_free = keep_free
        self._under_way = 0
        self._lock = threading.Lock()
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

    def put(self, key: str, data: bytes | IO[bytes], media_type: str = "") -> None:
        """Write a whole file, replacing what was there. `media_type`: what S3 says of it to who gets it from there."""
        attributes = _attributes(key, media_type) if media_type and self._folder is None else None
        with _answering():
            obstore.put(self._files, key, data, attributes=attributes)

    def free(self) -> int | None:
        """Bytes that may still be written to a folder, less what is under way in this process; None where nobody knows.

        Raises `store_unavailable`.
        """
        if self._folder is None:
            return None
        with _answering():
            disk = os.statvfs(self._folder)
        keep_free = self._keep_free
        if keep_free is None:
            keep_free = min(max(int(FREE_SHARE * disk.f_blocks * disk.f_frsize), LEAST_FREE), MOST_FREE)
        return disk.f_bavail * disk.f_frsize - keep_free - self._under_way

    @contextmanager
    def under_way(self, size: int) -> Iterator[int | None]:
        """While so many bytes are written by this process, the disk does not show yet that they are taken. Gives what is free for them."""
        with self._lock:
            self._under_way += size
        try:
            free = self.free()
            yield None if free is None else free + size
        finally:
            with self._lock:
                self._under_way -= size

    def get(self, key: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """The file in pieces of about a megabyte; it is opened before the first is asked for.

        Raises FileNotFoundError.
        """
        with _answering(may_lack=True):
            found = obstore.get(self._files, key)
        return _pieces(found)

    def erase(self, prefix: str) -> None:
        """Erase every file under a prefix, which is a whole part of a key; nothing there is fine."""
        with _answering():
            if self._folder is not None:
                _remove(self._folder, prefix)
                return
            for batch in obstore.list(self._files, prefix):
                for entry in batch:
                    with suppress(FileNotFoundError):  # another erased it in the same moment
                        obstore.delete(self._files, entry["path"])

    def signed(self, method: Literal["GET", "PUT"], key: str, seconds: float) -> str:
        """A URL by which anybody may read or write this one file at S3 itself, for so long.

        The signature binds method, key and time, and not how much is written. Raises ValueError for a folder.
        """
        if not isinstance(self._files, S3Store):
            raise ValueError("files in a folder have no URLs")
        with _answering():
            return obstore.sign(self._files, method, key, timedelta(seconds=max(1, int(seconds))))

    def size(self, key: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        with _answering(may_lack=True):
            return obstore.head(self._files, key)["size"]

    def part(self, key: str, start: int, length: int) -> bytes:
        """Bytes of a file from `start` on. Raises FileNotFoundError."""
        with _answering(may_lack=True):
            return bytes(obstore.get_range(self._files, key, start=start, length=length))

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the store, where S3 moves the bytes itself. Raises FileNotFoundError."""
        with _answering(may_lack=True):
            obstore.copy(self._files, source, target)

    def prefixes(self) -> list[str]:
        """The first part of every key there is: ids, and what else lies there."""
        with _answering():
            if self._folder is not None:
                return [path.name for path in self._folder.iterdir()]
            found = obstore.list_with_delimiter(self._files)["common_prefixes"]
            return [path.rpartition("/")[2] for path in found]

    def modified(self, prefix: str) -> float:
        """When something under a prefix was last written, in seconds since 1970; 0 where nothing is."""
        times = [0.0]
        with suppress(FileNotFoundError), _answering(may_lack=True):  # it is erased in this moment
            if self._folder is not None:
                folder = self._folder / prefix
                times += [path.lstat().st_mtime for path in (folder, *folder.rglob("*"))]
            else:
                entries = (entry for batch in obstore.list(self._files, prefix) for entry in batch)
                times += [entry["last_modified"].timestamp() for entry in entries]
        return max(times)

    def ids_with(self, *files: bytes) -> set[str]:
        """The ids under which a file of the very bytes of one of these lies. Reads every file of their sizes."""
        sizes = {len(data) for data in files}
        found = set()
        with _answering():
            for batch in obstore.list(self._files):
                for key in (entry["path"] for entry in batch if entry["size"] in sizes):
                    with suppress(FileNotFoundError):  # it was erased in the same moment
                        if self.get(key) in files:
                            found.add(key.partition("/")[0])
        return found


@contextmanager
def _answering(may_lack: bool = False) -> Iterator[None]:
    """Raises `store_unavailable` where the store does not answer, or `store_full`, for which obstore has no class of its own.

    `may_lack`: FileNotFoundError passes.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        if may_lack and isinstance(error, FileNotFoundError):
            raise
        is_full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)
        if is_full or any(f"os error {number})" in str(error) for number in (ENOSPC, EDQUOT)):
            raise StoreUnavailable(code="store_full") from error
        raise StoreUnavailable() from error


def _attributes(key: str, media_type: str) -> Attributes:
    """The headers with which S3 hands a file out: those of the API, but that the time until it expires is not known here."""
    return {
        "Content-Type": media_type,
        "Content-Disposition": f'inline; filename="{file_name(key)}"',
        "Cache-Control": "private, no-cache",
    }


def erase_job(jobs: Jobs, store: Store, id: str, at_once: int | None = ERASED_AT_ONCE) -> int:
    """Leave erased records of a job and of its photo's revisions, and erase the files of `at_once` of them, its own first; None: of all.

    The others' are due: the eraser's, within seconds. Returns of how many they were erased. Raises `store_unavailable`, or as `cancel`.
    """
    ids = dict.fromkeys([id, *jobs.revisions(id)])

    def erase(some: Iterable[str]) -> None:
        for one in some:
            store.erase(one)

    cancel(lambda: ids.update(dict.fromkeys(jobs.cancel(id))), lambda: erase(ids))
    now = [*ids][:at_once]
    erase(now)  # what a worker has written in between, too
    jobs.erased(*now)
    return len(now)


def cancel(write: Callable[[], object], erase: Callable[[], None]) -> None:
    """Leave an erased record by `write`. Where a full disk keeps its server from that, `erase` files first, which may give it room.

    Raises `queue_unavailable` where the files are gone and the record is not, or redis.RedisError.
    """
    try:
        write()
        return
    except redis.ResponseError as refused:
        if not refuses_writes(refused):
            raise
    erase()
    give_up = time.monotonic() + ROOM_COMES_WITHIN
    while True:
        try:
            write()
            return
        except redis.ResponseError as refused:
            if time.monotonic() > give_up:
                raise Problem("queue_unavailable", ERASED_UNRECORDED) from refused
        time.sleep(0.2)


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
    with _answering():
        if found.meta["size"] <= CHUNK:  # a stream comes in steps of a few KiB, each of which is dear
            yield bytes(found.bytes())
            return
        for piece in found.stream(min_chunk_size=CHUNK):
            yield bytes(piece)


def _remove(root: Path, prefix: str) -> None:
    """A folder with all that is in it: files half written when their writer died too, which obstore does not list.

    Raises OSError, and ValueError where it is not within the root.
    """
    folder = (root / prefix).resolve()
    if root not in folder.parents:
        raise ValueError(f"{prefix!r} is no part of a key")
    for left in reversed(range(_ATTEMPTS)):
        try:
            shutil.rmtree(folder)
            break
        except OSError as error:
            if not folder.exists():
                break
            # A worker writes into it: a file is new since it was listed, or has another name by now.
            if not left or error.errno not in (ENOENT, ENOTEMPTY):
                raise
            time.sleep(0.002)
    with suppress(OSError):  # the first that is not empty
        for parent in folder.parents:
            if parent == root:
                break
            parent.rmdir()
