"""The images for real: built, and started each as its own user on a root that it cannot write. `make images`.

With Docker where its engine answers, else with buildah over a base that debootstrap makes, which takes root. BASE names another base.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from fake_reddit import Ports, Server
from PIL import Image
from skimage import data

from service import local
from tests.benchmarks.servers import free_port

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out/images"
MEGABYTES = {"api": 250, "worker": 1200, "bot": 250}
"""What an image may have at most, its base included."""
PASSWORD = "of-letters-and-digits"


def run(*command: str, **environment: str) -> str:
    """What a command says; a failed test where it does not end well."""
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


class Docker:
    def build(self, part: str) -> None:
        base = ["--build-arg", f"BASE={os.environ['BASE']}"] if "BASE" in os.environ else []
        run("docker", "build", *base, "-f", f"docker/{part}.Dockerfile", "-t", f"autochrome-{part}", ".")

    def size(self, part: str) -> int:
        return int(run("docker", "image", "inspect", "--format", "{{.Size}}", f"autochrome-{part}"))

    def command(
        self, part: str, environment: dict[str, str], folders: dict[str, Path], command: list[str] | None
    ) -> list[str]:
        options = "--rm --init --network=host --read-only --tmpfs=/tmp:size=64m --cap-drop=ALL"
        given = [f"--env={name}={value}" for name, value in environment.items()]
        mounted = [f"--volume={here}:{there}" for there, here in folders.items()]
        hardened = [*options.split(), "--security-opt=no-new-privileges:true"]
        return ["docker", "run", *hardened, *given, *mounted, f"autochrome-{part}", *(command or [])]

    def health_check(self, part: str) -> list[str]:
        config = run("docker", "image", "inspect", "--format", "{{json .Config}}", f"autochrome-{part}")
        return list(json.loads(config)["Healthcheck"]["Test"][1:])

    def close(self) -> None:
        pass  # the images are what was asked for


class Buildah:
    """Each part runs in a mount namespace of its own, by chroot, as the image says: user, environment, folder, command."""

    STORAGE = ("--root", str(OUT / "storage"), "--runroot", str(OUT / "run"))
    PYTHON = "python3,python3-venv,ca-certificates"

    def __init__(self) -> None:
        self._roots: dict[str, str] = {}
        self._base = os.environ.get("BASE") or self._debian()

    def _buildah(self, *command: str) -> str:
        return run("buildah", *self.STORAGE, *command, TMPDIR=str(OUT / "cache"))

    def _debian(self) -> str:
        (OUT / "cache").mkdir(parents=True, exist_ok=True)
        base = OUT / "base"
        if not (base / "etc/pip.conf").exists():
            shutil.rmtree(base, ignore_errors=True)
            run("debootstrap", "--variant=minbase", f"--include={self.PYTHON}", "bookworm", str(base))
            for folder in (
                "var/cache/apt",
                "var/lib/apt/lists",
                "usr/share/doc",
                "usr/share/man",
                "usr/share/locale",
            ):
                shutil.rmtree(base / folder)
            # A proxy between here and the registries may have a certificate that only this machine knows.
            shutil.copy("/etc/ssl/certs/ca-certificates.crt", base / "etc/ssl/certs/ca-certificates.crt")
            (base / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(base), "/")
        self._buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        self._buildah("commit", "--quiet", container, "localhost/autochrome-base")
        return "localhost/autochrome-base"

    def build(self, part: str) -> None:
        options = ["--isolation=chroot", "--format=docker", f"--build-arg=BASE={self._base}"]
        name = f"autochrome-{part}"
        self._buildah("build", *options, "-f", f"docker/{part}.Dockerfile", "-t", name, ".")
        self._roots[part] = self._buildah("mount", self._buildah("from", name))

    def size(self, part: str) -> int:
        return int(run("du", "-s", "--block-size=1", self._roots[part]).split()[0])

    def _config(self, part: str) -> dict[str, Any]:
        inspected = json.loads(self._buildah("inspect", "--type=image", f"autochrome-{part}"))
        return dict(inspected["Docker"]["config"])

    def command(
        self, part: str, environment: dict[str, str], folders: dict[str, Path], command: list[str] | None
    ) -> list[str]:
        config, root = self._config(part), self._roots[part]
        user, _, group = config["User"].partition(":")
        mounts = [f"mount --bind {root} {root}", f"mount -t tmpfs -o size=64m,mode=1777 tmpfs {root}/tmp"]
        mounts += [f"mount --rbind /{name} {root}/{name}" for name in ("proc", "dev")]
        for there, here in folders.items():
            shutil.chown(here, int(user), int(group))
            mounts.append(f"mount --bind {here} {root}{there}")
        mounts.append(f"mount -o remount,bind,ro {root}")
        inside = f'cd {config["WorkingDir"]} && exec "$@"'
        variables = [*config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        enter = ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}:{group}", root]
        enter += ["/bin/sh", "-c", inside, "sh", "env", "-i", *variables, *(command or config["Cmd"])]
        outside = " && ".join([*mounts, 'exec "$@"'])
        return ["unshare", "--mount", "sh", "-c", outside, "sh", *enter]

    def health_check(self, part: str) -> list[str]:
        return list(self._config(part)["Healthcheck"]["Test"][1:])

    def close(self) -> None:
        self._buildah("umount", "--all")
        for folder in ("storage", "run"):
            shutil.rmtree(OUT / folder, ignore_errors=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker | Buildah]:
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True).returncode:
        found: Docker | Buildah = Docker()
    elif shutil.which("buildah") and shutil.which("debootstrap") and os.geteuid() == 0:
        found = Buildah()
    else:
        pytest.fail(
            "images are built by Docker's engine, or by root with buildah and debootstrap: neither is here"
        )
    with closing(found):
        for part in MEGABYTES:
            began = time.monotonic()
            found.build(part)
            say(f"{part}: {found.size(part) / 1e6:.0f} MB, built in {time.monotonic() - began:.0f} s")
        yield found


def say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")  # `make images` shows it


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Valkey with a password."""
    folder = tmp_path_factory.mktemp("queue")
    binary = local.valkey_command(folder, folder / "socket")[0]
    port = free_port()
    command = [
        binary,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--requirepass",
        PASSWORD,
    ]
    with subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL) as server:
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        server.kill()


