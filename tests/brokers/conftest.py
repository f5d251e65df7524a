"""What all tests of brokers share: small photographs, a net that takes milliseconds, and how many jobs are sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.load import form
from tests.benchmarks.servers import write_fast_net, write_photos


@pytest.fixture(scope="session")
def count() -> int:
    return int(os.environ.get("AUTOCHROME_TEST_JOBS", "200"))


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fast_net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [form(path.read_bytes()) for path in write_photos(tmp_path_factory.mktemp("photos"), 48)]
