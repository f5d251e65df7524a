"""The images and the Compose file, without an engine: linted, checked against the specification and us."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bot import settings as bot_settings
from service import local
from service.database import connect
from service.jobs import Jobs, Lease, Net
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docker").glob("*.Dockerfile"))
OURS = ("api", "worker", "worker-gpu")
SERVICES = ("valkey", *OURS, "bot")


@dataclass
class Dockerfile:
    """What our checks need of a Dockerfile: its instructions, and those of the last stage by name."""

    instructions: list[tuple[str, str]]
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str) -> Dockerfile:
        text = re.sub(r"^#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE)
        lines = re.sub(r"\\\n\s*", "", text).splitlines()
        instructions = [
            (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line)
        ]
        pairs = " ".join(rest for name, rest in instructions if name == "ENV").split()
        return cls(instructions, dict(pair.split("=", 1) for pair in pairs))

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    @property
    def command(self) -> list[str]:
        return list(json.loads(self.last("CMD")))

    @property
    def health_check(self) -> list[str]:
        return list(json.loads(self.last("HEALTHCHECK").partition("CMD ")[2]))

    @property
    def copied(self) -> list[str]:
        """What is copied from the build context."""
        sources = [rest.split()[:-1] for rest in self.all("COPY") if not rest.startswith("--from=")]
        return [source for each in sources for source in each]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def tool(name: str) -> str:
    """A command line tool of the development environment."""
    found = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert found, f"{name} is missing: run `make setup`"
    return found


def test_there_is_an_image_for_each_part() -> None:
    assert DOCKERFILES == ["docker/api.Dockerfile", "docker/bot.Dockerfile", "docker/worker.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_hadolint_has_nothing_to_say(path: str) -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_obeys_the_compose_specification() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_an_image_copies_exists_and_reaches_the_builder(path: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore, "the builder gets what is named and nothing else"
    sources = Dockerfile.read(path).copied
    package = "bot/" if "bot" in path else "service/"
    assert {"pyproject.toml", "requirements.lock", package} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), f"{path} copies {source}, which does not exist"
        above = {f"!{folder}/" for folder in Path(source).parents}
        assert {f"!{source}", *above} & {*ignore}, f"{path} copies {source}, which .dockerignore holds back"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_an_image_runs_as_an_ordinary_user_on_a_named_release_of_debian(path: str) -> None:
    file = Dockerfile.read(path)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", file.last("USER"))
    for base in file.all("FROM"):
        assert re.match(r"python:3\.11-slim-(trixie|bookworm)\b", base), base


@pytest.mark.parametrize(
    ("path", "part"), [("docker/api.Dockerfile", "api"), ("docker/worker.Dockerfile", "worker")]
)
def test_an_image_starts_a_part_that_the_service_has(path: str, part: str) -> None:
    assert Dockerfile.read(path).command == ["python", "-m", "service", part]
    command = [sys.executable, "-m", "service", part, "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def test_the_api_image_installs_no_torch() -> None:
    installs = " ".join(Dockerfile.read("docker/api.Dockerfile").all("RUN"))
    (extra,) = re.findall(r'"\.\[([\w-]+)\]"', installs)
    needed = everything_needed_by(extra)
    assert {"fastapi", "uvicorn", "obstore"} <= needed
    assert not {name for name in needed if name in ("torch", "triton") or name.startswith("nvidia")}


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
    assert not {"service/", "model/"} & set(file.copied)
    assert not {"torch", "fastapi", "celery"} & everything_needed_by("bot")
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


def test_the_worker_image_installs_torch_from_the_index_given() -> None:
    file = Dockerfile.read("docker/worker.Dockerfile")
    assert file.all("ARG") == ["TORCH_INDEX=https://download.pytorch.org/whl/cpu", "EXTRA=worker"]
    assert any(
        '--extra-index-url "$TORCH_INDEX"' in command and '".[$EXTRA]"' in command
        for command in file.all("RUN")
    )
    assert {"torch", "openvino", "numba", "pi-heif", "imagecodecs", "tifffile"} <= everything_needed_by(
        "worker"
    )


def test_the_lock_leaves_the_kind_of_torch_open() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    (torch,) = (line for line in lines if re.match(r"torch\b", line))
    assert "+" not in torch, "a local label such as +cpu would shut out the CUDA build"


def test_each_variable_that_is_set_is_a_setting(compose: dict[str, Any]) -> None:
    settings = {f"AUTOCHROME_{name.upper()}" for name in Settings.model_fields} | set(bot_settings.known())
    settings |= {"AUTOCHROME_CACHE_DIR"}  # the model's
    named = {
        name
        for path in DOCKERFILES
        for name in Dockerfile.read(path).variables
        if name.startswith(("AUTOCHROME_", *bot_settings.PREFIXES))
    }
    for name in OURS:
        environment = compose["services"][name]["environment"]
        assert {"AUTOCHROME_REDIS_URL", "AUTOCHROME_STORE_URL"} <= set(environment)
        named |= {variable for variable in environment if variable.startswith("AUTOCHROME_")}
    named |= set(compose["services"]["bot"]["environment"])
    assert named <= settings


def test_the_bot_is_given_its_own_settings_alone(compose: dict[str, Any]) -> None:
    bot = compose["services"]["bot"]
    assert [file["path"] for file in bot["env_file"]] == ["docker/bot.env"]
    assert set(bot["environment"]) <= set(bot_settings.known())
    assert "docker/bot.env" in (ROOT / ".gitignore").read_text(), "it holds a password"
    for name in OURS:
        assert "env_file" not in compose["services"][name], "nor does the service read the bot's"


def bot_example(uncomment: bool) -> dict[str, str]:
    """Variable → value in docker/bot.env.example. `uncomment`: those that stand at their default, too."""
    lines = (ROOT / "docker/bot.env.example").read_text().splitlines()
    if uncomment:
        lines = [re.sub(r"^#(?=[A-Z])", "", line) for line in lines]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_bots_example_names_each_of_its_settings_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(bot_example(uncomment=True)) == set(bot_settings.known())
    needed = {"REDDIT_CLIENT_ID": "an-app", "REDDIT_USERNAME": "colorizebot", "REDDIT_PASSWORD": "hunter2"}
    for name, value in (bot_example(uncomment=False) | needed).items():
        monkeypatch.setenv(name, value)
    filled_in = bot_settings.read().model_dump()
    by_docker = {"BOT_SERVICE_URL", "BOT_STATE_DIR"}
    for name, value in bot_example(uncomment=True).items():
        if name not in needed.keys() | by_docker:
            monkeypatch.setenv(name, value)
    assert bot_settings.read().model_dump() == filled_in


def test_the_port_is_the_same_wherever_it_is_said(compose: dict[str, Any]) -> None:
    file = Dockerfile.read("docker/api.Dockerfile")
    (published,) = compose["services"]["api"]["ports"]
    assert file.last("EXPOSE") == file.variables["AUTOCHROME_PORT"] == published.rpartition(":")[2]
    assert file.variables["AUTOCHROME_HOST"] == "0.0.0.0", "else the container's port leads nowhere"


def test_only_the_api_can_be_reached_and_by_default_from_this_machine_alone(compose: dict[str, Any]) -> None:
    assert [name for name in SERVICES if "ports" in compose["services"][name]] == ["api"]
    assert compose["services"]["api"]["ports"][0].startswith("${AUTOCHROME_BIND:-127.0.0.1:")
    assert [name for name in SERVICES if "outside" in compose["services"][name]["networks"]] == ["api", "bot"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_watched_restarted_and_held_on_a_short_rope(
    name: str, compose: dict[str, Any]
) -> None:
    service = compose["services"][name]
    assert service["image"]
    assert "healthcheck" in service or Dockerfile.read(service["build"]["dockerfile"]).health_check
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])


@pytest.mark.parametrize("name", OURS)
def test_our_services_wait_for_the_queue_and_share_one_store(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    assert service["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert service["volumes"][0] == "store:/data"
    assert service["environment"]["AUTOCHROME_STORE_URL"] == "${AUTOCHROME_STORE_URL:-file:///data/store}"
    assert set(compose["volumes"]) == {"store", "cache", "queue", "bot"}


def test_only_workers_reach_the_code_that_they_have_compiled(compose: dict[str, Any]) -> None:
    file = Dockerfile.read("docker/worker.Dockerfile")
    cache = file.variables["AUTOCHROME_CACHE_DIR"]
    assert [command for command in file.all("RUN") if command.endswith(f"/data {cache}")], "the user owns it"
    mounted = [
        name
        for name in SERVICES
        if any(volume.startswith("cache:") for volume in compose["services"][name]["volumes"])
    ]
    assert mounted == ["worker", "worker-gpu"]
    for name in mounted:
        assert f"cache:{cache}" in compose["services"][name]["volumes"]


def test_the_queue_forgets_no_job(compose: dict[str, Any]) -> None:
    valkey = compose["services"]["valkey"]
    command = " ".join(valkey["command"])
    assert valkey["volumes"] == ["queue:/data"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_gpu_and_the_bot_are_asked_for_only_by_their_profiles(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name in SERVICES if "profiles" in services[name]] == ["worker-gpu", "bot"]
    assert services["bot"]["profiles"] == ["reddit"]
    gpu = services["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["build"]["args"]["TORCH_INDEX"].startswith(
        "${TORCH_INDEX:-https://download.pytorch.org/whl/cu"
    )
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert gpu["image"] != services["worker"]["image"]


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
    host: str | None, healthy: bool, queue: str
) -> None:
    if host is not None:
        Jobs(connect(queue), Lease(8, 1)).beat(f"{host}:7:abc", Net("lite", "0" * 64), "cpu")
    command = Dockerfile.read("docker/worker.Dockerfile").health_check
    environment = os.environ | {"AUTOCHROME_REDIS_URL": queue}
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, env=environment, capture_output=True)
    assert (done.returncode == 0) is healthy


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[str]:
    """The address of a Valkey that holds nothing yet."""
    path = local.valkey_socket(tmp_path)
    with subprocess.Popen(local.valkey_command(tmp_path, path)) as server:
        assert local.wait_for_valkey(path, 10)
        yield f"unix://{path}"
        server.terminate()


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
