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
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from bot import settings as bot_settings
from service import local
from service.database import connect
from service.jobs import Jobs
from service.models import Lease, Net
from service.settings import ELSEWHERE, Settings
from service.settings import read as read_settings

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
        defaults = dict(argument.split("=", 1) for argument in self.all("ARG"))
        return [
            re.sub(r"\$\{(\w+)\}", lambda name: defaults[name[1]], each) for one in sources for each in one
        ]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def rendered(variables: dict[str, str]) -> dict[str, Any]:
    """The services as Compose makes them of a shell's variables. Raises KeyError with its words where one is missing that must be set."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        if found["name"] in variables:
            return variables[found["name"]]
        if found["how"] == ":?":
            raise KeyError(f"{found['name']} {found['rest']}")
        return str(found["rest"])

    def whole(part: Any) -> Any:
        match part:
            case dict():
                return {key: whole(each) for key, each in part.items()}
            case list():
                return [whole(each) for each in part]
            case str():
                return re.sub(r"\$\$|\$\{(?P<name>\w+)(?P<how>:-|:\?)(?P<rest>[^}]*)\}", value, part)
        return part

    services: dict[str, Any] = whole(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    for service in services.values():
        given = service.get("environment", {})
        service["environment"] = {
            name: variables.get(name) if text is None else str(text)
            for name, text in given.items()
            if text is not None or name in variables
        }
    return services


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
    assert {each for each in file.copied if not each.startswith("docker/")} == {"bot/"}
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


def test_every_setting_reaches_the_services_that_read_it(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {f"AUTOCHROME_{name.upper()}" for name in Settings.model_fields}
    workers_alone = {"AUTOCHROME_DEVICE", "AUTOCHROME_METRICS_PORT"}
    for name in OURS:
        missing = known - set(compose["services"][name]["environment"])
        if name == "api":
            missing -= workers_alone
        assert not missing, "each needs a line under x-settings"
    chosen = {"AUTOCHROME_REDIS_PASSWORD": "x", "AUTOCHROME_ANONYMOUS": "false"}
    for name in OURS:
        assert rendered(chosen)[name]["environment"]["AUTOCHROME_ANONYMOUS"] == "false"
    for name in ("api", "worker"):
        for variable, value in rendered({"AUTOCHROME_REDIS_PASSWORD": "x"})[name]["environment"].items():
            monkeypatch.setenv(variable, value)
        assert read_settings().anonymous is True, "what is not set is the default"


def test_a_misspelt_setting_of_the_file_reaches_who_warns_of_it_and_compose_reads_none_unknown(
    compose: dict[str, Any],
) -> None:
    for name in OURS:
        assert compose["services"][name]["env_file"] == [{"path": ".env", "required": False}]
    settings = {f"AUTOCHROME_{name.upper()}" for name in Settings.model_fields}
    its_own = set(re.findall(r"\$\{(AUTOCHROME_\w+)", (ROOT / "docker-compose.yml").read_text())) - settings
    assert its_own - set(ELSEWHERE) <= {"AUTOCHROME_SPOOL_BYTES"}
    page = (ROOT / "docker/README.md").read_text()
    assert not [name for name in its_own if name not in page]


def test_compose_does_not_start_without_a_password_for_the_queue() -> None:
    with pytest.raises(KeyError, match=r"AUTOCHROME_REDIS_PASSWORD is not set\. Write one"):
        rendered({})
    services = rendered({"AUTOCHROME_REDIS_PASSWORD": "s3cret"})
    for name in OURS:
        assert services[name]["environment"]["AUTOCHROME_REDIS_URL"] == "redis://:s3cret@valkey:6379/0"
    assert "s3cret" not in str(
        [services["bot"], services["valkey"]["command"], services["valkey"]["healthcheck"]]
    )


def test_the_queue_asks_for_its_password_and_ps_does_not_show_it(tmp_path: Path) -> None:
    valkey = rendered({"AUTOCHROME_REDIS_PASSWORD": "s3cret"})["valkey"]
    binary = tmp_path / "valkey-server"
    binary.symlink_to(local.valkey_command(tmp_path, tmp_path / "socket")[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.replace("/tmp/", f"{tmp_path}/") for word in valkey["command"]]
    environment = os.environ | valkey["environment"] | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen([*command, f"--port {port}", f"--dir {tmp_path}"], env=environment) as server:
        try:
            holder = redis.Redis(port=port, password="s3cret", retry=Retry(ConstantBackoff(0.1), 50))
            assert holder.ping()
            assert holder.config_get("maxmemory") == {"maxmemory": str(512 * 2**20)}
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            assert b"s3cret" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert (tmp_path / "password.conf").stat().st_mode & 0o077 == 0
        finally:
            server.kill()


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_bounded(name: str) -> None:
    service = rendered({"AUTOCHROME_REDIS_PASSWORD": "x"})[name]
    assert size(service["mem_limit"]) == size(service["memswap_limit"]), "no swap beyond it"
    assert "cpus" in service
    assert service["pids_limit"] > 0
    [tmpfs] = service["tmpfs"]
    folder, _, room = tmpfs.partition(":size=")
    assert folder == "/tmp"
    assert size(room) < 0.7 * size(service["mem_limit"]), "it counts as the service's memory"


def test_a_batch_as_large_as_may_be_fits_into_the_spool() -> None:
    [tmpfs] = rendered({"AUTOCHROME_REDIS_PASSWORD": "x"})["api"]["tmpfs"]
    assert size(tmpfs.partition("=")[2]) > 1.1 * Settings().batch_bytes


def size(text: str) -> int:
    """Bytes, as Compose writes them: 64m, 4g, or a number."""
    number, unit = re.fullmatch(r"(\d+)([mg]?)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"": 1, "m": 2**20, "g": 2**30}[unit]


def test_only_the_service_has_the_keys_of_the_store(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        has = {key for key in compose["services"][name].get("environment", {}) if key.startswith("AWS_")}
        assert bool(has) == (name in OURS)


def test_what_is_pulled_is_pinned_by_its_digest(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "build" not in service:
            assert re.fullmatch(r"valkey/valkey:9-alpine@sha256:[0-9a-f]{64}", service["image"]), name


def test_a_prometheus_on_the_inner_network_reads_the_workers_metrics(compose: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        service = compose["services"][name]
        assert service["expose"] == [str(service["environment"]["AUTOCHROME_METRICS_PORT"])]
        assert service["environment"]["AUTOCHROME_HOST"] == "0.0.0.0"
        assert service["networks"] == ["inside"]
        assert "ports" not in service, "and nobody else"


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
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/.env", "/docker/bot.env"} <= set(ignored), "they hold passwords"
    for name in OURS:
        assert [file["path"] for file in compose["services"][name]["env_file"]] == [".env"], "not the bot's"


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
    command = " ".join(valkey["command"][3:])
    assert valkey["volumes"] == ["queue:/data"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_gpu_and_the_bot_are_asked_for_only_by_their_profiles(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name in SERVICES if "profiles" in services[name]] == ["worker-gpu", "bot"]
    assert services["bot"]["profiles"] == ["reddit"]
    gpu = services["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["build"]["args"] == {"LOCK": "${AUTOCHROME_GPU_LOCK:-docker/gpu.lock}"}
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
