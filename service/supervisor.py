"""Everything on one machine: starts Valkey, the worker and the API, starts again what dies, stops it all.

It is the only one at the terminal: the others are in groups of their own, so that Ctrl-C comes here alone,
and on a leash, so that not even kill -9 leaves one behind.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

from service import leash, valkey
from service.errors import EX_CONFIG, SettingsError
from service.settings import LogFormat, Settings
from service.telemetry import as_json
from service.ticker import Ticker
from service.valkey import private_folder

TICK = 0.1
LONGEST_BACKOFF = 10.0
STEADY = 30.0
"""A program that ran this long is started again at once when it dies."""

Say = Callable[[str, str], None]
"""Puts a line of the program of this name into the log."""


class Child:
    """One program: its process, its lines in our log, and when to start it again."""

    def __init__(
        self,
        name: str,
        program: list[str],
        environment: dict[str, str],
        say: Say,
        at_death: signal.Signals = signal.SIGKILL,
        patience: float = 10.0,
        file_descriptors: Sequence[int] = (),
        unsaid: str | None = None,
    ) -> None:
        """`at_death`: what it gets if we are killed. `patience`: seconds it has to stop in order.

        `unsaid`: a line with these words is left out of the log.
        """
        self.name = name
        self._program = program
        self._environment = environment
        self._say = say
        self._at_death = at_death
        self._patience = patience
        self._file_descriptors = file_descriptors
        self._unsaid = unsaid
        self._process: subprocess.Popen[str] | None = None
        self._copying: threading.Thread | None = None
        self._started = 0.0
        self._backoff = 0.0
        self._start_at = 0.0

    def start(self) -> None:
        """Only from the main thread: the leash is tied to the thread that made the process."""
        self._process = subprocess.Popen(
            leash.command(self._program, self._at_death),
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
            self._say("autochrome", f"{self.name} cannot run with these settings; its last line says why")
            return code
        if time.monotonic() - self._started > STEADY:
            self._backoff = 0.0
        self._start_at = time.monotonic() + self._backoff
        self._say("autochrome", f"{self.name} ended with code {code}, starts again in {self._backoff:g} s")
        self._backoff = min(max(1.0, 2 * self._backoff), LONGEST_BACKOFF)
        return code

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait(self, hurry: threading.Event) -> None:
        """Until it has stopped; kill it when it takes too long or somebody is in a hurry."""
        if self._process is None:
            return
        give_up = time.monotonic() + self._patience
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
            if line.strip() and (self._unsaid is None or self._unsaid not in line):
                self._say(self.name, line.rstrip())


class Supervisor:
    """The programs, a worker for each device, and the two wishes that a person at the terminal can have: stop, and stop now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._say = partial(say, settings.log_format)
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._servers: list[Child] = []
        self._workers: list[Child] = []
        self._apis: list[Child] = []

    def run(self) -> int:
        """Until a signal comes. Returns the exit code. Raises SettingsError where it cannot start."""
        state_dir = self._settings.state_dir.absolute()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if self._settings.redis_url is None:
            lock(valkey.socket_path(state_dir).parent)
        with listen(self._settings.host, self._settings.port) as listener:
            try:
                redis_url = self._settings.redis_url or self._start_valkey(state_dir)
                self._start_ours(redis_url, listener)
                return self._watch(listener)
            finally:
                for floor in (self._apis, self._workers, self._servers):
                    for child in floor:
                        child.ask_to_stop()
                    for child in floor:
                        child.wait(self._hurry)
                self._say("autochrome", "stopped")

    def _start_valkey(self, state_dir: Path) -> str:
        path = valkey.socket_path(state_dir)
        valkey.end_orphan(path)
        child = Child(
            "valkey",
            valkey.command(state_dir, path),
            dict(os.environ),
            self._say,
            at_death=signal.SIGTERM,
            unsaid=valkey.NOT_FOR_US,
        )
        child.start()
        self._servers.append(child)
        Ticker("flush", valkey.FLUSH_EVERY, partial(valkey.flush, state_dir)).start()
        if not valkey.wait_until_ready(path, seconds=60):
            raise SettingsError(f"Valkey does not answer on {path}; its lines above say why.")
        return f"unix://{path}"

    def _start_ours(self, redis_url: str, listener: socket.socket) -> None:
        if self._settings.store_url is None:
            private_folder(self._settings.state_dir / "store")
        environment = dict(os.environ)
        environment["AUTOCHROME_REDIS_URL"] = redis_url
        environment["AUTOCHROME_STORE_URL"] = self._settings.effective_store_url
        environment["PYTHONUNBUFFERED"] = "1"
        service = [sys.executable, "-m", "service"]
        number = listener.fileno()
        for index, device in enumerate(devices := self._settings.devices, start=1):
            name = "worker" if len(devices) == 1 else f"worker {index}"
            own = {**environment, "AUTOCHROME_DEVICE": device}
            if self._settings.metrics_port is not None:
                own["AUTOCHROME_METRICS_PORT"] = str(self._settings.metrics_port + index - 1)
            self._workers.append(Child(name, [*service, "worker"], own, self._say, patience=30.0))
        api = Child(
            "api", [*service, "api", "--fd", str(number)], environment, self._say, file_descriptors=(number,)
        )
        self._apis.append(api)
        for child in (*self._workers, api):
            child.start()

    def _watch(self, listener: socket.socket) -> int:
        ready = False
        while not self._stop.wait(TICK):
            for child in (*self._servers, *self._workers, *self._apis):
                if child.look_after() == EX_CONFIG:
                    return EX_CONFIG  # it has said what is wrong, and would say it for ever
            if not ready and is_ready(listener):
                ready = True
                self._say("autochrome", f"ready: {self._settings.public_url or address(listener)}")
        return 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


def say(format: LogFormat, name: str, line: str) -> None:
    """One line of a program in the one log."""
    sys.stderr.write(f"{name:<10} | {line}\n" if format == "text" else as_json(line, name) + "\n")
    sys.stderr.flush()


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
