"""What tests of several rooms share: real processes of the service, and photographs made on the spot."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
MIN_TIMEOUT = 60.0
"""Seconds for which anything is waited for at least. Only a failure takes them: a machine that does much else is many times as slow."""
OURS = ("AUTOCHROME_", "BOT_", "REDDIT_")
"""So begin the settings of the service and of the bot."""


class Launched:
    """A program, its lines so far, and how to end it."""

    def __init__(self, program: list[str], environment: Mapping[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.process = subprocess.Popen(
            program,
            cwd=ROOT,
            env={**clean, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.url = ""
        self.worker_url = ""
        self.state_dir = Path()
        self.lines: list[str] = []
        self._known: list[psutil.Process] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(iter(lines.readline, ""))

    def line(self, pattern: str, seconds: float = MIN_TIMEOUT) -> re.Match[str]:
        """The first line that matches, as soon as it is there; a failed test after MIN_TIMEOUT, or more seconds."""
        give_up = time.monotonic() + max(seconds, MIN_TIMEOUT)
        while time.monotonic() < give_up:
            ended = self.process.poll() is not None and not self._reading.is_alive()
            for line in [*self.lines]:
                if found := re.search(pattern, line):
                    return found
            if ended:
                break
            time.sleep(0.02)
        pytest.fail(f"no line like {pattern!r} in\n{''.join(self.lines)}")

    def family(self) -> list[psutil.Process]:
        """The process and all that came from it."""
        parent = psutil.Process(self.process.pid)
        self._known = [parent, *parent.children(recursive=True)]
        return self._known

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = MIN_TIMEOUT) -> int:
        """End it in order; its exit code. Whatever was known of it and still lives then is killed."""
        if self.process.poll() is None:
            self.family()
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            for member in self._known:
                if member.is_running():
                    member.kill()
            self._reading.join(timeout=10)


def _until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    give_up = time.monotonic() + max(seconds, MIN_TIMEOUT)
    while not (found := look()):
        if time.monotonic() > give_up:
            pytest.fail(f"not within {max(seconds, MIN_TIMEOUT)} s: {what}")
        time.sleep(0.02)
    return found


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """The address of a Valkey of the embedded one's settings, which holds nothing yet."""
    from service import local

    path = local.valkey_socket(tmp_path)
    with subprocess.Popen(local.valkey_command(tmp_path, path), stdout=subprocess.DEVNULL) as process:
        assert local.wait_for_valkey(path, 10)
        yield f"unix://{path}"
        process.terminate()


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], float, str], Any]:
    """What a function gives as soon as it is true; a failed test where it is not within MIN_TIMEOUT, or more seconds."""
    return _until


@pytest.fixture
def launch() -> Iterator[Callable[..., Launched]]:
    """Start `python …` with settings of its own, AUTOCHROME_ or with another prefix; it is ended with the test."""
    launched: list[Launched] = []

    def start(*arguments: str, prefix: str = "AUTOCHROME_", **settings: object) -> Launched:
        environment = {f"{prefix}{name.upper()}": str(value) for name, value in settings.items()}
        launched.append(Launched([sys.executable, *arguments], environment))
        return launched[-1]

    yield start
    for one in reversed(launched):
        one.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """`python -m service`, ready to color; its address is `service.url`, its folder `service.state_dir`."""
    state = tmp_path_factory.mktemp("service")
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics_port = free.getsockname()[1]
    environment = {"AUTOCHROME_STATE_DIR": str(state), "AUTOCHROME_PORT": "0"}
    environment["AUTOCHROME_METRICS_PORT"] = str(metrics_port)
    launched = Launched([sys.executable, "-m", "service"], environment)
    try:
        launched.state_dir = state
        launched.worker_url = f"http://127.0.0.1:{metrics_port}"
        launched.url = launched.line(r"service_ready url=(http://\S+)", 60)[1]
        yield launched
    finally:
        launched.stop()


@pytest.fixture(scope="session")
def gray_photo() -> Callable[..., bytes]:
    """A gray picture with something in it, in any format and size that Pillow writes."""

    def make(format: str = "JPEG", size: tuple[int, int] = (320, 240), **options: Any) -> bytes:
        width, height = size
        down, across = np.mgrid[0:height, 0:width]
        waves = np.sin(across / 17) * np.cos(down / 11)
        pixels = (127 + 90 * waves + 30 * down / max(1, height)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format, **options)
        return file.getvalue()

    return make


@pytest.fixture(scope="session")
def javascript() -> Callable[[str], Any]:
    """What the body of an async function returns as JSON: in Node where it is installed, else in Chromium."""

    def run(body: str) -> Any:
        if node := shutil.which("node"):
            script = f"(async () => {{{body}}})().then((found) => console.log(JSON.stringify(found)))"
            done = subprocess.run(
                [node, "-"], input=script, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
        if not (chromium := shutil.which("chromium")):
            pytest.skip("needs Node or Debian's chromium")
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            found = browser.new_page().evaluate(f"async () => {{{body}}}")
            browser.close()
        return found

    return run
