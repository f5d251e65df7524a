"""A whole service of real processes, whose net takes milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.servers import Service, write_fast_net


@pytest.fixture(scope="session")
def fast_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`python -m service` with color by URL and webhooks off, as by default."""
    folder = tmp_path_factory.mktemp("fast")
    with Service(folder / "state", net=write_fast_net(folder / "net"), max_pixels=4_000_000) as service:
        yield service
