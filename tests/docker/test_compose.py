"""The Compose file, without an engine: checked against its specification and against what the service reads."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from bot import settings as bot_settings
from service import local
from service.settings import ELSEWHERE, Settings
from service.settings import read as read_settings
from tests.docker.dockerfiles import DOCKERFILES, ROOT, Dockerfile, tool

OURS = ("api", "worker", "worker-gpu")
SERVICES = ("valkey", *OURS, "bot")
VARIABLE = re.compile(
    r"\$\$|\$\{(?P<name>\w+)(?:(?P<how>:-|:\?|:\+)(?P<rest>(?:[^{}]|\{\w+\})*))?\}"  # one may stand in another's default
)


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
        if found["how"] == ":+":
            return found["rest"] if variables.get(found["name"]) else ""
        if found["name"] in variables:
            return variables[found["name"]]
        if found["how"] == ":?":
            raise KeyError(f"{found['name']} {found['rest']}")
        return VARIABLE.sub(value, found["rest"] or "")

    def whole(part: Any) -> Any:
        match part:
            case dict():
                return {key: whole(each) for key, each in part.items()}
            case list():
                return [whole(each) for each in part]
            case str():
                return VARIABLE.sub(value, part)
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


def test_the_compose_file_obeys_the_compose_specification() -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_a_setting_of_the_file_is_what_the_services_get_but_for_those_that_operators_are_told_of() -> None:
    page = (ROOT / "docker/README.md").read_text()
    [told] = re.findall(r"of which a container has its own: (.*?), which", page, re.DOTALL)
    chosen = {f"AUTOCHROME_{name.upper()}": f"{name} of the file" for name in Settings.model_fields}
    services = rendered({"AUTOCHROME_REDIS_PASSWORD": "x", **chosen})
    given = [pair for name in OURS for pair in services[name]["environment"].items()]
    others = {name for name, value in given if value != chosen.get(name, value)}
    others.remove("AUTOCHROME_CLAP_DIR")  # it is mounted
    assert others == set(re.findall(r"AUTOCHROME_\w+", told))


def test_a_misspelled_setting_of_the_file_reaches_who_warns_of_it_and_compose_reads_none_unknown(
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
def test_each_service_is_watched_restarted_and_has_no_privileges(name: str, compose: dict[str, Any]) -> None:
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


def test_pairs_for_the_game_are_read_from_a_folder_of_the_machine() -> None:
    chosen = rendered({"AUTOCHROME_REDIS_PASSWORD": "x", "AUTOCHROME_CLAP_DIR": "./pairs"})["api"]
    assert "./pairs:/pairs:ro" in chosen["volumes"]
    assert chosen["environment"]["AUTOCHROME_CLAP_DIR"] == "/pairs"
    without = rendered({"AUTOCHROME_REDIS_PASSWORD": "x"})["api"]
    assert without["environment"]["AUTOCHROME_CLAP_DIR"] == ""
    [source] = [volume.partition(":")[0] for volume in without["volumes"] if volume.endswith(":/pairs:ro")]
    assert (ROOT / source).is_dir(), "Compose would make a folder of root's where there is none"


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
