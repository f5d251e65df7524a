"""A server under test, its processes seen from outside; the photos that it is sent, a fast net, and its metrics."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.report import ROOT

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
FAST_NET_SIDE = 32
PARTS = {
    "service worker": "worker",
    "service api": "api",
    "valkey-server": "valkey",
    "redis-server": "valkey",
    "multiprocessing.spawn": "inference",  # LitServe's
}


class Server:
    """A program that answers HTTP, and the processes below it. Errors show its last lines."""

    def __init__(self, program: Sequence[str], settings: Mapping[str, object], url: str) -> None:
        self.url = url
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            program,
            cwd=ROOT,
            env=_environment(settings),
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
        """The program and all its living descendants."""
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._process.pid)
            for member in [top, *top.children(recursive=True)]:
                self._known.setdefault(member.pid, member)
        return [member for member in self._known.values() if _total([member], _is_alive)]

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
        return {part: _total(members, _cpu_seconds) for part, members in self.parts().items()}

    def resident_mb(self) -> dict[str, float]:
        """By part; what processes share counts in each."""
        return {part: _total(members, _resident_mb) for part, members in self.parts().items()}

    def kill(self) -> None:
        """kill -9, of all of it."""
        for member in self.family():
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait()

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
        """Returns when the service is ready. Raises RuntimeError where it does not get so far."""
        self.state_dir = state_dir
        port = free_port()
        program = [sys.executable, "-m", "service"]
        super().__init__(
            program, {"state_dir": state_dir, "port": port, **settings}, f"http://127.0.0.1:{port}"
        )
        try:
            self.wait_until_ready("/readyz")
        except RuntimeError:
            self.stop()
            raise

    @property
    def store(self) -> Path:
        return self.state_dir / "store"

    @property
    def valkey_socket(self) -> Path:
        return self.state_dir / "valkey/valkey.sock"

    def worker(self, **settings: object) -> subprocess.Popen[bytes]:
        """One more worker at the same queue and the same store."""
        shared: dict[str, object] = {
            "redis_url": f"unix://{self.valkey_socket}",
            "store_url": self.store.as_uri(),
            "state_dir": self.state_dir,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "service", "worker"],
            cwd=ROOT,
            env=_environment({**shared, **settings}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def free_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def write_photos(folder: Path, side: int) -> list[Path]:
    """scikit-image's four in gray, as JPEG of quality 92, each with `side` pixels on its longer side."""
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{side}.jpg" for name in PHOTOS]
    for name, path in zip(PHOTOS, paths, strict=True):
        picture = Image.fromarray(getattr(data, name)()).convert("L")
        scale = side / max(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture.resize(size, Image.Resampling.LANCZOS).save(path, quality=92)
    return paths


def write_fast_net(folder: Path) -> Path:
    """A net that takes milliseconds, as a checkpoint for AUTOCHROME_NET: `lite` with its own weights, but a small input side."""
    from model import checkpoint  # loads torch

    net, card = checkpoint.load(checkpoint.locate("lite"))
    path = folder / "fast.safetensors"
    checkpoint.save(net, replace(card, name="fast", size=FAST_NET_SIDE), path)
    return path


def read_metrics(url: str) -> dict[str, float]:
    """Each sample of /metrics by its name and its labels: `autochrome_jobs_ended_total{code="",status="succeeded"}`."""
    with urlopen(url + "/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = float(sample.value)
    return samples


def unfinished(url: str) -> float:
    """Jobs that wait or run."""
    metrics = read_metrics(url)
    return metrics["autochrome_jobs_waiting"] + metrics["autochrome_jobs_in_flight"]


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """This process's, without its own settings of the service, and with those that are given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
    given = {f"AUTOCHROME_{name.upper()}": str(value) for name, value in settings.items()}
    return {**inherited, "PYTHONPATH": str(ROOT), **given}


def _total(members: Sequence[psutil.Process], read: Callable[[psutil.Process], float]) -> float:
    """Over the processes that are still there."""
    total = 0.0
    for member in members:
        with suppress(psutil.NoSuchProcess):
            total += read(member)
    return total


def _is_alive(member: psutil.Process) -> float:
    return float(member.is_running() and member.status() != psutil.STATUS_ZOMBIE)


def _cpu_seconds(member: psutil.Process) -> float:
    times = member.cpu_times()
    return float(times.user + times.system)


def _resident_mb(member: psutil.Process) -> float:
    return float(member.memory_info().rss) / 2**20
