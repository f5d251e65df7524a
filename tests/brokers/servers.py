"""RabbitMQ, and Redis with Sentinels, as Debian packages them: each on ports and in a folder of its own, on the loopback alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.benchmarks.servers import free_port

BIN = "/usr/lib/rabbitmq/bin"
MASTER = "photos"
PASSWORD, SENTINEL_PASSWORD = "a/secret", "another+one"
DOWN_AFTER = 5.0
"""Seconds of silence after which a Sentinel counts a server as down."""


def wait_until(look: Callable[[], object], seconds: float, what: str) -> None:
    give_up = time.monotonic() + seconds
    while True:
        with suppress(OSError, redis.RedisError, subprocess.SubprocessError):
            if look():
                return
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


class Program:
    """A program that is killed and started again; its lines are in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._command, self._log, self._environment = command, log, environment
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """To it and all that it has started in its session."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()


class RabbitMQ:
    """One node with a name, a database and an epmd of its own."""

    def __init__(self, folder: Path) -> None:
        self._port, epmd = free_port(), free_port()
        folder.mkdir(parents=True)
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "total_memory_available_override_value = 1GB\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        self._environment = {
            **os.environ,
            "HOME": str(folder),  # the cookie lies there
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"autochrome-{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        }
        self._epmd = Program(["epmd", "-port", str(epmd), "-address", "127.0.0.1"], folder / "epmd.txt")
        # The script in /usr/sbin would change to the user rabbitmq, and to the system's own folders.
        self._node = Program([f"{BIN}/rabbitmq-server"], folder / "node.txt", self._environment)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._node.kill()
        self._epmd.kill()

    def wait(self) -> None:
        """Until it answers. It takes some seconds to start."""
        command = [f"{BIN}/rabbitmqctl", "await_startup", "--timeout", "60"]
        wait_until(
            lambda: subprocess.run(command, env=self._environment, capture_output=True).returncode == 0,
            90,
            "RabbitMQ has started",
        )

    def kill(self) -> None:
        self._node.kill()

    def start(self) -> None:
        self._node.start()

    def send(self, number: signal.Signals) -> None:
        self._node.send(number)

    def queues(self) -> list[list[str]]:
        """Name, type and messages of each."""
        command = [f"{BIN}/rabbitmqctl", "-q", "list_queues", "name", "type", "messages"]
        listed = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        return [line.split("\t") for line in listed.stdout.splitlines()[1:]]


class Redises:
    """A master, two replicas and three Sentinels, with passwords; what is written is on a replica within ten seconds, or refused."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.ports = [free_port() for _ in range(3)]
        self._sentinel_ports = [free_port() for _ in range(3)]
        self._programs: dict[int, Program] = {}
        for port in self.ports:
            data = folder / str(port)
            data.mkdir()
            replicaof = "" if port == self.ports[0] else f"replicaof 127.0.0.1 {self.ports[0]}\n"
            (data / "redis.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {data}\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n"
                "appendonly yes\nsave ''\nmaxmemory-policy noeviction\nrepl-diskless-sync-delay 0\n"
                f"min-replicas-to-write 1\nmin-replicas-max-lag 10\n{replicaof}"
            )
            self._programs[port] = Program(["redis-server", str(data / "redis.conf")], data / "log.txt")
        for port in self.ports:
            wait_until(lambda port=port: self.client(port).ping(), 10, "Redis answers")  # type: ignore[misc]
        for port in self._sentinel_ports:
            data = folder / str(port)
            data.mkdir()
            (data / "sentinel.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {data}\nrequirepass {SENTINEL_PASSWORD}\n"
                f"sentinel sentinel-pass {SENTINEL_PASSWORD}\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {self.ports[0]} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n"
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER * 1000:.0f}\n"
                f"sentinel failover-timeout {MASTER} 20000\n"
            )
            command = ["redis-sentinel", str(data / "sentinel.conf")]
            self._programs[port] = Program(command, data / "log.txt")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinel_ports)
        secrets = "a%2Fsecret", "another%2Bone"
        return f"sentinel://:{secrets[0]}@{hosts}/{MASTER}/1?sentinel_password={secrets[1]}"

    def __enter__(self) -> Self:
        wait_until(self.is_whole, 30, "each Sentinel knows two replicas and two Sentinels")
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs.values():
            program.kill()

    def client(self, port: int, password: str = PASSWORD) -> redis.Redis:
        once = Retry(NoBackoff(), retries=0)
        return redis.Redis(port=port, password=password, decode_responses=True, socket_timeout=2, retry=once)

    def _states(self) -> list[dict[str, object]]:
        """Of the master, by each Sentinel."""
        return [self.client(port, SENTINEL_PASSWORD).sentinel_master(MASTER) for port in self._sentinel_ports]

    @property
    def master(self) -> int:
        """Its port, as the first Sentinel has it."""
        return int(str(self._states()[0]["port"]))

    def is_whole(self) -> bool:
        """Whether all agree on the master, and both others follow it."""
        states = self._states()
        known = all(s["num-slaves"] == 2 and s["num-other-sentinels"] == 2 for s in states)
        if not known or len({s["port"] for s in states}) != 1:
            return False
        role = self.client(self.master).info("replication")
        return role["role"] == "master" and role["connected_slaves"] == 2

    @property
    def replicas(self) -> list[int]:
        return [port for port in self.ports if port != self.master]

    def kill(self, port: int) -> None:
        self._programs[port].kill()

    def start(self, port: int) -> None:
        self._programs[port].start()

    def send(self, port: int, number: signal.Signals) -> None:
        self._programs[port].send(number)
