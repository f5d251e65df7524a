"""The whole service as a person starts it, and a real browser before it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).parents[2]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SMALL_TARGETS = """
() => [...document.querySelectorAll("a, button, summary, input, select, [role=button]")].flatMap((element) => {
    const label = element.matches(".visually-hidden") ? element.labels?.[0] : element;
    if (!label?.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return [];
    const { width, height } = label.getBoundingClientRect();
    const isInline = element.matches("p a") && !element.matches(".actions a, footer a, .note a");
    const least = element.matches("button, .primary, .button, nav a, summary") ? 44 : 24;
    const isSmall = !isInline && (width < 24 || height < least) && !element.matches(".skip:not(:focus)");
    return isSmall ? [`${element.outerHTML.slice(0, 120)}: ${width} by ${height}, at least ${least}`] : [];
})
"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `python -m service` that is ready to color."""
    folder = tmp_path_factory.mktemp("service")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOCHROME_")}
    environment |= {"AUTOCHROME_STATE_DIR": str(folder / "state"), "AUTOCHROME_PORT": str(port)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, process, folder / "log")
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when /readyz answers 200; fails with the log when that takes three minutes, as it may beside other work."""
    give_up = time.monotonic() + 180
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as refused:
            refused.close()
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the service is not ready:\n{log.read_text()}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a screen. Not for the whole session: while Playwright runs, no test of another folder can use asyncio."""
    chromium = shutil.which("chromium")
    if chromium is None:
        reason = "there is no chromium here: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console held against the page; whatever a test leaves here fails it."""
    return []


@pytest.fixture
def page(browser: Browser, service: str, complaints: list[str]) -> Iterator[Page]:
    """The page, freshly opened. No error in the console, of the content policy or another, is forgiven."""

    def note(message: ConsoleMessage) -> None:
        is_of_the_driver = (
            "GL Driver Message" in message.text
        )  # how quick it is where there is no graphics card
        if message.type in ("error", "warning") and not is_of_the_driver:
            complaints.append(message.text)

    context = browser.new_context(viewport={"width": 1100, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(service)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """What axe-core finds wrong by WCAG 2.2 A and AA, and by its own good practice: a line each, in which the rule and the place are."""
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

    def look(page: Page) -> list[str]:
        found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]}).response
        assert found["testEngine"]["name"] == "axe-core"
        return [
            f"{violation['id']}: {violation['help']}: {node['html'][:120]}: {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    return look


@pytest.fixture
def small_targets() -> Callable[[Page], list[str]]:
    """What can be pressed and is smaller than it should be: 24 pixels, 44 for buttons; links within a sentence may be as they are."""

    def look(page: Page) -> list[str]:
        found: list[str] = page.evaluate(SMALL_TARGETS)
        return found

    return look