@pytest.mark.parametrize("part", MEGABYTES)
def test_an_image_is_small(part: str, engine: Docker | Buildah) -> None:
    assert engine.size(part) <= MEGABYTES[part] * 1e6


@pytest.mark.parametrize("part", MEGABYTES)
def test_an_image_runs_as_its_own_user_and_writes_only_where_it_may(
    part: str, engine: Docker | Buildah, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    folders = {"/data": tmp_path / "data"}
    folders["/data"].mkdir(mode=0o700)
    code = (
        "import os, shutil\n"
        "for place in ('/', '/app', '/opt/venv', '/etc', '/tmp', '/data'):\n"
        "    try: open(f'{place}/probe', 'w'); wrote = True\n"
        "    except OSError: wrote = False\n"
        "    print(place, wrote)\n"
        "print(os.getuid(), os.getgid(), shutil.which('gcc'), shutil.which('pip', path='/opt/venv/bin'))\n"
    )
    said = run(*engine.command(part, {}, folders, ["python", "-c", code])).splitlines()
    assert said == [
        "/ False",
        "/app False",
        "/opt/venv False",
        "/etc False",
        "/tmp True",
        "/data True",
        said[-1],
    ]
    assert said[-1] == "10001 10001 None None"


def test_a_photo_is_colored_by_the_api_the_worker_and_the_bot_out_of_their_images(
    engine: Docker | Buildah, queue: str, tmp_path: Path, until: Callable[..., Any]
) -> None:
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == "root" and folder.is_relative_to(Path("/tmp")) and folder != Path("/tmp"):
            folder.chmod(0o755)  # other users pass through
    store, cache, memory = (tmp_path / name for name in ("store", "cache", "bot"))
    for folder in (store, cache, memory):
        folder.mkdir()
        folder.chmod(0o777)
    port, metrics_port = free_port(), free_port()
    shared = {"AUTOCHROME_REDIS_URL": queue, "AUTOCHROME_STORE_URL": "file:///data/store"}
    url = f"http://127.0.0.1:{port}"
    address = {"AUTOCHROME_PORT": str(port), "AUTOCHROME_HOST": "127.0.0.1"}
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).convert("L").save(buffer, "JPEG")

    with ExitStack() as running:

        def start(
            part: str, environment: dict[str, str], folders: dict[str, Path]
        ) -> subprocess.Popen[bytes]:
            log = running.enter_context((tmp_path / f"{part}.log").open("w"))
            command = engine.command(part, environment, folders, None)
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            running.callback(stop, process)
            return process

        def healthy(part: str, environment: dict[str, str], folders: dict[str, Path]) -> bool:
            check = engine.command(part, environment, folders, engine.health_check(part))
            return subprocess.run(check, capture_output=True).returncode == 0

        api = start("api", shared | address, {"/data": store})
        places = {"/data": store, "/cache": cache}
        settings = shared | {"AUTOCHROME_METRICS_PORT": str(metrics_port), "AUTOCHROME_HOST": "127.0.0.1"}
        worker = start("worker", settings, places)

        def ready() -> bool:
            alive = api.poll() is None and worker.poll() is None
            assert alive, "\n".join(path.read_text()[-3000:] for path in tmp_path.glob("*.log"))
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, 90, "a worker out of its image is ready")
        assert healthy("api", shared | address, {"/data": store})
        assert healthy("worker", settings, places)

        sent = httpx.post(
            f"{url}/v1/colorizations",
            files={"photo": ("old.jpg", buffer.getvalue(), "image/jpeg")},
            headers={"Prefer": "wait=60"},
            timeout=90,
        )
        assert sent.json()["status"] == "succeeded", sent.text
        colored = httpx.get(f"{url}/v1/colorizations/{sent.json()['id']}/result").content
        assert chroma(colored) > 3, "it is in color"
        metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
        assert "autochrome_worker_stage_seconds" in metrics

        with Ports() as ports, Server(at=ports) as reddit:
            known = reddit.settings()
            at = {
                "BOT_SERVICE_URL": url,
                "BOT_PUBLIC_URL": url,
                "BOT_POLL_INTERVAL": "0.5",
                "BOT_IMAGE_HOSTS": reddit.url,
                "REDDIT_URL": reddit.url,
                "REDDIT_OAUTH_URL": reddit.url,
                **{f"REDDIT_{name.upper()}": str(known[name]) for name in ("client_id", "client_secret")},
                **{f"REDDIT_{name.upper()}": str(known[name]) for name in ("username", "password")},
            }
            picture = reddit.picture("grandma.jpg", buffer.getvalue())
            post = reddit.person("ann").post("OldPhotos", "Grandma in 1931", url=picture)
            bot = start("bot", at, {"/data": memory})
            reddit.person("ben").comment(post, "u/colorizebot please")
            [reply] = until(reddit.bot.comments, 60, "the bot answers out of its image")
            assert re.search(r"\*\*\[Here it is in color\]\(\S+\)\*\*", reply.text), reply.text
            until(lambda: healthy("bot", at, {"/data": memory}), 30, "the bot is healthy")
            for part, process in (("api", api), ("worker", worker), ("bot", bot)):
                say(f"{part}: {memory_of(process) / 1e6:.0f} MB of memory")
            assert stop(bot) == 0
        assert stop(worker) == 0
        assert stop(api) in (0, -signal.SIGTERM, 128 + signal.SIGTERM), (
            "uvicorn ends in order, then by the signal that it got"
        )


def stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(60)


def memory_of(process: subprocess.Popen[bytes]) -> int:
    """Bytes that a process and its children hold; of `docker run` only the client's own."""
    parent = psutil.Process(process.pid)
    return sum(int(each.memory_info().rss) for each in [parent, *parent.children(recursive=True)])


def chroma(picture: bytes) -> float:
    """How far a picture's pixels are from gray, in levels of 255, on average."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float32)
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
