"""A server under test: started with settings of its own, its processes seen from outside, ended with all that came from it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).parents[2]
PARTS = {
    "service worker": "worker",
    "service api": "api",
    "valkey-server": "valkey",
    "redis-server": "valkey",
    "multiprocessing.spawn": "inference",  # LitServe's
}


class Server:
    """A program that answers HTTP, and the processes below it. Its last lines are told where it fails."""

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], url: str) -> None:
        self.url = url
        self.lines: list[str] = []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
        self._process = subprocess.Popen(
            program,
            cwd=ROOT,
            env={**clean, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self._known: dict[int, psutil.Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            self.lines.extend(iter(lines.readline, ""))

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, path: str, seconds: float = 120) -> None:
        """Until GET `path` answers 200. Raises RuntimeError with the server's lines."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and self._process.poll() is None:
            with suppress(URLError, OSError), urlopen(self.url + path, timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError("the server was not ready in time:\n" + "".join(self.lines[-40:]))

    def family(self) -> list[psutil.Process]:
        """The program and all that came from it and lives."""
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._process.pid)
            for member in [top, *top.children(recursive=True)]:
                self._known.setdefault(member.pid, member)
        return [member for member in self._known.values() if member.is_running() and not _is_dead(member)]

    def parts(self) -> dict[str, list[psutil.Process]]:
        """The processes by what they do; those of no known part are `other`, the program itself `supervisor`."""
        found: dict[str, list[psutil.Process]] = {}
        for member in self.family():
            with suppress(psutil.NoSuchProcess):
                found.setdefault(self._part(member), []).append(member)
        return found

    def _part(self, member: psutil.Process) -> str:
        command = " ".join(member.cmdline())
        for words, part in PARTS.items():
            if words in command:
                return part
        return "supervisor" if member.pid == self._process.pid else "other"

    def cpu_seconds(self) -> dict[str, float]:
        """By part, since each process began."""
        return {part: sum(_cpu(member) for member in members) for part, members in self.parts().items()}

    def resident_mb(self) -> dict[str, float]:
        """By part; what processes share counts in each."""
        return {part: sum(_resident(member) for member in members) for part, members in self.parts().items()}

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what still lives after half a minute."""
        family = self.family()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        for member in {*family, *self.family()}:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()
        self._reading.join(10)


class Service(Server):
    """`python -m service`, everything on this machine, in a state folder of its own."""

    def __init__(self, state_dir: Path, **settings: object) -> None:
        """Ready when it is made. Raises RuntimeError where it does not get so far."""
        self.state_dir = state_dir
        port = free_port()
        given = {"state_dir": state_dir, "port": port, **settings}
        environment = {f"AUTOCHROME_{name.upper()}": str(value) for name, value in given.items()}
        super().__init__([sys.executable, "-m", "service"], environment, f"http://127.0.0.1:{port}")
        try:
            self.wait_until_ready("/readyz")
        except RuntimeError:
            self.stop()
            raise

    @property
    def store(self) -> Path:
        return self.state_dir / "store"

    def worker(self, **settings: object) -> subprocess.Popen[bytes]:
        """One more worker at the same queue and the same store."""
        given = {
            "redis_url": f"unix://{self.state_dir}/valkey/valkey.sock",
            "store_url": self.store.as_uri(),
            "state_dir": self.state_dir,
            **settings,
        }
        environment = {f"AUTOCHROME_{name.upper()}": str(value) for name, value in given.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
        return subprocess.Popen(
            [sys.executable, "-m", "service", "worker"],
            cwd=ROOT,
            env={**clean, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def free_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _cpu(member: psutil.Process) -> float:
    try:
        times = member.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _resident(member: psutil.Process) -> float:
    try:
        return float(member.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _is_dead(member: psutil.Process) -> bool:
    try:
        return bool(member.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
