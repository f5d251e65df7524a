"""The Dockerfiles and their locks, without an engine: linted, and checked against what is copied, installed and started."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.database import connect
from service.jobs import Jobs
from service.models import Lease, Net
from tests.docker.dockerfiles import DOCKERFILES, ROOT, Dockerfile, tool


def test_there_is_an_image_for_each_part() -> None:
    assert DOCKERFILES == ["docker/api.Dockerfile", "docker/bot.Dockerfile", "docker/worker.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_hadolint_has_nothing_to_say(path: str) -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_an_image_copies_exists_and_reaches_the_builder(path: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore, "the builder gets what is named and nothing else"
    sources = Dockerfile.read(path).copied
    package = "bot/" if "bot" in path else "service/"
    assert package in sources
    for source in sources:
        assert (ROOT / source).exists(), f"{path} copies {source}, which does not exist"
        above = {f"!{folder}/" for folder in Path(source).parents}
        let_through = any(fnmatch(f"!{source}", line) for line in ignore) or above & {*ignore}
        assert let_through, f"{path} copies {source}, which .dockerignore holds back"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_an_image_runs_as_an_ordinary_user_on_a_named_release_of_debian(path: str) -> None:
    file = Dockerfile.read(path)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", file.last("USER"))
    assert re.fullmatch(r"BASE=python:3\.11-slim-trixie@sha256:[0-9a-f]{64}", file.all("ARG")[0]), (
        "by its digest"
    )
    assert file.all("FROM") == ["${BASE} AS dependencies", "${BASE}"]
    assert len({Dockerfile.read(each).all("ARG")[0] for each in DOCKERFILES}) == 1


@pytest.mark.parametrize(
    ("path", "part"), [("docker/api.Dockerfile", "api"), ("docker/worker.Dockerfile", "worker")]
)
def test_an_image_starts_a_part_that_the_service_has(path: str, part: str) -> None:
    assert Dockerfile.read(path).command == ["python", "-m", "service", part]
    command = [sys.executable, "-m", "service", part, "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("part", "has", "has_not"),
    [
        ("api", {"fastapi", "uvicorn", "obstore"}, {"torch", "numpy", "openvino"}),
        ("bot", {"praw", "httpx"}, {"torch", "fastapi", "celery"}),
        (
            "worker",
            {"openvino", "numba", "pi-heif", "imagecodecs", "tifffile"},
            {"torch", "triton", "nvidia-cublas"},
        ),
        ("gpu", {"openvino", "torch", "nvidia-cublas", "onnxruntime-gpu"}, {"praw"}),
    ],
)
def test_an_image_is_pinned_to_what_its_part_needs_and_to_hashes(
    part: str, has: set[str], has_not: set[str]
) -> None:
    locked = lock(f"docker/{part}.lock")
    whole = lock("requirements.lock") | lock("requirements-torch-cuda.lock")
    assert has <= set(locked)
    assert not has_not & set(locked)
    assert everything_needed_by("worker" if part == "gpu" else part) <= set(locked)
    elsewhere = {"onnxruntime-gpu", "coloredlogs", "flatbuffers", "humanfriendly"}
    differs = {name for name in locked if name not in elsewhere and locked[name] != whole.get(name)}
    assert not differs, "make lock"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_an_image_installs_wheels_by_their_hashes_and_nothing_else(path: str) -> None:
    file = Dockerfile.read(path)
    installs = [command for command in file.all("RUN") if "pip install" in command]
    assert len(installs) == 1
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:", "--requirement image.lock"):
        assert option in installs[0]
    [copied] = [each for each in file.copied if each.endswith(".lock")]
    assert copied == f"docker/{Path(path).name.partition('.')[0]}.lock"


@pytest.mark.parametrize("path", sorted(path.name for path in ROOT.glob("*.lock")))
def test_each_file_of_a_lock_has_a_hash(path: str) -> None:
    assert lock(path)
    entries = re.split(r"\n(?=\S)", re.sub(r"^ *#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE))
    assert not [entry for entry in entries if entry and not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)]


def test_the_lock_leaves_the_build_of_torch_open() -> None:
    assert not [name for name in lock("requirements.lock") if re.match(r"torch$|nvidia|triton|cuda", name)]
    on_cpu = (ROOT / "requirements-torch-cpu.lock").read_text()
    [version] = lock("requirements-torch-cuda.lock")["torch"]
    assert lock("requirements-torch-cpu.lock") == {"torch": {version, f"{version}+cpu"}}
    assert f"torch=={version}+cpu ; sys_platform == 'linux'" in on_cpu
    assert f'"torch=={version}"' in (ROOT / "pyproject.toml").read_text()


def lock(path: str) -> dict[str, set[str]]:
    """Name → versions, of which each is for some system or Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / path).read_text(), re.MULTILINE):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


