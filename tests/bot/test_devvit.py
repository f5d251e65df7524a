"""The Devvit app in bot/devvit: its types, its own tests in Node, and its calls against the real service."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.auth import Keys, Scope
from service.database import connect

APP = Path(__file__).parents[2] / "bot/devvit"


def node(*arguments: str) -> str:
    done = subprocess.run(["node", *arguments], cwd=APP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built() -> Path:
    """Its JavaScript, once the types are right."""
    if shutil.which("node") is None:
        pytest.skip("needs Node 20 or newer")
    if not (APP / "node_modules/typescript").is_dir():
        pytest.skip("needs its packages: `npm ci --ignore-scripts` in bot/devvit")
    node("node_modules/typescript/bin/tsc")
    return APP / "build/test"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def pictures(tmp_path: Path, gray_photo: Callable[..., bytes]) -> Iterator[str]:
    """An address below which `gray`, `small` and `color` are."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "gray").write_bytes(gray_photo("JPEG"))
    (folder / "small").write_bytes(gray_photo("PNG", (4, 4)))
    patches = np.random.default_rng(1).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    colors = np.kron(patches, np.ones((40, 40, 1), np.uint8))
    Image.fromarray(colors).save(folder / "color", "PNG")

    def handler(*arguments: Any) -> Quiet:
        return Quiet(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


@pytest.mark.timeout(300)
def test_its_types_are_right_and_its_own_tests_pass(built: Path) -> None:
    told = node("--test", *(str(path) for path in sorted(built.glob("*.test.js"))))
    assert "# fail 0" in told


@pytest.mark.timeout(300)
def test_the_real_service_answers_its_calls_as_it_expects(
    built: Path, tmp_path: Path, pictures: str, launch: Callable[..., Any]
) -> None:
    settings = {"state_dir": tmp_path / "state", "port": 0, "anonymous": False, "url_hosts": pictures}
    url = launch("-m", "service", **settings).line(r"service_ready url=(http://\S+)", 200)[1]
    keys = Keys(connect(f"unix://{tmp_path}/state/valkey/valkey.sock"))
    key = keys.create("devvit", [Scope.COLORIZE, Scope.URL])
    told = json.loads(node(str(built / "contract.js"), url, key, pictures))
    assert told.pop("bytes") > 10_000
    # Told by the PUT that waited for it, or by a later look.
    assert told.pop("inColor") in ("final photo_in_color", "failed photo_in_color")
    assert told == {
        "colored": "succeeded",
        "comparison": "200 image/jpeg",
        "repeated": "succeeded",
        "seen": "succeeded",
        "unknown": "final not_found",
        "small": "final photo_too_small",
        "inColorLater": "failed photo_in_color",
        "missing": "final url_failed",
        "elsewhere": "final url_not_allowed",
        "wrongKey": "final key_invalid",
        "nowhere": "temporary",
        "erased": "done",
        "erasedAgain": "done",
        "afterwards": "failed canceled",
    }
