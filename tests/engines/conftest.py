"""The service as a person starts it, and each browser engine that is here before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import service
from tests.engines.drivers import Engine, MissingError, firefox, webkit

__all__ = ["service"]


@pytest.fixture(params=[firefox, webkit], ids=["firefox", "webkit"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    try:
        with request.param(tmp_path) as engine:
            yield engine
    except MissingError as missing:
        pytest.skip(str(missing))