API_WITH_NO_OTHERS = """
import sys
from importlib.metadata import packages_distributions

needed, owners = set(sys.argv[1].split()), packages_distributions()

class Guard:
    def find_spec(self, name, path=None, target=None):
        distributions = owners.get(name.partition(".")[0], ["autochrome"])
        if not needed.intersection(distribution.lower().replace("_", "-") for distribution in distributions):
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Guard())
from service import celery_app, settings
from service.api.app import create_app
create_app(settings.read())
celery_app.make_app(settings.read().celery_broker_url).connection_for_write().transport
"""


def test_the_api_starts_and_finds_its_queue_with_nothing_but_what_its_image_holds(tmp_path: Path) -> None:
    environment = os.environ | {
        "AUTOCHROME_REDIS_URL": "redis://127.0.0.1:1/0",
        "AUTOCHROME_STORE_URL": f"file://{tmp_path}",
    }
    for source in Dockerfile.read("docker/api.Dockerfile").copied:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            (tmp_path / source).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, tmp_path / source)
    needed = " ".join(everything_needed_by("api") | {"autochrome"})
    command = [sys.executable, "-c", API_WITH_NO_OTHERS, needed]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_bot_image_has_neither_torch_nor_the_service_and_starts_the_bot() -> None:
    file = Dockerfile.read("docker/bot.Dockerfile")
    assert {each for each in file.copied if not each.startswith("docker/")} == {"autochrome.py", "bot/"}
    assert file.command == ["python", "-m", "bot"]
    command = [sys.executable, *file.command[1:], "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize(("age", "healthy"), [(60, True), (1000, False), (None, False)])
def test_the_bot_is_healthy_while_its_rounds_go_well(age: int | None, healthy: bool, tmp_path: Path) -> None:
    file = tmp_path / "health"
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    _, option, code = Dockerfile.read("docker/bot.Dockerfile").health_check
    done = subprocess.run(
        [sys.executable, option, code.replace("/data/health", str(file))], capture_output=True
    )
    assert (done.returncode == 0) is healthy


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_api_is_healthy_when_livez_says_so(status: int | None, healthy: bool) -> None:
    with answering(status) as port:
        done = subprocess.run(
            [sys.executable, *Dockerfile.read("docker/api.Dockerfile").health_check[1:]],
            env={"AUTOCHROME_PORT": str(port)},
            capture_output=True,
        )
    assert (done.returncode == 0) is healthy


@pytest.mark.parametrize(
    ("host", "healthy"),
    [(socket.gethostname(), True), ("some-other-container", False), (None, False)],
    ids=["its own", "another", "none"],
)
def test_a_worker_is_healthy_when_one_of_its_own_host_beats(
    host: str | None, healthy: bool, valkey: str
) -> None:
    if host is not None:
        Jobs(connect(valkey), Lease(8, 1)).beat(f"{host}:7:abc", Net("lite", "0" * 64), "cpu")
    command = Dockerfile.read("docker/worker.Dockerfile").health_check
    environment = os.environ | {"AUTOCHROME_REDIS_URL": valkey}
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, env=environment, capture_output=True)
    assert (done.returncode == 0) is healthy


@contextmanager
def answering(status: int | None) -> Iterator[int]:
    """The port of a server that answers /livez with a status and all else with 404; None: nobody is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 404 if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if status is None:
            server.server_close()
            yield server.server_port
            return
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def everything_needed_by(extra: str) -> set[str]:
    """Names of all distributions that an extra of ours installs, by what is installed here."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: set[str] = set()
    pending = [Requirement(line) for line in extras[extra]]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name == "autochrome":
            pending += [Requirement(line) for inner in requirement.extras for line in extras[inner]]
            continue
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.distribution(name).requires or []:
            needed = Requirement(line)
            wanted = [{"extra": inner} for inner in ("", *requirement.extras)]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in wanted):
                pending.append(needed)
    return found
