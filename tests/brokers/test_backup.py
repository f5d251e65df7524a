"""The commands of docs/backup.md, run as they stand there: a service under load is backed up, and restored elsewhere."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.benchmarks.servers import read_metrics
from tests.conftest import Launched

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.brokers,
    pytest.mark.skipif(shutil.which("redis-cli") is None, reason="Debian's redis-tools are not installed"),
]


def run(title: str, **variables: object) -> str:
    """A block of the page, by its first line, in a shell."""
    page = (ROOT / "docs/backup.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n# (.*?)\n(.*?)```", page, re.DOTALL)
    [block] = [text for name, text in blocks if name == title]
    words = {name: str(value) for name, value in variables.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", block],
        cwd=ROOT,
        env={**os.environ, "PATH": path, **words},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Sent:
    """The secrets of jobs that were accepted, by id."""

    secrets: dict[str, str] = field(default_factory=dict)

    def put(self, api: httpx.Client, photo: bytes) -> str:
        id = secrets.token_hex(16)
        answer = api.put(path(id), content=photo, headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 202, answer.text
        self.secrets[id] = answer.json()["secret"]
        return id

    def erase(self, api: httpx.Client, id: str) -> None:
        headers = {"Authorization": f"Bearer {self.secrets.pop(id)}"}
        assert api.delete(path(id), headers=headers).status_code == 204


def path(id: str) -> str:
    return f"/v1/colorizations/{id}"


def result(api: httpx.Client, id: str) -> bytes | None:
    answer = api.get(f"{path(id)}/result")
    return answer.content if answer.status_code == 200 else None


@contextmanager
def load(url: str, photos: list[bytes]) -> Iterator[Sent]:
    """Photos that are sent all the time, faster than they are colored."""
    sent, ended = Sent(), threading.Event()

    def send() -> None:
        with httpx.Client(base_url=url, timeout=30) as api:
            while not ended.is_set():
                for photo in photos:
                    sent.put(api, photo)
                ended.wait(0.4)

    with ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(send) for _ in range(2)]
        try:
            yield sent
        finally:
            ended.set()
    for sender in senders:
        sender.result()


@pytest.fixture
def start(launch: Callable[..., Launched]) -> Iterator[Callable[[Path], tuple[Launched, httpx.Client]]]:
    """`python -m service` in a folder, and a client of it."""
    with ExitStack() as clients:

        def start(state: Path) -> tuple[Launched, httpx.Client]:
            service = launch("-m", "service", state_dir=state, port=0, concurrency=1)
            url = service.line(r"service_ready url=(http://\S+)", 60)[1]
            return service, clients.enter_context(httpx.Client(base_url=url, timeout=30))

        yield start


def test_what_a_backup_holds_is_there_after_a_restore_and_nothing_that_was_erased(
    start, gray_photo, until: Callable[..., Any], tmp_path_factory, capsys
):
    place = tmp_path_factory.mktemp("b")  # short: a socket lies in it
    old, new, backup, log = place / "old", place / "new", place / "backup", place / "log"
    photos = [gray_photo(size=(900, 700 + index)) for index in range(8)]
    large = [gray_photo(size=(3000, 2000 + index)) for index in range(4)]
    service, api = start(old)
    sent = Sent()
    first = [sent.put(api, photo) for photo in photos]
    until(lambda: all(result(api, id) for id in first), 60, "photos are colored")
    erased_before, erased_between, erased_later, *kept = first
    ended = {id: result(api, id) for id in kept}
    sent.erase(api, erased_before)

    with load(str(api.base_url), large) as during:
        until(lambda: read_metrics(str(api.base_url))["autochrome_jobs_waiting"] > 20, 60, "photos wait")
        accepted = list(during.secrets)
        run("copy the record", STATE=old, BACKUP=backup)
        sent.erase(api, erased_between)
        run("then the photos", STATE=old, BACKUP=backup)
        sent.erase(api, erased_later)
        late = sent.put(api, photos[0])
    assert service.stop() == 0
    log.write_text("".join(service.lines))

    run("restore", BACKUP=backup, NEW=new)
    restored, api = start(new)
    assert result(api, erased_later) is not None, "that it comes back is what the page warns of"
    run("erase again", LOG=log, AUTOCHROME_STATE_DIR=new)

    assert {id: result(api, id) for id in kept} == ended
    until(lambda: all(result(api, id) for id in accepted), 120, "what waited is colored")
    colored = [line for line in restored.lines if "job_succeeded" in line]
    assert colored, "some waited at the time of the backup"
    for id in (erased_before, erased_between, erased_later):
        assert api.get(f"{path(id)}/result").status_code == 410
    files = [file.relative_to(new / "store").parts for file in (new / "store").rglob("*") if file.is_file()]
    assert not {id for id, *_ in files} & {erased_before, erased_between, erased_later}
    for id in (*kept, *accepted):
        assert [name for each, *_, name in files if each == id and name.startswith("result")] == [
            "result.jpg"
        ]
    assert api.get(path(late)).status_code == 404, "it came after the backup; its sender sends it again"
    assert api.put(path(late), content=photos[0], headers={"Content-Type": "image/jpeg"}).status_code == 202
    until(lambda: result(api, late), 120, "and has it colored")
    sent.erase(api, kept[0])
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(kept)} jobs had ended, {len(accepted)} more were accepted; {len(colored)} were colored after the restore\n"
        )
