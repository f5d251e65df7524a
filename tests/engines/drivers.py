"""Firefox by its own Marionette, WebKitGTK by its WebKitWebDriver: the few commands that tests need, alike for both."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name for a reference to an element
STARTING = 60.0
"""Seconds that a browser may take to start on a busy machine."""
WEBKIT_BROWSERS = "/usr/lib/*/webkit*gtk-*/MiniBrowser"


class Commands(Protocol):
    def __call__(self, name: str, **values: Any) -> Any: ...


class MissingError(Exception):
    """Neither this browser nor what drives it is on this machine; the message says what to install."""


class Engine:
    """A browser with one window. Scripts are bodies of functions; they may return a promise."""

    def __init__(self, command: Commands) -> None:
        self.command = command

    def go(self, url: str) -> None:
        self.command("Navigate", url=url)

    def run(self, script: str, *values: Any) -> Any:
        return self.command("ExecuteScript", script=script, args=list(values))

    def wait_for(self, script: str, *values: Any, seconds: float = 90) -> Any:
        """What the script returns, once that is true."""
        give_up = time.monotonic() + seconds
        while not (found := self.run(script, *values)):
            assert time.monotonic() < give_up, f"still not true after {seconds} s: {script}"
            time.sleep(0.2)
        return found

    def screenshot(self) -> bytes:
        """What the window shows, as PNG."""
        taken = self.command("TakeScreenshot")
        return base64.b64decode(taken["value"] if isinstance(taken, dict) else taken)

    def type(self, selector: str, text: str) -> None:
        """Keys to an element, or the path of a file to its field."""
        found = self.command("FindElement", using="css selector", value=selector)
        self.command("ElementSendKeys", id=found.get("value", found)[ELEMENT], text=text)


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Engine]:
    """Debian's Firefox, without a screen and with a profile of its own in `folder`."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        raise MissingError("there is no Firefox here: apt-get install firefox-esr")
    (folder / "user.js").write_text('user_pref("marionette.port", 0);\n')
    started = [program, "--headless", "--marionette", "--no-remote", "--profile", str(folder)]
    with process(started, folder / "log"):
        port = int(until((folder / "MarionetteActivePort").read_text, folder / "log"))
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            stream = connection.makefile("rb")

            def answer() -> Any:
                length = b"".join(iter(lambda: stream.read(1), b":"))
                return json.loads(stream.read(int(length)))

            def command(name: str, **values: Any) -> Any:
                message = json.dumps([0, 1, f"WebDriver:{name}", values]).encode()
                connection.sendall(b"%d:%s" % (len(message), message))
                _, _, error, result = answer()
                assert error is None, error
                return result["value"] if name == "ExecuteScript" else result

            answer()  # who it is
            command("NewSession")
            yield Engine(command)


@contextlib.contextmanager
def webkit(folder: Path) -> Iterator[Engine]:
    """Debian's WebKitGTK, whose engine is Safari's, on a screen of Xvfb's."""
    browser = next(Path("/").glob(WEBKIT_BROWSERS.lstrip("/")), None)
    if browser is None or not all(map(shutil.which, ("WebKitWebDriver", "Xvfb"))):
        raise MissingError("there is no WebKitGTK here: apt-get install webkit2gtk-driver xvfb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    screen = folder / "screen"
    show = f"exec Xvfb -displayfd 3 -screen 0 1280x1000x24 -nolisten tcp 3>{screen}"
    with process(["sh", "-c", show], folder / "log"):
        number = until(lambda: str(int(screen.read_text())), folder / "log")
        started = ["WebKitWebDriver", f"--port={port}"]
        with (
            process(started, folder / "log", DISPLAY=f":{number}", XDG_DATA_HOME=str(folder)),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
        ):
            until(lambda: client.get("/status").raise_for_status().text, folder / "log")
            options = {"binary": str(browser), "args": ["--automation"]}
            wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
            session = f"/session/{client.post('/session', json=wanted).json()['value']['sessionId']}"
            paths = {"Navigate": "/url", "ExecuteScript": "/execute/sync", "FindElement": "/element"}

            def command(name: str, **values: Any) -> Any:
                if name == "TakeScreenshot":
                    answer = client.get(f"{session}/screenshot")
                else:
                    path = paths.get(name) or f"/element/{values.pop('id')}/value"
                    answer = client.post(session + path, json=values)
                assert answer.is_success, answer.text
                return answer.json()["value"]

            try:
                yield Engine(command)
            finally:
                client.delete(session)


@contextlib.contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    with log.open("a") as out:
        started = subprocess.Popen(
            command, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        started.wait(timeout=30)


def until(look: Callable[[], str], log: Path) -> str:
    """What is found once it is there; a browser that does not start fails the test with its log."""
    give_up = time.monotonic() + STARTING
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError(f"it did not start within {STARTING} s:\n{log.read_text()}")
